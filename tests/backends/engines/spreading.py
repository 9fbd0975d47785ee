"""A store whose operations go to several clients in turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from backends import Address, Backend, BatchOutcome, Item, ItemInfo, Operation


class SpreadBackend(Backend):
    """Carries out each operation by the next of several clients."""

    def __init__(self, clients: Sequence[Backend]) -> None:
        self.clients = clients
        self._turns = itertools.count()

    def _next(self) -> Backend:
        return self.clients[next(self._turns) % len(self.clients)]

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        return self._next().get_many(addresses)

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        return self._next().apply(partition, operations)

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        return self._next().list(partition)

    def list_many(self, partitions: Iterable[bytes]) -> Mapping[bytes, Sequence[ItemInfo]]:
        return self._next().list_many(partitions)

    def read_many(
        self, partitions: Sequence[bytes], max_bytes: int
    ) -> Mapping[bytes, Mapping[str, Item]]:
        return self._next().read_many(partitions, max_bytes)

    def apply_many(self, batches: Mapping[bytes, Sequence[Operation]]) -> Mapping[bytes, BatchOutcome]:
        return self._next().apply_many(batches)

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        return self._next().scan(after, limit)

    def purge_expired(self, limit: int) -> int:
        return self._next().purge_expired(limit)

    def ping(self) -> None:
        self._next().ping()

    def initialize(self) -> None:
        self._next().initialize()

    def check_schema(self) -> None:
        self._next().check_schema()

    def close(self) -> None:
        for client in self.clients:
            client.close()
