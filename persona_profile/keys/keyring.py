"""The keyring: versioned keys, what each may still be used for, and how that changes.

Two kinds of keys stand there. **Encryption keys** wrap the data keys of emails and seal tokens;
**index keys** compute the partition of an email. Of each kind one key is primary: what is new is made
with it. Others are decrypt-only: what they made is still read. A destroyed key has no secret left,
and its version is never given again. The states are those of NIST SP 800-57 part 1, section 7:
active, deactivated, destroyed.

A keyring is a value: what changes it returns another one. `keyring_file` keeps one in a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from persona_profile.keys.service import Unreadable

KEY_BYTES: Final = 32
MAX_VERSION: Final = 255
"""The version of an index key is one byte; 0 is not given (see `partitions`)."""

MAX_LIVE_INDEX_KEYS: Final = 2
"""A profile is looked for under each, so one rotation ends before the next begins."""

CREATED: Final = "created_at"
RETIRED: Final = "retired_at"
DESTROYED: Final = "destroyed_at"


class KeyringError(Exception):
    """The keyring can't be used so. The message tells what to do and never holds a key."""


class KeyKind(StrEnum):
    """What keys are for."""

    ENCRYPTION = "encryption"
    INDEX = "index"


class KeyState(StrEnum):
    """What a key of the keyring may still be used for."""

    PRIMARY = "primary"
    DECRYPT_ONLY = "decrypt-only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """One version of a key.

    Attributes:
        version: 1 to MAX_VERSION.
        state: what it may be used for.
        secret: KEY_BYTES; none once the key is destroyed.
        notes: what else is told of it: instants of its life (RFC 3339), and what operators wrote there.
    """

    version: int
    state: KeyState
    secret: bytes | None = field(repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def generate(cls, version: int, state: KeyState, now: datetime | None = None) -> Key:
        """Make a key of random bytes."""
        notes = {CREATED: _timestamp(now)} if now else {}
        return cls(version, state, os.urandom(KEY_BYTES), notes)

    @property
    def is_live(self) -> bool:
        """Whether it has a secret."""
        return self.secret is not None

    @property
    def created_at(self) -> datetime | None:
        """When it was made, as far as its notes tell."""
        return self._instant(CREATED)

    @property
    def retired_at(self) -> datetime | None:
        """When it ceased to be primary, as far as its notes tell."""
        return self._instant(RETIRED)

    def _instant(self, note: str) -> datetime | None:
        try:
            instant = datetime.fromisoformat(self.notes[note])
        except (KeyError, TypeError, ValueError):
            return None
        return instant if instant.tzinfo else None

    def derive(self, info: bytes, length: int) -> bytes:
        """Derive a key of `length` bytes by HKDF-SHA256 (RFC 5869), without salt.

        Raises:
            Unreadable: the key is destroyed.
        """
        if self.secret is None:
            raise Unreadable
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.secret)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits by which two people can tell that they hold the same key."""
        return self.derive(b"persona-profile/fingerprint/v1", 8).hex()


