"""The waitress server around the application."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from waitress import create_server
from waitress.adjustments import Adjustments

from backends import Backend, BackendError
from persona_profile.api.addresses import ANY_PROXY, TrustedProxies
from persona_profile.api.reception import Reception
from persona_profile.app import Application
from persona_profile.development.openid_provider import CLIENT_ID
from persona_profile.runtime.control import FIGURES, STOP, WELL, ControlChannel
from persona_profile.runtime.exposition import ExpositionServer, listen
from persona_profile.runtime.lifecycle import LATER_SIGNALS, Hangups, Lifecycle
from persona_profile.runtime.systemd import READY, STOPPING, notify
from persona_profile.runtime.waiting import DEFAULT_THREADS, MIN_THREADS, Wait
from persona_profile.serving.channels import prepare, run
from persona_profile.serving.development_provider import take_up
from persona_profile.settings import InvalidSettings

PURGE_SECONDS: Final = 60
"""How often, on average, a process removes expired items."""

PURGE_ITEMS: Final = 500
"""How many at a time."""

RELOAD_SECONDS: Final = 1.0
"""How often a process looks whether the keyring's file has changed, or there was a SIGHUP."""

WELL_SECONDS: Final = 0.5
"""How often a process that has just begun looks whether it can do its work."""

SWITCH_SECONDS: Final = 0.0005
"""After how long a thread lets others run: a sign-in waits for no more of an upload than that. Python's
own default is ten times as much."""

CONNECTIONS: Final = 4096
"""How many may be open at once; waitress takes 100, and whoever holds those keeps all others out."""

SPARE_FILES: Final = 256
"""Files that a process may need beside its connections."""

LEAST_CONNECTIONS: Final = 100
"""How many are taken, however few files the process may open."""

logger = logging.getLogger(__name__)

DEFAULT_ADDRESS: Final = "127.0.0.1:6543"
ADDRESSES: Final = {"listen", "host", "port", "unix_socket", "sockets"}

# One table of what we decide otherwise than waitress does; any of its settings may stand in the .ini.
_DEFAULTS: Final[dict[str, Any]] = {
    "threads": DEFAULT_THREADS,
    "connection_limit": CONNECTIONS,
    "ident": None,  # no Server header: it helps attackers alone
    "max_request_header_size": 32 * 1024,  # a token of 20 emails has 8 KiB; waitress takes 256 KiB
    "channel_timeout": 60,
    "recv_bytes": 64 * 1024,  # waitress takes 8 KiB, so that a picture is 2,500 turns of its loop
    "expose_tracebacks": False,
    "asyncore_use_poll": True,  # select() bears 1024 files
}


def serve(
    app: Application,
    _global_config: object = None,
    supervisor: ControlChannel | None = None,
    **settings: Any,
) -> None:
    """Serve the application until the process is told to stop (a PasteDeploy server runner).

    SIGTERM and SIGINT stop it as `Lifecycle` describes; a second one ends it at once. SIGHUP reloads
    files.

    Args:
        app: what `app.main` returned.
        supervisor: who looks after this process and tells its figures, if it is one of several.
        settings: waitress' own, by their names there.
    """
    services = app.services
    figures = None
    if app.metrics_listen is not None and supervisor is None:
        figures = ExpositionServer(listen(app.metrics_listen), services.metrics.exposition)
    server = make_server(app, **settings)
    provider = app.development.openid_provider if app.development else None
    close_provider = take_up(provider, is_one_of_several=supervisor is not None)
    sys.setswitchinterval(SWITCH_SECONDS)
    hangups = Hangups()
    _take_signals(services.lifecycle, hangups)
    if figures is not None:
        figures.start()
    try:
        with _chores(app, hangups):
            if supervisor is None:
                services.lifecycle.on_stop(lambda: notify(STOPPING))
                _announce(server, app)
                notify(READY)
            else:
                for target in (_obey, _tell_when_well):
                    threading.Thread(target=target, args=(supervisor, app), daemon=True).start()
            run(server, services.lifecycle)
    finally:
        if figures is not None:
            figures.close()
        close_provider()
        if supervisor is not None:
            supervisor.send(FIGURES, services.metrics.exposition())
        app.close()


