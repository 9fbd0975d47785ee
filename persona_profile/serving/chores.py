"""Regular work of a server process beside its requests: purging the store, reloading files."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from backends import Backend, BackendError
from persona_profile.app import Application
from persona_profile.runtime.lifecycle import Hangups
from persona_profile.store.ledger import Ledger

PURGE_SECONDS: Final = 60
"""The mean interval between purges of expired items by a process."""

PURGE_ITEMS: Final = 500
"""Items of one batch."""

RELOAD_SECONDS: Final = 1.0
"""The interval between looks at the keyring's file, and for a SIGHUP."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def chores(app: Application, hangups: Hangups) -> Iterator[None]:
    """Purge and reload regularly, in threads, within the context."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=target, args=arguments, daemon=True)
        for target, arguments in (
            (purge_regularly, ("storage", partial(_purge, app.backend), stopped)),
            (purge_regularly, ("ledger", partial(_keep, app.ledger), stopped)),
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


def purge_regularly(
    name: str,
    purge_some: Callable[[int], int],
    stopped: threading.Event,
    seconds: float = PURGE_SECONDS,
) -> None:
    """Delete expired items in small batches. Every process does this; no leader is elected."""

    def purge() -> None:
        try:
            while purge_some(PURGE_ITEMS) == PURGE_ITEMS and not stopped.is_set():
                pass
        except BackendError as error:
            logger.warning("%s: expired items were not purged: %s", name, error)

    while not stopped.wait(random.uniform(0.5, 1.5) * seconds):  # noqa: S311 - spreads processes
        _try("purging", purge)


def _purge(backend: Backend, limit: int) -> int:
    """Find out whether the store takes writes, and delete expired items."""
    backend.try_write()
    return backend.purge_expired(limit)


def _keep(ledger: Ledger, limit: int) -> int:
    """Note that the ledger is in use, and delete entries that no backup needs."""
    ledger.begin()
    return ledger.purge(limit)


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
