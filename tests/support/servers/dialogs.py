"""A dialog's web server: its pages and modules on an origin of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.clients.modules import static_file
from support.servers.services import Service

# The policy that docs/how-to/dialog.md recommends.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
    "connect-src {server}; img-src 'self' data: blob: {server}"
)
_TYPES = {"": "text/html", ".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class _Pages(SimpleHTTPRequestHandler):
    """Serves given pages, and the modules under /static/."""

    def __init__(self, *arguments: Any, policy: str, pages: Mapping[str, str], **named: Any) -> None:
        self._policy = policy
        self._pages = pages
        super().__init__(*arguments, **named)

    def end_headers(self) -> None:
        """Add the policy."""
        self.send_header("Content-Security-Policy", self._policy)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def translate_path(self, path: str) -> str:
        """Return the path of a module."""
        return str(static_file(path.removeprefix("/static/")))

    def do_GET(self) -> None:
        """Serve a page or a module."""
        if self.path not in self._pages:
            super().do_GET()
            return
        body = self._pages[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{_TYPES[Path(self.path).suffix]}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def dialog_of(service: Service, pages: Mapping[str, str]) -> Iterator[str]:
    """Serve pages by path, as the dialog of a service; yield their origin; stop both at the end.

    The service must not have started yet: its settings get the origin.
    """
    with (
        contextlib.closing(service),
        serving_pages(pages, _POLICY.format(server=service.origin)) as origin,
    ):
        settings = service.folder / "test.ini"
        configured = f"dialog_origins = {origin}\n\n[server:main]"
        settings.write_text(settings.read_text().replace("[server:main]", configured))
        yield origin


@contextlib.contextmanager
def serving_pages(pages: Mapping[str, str], policy: str) -> Iterator[str]:
    """Serve pages by path, and the modules, with a content security policy; yield their origin."""
    handler = partial(_Pages, policy=policy, pages=pages)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
