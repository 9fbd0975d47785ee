"""A real HTTP server with planned replies and a list of received requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from support.clients.modules import static_file

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Retry-After, X-Request-Id",
}


class Asked(NamedTuple):
    """A request; `at` in seconds of the monotonic clock."""

    method: str
    path: str
    headers: Any
    body: bytes
    at: float


class Reply(NamedTuple):
    """An answer; the server calls `before` first, while the client waits.

    With `reads_last` it reads the body afterwards, so that a large one stalls meanwhile.
    """

    status: int
    document: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    before: Callable[[], object] = bool
    reads_body: bool = True
    reads_last: bool = False


HANG_UP = Reply(0)
"""No answer: the connection is closed."""


class AnsweringServer(ThreadingHTTPServer):
    """Sends the replies of `plan` in order and repeats the last.

    `/` is an empty page with `page_headers`; `/static/` has the client's modules.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan: list[Reply] = []
        self.page_headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def next_reply(self) -> Reply:
        """Return the next reply."""
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


class _Handler(BaseHTTPRequestHandler):
    # One connection per request: browsers repeat a request by themselves if a reused connection breaks.
    protocol_version = "HTTP/1.0"
    server: AnsweringServer

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_OPTIONS(self) -> None:
        self._send(204, b"", _CORS)

    def do_GET(self) -> None:
        name = self.path.removeprefix("/static/")
        if self.path.startswith("/v1/"):
            self._reply()
        elif self.path == "/":
            self._send(
                200, b"<!doctype html>", {"Content-Type": "text/html", **self.server.page_headers}
            )
        elif name.endswith(".js"):
            script = {"Content-Type": "text/javascript", **_CORS}
            self._send(200, static_file(name).read_bytes(), script)
        else:
            self._send(404, b"", {})

    def _reply(self) -> None:
        reply = self.server.next_reply()
        if reply.reads_last:
            reply.before()
        length = int(self.headers.get("Content-Length") or 0) if reply.reads_body else 0
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the client aborted the upload
        now = time.monotonic()
        self.server.asked.append(Asked(self.command, self.path, self.headers, body, now))
        if not reply.reads_last:
            reply.before()
        if reply is HANG_UP:
            return
        is_text = isinstance(reply.document, str)
        content = reply.document if is_text else json.dumps(reply.document)
        kind = "text/html" if is_text else "application/json"
        with contextlib.suppress(OSError):  # the client may be gone
            self._send(reply.status, content.encode(), {"Content-Type": kind, **_CORS, **reply.headers})

    do_POST = do_PUT = do_PATCH = do_DELETE = _reply  # noqa: N815 - names that the library fixes

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def answering() -> Iterator[AnsweringServer]:
    """Run an `AnsweringServer` on loopback."""
    with AnsweringServer() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join(5)
