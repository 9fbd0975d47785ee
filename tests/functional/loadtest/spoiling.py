"""A proxy that spoils answers: wrong pictures, and rejections with and without Retry-After."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class SpoilingProxy:
    """Forwards requests to a service, with faults.

    From the second picture on, answers have the previous picture. Edits and the first try of each
    upload get 503 with Retry-After, exports 503 without. `networks` are the clients as they are named.
    """

    def __init__(self, port: int) -> None:
        self.networks: set[str] = set()
        own = {"target": port, "last": b"", "uploads": set(), "networks": self.networks}
        handler = type("Handler", (_Handler,), own)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = 0
    last = b""
    uploads: set[bytes]
    networks: set[str]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.networks.add(self.headers["X-Forwarded-For"])
        if self.command == "PATCH" or self._is_first_try(body):
            self._answer(503, b'{"code": "overloaded"}', {"Retry-After": "1"})
        elif self.path.endswith("/export"):
            self._answer(503, b"gone", {})
        else:
            self._forward(body)

    do_POST = do_GET  # noqa: N815
    do_PUT = do_GET  # noqa: N815
    do_PATCH = do_GET  # noqa: N815
    do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_) -> None:
        """Log nothing."""

    def _is_first_try(self, body: bytes) -> bool:
        if self.command != "PUT" or body in self.uploads:
            return False
        self.uploads.add(body)
        return True

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        kept = ("Authorization", "Content-Type", "Accept")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        connection.request(self.command, self.path, body or None, headers)
        with connection.getresponse() as response:
            content = response.read()
            retry = response.headers.get("Retry-After")
        connection.close()
        if self.command == "GET" and self.path.startswith("/v1/pictures/"):
            kind = type(self)
            content, kind.last = kind.last or content, content
        self._answer(response.status, content, {"Retry-After": retry} if retry else {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if status != 204 else b"")