class Keyring:
    """Keys of both kinds, exactly one of each primary."""

    def __init__(self, encryption_keys: Iterable[Key], index_keys: Iterable[Key]) -> None:
        """Take the keys.

        Raises:
            KeyringError: versions repeat, there is not exactly one primary key of a kind, or more than
                MAX_LIVE_INDEX_KEYS index keys are not destroyed.
        """
        self._keys = {
            KeyKind.ENCRYPTION: _by_version(KeyKind.ENCRYPTION, encryption_keys),
            KeyKind.INDEX: _by_version(KeyKind.INDEX, index_keys),
        }
        if len(self.live(KeyKind.INDEX)) > MAX_LIVE_INDEX_KEYS:
            raise KeyringError(f"more than {MAX_LIVE_INDEX_KEYS} index keys are not destroyed")
        self._primary = {kind: _only_primary(kind, self.keys(kind)) for kind in KeyKind}

    @classmethod
    def generate(cls, now: datetime | None = None) -> Keyring:
        """Make a keyring of random keys."""
        encryption, index = (Key.generate(1, KeyState.PRIMARY, now) for _ in KeyKind)
        return cls([encryption], [index])

    def keys(self, kind: KeyKind) -> list[Key]:
        """Return all keys of a kind, in order of version."""
        return list(self._keys[kind].values())

    def live(self, kind: KeyKind) -> list[Key]:
        """Return the keys of a kind that are not destroyed, in order of version."""
        return [key for key in self.keys(kind) if key.is_live]

    def primary(self, kind: KeyKind) -> Key:
        """Return the key that makes what is new."""
        return self._primary[kind]

    def find(self, kind: KeyKind, version: int) -> Key | None:
        """Return the key of a version, if there ever was one."""
        return self._keys[kind].get(version)

    def pending(self, kind: KeyKind) -> Key | None:
        """Return the key that was added to become primary, and has not yet."""
        newest = self.live(kind)[-1]
        return newest if newest.version > self.primary(kind).version else None

    def adding(self, kind: KeyKind, now: datetime) -> Keyring:
        """Return a keyring with one more key, decrypt-only until it is promoted.

        Raises:
            KeyringError: the rotation before this one has not ended, or no version is left.
        """
        pending = self.pending(kind)
        if pending is not None:
            raise KeyringError(f"{kind} key {pending.version} waits to be promoted already")
        live = self.live(kind)
        if kind is KeyKind.INDEX and len(live) == MAX_LIVE_INDEX_KEYS:
            raise KeyringError(f"index key {live[0].version} must be destroyed first")
        version = max(self._keys[kind]) + 1
        if version > MAX_VERSION:
            raise KeyringError(f"{kind} key {MAX_VERSION} was the last; there is no version left")
        return self._changed(kind, [Key.generate(version, KeyState.DECRYPT_ONLY, now)])

    def promoting(self, kind: KeyKind, now: datetime) -> Keyring:
        """Return a keyring whose newest key is primary; the one before it becomes decrypt-only.

        Raises:
            KeyringError: the newest key is primary already.
        """
        pending, primary = self.pending(kind), self.primary(kind)
        if pending is None:
            raise KeyringError(f"{kind} key {primary.version} is the newest, and primary already")
        retired = replace(
            primary,
            state=KeyState.DECRYPT_ONLY,
            notes={**primary.notes, RETIRED: _timestamp(now)},
        )
        return self._changed(kind, [retired, replace(pending, state=KeyState.PRIMARY)])

    def destroying(self, kind: KeyKind, version: int, now: datetime) -> Keyring:
        """Return a keyring without the secret of one key.

        Raises:
            KeyringError: there is no such key, it is destroyed already, or primary.
        """
        key = self.find(kind, version)
        if key is None:
            raise KeyringError(f"there is no {kind} key {version}")
        if not key.is_live:
            raise KeyringError(f"{kind} key {version} is destroyed already")
        if key.state is KeyState.PRIMARY:
            raise KeyringError(f"{kind} key {version} is primary: rotate first")
        notes = {**key.notes, DESTROYED: _timestamp(now)}
        return self._changed(kind, [Key(version, KeyState.DESTROYED, None, notes)])

    def check_continues(self, previous: Keyring) -> None:
        """Return if whoever used the previous keyring may go on with this one.

        Raises:
            KeyringError: a key of that one is missing here, or is another here.
        """
        for kind in KeyKind:
            for key in previous.live(kind):
                now = self.find(kind, key.version)
                if now is None:
                    raise KeyringError(f"{kind} key {key.version} is missing")
                if now.is_live and now.secret != key.secret:
                    raise KeyringError(f"{kind} key {key.version} is not the one in use")

    def _changed(self, kind: KeyKind, keys: Iterable[Key]) -> Keyring:
        changed = {
            each: {**self._keys[each], **{key.version: key for key in keys if each is kind}}
            for each in KeyKind
        }
        return Keyring(changed[KeyKind.ENCRYPTION].values(), changed[KeyKind.INDEX].values())


def _by_version(kind: KeyKind, keys: Iterable[Key]) -> dict[int, Key]:
    ordered = sorted(keys, key=lambda key: key.version)
    versions = {key.version: key for key in ordered}
    if len(versions) != len(ordered):
        raise KeyringError(f"{kind} keys: a version stands there twice")
    return versions


def _only_primary(kind: KeyKind, keys: Iterable[Key]) -> Key:
    primary = [key for key in keys if key.state is KeyState.PRIMARY]
    if len(primary) != 1:
        raise KeyringError(f"{kind} keys: exactly one must be primary, not {len(primary)}")
    return primary[0]


def _timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
