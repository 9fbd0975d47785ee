"""Applications with settings of the test's own, and real servers around them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyramid.router import Router

from persona_profile.app import make_app
from persona_profile.server import make_server
from persona_profile.settings import parse_settings


class Clock:
    """A clock that goes on when told to; callable for seconds since 1970."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def application(folder: Path, clock: Any = None, **settings: str) -> Router:
    """Return a development application; settings as `name__part="value"`."""
    given = {
        "development": "true",
        "development.folder": str(folder),
        "public_origins": "http://127.0.0.1:6543 http://localhost",
        "dialog_origins": "https://dialog.example",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    parsed = parse_settings(given, {})
    return make_app(parsed, clock) if clock else make_app(parsed)


@contextlib.contextmanager
def running(app: Router) -> Iterator[str]:
    """Serve an application with waitress on a free port of loopback; yield its origin."""
    server = make_server(app, listen="127.0.0.1:0")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.close()
        server.task_dispatcher.shutdown()
        thread.join(5)
