"""The keyring: versioned keys, their states, and the changes of states.

**Encryption keys** wrap the data keys of emails and seal tokens. **Index keys** compute the partitions
of emails. One key of each kind is primary and is used for new data. Decrypt-only keys read existing
data. A destroyed key has no secret, and its version is not used again. The states are those of
NIST SP 800-57 part 1, section 7: active, deactivated, destroyed.

A keyring is immutable: a change returns a new keyring. `keyring_file` stores it.
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
"""The version of an index key is one byte; 0 is reserved (see `partitions`)."""

MAX_LIVE_INDEX_KEYS: Final = 2
"""A profile is searched under each of them, so a rotation must end before the next one begins."""

CREATED: Final = "created_at"
RETIRED: Final = "retired_at"
DESTROYED: Final = "destroyed_at"


class KeyringError(Exception):
    """The keyring is invalid, or does not allow a change. The message holds no key."""


class KeyKind(StrEnum):
    """The use of a key."""

    ENCRYPTION = "encryption"
    INDEX = "index"


class KeyState(StrEnum):
    """The state of a key."""

    PRIMARY = "primary"
    DECRYPT_ONLY = "decrypt-only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """A version of a key.

    Attributes:
        version: 1 to MAX_VERSION.
        state: its state.
        secret: KEY_BYTES; None after its destruction.
        notes: the times of its changes (RFC 3339), and notes of operators.
    """

    version: int
    state: KeyState
    secret: bytes | None = field(repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def generate(cls, version: int, state: KeyState, now: datetime | None = None) -> Key:
        """Return a new random key."""
        notes = {CREATED: _timestamp(now)} if now else {}
        return cls(version, state, os.urandom(KEY_BYTES), notes)

    @property
    def is_live(self) -> bool:
        """Whether it is not destroyed."""
        return self.secret is not None

    @property
    def created_at(self) -> datetime | None:
        """The time of its creation, if its notes have it."""
        return self._instant(CREATED)

    @property
    def retired_at(self) -> datetime | None:
        """The time since which it is not primary, if its notes have it."""
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
        """Return 16 hexadecimal digits, by which people compare keys."""
        return self.derive(b"persona-profile/fingerprint/v1", 8).hex()


class Keyring:
    """The keys of both kinds, with exactly one primary key of each."""

    def __init__(self, encryption_keys: Iterable[Key], index_keys: Iterable[Key]) -> None:
        """Check the keys.

        Raises:
            KeyringError: a version repeats, a kind has not exactly one primary key, or more than
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
        """Return a keyring of new random keys."""
        encryption, index = (Key.generate(1, KeyState.PRIMARY, now) for _ in KeyKind)
        return cls([encryption], [index])

    def keys(self, kind: KeyKind) -> list[Key]:
        """Return all keys of a kind, in order of version."""
        return list(self._keys[kind].values())

    def live(self, kind: KeyKind) -> list[Key]:
        """Return the keys of a kind that are not destroyed, in order of version."""
        return [key for key in self.keys(kind) if key.is_live]

    def primary(self, kind: KeyKind) -> Key:
        """Return the primary key of a kind."""
        return self._primary[kind]

    def find(self, kind: KeyKind, version: int) -> Key | None:
        """Return the key of a version, destroyed or not; None if there is none."""
        return self._keys[kind].get(version)

    def pending(self, kind: KeyKind) -> Key | None:
        """Return the added key that is not primary yet, if there is one."""
        newest = self.live(kind)[-1]
        return newest if newest.version > self.primary(kind).version else None

    def adding(self, kind: KeyKind, now: datetime) -> Keyring:
        """Return a keyring with a new key, decrypt-only until its promotion.

        Raises:
            KeyringError: the last rotation has not ended, or no version is left.
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
        """Return a keyring with the newest key as primary; the old primary key becomes decrypt-only.

        Raises:
            KeyringError: the newest key is already primary.
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
        """Return a keyring without the secret of a key.

        Raises:
            KeyringError: the key does not exist, is already destroyed, or is primary.
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
        """Check that this keyring has the keys of the previous one; they may be destroyed.

        Raises:
            KeyringError: a key is missing, or has another secret.
        """
        for kind in KeyKind:
            for key in previous.live(kind):
                now = self.find(kind, key.version)
                if now is None:
                    raise KeyringError(f"{kind} key {key.version} is missing")
                if now.is_live and now.secret != key.secret:
                    raise KeyringError(f"{kind} key {key.version} is not the one in use")

    def _changed(self, kind: KeyKind, keys: Iterable[Key]) -> Keyring:
        changed = self._keys | {kind: self._keys[kind] | {key.version: key for key in keys}}
        return Keyring(*(changed[each].values() for each in KeyKind))


def _by_version(kind: KeyKind, keys: Iterable[Key]) -> dict[int, Key]:
    ordered = sorted(keys, key=lambda key: key.version)
    versions = {key.version: key for key in ordered}
    if len(versions) != len(ordered):
        raise KeyringError(f"{kind} keys: a version is there twice")
    return versions


def _only_primary(kind: KeyKind, keys: Iterable[Key]) -> Key:
    primary = [key for key in keys if key.state is KeyState.PRIMARY]
    if len(primary) != 1:
        raise KeyringError(f"{kind} keys: exactly one must be primary, not {len(primary)}")
    return primary[0]


def _timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
