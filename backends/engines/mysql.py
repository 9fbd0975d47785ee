"""Items in a MySQL-compatible database: MySQL 8, MariaDB 10.11, and others.

Of several hosts, for example the nodes of a Galera cluster, the first healthy one is used: see
`backends.engines.hosts`. No foreign keys, AUTO_INCREMENT, GET_LOCK or LOCK TABLES: clusters and
sharding proxies support none of them well.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    TableClause,
    event,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError

from backends import (
    MAX_VALUE_BYTES,
    BackendError,
    BackendStats,
    BatchOutcome,
    NoWrites,
    Operation,
    Unavailable,
    WrongSchema,
    of_schema,
    outcome_of,
)
from backends.breaker import CircuitBreaker, CircuitOpen, Outcome
from backends.engines import mysql_findings
from backends.engines.hosts import NOT_READY, Hosts, error_number, host_of, is_of_client
from backends.engines.mysql_connections import (
    CONNECTIONS,
    LOCK_SECONDS,
    TIME_LIMITS,
    UNTRUSTED,
    Opener,
    hosts_of,
    parse_url,
    whole_number,
)
from backends.engines.sql import AllInUse, ConnectionLost, SqlBackend, Transient, open_engine
from backends.engines.statements import CONTENT, SMALL, by_key
from backends.findings import Finding, Level, failed, of_clock

POOL_SECONDS: Final = 1
"""How long an operation waits for a connection of the pool."""

RECYCLE_SECONDS: Final = 300
"""Connections are replaced after this time, before firewalls and `wait_timeout` end them."""

SILENCE_SECONDS: Final = 1.0
"""An operation that fails after a longer wait opens the circuit breaker."""

MAX_SILENT_OPERATIONS: Final = 3
"""So many operations may wait longer while the database answers none."""

PACKET_BYTES: Final = 2 * MAX_VALUE_BYTES + 64 * 1024
"""The size of packets that the server must accept: statements hold values in hexadecimal."""

MISPLACED: Final = 1735
"""The error for a head with other tables than the URL says; servers have it for unknown partitions."""

_FULL: Final = {1021, 1114}
_REASONS: Final = {
    1040: "it has too many connections",
    1044: "its user may not use the database",
    1045: "it rejects the user or the password",
    1049: "it has no database of that name",
    1105: "it fails, perhaps because its wsrep_max_ws_size is too small",
    1142: "its user may not do this",
    1153: "its max_allowed_packet is too small",
    1193: "it lacks a variable: a head of shards needs mariadb-plugin-spider",
    1203: "it has too many connections of its user",
    1477: "the head lacks a server of a shard's name: CREATE SERVER makes it",
    1665: "its binlog_format is STATEMENT",
    MISPLACED: "the head has no tables yet, or other shards than the URL",
    1820: "the password of its user has expired",
    1862: "the password of its user has expired",
    2003: "it can't be reached",
    UNTRUSTED: "it does not speak TLS, or its certificate is not the expected one",
    2059: "its user's authentication plugin needs a library (ed25519: the Python package PyNaCl)",
    2027: "the server there does not speak MySQL",
    3118: "its user is locked",  # MySQL
    4151: "its user is locked",  # MariaDB
}

logger = logging.getLogger(__name__)

_TRANSIENT: Final = {
    1205,  # lock wait timeout, also of causality checks in a cluster
    1213,  # deadlock, and a certification conflict of Galera
    1020,  # the row changed since it was read (innodb_snapshot_isolation)
    3101,  # a certification conflict of Group Replication
    8022,  # TiDB: the commit failed and was rolled back
    8028,  # TiDB: the schema has changed
    9007,  # TiDB: a write conflict
}
_LOST: Final = {
    1053,  # server shutdown
    1927,  # connection was killed
    2006,  # server has gone away
    2013,  # lost connection during query
    2055,  # lost connection, system error
}
_NOT_READY: Final = {
    NOT_READY: "no node of the database's cluster is ready",
    1180: "the database fails to commit",  # on other nodes the commit may have taken effect
    1290: "the database is read-only",  # read_only
    1792: "the database is read-only",  # transaction_read_only
    1836: "the database is read-only",  # innodb_read_only
}


class HostLost(ConnectionLost):
    """One of several hosts is lost: the next connection goes to another."""


class Rejected(Unavailable):
    """The database answered that it can't do it."""


class RejectedWrite(Rejected, NoWrites):
    """The database answered that it takes no writes."""


class _RollBack(Exception):
    """Ends a transaction that shall have no effect."""


