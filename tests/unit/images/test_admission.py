from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from support.servers.applications import wait_for

from persona_profile.errors import Overloaded
from persona_profile.images.admission import Admission


class Uploads:
    """Uploads that hold their places until they are released."""

    def __init__(self, admission: Admission, threads: ThreadPoolExecutor) -> None:
        self.admission = admission
        self.begun: list[Hashable] = []
        self._threads = threads
        self._gates: list[threading.Event] = []
        self._futures: list[Future[None]] = []

    def start(self, *claimants: Hashable, memory: int = 0) -> tuple[Future[None], threading.Event]:
        """Start an upload; return its future and the event that finishes it.

        On return it has a place, waits, is rejected, or has displaced another upload.
        """
        gate = threading.Event()
        self._gates.append(gate)

        def upload() -> None:
            with self.admission.place(claimants) as until, self.admission.memory(memory, until):
                self.begun.append(claimants[0])
                assert gate.wait(120)

        before = self._known()
        future = self._threads.submit(upload)
        self._futures.append(future)
        wait_for(lambda: self._known() > before)
        return future, gate

    def finish(self) -> None:
        """Finish all uploads."""
        for gate in self._gates:
            gate.set()

    def await_begun(self, *expected: Hashable) -> None:
        """Wait until exactly these uploads have begun, in this order."""
        wait_for(lambda: len(self.begun) >= len(expected))
        assert self.begun == list(expected)

    def _known(self) -> int:
        under_way, waiting, _ = self.admission.stats()
        return under_way + waiting + sum(each.done() for each in self._futures)


@pytest.fixture
def make():
    """Makes an Admission with uploads around it."""
    with ThreadPoolExecutor(32) as threads:
        made = []

        def make(places=2, queue=2, patience=600.0, memory=100) -> Uploads:
            made.append(Uploads(Admission(places, queue, patience, memory), threads))
            return made[-1]

        yield make
        for each in made:
            each.finish()


def is_rejected(future: Future[None]) -> bool:
    """Return whether an upload was rejected, long before the longest wait of most tests."""
    return isinstance(future.exception(60), Overloaded)


def test_places_and_queue(make):
    """As many uploads begin as there are places, a queue waits, and the next is rejected at once."""
    uploads = make(places=2, queue=2)
    _, first = uploads.start("a")
    uploads.start("b")
    waiting = [uploads.start(client)[0] for client in ("c", "d")]
    assert is_rejected(uploads.start("e")[0])
    uploads.await_begun("a", "b")
    first.set()
    uploads.await_begun("a", "b", "c")
    uploads.finish()
    assert [each.exception(60) for each in waiting] == [None, None]


def test_no_queue(make):
    """Without a queue, an upload that finds no place is rejected."""
    uploads = make(places=1, queue=0)
    uploads.start("a")
    assert is_rejected(uploads.start("b")[0])


def test_free_place_is_given_at_once(make):
    """An upload whose place has become free is not queued any more, even before its thread runs."""
    uploads = make(places=1, queue=1)
    admission = uploads.admission
    rejected = 0
    for _ in range(40):
        first = admission.place(["a"])
        first.__enter__()
        waiting, gate = uploads.start("b")
        gate.set()
        first.__exit__(None, None, None)
        try:
            with admission.place(["c"]):
                pass
        except Overloaded:
            rejected += 1
        waiting.result()
    assert rejected == 0


def test_wait_is_limited(make):
    """An upload that has waited too long is rejected, and loses its turn."""
    uploads = make(places=1, queue=2, patience=0.2)
    _, gate = uploads.start("a")
    began = time.monotonic()
    assert is_rejected(uploads.start("b")[0])
    assert time.monotonic() - began > 0.1
    gate.set()
    future, gate = uploads.start("c")
    gate.set()
    assert future.exception(60) is None


def test_last_place(make):
    """A client gets neither the last place nor the whole queue; another begins at once."""
    uploads = make(places=2, queue=6)
    flood = [uploads.start("mallory")[0] for _ in range(10)]
    uploads.await_begun("mallory")
    assert sum(each.done() for each in flood) == 3
    assert all(is_rejected(each) for each in flood if each.done())
    uploads.start("alice")
    uploads.await_begun("mallory", "alice")


