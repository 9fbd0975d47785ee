"""Items in a database that speaks MySQL: MySQL 8, MariaDB 10.11 and what is compatible with them.

Of several hosts, as the nodes of a Galera cluster are, one is used while it is well: see
`backends.hosts`. No foreign keys, no AUTO_INCREMENT, no GET_LOCK, no LOCK TABLES: nothing that a
cluster or a sharding proxy can't do.
"""

from __future__ import annotations

import inspect
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pymysql  # type: ignore[import-untyped]
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError

from backends import MAX_VALUE_BYTES, BackendError, BackendFigures, Unavailable, WrongSchema
from backends.breaker import Breaker, HostLost, Refused
from backends.hosts import NOT_READY, Host, Hosts, host_of
from backends.schema import SMALL, by_key
from backends.sql import ConnectionLost, SqlBackend, Transient

CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 8
"""Longer than a Galera cluster takes to give up a node that does not answer (some 6 s)."""

LOCK_SECONDS: Final = 3
CONNECTIONS: Final = 6
"""Fewer than the server has threads, so that some are free for what needs no storage when the database
is silent."""

POOL_SECONDS: Final = 1
"""How long an operation waits for a connection before it is refused."""

RECYCLE_SECONDS: Final = 300
"""Firewalls and `wait_timeout` end idle connections; they are given up before."""

PACKET_BYTES: Final = 2 * MAX_VALUE_BYTES + 64 * 1024
"""What the server must take at once: statements hold values in hexadecimal."""

_SESSION: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # locks rows, never gaps between them
    "SET SESSION innodb_lock_wait_timeout = {lock_seconds}, SESSION sql_mode = 'STRICT_ALL_TABLES'",
)
_CLUSTER_SESSION: Final = "SET SESSION wsrep_sync_wait = {sync_wait}, SESSION wsrep_dirty_reads = OFF"
SYNC_WAIT: Final = 1 + 2 + 4
"""Before a read (1), UPDATE or DELETE (2) and INSERT (4) a Galera node catches up with what the others
have acknowledged: any of them sees it, and none takes for gone what it has not got yet."""

_IN_STEP: Final = "4"
"""The `wsrep_local_state` of a node that is synced: not joining, not a donor, not cut off."""

_TRANSIENT: Final = {
    1205,  # lock wait timeout, also of catching up with a cluster
    1213,  # deadlock, and a certification conflict of Galera
    1020,  # the row changed since it was read (innodb_snapshot_isolation)
}
_COMMIT_FAILED: Final = 1180
"""A node stopped being one of its cluster while it committed: the others may have it all the same."""

_LOST: Final = {
    1053,  # server shutdown
    1927,  # connection was killed
    2006,  # server has gone away
    2013,  # lost connection during query
    2055,  # lost connection, system error
}
_FULL: Final = {1021, 1114}
_REASONS: Final = {
    1040: "it has too many connections",
    1044: "its user may not use the database",
    1045: "it refuses the user or the password",
    1049: "it has no database of that name",
    1105: "it fails, perhaps because its wsrep_max_ws_size is too small",
    1142: "its user may not do this",
    1153: "its max_allowed_packet is too small",
    1290: "it is read-only",
    2003: "it can't be reached",
    2026: "it does not speak TLS",
}
_SAID_BY_SERVERS: Final = range(1000, 2000)
_PORT: Final = 3306
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+)(?::(?P<port>\d{1,5}))?")
_OPTIONS: Final = {"ssl_check_hostname", *inspect.signature(pymysql.connect).parameters}

logger = logging.getLogger(__name__)


class MysqlBackend(SqlBackend):
    """A MySQL-compatible database."""

    BEGIN = "START TRANSACTION"

    def __init__(
        self,
        engine: Engine,
        time_limit: float,
        clock: Callable[[], float] = time.time,
        *,
        hosts: Hosts,
    ) -> None:
        super().__init__(engine, time_limit, clock)
        self._breaker = Breaker()
        self._hosts = hosts

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> MysqlBackend:
        """Open `mysql://user:password@host:port/database`; the query may hold options of PyMySQL.

        Several hosts, in order of preference: `mysql://user:password@/database?host=one:3306&host=two`.
        TLS: `?ssl_ca=/path/ca.pem` verifies the server's certificate and name. Time limits in
        seconds: `connect_timeout`, `read_timeout` and `write_timeout`; an operation is given up after
        `read_timeout`. `connections`: how many to keep; fewer than the server has threads.

        Raises:
            ValueError: the URL is of another form.
        """
        parsed = _parse(url)
        connections = _number(parsed, "connections", CONNECTIONS)
        timeouts = {
            "connect_timeout": _number(parsed, "connect_timeout", CONNECT_SECONDS),
            "read_timeout": _number(parsed, "read_timeout", STATEMENT_SECONDS),
            "write_timeout": _number(parsed, "write_timeout", STATEMENT_SECONDS),
        }
        url_of_one = parsed.difference_update_query(["connections", "host", *timeouts])
        hosts = Hosts(_hosts(parsed), _Opener(url_of_one, timeouts))
        engine = create_engine(
            url_of_one,
            creator=hosts.connect,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            hide_parameters=True,
        )

        @event.listens_for(engine, "checkout")
        def go_on_with(connection: Any, record: Any, _: object) -> None:
            if not hosts.is_preferred(connection, record.info):
                raise DisconnectionError("another host is preferred")

        return cls(engine, timeouts["read_timeout"], clock, hosts=hosts)

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

    def ping(self) -> None:
        # Of a table: without one, a node answers that is no part of its cluster any more.
        self._read(by_key(select(literal(1)).select_from(SMALL), SMALL, b"\x00", b"ping"))

    def figures(self) -> BackendFigures:
        return replace(super().figures(), is_silent=self._breaker.is_silent)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._breaker.operation(), super()._connected() as connection:
            lent = connection.connection.dbapi_connection
            try:
                with self._hosts.lending(lent):
                    yield connection
            except DBAPIError as error:
                failure = self._translate(error)
                if isinstance(failure, NotReady):
                    self._hosts.pass_over(host_of(lent), NOT_READY)
                if isinstance(failure, ConnectionLost) and self._hosts.is_passed_over(host_of(lent)):
                    raise HostLost(str(failure)) from None
                raise failure from None

    def close(self) -> None:
        self._hosts.close()
        super().close()

    def _upsert(self, table: Table) -> Any:
        statement = insert(table)
        replaced = {name: statement.inserted[name] for name in ("version", "expires_at", "value")}
        return statement.on_duplicate_key_update(replaced)

    def _translate(self, error: DBAPIError) -> BackendError:
        arguments = getattr(error.orig, "args", ())
        code = arguments[0] if arguments and isinstance(arguments[0], int) else 0
        if code in _TRANSIENT:
            return Transient(f"MySQL error {code}")
        if code in (NOT_READY, _COMMIT_FAILED):
            return (NotReady if code == NOT_READY else CommitFailed)(f"MySQL error {code}")
        if code in _LOST or error.connection_invalidated:
            return ConnectionLost(f"MySQL error {code}")
        logger.error("MySQL error %s (%s)", code, type(error.orig).__name__)
        if code in _FULL:
            return Refused("the database has no room left", retry_after=60)
        kind = Refused if code in _SAID_BY_SERVERS else Unavailable
        reason = _REASONS.get(code, "it fails")
        return kind(f"the database can't be used: {reason} (MySQL error {code})")


