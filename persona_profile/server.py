"""The waitress server around the application."""

from __future__ import annotations

import logging
import random
import re
import resource
import signal
import socket
import sys
import threading
import time
from typing import Any, Final

from pyramid.router import Router
from waitress import create_server
from waitress.task import ErrorTask

from backends import Backend, BackendError
from persona_profile.app import max_body_bytes, services_of
from persona_profile.encoding import json_encode
from persona_profile.errors import new_request_id, problem_document
from persona_profile.keyring_file import KeyringWatch
from persona_profile.pipelining import PatientChannel

PURGE_SECONDS: Final = 60
"""How often, on average, a process removes expired items."""

PURGE_ITEMS: Final = 500
"""How many at a time."""

KEYRING_SECONDS: Final = 1.0
"""How often a process looks whether the keyring's file has changed."""

SWITCH_SECONDS: Final = 0.0005
"""After how long a thread lets others run: a sign-in waits for no more of an upload than that. Python's
own default is ten times as much."""

CONNECTIONS: Final = 4096
"""How many may be open at once; waitress takes 100, and whoever holds those keeps all others out."""

SPARE_FILES: Final = 256
"""Files that a process may need beside its connections."""

LINGER_SECONDS: Final = 30
"""How long a client may go on sending after it was refused; nginx' `lingering_time`."""

logger = logging.getLogger(__name__)

_CODES: Final = {
    400: "malformed_request",
    413: "body_too_large",
    431: "request_headers_too_large",
    501: "not_implemented",
}

DEFAULT_ADDRESS: Final = "127.0.0.1:6543"
_ADDRESSES: Final = {"listen", "host", "port", "unix_socket", "sockets"}

# One table of what we decide otherwise than waitress does; any of its settings may stand in the .ini.
_DEFAULTS: Final[dict[str, Any]] = {
    "threads": 8,
    "ident": None,  # no Server header: it helps attackers alone
    "max_request_header_size": 32 * 1024,  # a token of 20 emails has 8 KiB; waitress takes 256 KiB
    "channel_timeout": 60,
    "recv_bytes": 64 * 1024,  # waitress takes 8 KiB, so that a picture is 2,500 turns of its loop
    "expose_tracebacks": False,
    "asyncore_use_poll": True,  # select() bears 1024 files
}


def serve(app: Router, _global_config: object = None, **settings: Any) -> None:
    """Serve the application until the process is told to stop (a PasteDeploy server runner).

    Args:
        app: what `app.main` returned.
        settings: waitress' own, by their names there.
    """
    server = make_server(app, **settings)
    services = services_of(app)
    sys.setswitchinterval(SWITCH_SECONDS)
    stopped = threading.Event()
    threads = [threading.Thread(target=_purge_regularly, args=(services.backend, stopped), daemon=True)]
    if services.keyring_watch is not None:
        arguments = services.keyring_watch, _hangups(), stopped
        threads.append(threading.Thread(target=_watch_keyring, args=arguments, daemon=True))
    for thread in threads:
        thread.start()
    _announce(server, app)
    try:
        server.run()
    finally:
        stopped.set()
        for thread in threads:
            thread.join(PURGE_SECONDS)
        services.close()


def make_server(app: Router, **settings: Any) -> Any:
    """Return a waitress server that listens already and runs when its `run` is called."""
    if not settings.keys() & _ADDRESSES:
        settings["listen"] = DEFAULT_ADDRESS
    settings = _DEFAULTS | {"connection_limit": _connections()} | settings
    if services_of(app).renderer.most_at_once >= int(settings["threads"]):
        logger.warning(
            "uploads may hold all %s threads: pictures.workers + pictures.queue should be fewer",
            settings["threads"],
        )
    logging.getLogger("waitress").addFilter(_without_paths)
    server = create_server(app, max_request_body_size=max_body_bytes(app), **settings)
    _render_problems(server, app)
    return server


