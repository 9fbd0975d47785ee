"""Storage backends: generic key/value stores of opaque bytes.

An item is addressed by `(partition, name)`. Partitions are the unit of atomicity and of placement:
a backend may keep each on another machine. Nothing here knows of HTTP, profiles or keys.

Every backend guarantees, and `backends.testing.conformance` holds it to:

- **Atomicity.** `apply` carries out all its operations or none, also across a crash.
- **Compare-and-set.** An operation with `if_version` takes effect only if the item is at that
  version at that instant. Of several writers that name the same version exactly one succeeds.
- **Versions are never used twice.** Each write gives its item a new random version, so an item that
  was deleted and made again never meets an old expectation, and a writer that lost its connection
  can tell by reading whether its own write arrived.
- **Read your writes.** What `apply` has acknowledged, every later read from this backend sees.
  `get_many` and `list` see each partition whole: never half of a batch.
- **Durability.** Except in `memory`, what was acknowledged outlives the process and the machine.
- **Expiry.** From its `expires_at` on, an item is as if it did not exist, for reads and
  expectations alike; its bytes are removed some time later.
- **Threads.** One instance may be used by any number of threads at once.
"""

from __future__ import annotations

import enum
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

MAX_PARTITION_BYTES: Final = 33
MAX_NAME_BYTES: Final = 64
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
MAX_OPERATIONS: Final = 100
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
"""Bytes of values of one batch: a cluster passes a transaction on as a whole, and limits it."""


class BackendError(Exception):
    """Base of what a backend raises. Messages never hold names, values or partitions."""


class Conflict(BackendError):
    """An expectation about a version was not met; nothing was written."""


class Unavailable(BackendError):
    """The store can't answer now; whether a write took effect is unknown, reading it again tells.

    Attributes:
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, message: str = "storage is unavailable", retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WrongSchema(BackendError):
    """The store is not laid out as this version expects; the message says what to do."""


class Expectation(enum.Enum):
    """What an operation expects to find when it names no version."""

    ANYTHING = "anything"
    ABSENT = "absent"


ANYTHING: Final = Expectation.ANYTHING
ABSENT: Final = Expectation.ABSENT


class Address(NamedTuple):
    """Where an item is kept.

    A name with a slash marks a bulk item: backends may keep those apart from the small ones, so that
    reading the small ones stays fast.
    """

    partition: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """A stored value with the version of its last write; `expires_at` in seconds since 1970."""

    value: bytes
    version: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class ItemInfo:
    """What `Backend.list` tells of an item; `size` of the value in bytes."""

    name: str
    version: int
    size: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value, whatever was there, or only over what `if_version` names."""

    name: str
    value: bytes
    if_version: int | Expectation = ANYTHING
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item; one that is absent already is no error unless a version is named."""

    name: str
    if_version: int | Literal[Expectation.ANYTHING] = ANYTHING


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class BackendFigures:
    """What a backend tells those who watch it; of this instance, since it was made.

    Attributes:
        retries: attempts that were repeated, by reason: `transient`, `connection_lost`.
        connections_in_use: connections that are lent to an operation now.
        connections_most: how many there can be; 0 for a backend without connections.
        is_silent: whether the store is held to be silent, so that operations are refused at once.
    """

    retries: Mapping[str, int] = field(default_factory=dict)
    connections_in_use: int = 0
    connections_most: int = 0
    is_silent: bool = False


class Backend(ABC):
    """The interface of a store. See the module's text for what each implementation guarantees."""

    @property
    def write_seconds(self) -> float:
        """After so many seconds `apply` has returned, and its batch has taken effect or never will."""
        return 0.0

    @abstractmethod
    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        """Read items of any partitions in one round trip; absent ones are missing from the answer.

        Raises:
            Unavailable: the store can't answer now.
        """

    @abstractmethod
    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        """Carry out all operations on one partition atomically; return the versions of the puts.

        Raises:
            Conflict: an expectation was not met; nothing was written.
            Unavailable: the store can't answer now.
            ValueError: a partition, name, value or batch beyond the limits of this module, or two
                operations on one name.
        """

    @abstractmethod
    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        """Tell what a partition holds, in order of name, without reading any value.

        Raises:
            Unavailable: the store can't answer now.
        """

    @abstractmethod
    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        """Return up to `limit` partitions that follow `after`, in ascending order of their bytes.

        Raises:
            Unavailable: the store can't answer now.
        """

    @abstractmethod
    def purge_expired(self, limit: int) -> int:
        """Remove the bytes of up to `limit` expired items; return how many were removed.

        Raises:
            Unavailable: the store can't answer now.
        """

    @abstractmethod
    def ping(self) -> None:
        """Return if the store answers a read within its time limit; never writes.

        Raises:
            Unavailable: it does not.
        """

    @abstractmethod
    def initialize(self) -> None:
        """Make a store ready for this version: an empty one, or one that an older version made.

        Harmless when it is ready already, and when several machines do it at once.

        Raises:
            WrongSchema: a newer version made it.
            Unavailable: the store can't answer now.
        """

    @abstractmethod
    def check_schema(self) -> None:
        """Return if the store is ready for this version; never writes.

        Raises:
            WrongSchema: it is not.
            Unavailable: the store can't answer now.
        """

    def figures(self) -> BackendFigures:
        """Return what there is to watch, without asking the store."""
        return BackendFigures()

    @abstractmethod
    def close(self) -> None:
        """Release connections and files; the instance can't be used afterwards."""


def new_version() -> int:
    """Return a random version from 1 to 2**63 - 1: a repetition is as good as impossible."""
    return secrets.randbits(63) | 1


def check_batch(partition: bytes, operations: Sequence[Operation]) -> None:
    """Hold a batch to the limits that every backend shares.

    Raises:
        ValueError: see `Backend.apply`.
    """
    if not 0 < len(partition) <= MAX_PARTITION_BYTES:
        raise ValueError(f"a partition has 1 to {MAX_PARTITION_BYTES} bytes")
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(f"a batch has at most {MAX_OPERATIONS} operations")
    values = [len(operation.value) for operation in operations if isinstance(operation, Put)]
    if sum(values) > MAX_BATCH_BYTES:
        raise ValueError(f"a batch has at most {MAX_BATCH_BYTES} bytes of values")
    names = [operation.name for operation in operations]
    if len(set(names)) != len(names):
        raise ValueError("a batch names each item once")
    for name in names:
        if not name.isascii() or not name.isprintable() or not 0 < len(name) <= MAX_NAME_BYTES:
            raise ValueError(f"a name has 1 to {MAX_NAME_BYTES} printable ASCII characters")
    if any(size > MAX_VALUE_BYTES for size in values):
        raise ValueError(f"a value has at most {MAX_VALUE_BYTES} bytes")
