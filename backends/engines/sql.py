"""Items in a SQL database, by SQLAlchemy Core: what MySQL and SQLite have in common.

Every statement is filtered by partition (purge and scan excepted, which are the operator's), and every
expectation is a condition of the statement that writes, never a read before it. A batch of one
statement is sent without a transaction around it. docs/reference/statements.md has the rules that let
clusters and sharding proxies carry out every statement.
"""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Row,
    Table,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
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
    new_version,
)
from backends.engines import migrations
from backends.engines.failures import AllInUse, ConnectionLost, Transient
from backends.engines.schema import BULK, SMALL, addressed, by_key, names_of, portions, row_of, table_of

MOST_PAUSE_SECONDS: Final = 0.25  # between two attempts
MAX_LOSSES: Final = 3
"""How many connections in a row an operation may lose: a server that breaks off every time, as it does
when a packet is too large for it, is not asked for ever."""

_T = TypeVar("_T")
_Step = Callable[[Connection], None]


class SqlBackend(Backend):
    """A backend on an engine in AUTOCOMMIT mode; transactions are begun by hand.

    Args:
        engine: where to connect; its pool refuses instead of queueing without bound.
        time_limit: seconds after which an operation is given up that the database undid or broke off.
        clock: seconds since 1970.
    """

    BEGIN: ClassVar[str]
    """The statement that begins a transaction which will write."""

    def __init__(
        self, engine: Engine, time_limit: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._time_limit = time_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._retries: Counter[str] = Counter()

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        wanted: dict[Table, dict[bytes, set[bytes]]] = {}
        for partition, name in addresses:
            by_partition = wanted.setdefault(table_of(name), {})
            by_partition.setdefault(partition, set()).add(name.encode("ascii"))
        reads = [
            select(table.c.partition, table.c.name, table.c.version, table.c.expires_at, table.c.value)
            .where(addressed(table, by_partition))
            .where(self._is_live(table))
            for table, by_partition in wanted.items()
        ]
        if not reads:
            return {}
        return {
            Address(bytes(row.partition), bytes(row.name).decode("ascii")): Item(
                bytes(row.value), row.version, row.expires_at
            )
            for row in self._read(reads[0] if len(reads) == 1 else union_all(*reads))
        }

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        check_batch(partition, operations)
        versions = {each.name: new_version() for each in operations if isinstance(each, Put)}
        steps = list(self._steps(partition, operations, versions))
        if steps:
            self._write(steps, lambda: self._has_arrived(partition, operations, versions))
        return versions

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        reads = (
            select(
                table.c.name,
                table.c.version,
                func.length(table.c.value).label("size"),
                table.c.expires_at,
            )
            .where(table.c.partition == partition)
            .where(self._is_live(table))
            for table in (SMALL, BULK)
        )
        infos = (
            ItemInfo(bytes(row.name).decode("ascii"), row.version, row.size, row.expires_at)
            for row in self._read(union_all(*reads))
        )
        return sorted(infos, key=lambda info: info.name)

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        # Two plain statements: what proxies make of derived tables differs.
        found = {
            bytes(row.partition)
            for table in (SMALL, BULK)
            for row in self._read(
                select(table.c.partition)
                .distinct()
                .where(table.c.partition > (after or b""))
                .where(self._is_live(table))
                .order_by(table.c.partition)
                .limit(limit)
            )
        }
        return sorted(found)[:limit]

    def purge_expired(self, limit: int) -> int:
        now = int(self._clock())
        purged = 0
        for table in (SMALL, BULK):
            expired = select(table.c.partition, table.c.name, table.c.version)
            for row in self._read(expired.where(table.c.expires_at <= now).limit(limit - purged)):
                # One short statement each, by primary key: nobody waits for a purge.
                statement = by_key(delete(table), table, row.partition, row.name)
                statement = statement.where(table.c.version == row.version)
                self._write([_expecting_nothing(statement)], lambda: True)
                purged += 1
        return purged

    def ping(self) -> None:
        self._read(select(literal(1)))

    def initialize(self) -> None:
        self._retrying(migrations.upgrade, lambda: None)

    def check_schema(self) -> None:
        self._retrying(migrations.check, lambda: None)

    def stats(self) -> BackendStats:
        with self._lock:
            retries = dict(self._retries)
        pool = cast("QueuePool", self._engine.pool)
        return BackendStats(retries, pool.checkedout(), pool.size())

    def close(self) -> None:
        self._engine.dispose()

    @abstractmethod
    def _upsert(self, table: Table) -> Any:
        """Return an INSERT that replaces the row of the same key."""

    @abstractmethod
    def _translate(self, error: DBAPIError) -> BackendError:
        """Return what an error of the driver means: Transient, ConnectionLost or Unavailable."""

    def _is_live(self, table: Table) -> Any:
        return or_(table.c.expires_at.is_(None), table.c.expires_at > int(self._clock()))

    def _steps(
        self, partition: bytes, operations: Sequence[Operation], versions: Mapping[str, int]
    ) -> Iterator[_Step]:
        """Return the statements of a batch, those that can fail first.

        Among those that can fail, and among the others, in the order of tables and names, so that
        two batches seldom lock rows in opposite orders.
        """
        ordered = sorted(operations, key=lambda each: ("/" in each.name, each.name))
        for each in ordered:
            if each.if_version is not ANYTHING:
                yield self._expecting(partition, each, versions)
        for table in (SMALL, BULK):
            free = [
                each for each in ordered if each.if_version is ANYTHING and table_of(each.name) is table
            ]
            names = {each.name.encode("ascii") for each in free if isinstance(each, Delete)}
            if names:
                yield _expecting_nothing(delete(table).where(names_of(table, partition, names)))
            puts = [each for each in free if isinstance(each, Put)]
            for rows in portions(partition, puts, versions):
                yield _expecting_nothing(self._upsert(table).values(rows))

    def _expecting(self, partition: bytes, operation: Operation, versions: Mapping[str, int]) -> _Step:
        table = table_of(operation.name)
        name = operation.name.encode("ascii")
        if isinstance(operation, Delete):
            statement = by_key(delete(table), table, partition, name)
            expected = table.c.version == operation.if_version
            return _expecting_one(statement.where(expected, self._is_live(table)))
        row = row_of(partition, operation, versions)
        # Not the key: what places a row can't be set where rows are placed on shards by it.
        changed = {column: value for column, value in row.items() if not table.c[column].primary_key}
        replace = by_key(update(table), table, partition, name).values(changed)
        if operation.if_version is not ABSENT:
            expected = table.c.version == operation.if_version
            return _expecting_one(replace.where(expected, self._is_live(table)))

        def create(connection: Connection) -> None:
            try:
                connection.execute(insert(table).values(row))
            except IntegrityError:
                pass  # its message, which names the partition, is not to be the context of a conflict
            else:
                return
            # What is there may have expired.
            expired = table.c.expires_at <= int(self._clock())
            _expecting_one(replace.where(expired))(connection)

        return create

    def _has_arrived(
        self, partition: bytes, operations: Sequence[Operation], versions: Mapping[str, int]
    ) -> bool:
        """Tell whether a batch took effect whose outcome is unknown: the versions are its signature.

        Raises:
            Unavailable: neither it nor what it expected is there: somebody else wrote, before it or
                over it, and nothing tells which.
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

    def _read(self, statement: Executable) -> Sequence[Row[Any]]:
        return self._retrying(lambda connection: connection.execute(statement).all(), lambda: None)

    def _write(self, steps: Sequence[_Step], has_arrived: Callable[[], bool]) -> None:
        is_in_doubt = False  # whether anything was sent that may take effect without our knowing
        deadline = time.monotonic() + self._time_limit

        def carry_out(connection: Connection) -> bool:
            nonlocal is_in_doubt
            if len(steps) == 1:
                is_in_doubt = True
                steps[0](connection)
                return True
            with self._transaction(connection):
                for step in steps:
                    if time.monotonic() > deadline:  # each may take as long as all together
                        raise Transient("the statements take too long")
                    step(connection)
                is_in_doubt = True
            return True

        self._retrying(carry_out, lambda: (is_in_doubt and has_arrived()) or None)

    def _retrying(
        self, work: Callable[[Connection], _T], outcome_after_loss: Callable[[], _T | None]
    ) -> _T:
        """Do work until the database has done it, within the time limit.

        After a lost connection `outcome_after_loss` finds out whether the work took effect; None means
        that it did not.
        """
        deadline = time.monotonic() + self._time_limit
        pause = 0.005
        losses = 0
        while True:
            try:
                with self._connected() as connection:
                    return work(connection)
            except Conflict:
                # With what was sent before the loss, which took effect after it was looked for?
                if losses and (outcome := outcome_after_loss()) is not None:
                    return outcome
                raise
            except (Transient, ConnectionLost) as failure:
                if isinstance(failure, ConnectionLost):
                    losses += 1
                    if losses >= MAX_LOSSES:
                        raise Unavailable(failure.final_message) from None
                if time.monotonic() + pause > deadline:
                    raise Unavailable("the database did not do it in time") from None
                if (
                    isinstance(failure, ConnectionLost)
                    and (outcome := outcome_after_loss()) is not None
                ):
                    return outcome
                with self._lock:
                    self._retries[failure.reason] += 1
            time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, hides nothing
            pause = min(2 * pause, MOST_PAUSE_SECONDS)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Borrow a connection from the pool; what the driver raises meanwhile is translated."""
        try:
            connection = self._engine.connect()
        except PoolTimeoutError:
            raise AllInUse("all connections to the database are in use", retry_after=1) from None
        except DBAPIError as error:
            failure = self._translate(error)
            if isinstance(failure, ConnectionLost):
                # Nothing was sent yet, and a new connection would hardly fare better.
                failure = Unavailable(failure.final_message)
            raise failure from None
        with connection:
            try:
                yield connection
            except DBAPIError as error:
                raise self._translate(error) from None
            except BackendError:
                raise
            except BaseException:
                connection.invalidate()  # an answer that is on its way would be the next operation's
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


def _expecting_nothing(statement: Executable) -> _Step:
    def step(connection: Connection) -> None:
        connection.execute(statement)

    return step


def _expecting_one(statement: Executable) -> _Step:
    """Return a step that is a conflict unless its statement finds the row that it expects."""

    def step(connection: Connection) -> None:
        if cast("CursorResult[Any]", connection.execute(statement)).rowcount != 1:
            raise Conflict("the item is absent or at another version")

    return step
