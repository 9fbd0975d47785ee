"""Key wrapping: every email's data under a key of its own, that key under the keyring's.

The hierarchy, from the top:

- A **key-encryption key** (KEK) of 256 bits lives in the keyring, with a version and a state.
- An email's **data key** (DEK), 256 random bits, is wrapped with AES-KWP (RFC 5649) under
  `HKDF-SHA256(KEK, info = "persona-profile/wrap/v1" || partition)`: a wrap is bound to its owner.
- Every stored value is a **record**, sealed with AES-256-GCM under a key that is used once:
  `HKDF-SHA512(DEK, salt, info = "persona-profile/record/v1")` gives 32 bytes of key and 32 bytes of
  commitment, so that no record opens under two keys.

Layouts, all integers big-endian:

    wrapped key   "PPK" | format 0x01 | KEK version (4) | AES-KWP(DEK) (40)
    record        "PPR" | format 0x01 | key version (4) | salt (32) | commitment (32) | AES-256-GCM
    token         format 0x01 | KEK version (4) | AES-SIV

The nonce of the record is twelve zero bytes, as its key depends on a fresh salt; its associated data
is the first eight bytes of the record and the name of the item. The key version of a record is
that of the data key, 1 until data keys can be replaced.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from persona_profile.encoding import (
    MalformedText,
    base64url_decode,
    base64url_encode,
    json_decode,
)

KEY_BYTES = 32
SALT_BYTES = 32
COMMITMENT_BYTES = 32
DATA_KEY_VERSION = 1
WRAPPED_KEY_BYTES = 48

_WRAPPED_HEADER = struct.Struct(">4sI")
_WRAPPED_MAGIC = b"PPK\x01"
_RECORD_HEADER = struct.Struct(">4sI")
_RECORD_MAGIC = b"PPR\x01"
_TOKEN_HEADER = struct.Struct(">BI")
_TOKEN_FORMAT = 1
_RECORD_OVERHEAD = _RECORD_HEADER.size + SALT_BYTES + COMMITMENT_BYTES
_NONCE = bytes(12)


class KeyringError(Exception):
    """The keyring can't be used. The message tells what to do and never holds a key."""


class Unreadable(Exception):
    """Something sealed does not open: altered, moved, cut, or under a key that is not here."""


class KeyState(StrEnum):
    """What a key of the keyring may still be used for."""

    PRIMARY = "primary"
    DECRYPT_ONLY = "decrypt-only"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """One version of a key; `secret` has KEY_BYTES, or none once the key is destroyed."""

    version: int
    state: KeyState
    secret: bytes | None = field(repr=False)


