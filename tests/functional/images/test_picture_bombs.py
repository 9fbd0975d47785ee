from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from support.pictures.bombs import BOMBS, SKIPPED, avif_grid
from support.pictures.pictures import decoded, encode, quadrants
from support.pictures.workers import LIMITS, render, renderer
from support.servers.services import Client, Service

from persona_profile.images import Encoding, PictureOptions

# Rejections are for structure: no machine is slow enough to reach these limits.
PATIENT = """
pictures.formats = jpeg
pictures.max_cpu_seconds = 600
pictures.deadline_seconds = 600
pictures.max_wait_seconds = 60
"""
CODES = {"picture_broken", "picture_too_many_pixels", "picture_too_complex"}
HARMLESS = {
    # Valid but unusual: a single colour or a grey field of many pixels, or metadata that are skipped.
    "avif-grid-within-the-limit",
    "png-within-the-limit",
    "webp-within-the-limit",
    "jpeg-within-the-limit",
    "jpeg-of-as-many-scans-as-are-taken",
    "jpeg-of-scans-without-end",
    "small-frame-of-a-png-within-the-limit",
    "small-frame-of-a-gif-within-the-limit",
    *SKIPPED,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Service:
    """The service in its own process, with default limits except those of time."""
    with closing(Service(tmp_path_factory.mktemp("service"), "memory", "", more=PATIENT)) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def mallory(service) -> Client:
    """A client that uploads bombs."""
    client = Client(service, "mallory@evil.example", address="127.0.0.2")
    client.sign_in()
    return client


def check(service, mallory, name, answer):
    """Check the answer to a bomb, the service's log, and that the next upload succeeds."""
    if name in HARMLESS:
        assert answer.status == 200
    else:
        assert (answer.status, answer.json["code"] in CODES) == (422, True)
    assert mallory.upload(encode(quadrants(64, 64))).status == 200
    assert "unhandled" not in service.log
    assert "mistake" not in service.log


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(service, mallory, name):
    """A small file of high cost gets the right answer, and the next upload succeeds."""
    check(service, mallory, name, mallory.upload(BOMBS[name]()))


# The costliest file takes ten seconds; its scans are those of another one.
@pytest.mark.parametrize("name", [name for name in BOMBS if name != "jpeg-of-scans-without-end"])
def test_preview_of_a_bomb(service, mallory, name):
    """A preview of a small file of high cost is bounded as its upload, whose answer it gets."""
    answer = mallory.call("POST", f"{mallory.picture}/preview", BOMBS[name](), "image/jpeg")
    check(service, mallory, name, answer)


def test_bombs_delay_nobody_beyond_their_share(service, mallory):
    """While a client uploads the costliest files without pause, another client's uploads succeed."""
    alice = Client(service, "alice@example.com")
    alice.sign_in()
    good, costly = encode(quadrants(64, 64)), BOMBS["jpeg-of-as-many-scans-as-are-taken"]()
    begun, stop = threading.Event(), threading.Event()

    def attack() -> list[int]:
        answers = []
        while not stop.is_set():
            begun.set()
            answers.append(mallory.upload(costly).status)
        return answers

    with ThreadPoolExecutor(1) as threads:
        attacked = threads.submit(attack)
        assert begun.wait(60)
        answers = [alice.upload(good).status for _ in range(20)]
        stop.set()
        assert set(attacked.result()) <= {200, 503}
    assert answers == [200] * 20


def test_grids_are_real():
    """A small grid made like the bombs is a picture, so the size of the bombs is the reason."""
    data = avif_grid(3, 2)
    with renderer(PictureOptions(LIMITS, Encoding(("jpeg",)), (64,))) as ours:
        [made] = render(ours, io.BytesIO(data))
    assert decoded(made.data).getpixel((60, 60)) == pytest.approx((90, 120, 40), abs=4)