def _connections() -> int:
    """Return how many connections there may be; allow the process as many files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    if resource.RLIM_INFINITY not in (soft, hard):
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - SPARE_FILES, 100)


def _without_paths(record: logging.LogRecord) -> bool:
    """Cut the path from waitress' messages: it may hold an email."""
    record.msg = re.sub(r"(while serving) .*", r"\1 a request", str(record.msg), flags=re.DOTALL)
    return True


def _purge_regularly(backend: Backend, stopped: threading.Event) -> None:
    """Remove what has expired, a little at a time; every process does, and none needs to be the one."""
    while not stopped.wait(random.uniform(0.5, 1.5) * PURGE_SECONDS):  # noqa: S311 - spreads processes
        try:
            while backend.purge_expired(PURGE_ITEMS) == PURGE_ITEMS and not stopped.is_set():
                pass
        except BackendError as error:
            logger.warning("expired items were not purged: %s", error)


def _hangups() -> threading.Event:
    """Return what is set by each SIGHUP from now on."""
    event = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, lambda _number, _frame: event.set())
    return event


def _watch_keyring(watch: KeyringWatch, hangups: threading.Event, stopped: threading.Event) -> None:
    """Take the keyring anew soon after its file has changed, and at SIGHUP."""
    while not stopped.is_set():
        hangups.wait(KEYRING_SECONDS)
        hangups.clear()
        watch.check()


def _announce(server: Any, app: Router) -> None:
    # With one socket waitress makes a server that knows its own, with several one that knows all.
    sockets = getattr(server, "effective_listen", None) or [
        (server.effective_host, server.effective_port)
    ]
    where = " and ".join(f"http://{host}:{port}/" for host, port in sockets)
    if services_of(app).identity_provider is None:
        print(f"Persona Profile Server listens on {where}", file=sys.stderr)
        return
    print(
        f"Persona Profile Server, for development (throw-away keys), listens on {where}\n"
        "Try first: open it in a browser, or run `persona-profile assertion alice@example.com`.",
        file=sys.stderr,
        flush=True,
    )


class LingeringChannel(PatientChannel):
    """A connection that lets a client finish sending before it closes after a refusal.

    To close a socket that holds unread data resets the connection (RFC 9112, 9.6), and a client that
    is still sending a body which is too large would see that instead of the answer.
    """

    refused = False
    _lingers_until: float | None = None

    def handle_close(self) -> None:
        """Close; after a refusal only the sending half, the first time."""
        if self.refused:
            self.refused = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the client has gone already
            else:
                self.will_close = False
                self._lingers_until = time.monotonic() + LINGER_SECONDS
                return
        super().handle_close()

    def received(self, data: bytes) -> bool:
        """Take what arrives; after a refusal throw it away."""
        if self._lingers_until is None:
            return bool(super().received(data))
        if time.monotonic() > self._lingers_until:
            self.handle_close()
        return False


def _render_problems(server: Any, app: Router) -> None:
    """Make waitress answer what it refuses by itself as problems, readable by the dialog."""
    origins = services_of(app).dialog_origins

    class ProblemTask(ErrorTask):  # type: ignore[misc]
        """Renders an error of waitress as a problem (RFC 9457)."""

        def execute(self) -> None:
            """Write the answer."""
            status = self.request.error.code
            limit = services_of(app).max_picture_bytes
            members: dict[str, Any] = {"limit": limit} if status == 413 else {}
            code = _CODES.get(status, "internal_error")
            body = json_encode(problem_document(status, code, new_request_id(), **members))
            self.status = f"{status} {self.request.error.reason}"
            self.response_headers.append(("Content-Type", "application/problem+json"))
            origin = self.request.headers.get("ORIGIN")
            if origin in origins:
                self.response_headers.append(("Access-Control-Allow-Origin", origin))
                self.response_headers.append(("Vary", "Origin"))
            self.channel.refused = True
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class ProblemChannel(LingeringChannel):
        """A connection whose errors are problems."""

        error_task_class = ProblemTask

    # With several sockets to listen on, waitress makes several servers.
    for each in [server, *getattr(server, "map", {}).values()]:
        if hasattr(each, "channel_class"):
            each.channel_class = ProblemChannel
