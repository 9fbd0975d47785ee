"""Wraps of a content key: each opens with the data key and one of a person's profile keys.

Layout, integers big-endian:

    wrap    id (8) | added at, milliseconds since 1970 (8) | AES-KWP of the content key (40)

The key of AES-KWP is `HKDF-SHA256(profile key, salt = data key, info)`. The salt binds a wrap to its
profile; it survives other encryption keys and other partitions, for which nobody has the profile key.
`info` is `"persona-profile/profile-key/v2" | id | added at`, so that a wrap opens in its own slot only.

A wrap of the first format had neither id nor time. It opens with `info =
"persona-profile/profile-key/v1"`; in a slot, its time is 0, and its id is derived from it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from persona_profile.keys.records import KEY_BYTES, KeyRole, RecordKey, hkdf_sha256
from persona_profile.keys.service import Unreadable

ID_BYTES: Final = 8
MAX_WRAPS: Final = 8
"""The number of profile keys that open one profile."""

WRAP: Final = struct.Struct(">8sQ40s")

_NAMED = struct.Struct(">8sQ")
_FIRST_INFO = b"persona-profile/profile-key/v1"
_INFO = b"persona-profile/profile-key/v2"


@dataclass(frozen=True, slots=True)
class ContentKeyWrap:
    """A wrap of a content key.

    Attributes:
        id: ID_BYTES, random.
        added_at: milliseconds since 1970; 0 for a wrap of the first format.
        wrapped: the content key in AES-KWP.
    """

    id: bytes
    added_at: int
    wrapped: bytes = field(repr=False)

    @classmethod
    def create(
        cls, data_key: RecordKey, profile_key: bytes, content_key: RecordKey, added_at: int
    ) -> ContentKeyWrap:
        """Return a new wrap, which opens with a profile key."""
        # The time 0 has another meaning.
        wrap_id, added_at = os.urandom(ID_BYTES), max(1, added_at)
        key = _wrapping_key(data_key, profile_key, wrap_id, added_at)
        return cls(wrap_id, added_at, aes_key_wrap_with_padding(key, content_key.secret))

    @classmethod
    def of_first_format(cls, wrapped: bytes) -> ContentKeyWrap:
        """Return the wrap in an owner record of the first format."""
        return cls(sha256(_FIRST_INFO + wrapped).digest()[:ID_BYTES], 0, wrapped)

    def to_bytes(self) -> bytes:
        """Return the content of a slot."""
        return WRAP.pack(self.id, self.added_at, self.wrapped)

    def open(self, data_key: RecordKey, profile_key: bytes) -> RecordKey:
        """Return the content key.

        Raises:
            Unreadable: one of the keys is another one, or the wrap is altered or of another slot.
        """
        key = _wrapping_key(data_key, profile_key, self.id, self.added_at)
        try:
            secret = aes_key_unwrap_with_padding(key, self.wrapped)
        except InvalidUnwrap:
            raise Unreadable from None
        if len(secret) != KEY_BYTES:
            raise Unreadable
        return RecordKey(KeyRole.CONTENT, secret)


def open_wraps(
    wraps: Iterable[ContentKeyWrap], data_key: RecordKey, profile_key: bytes
) -> tuple[ContentKeyWrap, RecordKey] | None:
    """Return the wrap that a profile key opens, and the content key; None if it opens none."""
    for wrap in wraps:
        try:
            return wrap, wrap.open(data_key, profile_key)
        except Unreadable:
            continue
    return None


def _wrapping_key(data_key: RecordKey, profile_key: bytes, wrap_id: bytes, added_at: int) -> bytes:
    info = _INFO + _NAMED.pack(wrap_id, added_at) if added_at else _FIRST_INFO
    return hkdf_sha256(profile_key, data_key.secret, info)