def make_server(app: Application, **settings: Any) -> Any:
    """Return a waitress server that listens already and runs when its `run` is called.

    Raises:
        InvalidSettings: waitress does not take the settings.
        OSError: it can't listen.
    """
    if not settings.keys() & ADDRESSES:
        settings["listen"] = DEFAULT_ADDRESS
    settings = _DEFAULTS | settings
    wanted = adjustments(settings)
    settings["connection_limit"] = _connections(wanted.connection_limit)
    _fit_budget(app, wanted.threads)
    proxies = _proxies(wanted)
    if wanted.trusted_proxy:
        settings["trusted_proxy"] = ANY_PROXY  # waitress compares texts; `proxies` decides
    _check_addresses(app, settings)
    logging.getLogger("waitress").addFilter(_without_paths)
    server = create_server(app, max_request_body_size=app.max_body_bytes, **settings)
    prepare(server, app.services, proxies, Reception(app.router.registry))
    app.services.metrics.watch_queue(server.task_dispatcher.queue)
    app.services.authenticators.prepare()
    return server


def adjustments(settings: Mapping[str, Any]) -> Adjustments:
    """Return settings as waitress reads them.

    Raises:
        InvalidSettings: it does not take one, or there are too few threads to leave one free.
    """
    try:
        wanted = Adjustments(**({"threads": DEFAULT_THREADS} | dict(settings)))
    except ValueError as error:
        raise InvalidSettings(f"[server:main]: {error}") from None
    if wanted.threads < MIN_THREADS:
        raise InvalidSettings(
            f"[server:main]: threads: must be at least {MIN_THREADS}, as most may wait for others"
        )
    return wanted


def _fit_budget(app: Application, threads: int) -> None:
    """Set how many threads may wait for others; warn if that is too few for the picture workers."""
    app.services.waiting.fit(threads)
    uploads = app.services.waiting.most(Wait.UPLOAD)
    if app.services.renderer.max_concurrent > uploads:
        logger.warning(
            "of %d threads at most %d may wait for pictures: pictures.workers + pictures.max_queued "
            "should be no more, or threads more",
            threads,
            uploads,
        )


def _proxies(wanted: Adjustments) -> TrustedProxies:
    try:
        return TrustedProxies(
            wanted.trusted_proxy or "", wanted.trusted_proxy_count, wanted.trusted_proxy_headers
        )
    except ValueError:
        raise InvalidSettings(
            "[server:main]: trusted_proxy: must be IP addresses or networks such as 10.0.0.0/24, "
            "localhost for a Unix socket, or *"
        ) from None


def _check_addresses(app: Application, settings: Mapping[str, Any]) -> None:
    """Warn if limits by address would hold all clients of a proxy to what one may do."""
    told = settings.get("listen") or settings.get("host") or settings.get("unix_socket")
    where = [str(each.getsockname()[0]) for each in settings.get("sockets", ())] or str(told).split()
    is_local = all(re.match(r"127\.|localhost|\[?::1\b|/", each) for each in where)
    headers = set(str(settings.get("trusted_proxy_headers")).split())
    if (
        (is_local or "trusted_proxy" in settings)
        and not headers & {"x-forwarded-for", "forwarded"}
        and app.services.rate_limits.by_address
    ):
        logger.warning(
            "limits by address take all clients for one: behind a proxy set trusted_proxy and "
            "trusted_proxy_headers (production.ini), else ratelimit.sessions_per_address = off"
        )


