"""The configured keys: a keyring in a file, or in memory in development, and a key service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from persona_profile.keys.keyring import Keyring, KeyringError
from persona_profile.keys.keyring_file import KeyringFile, KeyringWatch
from persona_profile.keys.transit import CachingService, TransitService
from persona_profile.keys.vault_client import VaultClient
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.runtime.waiting import Wait, WaitingBudget
from persona_profile.settings import InvalidSettings, Settings

logger = logging.getLogger(__name__)


def open_keyring(settings: Settings) -> tuple[KeyringFile | None, Keyring]:
    """Return the keyring and its file; in development make it if it is missing.

    With a backend in memory the keyring is in memory too, without a file.

    Raises:
        InvalidSettings: the keyring can't be read or created.
    """
    file = keyring_file(settings)
    if file is None:
        logger.warning("keyring: made in memory; stored profiles can't be read after a restart")
        return None, Keyring.generate()
    try:
        if settings.keyring_path is None:
            _make_keyring(file)
        return file, file.load()
    except (KeyringError, OSError) as error:
        raise InvalidSettings(f"keyring.path: {error}") from None


def keyring_file(settings: Settings) -> KeyringFile | None:
    """Return the file of the keyring; None for a keyring in memory."""
    if settings.keyring_path is not None:
        return KeyringFile(settings.keyring_path, group_readable=settings.keyring_group_readable)
    if settings.backend == "memory":
        return None
    return KeyringFile(settings.development_folder / "keyring.json")


def make_key_wrapper(
    settings: Settings, keyring: Keyring, waiting: WaitingBudget | None = None
) -> KeyWrapper:
    """Return the key wrapper of the settings; `waiting` limits long waits for a key service.

    Raises:
        InvalidSettings: the settings of the key service are invalid.
    """
    if settings.transit_url is None or settings.transit_token_file is None:
        return KeyWrapper(keyring)
    try:
        vault = VaultClient(
            settings.transit_url,
            settings.transit_token_file,
            namespace=settings.transit_namespace,
            ca_file=settings.transit_ca_file,
            timeout=settings.transit_timeout_seconds,
            place=partial(waiting.place, Wait.KEY_SERVICE) if waiting else nullcontext,
        )
        service = TransitService(vault, settings.transit_key, settings.transit_mount)
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
    """Have `keys` use the keyring of a file, and each changed one; return the watch of the file."""
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
