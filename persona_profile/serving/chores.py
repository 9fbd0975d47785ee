"""Regular work of a server process beside its requests: purging the store, reloading files."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from typing import Final

from backends import Backend, BackendError
from persona_profile.app import Application
from persona_profile.runtime.lifecycle import Hangups

PURGE_SECONDS: Final = 60
"""The mean interval between purges of expired items by a process."""

PURGE_ITEMS: Final = 500
"""Items of one batch."""

RELOAD_SECONDS: Final = 1.0
"""The interval between looks at the keyring's file, and for a SIGHUP."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def chores(app: Application, hangups: Hangups) -> Iterator[None]:
    """Purge and reload regularly, in two threads, within the context."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=target, args=arguments, daemon=True)
        for target, arguments in (
            (purge_regularly, (app.backend, stopped)),
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


def purge_regularly(backend: Backend, stopped: threading.Event, seconds: float = PURGE_SECONDS) -> None:
    """Delete expired items in small batches. Every process does this; no leader is elected."""

    def purge() -> None:
        try:
            while backend.purge_expired(PURGE_ITEMS) == PURGE_ITEMS and not stopped.is_set():
                pass
        except BackendError as error:
            logger.warning("expired items were not purged: %s", error)

    while not stopped.wait(random.uniform(0.5, 1.5) * seconds):  # noqa: S311 - spreads processes
        _try("purging", purge)


def _reload_regularly(app: Application, hangups: Hangups, stopped: threading.Event) -> None:
    """Reload the keyring soon after its file has changed, and the other files at SIGHUP."""
    while not stopped.wait(RELOAD_SECONDS):
        if hangups.clear():
            _try("reloading", app.services.authenticators.reload)
        if app.keyring_watch is not None:
            _try("reloading", app.keyring_watch.check)


def _try(name: str, chore: Callable[[], None]) -> None:
    """Carry out a chore; log any error, so that the chore is carried out again the next time."""
    try:
        chore()
    except Exception:
        logger.exception("%s: a mistake", name)
