"""Connections to MySQL-compatible databases: their URLs and session settings."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pymysql  # type: ignore[import-untyped]
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from backends.engines.hosts import NOT_READY, Host

LOCK_SECONDS: Final = 3
CONNECTIONS: Final = 6
"""Fewer than the threads of the service: some stay free for requests without storage while the database
does not answer."""

TIME_LIMITS: Final = {"connect_timeout": 3, "read_timeout": 8, "write_timeout": 8}
"""Seconds. A Galera cluster needs less, some 6 s, to evict a node that does not answer."""

_OPTIONS: Final = {
    "bind_address",
    "connections",
    "host",
    "program_name",
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_check_hostname",
    "ssl_cipher",
    "ssl_key",
    "unix_socket",
    *TIME_LIMITS,
}
"""Not all of PyMySQL's: with some the text means the opposite (`ssl_disabled=false` disables TLS), and
`ssl_verify_identity` makes it ignore `ssl_ca`."""

_SESSION: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # locks rows, never gaps between them
    (
        "SET SESSION innodb_lock_wait_timeout = {lock_seconds}, SESSION sql_mode = 'STRICT_ALL_TABLES'"
        # In MariaDB the locks of a client that stands still end; for others this is a comment.
        "/*M!100302 , SESSION idle_transaction_timeout = {idle_seconds} */"
    ),
)
_CLUSTER_SESSION: Final = "SET SESSION wsrep_sync_wait = {sync_wait}, SESSION wsrep_dirty_reads = OFF"
SYNC_WAIT: Final = 1 + 2 + 4
"""Before a read (1), UPDATE or DELETE (2) and INSERT (4) a Galera node catches up with the writes that
other nodes have acknowledged. So each node reads all of them, and finds the rows that it changes."""

_STATE: Final = "SHOW VARIABLES WHERE Variable_name IN ('innodb_read_only', 'read_only', 'wsrep_on')"
_OFF: Final = {"OFF", "0"}
_SYNCED: Final = "4"
"""The `wsrep_local_state` of a node that is synced: not joining, not a donor, not cut off."""

_MALFORMED: Final = 2027
"""The error for an answer in another protocol."""

_NO_PLUGIN: Final = 2059
"""The error for a user whose authentication plugin the driver does not have."""

UNTRUSTED: Final = 2026
"""The error for a connection without trust: no TLS, or a certificate that is not accepted."""

_PORT: Final = 3306
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+)(?::(?P<port>\d{1,5}))?")


class Opener:
    """Opens connections to hosts that differ only in name and port: an `Open` of `hosts`.

    The URL has user, password, database and options of all hosts. `prepare` gets a cursor of each
    new connection, and raises an error of PyMySQL to reject it. Raises `ValueError` if the URL names a
    file that can't be used.
    """

    def __init__(
        self, url: URL, timeouts: Mapping[str, int], prepare: Callable[[Any], None] | None = None
    ) -> None:
        _, parameters = url.get_dialect()().create_connect_args(url)
        self._parameters: dict[str, Any] = dict(parameters)
        if url.password is not None:
            # In UTF-8, as on servers; PyMySQL would encode it in Latin-1.
            self._parameters["password"] = url.password.encode()
        self._parameters["autocommit"] = True
        if "ssl" in self._parameters:
            try:  # the files are read once, here
                self._parameters["ssl"] = pymysql.connect(**self._parameters, defer_connect=True).ctx
            except OSError as error:
                is_tls = isinstance(error, ssl.SSLError)
                reason = "a file lacks a certificate or its key" if is_tls else error.strerror
                raise ValueError(f"its TLS options can't be used: {reason}") from None
        self._prepare = prepare
        self._connect_seconds = timeouts["connect_timeout"]
        lock_seconds = min(LOCK_SECONDS, max(1, timeouts["read_timeout"] // 2))
        limits = {"lock_seconds": lock_seconds, "idle_seconds": timeouts["read_timeout"]}
        self._session = [statement.format(**limits) for statement in _SESSION]

    def __call__(self, host: Host, seconds: float | None, accepts_any_state: bool) -> Any:  # noqa: FBT001
        """Open a connection; each answer has to come within the time limit. See `Open`."""
        seconds = seconds or self._connect_seconds
        # A frozen server accepts a connection and says nothing: the time limit is for the greeting too.
        changed = dict.fromkeys(TIME_LIMITS, seconds) | {"host": host.name, "port": host.port}
        try:
            connection = pymysql.connect(**self._parameters | changed)
            try:
                self._set_up(connection, accepts_any_state)
            except BaseException:
                connection.close()
                raise
        except pymysql.MySQLError as error:
            if isinstance(getattr(error, "original_exception", None), ssl.SSLError):
                # The driver reports it like a host that can't be reached.
                raise pymysql.err.OperationalError(UNTRUSTED, "TLS failed") from None
            raise
        except RuntimeError:  # the driver's only one: a library of a plugin is missing
            raise pymysql.err.OperationalError(_NO_PLUGIN, "a library is missing") from None
        except Exception as error:  # noqa: BLE001 - the driver does not check the protocol
            raise pymysql.err.OperationalError(_MALFORMED, type(error).__name__) from None
        return connection

    def _set_up(self, connection: Any, accepts_any_state: bool) -> None:  # noqa: FBT001
        with connection.cursor() as cursor:
            for statement in self._session:
                cursor.execute(statement)
            cursor.execute(_STATE)
            state = dict(cursor.fetchall())
            is_in_cluster = state.pop("wsrep_on", "OFF") == "ON"
            is_ready = _OFF.issuperset(state.values())
            if is_in_cluster:
                cursor.execute(_CLUSTER_SESSION.format(sync_wait=SYNC_WAIT))
                cursor.execute("SHOW STATUS LIKE 'wsrep_local_state'")
                is_ready = is_ready and (cursor.fetchone() or ("", ""))[1] == _SYNCED
            if not is_ready and not accepts_any_state:
                raise pymysql.err.OperationalError(NOT_READY, "read-only, or not in sync")
            if self._prepare:
                self._prepare(cursor)


def parse_url(
    url: str | None,
    schemes: Sequence[str] = ("mysql", "mariadb"),
    more_options: frozenset[str] = frozenset(),
) -> URL:
    """Return the URL for SQLAlchemy; `MysqlBackend.from_url` describes its form.

    Raises `ValueError` if the URL has another form; the message has no part of it.
    """
    place = f"{schemes[0]}://user:password@host/database"
    form = f"must be {place}, or have ?host=name:port once for each host"
    try:
        parsed = make_url(url or "")
    except (ArgumentError, ValueError):  # quotes what it takes for the port: part of a password
        raise ValueError(form) from None
    if parsed.get_backend_name() not in schemes or not parsed.database:
        raise ValueError(form)
    ways = bool(parsed.host) + ("host" in parsed.query)
    if (
        ways > 1
        or (not ways and "unix_socket" not in parsed.query)
        or (parsed.port and not parsed.host)
    ):
        raise ValueError(form)
    if not parsed.query.keys() <= _OPTIONS | more_options:
        raise ValueError("has an unknown option after the question mark")
    if any(not isinstance(value, str) for name, value in parsed.query.items() if name != "host"):
        raise ValueError("has an option after the question mark twice")
    if parsed.query.get("ssl_check_hostname", "true") not in ("true", "false"):
        raise ValueError("ssl_check_hostname must be true or false")
    return parsed.set(drivername="mysql+pymysql")


def hosts_of(url: URL) -> Sequence[Host]:
    """Return the hosts of a URL, in order of preference; malformed or repeated ones are errors."""
    if url.host:
        return [_host(url.host, url.port or _PORT)]
    hosts = []
    for each in url.normalized_query.get("host", ["localhost"]):  # of a Unix socket: this machine
        match = _HOST.fullmatch(each)
        if match is None:
            raise ValueError("a host must be name:port, name or [IPv6 address]:port")
        hosts.append(_host(match["name"].strip("[]"), int(match["port"] or _PORT)))
    if len(set(hosts)) < len(hosts):
        raise ValueError("names a host twice")
    return hosts


def _host(name: str, port: int) -> Host:
    try:
        name.encode("idna")  # as the resolver of the system does
    except UnicodeError:
        raise ValueError("names a host that can't be resolved") from None
    if not 0 < port < 65536:
        raise ValueError("a port must be a number from 1 to 65535")
    return Host(name, port)


def whole_number(url: URL, option: str, default: int) -> int:
    """Return the value of an option, or raise `ValueError`."""
    value = url.query.get(option, str(default))
    if not isinstance(value, str) or not value.isdecimal() or not 0 < int(value) < 100_000:
        raise ValueError(f"{option} must be a whole number from 1")
    return int(value)
