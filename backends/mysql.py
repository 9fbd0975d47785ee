"""Items in a database that speaks MySQL: MySQL 8, MariaDB 10.11 and what is compatible with them.

No foreign keys, no AUTO_INCREMENT, no GET_LOCK, no LOCK TABLES: nothing that a cluster or a sharding
proxy can't do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import URL, Table, create_engine, event, make_url
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from backends import BackendError, Unavailable
from backends.sql import ConnectionLost, SqlBackend, Transient

CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 8
"""Longer than a Galera cluster takes to give up a node that does not answer (some 6 s)."""

CONNECTIONS: Final = 16
POOL_SECONDS: Final = 1
"""How long an operation waits for a connection before it is refused."""

RECYCLE_SECONDS: Final = 300
"""Firewalls and `wait_timeout` end idle connections; they are given up before."""

_SESSION: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # locks rows, never gaps between them
    "SET SESSION innodb_lock_wait_timeout = 3, SESSION sql_mode = 'STRICT_ALL_TABLES'",
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

logger = logging.getLogger(__name__)


class MysqlBackend(SqlBackend):
    """A MySQL-compatible database."""

    BEGIN = "START TRANSACTION"

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> MysqlBackend:
        """Open `mysql://user:password@host:port/database`; the query may hold options of PyMySQL.

        TLS: `?ssl_ca=/path/ca.pem` verifies the server's certificate and name.

        Raises:
            ValueError: the URL is of another form.
        """
        engine = create_engine(
            _parse(url),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_reset_on_return=None,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": STATEMENT_SECONDS,
                "write_timeout": STATEMENT_SECONDS,
            },
        )
        event.listen(engine, "connect", _set_up)
        return cls(engine, STATEMENT_SECONDS, clock)

    def _upsert(self, table: Table) -> Any:
        statement = insert(table)
        replaced = {name: statement.inserted[name] for name in ("version", "expires_at", "value")}
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
        return Unavailable(f"the database can't be used: MySQL error {code}")


def _set_up(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        for statement in _SESSION:
            cursor.execute(statement)


def _parse(url: str | None) -> URL:
    form = "must be mysql://user:password@host/database"
    try:
        parsed = make_url(url or "")
    except ArgumentError:
        raise ValueError(form) from None
    if parsed.get_backend_name() not in ("mysql", "mariadb") or not parsed.host or not parsed.database:
        raise ValueError(form)
    return parsed.set(drivername="mysql+pymysql")
