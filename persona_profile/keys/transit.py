"""Keys that never leave HashiCorp Vault or OpenBao: data keys are wrapped by their Transit engine.

The layout of a wrapped key, all integers big-endian:

    "PPK" | format 0x02 | key version (4) | length n (2) | ciphertext (n)

The ciphertext is the server's own, what follows `vault:vVERSION:` decoded from base64: for an AES key
a nonce, the encrypted data key and a tag. Its associated data is "persona-profile/wrap/v2" and the
partition, so a wrap is bound to its owner. The partition is sent as `context` as well: a key with
`derived=true` demands it, and the engine ignores it for others (`Policy.GetKey` in
sdk/helper/keysutil/policy.go of OpenBao and Vault).

The key must be of a type that takes associated data, as `aes256-gcm96` is. The token needs `update` on
MOUNT/encrypt/KEY and MOUNT/decrypt/KEY and `read` on MOUNT/keys/KEY; with `create` on the first a
mistyped name would make a new key. The API: https://developer.hashicorp.com/vault/api-docs/secret/transit,
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
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from cachetools import TTLCache

from persona_profile.encoding import Json
from persona_profile.keys.service import KeyService, Unreadable
from persona_profile.keys.vault_client import MALFORMED, Answer, VaultClient

KEY_BYTES: Final = 32
PRIMARY_SECONDS: Final = 60.0
UNBOUND: Final = "the key service does not bind wrapped keys to their owners: it is too old"

_MAGIC: Final = b"PPK\x02"
_HEADER = struct.Struct(">4sIH")
_MAX_VERSION: Final = 2**32 - 1
_OWNER: Final = b"persona-profile/wrap/v2"
_NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)  # GenericNameRegex of the server's framework
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,9}):([A-Za-z0-9+/]+=*)")

# What policy.go says of a ciphertext that is at fault itself. No key, a key of the wrong type, or
# a missing context are 400 too, but it is not the ciphertext that is at fault then.
_AT_FAULT: Final = ("invalid ciphertext", "message authentication failed", "disallowed by policy")


class TransitService:
    """A key service (`keyservice.KeyService`) that asks a Transit engine; any number of threads.

    Args:
        url: `https://host[:port][/path]` of the server.
        key_name: name of the key.
        token_file: holds the token, as an agent's file sink writes it; may be replaced at any time.
        mount: where the engine is mounted.
        namespace: namespace of the mount, if any.
        ca_file: certificate authorities (PEM) that are trusted instead of the system's.
        timeout: seconds that an operation may take; twice that if the token was just renewed.
        max_connections: as many threads may wait for the server; others are refused soon.
        place: holds a place for a thread that waits long (see `VaultClient`).
        clock: seconds, for what is remembered.

    Raises:
        ValueError: an argument is not of this form; the message never holds it.
    """

    magic = _MAGIC

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        url: str,
        key_name: str,
        token_file: Path,
        *,
        mount: str = "transit",
        namespace: str | None = None,
        ca_file: Path | None = None,
        timeout: float = 2.0,
        max_connections: int = 4,
        place: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not all(map(_NAME.fullmatch, (key_name, *mount.split("/")))):
            raise ValueError("the name or mount of the key is malformed")
        self._mount = mount
        self._key_name = key_name
        self._clock = clock
        self._primary: tuple[float, int] | None = None
        self._vault = VaultClient(
            url,
            token_file,
            namespace=namespace,
            ca_file=ca_file,
            timeout=timeout,
            max_connections=max_connections,
            place=place,
            clock=clock,
        )

    def length(self, data: bytes) -> int:
        """Return how many bytes the wrapped key has with which `data` begins.

        Raises:
            Unreadable: it begins with no whole wrapped key of this service.
        """
        if len(data) < _HEADER.size:
            raise Unreadable("not a whole wrapped key")
        magic, version, size = _HEADER.unpack_from(data)
        # The engine takes version 0 for 1; two spellings of one wrap are one too many.
        if magic != _MAGIC or not version or not size or len(data) < _HEADER.size + size:
            raise Unreadable("not a whole wrapped key")
        return _HEADER.size + int(size)

    def version(self, wrapped: bytes) -> int:
        """Return the version of the key that a wrapped key is under, whether or not it still exists.

        Raises:
            Unreadable: this is no wrapped key of this service.
        """
        if self.length(wrapped) != len(wrapped):
            raise Unreadable("more than a wrapped key")
        return int(_HEADER.unpack_from(wrapped)[1])

    def primary_version(self) -> int:
        """Return the latest version of the key, as it was at most PRIMARY_SECONDS ago.

        Raises:
            KeysUnavailable: the server can't be asked now.
        """
        if self._primary is None or self._clock() >= self._primary[0]:
            self._primary = self._clock() + PRIMARY_SECONDS, self._latest_version()
        return self._primary[1]

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key of KEY_BYTES for the owner of a partition.

        Raises:
            KeysUnavailable: the server can't be asked now.
        """
        if len(data_key) != KEY_BYTES:
            raise ValueError("a data key has 32 bytes")
        data = self._data(self._ask("encrypt", partition, plaintext=_base64(data_key)))
        ciphertext = data.get("ciphertext")
        match = _CIPHERTEXT.fullmatch(ciphertext) if isinstance(ciphertext, str) else None
        if match is None or int(match[1]) > _MAX_VERSION:
            raise self._vault.failure(MALFORMED)
        raw = self._from_base64(match[2])
        return _HEADER.pack(_MAGIC, int(match[1]), len(raw)) + raw

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrap is another owner's, altered, or its key is gone.
            KeysUnavailable: the server can't be asked now.
        """
        ciphertext = f"vault:v{self.version(wrapped)}:{_base64(wrapped[_HEADER.size :])}"
        answer = self._ask("decrypt", partition, ciphertext=ciphertext)
        if answer.status == 400 and answer.says(*_AT_FAULT):
            raise Unreadable("the key service can't open the wrapped key")
        plaintext = self._data(answer).get("plaintext")
        if not isinstance(plaintext, str):
            raise self._vault.failure(MALFORMED)
        data_key = self._from_base64(plaintext)
        if len(data_key) != KEY_BYTES:
            raise Unreadable("what was wrapped is no data key")
        return data_key

    def check(self) -> None:
        """Make sure that the key is there and of use: for operators, before anything is stored.

        Raises:
            KeysUnavailable: the message tells what is wrong.
        """
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
        raise self._vault.failure(UNBOUND)  # associated data is younger than the engine

    def close(self) -> None:
        """Let go of the server; nothing can be wrapped or unwrapped any more."""
        self._vault.close()

    def _latest_version(self) -> int:
        data = self._data(self._vault.request("GET", f"{self._mount}/keys/{self._key_name}"))
        latest = data.get("latest_version")
        if type(latest) is not int or not 1 <= latest <= _MAX_VERSION:
            raise self._vault.failure(MALFORMED)
        return latest

    def _ask(self, action: str, partition: bytes, **document: str) -> Answer:
        path = f"{self._mount}/{action}/{self._key_name}"
        bound = {"associated_data": _base64(_OWNER + partition), "context": _base64(partition)}
        return self._vault.request("POST", path, document | bound)

    def _data(self, answer: Answer) -> dict[str, Json]:
        data = answer.document.get("data") if isinstance(answer.document, dict) else None
        if answer.status != 200 or not isinstance(data, dict):
            raise self._vault.failure(answer.problem)
        return data

    def _from_base64(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._vault.failure(MALFORMED) from None


class CachingService:
    """A key service that remembers, for a while, what another one has wrapped and unwrapped.

    So a key that was taken away at the other service opens here for `seconds` more.

    Args:
        service: who is asked first.
        max_keys: as many data keys are remembered; those used least recently are dropped.
        seconds: how long each is.
        clock: seconds.
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
        """The first bytes of what the service wraps."""
        return self._service.magic

    def check(self) -> None:
        """Do what the service does."""
        self._service.check()

    def close(self) -> None:
        """Do what the service does, and forget."""
        self._service.close()
        with self._lock:
            self._data_keys.clear()

    def length(self, data: bytes) -> int:
        """Do what the service does."""
        return self._service.length(data)

    def version(self, wrapped: bytes) -> int:
        """Do what the service does."""
        return self._service.version(wrapped)

    def primary_version(self) -> int:
        """Do what the service does."""
        return self._service.primary_version()

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Do what the service does, and remember the data key."""
        wrapped = self._service.wrap(partition, data_key)
        with self._lock:
            self._data_keys[partition, wrapped] = data_key
        return wrapped

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key that is remembered, or do what the service does; failures are not."""
        with self._lock:
            data_key = self._data_keys.get((partition, wrapped))
        if data_key is None:
            data_key = self._service.unwrap(partition, wrapped)
            with self._lock:
                self._data_keys[partition, wrapped] = data_key
        return data_key


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
