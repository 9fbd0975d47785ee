"""Clients that write without pause, and checks that every acknowledged write is stored."""

from __future__ import annotations

import contextlib
import http.client
import io
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from backends import Backend
from persona_profile.encoding import json_decode
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from support.pictures.pictures import decoded, encode
from support.servers.services import Answer, Client, Service

COLOURS = 64
SIZES = (64, 128, 256, 512)
READ_SECONDS = 15


@cache
def coloured(number: int) -> bytes:
    """Return a small picture whose colour encodes the number modulo COLOURS."""
    colour = tuple(number // place % 4 * 85 for place in (1, 4, 16))
    return encode(Image.new("RGB", (96, 96), colour), quality=95)


def number_of(picture: bytes) -> int:
    """Return the number that a picture's colour encodes; all corners must agree."""
    image = decoded(picture).convert("RGB")
    last = image.width - 1
    pixels = [image.getpixel(place) for place in ((0, 0), (last, 0), (0, last), (last, last))]
    [number] = {
        sum(round(value / 85) * place for value, place in zip(pixel, (1, 4, 16), strict=True))
        for pixel in pixels
    }
    return number


class Ledger:
    """The possible values of a field: the last acknowledged one, and later unacknowledged ones."""

    def __init__(self) -> None:
        self.acknowledged: int | None = None
        self._sent: list[int | None] = []

    def sends(self, number: int) -> None:
        """Record a write that may take effect from now on."""
        self._sent.append(number)

    def is_acknowledged(self, number: int) -> None:
        """Record an acknowledgement; no earlier value may return."""
        self.acknowledged, self._sent = number, []

    def check(self, found: int | None, colours: int | None = None) -> None:
        """Fail if a write was lost; continue from the found value."""
        for number in (self.acknowledged, *self._sent):
            same = number == found
            if colours and number is not None and found is not None:
                same = number % colours == found % colours
            if same:
                self.acknowledged, self._sent = number, []
                return
        raise AssertionError(f"found {found}, acknowledged {self.acknowledged}, sent {self._sent}")


class Writer:
    """A person who changes name and picture all the time."""

    def __init__(self, service: Service, email: str) -> None:
        self.client = Client(service, email)
        self.client.sign_in()
        self.names, self.pictures = Ledger(), Ledger()
        self.writes = self.rejections = self.cuts = 0
        self.codes: Counter[str] = Counter()  # of the rejections
        self.slowest = 0.0
        self.wrong: list[Answer] = []
        self._number = 0

    def write_until(self, stop: threading.Event) -> None:
        """Write until stopped, whatever the answers."""
        while not stop.is_set():
            self._number += 1
            ledger = self.names if self._number % 3 else self.pictures
            ledger.sends(self._number)
            try:
                if ledger is self.names:
                    answer = self.client.set_name(str(self._number))
                else:
                    answer = self.client.upload(coloured(self._number % COLOURS))
            except (OSError, http.client.HTTPException):
                self.cuts += 1
                stop.wait(0.02)
                continue
            self.slowest = max(self.slowest, answer.seconds)
            if answer.status == 200:
                self.writes += 1
                ledger.is_acknowledged(self._number)
            elif answer.says_when_to_retry:
                self.rejections += 1
                self.codes[answer.json["code"]] += 1
                stop.wait(0.02)
            else:
                self.wrong.append(answer)

    def check(self, backend: Backend, keyring: Path) -> None:
        """Fail unless exactly the acknowledged writes are stored, and whole."""
        assert not self.wrong, self.wrong
        self.client.close()  # its connection may lead to a killed process
        export = self._read(f"{self.client.profile}/export")
        assert export.status == 200, export
        archive = zipfile.ZipFile(io.BytesIO(export.body))
        profile = json_decode(archive.read("profile.json"))
        assert isinstance(profile, dict)
        self.names.check(profile["name"] and int(profile["name"]))
        files = [name for name in archive.namelist() if name.startswith("picture/")]
        numbers = {number_of(archive.read(name)) for name in files}
        expected = {"key", "profile"} if profile["version"] else set()
        if profile["picture"] is None:
            assert not files
            self.pictures.check(None)
        else:
            assert set(files) == {f"picture/{size}.jpeg" for size in SIZES}
            [number] = numbers
            self.pictures.check(number, COLOURS)
            urls = self._read(self.client.profile).json["picture"]["urls"]
            assert set(urls) == {str(size) for size in SIZES}
            for url in urls.values():
                served = self._read("/" + url.split("/", 3)[3])
                assert served.status == 200, served
                assert number_of(served.body) == number
            prefix = f"picture/{profile['picture']['id']}"
            expected |= {f"{prefix}/{size}.jpeg" for size in SIZES}
        partition = KeyWrapper(KeyringFile(keyring).load()).partition(self.client.email)
        assert {info.name for info in backend.list(partition)} == expected

    def _read(self, path: str) -> Answer:
        """Return an answer. Ask again after a 503: each connection that a fault broke costs one."""
        deadline = time.monotonic() + READ_SECONDS
        while True:
            answer = self.client.call("GET", path)
            if not answer.says_when_to_retry or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)


@contextlib.contextmanager
def writing(writers: Sequence[Writer]) -> Iterator[None]:
    """Let all writers write meanwhile."""
    with meanwhile([writer.write_until for writer in writers]):
        yield


@contextlib.contextmanager
def meanwhile(work: Iterable[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Run work in threads, until its event is set."""
    stop = threading.Event()
    threads = [threading.Thread(target=each, args=[stop]) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)
    assert not any(thread.is_alive() for thread in threads)


def wait_until_written(writers: Sequence[Writer], seconds: float = 60) -> None:
    """Wait until each client has an acknowledged write that began after this call."""
    before = [writer.writes for writer in writers]
    deadline = time.monotonic() + seconds
    while any(writer.writes <= count + 1 for writer, count in zip(writers, before, strict=True)):
        assert time.monotonic() < deadline, "writes were not acknowledged"
        time.sleep(0.02)


def wait_until_well(service: Service, seconds: float = 15) -> float:
    """Wait until the service is healthy; return the seconds that took."""
    began = time.monotonic()
    client = Client(service, "")
    while time.monotonic() < began + seconds:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if client.call("GET", "/__heartbeat__").status == 200:
                return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError("the service did not recover")
