"""The connections of waitress: how they end, and what they answer by themselves."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from functools import partial
from typing import Any, Final

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.trigger import trigger

from persona_profile.api import Services
from persona_profile.api.addresses import TrustedProxies
from persona_profile.api.problems import PROBLEM_TYPE, new_request_id, problem_document
from persona_profile.api.reception import REFUSAL, Reception
from persona_profile.encoding import json_encode
from persona_profile.errors import NO_ROOM_SECONDS, Overloaded
from persona_profile.runtime.lifecycle import Lifecycle
from persona_profile.serving.parsing import StrictParser

LINGER_SECONDS: Final = 30
"""How long a client may go on sending after it was refused; nginx' `lingering_time`."""

LINGER_BYTES: Final = 64 * 1024 * 1024
"""How much of it is thrown away; then the connection is reset."""

IDLE_SECONDS: Final = 1.0
"""How long a connection without a request stays open once the process stops: who has sent the next
request already is answered."""

UNPARSED: Final = "unparsed"
"""The route of requests that waitress refuses by itself."""

UNREAD_BYTES: Final = 256 * 1024
"""What may wait for a client before its next request is answered."""

MAX_QUEUED_SECONDS: Final = 5.0
"""The longest wait of a request for a thread. Dialogs give up after 8 s: nobody reads a later answer,
and the next request waits for it."""

RETRY_SECONDS: Final = 5
OPERATIONS_PREFIX: Final = "/__"
"""The start of the paths of heartbeats and the like, which report on the process and cost little."""

_MISTAKE: Final = "a connection is closed by a mistake"
_POLL_SECONDS: Final = 0.1

_CODES: Final = {
    400: "malformed_request",
    413: "body_too_large",
    431: "request_headers_too_large",
    501: "not_implemented",
    503: "overloaded",
}

logger = logging.getLogger(__name__)


def run(server: Any, lifecycle: Lifecycle) -> None:
    """Serve until the process is to stop and what was in flight is answered, or its time is over."""
    # With one socket to listen on waitress makes a server with a private map, else one with a public.
    sockets: dict[int, Any] = server.map if hasattr(server, "map") else server._map  # noqa: SLF001
    lifecycle.on_stop(lambda: _wake(sockets))

    def turn(seconds: float) -> None:
        wasyncore.loop(seconds, server.adj.asyncore_use_poll, sockets, 1)

    while not lifecycle.must_close:
        turn(_POLL_SECONDS if lifecycle.is_stopping else server.adj.asyncore_loop_timeout)
    _close_listeners(sockets)
    closed_at = time.time()
    deadline = time.monotonic() + lifecycle.grace_seconds
    while (left := _channels(sockets)) and time.monotonic() < deadline:
        for channel in left:
            if channel.is_idle and time.time() - max(closed_at, channel.last_activity) > IDLE_SECONDS:
                channel.will_close = True
        turn(_POLL_SECONDS)
    if left:
        logger.warning("stopped with %d connections in flight", len(left))
    server.task_dispatcher.shutdown(timeout=1 if left else 5)


def _channels(sockets: dict[int, Any]) -> list[Any]:
    return [each for each in list(sockets.values()) if isinstance(each, HTTPChannel)]


def _close_listeners(sockets: dict[int, Any]) -> None:
    for each in list(sockets.values()):
        if isinstance(each, BaseWSGIServer):
            known = -1
            while known < len(each.active_channels):  # who has connected already is answered
                known = len(each.active_channels)
                each.handle_accept()
            # Not the server's own close: the threads that answer still need its trigger.
            wasyncore.dispatcher.close(each)


def _wake(sockets: dict[int, Any]) -> None:
    for each in list(sockets.values()):
        if isinstance(each, trigger):
            each.pull_trigger()


class PatientChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that holds no thread while its client does not read.

    waitress answers all requests that came, and lets a thread wait, without limit, once 16 MiB were not
    read: as many clients as there are threads would stop the server. Here the requests wait instead,
    and the connection counts as idle. It ends after `channel_timeout`, while waitress alone would wait
    until the client takes something.
    """

    requests: list[Any]
    _postponed: list[Any] | None = None

    def readable(self) -> bool:
        """Tell whether more is wanted; asked in each turn of the server's loop."""
        if self.will_close and self.total_outbufs_len:
            self.server.trigger.pull_trigger(self.handle_close)  # in this turn, outside its scan
        return bool(super().readable())

    def service(self) -> None:
        """Answer a request, unless the answers to those before were not read yet."""
        try:
            with self.requests_lock, self.outbuf_lock:
                if self.connected and self.total_outbufs_len > UNREAD_BYTES:
                    self._postponed, self.requests = self.requests, []
                    self.server.pull_trigger()
                    return
            super().service()
        except Exception:  # waitress would log it with the client's address, and let the client wait
            logger.exception(_MISTAKE)
            self.will_close = True
            with contextlib.suppress(OSError):  # where the server has been closed already
                self.server.pull_trigger()

    def handle_write(self) -> None:
        """Send what the client takes; go on with its requests once that was enough."""
        super().handle_write()
        with self.requests_lock, self.outbuf_lock:
            if self._postponed is None or self.total_outbufs_len > UNREAD_BYTES:
                return
            self.requests, self._postponed = self._postponed, None
            if self.connected:
                self.server.add_task(self)

    def handle_close(self) -> None:
        """Close, and let go of what was not answered."""
        for request in self._postponed or ():
            request.close()
        self._postponed = None
        super().handle_close()

    def handle_error(self) -> None:
        """Close after a mistake in the loop; waitress would log it with the client's address."""
        # waitress calls this where it has caught something.
        logger.error(_MISTAKE, exc_info=True)  # noqa: LOG014
        self.handle_close()


