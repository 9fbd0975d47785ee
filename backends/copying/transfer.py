"""Walks over a store, and reads and writes of whole partitions."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from backends import (
    ABSENT,
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Address,
    Backend,
    BackendError,
    Conflict,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
    Unavailable,
    chunks,
    is_live,
)

PATIENCE_SECONDS: Final = 10.0
"""How long a partition is read or written again while others keep writing to it."""

_SCAN_PARTITIONS: Final = 1000

Clock = Callable[[], float]
"""Seconds since 1970."""


class NotEmpty(BackendError):
    """The destination has items that this job did not write."""


class NotWritten(BackendError):
    """The destination has acknowledged a write and does not return it."""


Report = Callable[[str, int, int], None]
"""A job calls it now and then with its stage, and the partitions and bytes of values until now."""


class Busy(Unavailable):
    """Others write to a partition faster than it can be read or written."""


def walk(backend: Backend, after: bytes | None = None) -> Iterator[bytes]:
    """Yield the partitions that follow `after`, in order; in memory is one page of them.

    The store may be in use: a partition that is created or erased meanwhile may be missing.
    """
    while page := backend.scan(after, _SCAN_PARTITIONS):
        yield from page
        after = page[-1]


def read_partition(
    backend: Backend, partition: bytes, *, patience: float = PATIENCE_SECONDS
) -> dict[str, Item]:
    """Return all items of a partition as they were at one instant, in order of their names.

    A listing sees the partition whole, and no version is used twice: values that are read after the
    listing, with its versions, are the values at the time of the listing. Raises `Busy` if others keep
    writing for `patience` seconds.
    """
    deadline = time.monotonic() + patience
    pause = 0.001
    while True:
        listed = backend.list(partition)
        versions = {Address(partition, info.name): info.version for info in listed}
        found = backend.get_many(versions)
        if {address: item.version for address, item in found.items()} == versions:
            return {address.name: found[address] for address in versions}
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        pause = min(2 * pause, 0.1)


class Written(NamedTuple):
    """Whether a partition differed, the bytes of the written values, and the listing afterwards."""

    differed: bool
    bytes: int
    infos: Sequence[ItemInfo]


def write_partition(
    destination: Backend,
    partition: bytes,
    items: Mapping[str, Item],
    *,
    clock: Clock,
    listed: Sequence[ItemInfo] | None = None,
    check: Callable[[Sequence[ItemInfo]], None] = lambda _listed: None,
) -> Written:
    """Make the items of a partition equal to the live ones of `items`; read the result back.

    Every operation names the version in the listing, by default a new one: nothing else is overwritten.
    After a conflict `check` is called with a new listing; an exception that it raises ends the write.

    Raises:
        NotWritten: the partition has other values afterwards.
        Busy: others keep writing for PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    if listed is None:
        listed = destination.list(partition)
    differed, is_written, size = False, False, 0
    while operations := _operations(destination, partition, items, listed, clock()):
        if is_written:
            raise NotWritten("the destination lost what was written: does somebody else write there?")
        differed = True
        try:
            for batch in batches(operations):
                destination.apply(partition, batch)
                size += sum(map(_value_bytes, batch))
            is_written = True
        except Conflict:
            if time.monotonic() > deadline:
                raise Busy("others keep writing to a partition of the destination") from None
        listed = destination.list(partition)
        if not is_written:
            check(listed)
    return Written(differed, size, listed)


def batches(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Return operations in batches within the limits of `Backend.apply`."""
    return chunks(operations, _value_bytes, MAX_BATCH_BYTES, MAX_OPERATIONS)


def _operations(
    destination: Backend,
    partition: bytes,
    items: Mapping[str, Item],
    listed: Sequence[ItemInfo],
    now: float,
) -> list[Operation]:
    """Return the operations that change a partition from its listing to the live items."""
    here = {info.name: info for info in listed if is_live(info, now)}
    wanted = {name: item for name, item in items.items() if is_live(item, now)}
    alike = [
        Address(partition, name)
        for name, item in wanted.items()
        if (info := here.get(name))
        and (info.size, info.expires_at) == (len(item.value), item.expires_at)
    ]
    found = destination.get_many(alike) if alike else {}
    same = {each.name for each, item in found.items() if item.value == wanted[each.name].value}
    puts = [
        Put(name, item.value, here[name].version if name in here else ABSENT, item.expires_at)
        for name, item in wanted.items()
        if name not in same
    ]
    # Bulk items come first: small items, in a later batch, may refer to them.
    puts.sort(key=lambda put: "/" not in put.name)
    return [*puts, *(Delete(name, info.version) for name, info in here.items() if name not in wanted)]


def _value_bytes(operation: Operation) -> int:
    return len(operation.value) if isinstance(operation, Put) else 0
