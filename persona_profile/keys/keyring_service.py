"""The key service of the keyring: AES-KWP (RFC 5649) under keys in the memory of this process.

A wrapped key, all integers big-endian:

    "PPK" | format 0x01 | KEK version (4) | AES-KWP(data key) (40)

The wrapping key is `HKDF-SHA256(KEK, info = "persona-profile/wrap/v1" || partition)`, so a wrapped key
is bound to its owner.
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from persona_profile.keys.keyring import KEY_BYTES, KeyKind, Keyring
from persona_profile.keys.service import KeyService, Unreadable

_HEADER = struct.Struct(">4sI")
_WRAPPED_BYTES: Final = _HEADER.size + KEY_BYTES + 8


class KeyringService(KeyService):
    """Wraps data keys under the encryption keys of a keyring."""

    magic = b"PPK\x01"

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    def length(self, data: bytes) -> int:
        if len(data) < _WRAPPED_BYTES or not data.startswith(self.magic):
            raise Unreadable
        return _WRAPPED_BYTES

    def version(self, wrapped: bytes) -> int:
        if self.length(wrapped) != len(wrapped):
            raise Unreadable
        return int(_HEADER.unpack_from(wrapped)[1])

    def primary_version(self) -> int:
        return self._keyring.primary(KeyKind.ENCRYPTION).version

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        version = self.primary_version()
        wrapped = aes_key_wrap_with_padding(self._wrapping_key(version, partition), data_key)
        return _HEADER.pack(self.magic, version) + wrapped

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        wrapping_key = self._wrapping_key(self.version(wrapped), partition)
        try:
            data_key = aes_key_unwrap_with_padding(wrapping_key, wrapped[_HEADER.size :])
        except InvalidUnwrap:
            raise Unreadable from None
        if len(data_key) != KEY_BYTES:
            raise Unreadable
        return data_key

    def _wrapping_key(self, version: int, partition: bytes) -> bytes:
        key = self._keyring.find(KeyKind.ENCRYPTION, version)
        if key is None:
            raise Unreadable
        return key.derive(b"persona-profile/wrap/v1" + partition, KEY_BYTES)
