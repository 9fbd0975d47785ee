"""Shared by copies, backups and restores: walks over a store, whole partitions read and written."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
)

PATIENCE_SECONDS: Final = 10.0
"""For how long a partition is read or written again that others write to meanwhile."""

_SCAN_PARTITIONS: Final = 1000

Clock = Callable[[], float]
"""Seconds since 1970."""


class NotEmpty(BackendError):
    """The destination holds what this job did not write there."""


class NotWritten(BackendError):
    """The destination acknowledged a write but does not hold it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: what it does now, and how many partitions and bytes of values it has done."""

    stage: str
    partitions: int
    bytes: int


Report = Callable[[Progress], None]
"""What a job calls now and then."""


class Busy(Unavailable):
    """A partition is written faster than it can be read."""


def walk(backend: Backend, after: bytes | None = None) -> Iterator[bytes]:
    """Yield the partitions that follow `after`, in order.

    Raises:
        Unavailable: the store can't answer now.
    """
    while page := backend.scan(after, _SCAN_PARTITIONS):
        yield from page
        after = page[-1]


def read_partition(backend: Backend, partition: bytes) -> dict[str, Item]:
    """Return all items of a partition as they were at one instant, in order of their names.

    A listing sees the partition whole, and no version is used twice: if all values that are read
    afterwards have the versions of the listing, they are what it listed.

    Raises:
        Unavailable: the store can't answer now, or others keep writing for PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = 0.001
    while True:
        listed = backend.list(partition)
        found = backend.get_many([Address(partition, info.name) for info in listed])
        items = {address.name: item for address, item in found.items()}
        if {name: item.version for name, item in items.items()} == {
            info.name: info.version for info in listed
        }:
            return {info.name: items[info.name] for info in listed}
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads readers, hides nothing
        pause = min(2 * pause, 0.1)


class Written(NamedTuple):
    """The result of `write_partition`.

    Attributes:
        differed: whether there was anything to write.
        bytes: of the values that were written.
        infos: what is there now.
    """

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
    """Make a partition hold exactly those of the items that have not expired; read back what it wrote.

    Nothing is written over but what was listed: every operation names the version that was there.

    Args:
        destination: the store.
        partition: of the store.
        items: by name.
        clock: what the store takes the time from.
        listed: what the partition holds; listed now if missing.
        check: called with what it holds after a conflict; may raise to leave it so.

    Raises:
        NotWritten: what is read back differs.
        Busy: others keep writing for PATIENCE_SECONDS.
        Unavailable: the store can't answer now.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    if listed is None:
        listed = destination.list(partition)
    differed, size = False, 0
    while True:
        operations = _operations(destination, partition, items, listed, clock)
        if not operations:
            return Written(differed, size, listed)
        differed = True
        try:
            for batch in batches(operations):
                destination.apply(partition, batch)
                size += _size(batch)
            break
        except Conflict:
            if time.monotonic() > deadline:
                raise Busy("others keep writing to a partition of the destination") from None
            listed = destination.list(partition)
            check(listed)
    listed = destination.list(partition)
    if _operations(destination, partition, items, listed, clock):
        raise NotWritten("the destination lost what was written: does somebody else write there?")
    return Written(differed, size, listed)


def batches(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Divide operations into batches that `Backend.apply` takes."""
    batch: list[Operation] = []
    size = 0
    for each in operations:
        length = len(each.value) if isinstance(each, Put) else 0
        if batch and (len(batch) == MAX_OPERATIONS or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch


def _operations(
    destination: Backend,
    partition: bytes,
    items: Mapping[str, Item],
    listed: Sequence[ItemInfo],
    clock: Clock,
) -> list[Operation]:
    """Return what makes a partition, if it is as it was listed, equal to the items that live."""
    now = clock()
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
    # Of several batches the first ones hold what the small items of the last one may tell of.
    puts.sort(key=lambda put: "/" not in put.name)
    return [*puts, *(Delete(name, info.version) for name, info in here.items() if name not in wanted)]


def _size(batch: Sequence[Operation]) -> int:
    return sum(len(each.value) for each in batch if isinstance(each, Put))


def is_live(item: Item | ItemInfo, now: float) -> bool:
    """Tell whether an item has not expired, at an instant in seconds since 1970."""
    return item.expires_at is None or item.expires_at > now