def _connections(wanted: int) -> int:
    """Return how many connections there may be; allow the process as many files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + SPARE_FILES
    if resource.RLIM_INFINITY not in (soft, hard):
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    possible = max(files - SPARE_FILES, LEAST_CONNECTIONS)
    if possible < wanted:
        logger.warning(
            "connection_limit: %d instead of %d, as the process may open %d files",
            possible,
            wanted,
            files,
        )
    return possible


def _without_paths(record: logging.LogRecord) -> bool:
    """Cut the path from waitress' messages: it may hold an email."""
    record.msg = re.sub(r"(while serving) .*", r"\1 a request", str(record.msg), flags=re.DOTALL)
    return True


@contextlib.contextmanager
def _chores(app: Application, hangups: Hangups) -> Iterator[None]:
    """Do meanwhile what is to be done regularly, beside requests."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=target, args=arguments, daemon=True)
        for target, arguments in (
            (_purge_regularly, (app.backend, stopped)),
            (_reload_regularly, (app, hangups, stopped)),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(PURGE_SECONDS)


def _purge_regularly(backend: Backend, stopped: threading.Event) -> None:
    """Remove what has expired, a little at a time; every process does, and none needs to be the one."""
    while not stopped.wait(random.uniform(0.5, 1.5) * PURGE_SECONDS):  # noqa: S311 - spreads processes
        with _mistakes_logged("purging"):
            try:
                while backend.purge_expired(PURGE_ITEMS) == PURGE_ITEMS and not stopped.is_set():
                    pass
            except BackendError as error:
                logger.warning("expired items were not purged: %s", error)


def _reload_regularly(app: Application, hangups: Hangups, stopped: threading.Event) -> None:
    """Reload the keyring soon after its file has changed, and the other files at SIGHUP."""
    while not stopped.wait(RELOAD_SECONDS):
        if hangups.take():
            with _mistakes_logged("reloading"):  # authenticators may be somebody else's
                app.services.authenticators.reload()
        if app.keyring_watch is not None:
            with _mistakes_logged("reloading"):
                app.keyring_watch.check()


@contextlib.contextmanager
def _mistakes_logged(what: str) -> Iterator[None]:
    """Log a mistake, so that what is done regularly is done again the next time."""
    try:
        yield
    except Exception:
        logger.exception("%s: a mistake", what)


def _take_signals(lifecycle: Lifecycle, hangups: Hangups) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # once more, and it ends at once
        lifecycle.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: hangups.tell())
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a supervisor's; it would end whoever else gets it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LATER_SIGNALS)


def _tell_when_well(supervisor: ControlChannel, app: Application) -> None:
    heartbeat = app.services.heartbeat
    while not heartbeat.is_well(heartbeat.statuses()):
        if app.services.lifecycle.is_stopping:
            return
        time.sleep(WELL_SECONDS)
    supervisor.send(WELL)


def _obey(supervisor: ControlChannel, app: Application) -> None:
    """Do what the supervisor asks for, well or not; stop when it is gone."""
    for kind, _ in supervisor.messages():
        if kind == FIGURES:
            supervisor.send(FIGURES, app.services.metrics.exposition())
        else:
            app.services.lifecycle.stop(announce=kind == STOP)
    app.services.lifecycle.stop(announce=False)


def _announce(server: Any, app: Application) -> None:
    # With one socket waitress makes a server that knows its own, with several one that knows all.
    sockets = getattr(server, "effective_listen", None) or [
        (server.effective_host, server.effective_port)
    ]
    where = " and ".join(f"http://{host}:{port}/" for host, port in sockets)
    if app.development is None:
        logger.info("Persona Profile Server listens on %s", where)
        return
    print(
        f"Persona Profile Server, for development (throw-away keys), listens on {where}\n"
        "Try first: open it in a browser, or run `persona-profile assertion alice@example.com`.",
        file=sys.stderr,
        flush=True,
    )
    provider = app.development.openid_provider
    if provider is not None and provider.is_served:
        print(
            f"OpenID provider, for development, at {provider.issuer} (client_id {CLIENT_ID}).",
            file=sys.stderr,
            flush=True,
        )