class Keyring:
    """Versioned key-encryption keys and index keys, exactly one of each primary."""

    def __init__(self, encryption_keys: Iterable[Key], index_keys: Iterable[Key]) -> None:
        """Take the keys.

        Raises:
            KeyringError: versions repeat, or there is not exactly one primary key of a kind.
        """
        self._encryption_keys, self._primary = _by_version("encryption_keys", encryption_keys)
        self._index_keys, self._primary_index = _by_version("index_keys", index_keys)

    @classmethod
    def generate(cls) -> Keyring:
        """Make a keyring of random keys that exists in memory only."""
        fresh = (Key(1, KeyState.PRIMARY, os.urandom(KEY_BYTES)) for _ in range(2))
        return cls([next(fresh)], [next(fresh)])

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read a keyring file.

        The file is a JSON object `{"format": 1, "encryption_keys": [KEY, ...], "index_keys": [KEY,
        ...]}`, a KEY `{"version": 1, "state": "primary", "secret": "base64url of 32 bytes"}`; other
        members of a KEY are notes. It belongs to its reader alone (mode 0600).

        Raises:
            KeyringError: it is absent, open to others, or not of this form.
        """
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise KeyringError(f"{path}: others can read it; run chmod 600 on it")
                document = json_decode(file.read())
        except OSError as error:
            raise KeyringError(f"{path}: {error.strerror}") from None
        except MalformedText as error:
            raise KeyringError(f"{path}: {error}") from None
        if not isinstance(document, dict) or document.get("format") != 1:
            raise KeyringError(f'{path}: this is no keyring of "format": 1')
        try:
            return cls(_parse_keys(document, "encryption_keys"), _parse_keys(document, "index_keys"))
        except KeyringError as error:
            raise KeyringError(f"{path}: {error}") from None

    def save_new(self, path: Path) -> None:
        """Write the keyring to a new file, mode 0600: whole and on disk, or not at all.

        Raises:
            FileExistsError: there is a file already, which stays as it is.
            OSError: it can't be written.
        """
        document = {
            "format": 1,
            "encryption_keys": [_describe(key) for key in self._encryption_keys.values()],
            "index_keys": [_describe(key) for key in self._index_keys.values()],
        }
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # mode 0600
            file.write(json.dumps(document, indent=2).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @property
    def primary_version(self) -> int:
        """Version of the key-encryption key that new wraps and tokens use."""
        return self._primary.version

    @property
    def index_key(self) -> Key:
        """The index key under which partitions are computed."""
        return self._primary_index

    def derive(self, version: int, info: bytes, length: int) -> bytes:
        """Derive a key of `length` bytes from the key-encryption key of a version (RFC 5869).

        Raises:
            Unreadable: there is no such key any more.
        """
        key = self._encryption_keys.get(version)
        if key is None or key.secret is None:
            raise Unreadable
        return _hkdf(SHA256(), key.secret, None, info, length)


class KeyWrapper:
    """Wraps data keys, seals values and tokens, all under one keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        # Set up once: the first steps of HMAC cost more than an email does.
        self._index = hmac.new(keyring.index_key.secret or b"", digestmod="sha256")
        self._index_version = bytes([keyring.index_key.version])
        self._token_cipher = lru_cache(maxsize=64)(self._make_token_cipher)

    def partition(self, email: str) -> bytes:
        """Return the 33-byte partition of a canonical email: index version, then HMAC-SHA256."""
        index = self._index.copy()
        index.update(email.encode("utf-8"))
        return self._index_version + index.digest()

    def new_data_key(self) -> bytes:
        """Return KEY_BYTES random bytes."""
        return os.urandom(KEY_BYTES)

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key for the owner of a partition; WRAPPED_KEY_BYTES long."""
        version = self._keyring.primary_version
        wrapped = aes_key_wrap_with_padding(self._wrapping_key(version, partition), data_key)
        return _WRAPPED_HEADER.pack(_WRAPPED_MAGIC, version) + wrapped

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrap is another owner's, altered, or its KEK is gone.
        """
        wrapping_key = self._wrapping_key(self.wrapping_version(wrapped), partition)
        try:
            data_key = aes_key_unwrap_with_padding(wrapping_key, wrapped[_WRAPPED_HEADER.size :])
        except InvalidUnwrap:
            raise Unreadable from None
        if len(data_key) != KEY_BYTES:
            raise Unreadable
        return data_key

    @staticmethod
    def wrapping_version(wrapped: bytes) -> int:
        """Return the version of the KEK that a wrapped key is under, whether or not it is here.

        Raises:
            Unreadable: this is no wrapped key.
        """
        if len(wrapped) != WRAPPED_KEY_BYTES:
            raise Unreadable
        magic, version = _WRAPPED_HEADER.unpack_from(wrapped)
        if magic != _WRAPPED_MAGIC:
            raise Unreadable
        return int(version)

    def needs_rewrap(self, wrapped: bytes) -> bool:
        """Tell whether a wrapped key is under another KEK than the primary one."""
        return wrapped[: _WRAPPED_HEADER.size] != _WRAPPED_HEADER.pack(
            _WRAPPED_MAGIC, self._keyring.primary_version
        )

    def seal(self, data_key: bytes, name: str, plaintext: bytes) -> bytes:
        """Seal a value as the record of the item `name`."""
        header = _RECORD_HEADER.pack(_RECORD_MAGIC, DATA_KEY_VERSION)
        salt = os.urandom(SALT_BYTES)
        key, commitment = _record_keys(data_key, salt)
        ciphertext = AESGCM(key).encrypt(_NONCE, plaintext, header + name.encode("ascii"))
        return b"".join((header, salt, commitment, ciphertext))

    def open(self, data_key: bytes, name: str, record: bytes) -> bytes:
        """Return the plaintext of the record of the item `name`.

        Raises:
            Unreadable: it was sealed under another key or name, or was altered.
        """
        header = record[: _RECORD_HEADER.size]
        if header != _RECORD_HEADER.pack(_RECORD_MAGIC, DATA_KEY_VERSION):
            raise Unreadable
        salt = record[_RECORD_HEADER.size : _RECORD_HEADER.size + SALT_BYTES]
        committed = record[_RECORD_HEADER.size + SALT_BYTES : _RECORD_OVERHEAD]
        key, commitment = _record_keys(data_key, salt)
        if not bytes_eq(commitment, committed):
            raise Unreadable
        try:
            return AESGCM(key).decrypt(_NONCE, record[_RECORD_OVERHEAD:], header + name.encode("ascii"))
        except InvalidTag:
            raise Unreadable from None

    def seal_token(self, purpose: str, payload: bytes) -> str:
        """Seal a non-empty payload for strangers to keep; the same payload gives the same token."""
        header = _TOKEN_HEADER.pack(_TOKEN_FORMAT, self._keyring.primary_version)
        cipher = self._token_cipher(self._keyring.primary_version, purpose)
        return base64url_encode(header + cipher.encrypt(payload, [header]))

    def open_token(self, purpose: str, token: str) -> bytes:
        """Return the payload of a token of that purpose.

        Raises:
            Unreadable: it is not one of ours, is for another purpose, or its KEK is gone.
        """
        try:
            data = base64url_decode(token)
            header = data[: _TOKEN_HEADER.size]
            token_format, version = _TOKEN_HEADER.unpack(header)
            if token_format != _TOKEN_FORMAT:
                raise Unreadable
            cipher = self._token_cipher(version, purpose)
            return cipher.decrypt(data[_TOKEN_HEADER.size :], [header])
        except (MalformedText, struct.error, InvalidTag):
            raise Unreadable from None

    def _wrapping_key(self, version: int, partition: bytes) -> bytes:
        return self._keyring.derive(version, b"persona-profile/wrap/v1" + partition, KEY_BYTES)

    def _make_token_cipher(self, version: int, purpose: str) -> AESSIV:
        info = b"persona-profile/token/v1/" + purpose.encode("ascii")
        return AESSIV(self._keyring.derive(version, info, 2 * KEY_BYTES))