@pytest.mark.parametrize("shared", ["network", "issuer"])
def test_claimants(make, shared):
    """Emails of one network count as one client, and so do networks of one issuer."""
    uploads = make(places=3, queue=2)
    for number in range(5):
        uploads.start(f"upload {number}", (shared, "mallory"))
    uploads.await_begun("upload 0", "upload 1")
    uploads.start("alice", ("network", "home"), ("issuer", "example.org"))
    uploads.await_begun("upload 0", "upload 1", "alice")


def test_full_queue(make):
    """In a full queue, the latest upload of the client with the most makes room for another's."""
    uploads = make(places=2, queue=3)
    gates = [uploads.start(client)[1] for client in ("a", "b")]
    first, second, third = (uploads.start("a")[0] for _ in range(3))
    waiting, _ = uploads.start("c")
    assert (first.done(), second.done(), is_rejected(third)) == (False, False, True)
    assert is_rejected(uploads.start("a")[0])
    uploads.start("c")
    assert is_rejected(second)
    assert is_rejected(uploads.start("c")[0])
    for gate in gates:
        gate.set()
    wait_for(lambda: len(uploads.begun) == 4)
    assert sorted(uploads.begun) == ["a", "a", "b", "c"]
    uploads.finish()
    assert (first.exception(60), waiting.exception(60)) == (None, None)


def test_least_served_first(make):
    """The first queued upload of the client with the fewest places begins first."""
    uploads = make(places=3, queue=6)
    gates = [uploads.start(client)[1] for client in ("a", "a", "b")]
    for client in ("a", "b", "c"):
        uploads.start(client)
    gates[0].set()
    uploads.await_begun("a", "a", "b", "c")


def test_single_place(make):
    """A single place goes to each client in turn."""
    uploads = make(places=1, queue=4)
    gates = [uploads.start(client)[1] for client in ("a", "b", "a")]
    gates[0].set()
    uploads.await_begun("a", "b")


def test_memory_is_held(make):
    """Memory is given out in the order of requests."""
    uploads = make(places=4, queue=0, memory=100)
    _, first = uploads.start("a", memory=60)
    uploads.start("b", memory=70)
    uploads.start("c", memory=20)
    uploads.await_begun("a")
    first.set()
    uploads.await_begun("a", "b", "c")


def test_memory_for_small_pictures(make):
    """Small pictures have reserved memory while a large picture holds or awaits the rest."""
    uploads = make(places=8, queue=0, memory=80)
    uploads.start("a", memory=80)
    uploads.await_begun("a")
    uploads.start("b", memory=40)
    _, gate = uploads.start("c", memory=6)
    uploads.start("d", memory=4)
    uploads.await_begun("a", "c", "d")
    uploads.start("e", memory=6)
    gate.set()
    uploads.await_begun("a", "c", "d", "e")
    assert uploads.admission.stats()[2] == 90


def test_memory_that_does_not_become_free(make):
    """An upload that waits for memory in vain is rejected and gives back its place."""
    uploads = make(places=3, queue=0, patience=0.2, memory=100)
    future, first = uploads.start("a", memory=100)
    assert is_rejected(uploads.start("b", memory=20)[0])
    first.set()
    assert future.exception(60) is None
    later = [uploads.start(client, memory=30) for client in ("c", "d", "e")]
    uploads.finish()
    assert [future.exception(60) for future, _ in later] == [None] * 3


def test_all_is_given_back(make):
    """After many failed uploads, all places and all memory are free again."""
    uploads = make(places=2, queue=0, memory=10)
    for number in range(100):
        with (
            pytest.raises(KeyError),
            uploads.admission.place([number]) as until,
            uploads.admission.memory(10, until),
        ):
            raise KeyError
    for client in ("a", "b"):
        uploads.start(client, memory=5)
    uploads.await_begun("a", "b")


def test_when_to_return(make):
    """Rejected uploads get successive times to retry, 2 to 60 seconds away."""
    uploads = make(places=1, queue=0)
    uploads.start("a")
    waits = []
    for number in range(200):
        error = uploads.start(number)[0].exception(60) if number < 3 else uploads.admission.overload()
        waits.append(int(error.headers["Retry-After"]))
    assert waits == sorted(waits)
    assert 2 <= waits[0] <= 4
    assert waits[-1] == 60
