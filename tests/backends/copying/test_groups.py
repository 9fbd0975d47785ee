"""Reads of related partitions at one instant."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
from support.stores.stepping import Actor
from support.stores.stores import WithDefaults, everything, fill

from backends import Busy, Delete, Item, Put
from backends.copying.groups import read_all
from backends.engines.memory import MemoryBackend

PAIRS = 5


def older(number: int) -> bytes:
    """Return the first partition of a pair."""
    return b"\x01" + bytes([number])


def newer(number: int) -> bytes:
    """Return the second partition of a pair; second partitions are in another order."""
    return b"\x02" + bytes([PAIRS - number])


def others_of(partition: bytes, _items: Mapping[str, Item]) -> Sequence[bytes]:
    """Return the other partition of a pair."""
    number = partition[1] if partition[0] == 1 else PAIRS - partition[1]
    return [each for each in (older(number), newer(number)) if each != partition]


def test_without_groups():
    """All partitions come in order, with all items."""
    backend = MemoryBackend()
    fill(backend)
    found = list(read_all(backend))
    assert [partition for partition, _ in found] == sorted(partition for partition, _ in found)
    assert {
        partition: {name: (item.value, item.expires_at) for name, item in items.items()}
        for partition, items in found
    } == everything(backend)


def test_of_one_instant():
    """An item that is never in two partitions at once is read at most once, in any order of calls."""
    for seed in range(300):
        chance = random.Random(seed)
        backend = MemoryBackend()
        for number in range(PAIRS):
            backend.apply(older(number), [Put("thing", b"%d" % number), Put("mark", b"")])

        def move(store):
            numbers = list(range(PAIRS)) * 2
            chance.shuffle(numbers)  # noqa: B023
            for number in numbers:
                places = older(number), newer(number)
                [here] = [each for each in places if any(i.name == "thing" for i in store.list(each))]
                there = places[1 - places.index(here)]
                store.apply(here, [Delete("thing")])
                store.apply(there, [Put("thing", b"%d" % number)])

        reader = Actor(backend, lambda store: list(read_all(store, others_of)))
        mover = Actor(backend, move)
        for actor in chance.choices([reader, mover], [chance.random(), chance.random()], k=200):
            if not actor.is_done:
                actor.step()
        for actor in (mover, reader):
            actor.finish()
            assert actor.error is None
        read = [partition for partition, _ in reader.result]
        assert read == sorted(set(read))
        things = [items["thing"].value for _, items in reader.result if "thing" in items]
        assert len(things) == len(set(things))


def test_waiting_partitions_keep_all():
    """A waiting partition is yielded as it was read, also if it has been deleted meanwhile."""
    backend = MemoryBackend(lambda: 1000.0)
    puts = [Put("key", b"k"), Put("picture/1", b"\x00\xff" * 50_000), Put("mark", b"", expires_at=2000)]
    backend.apply(older(0), [Put("key", b"o")])
    backend.apply(newer(0), puts)
    reading = read_all(backend, others_of)
    assert next(reading)[0] == older(0)
    backend.apply(newer(0), [Delete(put.name) for put in puts])
    found = dict(reading)
    assert {name: (item.value, item.expires_at) for name, item in found[newer(0)].items()} == {
        put.name: (put.value, put.expires_at) for put in puts
    }


def test_more_than_a_page():
    """Partitions of a group that lie far apart are yielded once, at their places."""
    backend = MemoryBackend()
    numbers = [number.to_bytes(2) for number in range(1500)]
    for number in numbers:
        backend.apply(b"\x01" + number, [Put("key", number)])
    backend.apply(b"\x02\xff\xff", [Put("key", b"alone")])

    def related(partition, _items):
        return [b"\x02" + partition[1:]] if partition[0] == 1 else []

    found = list(read_all(backend, related))
    assert [partition for partition, items in found if items] == sorted(backend.scan(None, 9999))
    assert len(found) == 3001


def test_partitions_that_never_stand_still():
    """A group that is written at each read is an error in the end."""

    class Written(WithDefaults):
        def get_many(self, addresses):
            found = super().get_many(addresses)
            self.apply(older(0), [Put("key", b"again")])
            return found

    backend = Written()
    backend.apply(older(0), [Put("key", b"first")])
    backend.apply(newer(0), [Put("key", b"still")])
    with pytest.raises(Busy):
        list(read_all(backend, others_of, patience=0.05))
