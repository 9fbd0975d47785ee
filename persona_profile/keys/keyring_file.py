"""The file of the keyring: read, written atomically, locked, and reloaded by a running server.

The file is a JSON object `{"format": 1, "encryption_keys": [KEY, ...], "index_keys": [KEY, ...]}`. A
KEY is `{"version": 1, "state": "primary", "secret": "base64url of 32 bytes"}`; its other members are
notes. The mode is 0600; a mounted secret, owned by root, may be 0440 if that is configured.
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
    """A keyring on disk. After a crash there is the old file or the new one."""

    def __init__(self, path: Path, *, group_readable: bool = False) -> None:
        self.path = path
        self._group_readable = group_readable

    def load(self) -> Keyring:
        """Read the keyring.

        Raises:
            KeyringError: the file can't be read, is readable by others, or is no keyring.
        """
        try:
            return _parse(json_decode(self._read(), max_values=None))
        except OSError as error:
            raise KeyringError(f"{self.path}: {error.strerror}") from None
        except (MalformedText, KeyringError) as error:
            raise KeyringError(f"{self.path}: {error}") from None

    def create(self, keyring: Keyring) -> None:
        """Write and sync a new file with mode 0600.

        Raises:
            FileExistsError: there is a file already; it stays as it is.
            OSError: the file can't be written.
        """
        files.create(self.path, _text(keyring))

    def replace(self, keyring: Keyring) -> None:
        """Replace and sync the file, which keeps its owner; only under `lock`. See `files.replace`.

        Raises:
            KeyringError: the file has hard links, which would keep the old keyring.
            OSError: the file can't be written; it stays as it is.
        """
        try:
            files.replace(self.path, _text(keyring))
        except files.OtherNames as error:
            raise KeyringError(f"{self.path}: {error.strerror}; they would keep its keys") from None

    def holds(self, keyring: Keyring) -> bool:
        """Return whether the file has the same keys, states and notes as a keyring.

        Raises:
            KeyringError: see `load`.
        """
        return _describe(self.load()) == _describe(keyring)

    @contextmanager
    def lock(self) -> Iterator[KeyringFile]:
        """Lock the keyring against changes by other operators, until the process ends at most.

        Yields:
            The file without symbolic links, as links may change meanwhile.

        Raises:
            KeyringError: another process has the lock.
            OSError: the file of the lock, beside the keyring, can't be created.
        """
        # A file of its own, as each change replaces the file of the keyring.
        path = files.real_path(self.path)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{self.path}: another `keys` command is at work on it"
                raise KeyringError(message) from None
            yield KeyringFile(path, group_readable=self._group_readable)
        finally:
            os.close(handle)

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            forbidden = 0o037 if self._group_readable else 0o077
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & forbidden:
                raise KeyringError("others can read it; run chmod 600 on it")
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise KeyringError("this is no keyring, as it is too large")
        return text


class KeyringWatch:
    """Calls `use` with the keyring of a file after each change, unless the new keyring is invalid."""

    def __init__(
        self,
        file: KeyringFile,
        keyring: Keyring,
        use: Callable[[Keyring], None],
        count_reload: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._file = file
        self._keyring = keyring
        self._use = use
        self._count_reload = count_reload
        self._seen: object = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Reload the keyring if its file has changed, and log the outcome; thread-safe."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        try:
            status = self._file.path.stat()
            # st_ctime changes after a chmod too, which may repair the file.
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
            self._count_reload("rejected")
            logger.error("keyring: not reloaded: %s", error)  # noqa: TRY400 - a trace could hold values
            return
        if _describe(keyring) != _describe(self._keyring):
            self._keyring = keyring
            self._use(keyring)
            self._count_reload("accepted")
            encryption, index = (keyring.primary(kind).version for kind in KeyKind)
            message = "keyring: reloaded; primary are encryption key %d and index key %d"
            logger.warning(message, encryption, index)


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
        raise KeyringError(f'this is no keyring of "format": {_FORMAT}')
    return Keyring(*(_parse_keys(document, f"{kind}_keys") for kind in KeyKind))


def _parse_keys(document: Mapping[str, Any], member: str) -> list[Key]:
    entries = document.get(member)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeyringError(f"{member}: a list of keys is missing")
    return [_parse_key(f"{member}[{position}]", entry) for position, entry in enumerate(entries)]


def _parse_key(where: str, entry: Mapping[str, Any]) -> Key:
    version, secret = entry.get("version"), entry.get("secret")
    notes = {name: value for name, value in entry.items() if name not in _KNOWN}
    try:
        state = KeyState(entry.get("state", ""))
    except ValueError:
        raise KeyringError(f"{where}: state is one of {', '.join(KeyState)}") from None
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= MAX_VERSION:
        raise KeyringError(f"{where}: version is a number from 1 to {MAX_VERSION}")
    if state is KeyState.DESTROYED:
        if secret is not None:
            raise KeyringError(f"{where}: a destroyed key has no secret")
        return Key(version, state, None, notes)
    try:
        decoded = base64url_decode(secret) if isinstance(secret, str) else b""
    except MalformedText:
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise KeyringError(f"{where}: secret is base64url of {KEY_BYTES} bytes")
    return Key(version, state, decoded, notes)