class NotReady(ConnectionLost):
    """The node is no part of its cluster."""

    refusal = "no node of the database's cluster is ready"


class CommitFailed(NotReady):
    """The node could not commit; what it sent to the others before may have taken effect there."""

    refusal = "the database fails to commit"


class _Opener:
    """Opens connections to hosts that differ in nothing but name and port."""

    def __init__(self, url: URL, timeouts: Mapping[str, int]) -> None:
        _, parameters = url.get_dialect()().create_connect_args(url)
        self._parameters: dict[str, Any] = dict(parameters)
        self._timeouts = timeouts
        lock_seconds = min(LOCK_SECONDS, max(1, timeouts["read_timeout"] // 2))
        self._session = [statement.format(lock_seconds=lock_seconds) for statement in _SESSION]

    def __call__(self, host: Host, seconds: float | None, is_any_state_right: bool) -> Any:  # noqa: FBT001
        """Open a connection; see `Hosts`."""
        seconds = seconds or self._timeouts["connect_timeout"]
        # A server that is frozen lets connect, and says nothing: so the greeting is as short as that.
        limits = {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
        place = {"host": host.name, "port": host.port}
        connection = pymysql.connect(**self._parameters | limits | place)
        try:
            self._set_up(connection, is_any_state_right)
        except BaseException:
            connection.close()
            raise
        connection._read_timeout = self._timeouts["read_timeout"]  # noqa: SLF001 - it has no other way
        connection._write_timeout = self._timeouts["write_timeout"]  # noqa: SLF001
        return connection

    def _set_up(self, connection: Any, is_any_state_right: bool) -> None:  # noqa: FBT001
        with connection.cursor() as cursor:
            for statement in self._session:
                cursor.execute(statement)
            cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
            if (cursor.fetchone() or ("", "OFF"))[1] != "ON":
                return
            cursor.execute(_CLUSTER_SESSION.format(sync_wait=SYNC_WAIT))
            cursor.execute("SHOW STATUS LIKE 'wsrep_local_state'")
            state = (cursor.fetchone() or ("", ""))[1]
            if state != _IN_STEP and not is_any_state_right:
                raise pymysql.err.OperationalError(NOT_READY, "not in step with its cluster")


def _parse(url: str | None) -> URL:
    form = "must be mysql://user:password@host/database, or several ?host=name:port instead of the one"
    try:
        parsed = make_url(url or "")
    except ArgumentError:
        raise ValueError(form) from None
    if parsed.get_backend_name() not in ("mysql", "mariadb") or not parsed.database:
        raise ValueError(form)
    if bool(parsed.host) == ("host" in parsed.query) or (parsed.port and not parsed.host):
        raise ValueError(form)
    if not parsed.query.keys() <= {"connections", *_OPTIONS}:
        raise ValueError("has an option after the question mark that is not known")
    return parsed.set(drivername="mysql+pymysql")


def _hosts(url: URL) -> Sequence[Host]:
    if url.host:
        return [Host(url.host, url.port or _PORT)]
    told = url.query["host"]
    hosts = []
    for each in [told] if isinstance(told, str) else told:
        match = _HOST.fullmatch(each)
        if match is None:
            raise ValueError("a host must be name:port, name or [IPv6 address]:port")
        hosts.append(Host(match["name"].strip("[]"), int(match["port"] or _PORT)))
    if len(set(hosts)) < len(hosts):
        raise ValueError("names a host twice")
    return hosts


def _number(url: URL, option: str, default: int) -> int:
    value = url.query.get(option, str(default))
    if not isinstance(value, str) or not value.isdecimal() or not 0 < int(value) < 100_000:
        raise ValueError(f"{option} must be a whole number from 1")
    return int(value)
