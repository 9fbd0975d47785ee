"""Key wrapping: every email's data under a key of its own, that key under a key service's.

The hierarchy, from the top:

- A **key-encryption key** (KEK) of 256 bits lives in the keyring, with a version and a state; or in a
  key service of another machine (`transit`).
- An email's **data key** (DEK), 256 random bits, is wrapped with AES-KWP (RFC 5649) under
  `HKDF-SHA256(KEK, info = "persona-profile/wrap/v1" || partition)`: a wrap is bound to its owner.
- What the data key seals, and how a person's own key may stand between, is told in `records`.

Layouts, integers big-endian; `docs/reference/key-formats.md` has them byte by byte, with test vectors:

    wrapped key   "PPK" | format 0x01 | KEK version (4) | AES-KWP(DEK) (40)
    token         format 0x01 | KEK version (4) | AES-SIV
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from persona_profile.encoding import MalformedText, base64url_decode, base64url_encode
from persona_profile.keys.keyring import KEY_BYTES, KeyKind, Keyring
from persona_profile.keys.service import MAGIC_BYTES, KeyService, Unreadable
from persona_profile.runtime.stats import EventCounter

_WRAPPED_HEADER = struct.Struct(">4sI")
_WRAPPED_BYTES: Final = _WRAPPED_HEADER.size + KEY_BYTES + 8
_TOKEN_HEADER = struct.Struct(">BI")
_TOKEN_FORMAT = 1
_PSEUDONYM_BYTES: Final = 16
_CHECK: Final = "check"


class KeyringService:
    """The key service that keeps its keys in the keyring. See `KeyService` for the methods."""

    magic = b"PPK\x01"

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def check(self) -> None:  # noqa: D102
        return

    def close(self) -> None:  # noqa: D102
        return

    def length(self, data: bytes) -> int:  # noqa: D102
        if len(data) < _WRAPPED_BYTES or not data.startswith(self.magic):
            raise Unreadable
        return _WRAPPED_BYTES

    def version(self, wrapped: bytes) -> int:  # noqa: D102
        if self.length(wrapped) != len(wrapped):
            raise Unreadable
        return int(_WRAPPED_HEADER.unpack_from(wrapped)[1])

    def primary_version(self) -> int:  # noqa: D102
        return self._keyring.primary(KeyKind.ENCRYPTION).version

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:  # noqa: D102
        version = self.primary_version()
        wrapped = aes_key_wrap_with_padding(self._wrapping_key(version, partition), data_key)
        return _WRAPPED_HEADER.pack(self.magic, version) + wrapped

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:  # noqa: D102
        wrapping_key = self._wrapping_key(self.version(wrapped), partition)
        try:
            data_key = aes_key_unwrap_with_padding(wrapping_key, wrapped[_WRAPPED_HEADER.size :])
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


class KeyWrapper:
    """Finds partitions, wraps data keys, seals tokens.

    Args:
        keyring: index keys, the keys of tokens, and of data keys unless another service wraps those.
        service: another key service; what it has wrapped is read.
        is_primary: whether that wraps what is new, rather than the keyring; either way the other's
            wraps are read.

    Attributes:
        stale_reads: counts the opened data keys that are not under the primary key, as far as that is
            known without asking the other service.
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
        self._look: Callable[[], None] = lambda: None

    def follow(self, look: Callable[[], None]) -> None:
        """Call `look`, which calls `use` if the keyring was changed, before each answer about now."""
        self._look = look

    def use(self, keyring: Keyring) -> None:
        """Go on with another keyring; what is under way ends with the one that it began with."""
        self._keys = _Keys(keyring)

    def check(self) -> None:
        """Return if data keys can be wrapped.

        Raises:
            KeysUnavailable: the message tells what is wrong.
        """
        self._primary_service.check()

    def check_keyring(self) -> None:
        """Return if tokens can be sealed and opened, which sign-in needs; no other machine is asked.

        Raises:
            Unreadable: they can't.
        """
        self.open_token(_CHECK, self.seal_token(_CHECK, b"\0"))

    def close(self) -> None:
        """Let go of the key service."""
        if self._service is not None:
            self._service.close()

    def partition(self, email: str) -> bytes:
        """Return the 33-byte partition of a canonical email: index version, then HMAC-SHA256."""
        return self._keys.partitions(email, [self._keys.primary_index_version])[0]

    def partitions(self, email: str) -> tuple[bytes, ...]:
        """Return where an email's items may be: one partition, or the older and the newer one."""
        return self._keys.partitions(email, self._keys.index_versions)

    @property
    def index_versions(self) -> list[int]:
        """The versions of the index keys that partitions are looked for under, in order."""
        return list(self._keys.index_versions)

    @property
    def primary_index_version(self) -> int:
        """The version of the index key under which new profiles are made."""
        return self._keys.primary_index_version

    def index_retired_at(self, version: int) -> datetime | None:
        """Return when an index key ceased to be primary, as far as the keyring says so.

        Every process has had the newer key since then.
        """
        return self._keys.index_retired_at(version)

    def pseudonym(self, purpose: str, text: str) -> bytes:
        """Return what may stand for a text outside this service: 16 bytes of a keyed hash.

        The same in every process with the same primary encryption key: nothing lasting may hang on it.
        """
        return self._keys.pseudonym(purpose, text)

    def account_id(self, email: str) -> str:
        """Return what names a canonical email to identity providers: 22 characters of a keyed hash.

        It lasts as long as the index key: another one changes it, once the older is destroyed.
        """
        return base64url_encode(self._keys.account_id(email))

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key for the owner of a partition.

        Raises:
            KeysUnavailable: the key service can't be asked now.
        """
        return self._primary_service.wrap(partition, data_key)

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrap is another owner's, altered, or its KEK is gone.
            KeysUnavailable: the key service can't be asked now.
        """
        service, primary = self._service_of(wrapped), self._primary_service
        data_key = service.unwrap(partition, wrapped)
        if service is not primary or (
            isinstance(service, KeyringService)
            and service.version(wrapped) != service.primary_version()
        ):
            self.stale_reads.count()
        return data_key

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the wrapped key with which `data` begins, and what follows it.

        Raises:
            Unreadable: it does not begin with one.
        """
        length = self._service_of(data).length(data)
        return data[:length], data[length:]

    def wrapping_version(self, wrapped: bytes) -> str:
        """Return service and version of the KEK that a wrapped key is under, as people say it.

        Raises:
            Unreadable: this is no wrapped key of a service that is configured.
        """
        service = self._service_of(wrapped)
        prefix = "" if isinstance(service, KeyringService) else "service:"
        return f"{prefix}{service.version(wrapped)}"

    def needs_rewrap(self, wrapped: bytes) -> bool:
        """Return whether a wrapped key is under another KEK than the primary one is now.

        Raises:
            Unreadable: this is no wrapped key of a service that is configured.
            KeysUnavailable: the key service can't be asked now.
        """
        self._look()
        service = self._service_of(wrapped)
        primary = self._primary_service
        return service is not primary or service.version(wrapped) != primary.primary_version()

    def is_lasting(self, partition: bytes, wrapped: bytes) -> bool:
        """Return whether no key that a new profile needs was replaced, by the keyring as it is now.

        A profile of which this was true once it was stored is seen by everybody who destroys one of
        these keys: they are replaced first, and then counted. Keys of another key service are not
        looked at.
        """
        self._look()
        keys = self._keys
        # Another process may have made a newer index key primary already.
        if not keys.primary_index_version <= partition[0] <= keys.index_versions[-1]:
            return False
        is_of_keyring = wrapped.startswith(KeyringService.magic)
        return not is_of_keyring or keys.service.version(wrapped) == keys.service.primary_version()

    def seal_token(self, purpose: str, payload: bytes) -> str:
        """Seal a non-empty payload for strangers to keep; the same payload gives the same token."""
        keys = self._keys
        header = _TOKEN_HEADER.pack(_TOKEN_FORMAT, keys.service.primary_version())
        cipher = keys.token_cipher(keys.service.primary_version(), purpose)
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
    """What one keyring gives, set up once: the first steps of HMAC cost more than an email does."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.service = KeyringService(keyring)
        self.index_versions = [key.version for key in keyring.live(KeyKind.INDEX)]
        self.primary_index_version = keyring.primary(KeyKind.INDEX).version
        self._digests = {
            key.version: hmac.new(key.secret or b"", digestmod="sha256")
            for key in keyring.live(KeyKind.INDEX)
        }
        accounts = keyring.live(KeyKind.INDEX)[0].derive(b"persona-profile/account/v1", KEY_BYTES)
        self._accounts = hmac.new(accounts, digestmod="sha256")
        pseudonyms = keyring.primary(KeyKind.ENCRYPTION).derive(
            b"persona-profile/pseudonym/v1", KEY_BYTES
        )
        self._pseudonyms = hmac.new(pseudonyms, digestmod="sha256")
        self.token_cipher = lru_cache(maxsize=64)(self._make_token_cipher)

    def partitions(self, email: str, versions: list[int]) -> tuple[bytes, ...]:
        encoded = email.encode("utf-8")
        found = []
        for version in versions:
            digest = self._digests[version].copy()
            digest.update(encoded)
            found.append(bytes([version]) + digest.digest())
        return tuple(found)

    def index_retired_at(self, version: int) -> datetime | None:
        key = self._keyring.find(KeyKind.INDEX, version)
        return key.retired_at if key else None

    def account_id(self, email: str) -> bytes:
        digest = self._accounts.copy()
        digest.update(email.encode())
        return digest.digest()[:_PSEUDONYM_BYTES]

    def pseudonym(self, purpose: str, text: str) -> bytes:
        digest = self._pseudonyms.copy()
        digest.update(f"{purpose}\0{text}".encode("utf-8", "surrogateescape"))
        return digest.digest()[:_PSEUDONYM_BYTES]

    def _make_token_cipher(self, version: int, purpose: str) -> AESSIV:
        key = self._keyring.find(KeyKind.ENCRYPTION, version)
        if key is None:
            raise Unreadable
        info = b"persona-profile/token/v1/" + purpose.encode("ascii")
        return AESSIV(key.derive(info, 2 * KEY_BYTES))
