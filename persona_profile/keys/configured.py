"""Where the keys come from that settings name: a file, memory in development, a key service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from persona_profile.keys.keyring import Keyring, KeyringError
from persona_profile.keys.keyring_file import KeyringFile, KeyringWatch
from persona_profile.keys.transit import CachingService, TransitService
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.runtime.waiting import Wait, WaitingBudget
from persona_profile.settings import InvalidSettings, Settings

logger = logging.getLogger(__name__)


def open_keyring(settings: Settings) -> tuple[KeyringFile | None, Keyring]:
    """Return the configured keyring; in development one that lives as long as what is stored.

    Its file is missing if it is in memory only.

    Raises:
        InvalidSettings: it can't be used.
    """
    file = keyring_file(settings)
    if file is None:
        logger.warning("keyring: made in memory; what is stored can't be read after a restart")
        return None, Keyring.generate()
    try:
        if settings.keyring_path is None:
            _make_keyring(file)
        return file, file.load()
    except (KeyringError, OSError) as error:
        raise InvalidSettings(f"keyring.path: {error}") from None


def keyring_file(settings: Settings) -> KeyringFile | None:
    """Return where the keyring is kept; none if it is in memory only."""
    if settings.keyring_path is not None:
        return KeyringFile(settings.keyring_path)
    if settings.backend == "memory":
        return None
    return KeyringFile(settings.development_folder / "keyring.json")


def make_key_wrapper(
    settings: Settings, keyring: Keyring, waiting: WaitingBudget | None = None
) -> KeyWrapper:
    """Return what wraps keys by the settings.

    Args:
        settings: the settings.
        keyring: the keyring.
        waiting: places for threads that wait long for a key service; without it any number waits.

    Raises:
        InvalidSettings: the key service can't be used so.
    """
    if settings.transit_url is None or settings.transit_token_file is None:
        return KeyWrapper(keyring)
    try:
        service = TransitService(
            settings.transit_url,
            settings.transit_key,
            settings.transit_token_file,
            mount=settings.transit_mount,
            namespace=settings.transit_namespace,
            ca_file=settings.transit_ca_file,
            timeout=settings.transit_timeout,
            place=partial(waiting.place, Wait.KEY_SERVICE) if waiting else nullcontext,
        )
    except ValueError as error:
        raise InvalidSettings(f"transit: {error}") from None
    cached = CachingService(
        service, settings.key_service_cache_keys, settings.key_service_cache_seconds
    )
    is_primary = settings.key_service == "transit"
    return KeyWrapper(keyring, cached, is_primary=is_primary)


def follow_keyring(
    keys: KeyWrapper,
    keyring: Keyring,
    file: KeyringFile,
    count_reload: Callable[[str], None] = lambda _outcome: None,
) -> KeyringWatch:
    """Have keys use the present keyring of a file; return what looks whether that has changed."""
    watch = KeyringWatch(file, keyring, keys.use, count_reload)
    keys.follow(watch.check)
    return watch


def _make_keyring(file: KeyringFile) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.create(Keyring.generate())
    except FileExistsError:
        return
    logger.warning("keyring: made for development, %s", file.path)
