"""A backend whose calls are measured, and whose `ping` remembers a rejected write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from backends import (
    Address,
    Backend,
    BackendStats,
    Conflict,
    Item,
    ItemInfo,
    NoWrites,
    Operation,
    Unavailable,
)
from persona_profile.runtime.metrics import Metrics
from persona_profile.runtime.spans import span

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ObservedBackend(Backend):
    """Calls another backend; measures outcome (`ok`, `conflict`, `unavailable`, `failed`) and time.

    After a write failed by `NoWrites`, `ping` tries a write, until one succeeds.
    """

    def __init__(self, backend: Backend, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._takes_no_writes = False

    @property
    def write_seconds(self) -> float:
        return self._backend.write_seconds

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        return self._measured("get_many", self._backend.get_many, addresses)

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        return self._written("apply", self._backend.apply, partition, operations)

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        return self._measured("list", self._backend.list, partition)

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        return self._measured("scan", self._backend.scan, after, limit)

    def purge_expired(self, limit: int) -> int:
        return self._measured("purge_expired", self._backend.purge_expired, limit)

    def ping(self) -> None:
        self._measured("ping", self._backend.ping)
        if self._takes_no_writes:
            self.try_write()

    def try_write(self) -> None:
        self._written("try_write", self._backend.try_write)

    def initialize(self) -> None:
        self._measured("initialize", self._backend.initialize)

    def check_schema(self) -> None:
        self._measured("check_schema", self._backend.check_schema)

    def stats(self) -> BackendStats:
        return replace(self._backend.stats(), takes_no_writes=self._takes_no_writes)

    def close(self) -> None:
        self._backend.close()

    def _written(
        self, operation: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        try:
            result = self._measured(operation, call, *args, **kwargs)
        except NoWrites:
            self._takes_no_writes = True
            raise
        self._takes_no_writes = False
        return result

    def _measured(
        self, operation: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        began = time.perf_counter()
        outcome = "failed"
        try:
            with span(f"store.{operation}"):
                result = call(*args, **kwargs)
            outcome = "ok"
        except (Conflict, Unavailable) as error:
            outcome = "conflict" if isinstance(error, Conflict) else "unavailable"
            raise
        finally:
            self._metrics.count_storage(operation, outcome, time.perf_counter() - began)
        return result
