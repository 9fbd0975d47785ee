"""The store, its replicas and its ledger, as the settings name them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from backends import Backend
from persona_profile.keys.configured import keyring_file
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.plugins import PluginNotFound, load_plugin
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.store.ledger import Ledger

BACKENDS_GROUP: Final = "persona_profile.backends"
"""The entry points of backends."""

LEDGER_FILE: Final = "ledger.sqlite"
"""The default name of the ledger, in the folder of the keyring."""


def open_backend(settings: Settings) -> Backend:
    """Open the backend of an entry point or a dotted name; its store may be empty.

    Raises:
        InvalidSettings: there is none of that name, or it does not accept the URL.
    """
    url = _url(settings.backend_url, settings.backend_url_file, "backend.url_file")
    return _open(settings.backend, "backend.url", url)


def open_ledger_store(settings: Settings) -> Backend:
    """Open the store of the ledger, by default a SQLite file beside the keyring; it may be empty.

    Raises:
        InvalidSettings: there is no such backend, or it does not accept the URL.
    """
    url = _url(settings.ledger_url, settings.ledger_url_file, "ledger.url_file")
    name = settings.ledger_backend
    if name is None:
        file = keyring_file(settings)
        if file is None:
            return _open("memory", "ledger.url", None)
        name, url = "sqlite", f"sqlite:///{file.path.absolute().with_name(LEDGER_FILE)}"
    return _open(name, "ledger.url", url)


def open_ledger(settings: Settings, keys: KeyWrapper, clock: Callable[[], float] = time.time) -> Ledger:
    """Open the ledger. `begin` makes files and memory ready; `storage init` makes tables.

    Raises:
        InvalidSettings: see `open_ledger_store`.
    """
    return Ledger(
        open_ledger_store(settings),
        keys,
        settings.ledger_keep_seconds,
        makes_schema=is_self_made(settings),
        clock=clock,
    )


def is_self_made(settings: Settings) -> bool:
    """Return whether the service itself creates the store of its ledger."""
    return settings.ledger_backend in (None, "memory", "sqlite")


def open_replicas(settings: Settings) -> list[Backend]:
    """Open the replicas that may be read from; none needs to be reachable.

    Raises:
        InvalidSettings: the backend does not accept the URL of one.
    """
    urls = _url(settings.backend_read_url, settings.backend_read_url_file, "backend.read_url_file")
    return [_open(settings.backend, "backend.read_url", url) for url in (urls or "").split()]


def _url(url: str | None, file: Path | None, name: str) -> str | None:
    if file is None:
        return url
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise InvalidSettings(f"{name}: {reason}") from None


def _open(backend: str, url_name: str, url: str | None) -> Backend:
    try:
        return cast(Backend, load_plugin(BACKENDS_GROUP, backend)(url))
    except PluginNotFound as error:
        raise InvalidSettings(f"{url_name.partition('.')[0]}: {error}") from None
    except ValueError as error:
        raise InvalidSettings(f"{url_name}: {error}") from None
