"""The common part of the SQL engines: connections, transactions, and repeated attempts.

A batch of one statement is sent without a transaction around it.
"""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from typing import Any, ClassVar, Final, TypeVar, cast

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    TableClause,
    create_engine,
    literal,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import Executable

from backends import (
    ABSENT,
    ANYTHING,
    Address,
    Backend,
    BackendError,
    BackendStats,
    Conflict,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
    Unavailable,
    check_batch,
    chunks,
    new_version,
)
from backends.engines import migrations, statements
from backends.engines.statements import BULK, SMALL, Step, Text, Texts

MAX_PAUSE_SECONDS: Final = 0.25
"""The longest pause between two attempts."""

TRIAL_PARTITION: Final = b"\x00"
"""The partition of trial writes; no email has it."""

MAX_LOSSES: Final = 3
"""Connections that an operation may lose: a server that breaks off every time, as it does when a
packet is too large, is not asked for ever."""

_T = TypeVar("_T")


class Transient(BackendError):
    """The database rolled back the statements and asks to try again."""

    reason: ClassVar[str] = "transient"


class ConnectionLost(BackendError):
    """The connection broke: the last statement may or may not have taken effect.

    Its message is for `Unavailable` once retries have failed.
    """

    reason: ClassVar[str] = "connection_lost"

    def __init__(self, message: str = "the database breaks off every connection") -> None:
        super().__init__(message)


class AllInUse(Unavailable):
    """No connection of the pool became free in time."""


