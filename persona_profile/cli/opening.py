"""The store, the ledger and the keys of the settings file, opened for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from backends import Backend, BackendError
from persona_profile.cli.failures import CommandFailed
from persona_profile.keys.configured import (
    follow_keyring,
    keyring_file,
    make_key_wrapper,
    open_keyring,
)
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.store.configured import open_backend, open_ledger
from persona_profile.store.ledger import Ledger


def open_shared_backend(settings: Settings) -> Backend:
    """Return the backend of the settings.

    Raises:
        InvalidSettings: its store is in the memory of the server.
    """
    if settings.backend == "memory":
        raise InvalidSettings("backend: a store in memory belongs to the server alone")
    return open_backend(settings)


def open_keyring_file(settings: Settings) -> KeyringFile:
    """Return the file of the keyring.

    Raises:
        InvalidSettings: the keyring is in the memory of the server.
    """
    file = keyring_file(settings)
    if file is None:
        raise InvalidSettings("keyring.path: none is set, and in development the keyring is in memory")
    return file


@contextmanager
def opened_store(settings: Settings) -> Iterator[Backend]:
    """Open a store that is ready.

    Raises:
        InvalidSettings: see `open_shared_backend`.
        WrongSchema, Unavailable: see `Backend.check_schema`.
    """
    with closing(open_shared_backend(settings)) as backend:
        backend.check_schema()
        yield backend


@contextmanager
def opened_store_with_keys(settings: Settings) -> Iterator[tuple[Backend, KeyWrapper]]:
    """Open a store that is ready, and its keys, which follow changes of the keyring."""
    with opened_store(settings) as backend:
        file, keyring = open_keyring(settings)
        with closing(make_key_wrapper(settings, keyring)) as keys:
            if file is not None:
                follow_keyring(keys, keyring, file)
            yield backend, keys


@contextmanager
def opened_ledger(settings: Settings, keys: KeyWrapper) -> Iterator[Ledger]:
    """Open a ledger for writing.

    Raises:
        CommandFailed: it can't be used now.
        InvalidSettings: see `open_ledger`.
    """
    with closing(open_ledger(settings, keys)) as ledger:
        try:
            ledger.begin()
        except BackendError as error:
            raise CommandFailed(f"ledger: {error}") from None
        yield ledger
