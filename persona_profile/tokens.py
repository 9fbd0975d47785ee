"""Sealed, stateless tokens that others keep for the server: sessions, picture capabilities, nonces."""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from persona_profile.encoding import base64url_decode, base64url_encode, json_encode
from persona_profile.images import FORMATS
from persona_profile.keyservice import Unreadable
from persona_profile.keywrap import KeyWrapper
from persona_profile.records import KEY_BYTES, KeyRole, RecordKey

MAX_TOKEN_CHARACTERS: Final = 12_000
"""Longer than a session of the most and longest emails."""

_CAPABILITY = struct.Struct(">33s16sHBI")
_PROTECTION = struct.Struct(f">{KEY_BYTES}sQ")
_NONCE = struct.Struct(">16sQQ")


@dataclass(frozen=True, slots=True)
class Session:
    """Emails that somebody has proved, in the order proved; instants in milliseconds since 1970.

    `profile_key` is the person's own key, if the dialog has sent one: KEY_BYTES.
    """

    emails: tuple[str, ...]
    issued_at: int
    expires_at: int
    profile_key: bytes | None = field(default=None, repr=False)


class SessionTokens:
    """Bearer tokens (RFC 6750) that name a session; only this server can read or make one."""

    _PURPOSE = "session"

    def __init__(self, keys: KeyWrapper) -> None:
        self._keys = keys

    def seal(self, session: Session) -> str:
        """Return the token of a session."""
        key = session.profile_key and base64url_encode(session.profile_key)
        payload = [session.issued_at, session.expires_at, key, *session.emails]
        return self._keys.seal_token(self._PURPOSE, json_encode(payload))

    def open(self, token: str) -> Session:
        """Return the session of a token, which may have expired.

        Raises:
            Unreadable: the token is not one of ours.
        """
        payload = json.loads(_open(self._keys, self._PURPOSE, token))
        issued_at, expires_at, key, *emails = payload
        return Session(tuple(emails), issued_at, expires_at, key and base64url_decode(key))


@dataclass(frozen=True, slots=True)
class Nonce:
    """A number used once, by which an identity provider ties its token to one sign-in.

    Attributes:
        digest: 32 bytes that stand for it.
        expires_at: seconds since 1970.
    """

    digest: bytes
    expires_at: int


class Nonces:
    """Nonces that only this server can make; that each is used once is for the storage to know.

    Args:
        keys: what seals them.
        lifetime: seconds.
        clock: seconds since 1970.
    """

    _PURPOSE = "nonce"

    def __init__(self, keys: KeyWrapper, lifetime: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self._clock = clock

    def issue(self) -> tuple[str, int]:
        """Return the text of a new nonce, and when it expires in seconds since 1970."""
        now = int(self._clock())
        payload = _NONCE.pack(secrets.token_bytes(16), now, now + self._lifetime)
        return self._keys.seal_token(self._PURPOSE, payload), now + self._lifetime

    def open(self, text: str) -> Nonce:
        """Return the nonce of a text, which may have expired.

        Raises:
            Unreadable: the text is not one of ours.
        """
        payload = _open(self._keys, self._PURPOSE, text)
        _, _, expires_at = _NONCE.unpack(payload)
        return Nonce(hashlib.sha256(b"nonce" + payload).digest(), expires_at)


@dataclass(frozen=True, slots=True)
class Protection:
    """What opens a picture of a protected profile, during one session.

    Attributes:
        picture_key: opens the renditions.
        issued_at: when the session was opened, in milliseconds since 1970.
        expires_at: when it ends, likewise.
    """

    picture_key: RecordKey
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class PictureCapability:
    """The permission to fetch one size (in pixels) of one picture, in the formats stored for it."""

    partition: bytes
    picture_id: bytes
    size: int
    formats: tuple[str, ...]
    protection: Protection | None = None


class PictureCapabilities:
    """Capabilities as the last part of a URL.

    The same permission is the same text for a whole window of time, so that browsers cache what it
    leads to, and works until the end of the next window. The windows of different partitions begin at
    different instants, so that not everybody's pictures are fetched anew at once.

    Args:
        keys: what seals them.
        window: seconds.
        clock: seconds since 1970.
    """

    _PURPOSE = "picture"

    def __init__(self, keys: KeyWrapper, window: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._window = window
        self._clock = clock

    def seal(self, capability: PictureCapability) -> str:
        """Return the text of a capability in the current window, or of a protected one's session."""
        protection = capability.protection
        payload = _CAPABILITY.pack(
            capability.partition,
            capability.picture_id,
            capability.size,
            _mask(capability.formats),
            self.expiry(capability.partition, protection),
        )
        if protection is not None:
            payload += _PROTECTION.pack(protection.picture_key.secret, protection.issued_at)
        return self._keys.seal_token(self._PURPOSE, payload)

    def open(self, text: str) -> tuple[PictureCapability, int]:
        """Return the capability of a text and the seconds for which it still works.

        Raises:
            Unreadable: the text is not one of ours, or it has expired.
        """
        payload = _open(self._keys, self._PURPOSE, text)
        partition, picture_id, size, mask, expires_at = _CAPABILITY.unpack_from(payload)
        remaining = expires_at - int(self._clock())
        if remaining <= 0:
            raise Unreadable
        protection = None
        if len(payload) > _CAPABILITY.size:
            secret, issued_at = _PROTECTION.unpack_from(payload, _CAPABILITY.size)
            protection = Protection(RecordKey(KeyRole.PICTURE, secret), issued_at, 1000 * expires_at)
        names = tuple(name for bit, name in enumerate(FORMATS) if mask & 1 << bit)
        return PictureCapability(partition, picture_id, size, names, protection), remaining

    def expiry(self, partition: bytes, protection: Protection | None = None) -> int:
        """Return when the capabilities that are sealed now stop working, in seconds since 1970."""
        if protection is not None:
            return protection.expires_at // 1000
        offset = int.from_bytes(partition[-4:]) % self._window
        return ((int(self._clock()) + offset) // self._window + 2) * self._window - offset


def _open(keys: KeyWrapper, purpose: str, text: str) -> bytes:
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise Unreadable
    return keys.open_token(purpose, text)


def _mask(names: Iterable[str]) -> int:
    return sum(1 << FORMATS.index(name) for name in names)
