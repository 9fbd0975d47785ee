"""Stores full of items, for tests of copies and backups."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from backends import Backend, Delete, Put
from backends.copying.transfer import read_partition, walk
from backends.engines.memory import MemoryBackend

FUTURE = int(time.time()) + 100_000
NAMES = ("key", "profile", "picture/1/64.jpeg", "picture/1/512.jpeg")

Everything = dict[bytes, dict[str, tuple[bytes, int | None]]]
Opener = Callable[[str], Backend]


def everything(backend: Backend) -> Everything:
    """Return all items of a store, without their versions."""
    return {
        partition: {
            name: (item.value, item.expires_at)
            for name, item in read_partition(backend, partition).items()
        }
        for partition in walk(backend)
    }


def partition_of(number: int) -> bytes:
    """Return the partition of a number, distributed like digests."""
    return b"\x01" + random.Random(number).randbytes(32)


def fill(backend: Backend, partitions: int = 30) -> None:
    """Write items of all kinds."""
    randomness = random.Random(7)
    for number in range(partitions):
        size = randomness.choice([0, 1, 100, 5000])
        puts = [Put(name, randomness.randbytes(size)) for name in NAMES]
        if number % 5 == 0:
            puts.append(Put("not_before", b"12345678", expires_at=FUTURE))
        backend.apply(partition_of(number), puts)
    backend.apply(b"\x00mark", [Put("used", b"", expires_at=FUTURE)])
    backend.apply(b"\x00old", [Put("used", b"", expires_at=int(time.time()) - 1)])


def write_all(backend: Backend, partitions: list[bytes], stop: threading.Event, seed: int) -> None:
    """Write or delete all items of random partitions, until stopped."""
    randomness = random.Random(seed)
    while not stop.wait(0.002):
        partition = randomness.choice(partitions)
        if randomness.random() < 0.2:
            backend.apply(partition, [Delete(name) for name in NAMES])
        else:
            value = b"%d" % randomness.randrange(10**9)
            backend.apply(partition, [Put(name, value) for name in NAMES])


class WithDefaults(MemoryBackend):
    """An engine of somebody else, which implements the abstract methods alone."""

    read_many = Backend.read_many


class Watched(WithDefaults):
    """A store that calls a test before each write or read."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.writes = 0
        self.reads = 0
        self.before_write: Callable[[], None] = lambda: None
        self.before_read: Callable[[], None] = lambda: None

    def apply(self, partition, operations):
        self.before_write()
        self.writes += 1
        return super().apply(partition, operations)

    def get_many(self, addresses):
        self.before_read()
        self.reads += 1
        return super().get_many(addresses)


class Divided(Watched):
    """A watched store that reads one partition after the other, the newest first, as shards may."""

    def get_many(self, addresses):
        wanted = list(addresses)
        found = {}
        for partition in sorted({each.partition for each in wanted}, reverse=True):
            found |= super().get_many([each for each in wanted if each.partition == partition])
        return found
