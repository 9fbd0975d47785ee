"""Items in a database that speaks MySQL: MySQL 8, MariaDB 10.11 and what is compatible with them.

No foreign keys, no AUTO_INCREMENT, no GET_LOCK, no LOCK TABLES: nothing that a cluster or a sharding
proxy can't do.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
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
    literal_column,
    make_url,
    text,
)
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from backends import MAX_VALUE_BYTES, BackendError, BackendFigures, Unavailable, WrongSchema
from backends.breaker import Breaker
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
_TRANSIENT: Final = {
    1205,  # lock wait timeout
    1213,  # deadlock, and a certification conflict of Galera
    1020,  # the row changed since it was read (innodb_snapshot_isolation)
    1047,  # this node of a cluster is not ready
    1180,  # the cluster refused the commit
}
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
    1142: "its user may not do this",
    1153: "its max_allowed_packet is too small",
    1290: "it is read-only",
    2003: "it can't be reached",
    2026: "it does not speak TLS",
}
_REPLACED: Final = ("version", "expires_at", "value")
_OPTIONS: Final = {"ssl_check_hostname", *inspect.signature(pymysql.connect).parameters}

logger = logging.getLogger(__name__)


class MysqlBackend(SqlBackend):
    """A MySQL-compatible database."""

    BEGIN = "START TRANSACTION"

    def __init__(
        self, engine: Engine, time_limit: float, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(engine, time_limit, clock)
        self._breaker = Breaker()

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> MysqlBackend:
        """Open `mysql://user:password@host:port/database`; the query may hold options of PyMySQL.

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
        engine = create_engine(
            parsed.difference_update_query(["connections", *timeouts]),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            hide_parameters=True,
            connect_args=timeouts,
        )
        lock_seconds = min(LOCK_SECONDS, max(1, timeouts["read_timeout"] // 2))

        def set_up(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                for statement in _SESSION:
                    cursor.execute(statement.format(lock_seconds=lock_seconds))

        event.listen(engine, "connect", set_up)
        return cls(engine, timeouts["read_timeout"], clock)

    def check_schema(self) -> None:
        super().check_schema()
        [(largest,)] = self._read(text("SELECT @@max_allowed_packet"))
        if largest < PACKET_BYTES:
            raise WrongSchema(
                f"the database's max_allowed_packet of {largest} bytes must be at least {PACKET_BYTES}"
            )

    def figures(self) -> BackendFigures:
        return replace(super().figures(), is_silent=self._breaker.is_silent)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._breaker.operation(), super()._connected() as connection:
            yield connection

    def _upsert(self, table: Table) -> Any:
        statement = insert(table)
        # Not `statement.inserted`, which is a row alias on MySQL 8: TiDB and older Vitess know none.
        replaced: dict[str, Any] = {name: literal_column(f"VALUES({name})") for name in _REPLACED}
        return statement.on_duplicate_key_update(replaced)

    def _translate(self, error: DBAPIError) -> BackendError:
        arguments = getattr(error.orig, "args", ())
        code = arguments[0] if arguments and isinstance(arguments[0], int) else 0
        if code in _TRANSIENT:
            return Transient(f"MySQL error {code}")
        if code in _LOST or error.connection_invalidated:
            return ConnectionLost(f"MySQL error {code}")
        logger.error("MySQL error %s (%s)", code, type(error.orig).__name__)
        if code in _FULL:
            return Unavailable("the database has no room left", retry_after=60)
        reason = _REASONS.get(code, "it fails")
        return Unavailable(f"the database can't be used: {reason} (MySQL error {code})")


def _parse(url: str | None) -> URL:
    form = "must be mysql://user:password@host/database"
    try:
        parsed = make_url(url or "")
    except ArgumentError:
        raise ValueError(form) from None
    if parsed.get_backend_name() not in ("mysql", "mariadb") or not parsed.host or not parsed.database:
        raise ValueError(form)
    if not parsed.query.keys() <= {"connections", *_OPTIONS}:
        raise ValueError("has an option after the question mark that is not known")
    return parsed.set(drivername="mysql+pymysql")


def _number(url: URL, option: str, default: int) -> int:
    value = url.query.get(option, str(default))
    if not isinstance(value, str) or not value.isdecimal() or not 0 < int(value) < 100_000:
        raise ValueError(f"{option} must be a whole number from 1")
    return int(value)
