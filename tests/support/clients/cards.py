"""A server for the card element: its modules, a page of cards, and planned answers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from support import ROOT
from support.clients.modules import static_file

_PAGE = ROOT / "tests" / "browser" / "client" / "cards"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_LONGEST_WAIT_SECONDS = 30
_PATIENCE_SECONDS = 20

# Finds parts outside the card, and names over the email; the email itself must be visible.
MISPLACED = """
return [...container.children].flatMap((card) => {
  const wrong = [];
  const outer = card.getBoundingClientRect();
  const box = (selector) => part(card, selector).getBoundingClientRect();
  const parts = ".card, .portrait, .name, .name bdi, .email, .label, .about, .domain";
  for (const each of card.shadowRoot.querySelectorAll(parts)) {
    const { left, right, top, bottom, width } = each.getBoundingClientRect();
    const sticksOut = left < outer.left - 1 || right > outer.right + 1;
    if (width && (sticksOut || top < outer.top - 1 || bottom > outer.bottom + 1)) {
      wrong.push(`${card.email}: ${each.className} sticks out`);
    }
  }
  const [name, email] = [box(".name"), box(".email")];
  if (name.bottom > email.top + 0.5) {
    wrong.push(`${card.email}: name over email`);
  }
  // The topmost element at that place.
  const address = box(".domain");
  const hit = card.shadowRoot.elementFromPoint(address.right - 2, (address.top + address.bottom) / 2);
  if (!address.width || !hit?.closest(".domain")) {
    wrong.push(`${card.email}: domain covered by ${hit?.className}`);
  }
  return wrong;
});
"""


class CardServer(ThreadingHTTPServer):
    """Serves the page under a policy, planned `/profiles`, and `/picture/...`."""

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
        """Return to immediate, empty answers."""
        self.status, self.body, self.headers = 200, b'{"profiles": []}', {}
        self.referrers.clear()
        self._open.set()

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        """Set the answer of `/profiles`: JSON, or raw bytes."""
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers = status, headers

    def hold(self) -> None:
        """Hold answers back until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Send all held answers."""
        self._open.set()

    def wait(self) -> None:
        """Wait for `release`."""
        self._open.wait(_LONGEST_WAIT_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that close a connection."""


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
        folder, _, name = path.strip("/").rpartition("/")
        file = static_file(name) if folder == "static" else _PAGE / (name or "index.html")
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
        """Log nothing."""


@contextlib.contextmanager
def running_cards(policy: str, picture: bytes) -> Iterator[CardServer]:
    """Run a card server on loopback."""
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


def profile(email: str, **claims: Any) -> dict[str, Any]:
    """Return the server's entry for an email."""
    return {"email": email, "picture": None, "version": 1, "protected": False, "etag": '"1"'} | claims


class CardPage:
    """The page of cards in a browser."""

    def __init__(self, browser: webdriver.Chrome, server: CardServer) -> None:
        self.browser = browser
        self.server = server

    def open(self, fragment: str = "") -> None:
        """Load the page again."""
        # Another query, since a new fragment alone loads nothing.
        self.browser.get(f"{self.server.origin}/?{fragment.strip('#')}{fragment}")
        self.wait_for("return window.ready")

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the result of JavaScript, its promises resolved."""
        return self.browser.execute_script(script, *arguments)

    def wait_for(self, script: str, *arguments: Any) -> Any:
        """Poll JavaScript until its result is true; return the result."""
        waiting = WebDriverWait(self.browser, _PATIENCE_SECONDS, poll_frequency=0.05)
        return waiting.until(lambda _browser: self.run(script, *arguments))

    def seen(self, what: str) -> list[Any]:
        """Return events that the page recorded: `chosen`, `states`, `violations`, `shifts`."""
        return self.run("await painted(); return seen[arguments[0]]", what)

    def names(self) -> list[str]:
        """Return the names on the cards, in order."""
        return self.run("return [...container.children].map((card) => part(card, '.name').textContent)")

    def emulate(self, **features: str) -> None:
        """Emulate media features such as `prefers_color_scheme="dark"`."""
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def resize(self, width: int) -> None:
        """Set the width of the page."""
        metrics = {"width": width, "height": 4000, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """Return the console's errors except failed requests."""
        log = self.browser.get_log("browser")
        return [
            entry["message"]
            for entry in log
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]
