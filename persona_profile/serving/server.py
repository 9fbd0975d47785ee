"""The waitress server around the application."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from waitress import create_server

from persona_profile.api.addresses import ANY_PROXY, TrustedProxies
from persona_profile.api.reception import Reception
from persona_profile.app import Application
from persona_profile.development.openid_provider import CLIENT_ID
from persona_profile.runtime.control import HEALTHY, METRICS, STOP, ControlChannel
from persona_profile.runtime.exposition import ExpositionServer, listen
from persona_profile.runtime.lifecycle import LATER_SIGNALS, Hangups, Lifecycle
from persona_profile.runtime.systemd import READY, STOPPING, notify
from persona_profile.runtime.waiting import Wait
from persona_profile.serving.channels import prepare
from persona_profile.serving.chores import chores
from persona_profile.serving.development_provider import start_providers
from persona_profile.serving.loop import run
from persona_profile.serving.waitress_settings import (
    ADDRESSES,
    DEFAULT_ADDRESS,
    DEFAULTS,
    adjustments,
    connection_limit,
)

HEALTH_SECONDS: Final = 0.5
"""The interval between health checks of a process that has just started."""

SWITCH_SECONDS: Final = 0.0005
"""The switch interval of threads, a tenth of Python's default: the longest time that a sign-in waits
for a thread that handles an upload."""

logger = logging.getLogger(__name__)


def serve(
    app: Application,
    _global_config: object = None,
    supervisor: ControlChannel | None = None,
    **settings: Any,
) -> None:
    """Serve the application until the process is stopped (a PasteDeploy server runner).

    SIGTERM and SIGINT stop it as `Lifecycle` describes; a second one ends it at once. SIGHUP reloads
    files. `supervisor` is the channel to a supervisor, which also serves the metrics; `settings` are of
    waitress.
    """
    services = app.services
    exposition = None
    if app.metrics_listen is not None and supervisor is None:
        exposition = ExpositionServer(listen(app.metrics_listen), services.metrics.exposition)
    # First, because the authenticators fetch their documents.
    close_providers = start_providers(app.development, is_one_of_several=supervisor is not None)
    server = make_server(app, **settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    hangups = Hangups()
    _handle_signals(services.lifecycle, hangups)
    if exposition is not None:
        exposition.start()
    try:
        with chores(app, hangups):
            if supervisor is None:
                services.lifecycle.on_stop(lambda: notify(STOPPING))
                _announce(server, app)
                notify(READY)
            else:
                for target in (_obey, _report_health):
                    threading.Thread(target=target, args=(supervisor, app), daemon=True).start()
            run(server, services.lifecycle)
    finally:
        if exposition is not None:
            exposition.close()
        close_providers()
        if supervisor is not None:
            supervisor.send(METRICS, services.metrics.exposition())
        app.close()


def make_server(app: Application, **settings: Any) -> Any:
    """Return a waitress server that listens already, and serves when its `run` is called.

    Raises:
        InvalidSettings: waitress rejects the settings.
        OSError: it can't listen.
    """
    if not settings.keys() & ADDRESSES:
        settings["listen"] = DEFAULT_ADDRESS
    settings = DEFAULTS | settings
    read = adjustments(settings)
    settings["connection_limit"] = connection_limit(read.connection_limit)
    _fit_budget(app, read.threads)
    proxies = TrustedProxies(
        read.trusted_proxy or "", read.trusted_proxy_count, read.trusted_proxy_headers
    )
    if read.trusted_proxy:
        settings["trusted_proxy"] = ANY_PROXY  # waitress compares texts; `proxies` decides
    _check_limits_by_address(app, settings)
    logging.getLogger("waitress").addFilter(_remove_paths)
    server = create_server(app, max_request_body_size=app.max_body_bytes, **settings)
    prepare(server, app.services, proxies, Reception(app.router.registry))
    app.services.metrics.watch_queue(server.task_dispatcher.queue)
    app.services.authenticators.prepare()
    return server


def _fit_budget(app: Application, threads: int) -> None:
    """Set the number of threads that may wait; warn if uploads need more of them."""
    services = app.services
    services.waiting.fit(threads)
    uploads = services.waiting.limit(Wait.UPLOAD)
    if services.renderer.max_concurrent > uploads:
        logger.warning(
            "of %d threads at most %d may wait for pictures: pictures.workers + pictures.max_queued "
            "should be no more, or threads more",
            threads,
            uploads,
        )


def _check_limits_by_address(app: Application, settings: Mapping[str, Any]) -> None:
    """Warn if all clients of a proxy would count as one client."""
    named = settings.get("listen") or settings.get("host") or settings.get("unix_socket")
    addresses = [str(each.getsockname()[0]) for each in settings.get("sockets", ())]
    addresses = addresses or str(named).split()
    is_local = all(re.match(r"127\.|localhost|\[?::1\b|/", each) for each in addresses)
    headers = set(str(settings.get("trusted_proxy_headers")).split())
    if (
        (is_local or "trusted_proxy" in settings)
        and not headers & {"x-forwarded-for", "forwarded"}
        and app.services.rate_limits.by_address
    ):
        logger.warning(
            "limits by address count all clients as one: behind a proxy set trusted_proxy and "
            "trusted_proxy_headers (production.ini), else ratelimit.sessions_per_address = off"
        )


def _remove_paths(record: logging.LogRecord) -> bool:
    """Remove the path from a message of waitress: it may hold an email."""
    record.msg = re.sub(r"(while serving) .*", r"\1 a request", str(record.msg), flags=re.DOTALL)
    return True


def _handle_signals(lifecycle: Lifecycle, hangups: Hangups) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # the next one ends the process at once
        lifecycle.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: hangups.set())
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # meant for a supervisor; its default is to end
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LATER_SIGNALS)


def _report_health(supervisor: ControlChannel, app: Application) -> None:
    """Report to the supervisor once the process is healthy."""
    heartbeat = app.services.heartbeat
    while not heartbeat.is_healthy(heartbeat.statuses()):
        if app.services.lifecycle.is_stopping:
            return
        time.sleep(HEALTH_SECONDS)
    supervisor.send(HEALTHY)


def _obey(supervisor: ControlChannel, app: Application) -> None:
    """Carry out the supervisor's messages, healthy or not; stop when the supervisor is gone."""
    for kind, _ in supervisor.messages():
        if kind == METRICS:
            supervisor.send(METRICS, app.services.metrics.exposition())
        else:
            app.services.lifecycle.stop(announce=kind == STOP)
    app.services.lifecycle.stop(announce=False)


def _announce(server: Any, app: Application) -> None:
    # With one socket waitress makes a server that knows its own, with several one that knows all.
    sockets = getattr(server, "effective_listen", None) or [
        (server.effective_host, server.effective_port)
    ]
    addresses = " and ".join(f"http://{host}:{port}/" for host, port in sockets)
    if app.development is None:
        logger.info("Persona Profile Server listens on %s", addresses)
        return
    lines = [
        f"Persona Profile Server, for development (throw-away keys), listens on {addresses}",
        "Try first: open it in a browser, or run `persona-profile assertion alice@example.com`.",
    ]
    provider = app.development.openid_provider
    if provider is not None and provider.is_served:
        lines.append(f"OpenID provider, for development, at {provider.issuer} (client_id {CLIENT_ID}).")
    issuer = app.development.email_issuer
    if issuer is not None and issuer.is_served:
        lines.append("Email verification in Chromium: `make run-evp` starts one that asks this server.")
    print("\n".join(lines), file=sys.stderr, flush=True)
