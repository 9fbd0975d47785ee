from __future__ import annotations

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webtest
from PIL import Image
from support.pictures.pictures import encode, photo, png_bomb, quadrants
from support.pictures.workers import await_workers, renderer
from support.servers.applications import Clock, application, wait_for
from support.stores.derived import grid, heif, tile

from persona_profile.errors import ServiceError
from persona_profile.images.renderer import Upload

AUDIENCE = "http://127.0.0.1:6543"
POLICIES = ("email", "issuer", "address")
GOOD, BROKEN = encode(quadrants(64, 64)), encode(quadrants(400, 400))[:-300]


@pytest.fixture
def clock() -> Clock:
    """A clock that tests advance."""
    return Clock(time.time())


@pytest.fixture
def limited(development_folder: Path, clock: Clock) -> Iterator[Callable[..., webtest.TestApp]]:
    """Makes applications with a single budget of processor time."""
    apps = []

    def make(policy: str, budget: str = "20/10minute") -> webtest.TestApp:
        budgets = {f"ratelimit__picture_ms_per_{each}": "off" for each in POLICIES}
        budgets[f"ratelimit__picture_ms_per_{policy}"] = budget
        apps.append(
            application(
                development_folder,
                clock,
                ratelimit__url="memory://",
                ratelimit__writes_per_email="off",
                pictures__formats="jpeg",
                **budgets,
            )
        )
        return webtest.TestApp(apps[-1])

    yield make
    for app in apps:
        app.close()


class Person:
    """Uploads pictures from an address."""

    def __init__(self, app: webtest.TestApp, email: str, address: str = "192.0.2.1") -> None:
        self._app = app
        self._path = f"/v1/profiles/{email}/picture"
        self._environment = {"REMOTE_ADDR": address}
        proof = app.app.development.identity_provider.bundle(email, AUDIENCE)
        answer = app.post_json(
            "/v1/sessions", {"proofs": [{"assertion": proof}]}, extra_environ=self._environment
        )
        self._headers = {"Authorization": f"Bearer {answer.json['token']}", "Content-Type": "image/png"}

    def put(self, picture: bytes = GOOD) -> webtest.TestResponse:
        """Upload a picture."""
        return self._app.put(
            self._path,
            picture,
            headers=self._headers,
            extra_environ=self._environment,
            expect_errors=True,
        )

    def put_until_rejected(self, picture: bytes = GOOD) -> webtest.TestResponse:
        """Upload until a budget is used up."""
        while (answer := self.put(picture)).status_int != 429:
            pass
        return answer


@pytest.mark.parametrize(
    ("policy", "same", "other"),
    [
        ("email", ("alice@example.com", "198.51.100.1"), ("bob@example.com", "192.0.2.1")),
        ("issuer", ("bob@example.com", "198.51.100.1"), ("alice@example.org", "192.0.2.1")),
        ("address", ("bob@example.org", "192.0.2.1"), ("alice@example.com", "198.51.100.1")),
        ("address", ("bob@example.org", "::ffff:192.0.2.1"), ("alice@example.com", "2001:db8::1")),
    ],
)
def test_used_up_budget(limited, clock, policy, same, other):
    """Email, issuer and network pay for the processor time of uploads; other parties do not."""
    app = limited(policy)
    answer = Person(app, "alice@example.com").put_until_rejected()
    wait = int(answer.headers["Retry-After"])
    assert answer.json["policy"] == f"picture-ms-per-{policy}"
    assert ("RateLimit" in answer.headers) is (policy != "issuer")
    held = Person(app, *same)
    assert held.put().status_int == 429
    assert Person(app, *other).put().status_int == 200
    clock.now += wait
    assert held.put().status_int == 200


