"""Storage backends: generic key/value stores of opaque bytes.

An item is addressed by `(partition, name)`. Partitions are the unit of atomicity and of placement:
a backend may keep each on another machine. Nothing here knows of HTTP, profiles or keys.

Guarantees of every backend, tested by `backends.testing.conformance`:

- **Atomicity.** `apply` carries out all its operations or none, also across a crash.
- **Compare-and-set.** An operation with `if_version` takes effect only if the item is at that
  version at that instant. Of several writers that name the same version exactly one succeeds.
- **Versions are never used twice.** Each write gives its item a new random version. An item that was
  deleted and created again never meets an old expectation. A writer that lost its connection reads
  the versions to find out whether its own write arrived.
- **Read your writes.** Every later read from this backend sees an acknowledged write. Reads and
  listings see each partition whole: never half of a batch.
- **Durability.** Except in `memory`, an acknowledged write outlives the process and the machine.
- **Expiry.** From its `expires_at` on, an item is as if it did not exist, for reads and
  expectations alike. Its bytes are removed some time later.
- **Threads.** Any number of threads may use one instance at once.
"""

from __future__ import annotations

import enum
import random
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeVar

from backends.findings import Finding, failed, ok

MAX_PARTITION_BYTES: Final = 33
MAX_NAME_BYTES: Final = 64
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
MAX_OPERATIONS: Final = 100
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
"""Bytes of the values of one batch: clusters replicate a transaction as a whole, and limit its size."""

PATIENCE_SECONDS: Final = 10.0
"""How long a partition is read or written again while others keep writing to it."""

_T = TypeVar("_T")


class BackendError(Exception):
    """Base of the exceptions of backends. Messages never hold names, values or partitions."""


class Conflict(BackendError):
    """An expectation about a version was not met; nothing was written."""


