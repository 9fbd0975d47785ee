"""The metrics server for Prometheus, and the sum of the metrics of several processes.

It imports the standard library alone, so that the supervisor stays small.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_CLIENTS: Final = 16
MAX_HEAD_BYTES: Final = 8192

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_PAUSE_SECONDS: Final = 0.1

_CUMULATIVE: Final = {"counter", "histogram"}
_MAXIMUM_COUNTS: Final = re.compile(r".*(_info|_start_time_seconds)(\{|$)")
"""Gauges whose sum is their maximum."""


logger = logging.getLogger(__name__)


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens on host and port.

    Raises:
        OSError: it can't; its file name is the setting with its value.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=16)
    except OSError as error:
        host = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        place = f"metrics.listen = {host}:{address[1]}"
        raise OSError(error.errno, os.strerror(error.errno or 0), place) from None


class ExpositionServer:
    """Answers `GET /metrics` from one thread, which waits for no client.

    A client has `client_seconds` from its connection to the end of its answer. With `MAX_CLIENTS`
    connected, a new client replaces the oldest: a scrape takes milliseconds.

    Args:
        listener: the listening socket; it is closed with the server.
        text: returns the metrics.
        client_seconds: the time limit of a client.
    """

    def __init__(
        self, listener: socket.socket, text: Callable[[], str], client_seconds: float = 5
    ) -> None:
        self._listener = listener
        self._text = text
        self._client_seconds = client_seconds
        self._clients: dict[socket.socket, _Client] = {}  # the oldest first
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakes = socket.socketpair()
        for each in (listener, self._wakes):
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop; wait at most `client_seconds` for an answer in progress."""
        self._is_stopping = True
        with contextlib.suppress(OSError):  # it has ended
            self._waker.send(b"x")
        self._thread.join(self._client_seconds)

    def _run(self) -> None:
        while not self._is_stopping:
            deadline = min((each.deadline for each in self._clients.values()), default=None)
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj in self._clients:
                    self._serve(key.fileobj)
            for connection, client in list(self._clients.items()):
                if time.monotonic() >= client.deadline:
                    self._drop(connection)
        for each in list(self._clients):
            self._drop(each)
        self._selector.close()
        for each in (self._listener, self._waker, self._wakes):
            each.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client is gone, or there are no descriptors
            time.sleep(_PAUSE_SECONDS)
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        connection.setblocking(False)
        self._clients[connection] = _Client(time.monotonic() + self._client_seconds)
        self._selector.register(connection, selectors.EVENT_READ)

    def _drop(self, connection: socket.socket) -> None:
        del self._clients[connection]
        self._selector.unregister(connection)
        connection.close()

    def _serve(self, connection: Any) -> None:
        """Read more of a request, or send more of an answer; drop a client after its whole answer."""
        client = self._clients[connection]
        try:
            if client.answer:
                client.answer = client.answer[connection.send(client.answer) :]
                is_over = not client.answer
            else:
                received = connection.recv(MAX_HEAD_BYTES)
                client.head += received
                is_over = not received or len(client.head) >= MAX_HEAD_BYTES
                if not is_over and _END_OF_HEAD.search(client.head):
                    client.answer = _Handler.answer(client.head, self._text)
                    self._selector.modify(connection, selectors.EVENT_WRITE)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        except Exception:
            logger.exception("metrics: a mistake")
            is_over = True
        if is_over:
            self._drop(connection)


@dataclass(slots=True)
class _Client:
    """A connection: its deadline, its request so far, and the rest of its answer."""

    deadline: float
    head: bytes = b""
    answer: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    """Answers a request head that has been read."""

    request: Any
    wfile: io.BytesIO
    text: Callable[[], str]

    @classmethod
    def answer(cls, head: bytes, text: Callable[[], str]) -> bytes:
        """Return the answer to a request head."""
        made = type("_Handler", (cls,), {"text": staticmethod(text)})(head, ("", 0), None)
        return bytes(made.wfile.getvalue())

    def setup(self) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(self.request))
        self.wfile = io.BytesIO()

    def finish(self) -> None:
        """Keep the answer."""

    def do_GET(self) -> None:
        is_known = self.path.partition("?")[0] == "/metrics"
        body = self.text().encode() if is_known else b""
        self.send_response_only(200 if is_known else 404)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Log nothing that a client sent."""


class Sum:
    """The sum of several expositions in the text format of Prometheus."""

    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._families: dict[str, dict[str, float]] = {}

    def add(self, text: str, *, cumulative_only: bool = False) -> None:
        """Add the metrics of a process; of an ended process add counters and histograms only."""
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                _, keyword, family, rest = line.split(" ", 3)
                self._heads.setdefault(family, [])
                if keyword == "TYPE":
                    self._kinds[family] = rest
                if line not in self._heads[family]:
                    self._heads[family].append(line)
            elif line and not (cumulative_only and self._kinds[family] not in _CUMULATIVE):
                series, _, value = line.rpartition(" ")
                self._add(family, series, float(value))

    def text(self) -> str:
        """Return the sum in the text format of Prometheus."""
        return "".join(f"{line}\n" for line in self._lines())

    def _add(self, family: str, series: str, value: float) -> None:
        values = self._families.setdefault(family, {})
        before = values.get(series)
        if before is None:
            values[series] = value
        elif _MAXIMUM_COUNTS.match(series):
            values[series] = max(before, value)
        else:
            values[series] = before + value

    def _lines(self) -> Iterable[str]:
        for family, head in self._heads.items():
            yield from head
            for series, value in self._families.get(family, {}).items():
                yield f"{series} {value!r}"
