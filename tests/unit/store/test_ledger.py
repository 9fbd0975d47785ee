"""The ledger: entries by pseudonyms, before the act, under every index key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.servers.applications import Clock

from backends import Address, Backend, Conflict, Unavailable
from backends.copying.transfer import read_partition, walk
from backends.engines.memory import MemoryBackend
from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.ledger import ENTRIES, HEAD_PARTITION, Act, Ledger, LedgerUnusable

ALICE, BOB = "alice@example.com", "bob@example.org"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
KEEP_SECONDS = 35 * 24 * 3600


class World:
    """A ledger in memory, a keyring, a clock in seconds."""

    def __init__(self) -> None:
        self.clock = Clock(1_800_000_000.0)
        self.backend: Backend = MemoryBackend(self.clock)
        self.keyring = Keyring.generate(NOW)
        self.keys = KeyWrapper(self.keyring)
        self.ledger = self.opened(self.keys)

    @property
    def now(self) -> int:
        """The time in milliseconds."""
        return int(1000 * self.clock.now)

    def opened(self, keys: KeyWrapper) -> Ledger:
        return Ledger(self.backend, keys, KEEP_SECONDS, clock=self.clock)

    def record(self, act: Act = Act.ERASED, email: str = ALICE, after: int = 0) -> None:
        with self.ledger.recording(act, email, after):
            pass

    def rotate(self) -> Keyring:
        """Make a new index key primary; return the keyring from before the old one is destroyed."""
        both = self.keyring.adding(KeyKind.INDEX, NOW).promoting(KeyKind.INDEX, NOW)
        self.keys.use(both)
        self.ledger.carry()
        old = both.live(KeyKind.INDEX)[0].version
        self.keyring = both.destroying(KeyKind.INDEX, old, NOW)
        self.ledger.retire(old)
        self.keys.use(self.keyring)
        return both


@pytest.fixture
def world() -> World:
    """A world with an empty ledger."""
    return World()


def test_finds_entries(world):
    """Each act has its last time; emails without an entry are missing."""
    world.record(Act.PICTURE_REMOVED)
    first = world.now
    world.clock.now += 60
    world.record()
    world.clock.now += 60
    world.record()
    found = world.ledger.find([ALICE, BOB])
    assert found == {ALICE: {Act.PICTURE_REMOVED: first, Act.ERASED: world.now}}
    assert world.ledger.has_since(first)
    assert world.ledger.has_since(world.now)
    assert not world.ledger.has_since(world.now + 1)


def test_times_only_grow(world):
    """An entry is no older than the last write of what is removed, nor than an earlier entry."""
    world.record(after=world.now + 5000)
    late = world.now + 5000
    world.record()
    assert world.ledger.find([ALICE])[ALICE][Act.ERASED] == late


def test_is_written_first(world):
    """The entry is there before the act, and stays if the act may have taken effect."""
    seen = []

    def fail() -> None:
        with world.ledger.recording(Act.ERASED, ALICE):
            seen.append(world.ledger.find([ALICE]))
            raise Unavailable

    with pytest.raises(Unavailable):
        fail()
    assert seen == [{ALICE: {Act.ERASED: world.now}}]
    assert ALICE in world.ledger.find([ALICE])


@pytest.mark.parametrize("is_known", [False, True])
def test_conflict_withdraws(world, is_known):
    """An act that another write prevented leaves the ledger as it was."""
    world.ledger.begin()
    if is_known:
        world.record()
    before = world.ledger.find([ALICE])
    world.clock.now += 60
    with pytest.raises(Conflict), world.ledger.recording(Act.ERASED, ALICE):
        raise Conflict
    assert world.ledger.find([ALICE]) == before


def test_conflict_keeps_the_entry_of_others(world):
    """An act of another process in between keeps its entry."""

    def fail() -> None:
        with world.ledger.recording(Act.ERASED, ALICE):
            world.clock.now += 1
            world.record()
            raise Conflict

    with pytest.raises(Conflict):
        fail()
    assert world.ledger.find([ALICE]) == {ALICE: {Act.ERASED: world.now}}


def test_entries_expire(world):
    """An entry ends with the last backup that it concerns, and is purged."""
    world.record()
    world.clock.now += KEEP_SECONDS - 1
    assert world.ledger.find([ALICE])
    world.clock.now += 1
    assert world.ledger.find([ALICE]) == {}
    assert world.ledger.purge(100) == 1


def test_rotations_carry_entries(world):
    """Two rotations later every keyring of an archive finds entries of every time."""
    world.record(email=ALICE)
    first = world.rotate()
    world.rotate()
    world.record(email=BOB)
    for keyring in (world.keyring, first):
        assert set(world.opened(KeyWrapper(keyring)).find([ALICE, BOB])) == {ALICE, BOB}
    world.clock.now += KEEP_SECONDS + 1
    names = {info.name for info in world.backend.list(HEAD_PARTITION)}
    assert names == {"begun", "key.3"}


def test_another_keyring(world):
    """A keyring without the ledger's index keys neither reads nor replaces the ledger."""
    world.record()
    stranger = world.opened(KeyWrapper(Keyring.generate(NOW)))
    before = read_partition(world.backend, HEAD_PARTITION)
    for act in (stranger.begin, lambda: stranger.find([ALICE]), lambda: stranger.partition(b"2", BOB)):
        with pytest.raises(LedgerUnusable):
            act()
    assert read_partition(world.backend, HEAD_PARTITION) == before


def test_span(world):
    """A ledger covers the time from its beginning to its last use; an empty one covers nothing."""
    assert world.ledger.span() is None
    with pytest.raises(LedgerUnusable):
        world.ledger.find([ALICE])
    world.ledger.begin()
    begun = world.now
    world.clock.now += 60
    world.ledger.begin()
    assert world.ledger.span() == (begun, world.now)


def test_shows_a_thief_nothing(world):
    """Without the keyring the ledger has random pseudonyms, kinds and times, and no email."""
    other = World()
    for each in (world, other):
        each.keys.use(world.keyring)
        each.record()
    [mine], [theirs] = (
        [partition for partition in walk(each.backend) if partition.startswith(ENTRIES)]
        for each in (world, other)
    )
    assert mine != theirs
    assert mine[1:] not in world.keys.partition(ALICE)
    items = [
        (address, item.value)
        for partition in walk(world.backend)
        for info in world.backend.list(partition)
        for address, item in world.backend.get_many([Address(partition, info.name)]).items()
    ]
    assert not any(b"alice" in value or b"alice" in address.partition for address, value in items)
    assert {address.name for address, _ in items} == {"begun", "key.1", "erased"}
