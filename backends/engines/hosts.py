"""Several hosts of one database: the first that is well is used, the others stand by.

A host is passed over once it refuses, does not answer in time or says that it is not ready. It is asked
in the background, so that no operation waits for that, and used again as soon as it is well.
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

ASK_SECONDS: Final = 2.0
"""How often a host that is passed over is asked if it is well, and in what time it must answer."""

SUSPICION_SECONDS: Final = 1.0
"""How long an operation waits before its host is asked whether it lives."""

NOT_READY: Final = 1047
"""The error of a node that is no part of its cluster, or not up to date; here also of one that takes no
writes."""

_TICK_SECONDS: Final = 0.25

logger = logging.getLogger(__name__)


class Host(NamedTuple):
    """Where a database listens."""

    name: str
    port: int


class Hosts:
    """Opens connections to the first host that is well, and gives up those to one that is lost.

    Args:
        hosts: in order of preference.
        open_to: opens a connection to a host, ready for use, in so many seconds; None: as configured.
            The last argument says whether a node that takes no writes, or is not in step with its
            cluster, will do. It raises errors of PyMySQL alone; with number NOT_READY, if the node will
            not do.
    """

    def __init__(
        self, hosts: Sequence[Host], open_to: Callable[[Host, float | None, bool], Any]
    ) -> None:
        self._hosts = tuple(hosts)
        self._open_to = open_to
        self._lock = threading.Lock()
        self._passed_over: set[Host] = set()
        self._lent: dict[Any, float] = {}
        self._changes = 0
        self._closing = threading.Event()
        self._watchers: list[threading.Thread] = []

    def connect(self) -> Any:
        """Open a connection to the first host that is well, or else to whichever takes it.

        Raises:
            pymysql.MySQLError: none does; the error is that which tells most.
        """
        self._begin_watching()
        failures: dict[Host, pymysql.MySQLError] = {}
        for host in self._in_order():
            try:
                return self._try(host, False)
            except pymysql.MySQLError as failure:
                failures[host] = failure
        for host, reason in failures.items():
            if error_number(reason) == NOT_READY:
                with suppress(pymysql.MySQLError):
                    return self._try(host, True)
        raise min(failures.values(), key=_rank)

    def is_preferred(self, connection: Any, marks: dict[str, Any]) -> bool:
        """Tell whether a connection that was idle is one to go on with.

        `marks` are kept with the connection. A new one is taken as it is: there was no better.
        """
        with self._lock:
            changes = self._changes
            first = next((host for host in self._hosts if host not in self._passed_over), None)
        if marks.get("changes", changes) != changes and first not in (None, host_of(connection)):
            return False
        marks["changes"] = changes
        return True

    @contextmanager
    def lending(self, connection: Any) -> Iterator[None]:
        """Watch over an operation's connection: it is broken off if its host is lost meanwhile."""
        with self._lock:
            self._lent[connection] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._lent[connection]

    def is_passed_over(self, host: Host) -> bool:
        """Tell whether another host is asked instead."""
        with self._lock:
            return host in self._passed_over

    def pass_over(self, host: Host, reason: int) -> None:
        """Use other hosts until this one is well; an only host stays in use."""
        with self._lock:
            if len(self._hosts) == 1 or host in self._passed_over:
                return
            self._passed_over.add(host)
            self._changes += 1
        logger.warning("the database's host %s is passed over: error %d", self._place(host), reason)

    def close(self) -> None:
        """End what watches."""
        self._closing.set()
        for watcher in self._watchers:
            watcher.join(2 * ASK_SECONDS)

    def _place(self, host: Host) -> str:
        return f"{self._hosts.index(host) + 1} of {len(self._hosts)}"

    def _in_order(self) -> Sequence[Host]:
        with self._lock:
            return sorted(self._hosts, key=lambda host: host in self._passed_over)

    def _try(self, host: Host, is_any_state_right: bool) -> Any:  # noqa: FBT001 - private
        seconds = ASK_SECONDS if self.is_passed_over(host) else None
        try:
            connection = self._open_to(host, seconds, is_any_state_right or len(self._hosts) == 1)
        except pymysql.MySQLError as failure:
            self.pass_over(host, error_number(failure))
            raise
        if not is_any_state_right:
            self._is_well(host)
        return connection

    def _is_well(self, host: Host) -> None:
        with self._lock:
            if host not in self._passed_over:
                return
            self._passed_over.remove(host)
            self._changes += 1
        logger.info("the database's host %s is used again", self._place(host))

    def _begin_watching(self) -> None:
        with self._lock:
            if len(self._hosts) == 1 or self._watchers:
                return
            self._watchers = [
                threading.Thread(target=self._watch, args=[host], name="database host", daemon=True)
                for host in self._hosts
            ]
            for watcher in self._watchers:
                watcher.start()

    def _watch(self, host: Host) -> None:
        asked = 0.0
        while not self._closing.wait(_TICK_SECONDS):
            now = time.monotonic()
            if now < asked + ASK_SECONDS / 2 or not (
                self.is_passed_over(host) or self._is_suspect(host, now)
            ):
                continue
            try:
                self._open_to(host, ASK_SECONDS, False).close()
            except pymysql.MySQLError as failure:
                self._give_up(host, error_number(failure))
            else:
                self._is_well(host)
            asked = time.monotonic()

    def _is_suspect(self, host: Host, now: float) -> bool:
        with self._lock:
            return any(
                since < now - SUSPICION_SECONDS and host_of(connection) == host
                for connection, since in self._lent.items()
            )

    def _give_up(self, host: Host, reason: int) -> None:
        """Pass over a host, and break off what waits for it, if another can do it instead."""
        self.pass_over(host, reason)
        if reason != NOT_READY and not is_of_client(reason):
            return  # it lives, and takes no more connections for now: those that it has go on
        with self._lock:
            if self._passed_over.issuperset(self._hosts):
                return
            for connection in self._lent:
                if host_of(connection) == host:
                    _break_off(connection)


def host_of(connection: Any) -> Host:
    """Return where a connection goes."""
    return Host(connection.host, connection.port)


def error_number(failure: BaseException | None) -> int:
    """Return the number of an error of PyMySQL, 0 if it has none."""
    number = failure.args[0] if failure is not None and failure.args else 0
    return number if isinstance(number, int) else 0


def is_of_client(number: int) -> bool:
    """Tell whether an error is the driver's own, not what a server says."""
    return number < 1000 or 2000 <= number < 3000


def _break_off(connection: Any) -> None:
    """Let whoever waits for an answer learn at once that there will be none."""
    sock = connection._sock  # noqa: SLF001 - PyMySQL's own `close` is for the thread that uses it
    if sock is not None:
        with suppress(OSError):
            # Not by its own method: that of TLS lets whoever is sending go on without encryption.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _rank(failure: pymysql.MySQLError) -> int:
    """Put what a server says before what connections do, and its other reasons before NOT_READY."""
    number = error_number(failure)
    if is_of_client(number):
        return 2
    return 1 if number == NOT_READY else 0
