"""Sealed, stateless tokens that others keep for the server: sessions and picture capabilities."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from persona_profile.encoding import json_encode
from persona_profile.images import FORMATS
from persona_profile.keywrap import KeyWrapper, Unreadable

MAX_TOKEN_CHARACTERS: Final = 12_000
"""Longer than a session of the most and longest emails."""

_CAPABILITY = struct.Struct(">33s16sHBI")


@dataclass(frozen=True, slots=True)
class Session:
    """Emails that somebody has proved, in the order proved; instants in milliseconds since 1970."""

    emails: tuple[str, ...]
    issued_at: int
    expires_at: int


class SessionTokens:
    """Bearer tokens (RFC 6750) that name a session; only this server can read or make one."""

    _PURPOSE = "session"

    def __init__(self, keys: KeyWrapper) -> None:
        self._keys = keys

    def seal(self, session: Session) -> str:
        """Return the token of a session."""
        payload = [session.issued_at, session.expires_at, *session.emails]
        return self._keys.seal_token(self._PURPOSE, json_encode(payload))

    def open(self, token: str) -> Session:
        """Return the session of a token, which may have expired.

        Raises:
            Unreadable: the token is not one of ours.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unreadable
        payload = json.loads(self._keys.open_token(self._PURPOSE, token))
        issued_at, expires_at, *emails = payload
        return Session(tuple(emails), issued_at, expires_at)


@dataclass(frozen=True, slots=True)
class PictureCapability:
    """The permission to fetch one size (in pixels) of one picture, in the formats stored for it."""

    partition: bytes
    picture_id: bytes
    size: int
    formats: tuple[str, ...]


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
        """Return the text of a capability in the current window."""
        payload = _CAPABILITY.pack(
            capability.partition,
            capability.picture_id,
            capability.size,
            _mask(capability.formats),
            self.expiry(capability.partition),
        )
        return self._keys.seal_token(self._PURPOSE, payload)

    def open(self, text: str) -> tuple[PictureCapability, int]:
        """Return the capability of a text and the seconds for which it still works.

        Raises:
            Unreadable: the text is not one of ours, or it has expired.
        """
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise Unreadable
        payload = self._keys.open_token(self._PURPOSE, text)
        partition, picture_id, size, mask, expires_at = _CAPABILITY.unpack(payload)
        remaining = expires_at - int(self._clock())
        if remaining <= 0:
            raise Unreadable
        names = tuple(name for bit, name in enumerate(FORMATS) if mask & 1 << bit)
        return PictureCapability(partition, picture_id, size, names), remaining

    def expiry(self, partition: bytes) -> int:
        """Return when the capabilities that are sealed now stop working, in seconds since 1970."""
        offset = int.from_bytes(partition[-4:]) % self._window
        return ((int(self._clock()) + offset) // self._window + 2) * self._window - offset


def _mask(names: Iterable[str]) -> int:
    return sum(1 << FORMATS.index(name) for name in names)