def _record_keys(data_key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    derived = _hkdf(
        SHA512(), data_key, salt, b"persona-profile/record/v1", KEY_BYTES + COMMITMENT_BYTES
    )
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _hkdf(
    algorithm: HashAlgorithm, secret: bytes, salt: bytes | None, info: bytes, length: int
) -> bytes:
    return HKDF(algorithm=algorithm, length=length, salt=salt, info=info).derive(secret)


def _by_version(kind: str, keys: Iterable[Key]) -> tuple[Mapping[int, Key], Key]:
    keys = list(keys)
    versions = {key.version: key for key in keys}
    primary = [key for key in keys if key.state is KeyState.PRIMARY]
    if len(versions) != len(keys):
        raise KeyringError(f"{kind}: a version stands there twice")
    if len(primary) != 1:
        raise KeyringError(f"{kind}: exactly one key must be primary, not {len(primary)}")
    return versions, primary[0]


def _describe(key: Key) -> dict[str, object]:
    secret = key.secret and base64url_encode(key.secret)
    return {"version": key.version, "state": key.state, "secret": secret}


def _parse_keys(document: Mapping[str, Any], kind: str) -> list[Key]:
    entries = document.get(kind)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeyringError(f"{kind}: a list of keys is missing")
    return [_parse_key(f"{kind}[{position}]", entry) for position, entry in enumerate(entries)]


def _parse_key(where: str, entry: Mapping[str, Any]) -> Key:
    version, secret = entry.get("version"), entry.get("secret")
    try:
        state = KeyState(entry.get("state", ""))
    except ValueError:
        raise KeyringError(f"{where}: state is one of {', '.join(KeyState)}") from None
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= 255:
        raise KeyringError(f"{where}: version is a number from 1 to 255")
    if state is KeyState.DESTROYED:
        if secret is not None:
            raise KeyringError(f"{where}: a destroyed key has no secret")
        return Key(version, state, None)
    try:
        decoded = base64url_decode(secret) if isinstance(secret, str) else b""
    except MalformedText:
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise KeyringError(f"{where}: secret is base64url of {KEY_BYTES} bytes")
    return Key(version, state, decoded)