@pytest.mark.parametrize("picture", [BROKEN, b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_refused_pictures_cost_as_well(limited, picture):
    """The processor time of a rejected picture is charged too."""
    answer = Person(limited("address"), "alice@example.com").put_until_rejected(picture)
    assert answer.json["policy"] == "picture-ms-per-address"


def test_refusals_cost_nothing(limited):
    """Uploads over the budget are rejected before any work, and do not prolong the wait."""
    alice = Person(limited("email"), "alice@example.com")
    wait = alice.put_until_rejected().headers["Retry-After"]
    assert {alice.put().headers["Retry-After"] for _ in range(20)} == {wait}


def test_one_upload_may_cost_more_than_is_left(limited, clock):
    """A picture passes even the smallest budget; the excess delays the next one."""
    app = limited("email", "1/10minute")
    alice = Person(app, "alice@example.com")
    assert alice.put(photo(1600, 1200)).status_int == 200
    assert alice.put().status_int == 429
    clock.now += 1200
    assert alice.put().status_int == 200


def finish(upload: Upload, once_open: Callable[[], None] = lambda: None) -> None:
    """Render an upload."""
    with upload:
        upload.open()
        once_open()
        upload.render()


def test_time_is_that_of_the_worker():
    """Each upload costs its worker's time, even if it is rejected."""
    with renderer(workers=1) as ours:
        accepted, rejected = (ours.upload(io.BytesIO(data)) for data in (GOOD, BROKEN))
        finish(accepted)
        with pytest.raises(ServiceError):
            finish(rejected)
    assert (accepted.outcome, rejected.outcome) == ("accepted", "picture_broken")
    assert min(accepted.processor_seconds, rejected.processor_seconds) > 0


def test_end_of_a_worker_is_charged():
    """An upload that kills its worker pays for the worker's time."""
    with renderer(workers=1) as ours:
        upload = ours.upload(io.BytesIO(GOOD))
        with pytest.raises(ServiceError):
            finish(upload, lambda: os.kill(the_worker(), signal.SIGSEGV))
    assert upload.processor_seconds > 0


@pytest.mark.parametrize(
    ("picture", "seconds"),
    [(GOOD, 51), (png_bomb(3_500, 3_500), 87), (png_bomb(7_000, 7_000), 197)],
    ids=["small", "medium", "large"],
)
def test_limit_of_time_follows_the_pixels(picture, seconds):
    """The pixels of a picture decide its processor time, from a quarter to the whole limit."""
    with (
        renderer(workers=1, processor_seconds=200) as ours,
        ThreadPoolExecutor(1) as threads,
        ours.upload(io.BytesIO(picture)) as upload,
    ):
        upload.open()
        pid = the_worker()
        os.kill(pid, signal.SIGSTOP)
        before = limits(pid)
        # Until the service sets the picture's limits, those of a header apply.
        assert before["cpu time"] == 50
        rendered = threads.submit(upload.render)
        wait_for(lambda: limits(pid)["address space"] != before["address space"])
        wait_for(lambda: limits(pid)["cpu time"] == seconds, seconds=10)
        os.kill(pid, signal.SIGCONT)
        assert rendered.result(30)


def the_worker() -> int:
    """Return the process id of the only worker."""
    [pid] = await_workers(lambda found: len(found) == 1)
    return pid


def limits(pid: int) -> dict[str, int]:
    """Return the numeric limits of a process."""
    text = Path(f"/proc/{pid}/limits").read_text()
    return {name: int(soft) for name, soft in re.findall(r"^Max (.+?) +(\d+) ", text, re.MULTILINE)}


def test_pixels_of_tiles_are_charged():
    """An email pays for the pixels of all tiles and alpha planes."""
    tiles = heif([grid(3, 2, [2] * 6, (64, 64)), tile("HEIC")])
    alpha = encode(Image.new("RGBA", (64, 64)), "AVIF")
    with renderer(workers=1) as ours:
        for picture, pixels in ((tiles, 6 * 64 * 64), (alpha, 2 * 64 * 64)):
            with ours.upload(io.BytesIO(picture)) as upload:
                assert upload.open() == pixels
