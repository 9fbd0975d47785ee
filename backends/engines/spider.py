"""Items in several MariaDB servers, the shards, behind heads with MariaDB's Spider engine.

A head routes statements by partition. Each statement is for one shard: Spider sends that whole. Of a
statement for several shards Spider makes others, and pages of a scan lack partitions. Nor does Spider
count the rows of a DELETE, or read two tables at one instant (MariaDB 10.11; ADR 64).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, Select, TableClause
from sqlalchemy.exc import DBAPIError

from backends import (
    Address,
    BackendError,
    BackendStats,
    Item,
    ItemInfo,
    Operation,
    Unavailable,
    chunks,
)
from backends.breaker import CircuitBreaker, CircuitOpen, Outcome
from backends.engines.mysql import (
    POOL_SECONDS,
    SILENCE_SECONDS,
    Rejected,
    RejectedWrite,
    new_breaker,
)
from backends.engines.mysql_connections import CONNECTIONS, whole_number
from backends.engines.spider_heads import (
    Head,
    ShardSilent,
    compare,
    of_number,
    opened_heads,
    parse,
    reject_others,
)
from backends.engines.sql import AllInUse
from backends.engines.statements import Text
from backends.findings import Finding

_T = TypeVar("_T")

MAX_SILENT_OPERATIONS: Final = 2
"""So many operations wait for a shard that answers none; further ones are rejected at once."""


@dataclass(frozen=True, slots=True)
class _Guard:
    """The circuit breaker of a shard, and the bound of the pool's connections that it may occupy."""

    name: str
    places: threading.BoundedSemaphore
    breaker: CircuitBreaker
    is_silent: threading.Event = field(default_factory=threading.Event)
    inside: threading.local = field(default_factory=threading.local)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over an operation, or raise `ShardSilent` as others wait in vain."""
        if getattr(self.inside, "is_watched", False):  # it looks up its own write
            yield
            return
        try:
            with self.breaker.call(), self._place():
                yield
        except (CircuitOpen, ShardSilent):
            self.is_silent.set()
            raise ShardSilent(f"{self.name} does not answer") from None
        self.is_silent.clear()

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self.places.acquire(timeout=POOL_SECONDS):
            raise AllInUse(f"all connections for {self.name} are in use", retry_after=1)
        self.inside.is_watched = True
        try:
            yield
        finally:
            self.inside.is_watched = False
            self.places.release()


class SpiderBackend(Head):
    """The service's side of heads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # A silent shard leaves connections to the others, and never seems to be a silent head.
        self._places = max(1, whole_number(self._url, "connections", CONNECTIONS) // 2)
        self._breaker = new_breaker(max_stalled=self._places + 1)
        self._guards = [
            _Guard(name, threading.BoundedSemaphore(self._places), _new_breaker())
            for name in self._shards
        ]

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> Self:
        """Open `spider://user:password@/database?host=head1&host=head2&shards=one,two,three`.

        The shards are servers that `CREATE SERVER` has made at each head; their order decides where
        items are. Further options are those of `MysqlBackend.from_url`. A head gives up a silent data
        server after half of `read_timeout`.

        Raises `ValueError` if the URL has another form, or names a file that can't be used.
        """
        parsed, shards = parse(url)
        return cls.open_at(parsed, shards, clock, reject_others(shards))

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        found: dict[Address, Item] = {}
        for shard, wanted in self._by_shard(addresses, lambda address: address.partition):
            with self._guards[shard].watching():
                found |= super().get_many(wanted)
        return found

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        with self._guards[self._shard_of(partition)].watching():
            return super().apply(partition, operations)

    def list_many(self, partitions: Iterable[bytes]) -> Mapping[bytes, Sequence[ItemInfo]]:
        wanted = list(dict.fromkeys(partitions))
        found: dict[bytes, Sequence[ItemInfo]] = {}
        for shard, some in self._by_shard(wanted, lambda partition: partition):
            with self._guards[shard].watching():
                found |= super().list_many(some)
        return {partition: found[partition] for partition in wanted}

    def read_many(
        self, partitions: Sequence[bytes], max_bytes: int
    ) -> Mapping[bytes, Mapping[str, Item]]:
        # By listings: SUM and GROUP BY over Spider return a row also where there is none.
        wanted = list(dict.fromkeys(partitions))
        sizes = {
            each: sum(info.size for info in infos) for each, infos in self.list_many(wanted).items()
        }
        portion = next(chunks(sizes, sizes.__getitem__, max_bytes), [])
        found: dict[bytes, Mapping[str, Item]] = {}
        for shard, some in self._by_shard(portion, lambda partition: partition):
            with self._guards[shard].watching():
                found |= self._read_items(some)
        return {partition: found[partition] for partition in portion}

    def purge_expired(self, limit: int) -> int:
        for shard, guard in enumerate(self._guards):
            if guard.is_silent.is_set():  # perhaps nobody has asked since it came back
                with suppress(Unavailable):
                    self._ask(shard)
        return super().purge_expired(limit)

    def ping(self) -> None:
        failure = Unavailable()
        for shard in range(len(self._shards)):
            try:
                self._ask(shard)
            except Unavailable as error:  # the others may serve
                failure = error
            else:
                self._check_writable()
                return
        raise failure

    def try_write(self) -> None:
        self.ping()  # a shard without room is no fault of the others

    def initialize(self) -> None:
        with opened_heads(self._url, self._shards, self._clock) as heads:
            for head in heads:
                head.make_tables()
            compare(heads)
            for head in heads:
                head.stamp()

    def check_schema(self) -> None:
        lost: list[Unavailable] = []
        with opened_heads(self._url, self._shards, self._clock) as heads:
            for head in heads:
                try:
                    head.check_schema()
                except Unavailable as error:
                    lost.append(error)
        if len(lost) == len(heads):
            raise lost[0]

    def examine(self) -> Iterator[Finding]:
        # A head keeps nothing: whether writes last is a matter of the data servers.
        yield from (each for each in super().examine() if each.subject != "durability")
        yield of_number(len(self._shards))
        with opened_heads(self._url, self._shards, self._clock) as heads:
            for number, head in enumerate(heads, 1):
                yield from head.examine_shards(f"head {number} of {len(heads)}")

    def stats(self) -> BackendStats:
        found = super().stats()
        is_silent = any(each.is_silent.is_set() for each in self._guards)
        return replace(found, is_unreachable=found.is_unreachable or is_silent)

    def _translate(self, error: DBAPIError) -> BackendError:
        failure = super()._translate(error)
        if isinstance(failure, RejectedWrite):  # of one shard: the others take writes
            return Rejected(str(failure), failure.retry_after)
        return failure

    def _ask(self, shard: int) -> None:
        with self._guards[shard].watching():
            self._read_nothing(self._probe(shard))

    @property
    def _batches_at_once(self) -> int:
        return self._places  # all may be for one shard

    def _by_shard(
        self, wanted: Iterable[_T], partition_of: Callable[[_T], bytes]
    ) -> Iterable[tuple[int, Sequence[_T]]]:
        by_shard: dict[int, list[_T]] = {}
        for each in wanted:
            by_shard.setdefault(self._shard_of(partition_of(each)), []).append(each)
        return by_shard.items()

    def _parts(self, table: TableClause, select: Select[Any]) -> Iterator[Select[Any]]:
        for name in self._shards:
            yield select.with_hint(table, f"PARTITION ({name})")

    def _read_whole(self, text: Text) -> Sequence[Any]:
        if not text.is_of_both:
            return self._read(text)

        def read(connection: Connection) -> Sequence[Any]:
            # Spider sends a SELECT for each table: a transaction gives them one view of the data.
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with self._transaction(connection):
                return text.rows(connection)

        return self._retrying(read)


def _new_breaker() -> CircuitBreaker:
    return CircuitBreaker(_outcome, max_stalled=MAX_SILENT_OPERATIONS, stall_seconds=SILENCE_SECONDS)


def _outcome(error: BaseException, seconds: float) -> Outcome:
    if isinstance(error, ShardSilent):
        return Outcome.FAILED if seconds > SILENCE_SECONDS else Outcome.UNKNOWN
    return Outcome.UNKNOWN if isinstance(error, Unavailable) else Outcome.ANSWERED
