"""The interface of a key service: who keeps the keys that wrap the data keys of emails.

`keywrap.KeyringService` keeps them in the keyring file; `transit.TransitService` leaves them to a
HashiCorp Vault or OpenBao server, which never gives them away.
"""

from __future__ import annotations

from typing import Protocol

MAGIC_BYTES = 4
"""Every wrapped key begins with these: "PPK" and a byte that tells which service wrapped it."""


class Unreadable(Exception):
    """Something sealed does not open: altered, moved, cut, or under a key that is not here."""


class KeysUnavailable(Exception):
    """The key service can't be asked now; the message names no key and no data.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyService(Protocol):
    """Wraps data keys under versioned keys of its own, each wrap bound to a partition.

    Used by any number of threads at once.
    """

    @property
    def magic(self) -> bytes:
        """The first MAGIC_BYTES of what it wraps."""
        ...

    def check(self) -> None:
        """Return if the service can be used: for operators, before anything is stored.

        Raises:
            KeysUnavailable: the message tells what is wrong.
        """
        ...

    def close(self) -> None:
        """Let go of connections; nothing can be wrapped or unwrapped any more."""
        ...

    def length(self, data: bytes) -> int:
        """Return how many bytes the wrapped key has with which `data` begins.

        Raises:
            Unreadable: it begins with no whole wrapped key of this service.
        """
        ...

    def version(self, wrapped: bytes) -> int:
        """Return the version of the key that a wrapped key is under, whether or not it still exists.

        Raises:
            Unreadable: this is no wrapped key of this service.
        """
        ...

    def primary_version(self) -> int:
        """Return the version that `wrap` uses now.

        Raises:
            KeysUnavailable: the service can't be asked now.
        """
        ...

    def wrap(self, partition: bytes, data_key: bytes) -> bytes:
        """Wrap a data key (32 bytes) for the owner of a partition.

        Raises:
            KeysUnavailable: the service can't be asked now.
        """
        ...

    def unwrap(self, partition: bytes, wrapped: bytes) -> bytes:
        """Return the data key of a partition's owner.

        Raises:
            Unreadable: the wrap is another owner's, altered, or its key is gone.
            KeysUnavailable: the service can't be asked now.
        """
        ...
