"""A server that gives the browser the cards, a page for them, and whatever answer a test wants."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import persona_profile

FOLDERS = {
    "static": Path(persona_profile.__file__).with_name("static"),
    "": Path(__file__).parents[1] / "browser" / "cards",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_LONGEST_WAIT_SECONDS = 30


class CardServer(ThreadingHTTPServer):
    """Serves the page under a policy, `/profiles` as the test says, and `/picture/...`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, policy: str, picture: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policy = policy
        self.picture = picture
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self.referrers: list[str | None] = []
        self._open = threading.Event()
        self.reset()

    def reset(self) -> None:
        """Answer at once again, with nothing."""
        self.status, self.body, self.headers = 200, b'{"profiles": []}', {}
        self.referrers.clear()
        self._open.set()

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer `/profiles` with this from now on: JSON, or bytes as they are."""
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers = status, headers

    def hold(self) -> None:
        """Let answers wait until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Let every answer go."""
        self._open.set()

    def wait(self) -> None:
        """Return when answers may go."""
        self._open.wait(_LONGEST_WAIT_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    server: CardServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request."""
        path = self.path.split("?", 1)[0]
        if path == "/profiles":
            self.server.wait()
            self._send(self.server.status, self.server.body, "application/json", self.server.headers)
        elif path.startswith("/picture/"):
            self._picture(path.removeprefix("/picture/"))
        else:
            self._file(path)

    def _picture(self, kind: str) -> None:
        self.server.referrers.append(self.headers["Referer"])
        if kind == "gone":
            self._send(404, b"gone", "text/plain", {})
        elif kind == "broken":
            self._send(200, self.server.picture[:40], "image/png", {})
        else:
            if kind == "slow":
                self.server.wait()
            self._send(200, self.server.picture, "image/png", {})

    def _file(self, path: str) -> None:
        *folder, name = path.strip("/").split("/")
        file = FOLDERS.get("/".join(folder), Path("nowhere")) / (name or "index.html")
        if file.suffix not in _TYPES or not file.is_file():
            self._send(404, b"", "text/plain", {})
            return
        headers = {"Content-Security-Policy": self.server.policy, "Referrer-Policy": "same-origin"}
        self._send(200, file.read_bytes(), _TYPES[file.suffix], headers)

    def _send(self, status: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextlib.contextmanager
def running_cards(policy: str, picture: bytes) -> Iterator[CardServer]:
    """Run a server of cards."""
    server = CardServer(policy, picture)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release()
        server.shutdown()
        thread.join(5)
        server.server_close()
