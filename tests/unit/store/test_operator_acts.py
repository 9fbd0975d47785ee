"""The record of operators' acts: appended, sealed, listed for the person, expired at the end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.servers.applications import Clock

from backends import Conflict, Put, Unavailable
from backends.copying.transfer import read_partition, walk
from backends.engines.memory import MemoryBackend
from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.ledger import Act, Ledger
from persona_profile.store.operator_acts import (
    ACTS,
    UNREADABLE,
    OperatorAct,
    OperatorActs,
    RecordedAct,
    _place,
)

ALICE, BOB = "alice@example.com", "bob@example.org"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
DAY = 24 * 3600


class Desk:
    """A record in memory, a keyring and a clock."""

    def __init__(self) -> None:
        self.clock = Clock(1_800_000_000.0)
        self.backend = MemoryBackend(self.clock)
        self.keyring = Keyring.generate(NOW)
        self.keys = KeyWrapper(self.keyring)
        self.ledger = Ledger(self.backend, self.keys, 35 * DAY, clock=self.clock)
        self.acts = OperatorActs(self.ledger, 100 * DAY, self.clock)

    def items(self) -> dict[str, bytes]:
        """Return the stored entries of everybody."""
        return {
            name: item.value
            for partition in walk(self.backend)
            if partition.startswith(ACTS)
            for name, item in read_partition(self.backend, partition).items()
        }


@pytest.fixture
def desk() -> Desk:
    """An empty record."""
    return Desk()


def test_listed(desk):
    """The acts on an email are listed, the oldest first; those on others are not."""
    for number, act in enumerate(OperatorAct):
        desk.acts.append(ALICE, act, f"reason {number}")
        desk.clock.now += 1
    desk.acts.append(BOB, OperatorAct.LOCKED, until=1_900_000_000)
    assert [each.until for each in desk.acts.of(BOB)] == [1_900_000_000]
    assert desk.acts.of(ALICE) == [
        RecordedAct(1_800_000_000_000 + 1000 * number, act, f"reason {number}")
        for number, act in enumerate(OperatorAct)
    ]
    assert desk.acts.of("carol@example.net") == []


def test_at_the_same_instant(desk):
    """Acts of one instant are all kept, also more than one read returns."""
    for _ in range(205):
        desk.acts.append(ALICE, OperatorAct.EXPORTED)
    assert len(desk.acts.of(ALICE)) == 205


def test_never_replaced(desk, monkeypatch):
    """An entry whose item exists is not written: the record is append-only."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    desk.acts.append(ALICE, OperatorAct.LOCKED, "first")
    with pytest.raises(Conflict):
        desk.acts.append(ALICE, OperatorAct.UNLOCKED, "second")
    assert [each.reason for each in desk.acts.of(ALICE)] == ["first"]


def test_expiry(desk):
    """An entry ends with its retention."""
    desk.acts.append(ALICE, OperatorAct.EXPORTED)
    desk.clock.now += 100 * DAY - 1
    assert len(desk.acts.of(ALICE)) == 1
    desk.clock.now += 1
    assert desk.acts.of(ALICE) == []
    assert desk.ledger.purge(10) == 1


def test_sealed(desk):
    """The store shows no email, act or reason: all entries have one length."""
    for reason in ("", "ä" * 200, "😀" * 200, '"' * 200):
        for email in (ALICE, BOB):
            desk.acts.append(email, OperatorAct.ERASED, reason)
    values = desk.items().values()
    assert len({len(value) for value in values}) == 1
    assert not any(word in value for value in values for word in (b"alice", b"erased", b'"act"'))
    assert '"' * 200 in [each.reason for each in desk.acts.of(BOB)]


def test_pseudonyms(desk):
    """The pseudonym differs from that of the ledger's entries: nothing connects both."""
    with desk.ledger.recording(Act.ERASED, ALICE):
        desk.acts.append(ALICE, OperatorAct.ERASED)
    digests = [partition[1:] for partition in walk(desk.backend) if not partition.startswith(b"\0")]
    assert len(set(digests)) == 2


def test_altered(desk):
    """An altered entry, or one of another email, does not open: it is listed as unreadable."""
    desk.acts.append(ALICE, OperatorAct.ERASED, "reason")
    [(name, value)] = desk.items().items()
    desk.backend.apply(desk.ledger.partition(ACTS, BOB), [Put(name, value)])
    assert desk.acts.of(BOB) == [RecordedAct(1_800_000_000_000, UNREADABLE, "")]
    altered = value[:-1] + bytes([value[-1] ^ 1])
    desk.backend.apply(desk.ledger.partition(ACTS, ALICE), [Put(name, altered)])
    assert [each.act for each in desk.acts.of(ALICE)] == [UNREADABLE]


def test_of_a_later_build(desk):
    """A kind of act that this build does not know is listed as it is; other items are left out."""
    partition, key = _place(desk.ledger, ALICE)
    name = f"act.{0:015}.{'0' * 16}"
    puts = [
        Put(name, key.seal(name, b'{"act": "merged", "reason": "", "by": 1}')),
        Put("note", b"x"),
    ]
    desk.backend.apply(partition, puts)
    assert desk.acts.of(ALICE) == [RecordedAct(0, "merged", "")]
    desk.backend.apply(partition, [Put(name, key.seal(name, b"[]"))])
    assert desk.acts.of(ALICE) == [RecordedAct(0, UNREADABLE, "")]


def test_rotation(desk):
    """Entries are listed under a new index key, also after the old one was destroyed."""
    desk.acts.append(ALICE, OperatorAct.EXPORTED, "before")
    both = desk.keyring.adding(KeyKind.INDEX, NOW).promoting(KeyKind.INDEX, NOW)
    desk.keys.use(both)
    desk.ledger.carry()
    old = both.live(KeyKind.INDEX)[0].version
    desk.keys.use(both.destroying(KeyKind.INDEX, old, NOW))
    desk.clock.now += 1
    desk.acts.append(ALICE, OperatorAct.ERASED, "after")
    assert [each.reason for each in desk.acts.of(ALICE)] == ["before", "after"]


def test_without_an_answer(desk, monkeypatch):
    """A store that does not answer is reported, before the act."""

    def fail(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(desk.backend, "apply", fail)
    with pytest.raises(Unavailable):
        desk.acts.append(ALICE, OperatorAct.ERASED)
