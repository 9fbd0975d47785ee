"""Key wrapping: the data key of each email under a key-encryption key; partitions and tokens.

The hierarchy, from the top:

- A **key-encryption key** (KEK) of 256 bits is in the keyring, with a version and a state
  (`keyring_service`), or in a key service on another machine (`transit`).
- The **data key** (DEK) of an email, 256 random bits, is wrapped under a KEK and bound to its owner.
- The data key seals the records of the email (`records`).

A token, all integers big-endian; `docs/reference/key-formats.md` has all layouts with test vectors:

    format 0x01 | KEK version (4) | AES-SIV
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from persona_profile.encoding import MalformedText, base64url_decode, base64url_encode
from persona_profile.keys.keyring import KEY_BYTES, KeyKind, Keyring
from persona_profile.keys.keyring_service import KeyringService
from persona_profile.keys.service import MAGIC_BYTES, KeyService, Unreadable
from persona_profile.runtime.spans import span
from persona_profile.runtime.stats import EventCounter

_TOKEN_HEADER = struct.Struct(">BI")
_TOKEN_FORMAT = 1
_PSEUDONYM_BYTES: Final = 16
_CHECK: Final = "check"


class KeyWrapper:
    """Computes partitions and pseudonyms, wraps data keys, and seals tokens.

    Args:
        keyring: the keys of partitions, tokens and data keys.
        service: another key service, which unwraps its data keys too.
        is_primary: whether that service, rather than the keyring, wraps new data keys.

    Attributes:
        stale_reads: counts unwrapped data keys that are not under the primary key, as far as this is
            known without a request to the other service.
    """

    def __init__(
        self,
        keyring: Keyring,
        service: KeyService | None = None,
        *,
        is_primary: bool = True,
    ) -> None:
        self._service = service
        self._is_primary = is_primary
        self.stale_reads = EventCounter([()])
        self._keys = _Keys(keyring)
        self._reload: Callable[[], None] = lambda: None

    def follow(self, reload: Callable[[], None]) -> None:
        """Call `reload`, which calls `use` for a changed keyring, before each check of the keyring."""
        self._reload = reload

    def use(self, keyring: Keyring) -> None:
        """Replace the keyring; calls under way end with the old one."""
        self._keys = _Keys(keyring)

    def check(self) -> None:
        """Check that data keys can be wrapped.

        Raises:
            KeysUnavailable: they can't; the message names the cause.
        """
        self._primary_service.check()

    def check_keyring(self) -> None:
        """Check that tokens can be sealed and opened, as sign-in needs, without any network.

        Raises:
            Unreadable: they can't.
        """
        self.open_token(_CHECK, self.seal_token(_CHECK, b"\0"))

    def close(self) -> None:
        """Close the key service."""
        if self._service is not None:
            self._service.close()

    def partition(self, email: str) -> bytes:
        """Return the partition of a canonical email: index version (1 byte), then HMAC-SHA256 (32)."""
        return self._keys.partitions(email, [self._keys.primary_index_version])[0]

    def partitions(self, email: str) -> tuple[bytes, ...]:
        """Return the possible partitions of an email, one for each index key, the older first."""
        return self._keys.partitions(email, self._keys.index_versions)

    @property
    def index_versions(self) -> list[int]:
        """The versions of the index keys that are not destroyed, in order."""
        return list(self._keys.index_versions)

    @property
    def primary_index_version(self) -> int:
        """The version of the index key of new profiles."""
        return self._keys.primary_index_version

    def index_retired_at(self, version: int) -> datetime | None:
        """Return the instant since which an index key is not primary, if the keyring has it.

        Every process has had the newer key since then.
        """
        key = self._keys.keyring.find(KeyKind.INDEX, version)
        return key.retired_at if key else None

    def pseudonym(self, purpose: str, text: str) -> bytes:
        """Return a pseudonym of a text: 16 bytes of a keyed hash.

        It changes with the primary encryption key, so nothing lasting may depend on it.
        """
        encoded = f"{purpose}\0{text}".encode("utf-8", "surrogateescape")
        return _digest(self._keys.pseudonyms, encoded)[:_PSEUDONYM_BYTES]

    def account_id(self, email: str) -> str:
        """Return an email's identifier for identity providers: 22 characters of a keyed hash.

        It changes when the oldest index key is destroyed.
        """
        return base64url_encode(_digest(self._keys.accounts, email.encode())[:_PSEUDONYM_BYTES])

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key for the owner of a partition.

        Raises:
            KeysUnavailable: the key service does not answer.
        """
        with span("keys.seal"):
            return self._primary_service.wrap(partition, data_key)

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrapped key is another owner's or altered, or its KEK is destroyed.
            KeysUnavailable: the key service does not answer.
        """
        service, primary = self._service_of(wrapped), self._primary_service
        with span("keys.open"):
            data_key = service.unwrap(partition, wrapped)
        if service is not primary or (
            isinstance(service, KeyringService)
            and service.version(wrapped) != service.primary_version()
        ):
            self.stale_reads.count()
        return data_key

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the wrapped key at the beginning of `data`, and the rest.

        Raises:
            Unreadable: `data` begins with no wrapped key.
        """
        length = self._service_of(data).length(data)
        return data[:length], data[length:]

    def wrapping_version(self, wrapped: bytes) -> str:
        """Return the KEK of a wrapped key, for people: `VERSION`, or `service:VERSION`.

        Raises:
            Unreadable: this is no wrapped key of a configured service.
        """
        service = self._service_of(wrapped)
        prefix = "" if isinstance(service, KeyringService) else "service:"
        return f"{prefix}{service.version(wrapped)}"

    def needs_rewrap(self, wrapped: bytes) -> bool:
        """Return whether a wrapped key is not under the present primary KEK.

        Raises:
            Unreadable: this is no wrapped key of a configured service.
            KeysUnavailable: the key service does not answer.
        """
        self._reload()
        service = self._service_of(wrapped)
        primary = self._primary_service
        return service is not primary or service.version(wrapped) != primary.primary_version()

    def is_lasting(self, partition: bytes, wrapped: bytes) -> bool:
        """Return whether the present keyring would still make a new profile with these keys.

        Operators replace a key, count the profiles under it, then destroy it. If this is true after a
        profile was stored, their count includes it. Keys of another key service are not checked.
        """
        self._reload()
        keys = self._keys
        # Another process may have made a newer index key primary already.
        if not keys.primary_index_version <= partition[0] <= keys.index_versions[-1]:
            return False
        is_of_keyring = wrapped.startswith(KeyringService.magic)
        return not is_of_keyring or keys.service.version(wrapped) == keys.service.primary_version()

    def wrap_by_index(self, version: int, secret: bytes) -> bytes:
        """Wrap the secret of the ledger under an index key (AES-KWP).

        Raises:
            Unreadable: the index key is destroyed.
        """
        return aes_key_wrap_with_padding(self._keys.ledger_key(version), secret)

    def unwrap_by_index(self, version: int, wrapped: bytes) -> bytes:
        """Return the secret of the ledger.

        Raises:
            Unreadable: it is under another key, or altered; or the index key is destroyed.
        """
        try:
            return aes_key_unwrap_with_padding(self._keys.ledger_key(version), wrapped)
        except InvalidUnwrap:
            raise Unreadable from None

    def seal_token(self, purpose: str, payload: bytes) -> str:
        """Return the token of a non-empty payload; equal payloads have equal tokens."""
        keys = self._keys
        header = _TOKEN_HEADER.pack(_TOKEN_FORMAT, keys.service.primary_version())
        cipher = keys.token_cipher(keys.service.primary_version(), purpose)
        return base64url_encode(header + cipher.encrypt(payload, [header]))

    def open_token(self, purpose: str, token: str) -> bytes:
        """Return the payload of a token.

        Raises:
            Unreadable: the token is altered or for another purpose, or its KEK is destroyed.
        """
        try:
            data = base64url_decode(token)
            header = data[: _TOKEN_HEADER.size]
            token_format, version = _TOKEN_HEADER.unpack(header)
            if token_format != _TOKEN_FORMAT:
                raise Unreadable
            cipher = self._keys.token_cipher(version, purpose)
            return cipher.decrypt(data[_TOKEN_HEADER.size :], [header])
        except (MalformedText, struct.error, InvalidTag):
            raise Unreadable from None

    @property
    def _primary_service(self) -> KeyService:
        return self._service if self._service and self._is_primary else self._keys.service

    def _service_of(self, wrapped: bytes) -> KeyService:
        magic = wrapped[:MAGIC_BYTES]
        if magic == KeyringService.magic:
            return self._keys.service
        if self._service is None or magic != self._service.magic:
            raise Unreadable
        return self._service