class LingeringChannel(PatientChannel):
    """A connection that lets a client finish sending before it closes after a refusal.

    To close a socket that holds unread data resets the connection (RFC 9112, 9.6), and a client that
    is still sending a body which is too large would see that instead of the answer.
    """

    refused = False
    queued_at = 0.0
    _lingers_until: float | None = None
    _linger_bytes = LINGER_BYTES

    def parser_class(self, adj: Any) -> StrictParser:
        """Return what reads the next request."""
        return StrictParser(adj, self.server.reception)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        waits = self.request is None and not self.requests and not self._postponed
        return waits and not self.total_outbufs_len

    def handle_close(self) -> None:
        """Close; after a refusal only the sending half, the first time."""
        if self.refused:
            self.refused = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the client has gone already
            else:
                self.will_close = False
                self._lingers_until = time.monotonic() + LINGER_SECONDS
                return
        super().handle_close()

    def received(self, data: bytes) -> bool:
        """Take what arrives; after a refusal throw it away."""
        if self._lingers_until is None:
            return bool(super().received(data))
        self._linger_bytes -= len(data)
        if time.monotonic() > self._lingers_until or self._linger_bytes < 0:
            self.handle_close()
        return False


class ProblemTask(ErrorTask):  # type: ignore[misc]
    """Renders an error of waitress as a problem (RFC 9457)."""

    def execute(self) -> None:
        """Write the answer."""
        services = self.channel.server.services
        status = self.request.error.code
        code = _CODES.get(status, "internal_error")
        services.metrics.count_request(UNPARSED, "other", status, 0)
        services.metrics.count_problem(code, status)
        members: dict[str, Any] = {"limit": services.max_picture_bytes} if status == 413 else {}
        body = json_encode(problem_document(status, code, new_request_id(), **members))
        self.status = f"{status} {self.request.error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM_TYPE))
        origin = self.request.headers.get("ORIGIN")
        if origin in services.dialog_origins:
            self.response_headers.append(("Access-Control-Allow-Origin", origin))
            self.response_headers.append(("Vary", "Origin"))
        if status == 503:
            self.response_headers.append(("Retry-After", str(NO_ROOM_SECONDS)))
        self.channel.refused = True
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class LastTask(WSGITask):  # type: ignore[misc]
    """Answers a request; the last of its connection after a refused body, or if the process stops."""

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, with the client's address and a reason to reject the request."""
        environment: dict[str, Any] = super().get_environment()
        self.channel.server.proxies.apply(environment)
        environment[REFUSAL] = self._lateness(environment["PATH_INFO"]) or self.request.refusal
        return environment

    def _lateness(self, path: str) -> Overloaded | None:
        """Return the error for a request that has waited too long for a thread."""
        seconds = time.monotonic() - self.channel.queued_at
        is_late = seconds > self.channel.server.max_queued_seconds
        if not is_late or path.startswith(OPERATIONS_PREFIX):
            return None
        return Overloaded("Too many requests are in progress; try again.", RETRY_SECONDS)

    def build_response_header(self) -> bytes:
        """Return status line and headers."""
        if self.request.refusal is not None:
            self.channel.refused = True
        if self.channel.refused or self.channel.server.services.lifecycle.is_stopping:
            self.set_close_on_finish()
        return bytes(super().build_response_header())


class ProblemChannel(LingeringChannel):
    """A connection whose errors are problems."""

    task_class = LastTask
    error_task_class = ProblemTask


def prepare(server: Any, services: Services, proxies: TrustedProxies, reception: Reception) -> None:
    """Make waitress answer what it refuses by itself as problems, and close connections in order."""
    # With several sockets to listen on, waitress makes several servers.
    for each in [server, *getattr(server, "map", {}).values()]:
        if hasattr(each, "channel_class"):
            each.channel_class = ProblemChannel
            each.services = services
            each.proxies = proxies
            each.reception = reception
            each.max_queued_seconds = MAX_QUEUED_SECONDS
            each.add_task = partial(_queue, each.task_dispatcher)


def _queue(dispatcher: ThreadedTaskDispatcher, channel: LingeringChannel) -> None:
    """Let a connection, whose next request is complete, wait for a thread."""
    channel.queued_at = time.monotonic()
    dispatcher.add_task(channel)
