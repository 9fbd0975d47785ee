"""The key service of HashiCorp Vault and OpenBao: their Transit engine wraps data keys.

A wrapped key, all integers big-endian:

    "PPK" | format 0x02 | key version (4) | length n (2) | ciphertext (n)

The ciphertext is the server's, the base64 text after `vault:vVERSION:`: for an AES key a nonce, the
encrypted data key and a tag. Its associated data is "persona-profile/wrap/v2" and the partition, so a
wrapped key is bound to its owner. The partition is the `context` as well: a key with `derived=true`
requires it, and the engine ignores it for other keys (`Policy.GetKey` in sdk/helper/keysutil/policy.go
of OpenBao and Vault).

The type of the key must support associated data, as `aes256-gcm96` does. The token needs `update` on
MOUNT/encrypt/KEY and MOUNT/decrypt/KEY and `read` on MOUNT/keys/KEY. It should not have `create` on
the first, as a mistyped name would then create a key.

The API: https://developer.hashicorp.com/vault/api-docs/secret/transit,
https://openbao.org/api-docs/secret/transit/.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
import threading
import time
from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from persona_profile.encoding import Json
from persona_profile.keys.service import KeyService, Unreadable
from persona_profile.keys.vault_client import MALFORMED, VaultClient, VaultResponse

KEY_BYTES: Final = 32
PRIMARY_SECONDS: Final = 60.0
UNBOUND: Final = "the key service does not bind wrapped keys to their owners: it is too old"

_MAGIC: Final = b"PPK\x02"
_HEADER = struct.Struct(">4sIH")
_MAX_VERSION: Final = 2**32 - 1
_OWNER: Final = b"persona-profile/wrap/v2"
_NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)  # GenericNameRegex of the server's framework
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,9}):([A-Za-z0-9+/]+=*)")

# Errors of policy.go about the ciphertext itself. A missing key or context and a wrong key type are
# status 400 too, with other errors.
_AT_FAULT: Final = ("invalid ciphertext", "message authentication failed", "disallowed by policy")


class TransitService(KeyService):
    """The key service of a Transit engine.

    Raises:
        ValueError: the name or the mount is malformed.
    """

    magic = _MAGIC

    def __init__(
        self,
        vault: VaultClient,
        key_name: str,
        mount: str = "transit",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not all(map(_NAME.fullmatch, (key_name, *mount.split("/")))):
            raise ValueError("the name or mount of the key is malformed")
        self._vault = vault
        self._key_name = key_name
        self._mount = mount
        self._clock = clock
        self._primary: tuple[float, int] | None = None

    def length(self, data: bytes) -> int:
        if len(data) < _HEADER.size:
            raise Unreadable("not a whole wrapped key")
        magic, version, size = _HEADER.unpack_from(data)
        # The engine reads version 0 as 1. A wrapped key must have one spelling.
        if magic != _MAGIC or not version or not size or len(data) < _HEADER.size + size:
            raise Unreadable("not a whole wrapped key")
        return _HEADER.size + int(size)

    def version(self, wrapped: bytes) -> int:
        if self.length(wrapped) != len(wrapped):
            raise Unreadable("more than a wrapped key")
        return int(_HEADER.unpack_from(wrapped)[1])

    def primary_version(self) -> int:
        """Return the latest version of the key; it may be PRIMARY_SECONDS old."""
        if self._primary is None or self._clock() >= self._primary[0]:
            self._primary = self._clock() + PRIMARY_SECONDS, self._latest_version()
        return self._primary[1]

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        if len(data_key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        data = self._data(self._request("encrypt", partition, plaintext=_base64(data_key)))
        ciphertext = data.get("ciphertext")
        match = _CIPHERTEXT.fullmatch(ciphertext) if isinstance(ciphertext, str) else None
        if match is None or int(match[1]) > _MAX_VERSION:
            raise self._vault.failure(MALFORMED)
        raw = self._from_base64(match[2])
        return _HEADER.pack(_MAGIC, int(match[1]), len(raw)) + raw

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        ciphertext = f"vault:v{self.version(wrapped)}:{_base64(wrapped[_HEADER.size :])}"
        response = self._request("decrypt", partition, ciphertext=ciphertext)
        if response.status == 400 and response.has_error(*_AT_FAULT):
            raise Unreadable("the key service can't open the wrapped key")
        plaintext = self._data(response).get("plaintext")
        if not isinstance(plaintext, str):
            raise self._vault.failure(MALFORMED)
        data_key = self._from_base64(plaintext)
        if len(data_key) != KEY_BYTES:
            raise Unreadable("the wrapped key is no data key")
        return data_key

    def check(self) -> None:
        self._latest_version()
        partition, data_key = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
        wrapped = self.wrap(partition, data_key)
        try:
            is_same = self.unwrap(partition, wrapped) == data_key
        except Unreadable:
            is_same = False
        if not is_same:
            raise self._vault.failure(MALFORMED)
        try:
            self.unwrap(os.urandom(KEY_BYTES), wrapped)
        except Unreadable:
            return
        raise self._vault.failure(UNBOUND)  # old engines ignore associated data

    def close(self) -> None:
        self._vault.close()

    def _latest_version(self) -> int:
        data = self._data(self._vault.request("GET", f"{self._mount}/keys/{self._key_name}"))
        latest = data.get("latest_version")
        if type(latest) is not int or not 1 <= latest <= _MAX_VERSION:
            raise self._vault.failure(MALFORMED)
        return latest

    def _request(self, action: str, partition: bytes, **document: str) -> VaultResponse:
        path = f"{self._mount}/{action}/{self._key_name}"
        bound = {"associated_data": _base64(_OWNER + partition), "context": _base64(partition)}
        return self._vault.request("POST", path, document | bound)

    def _data(self, response: VaultResponse) -> dict[str, Json]:
        data = response.document.get("data") if isinstance(response.document, dict) else None
        if response.status != 200 or not isinstance(data, dict):
            raise self._vault.failure(response.problem)
        return data

    def _from_base64(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._vault.failure(MALFORMED) from None


class CachingService(KeyService):
    """A key service with a cache of the data keys that were wrapped and unwrapped.

    A key that the other service has destroyed works here for `seconds` more.

    Args:
        max_keys: the number of data keys in the cache; the least recently used are dropped.
        seconds: the lifetime of an entry.
    """

    def __init__(
        self,
        service: KeyService,
        max_keys: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._data_keys: TTLCache[tuple[bytes, bytes], bytes] = TTLCache(max_keys, seconds, clock)

    @property
    def magic(self) -> bytes:
        return self._service.magic

    def check(self) -> None:
        self._service.check()

    def close(self) -> None:
        """Close the other service and clear the cache."""
        self._service.close()
        with self._lock:
            self._data_keys.clear()

    def length(self, data: bytes) -> int:
        return self._service.length(data)

    def version(self, wrapped: bytes) -> int:
        return self._service.version(wrapped)

    def primary_version(self) -> int:
        return self._service.primary_version()

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key, and store it in the cache."""
        wrapped = self._service.wrap(partition, data_key)
        with self._lock:
            self._data_keys[partition, wrapped] = data_key
        return wrapped

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key from the cache, or unwrap it. Failures are not cached."""
        with self._lock:
            data_key = self._data_keys.get((partition, wrapped))
        if data_key is None:
            data_key = self._service.unwrap(partition, wrapped)
            with self._lock:
                self._data_keys[partition, wrapped] = data_key
        return data_key


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
