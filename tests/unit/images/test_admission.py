from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from support.applications import wait_for

from persona_profile.errors import Overloaded
from persona_profile.images.admission import Admission


class Uploads:
    """Uploads that hold their places until they are let go."""

    def __init__(self, admission: Admission, threads: ThreadPoolExecutor) -> None:
        self.admission = admission
        self.begun: list[Hashable] = []
        self._threads = threads
        self._gates: list[threading.Event] = []
        self._futures: list[Future[None]] = []

    def start(self, *claimants: Hashable, memory: int = 0) -> tuple[Future[None], threading.Event]:
        """Start an upload; return its outcome and the event that lets it go on to its end.

        It has its place then, or waits, or was refused, or has displaced another.
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
        """Let all go."""
        for gate in self._gates:
            gate.set()

    def await_begun(self, *expected: Hashable) -> None:
        """Wait until these uploads have begun, in this order, and no other."""
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


def refused(future: Future[None]) -> bool:
    """Return whether an upload was refused, long before the patience of most tests is over."""
    return isinstance(future.exception(60), Overloaded)


def test_places_and_queue(make):
    """So many begin at once, so many wait, and the next is refused at once."""
    uploads = make(places=2, queue=2)
    _, first = uploads.start("a")
    uploads.start("b")
    waiting = [uploads.start(client)[0] for client in ("c", "d")]
    assert refused(uploads.start("e")[0])
    uploads.await_begun("a", "b")
    first.set()
    uploads.await_begun("a", "b", "c")
    uploads.finish()
    assert [each.exception(60) for each in waiting] == [None, None]


def test_no_queue(make):
    """Without a queue who finds no place is refused."""
    uploads = make(places=1, queue=0)
    uploads.start("a")
    assert refused(uploads.start("b")[0])


def test_wait_is_limited(make):
    """Nobody waits for longer than the patience, and gives up the turn."""
    uploads = make(places=1, queue=2, patience=0.2)
    _, gate = uploads.start("a")
    began = time.monotonic()
    assert refused(uploads.start("b")[0])
    assert time.monotonic() - began > 0.1
    gate.set()
    future, gate = uploads.start("c")
    gate.set()
    assert future.exception(60) is None


def test_last_place(make):
    """One client gets neither the last place nor keeps the queue; another begins at once."""
    uploads = make(places=2, queue=6)
    flood = [uploads.start("mallory")[0] for _ in range(10)]
    uploads.await_begun("mallory")
    assert sum(each.done() for each in flood) == 3
    assert all(refused(each) for each in flood if each.done())
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
    """In a full queue the latest upload of whoever holds most makes room for who holds less."""
    uploads = make(places=2, queue=3)
    gates = [uploads.start(client)[1] for client in ("a", "b")]
    first, second, third = (uploads.start("a")[0] for _ in range(3))
    waiting, _ = uploads.start("c")
    assert (first.done(), second.done(), refused(third)) == (False, False, True)
    assert refused(uploads.start("a")[0])
    uploads.start("c")
    assert refused(second)
    assert refused(uploads.start("c")[0])
    for gate in gates:
        gate.set()
    wait_for(lambda: len(uploads.begun) == 4)
    assert sorted(uploads.begun) == ["a", "a", "b", "c"]
    uploads.finish()
    assert (first.exception(60), waiting.exception(60)) == (None, None)


def test_least_served_first(make):
    """Of those that wait the one goes first whose client has the least under way."""
    uploads = make(places=3, queue=6)
    gates = [uploads.start(client)[1] for client in ("a", "a", "b")]
    for client in ("a", "b", "c"):
        uploads.start(client)
    gates[0].set()
    uploads.await_begun("a", "a", "b", "c")


def test_single_place(make):
    """With a single place it is everybody's in turn."""
    uploads = make(places=1, queue=4)
    gates = [uploads.start(client)[1] for client in ("a", "b", "a")]
    gates[0].set()
    uploads.await_begun("a", "b")


def test_memory_is_held(make):
    """Memory is given out once, in the order in which it was asked for."""
    uploads = make(places=4, queue=0, memory=100)
    _, first = uploads.start("a", memory=60)
    uploads.start("b", memory=70)
    uploads.start("c", memory=20)
    uploads.await_begun("a")
    first.set()
    uploads.await_begun("a", "b", "c")


def test_memory_for_small_pictures(make):
    """Small pictures have memory of their own while a large one has the rest or waits for it."""
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
    """Who waits for memory in vain is refused, gives back the place and holds up nobody."""
    uploads = make(places=3, queue=0, patience=0.2, memory=100)
    future, first = uploads.start("a", memory=100)
    assert refused(uploads.start("b", memory=20)[0])
    first.set()
    assert future.exception(60) is None
    later = [uploads.start(client, memory=30) for client in ("c", "d", "e")]
    uploads.finish()
    assert [future.exception(60) for future, _ in later] == [None] * 3


def test_all_is_given_back(make):
    """After many uploads with errors of their own, places and memory are all there again."""
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
    """Those refused are told times that follow each other, 2 to 60 seconds away."""
    uploads = make(places=1, queue=0)
    uploads.start("a")
    waits = []
    for number in range(200):
        error = uploads.start(number)[0].exception(60) if number < 3 else uploads.admission.overload()
        waits.append(int(error.headers["Retry-After"]))
    assert waits == sorted(waits)
    assert 2 <= waits[0] <= 4
    assert waits[-1] == 60
