"""Serving figures to Prometheus on an address of their own, and adding up those of several processes.

The standard library alone: the process that looks after the others is to stay small.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CLIENT_SECONDS: Final = 5

_CUMULATIVE: Final = {"counter", "histogram"}
_OF_THE_YOUNGEST: Final = re.compile(r".*(_info|_start_time_seconds)(\{|$)")
"""Gauges that are not added up: of those the largest counts."""


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens on host and port.

    Raises:
        OSError: it can't.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=16)


class ExpositionServer:
    """Answers `GET /metrics`, one client after the other, from a thread of its own.

    Args:
        listener: where; it is closed with the server.
        text: returns the figures.
    """

    def __init__(self, listener: socket.socket, text: Callable[[], str]) -> None:
        class Handler(_Handler):
            exposition = staticmethod(text)

        address = listener.getsockname()[:2]
        self._server = HTTPServer(address, Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._server.socket.getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CLIENT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    exposition: Callable[[], str]

    def do_GET(self) -> None:
        is_known = self.path.partition("?")[0] == "/metrics"
        body = self.exposition().encode() if is_known else b""
        self.send_response_only(200 if is_known else 404)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Log nothing of what a client sent."""


class Sum:
    """The sum of several expositions in the text format of Prometheus."""

    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        self._families: dict[str, dict[str, float]] = {}

    def add(self, text: str, *, cumulative_only: bool = False) -> None:
        """Add the figures of one more process; of one that has ended, only those that never fall."""
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                _, what, family, rest = line.split(" ", 3)
                self._heads.setdefault(family, [])
                if what == "TYPE":
                    self._kinds[family] = rest
                if line not in self._heads[family]:
                    self._heads[family].append(line)
            elif line and not (cumulative_only and self._kinds[family] not in _CUMULATIVE):
                series, _, value = line.rpartition(" ")
                self._add(family, series, float(value))

    def copy(self) -> Sum:
        """Return a sum that can be added to without changing this one."""
        other = Sum()
        other._heads = {name: list(lines) for name, lines in self._heads.items()}
        other._kinds = dict(self._kinds)
        other._families = {name: dict(each) for name, each in self._families.items()}
        return other

    def text(self) -> str:
        """Return the sum."""
        return "".join(f"{line}\n" for line in self._lines())

    def _add(self, family: str, series: str, value: float) -> None:
        values = self._families.setdefault(family, {})
        before = values.get(series)
        if before is None:
            values[series] = value
        elif _OF_THE_YOUNGEST.match(series):
            values[series] = max(before, value)
        else:
            values[series] = before + value

    def _lines(self) -> Iterable[str]:
        for family, head in self._heads.items():
            yield from head
            for series, value in self._families.get(family, {}).items():
                yield f"{series} {value!r}"