class SqlBackend(Backend):
    """A backend on an engine in AUTOCOMMIT mode; statements begin and end transactions.

    The pool of the engine raises a timeout instead of queueing without bound. No further attempt of an
    operation begins after `time_limit` seconds.
    """

    BEGIN: ClassVar[str]
    """The statement that begins a transaction with writes."""

    COUNTS_DELETED: ClassVar[bool] = True
    """Whether a DELETE returns the number of rows that it has deleted."""

    TRIAL_BYTES: ClassVar[int] = 0
    """The size of the value that `try_write` writes and deletes."""

    SCHEMA_PREFIX: ClassVar[str] = ""
    """Before the schema's version: databases of other kinds are rejected."""

    def __init__(
        self, engine: Engine, time_limit: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._time_limit = time_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._retries: Counter[str] = Counter()
        self._texts = Texts(engine.dialect, self._upsert)

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        text = statements.read(addresses, self._now(), self._texts)
        rows = self._read_whole(text) if text is not None else ()
        return {
            Address(partition, name.decode("ascii")): Item(value, version, expires_at)
            for partition, name, version, expires_at, value in rows
        }

    def read_many(
        self, partitions: Sequence[bytes], max_bytes: int
    ) -> Mapping[bytes, Mapping[str, Item]]:
        if not partitions:
            return {}
        bytes_of = dict.fromkeys(partitions, 0)
        sizes = self._read(statements.sizes(partitions, self._now(), self._texts))
        for partition, size in sizes:
            bytes_of[partition] += int(size)
        return self._read_items(next(chunks(bytes_of, bytes_of.__getitem__, max_bytes)))

    def _read_items(self, portion: Sequence[bytes]) -> dict[bytes, dict[str, Item]]:
        items: dict[bytes, dict[str, Item]] = {partition: {} for partition in portion}
        rows = self._read_whole(statements.read_items(portion, self._now(), self._texts))
        for partition, name, version, expires_at, value in sorted(rows, key=itemgetter(1)):
            items[partition][name.decode("ascii")] = Item(value, version, expires_at)
        return items

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        versions, steps = self._prepared(partition, operations)
        if steps:
            self._write(steps, lambda: self._has_arrived(partition, operations, versions))
        return versions

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        return self.list_many([partition])[partition]

    def list_many(self, partitions: Iterable[bytes]) -> Mapping[bytes, Sequence[ItemInfo]]:
        listed: dict[bytes, list[ItemInfo]] = {partition: [] for partition in partitions}
        if listed:
            text = statements.list_items(list(listed), self._now(), self._texts)
            rows = self._read_whole(text)
            for partition, name, version, size, expires_at in sorted(rows, key=itemgetter(1)):
                listed[partition].append(ItemInfo(name.decode("ascii"), version, size, expires_at))
        return listed

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        # Two plain statements: proxies differ in their support of derived tables.
        found = {
            row.partition
            for table in (SMALL, BULK)
            for select in self._parts(table, statements.scan(table, after, limit, self._now()))
            for row in self._read(select)
        }
        return sorted(found)[:limit]

    def purge_expired(self, limit: int) -> int:
        found = (
            (table, row)
            for table in (SMALL, BULK)
            for select in self._parts(table, statements.expired(table, limit, self._now()))
            for row in self._read(select)
        )
        purged = 0
        for table, row in islice(found, limit):
            # One short statement each, by primary key: a purge blocks nobody.
            statement = statements.delete_version(table, row.partition, row.name, row.version)
            self._write([Step(statement)], lambda: True)
            purged += 1
        return purged

    def ping(self) -> None:
        self._read(select(literal(1)))

    def try_write(self) -> None:
        name = f"trial.{new_version()}"
        batches: Sequence[Sequence[Operation]] = (
            [Put(name, bytes(self.TRIAL_BYTES), ABSENT)],
            [Delete(name)],
        )
        steps = [step for each in batches for step in self._prepared(TRIAL_PARTITION, each)[1]]
        self._write(steps, lambda: True)  # one transaction

    def initialize(self) -> None:
        self._retrying(migrations.upgrade)

    def check_schema(self) -> None:
        self._retrying(lambda at: migrations.check(at, self.SCHEMA_PREFIX))

    def stats(self) -> BackendStats:
        with self._lock:
            retries = dict(self._retries)
        pool = cast("QueuePool", self._engine.pool)
        return BackendStats(retries, pool.checkedout(), pool.size())

    def close(self) -> None:
        self._engine.dispose()

    @abstractmethod
    def _upsert(self, table: TableClause) -> Any:
        """Return an INSERT that replaces the row with the same key."""

    @abstractmethod
    def _translate(self, error: DBAPIError) -> BackendError:
        """Return the meaning of a driver's error: Transient, ConnectionLost or Unavailable."""

    def _prepared(
        self, partition: bytes, operations: Sequence[Operation]
    ) -> tuple[Mapping[str, int], Sequence[Step]]:
        """Return the versions and the statements of a batch within the limits."""
        check_batch(partition, operations)
        versions = {each.name: new_version() for each in operations if isinstance(each, Put)}
        steps = statements.batch(
            partition, operations, versions, self._texts, self._now(), self.COUNTS_DELETED
        )
        return versions, [*steps]

    def _now(self) -> int:
        return int(self._clock())

    def _has_arrived(
        self, partition: bytes, operations: Sequence[Operation], versions: Mapping[str, int]
    ) -> bool:
        """Return whether a batch of unknown outcome took effect: its versions are its signature.

        Raises `Unavailable` if the store has neither the result of the batch nor the versions that the
        batch expected: somebody else wrote, before or after it.
        """
        names = [each.name for each in operations]
        found = self.get_many([Address(partition, name) for name in names])
        stored = {address.name: item.version for address, item in found.items()}
        if any(stored.get(name) == version for name, version in versions.items()):
            return True
        for each in operations:
            if isinstance(each, Delete) and each.name not in stored:
                continue
            expected = None if each.if_version is ABSENT else each.if_version
            if expected is not ANYTHING and stored.get(each.name) != expected:
                raise Unavailable("the connection broke and somebody else wrote", retry_after=1)
        return not versions and not stored

    def _parts(self, table: TableClause, select: Select[Any]) -> Iterator[Select[Any]]:  # noqa: ARG002
        """Yield a SELECT over all partitions for each part of a table that is asked on its own."""
        yield select

    def _read_whole(self, text: Text) -> Sequence[Any]:
        """Return the rows of a SELECT that may read two tables, as they were at one instant."""
        return self._read(text)  # one statement has one view of the data

    def _read(self, statement: Executable | Text) -> Sequence[Any]:
        if isinstance(statement, Text):
            return self._retrying(statement.rows)
        return self._retrying(lambda connection: connection.execute(statement).all())

    def _write(self, steps: Sequence[Step], has_arrived: Callable[[], bool]) -> None:
        is_in_doubt = False  # whether a broken connection may have carried out the batch
        deadline = time.monotonic() + self._time_limit

        def carry_out(connection: Connection) -> bool:
            nonlocal is_in_doubt
            to_do = steps
            while len(to_do) == 1:
                is_in_doubt = True
                to_do = to_do[0].attempt(connection)
            if not to_do:
                return True
            with self._transaction(connection):
                for step in to_do:
                    if time.monotonic() > deadline:  # each statement may take the whole time limit
                        raise Transient("the statements take too long")
                    step.carry_out(connection)
                is_in_doubt = True
            return True

        self._retrying(carry_out, lambda: (is_in_doubt and has_arrived()) or None)

    def _retrying(
        self,
        work: Callable[[Connection], _T],
        outcome_after_loss: Callable[[], _T | None] = lambda: None,
    ) -> _T:
        """Return the result of work, with repeated attempts within the time limit.

        After a lost connection `outcome_after_loss` returns the result of the last attempt, or None if
        that took no effect.
        """
        deadline = time.monotonic() + self._time_limit
        pause = 0.005
        losses = 0
        while True:
            try:
                with self._connected() as connection:
                    return work(connection)
            except Conflict:
                # Perhaps with an own attempt that arrived after `outcome_after_loss` looked for it.
                if losses and (outcome := outcome_after_loss()) is not None:
                    return outcome
                raise
            except (Transient, ConnectionLost) as failure:
                is_loss = isinstance(failure, ConnectionLost)
                losses += is_loss
                if isinstance(failure, ConnectionLost) and losses >= MAX_LOSSES:
                    raise Unavailable(str(failure)) from None
                if time.monotonic() + pause > deadline:
                    raise Unavailable("the database did not do it in time") from None
                if is_loss and (outcome := outcome_after_loss()) is not None:
                    return outcome
                with self._lock:
                    self._retries[failure.reason] += 1
            time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Borrow a connection from the pool; translate the driver's errors meanwhile."""
        try:
            connection = self._engine.connect()
        except PoolTimeoutError:
            raise AllInUse("all connections to the database are in use", retry_after=1) from None
        except DBAPIError as error:
            failure = self._translate(error)
            if isinstance(failure, ConnectionLost):
                # Nothing was sent yet, and a new connection would hardly fare better.
                failure = Unavailable(str(failure))
            raise failure from None
        with connection:
            try:
                yield connection
            except DBAPIError as error:
                raise self._translate(error) from None
            except BackendError:
                raise
            except BaseException:
                # The next operation would read the answer that is still on its way.
                connection.invalidate()
                raise

    @contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        connection.exec_driver_sql(self.BEGIN)
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            try:
                connection.exec_driver_sql("ROLLBACK")
            except SQLAlchemyError:
                connection.invalidate()
            raise


def open_engine(url: URL, **options: Any) -> Engine:
    """Return an engine in AUTOCOMMIT mode with a pool of fixed size."""
    return create_engine(
        url,
        poolclass=QueuePool,
        max_overflow=0,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
        **options,
    )