class MysqlBackend(SqlBackend):
    """A MySQL-compatible database."""

    BEGIN = "START TRANSACTION"

    def __init__(
        self,
        engine: Engine,
        time_limit: float,
        clock: Callable[[], float],
        hosts: Hosts,
        connect_seconds: float,
    ) -> None:
        super().__init__(engine, time_limit, clock)
        self._breaker = new_breaker()
        self._is_lost = False
        self._hosts = hosts
        self._connect_seconds = connect_seconds

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> MysqlBackend:
        """Open `mysql://user:password@host:port/database`, with options in the query.

        - Several hosts, in order of preference: `mysql://user:password@/database?host=one:3306&host=two`.
        - TLS: `?ssl_ca=/path/ca.pem` verifies the server's certificate and name; the file is read now.
        - `connect_timeout`, `read_timeout` and `write_timeout` in seconds. No attempt of an operation
          begins after `read_timeout`.
        - `connections`: size of the pool; fewer than the threads of the service.
        - Further options: see `mysql_connections`.

        Raises `ValueError` if the URL has another form, or names a file that can't be used.
        """
        return cls._opened(parse_url(url), clock)

    @classmethod
    def _opened(
        cls,
        parsed: URL,
        clock: Callable[[], float],
        prepare: Callable[[Any], None] | None = None,
        **more: Any,
    ) -> Self:
        """Open the database of a parsed URL; `prepare` is that of `Opener`, `more` of the class."""
        connections = whole_number(parsed, "connections", CONNECTIONS)
        timeouts = {name: whole_number(parsed, name, seconds) for name, seconds in TIME_LIMITS.items()}
        url_of_one = parsed.difference_update_query(["connections", "host", *timeouts])
        places = hosts_of(parsed)
        hosts = Hosts(places, Opener(url_of_one, timeouts, prepare))
        engine = open_engine(
            url_of_one,
            creator=hosts.connect,
            pool_size=connections,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
        )
        _listen(engine, hosts, timeouts)
        connect_seconds = 2 * timeouts["connect_timeout"] * len(places)  # TCP, then greeting
        return cls(engine, timeouts["read_timeout"], clock, hosts, connect_seconds, **more)

    @property
    def write_seconds(self) -> float:
        # Getting a connection and the time limit of attempts; the last attempt with its own connection,
        # a statement and COMMIT; a lock that the server waits for after the last attempt has failed.
        getting = POOL_SECONDS + self._connect_seconds
        return 2 * getting + 3 * self._time_limit + LOCK_SECONDS

    def apply_many(self, batches: Mapping[bytes, Sequence[Operation]]) -> Mapping[bytes, BatchOutcome]:
        # Each batch in its own transaction, so that it stays on one shard. The server waits for the
        # disk once for all that commit at the same time.
        with ThreadPoolExecutor(self._batches_at_once) as pool:
            outcomes = pool.map(partial(outcome_of, self), batches, batches.values())
            return dict(zip(batches, outcomes, strict=True))

    @property
    def _batches_at_once(self) -> int:
        return max(1, self.stats().max_connections - 1)

    def check_schema(self) -> None:
        super().check_schema()
        sizes = text(
            "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'wsrep_max_ws_size')"
        )
        for row in self._read(sizes):
            if int(row.Value) < PACKET_BYTES:
                raise WrongSchema(
                    f"the database's {row.Variable_name} of {row.Value} bytes must be at least "
                    f"{PACKET_BYTES}"
                )

    def examine(self) -> Iterator[Finding]:
        found = {row.Variable_name: row.Value for row in self._read(mysql_findings.VARIABLES)}
        yield from mysql_findings.of_variables(found, PACKET_BYTES)
        [now] = self._read(mysql_findings.CLOCK)
        yield of_clock("clock", float(now[0]) - self._clock())
        schema = of_schema(super().check_schema)
        yield schema
        if schema.level is Level.OK and mysql_findings.may_write(found):
            yield self._examine_rights()

    def _examine_rights(self) -> Finding:
        try:
            self._retrying(self._try_writes)
        except Rejected as error:
            return failed("rights", str(error), mysql_findings.ADVICE_RIGHTS)
        try:
            rows = [row for each in mysql_findings.PRIVILEGES for row in self._read(each)]
        except Rejected:  # not every compatible database has these tables
            rows = []
        return mysql_findings.of_privileges({row[0] for row in rows})

    def _try_writes(self, connection: Connection) -> None:
        with suppress(_RollBack), self._transaction(connection):
            for statement in mysql_findings.trial_writes(secrets.token_hex(16).encode()):
                connection.execute(statement)
            raise _RollBack

    def ping(self) -> None:
        # A read of a table: a node outside of its cluster answers a SELECT without a table.
        self._read_nothing(b"\x00")
        self._check_writable()

    def _read_nothing(self, partition: bytes) -> None:
        self._read(by_key(select(literal(1)).select_from(SMALL), SMALL, partition, b"ping"))

    def _check_writable(self) -> None:
        found = {row.Variable_name: row.Value for row in self._read(mysql_findings.WRITABLE)}
        if not mysql_findings.may_write(found):
            raise RejectedWrite("the database takes no writes: it is read-only, or logs statements")

    def try_write(self) -> None:
        self._check_writable()
        super().try_write()

    def stats(self) -> BackendStats:
        # A stopped server rejects connections at once: that never opens the circuit breaker.
        return replace(super().stats(), is_unreachable=self._breaker.is_open or self._is_lost)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._breaker.call(), super()._connected() as connection, self._on_host(connection):
                yield connection
        except CircuitOpen:
            raise Unavailable("the database does not answer") from None
        except Exception as error:
            self._is_lost = _is_loss(error) or (
                self._is_lost and isinstance(error, AllInUse | HostLost)
            )
            raise
        self._is_lost = False

    @contextmanager
    def _on_host(self, connection: Connection) -> Iterator[None]:
        """Watch the host of an operation's connection; skip a host that is not ready."""
        driver_connection = connection.connection.dbapi_connection
        try:
            with self._hosts.watching(driver_connection):
                yield
        except DBAPIError as error:
            failure, host = self._translate(error), host_of(driver_connection)
            if (code := error_number(error.orig)) in _NOT_READY:
                self._hosts.skip(host, code)
            if isinstance(failure, ConnectionLost) and self._hosts.is_skipped(host):
                failure = HostLost(str(failure))
            raise failure from None

    def close(self) -> None:
        self._hosts.close()
        super().close()

    def _upsert(self, table: TableClause) -> Any:
        # Not `Insert.inserted`: on MySQL 8 that is a row alias, unknown to TiDB and older Vitess.
        replaced: dict[str, Any] = {name: literal_column(f"VALUES({name})") for name in CONTENT}
        return insert(table).on_duplicate_key_update(replaced)

    def _translate(self, error: DBAPIError) -> BackendError:
        code = error_number(error.orig)
        if code in _TRANSIENT:
            return Transient(f"MySQL error {code}")
        if code in _NOT_READY:
            return ConnectionLost(_NOT_READY[code])
        if code in _LOST or error.connection_invalidated:
            return ConnectionLost()
        logger.error("MySQL error %s (%s)", code, type(error.orig).__name__)
        if code in _FULL:
            return RejectedWrite("the database has no room left", retry_after=60)
        kind = Unavailable if is_of_client(code) else Rejected
        reason = _REASONS.get(code, "it fails")
        return kind(f"the database can't be used: {reason} (MySQL error {code})")


