"""The connections of waitress: their end, and the requests that waitress itself rejects."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from functools import partial
from typing import Any, Final

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from persona_profile.api import Services
from persona_profile.api.addresses import TrustedProxies
from persona_profile.api.problems import PROBLEM_TYPE, new_request_id, problem_document
from persona_profile.api.reception import QUEUED_SECONDS, REJECTION, Reception
from persona_profile.encoding import json_encode
from persona_profile.errors import NO_ROOM_SECONDS, Overloaded
from persona_profile.serving.parsing import StrictParser

LINGER_SECONDS: Final = 30
"""The time for which a client may go on sending after a rejection; nginx' `lingering_time`."""

LINGER_BYTES: Final = 64 * 1024 * 1024
"""Bytes that are discarded meanwhile; then the connection is reset."""

UNPARSED: Final = "unparsed"
"""The route, in metrics, of requests that waitress itself rejects."""

UNREAD_BYTES: Final = 256 * 1024
"""Bytes of answers that may wait for a client before its next request is answered."""

MAX_QUEUED_SECONDS: Final = 5.0
"""The longest wait of a request for a thread. Dialogs give up after 8 s: nobody reads a later answer,
and the next request waits for it."""

RETRY_SECONDS: Final = 5
OPERATIONS_PREFIX: Final = "/__"
"""The start of the paths of heartbeats and the like, which report on the process and cost little."""

_MISTAKE: Final = "a connection is closed by a mistake"

PROBLEM_CODES: Final = {
    400: "malformed_request",
    413: "body_too_large",
    431: "request_headers_too_large",
    501: "not_implemented",
    503: "overloaded",
}

logger = logging.getLogger(__name__)


class PatientChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that holds no thread while its client does not read.

    waitress answers all pipelined requests; once 16 MiB are unread, its thread waits without limit. So
    as many clients as threads could stop the server. Here the requests wait instead, and the connection
    counts as idle: it ends after `channel_timeout`.
    """

    requests: list[Any]
    _postponed: list[Any] | None = None

    def readable(self) -> bool:
        """Return whether to read more. The loop asks this in each turn."""
        if self.will_close and self.total_outbufs_len:
            self.server.trigger.pull_trigger(self.handle_close)  # in this turn, after its scan
        return bool(super().readable())

    def service(self) -> None:
        """Answer a request, unless earlier answers are still unread."""
        try:
            with self.requests_lock, self.outbuf_lock:
                if self.connected and self.total_outbufs_len > UNREAD_BYTES:
                    self._postponed, self.requests = self.requests, []
                    self.server.pull_trigger()
                    return
            super().service()
        except Exception:  # waitress would log the client's address, and leave the connection open
            logger.exception(_MISTAKE)
            self.will_close = True
            with contextlib.suppress(OSError):  # the server is closed already
                self.server.pull_trigger()

    def handle_write(self) -> None:
        """Send more of the answers; go on with the postponed requests once few bytes are unread."""
        super().handle_write()
        with self.requests_lock, self.outbuf_lock:
            if self._postponed is None or self.total_outbufs_len > UNREAD_BYTES:
                return
            self.requests, self._postponed = self._postponed, None
            if self.connected:
                self.server.add_task(self)

    def handle_close(self) -> None:
        """Close the connection and its unanswered requests."""
        for request in self._postponed or ():
            request.close()
        self._postponed = None
        super().handle_close()

    def handle_error(self) -> None:
        """Close after an error in the loop; waitress would log the client's address."""
        # waitress calls this while it handles an exception.
        logger.error(_MISTAKE, exc_info=True)  # noqa: LOG014
        self.handle_close()


class ProblemTask(ErrorTask):  # type: ignore[misc]
    """Renders an error of waitress as a problem (RFC 9457)."""

    def execute(self) -> None:
        """Write the answer."""
        services = self.channel.server.services
        status = self.request.error.code
        code = PROBLEM_CODES.get(status, "internal_error")
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
        self.channel.is_rejected = True
        _end_connection(self)
        self.content_length = len(body)
        self.write(body)


def _end_connection(task: Any) -> None:
    """Announce that the connection ends with this answer."""
    # waitress would promise a client of HTTP/1.0 that asks for it to keep the connection, too.
    task.request.headers.pop("CONNECTION", None)
    task.set_close_on_finish()


class ApplicationTask(WSGITask):  # type: ignore[misc]
    """Answers a request. It is the last of its connection after a rejected body or on shutdown."""

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, with the client's address and a reason to reject the request."""
        environment: dict[str, Any] = super().get_environment()
        self.channel.server.proxies.apply(environment)
        seconds = environment[QUEUED_SECONDS] = time.monotonic() - self.channel.queued_at
        late = self._lateness(seconds, environment["PATH_INFO"])
        environment[REJECTION] = late or self.request.rejection
        return environment

    def _lateness(self, seconds: float, path: str) -> Overloaded | None:
        """Return the error for a request that has waited too long for a thread."""
        is_late = seconds > self.channel.server.max_queued_seconds
        if not is_late or path.startswith(OPERATIONS_PREFIX):
            return None
        return Overloaded("Too many requests are in progress; try again.", RETRY_SECONDS)

    def build_response_header(self) -> bytes:
        """Return status line and headers."""
        if self.request.rejection is not None:
            self.channel.is_rejected = True
        if self.channel.is_rejected or self.channel.server.services.lifecycle.is_stopping:
            _end_connection(self)
        return bytes(super().build_response_header())


class ServiceChannel(PatientChannel):
    """A connection that lets a client finish sending before it closes after a rejection.

    Closing a socket with unread data resets the connection (RFC 9112, 9.6). A client that is still
    sending a large body would see the reset instead of the answer.
    """

    task_class = ApplicationTask
    error_task_class = ProblemTask
    is_rejected = False
    queued_at = 0.0
    _lingers_until: float | None = None
    _linger_bytes = LINGER_BYTES

    def parser_class(self, adj: Any) -> StrictParser:
        """Return the parser of the next request."""
        return StrictParser(adj, self.server.reception)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        waits = self.request is None and not self.requests and not self._postponed
        return waits and not self.total_outbufs_len

    def handle_close(self) -> None:
        """Close; the first time after a rejection close the sending half only."""
        if self.is_rejected:
            self.is_rejected = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the client is gone
            else:
                self.will_close = False
                self._lingers_until = time.monotonic() + LINGER_SECONDS
                return
        super().handle_close()

    def received(self, data: bytes) -> bool:
        """Read received bytes; discard them after a rejection."""
        if self._lingers_until is None:
            return bool(super().received(data))
        self._linger_bytes -= len(data)
        if time.monotonic() > self._lingers_until or self._linger_bytes < 0:
            self.handle_close()
        return False


def prepare(server: Any, services: Services, proxies: TrustedProxies, reception: Reception) -> None:
    """Have a waitress server use these connections."""
    # With several sockets to listen on, waitress makes several servers.
    for each in [server, *getattr(server, "map", {}).values()]:
        if hasattr(each, "channel_class"):
            each.channel_class = ServiceChannel
            each.services = services
            each.proxies = proxies
            each.reception = reception
            each.max_queued_seconds = MAX_QUEUED_SECONDS
            each.add_task = partial(_queue, each.task_dispatcher)


def _queue(dispatcher: ThreadedTaskDispatcher, channel: ServiceChannel) -> None:
    """Let a connection, whose next request is complete, wait for a thread."""
    channel.queued_at = time.monotonic()
    dispatcher.add_task(channel)
