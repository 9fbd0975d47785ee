"""The loop of the server, and its end."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.trigger import trigger

from persona_profile.runtime.lifecycle import Lifecycle

IDLE_SECONDS: Final = 1.0
"""The time for which a connection without a request stays open after the server stopped accepting.
A request that the client has sent already is answered."""

_POLL_SECONDS: Final = 0.1

logger = logging.getLogger(__name__)


def run(server: Any, lifecycle: Lifecycle) -> None:
    """Run the server loop. On shutdown stop accepting, then wait up to `grace_seconds` for requests."""
    # With one listening socket waitress makes a server with a private map, else with a public one.
    sockets: dict[int, Any] = server.map if hasattr(server, "map") else server._map  # noqa: SLF001
    lifecycle.on_stop(lambda: _wake(sockets))

    def turn(seconds: float) -> None:
        wasyncore.loop(seconds, server.adj.asyncore_use_poll, sockets, 1)

    while not lifecycle.must_close:
        turn(_POLL_SECONDS if lifecycle.is_stopping else server.adj.asyncore_loop_timeout)
    _close_listeners(sockets)
    closed_at = time.time()
    deadline = time.monotonic() + lifecycle.grace_seconds
    while (channels := _of_type(sockets, HTTPChannel)) and time.monotonic() < deadline:
        for channel in channels:
            if channel.is_idle and time.time() - max(closed_at, channel.last_activity) > IDLE_SECONDS:
                channel.will_close = True
        turn(_POLL_SECONDS)
    if channels:
        logger.warning("stopped with %d connections in flight", len(channels))
    server.task_dispatcher.shutdown(timeout=1 if channels else 5)


def _of_type(sockets: dict[int, Any], kind: type) -> list[Any]:
    return [each for each in list(sockets.values()) if isinstance(each, kind)]


def _close_listeners(sockets: dict[int, Any]) -> None:
    for server in _of_type(sockets, BaseWSGIServer):
        known = -1
        while known < len(server.active_channels):  # clients that have connected already are answered
            known = len(server.active_channels)
            server.handle_accept()
        # Not the server's own close: the threads that answer still need its trigger.
        wasyncore.dispatcher.close(server)


def _wake(sockets: dict[int, Any]) -> None:
    for each in _of_type(sockets, trigger):
        each.pull_trigger()