class _Keys:
    """The keys derived from a keyring. Each HMAC starts once, as its first steps cost the most."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.service = KeyringService(keyring)
        self.index_versions = [key.version for key in keyring.live(KeyKind.INDEX)]
        self.primary_index_version = keyring.primary(KeyKind.INDEX).version
        self._digests = {
            key.version: HMAC(key.secret or b"", SHA256()) for key in keyring.live(KeyKind.INDEX)
        }
        accounts = keyring.live(KeyKind.INDEX)[0].derive(b"persona-profile/account/v1", KEY_BYTES)
        self.accounts = HMAC(accounts, SHA256())
        pseudonyms = keyring.primary(KeyKind.ENCRYPTION).derive(
            b"persona-profile/pseudonym/v1", KEY_BYTES
        )
        self.pseudonyms = HMAC(pseudonyms, SHA256())
        self.token_cipher = lru_cache(maxsize=64)(self._make_token_cipher)

    def partitions(self, email: str, versions: list[int]) -> tuple[bytes, ...]:
        encoded = email.encode()
        return tuple(bytes([each]) + _digest(self._digests[each], encoded) for each in versions)

    def ledger_key(self, version: int) -> bytes:
        key = self.keyring.find(KeyKind.INDEX, version)
        if key is None:
            raise Unreadable
        return key.derive(b"persona-profile/ledger/v1", KEY_BYTES)

    def _make_token_cipher(self, version: int, purpose: str) -> AESSIV:
        key = self.keyring.find(KeyKind.ENCRYPTION, version)
        if key is None:
            raise Unreadable
        info = b"persona-profile/token/v1/" + purpose.encode("ascii")
        return AESSIV(key.derive(info, 2 * KEY_BYTES))


def _digest(started: HMAC, data: bytes) -> bytes:
    digest = started.copy()
    digest.update(data)
    return digest.finalize()