def new_breaker(
    clock: Callable[[], float] = time.monotonic, max_stalled: int = MAX_SILENT_OPERATIONS
) -> CircuitBreaker:
    """Return a circuit breaker for a database: it opens when the database falls silent."""
    return CircuitBreaker(_outcome, max_stalled=max_stalled, stall_seconds=SILENCE_SECONDS, clock=clock)


def _outcome(error: BaseException, seconds: float) -> Outcome:
    if isinstance(error, Rejected) or not isinstance(error, (ConnectionLost, Unavailable)):
        return Outcome.ANSWERED
    return Outcome.FAILED if _is_loss(error) and seconds > SILENCE_SECONDS else Outcome.UNKNOWN


def _is_loss(error: BaseException) -> bool:
    """Return whether an operation had no answer of the database."""
    # The last two waited for other operations, or for a host that is no longer used.
    return isinstance(error, (ConnectionLost, Unavailable)) and not isinstance(
        error, (Rejected, AllInUse, HostLost)
    )


def _listen(engine: Engine, hosts: Hosts, timeouts: Mapping[str, int]) -> None:
    @event.listens_for(engine, "connect")
    def set_timeouts(connection: Any, _: object) -> None:
        # Only now: SQLAlchemy's questions to a new connection are answered soon, or never.
        connection._read_timeout = timeouts["read_timeout"]  # noqa: SLF001 - it has no other way
        connection._write_timeout = timeouts["write_timeout"]  # noqa: SLF001

    @event.listens_for(engine, "checkout")
    def check_host(connection: Any, record: Any, _: object) -> None:
        if not hosts.is_preferred(connection, record.info):
            raise DisconnectionError("another host is preferred")

    @event.listens_for(engine, "handle_error")
    def mark_disconnect(context: ExceptionContext) -> None:
        if error_number(context.original_exception) in _LOST | _NOT_READY.keys():
            # This connection and older ones lead to the wrong server or to none.
            context.is_disconnect = True
