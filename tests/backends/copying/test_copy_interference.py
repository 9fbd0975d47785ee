"""A copy that is killed or disturbed at each of its calls to the stores."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.stores.stores import FUTURE, Everything, WithDefaults, everything, partition_of

from backends import Backend, Delete, Put
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import CopyResult, copy
from backends.copying.transfer import NotEmpty, NotWritten
from backends.engines.memory import MemoryBackend

A, B, C, ERASED, ADDED = sorted(map(partition_of, range(5)))
ELSEWHERE = b"\x01elsewhere"
MARK = Put("not_before", b"foreign!", expires_at=FUTURE + 7)


class Killed(BaseException):
    """The copy is killed."""


class Steps:
    """Counts the calls to two stores, and runs an action at one of them."""

    def __init__(self) -> None:
        self.count = 0
        self.at = 0
        self.action: Callable[[], None] = lambda: None
        self._lock = threading.RLock()
        self._is_acting = False

    def step(self) -> None:
        """Count one; calls of the action itself are not counted."""
        with self._lock:
            if self._is_acting:
                return
            self.count += 1
            if self.count == self.at:
                self._is_acting = True
                try:
                    self.action()
                finally:
                    self._is_acting = False


class Stepped(WithDefaults):
    """A store that counts each call before it and after it."""

    def __init__(self, steps: Steps, clock: Clock) -> None:
        super().__init__(clock)
        self._steps = steps

    def _do(self, call, *args):
        self._steps.step()
        result = call(*args)
        self._steps.step()
        return result

    def apply(self, partition, operations):
        return self._do(super().apply, partition, operations)

    def get_many(self, addresses):
        return self._do(super().get_many, list(addresses))

    def list(self, partition):
        return self._do(super().list, partition)

    def scan(self, after, limit):
        return self._do(super().scan, after, limit)


def write(store: Backend, partition: bytes, text: bytes, *, mark: bool = False) -> None:
    """Write a profile as the service does: key, profile and picture in one batch."""
    puts = [Put("key", b"key of " + text), Put("profile", text), Put("picture/1/64.jpeg", text * 9)]
    marks = [Put("not_before", text[:8].ljust(8), expires_at=FUTURE)] if mark else []
    store.apply(partition, puts + marks)


def erase(store: Backend, partition: bytes) -> None:
    """Delete all items of a partition."""
    store.apply(partition, [Delete(info.name) for info in MemoryBackend.list(store, partition)])


class World:
    """Source, destination and state of a copy."""

    def __init__(self, folder: Path) -> None:
        self.steps = Steps()
        clock = Clock(FUTURE - 1000)
        self.source, self.destination = Stepped(self.steps, clock), Stepped(self.steps, clock)
        self._clock = clock
        self._state = folder / "state"
        write(self.source, A, b"a", mark=True)
        write(self.source, B, b"b")
        write(self.source, C, b"c", mark=True)
        write(self.source, ERASED, b"erased", mark=True)
        self.source.apply(b"\0used", [Put("used", b"", expires_at=FUTURE)])

    def change_source(self) -> None:
        """Change the source as people do: write, sign out, erase, and come for the first time."""
        write(self.source, A, b"newer", mark=True)
        erase(self.source, ERASED)
        write(self.source, ADDED, b"added")

    def copy(self, at: int = 0, action: Callable[[], None] = lambda: None) -> CopyResult:
        """Copy; run an action at one of the calls."""
        self.steps.count, self.steps.at, self.steps.action = 0, at, action
        state = CopyState(self._state)
        try:
            return copy(self.source, self.destination, state, clock=self._clock, passes=9)
        finally:
            self.steps.at = 0
            state._database.close()  # as a kill does: uncommitted changes are lost

    def copied(self) -> bool:
        """Copy to the end; return whether the stores are equal, as the copy reports."""
        result = self.copy()
        assert result.equal
        return everything(self.destination) == everything(self.source)

    def is_rejected(self) -> bool:
        """Copy; return whether that was rejected."""
        try:
            self.copy()
        except NotEmpty:
            return True
        return False


def kill() -> None:
    """End the copy at this instant."""
    raise Killed


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: these tests write hundreds of state files, and none needs durability."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def make_worlds(folder: Path, which: str) -> Callable[[], World]:
    """Return a factory of worlds: for a first copy, or for a later one after changes."""
    numbers = itertools.count()

    def make() -> World:
        (folder / str(number := next(numbers))).mkdir()
        world = World(folder / str(number))
        if which == "later":
            assert world.copied()
            world.change_source()
        return world

    return make


@pytest.fixture(params=["first", "later"])
def worlds(request, memory) -> Callable[[], World]:
    """Return a factory of worlds for a first copy, or for a later one."""
    return make_worlds(memory, request.param)


def killed_worlds(make: Callable[[], World]) -> Iterator[World]:
    """Yield worlds in which a copy was killed at its first call, its second, and so on to the last."""
    for number in itertools.count(1):
        world = make()
        try:
            world.copy(number, kill)
        except Killed:
            yield world
        else:
            assert number > 50
            return


class TestKilled:
    def test_goes_on(self, worlds):
        """Started again it ends equal, and takes no own item for a foreign one."""
        for world in killed_worlds(worlds):
            assert world.copied()

    def test_source_that_changed_since(self, worlds):
        """The same after changes of the source."""
        for world in killed_worlds(worlds):
            world.change_source()
            write(world.source, B, b"newest", mark=True)
            assert world.copied()

    def test_killed_twice(self, worlds):
        """The same if it is killed a second time, after changes of the source."""
        for number, world in enumerate(killed_worlds(worlds)):
            world.change_source()
            with pytest.raises(Killed):
                world.copy(1 + number % 40, kill)
            write(world.source, C, b"newest")
            assert world.copied()

    @pytest.mark.parametrize("kind", ["mark", "profile", "new", "elsewhere", "elsewhere mark"])
    def test_foreign_since(self, worlds, kind):
        """Foreign items in the destination are an error, twice, and stay."""
        for world in killed_worlds(worlds):
            before = foreign(world.destination, kind)
            assert world.is_rejected()
            assert world.is_rejected()
            assert left_of(world.destination, before) == before

    @pytest.mark.parametrize("partition", [A, C], ids=["written again", "the same"])
    def test_foreign_erasure(self, memory, partition):
        """A copied item that somebody erases in the destination does not come back."""
        for world in killed_worlds(make_worlds(memory, "later")):
            erase(world.destination, partition)
            assert world.is_rejected()
            assert world.is_rejected()
            assert partition not in everything(world.destination)


def foreign(destination: Backend, kind: str) -> Everything:
    """Write to the destination as a service does; return the items that must stay."""
    partition = {"mark": A, "profile": B, "new": ADDED}.get(kind, ELSEWHERE)
    if "mark" in kind:
        destination.apply(partition, [MARK])
        return {partition: {MARK.name: (MARK.value, MARK.expires_at)}}
    write(destination, partition, b"foreign")
    return {partition: everything(destination)[partition]}


def left_of(destination: Backend, expected: Everything) -> Everything:
    """Return the expected items in the destination."""
    found = everything(destination)
    return {
        partition: {name: found.get(partition, {}).get(name) for name in items}
        for partition, items in expected.items()
    }


@pytest.mark.parametrize("kind", ["mark", "profile", "new", "elsewhere", "elsewhere mark"])
def test_foreign_at_any_call(worlds, kind):
    """Items that somebody writes to the destination during a copy stay, after later runs too."""
    for number in itertools.count(1):
        world = worlds()
        written: list[Everything] = []
        try:
            result = world.copy(
                number,
                lambda world=world, written=written: written.append(foreign(world.destination, kind)),
            )
        except (NotEmpty, NotWritten):
            pass
        else:
            if not written:
                assert number > 50
                return
            # The item came after the last check of its partition.
            assert result.equal
        assert world.is_rejected()
        assert world.is_rejected()
        assert left_of(world.destination, written[0]) == written[0]


def test_source_in_use_at_any_call(worlds):
    """A source with writes at any call of a copy is copied, without an error."""
    for number in itertools.count(1):
        world = worlds()
        is_done: list[bool] = []

        def change(world: World = world, is_done: list[bool] = is_done) -> None:
            world.change_source()
            write(world.source, B, b"newest", mark=True)
            is_done.append(True)

        world.copy(number, change)
        assert world.copied()
        if not is_done:
            assert number > 50
            return


class TestRefusal:
    def test_notes_nothing(self, worlds):
        """A rejected copy writes nothing and notes nothing as its own: later items stay."""
        world = worlds()
        if world.is_rejected():
            pytest.fail("nothing is foreign yet")
        world.change_source()
        write(world.source, ELSEWHERE, b"of the source")
        foreign(world.destination, "mark")
        before = everything(world.destination)
        assert world.is_rejected()
        assert everything(world.destination) == before
        later = foreign(world.destination, "elsewhere")
        assert world.is_rejected()
        assert left_of(world.destination, later) == later

    def test_foreign_mark_is_never_equal(self, worlds):
        """A foreign mark of an ended session is an error until it has expired."""
        world = worlds()
        assert world.copied()
        foreign(world.destination, "mark")
        assert world.is_rejected()
        world._clock.now = FUTURE + 8
        assert world.copied()

    def test_own_marks_follow(self, worlds):
        """Marks that this copy wrote are replaced and deleted as in the source."""
        world = worlds()
        assert world.copied()
        world.source.apply(A, [Put("not_before", b"later   ", expires_at=FUTURE + 9)])
        world.source.apply(C, [Delete("not_before")])
        assert world.copied()
