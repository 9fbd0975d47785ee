"""The interface of a key service, which wraps the data keys of emails under keys of its own.

The keys of `keyring_service` are in the keyring file. The keys of `transit` never leave a HashiCorp
Vault or OpenBao server.
"""

from __future__ import annotations

from typing import Protocol

MAGIC_BYTES = 4
"""The first bytes of every wrapped key: "PPK" and a byte for the service."""


class Unreadable(Exception):
    """Sealed bytes do not open: they are altered, moved or cut, or their key is missing."""


class KeysUnavailable(Exception):
    """The key service does not answer, or rejects the request. The message holds no key and no data.

    Attributes:
        retry_after: seconds until the next attempt makes sense.
    """

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyService(Protocol):
    """Wraps data keys under versioned keys, each bound to a partition; thread-safe."""

    @property
    def magic(self) -> bytes:
        """The first MAGIC_BYTES of its wrapped keys."""

    def check(self) -> None:
        """Check that the service works, for operators, before anything is stored.

        Raises:
            KeysUnavailable: it does not; the message names the cause.
        """

    def close(self) -> None:
        """Close connections. The service can't be used afterwards."""

    def length(self, data: bytes) -> int:
        """Return the length of the wrapped key at the beginning of `data`.

        Raises:
            Unreadable: `data` begins with no whole wrapped key of this service.
        """

    def version(self, wrapped: bytes) -> int:
        """Return the key version of a wrapped key, also of a destroyed key.

        Raises:
            Unreadable: this is no wrapped key of this service.
        """

    def primary_version(self) -> int:
        """Return the key version that `wrap` uses now.

        Raises:
            KeysUnavailable: the service does not answer.
        """

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key (32 bytes) for the owner of a partition.

        Raises:
            KeysUnavailable: the service does not answer.
        """

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrapped key is another owner's or altered, or its key is destroyed.
            KeysUnavailable: the service does not answer.
        """