class Unavailable(BackendError):
    """The store can't answer now. A write may or may not have taken effect: read it again.

    A new attempt makes sense after `retry_after` seconds.
    """

    def __init__(self, message: str = "storage is unavailable", retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoWrites(Unavailable):
    """The store takes no writes, for example as it is full or read-only; it may answer reads."""


class Busy(Unavailable):
    """Others write to a partition faster than it can be read or written."""


class WrongSchema(BackendError):
    """The store has another schema than this version of the software; the message says what to do."""


class Expectation(enum.Enum):
    """The expectation of an operation that names no version."""

    ANYTHING = "anything"
    ABSENT = "absent"


ANYTHING: Final = Expectation.ANYTHING
ABSENT: Final = Expectation.ABSENT


class Address(NamedTuple):
    """The key of an item.

    A name with a slash marks a bulk item. Backends may store bulk items apart from small items, so
    that small items stay fast to read.
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
    """An item in a listing, without its value; `size` of the value in bytes."""

    name: str
    version: int
    size: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Write a value: unconditionally, or only over the version `if_version`."""

    name: str
    value: bytes
    if_version: int | Expectation = ANYTHING
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an item; an absent item is an error only if a version is named."""

    name: str
    if_version: int | Literal[Expectation.ANYTHING] = ANYTHING


Operation = Put | Delete


BatchOutcome = Mapping[str, int] | Conflict
"""What became of one of several batches: the versions of its puts, or the conflict."""


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Measurements of one instance since it was opened.

    Attributes:
        retries: repeated attempts by reason: `transient`, `connection_lost`.
        max_connections: size of the connection pool; 0 for a backend without connections.
        is_unreachable: whether the store did not answer the last operation, or operations are rejected
            at once as it does not answer.
        takes_no_writes: whether the last write failed by `NoWrites`.
    """

    retries: Mapping[str, int] = field(default_factory=dict)
    connections_in_use: int = 0
    max_connections: int = 0
    is_unreachable: bool = False
    takes_no_writes: bool = False


class Backend(ABC):
    """The interface of a store. The docstring of this module has its guarantees.

    Every method but `stats` and `close` raises `Unavailable` if the store can't answer now.
    """

    @property
    def write_seconds(self) -> float:
        """The seconds after which a batch of `apply` has taken effect or never will."""
        return 0.0

    @abstractmethod
    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        """Return the items at these addresses, of any partitions, read in one round trip.

        Absent items are missing from the result.
        """

    @abstractmethod
    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        """Carry out operations on one partition atomically; return the versions of the puts by name.

        Raises:
            Conflict: an expectation was not met; nothing was written.
            ValueError: a partition, name, value or batch beyond the limits of this module, or two
                operations on one name.
        """

    @abstractmethod
    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        """Return the items of a partition in order of their names, without values."""

    @abstractmethod
    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        """Return up to `limit` partitions that follow `after`, in ascending order of their bytes."""

    def list_many(self, partitions: Iterable[bytes]) -> Mapping[bytes, Sequence[ItemInfo]]:
        """Return the listing of each partition, in the given order; empty for an absent one.

        Engines override it by one round trip; the caller limits the number of partitions.
        """
        return {partition: self.list(partition) for partition in partitions}

    def read_many(
        self, partitions: Sequence[bytes], max_bytes: int
    ) -> Mapping[bytes, Mapping[str, Item]]:
        """Return all items of the first of some partitions, each partition as it was at one instant.

        These are as many partitions, in the given order, as have `max_bytes` of values together, and
        at least one. The sizes are those of a moment before the read. An absent partition has no
        items. Engines override it by one round trip for the sizes, and one for the values.
        """
        sizes = ((each, sum(info.size for info in self.list(each))) for each in partitions)
        portion = next(chunks(sizes, lambda each: each[1], max_bytes), [])
        return {partition: _read_whole(self, partition) for partition, _ in portion}

    def apply_many(self, batches: Mapping[bytes, Sequence[Operation]]) -> Mapping[bytes, BatchOutcome]:
        """Apply a batch to each of some partitions; return what became of each.

        Each batch is atomic, the whole is not. After a conflict the other batches go on. The caller
        limits the bytes of the values.

        Raises:
            Unavailable: see `Unavailable`; any of the batches may have taken effect.
            ValueError: see `apply`; earlier batches may have taken effect.
        """
        return {partition: outcome_of(self, partition, batch) for partition, batch in batches.items()}

    @abstractmethod
    def purge_expired(self, limit: int) -> int:
        """Delete up to `limit` expired items; return the number of deleted items."""

    @abstractmethod
    def ping(self) -> None:
        """Check that the store answers a read within its time limit; write nothing."""

    def try_write(self) -> None:
        """Check that the store takes a write now, by a write that leaves nothing.

        Every process calls it once a minute. By default it is `ping`.
        """
        self.ping()

    @abstractmethod
    def initialize(self) -> None:
        """Create the schema in an empty store, or upgrade the schema of an older version.

        Harmless if the schema is current, and if several machines do it at once. Raises `WrongSchema`
        if the schema is of a newer version.
        """

    @abstractmethod
    def check_schema(self) -> None:
        """Check that the store has this version's schema, or raise `WrongSchema`; write nothing."""

    def examine(self) -> Iterator[Finding]:
        """Yield findings about the store for its operator; write nothing, and create nothing.

        Engines add findings of their own: rights, versions, clocks, room.
        """
        yield of_schema(self.check_schema)

    def stats(self) -> BackendStats:
        """Return measurements, without asking the store."""
        return BackendStats()

    @abstractmethod
    def close(self) -> None:
        """Release connections and files; the instance can't be used any more."""


def of_schema(check: Callable[[], None]) -> Finding:
    """Return the finding about a schema, by a check that may raise `WrongSchema`."""
    try:
        check()
    except WrongSchema as error:
        message, _, advice = str(error).partition(": ")
        return failed("schema", message, advice)
    return ok("schema", "it is this version's")


def outcome_of(backend: Backend, partition: bytes, operations: Sequence[Operation]) -> BatchOutcome:
    """Apply one batch; return its outcome."""
    try:
        return backend.apply(partition, operations)
    except Conflict as conflict:
        return conflict


def _read_whole(backend: Backend, partition: bytes) -> dict[str, Item]:
    """Return all items of a partition as they were at one instant, in order of their names.

    A listing sees the partition whole, and no version is used twice: values that are read after the
    listing, with its versions, are the values at the time of the listing.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.001
    while True:
        versions = {Address(partition, each.name): each.version for each in backend.list(partition)}
        found = backend.get_many(versions)
        if {address: item.version for address, item in found.items()} == versions:
            return {address.name: found[address] for address in versions}
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        pause = min(2 * pause, 0.1)


def new_version() -> int:
    """Return a random version from 1 to 2**63 - 1: two are practically never equal."""
    return secrets.randbits(63) | 1


def check_batch(partition: bytes, operations: Sequence[Operation]) -> None:
    """Raise `ValueError` if a batch is beyond the limits of this module."""
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


def value_bytes(operations: Iterable[Operation]) -> int:
    """Return the bytes of the values of some operations."""
    return sum(len(each.value) for each in operations if isinstance(each, Put))


def size_of(items: Mapping[str, Item]) -> int:
    """Return the bytes of the values of some items."""
    return sum(len(item.value) for item in items.values())


def is_live(item: Item | ItemInfo, now: float) -> bool:
    """Return whether an item has not expired at `now`, in seconds since 1970."""
    return item.expires_at is None or item.expires_at > now


def chunks(
    items: Iterable[_T], size_of: Callable[[_T], int], max_size: int, max_items: int = sys.maxsize
) -> Iterator[list[_T]]:
    """Yield items in lists of at most `max_size` in total, unless a single item is larger."""
    chunk: list[_T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if chunk and (total + size > max_size or len(chunk) == max_items):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk
