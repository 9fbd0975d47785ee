from __future__ import annotations

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import webtest
from PIL import Image
from support.applications import Clock, application
from support.derived import grid, heif, tile
from support.pictures import encode, photo, png_bomb, quadrants
from support.workers import await_workers, processor_seconds, renderer

from persona_profile.app import services_of
from persona_profile.errors import ServiceError
from persona_profile.images import FreeAccount

AUDIENCE = "http://127.0.0.1:6543"
POLICIES = ("email", "issuer", "address")
GOOD, BROKEN = encode(quadrants(64, 64)), encode(quadrants(400, 400))[:-300]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test moves it."""
    return Clock(time.time())


@pytest.fixture
def limited(development_folder: Path, clock: Clock) -> Iterator[Callable[..., webtest.TestApp]]:
    """Makes applications with one budget of processor time."""
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
        services_of(app).close()


class Person:
    """Uploads pictures from an address."""

    def __init__(self, app: webtest.TestApp, email: str, address: str = "192.0.2.1") -> None:
        self._app = app
        self._path = f"/v1/profiles/{email}/picture"
        self._environment = {"REMOTE_ADDR": address}
        proof = services_of(app.app).identity_provider.bundle(email, AUDIENCE)
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

    def put_until_refused(self, picture: bytes = GOOD) -> webtest.TestResponse:
        """Upload until a budget is used up, however fast the machine is."""
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
    """Processor time of uploads counts for email, issuer and network; others are not held to it."""
    app = limited(policy)
    answer = Person(app, "alice@example.com").put_until_refused()
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
    """The time of a picture that comes to nothing is charged too."""
    answer = Person(limited("address"), "alice@example.com").put_until_refused(picture)
    assert answer.json["policy"] == "picture-ms-per-address"


def test_refusal_comes_before_the_work(limited):
    """An upload over the budget reaches no worker."""
    app = limited("email")
    alice = Person(app, "alice@example.com")
    alice.put_until_refused()
    for pid in await_workers(lambda found: len(found) == 1, os.getpid()):
        before = processor_seconds(pid)
        for _ in range(20):
            assert alice.put().status_int == 429
        assert processor_seconds(pid) == before


def test_one_upload_may_cost_more_than_is_left(limited, clock):
    """A budget is never so small that no picture passes: what is beyond it is paid later."""
    app = limited("email", "1/10minute")
    alice = Person(app, "alice@example.com")
    assert alice.put(photo(1600, 1200)).status_int == 200
    assert alice.put().status_int == 429
    clock.now += 1200
    assert alice.put().status_int == 200


class Observed:
    """Notes the charges of uploads, and calls a hook when a picture is about to be decoded."""

    claimants = ()

    def __init__(self, on_pixels: Callable[[], None] = lambda: None) -> None:
        self.pixels: list[int] = []
        self.seconds: list[float] = []
        self._on_pixels = on_pixels

    def charge_pixels(self, pixels: int) -> None:
        """Note the pixels."""
        self.pixels.append(pixels)
        self._on_pixels()

    def charge_time(self, processor_seconds: float) -> None:
        """Note the time."""
        self.seconds.append(processor_seconds)


def test_time_is_that_of_the_worker():
    """Charges add up to the time that the worker has had; its start is charged to nobody."""
    with renderer(workers=1) as render:
        account = Observed()
        render.render(io.BytesIO(GOOD), None, account)
        [pid] = await_workers(lambda found: len(found) == 1)
        first = processor_seconds(pid)
        assert 0 < account.seconds[0] < first
        for _ in range(5):
            render.render(io.BytesIO(photo(1600, 1200)), None, account)
        spent = processor_seconds(pid) - first
        assert sum(account.seconds[1:]) == pytest.approx(spent, abs=0.03)


def test_end_of_a_worker_is_charged():
    """An upload that brings its worker down pays for the start of the next one."""
    with renderer(workers=1) as render:
        account = Observed()
        render.render(io.BytesIO(GOOD), None, account)
        [pid] = await_workers(lambda found: len(found) == 1)
        start = processor_seconds(pid) - account.seconds[0]
        fatal = Observed(lambda: os.kill(pid, signal.SIGSEGV))
        with pytest.raises(ServiceError):
            render.render(io.BytesIO(GOOD), None, fatal)
        assert fatal.seconds[0] > start / 2 > 0


def test_limit_of_time_follows_the_pixels():
    """A small picture may take a part of the processor time that the largest may take."""
    limits = []

    def limit() -> int:
        [pid] = await_workers(lambda found: len(found) == 1)
        text = Path(f"/proc/{pid}/limits").read_text()
        return int(re.search(r"^Max cpu time +(\d+)", text, re.MULTILINE)[1])

    for picture in (GOOD, png_bomb(7_000, 7_000)):
        with renderer(workers=1, processor_seconds=200) as render:
            render.render(io.BytesIO(picture), None, FreeAccount())
            limits.append(limit())
    small, large = limits
    assert 50 < small < 100
    assert 190 < large < 250


def test_pixels_of_tiles_are_charged():
    """An email pays for the pixels of all tiles and alpha planes."""
    account = Observed()
    with renderer(workers=1) as render:
        render.render(io.BytesIO(heif([grid(3, 2, [2] * 6, (64, 64)), tile("HEIC")])), None, account)
        render.render(io.BytesIO(encode(Image.new("RGBA", (64, 64)), "AVIF")), None, account)
    assert account.pixels == [6 * 64 * 64, 2 * 64 * 64]
