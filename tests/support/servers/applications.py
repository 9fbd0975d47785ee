"""Applications with settings of a test, and real servers around them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import webtest

from persona_profile.app import Application, make_app
from persona_profile.serving.server import make_server
from persona_profile.settings import parse_settings
from support.clients.contract import hold_to_contract
from support.clients.recording import recorded
from support.servers.ports import free_port


class Clock:
    """A manual clock; a call returns seconds since 1970."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def application(folder: Path, clock: Any = None, **settings: str) -> Application:
    """Return a development application whose answers are checked against its OpenAPI document.

    Settings are passed as `name__part="value"`.
    """
    given = {
        "development": "true",
        "development.folder": str(folder),
        "public_origins": "http://127.0.0.1:6543 http://localhost",
        "dialog_origins": "https://dialog.example",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    parsed = parse_settings(given, {})
    return recorded(hold_to_contract(make_app(parsed, clock) if clock else make_app(parsed)))


@contextlib.contextmanager
def limited_applications(
    folder: Path, clock: Clock, **defaults: str
) -> Iterator[Callable[..., webtest.TestApp]]:
    """Make applications with rate limits, counted in memory by default; close them at the end."""
    with contextlib.ExitStack() as opened:

        def make(**settings: str) -> webtest.TestApp:
            app = application(folder, clock, **{"ratelimit__url": "memory://", **defaults, **settings})
            opened.callback(app.close)
            return webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "192.0.2.1"})

        yield make


def wait_for(condition: Callable[[], object], seconds: float = 60, every: float = 0.05) -> None:
    """Poll a condition until it holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


@contextlib.contextmanager
def running(app: Application, port: int = 0, **settings: str) -> Iterator[str]:
    """Serve an application with waitress on loopback, by default on a free port; yield its origin."""
    with serving(app, port, **settings) as server:
        yield f"http://127.0.0.1:{server.effective_port}"


@contextlib.contextmanager
def serving(app: Application, port: int = 0, **settings: str) -> Iterator[Any]:
    """Serve an application likewise; yield the waitress server."""
    server = make_server(app, listen=f"127.0.0.1:{port}", **settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def stop() -> None:
        for channel in list(server.active_channels.values()):
            channel.handle_close()
        server.close()

    try:
        yield server
    finally:
        # In the server's own thread, which otherwise runs as long as a browser is connected.
        # An awake loop has already closed the trigger by then.
        with contextlib.suppress(OSError):
            server.trigger.pull_trigger(stop)
        thread.join(5)
        server.task_dispatcher.shutdown()


@contextlib.contextmanager
def development_server(folder: Path) -> Iterator[str]:
    """Serve a development application that knows its own origin for picture URLs; yield the origin."""
    port = free_port()
    origins = f"http://127.0.0.1:6543 http://localhost http://127.0.0.1:{port}"
    with running(application(folder, public_origins=origins), port) as origin:
        yield origin
