"""Sealed records, the values of all items; each key belongs to one email.

Layout, integers big-endian:

    record    "PPR" | format 0x02 | salt (32) | commitment (32) | AES-256-GCM

`HKDF-SHA512(secret, salt, info = "persona-profile/record/v1")` gives 32 bytes of key and 32 bytes of
commitment, so that no record opens under two keys. The nonce is twelve zero bytes, as each record has
a fresh salt and so a fresh key. The associated data is the first four bytes of the record, the role of
the key (4) and the name of the item. A record does not identify its key, so the database alone does not
show whose profiles are protected.

The keys of an email, by role:

- 1, its **data key**: 256 random bits, wrapped by a key service. It seals the email itself and,
  unless the profile is protected, everything else.
- 2, its **content key**, if the profile is protected: 256 random bits that seal the profile. It is
  wrapped under each of the person's own **profile keys**, which are stored nowhere (see
  `content_key_wraps`).
- 3, a **picture key**: `HKDF-SHA256(content key, info = "persona-profile/picture/v1" | picture id)`.
  The URL of a picture holds it (sealed). It opens that picture alone.
- 4, a **removal key**: 256 random bits, wrapped by a key service. It seals an operator's removal of a
  picture alone, which stays when the profile is erased.
- 5, a key derived from the key of the ledger, for records about an email beside it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from persona_profile.keys.service import Unreadable

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32

_ROLE = struct.Struct(">I")
_MAGIC = b"PPR\x02"
_SALTED = len(_MAGIC) + SALT_BYTES
_OVERHEAD = _SALTED + COMMITMENT_BYTES
_NONCE = bytes(12)
_TAG_BYTES = 16

OVERHEAD_BYTES: Final = _OVERHEAD + _TAG_BYTES
"""The length of a record, less that of its plaintext."""


class KeyRole(IntEnum):
    """The role of a key among the keys of an email."""

    DATA = 1
    CONTENT = 2
    PICTURE = 3
    REMOVAL = 4
    LEDGER = 5


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A key of KEY_BYTES that seals and opens records."""

    role: KeyRole
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, role: KeyRole) -> RecordKey:
        """Return a new random key."""
        return cls(role, os.urandom(KEY_BYTES))

    def seal(self, name: str, plaintext: bytes) -> bytes:
        """Return the record of the item `name` with a value."""
        salt = os.urandom(SALT_BYTES)
        key, commitment = self._derive(salt)
        ciphertext = AESGCM(key).encrypt(_NONCE, plaintext, self._associated(name))
        return b"".join((_MAGIC, salt, commitment, ciphertext))

    def open(self, name: str, record: bytes) -> bytes:
        """Return the plaintext of the record of the item `name`.

        Raises:
            Unreadable: the record has another key or name, or is altered.
        """
        if not is_record(record):
            raise Unreadable
        key, commitment = self._derive(record[len(_MAGIC) : _SALTED])
        if not bytes_eq(commitment, record[_SALTED:_OVERHEAD]):
            raise Unreadable
        try:
            return AESGCM(key).decrypt(_NONCE, record[_OVERHEAD:], self._associated(name))
        except InvalidTag:
            raise Unreadable from None

    def for_picture(self, picture_id: bytes) -> RecordKey:
        """Return the key of a picture's renditions: this data key, or the content key's picture key."""
        if self.role is not KeyRole.CONTENT:
            return self
        info = b"persona-profile/picture/v1" + picture_id
        return RecordKey(KeyRole.PICTURE, hkdf_sha256(self.secret, None, info))

    def _associated(self, name: str) -> bytes:
        return _MAGIC + _ROLE.pack(self.role) + name.encode("ascii")

    def _derive(self, salt: bytes) -> tuple[bytes, bytes]:
        derived = HKDF(
            algorithm=SHA512(),
            length=KEY_BYTES + COMMITMENT_BYTES,
            salt=salt,
            info=b"persona-profile/record/v1",
        ).derive(self.secret)
        return derived[:KEY_BYTES], derived[KEY_BYTES:]


def is_record(value: bytes) -> bool:
    """Return whether a value has the form of a record, under any key."""
    return value.startswith(_MAGIC) and len(value) >= OVERHEAD_BYTES


def hkdf_sha256(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    """Return KEY_BYTES that are derived from a secret."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
