"""Connections that hold nothing up: no thread while a client reads nothing, no client by a mistake."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any, Final

from waitress.channel import HTTPChannel
from waitress.task import ThreadedTaskDispatcher

UNREAD_BYTES: Final = 256 * 1024
"""What may wait for a client before its next request is answered."""

_MISTAKE: Final = "a connection is closed by a mistake"

logger = logging.getLogger(__name__)


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


class Line(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads, and the connections that wait for one."""

    def add_task(self, task: Any) -> None:
        """Let a connection wait, whose next request has come."""
        task.waits_since = time.monotonic()
        super().add_task(task)
