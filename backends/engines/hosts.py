"""Several hosts of one database: the first healthy one is used, the others stand by.

A host is skipped once it rejects a connection, does not answer in time, or is not ready. A background
thread checks it, so that no operation waits for it, and it is used again as soon as it is healthy.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

import pymysql  # type: ignore[import-untyped]

CHECK_SECONDS: Final = 2.0
"""The interval between checks of a skipped host, and the time limit of a check."""

NOT_READY: Final = 1047
"""The error of a node outside of its cluster or behind it; here also of a read-only host."""

_TICK_SECONDS: Final = 0.25

logger = logging.getLogger(__name__)


class Host(NamedTuple):
    """The address of a database server."""

    name: str
    port: int


Open = Callable[[Host, float | None, bool], Any]
"""Opens a connection to a host, within some seconds or, with None, the configured time limit.

Raises errors of PyMySQL alone. Unless the last argument is true, the error is NOT_READY if the host is
read-only, or a node out of sync with its cluster.
"""


class Hosts:
    """Opens connections to the first healthy host, and breaks off connections to a lost host.

    The hosts are in order of preference. Once an operation has waited for `suspicion_seconds`, its host
    is checked.
    """

    def __init__(
        self, hosts: Sequence[Host], open_connection: Open, *, suspicion_seconds: float = 1.0
    ) -> None:
        self._hosts = tuple(hosts)
        self._open = open_connection
        self._suspicion_seconds = suspicion_seconds
        self._lock = threading.Lock()
        self._skipped: set[Host] = set()
        self._changes = 0  # of `_skipped`
        self._in_use: dict[Any, float] = {}
        self._closing = threading.Event()
        self._watchers: list[threading.Thread] = []

    def connect(self) -> Any:
        """Open a connection to the first healthy host, or else to any host that accepts it.

        If no host accepts it, the most informative `pymysql.MySQLError` is raised.
        """
        self._start_watchers()
        failures: dict[Host, pymysql.MySQLError] = {}
        for host in sorted(self._hosts, key=self.is_skipped):
            try:
                return self._try(host, False)
            except pymysql.MySQLError as failure:
                failures[host] = failure
        for host, reason in failures.items():
            if error_number(reason) == NOT_READY:
                with suppress(pymysql.MySQLError):
                    return self._try(host, True)
        raise min(failures.values(), key=_rank)

    def is_preferred(self, connection: Any, info: dict[str, Any]) -> bool:
        """Return whether a pooled connection leads to the host to use now.

        `info` is kept with the connection. A new connection leads to the best host there was.
        """
        with self._lock:
            changes = self._changes
            first = next((host for host in self._hosts if host not in self._skipped), None)
        if info.get("changes", changes) != changes and first not in (None, host_of(connection)):
            return False
        info["changes"] = changes
        return True

    @contextmanager
    def watching(self, connection: Any) -> Iterator[None]:
        """Break off the connection of an operation if its host is lost meanwhile."""
        with self._lock:
            self._in_use[connection] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._in_use[connection]

    def is_skipped(self, host: Host) -> bool:
        """Return whether another host is used instead."""
        with self._lock:
            return host in self._skipped

    def skip(self, host: Host, reason: int) -> None:
        """Use other hosts until this one is healthy; an only host stays in use."""
        with self._lock:
            if len(self._hosts) == 1 or host in self._skipped:
                return
            self._skipped.add(host)
            self._changes += 1
        logger.warning("the database's host %s is skipped: error %d", self._place(host), reason)

    def close(self) -> None:
        """Stop the background threads."""
        self._closing.set()
        for watcher in self._watchers:
            watcher.join(2 * CHECK_SECONDS)

    def _place(self, host: Host) -> str:
        return f"{self._hosts.index(host) + 1} of {len(self._hosts)}"

    def _try(self, host: Host, accepts_any_state: bool) -> Any:  # noqa: FBT001 - private
        seconds = CHECK_SECONDS if self.is_skipped(host) else None
        try:
            connection = self._open(host, seconds, accepts_any_state or len(self._hosts) == 1)
        except pymysql.MySQLError as failure:
            self.skip(host, error_number(failure))
            raise
        if not accepts_any_state:
            self._use_again(host)
        return connection

    def _use_again(self, host: Host) -> None:
        with self._lock:
            if host not in self._skipped:
                return
            self._skipped.remove(host)
            self._changes += 1
        logger.info("the database's host %s is used again", self._place(host))

    def _start_watchers(self) -> None:
        with self._lock:
            if len(self._hosts) == 1 or self._watchers:
                return
            for host in self._hosts:
                watcher = threading.Thread(
                    target=self._watch, args=[host], name="database host", daemon=True
                )
                self._watchers.append(watcher)
                watcher.start()

    def _watch(self, host: Host) -> None:
        pause = _TICK_SECONDS
        while not self._closing.wait(pause):
            pause = _TICK_SECONDS
            if self.is_skipped(host) or self._is_suspect(host):
                try:
                    self._open(host, CHECK_SECONDS, False).close()
                except pymysql.MySQLError as failure:
                    self._give_up(host, error_number(failure))
                else:
                    self._use_again(host)
                pause = CHECK_SECONDS / 2

    def _is_suspect(self, host: Host) -> bool:
        long_ago = time.monotonic() - self._suspicion_seconds
        with self._lock:
            return any(
                since < long_ago and host_of(connection) == host
                for connection, since in self._in_use.items()
            )

    def _give_up(self, host: Host, reason: int) -> None:
        """Skip a host; break off its connections if another host can take their operations."""
        self.skip(host, reason)
        if reason != NOT_READY and not is_of_client(reason):
            return  # it is alive and only accepts no further connections: the open ones go on
        with self._lock:
            if self._skipped.issuperset(self._hosts):
                return
            for connection in self._in_use:
                if host_of(connection) == host:
                    _break_off(connection)


def host_of(connection: Any) -> Host:
    """Return the host of a connection."""
    return Host(connection.host, connection.port)


def error_number(failure: BaseException | None) -> int:
    """Return the number of an error of PyMySQL, 0 if it has none."""
    number = failure.args[0] if failure is not None and failure.args else 0
    return number if isinstance(number, int) else 0


def is_of_client(number: int) -> bool:
    """Return whether an error comes from the driver, not from a server."""
    return number < 1000 or 2000 <= number < 3000


def _break_off(connection: Any) -> None:
    """End the wait of the thread that uses a connection."""
    sock = connection._sock  # noqa: SLF001 - PyMySQL's own `close` is for the thread that uses it
    if sock is not None:
        with suppress(OSError):
            # Not the method of a TLS socket: after that a sending thread goes on without encryption.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _rank(failure: pymysql.MySQLError) -> tuple[bool, bool]:
    """Return the order of errors: from a server, NOT_READY, from the driver."""
    number = error_number(failure)
    return is_of_client(number), number == NOT_READY
