"""Items in the memory of one process, for development and tests."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from backends import (
    ABSENT,
    ANYTHING,
    Address,
    Backend,
    Conflict,
    Item,
    ItemInfo,
    Operation,
    Put,
    check_batch,
    chunks,
    is_live,
    new_version,
    size_of,
)


class MemoryBackend(Backend):
    """A store in dictionaries under one lock; nothing is durable."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Create an empty store; `clock` returns seconds since 1970."""
        self._clock = clock
        self._lock = threading.Lock()
        self._partitions: dict[bytes, dict[str, Item]] = {}
        self._expiries: list[tuple[int, bytes, str, int]] = []

    @classmethod
    def from_url(cls, url: str | None) -> MemoryBackend:
        """Create an empty store; a URL is an error."""
        if url:
            raise ValueError("the memory backend takes no URL")
        return cls()

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        with self._lock:
            found = ((address, self._live(*address)) for address in addresses)
            return {address: item for address, item in found if item is not None}

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        check_batch(partition, operations)
        with self._lock:
            for operation in operations:
                self._check_expectation(partition, operation)
            items = self._partitions.setdefault(partition, {})
            versions = {}
            for operation in operations:
                if isinstance(operation, Put):
                    version = versions[operation.name] = new_version()
                    items[operation.name] = Item(operation.value, version, operation.expires_at)
                    if operation.expires_at is not None:
                        entry = (operation.expires_at, partition, operation.name, version)
                        heapq.heappush(self._expiries, entry)
                else:
                    items.pop(operation.name, None)
            if not items:
                del self._partitions[partition]
            # Twice as many as one batch can add, so that expired items never pile up.
            self._purge(2 * len(operations))
            return versions

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        with self._lock:
            return [
                ItemInfo(name, item.version, len(item.value), item.expires_at)
                for name, item in sorted(self._partitions.get(partition, {}).items())
                if is_live(item, self._clock())
            ]

    def read_many(
        self, partitions: Sequence[bytes], max_bytes: int
    ) -> Mapping[bytes, Mapping[str, Item]]:
        with self._lock:
            whole = ((each, self._whole(each)) for each in partitions)
            return dict(next(chunks(whole, lambda each: size_of(each[1]), max_bytes), []))

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        with self._lock:
            following = (
                partition
                for partition, items in self._partitions.items()
                if partition > (after or b"") and any(self._live(partition, name) for name in items)
            )
            return heapq.nsmallest(limit, following)

    def purge_expired(self, limit: int) -> int:
        with self._lock:
            return self._purge(limit)

    def ping(self) -> None:
        return

    def initialize(self) -> None:
        return

    def check_schema(self) -> None:
        return

    def close(self) -> None:
        with self._lock:
            self._partitions.clear()
            self._expiries.clear()

    def _whole(self, partition: bytes) -> dict[str, Item]:
        items = sorted(self._partitions.get(partition, {}).items())
        return {name: item for name, item in items if is_live(item, self._clock())}

    def _live(self, partition: bytes, name: str) -> Item | None:
        item = self._partitions.get(partition, {}).get(name)
        return item if item is not None and is_live(item, self._clock()) else None

    def _check_expectation(self, partition: bytes, operation: Operation) -> None:
        if operation.if_version is ANYTHING:
            return
        item = self._live(partition, operation.name)
        if item is None:
            if operation.if_version is not ABSENT:
                raise Conflict("the item is absent")
        elif item.version != operation.if_version:
            raise Conflict("the item is at another version")

    def _purge(self, limit: int) -> int:
        purged = 0
        while purged < limit and self._expiries and self._expiries[0][0] <= self._clock():
            _, partition, name, version = heapq.heappop(self._expiries)
            items = self._partitions.get(partition, {})
            if name in items and items[name].version == version:
                del items[name]
                purged += 1
                if not items:
                    del self._partitions[partition]
        return purged
