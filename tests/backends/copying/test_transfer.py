"""Walks and writes of whole partitions: the number and size of their calls."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from support.stores.stores import everything, partition_of

from backends import Put
from backends.copying.archive import backup, restore
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import copy
from backends.copying.pace import Pace
from backends.copying.transfer import READ_BYTES, ahead, walk_items, walk_listings
from backends.engines.memory import MemoryBackend

PARTITIONS = 1500


class Counted(MemoryBackend):
    """A store that counts calls, and the bytes of the largest read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.largest = 0

    def read_many(self, partitions, max_bytes):
        found = super().read_many(partitions, max_bytes)
        self.calls["read_many"] += 1
        size = sum(len(item.value) for items in found.values() for item in items.values())
        self.largest = max(self.largest, size)
        return found

    def list_many(self, partitions):
        self.calls["list_many"] += 1
        return {partition: MemoryBackend.list(self, partition) for partition in partitions}

    def apply_many(self, batches):
        self.calls["apply_many"] += 1
        return {each: MemoryBackend.apply(self, each, batch) for each, batch in batches.items()}

    def list(self, partition):
        self.calls["list"] += 1
        return super().list(partition)

    def get_many(self, addresses):
        self.calls["get_many"] += 1
        return super().get_many(addresses)

    def scan(self, after, limit):
        self.calls["scan"] += 1
        return super().scan(after, limit)


@pytest.fixture
def source() -> Counted:
    """A store of many small partitions."""
    backend = Counted()
    for number in range(PARTITIONS):
        backend.apply(partition_of(number), [Put("key", b"k" * 9), Put("profile", b"%d" % number)])
    return backend


def test_calls_of_jobs(source, tmp_path: Path):
    """Hundreds of partitions share a call; no partition has one of its own."""
    archive = io.BytesIO()
    backup(source, archive, software="test")
    (tmp_path / "archive").write_bytes(archive.getvalue())
    list(walk_listings(source))
    restored, copied = Counted(), Counted()
    with (tmp_path / "archive").open("rb") as file:
        restore(file, restored)
    with CopyState(tmp_path / "state") as state:
        copy(source, copied, state)
    for store in (source, restored, copied):
        assert store.calls.keys() <= {"scan", "read_many", "list_many", "apply_many"}
        assert store.calls.total() < 60
    assert everything(restored) == everything(copied) == everything(source)


def test_bytes_of_reads(source):
    """A read has at most as many bytes as allowed, also behind small partitions."""
    for number in range(40):
        source.apply(partition_of(number), [Put("picture/1", bytes(READ_BYTES // 3))])
    found = dict(walk_items(source))
    assert len(found) == PARTITIONS
    assert list(found) == sorted(found)
    assert READ_BYTES // 2 < source.largest <= READ_BYTES


def test_walk_at_a_rate(source):
    """A slow walk reads small portions, and waits for each."""
    waits: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    total = sum(len(item.value) for _, items in walk_items(source) for item in items.values())
    source.largest = 0
    walked = list(walk_items(source, pace=Pace(800, lambda: now[0], sleep)))
    assert len(walked) == PARTITIONS
    assert source.largest <= 100
    assert sum(waits) == pytest.approx(total / 800, rel=0.1)
    listed = list(walk_listings(source, pace=Pace(800, lambda: now[0], sleep)))
    assert [partition for partition, _ in listed] == [partition for partition, _ in walked]


def test_ahead():
    """Values come in order, one is made ahead, and an error comes in its place."""
    made = []

    def values():
        for number in range(5):
            made.append(number)
            yield number
        raise KeyError

    reading = ahead(values())
    assert next(reading) == 0
    reading.close()
    assert made in ([0], [0, 1])
    reading = ahead(values())
    assert [next(reading) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError):
        next(reading)
