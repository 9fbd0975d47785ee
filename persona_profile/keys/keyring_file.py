"""The keyring in a file: read, written whole, locked, and reloaded by a running server.

The file is a JSON object `{"format": 1, "encryption_keys": [KEY, ...], "index_keys": [KEY, ...]}`, a
KEY `{"version": 1, "state": "primary", "secret": "base64url of 32 bytes"}`; other members of a KEY
are notes. It belongs to its reader alone (mode 0600).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from persona_profile import files
from persona_profile.encoding import MalformedText, base64url_decode, base64url_encode, json_decode
from persona_profile.keys.keyring import (
    KEY_BYTES,
    MAX_VERSION,
    Key,
    KeyKind,
    Keyring,
    KeyringError,
    KeyState,
)

MAX_FILE_BYTES: Final = 1024 * 1024

_FORMAT: Final = 1
_KNOWN: Final = {"version", "state", "secret"}

logger = logging.getLogger(__name__)


class KeyringFile:
    """A keyring on disk. A crash at any instant leaves the old file or the new one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Keyring:
        """Read the keyring.

        Raises:
            KeyringError: it is absent, open to others, or not of the form that this module tells.
        """
        try:
            with self.path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise KeyringError(f"{self.path}: others can read it; run chmod 600 on it")
                text = file.read(MAX_FILE_BYTES + 1)
            if len(text) > MAX_FILE_BYTES:
                raise KeyringError(f"{self.path}: this is no keyring, for it is too large")
            return _parse(json_decode(text, max_values=None))
        except OSError as error:
            raise KeyringError(f"{self.path}: {error.strerror}") from None
        except MalformedText as error:
            raise KeyringError(f"{self.path}: {error}") from None
        except _NoKeyring as error:
            raise KeyringError(f"{self.path}: {error}") from None

    def create(self, keyring: Keyring) -> None:
        """Write a new file, mode 0600: whole and on disk, or not at all.

        Raises:
            FileExistsError: there is a file already, which stays as it is.
            OSError: it can't be written.
        """
        files.create(self.path, _text(keyring))

    def replace(self, keyring: Keyring) -> None:
        """Write the keyring over the file, which keeps its owner; on disk when this returns.

        Only under `lock`. See `files.replace`.

        Raises:
            KeyringError: the file has other names, which would keep the old keyring.
            OSError: it can't be written, and is as it was.
        """
        try:
            files.replace(self.path, _text(keyring))
        except files.OtherNames as error:
            raise KeyringError(f"{self.path}: {error.strerror}; they would keep its keys") from None

    def holds(self, keyring: Keyring) -> bool:
        """Return whether the file has the keys of a keyring, with the same states and notes.

        Raises:
            KeyringError: see `load`.
        """
        return _describe(self.load()) == _describe(keyring)

    @contextmanager
    def lock(self) -> Iterator[KeyringFile]:
        """Keep other operators from changing the keyring meanwhile; it ends with the process.

        Yields:
            The file that symbolic links lead to now: if a link changes meanwhile, this one stays.

        Raises:
            KeyringError: somebody else has locked it.
            OSError: the lock's file, beside the keyring, can't be made.
        """
        # Not the keyring itself: that is another file after every change.
        path = files.real_path(self.path)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{self.path}: another `keys` command is at work on it"
                raise KeyringError(message) from None
            yield KeyringFile(path)
        finally:
            os.close(handle)


class KeyringWatch:
    """Reloads the keyring when its file has changed; a keyring that can't be used is left alone.

    Args:
        file: what to watch.
        keyring: the one in use.
        use: is given each later one.
        observe: is called with `accepted` or `rejected` whenever the file has changed.
    """

    def __init__(
        self,
        file: KeyringFile,
        keyring: Keyring,
        use: Callable[[Keyring], None],
        observe: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._file = file
        self._keyring = keyring
        self._use = use
        self._observe = observe
        self._seen: object = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Look at the file; log the result if it has changed. Used by any number of threads at once."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        try:
            status = self._file.path.stat()
            # With the time of the last change of anything, so that a chmod that mends it counts.
            seen: object = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        self._seen = seen
        try:
            keyring = self._file.load()
            keyring.check_continues(self._keyring)
        except KeyringError as error:
            self._observe("rejected")
            logger.error("keyring: not reloaded: %s", error)  # noqa: TRY400 - no trace: no values
            return
        if _describe(keyring) != _describe(self._keyring):
            self._keyring = keyring
            self._use(keyring)
            self._observe("accepted")
            encryption, index = (keyring.primary(kind).version for kind in KeyKind)
            message = "keyring: reloaded; primary are encryption key %d and index key %d"
            logger.warning(message, encryption, index)


class _NoKeyring(Exception):
    """What stands in a file is no keyring; the message says why."""


def _text(keyring: Keyring) -> bytes:
    return json.dumps(_describe(keyring), indent=2).encode("ascii") + b"\n"


def _describe(keyring: Keyring) -> dict[str, Any]:
    return {"format": _FORMAT} | {
        f"{kind}_keys": [_describe_key(key) for key in keyring.keys(kind)] for kind in KeyKind
    }


def _describe_key(key: Key) -> dict[str, Any]:
    known = {"version": key.version, "state": key.state}
    secret = {} if key.secret is None else {"secret": base64url_encode(key.secret)}
    return {**known, **secret, **key.notes}


def _parse(document: Any) -> Keyring:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _NoKeyring(f'this is no keyring of "format": {_FORMAT}')
    try:
        return Keyring(*(_parse_keys(document, f"{kind}_keys") for kind in KeyKind))
    except KeyringError as error:
        raise _NoKeyring(error) from None


def _parse_keys(document: Mapping[str, Any], member: str) -> list[Key]:
    entries = document.get(member)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _NoKeyring(f"{member}: a list of keys is missing")
    return [_parse_key(f"{member}[{position}]", entry) for position, entry in enumerate(entries)]


def _parse_key(where: str, entry: Mapping[str, Any]) -> Key:
    version, secret = entry.get("version"), entry.get("secret")
    notes = {name: value for name, value in entry.items() if name not in _KNOWN}
    try:
        state = KeyState(entry.get("state", ""))
    except ValueError:
        raise _NoKeyring(f"{where}: state is one of {', '.join(KeyState)}") from None
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= MAX_VERSION:
        raise _NoKeyring(f"{where}: version is a number from 1 to {MAX_VERSION}")
    if state is KeyState.DESTROYED:
        if secret is not None:
            raise _NoKeyring(f"{where}: a destroyed key has no secret")
        return Key(version, state, None, notes)
    try:
        decoded = base64url_decode(secret) if isinstance(secret, str) else b""
    except MalformedText:
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise _NoKeyring(f"{where}: secret is base64url of {KEY_BYTES} bytes")
    return Key(version, state, decoded, notes)
