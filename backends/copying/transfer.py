"""Walks over a store, and reads and writes of whole partitions, many at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, TypeVar

from backends import (
    ABSENT,
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    PATIENCE_SECONDS,
    Backend,
    BackendError,
    Busy,
    Conflict,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
    chunks,
    is_live,
    size_of,
    value_bytes,
)
from backends.copying.pace import UNLIMITED, Pace

PAGE_PARTITIONS: Final = 1000
"""The partitions that are listed at once."""

READ_BYTES: Final = 8 * 1024 * 1024
"""The bytes of values that are read at once; more only if a single partition has more."""

PORTION_PARTITIONS: Final = 200
"""The partitions that are written at once."""

_FIRST_READ: Final = 32
_USUAL_BYTES: Final = 8 * 1024
"""Roughly the bytes of a partition, to list as many as a portion has."""

Items = Mapping[str, Item]
"""All items of a partition by name."""

Clock = Callable[[], float]
"""Seconds since 1970."""

_T = TypeVar("_T")


_LOST: Final = "the destination lost what was written: does somebody else write there?"


class NotEmpty(BackendError):
    """The destination has items that this job did not write."""


class NotWritten(BackendError):
    """The destination has acknowledged a write and does not return it."""


Report = Callable[[str, int, int, bytes], None]
"""Called with a job's stage, its partitions and bytes of values until now, and the last partition."""


def walk(backend: Backend, after: bytes | None = None) -> Iterator[bytes]:
    """Yield the partitions that follow `after`, in order; in memory is one page of them.

    The store may be in use: a partition that is created or erased meanwhile may be missing.
    """
    while page := backend.scan(after, PAGE_PARTITIONS):
        yield from page
        after = page[-1]


def walk_listings(
    backend: Backend, after: bytes | None = None, pace: Pace = UNLIMITED
) -> Iterator[tuple[bytes, Sequence[ItemInfo]]]:
    """Yield the partitions that follow `after` with their listings, in order, read ahead."""
    # The store reads values for their sizes.
    most = max(1, pace.portion(READ_BYTES) // _USUAL_BYTES)
    pages = chunks(walk(backend, after), lambda _: 1, most)
    for listed in ahead(backend.list_many(page) for page in pages):
        yield from listed.items()
        pace(sum(info.size for infos in listed.values() for info in infos))


def walk_items(
    backend: Backend, after: bytes | None = None, pace: Pace = UNLIMITED
) -> Generator[tuple[bytes, Items], None, None]:
    """Yield the partitions that follow `after` with all of their items, in order, read ahead.

    Each partition is as it was at one instant. In memory are the items of two reads at most.
    """
    pages = chunks(walk(backend, after), lambda _: 1, PAGE_PARTITIONS)
    portions = (_reads(backend, page, pace.portion(READ_BYTES)) for page in pages)
    # The pace is kept by the thread that can be interrupted.
    for found in ahead(itertools.chain.from_iterable(portions)):
        yield from found.items()
        pace(sum(map(size_of, found.values())))


def read_items(backend: Backend, partitions: Sequence[bytes]) -> Iterator[tuple[bytes, Items]]:
    """Yield partitions with all of their items, in the given order, by as few reads as fit."""
    for found in _reads(backend, partitions, READ_BYTES):
        yield from found.items()


def _reads(
    backend: Backend, partitions: Sequence[bytes], max_bytes: int
) -> Iterator[Mapping[bytes, Items]]:
    # The store sums up the sizes of all that it is asked for: about twice as many as fit.
    limit = _FIRST_READ
    while partitions:
        found = backend.read_many(partitions[:limit], max_bytes)
        yield found
        partitions = partitions[len(found) :]
        limit = 2 * len(found)


def ahead(values: Iterator[_T]) -> Iterator[_T]:
    """Yield values; a thread makes the next one meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, values, None)
        while (value := upcoming.result()) is not None:
            upcoming = thread.submit(next, values, None)
            yield value


def read_partition(backend: Backend, partition: bytes) -> Items:
    """Return all items of a partition as they were at one instant, in order of their names."""
    return backend.read_many([partition], READ_BYTES)[partition]


class Written(NamedTuple):
    """Whether a partition differed, the bytes of the written values, and the listing afterwards."""

    differed: bool
    bytes: int
    infos: Sequence[ItemInfo]


def write_partitions(
    destination: Backend,
    wanted: Mapping[bytes, Items],
    *,
    clock: Clock,
    listed: Mapping[bytes, Sequence[ItemInfo]] | None = None,
    check: Callable[[bytes, Sequence[ItemInfo]], None] = lambda _partition, _listed: None,
) -> dict[bytes, Written]:
    """Make the items of some partitions equal to the live ones of `wanted`; read the results back.

    Every operation names the version in the listing, by default a new one: nothing else is overwritten.
    After a conflict `check` is called with a new listing; an exception that it raises ends the write.
    The caller limits the bytes.

    Raises:
        NotWritten: a partition has other values afterwards.
        Busy: others keep writing for PATIENCE_SECONDS.
    """
    if listed is None:
        listed = destination.list_many(wanted)
    operations = _operations(destination, wanted, listed, clock())
    written = {
        partition: Written(False, 0, listed[partition])
        for partition in wanted
        if not operations[partition]
    }
    one_batch = {
        partition: each
        for partition, each in operations.items()
        if each and len(list(batches(each))) == 1
    }
    outcomes = destination.apply_many(one_batch)
    arrived = [each for each, outcome in outcomes.items() if not isinstance(outcome, Conflict)]
    for partition, found in read_items(destination, arrived):
        if values_of(found, now := clock()) != values_of(wanted[partition], now):
            raise NotWritten(_LOST)
        infos: Sequence[ItemInfo] = [
            ItemInfo(name, item.version, len(item.value), item.expires_at)
            for name, item in found.items()
        ]
        written[partition] = Written(True, value_bytes(one_batch[partition]), infos)
    for partition in wanted.keys() - written.keys():
        infos = listed[partition]
        if partition in outcomes:
            infos = destination.list(partition)
            check(partition, infos)
        written[partition] = _write_alone(
            destination, partition, wanted[partition], infos, clock, partial(check, partition)
        )
    return written


def _write_alone(
    destination: Backend,
    partition: bytes,
    items: Items,
    listed: Sequence[ItemInfo],
    clock: Clock,
    check: Callable[[Sequence[ItemInfo]], None],
) -> Written:
    """Write one partition: in several batches, or against other writers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    is_written, size = False, 0
    while operations := _operations(destination, {partition: items}, {partition: listed}, clock())[
        partition
    ]:
        if is_written:
            raise NotWritten(_LOST)
        try:
            for batch in batches(operations):
                destination.apply(partition, batch)
                size += value_bytes(batch)
            is_written = True
        except Conflict:
            if time.monotonic() > deadline:
                raise Busy("others keep writing to a partition of the destination") from None
        listed = destination.list(partition)
        if not is_written:
            check(listed)
    return Written(True, size, listed)


def batches(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Return operations in batches within the limits of `Backend.apply`."""
    return chunks(operations, lambda each: value_bytes([each]), MAX_BATCH_BYTES, MAX_OPERATIONS)


def values_of(items: Items, now: float) -> dict[str, tuple[bytes, int | None]]:
    """Return the values and expiries of the live items."""
    return {name: (item.value, item.expires_at) for name, item in items.items() if is_live(item, now)}


def _operations(
    destination: Backend,
    wanted: Mapping[bytes, Items],
    listed: Mapping[bytes, Sequence[ItemInfo]],
    now: float,
) -> dict[bytes, list[Operation]]:
    """Return the operations that change each partition from its listing to the live items."""
    alike = [each for each in wanted if set(_shapes(wanted[each])) & set(map(_shape, listed[each]))]
    same = {
        partition: {
            name
            for name, item in found.items()
            if name in wanted[partition]
            and (item.value, item.expires_at)
            == (wanted[partition][name].value, wanted[partition][name].expires_at)
        }
        for partition, found in read_items(destination, alike)
    }
    return {
        partition: list(_changes(items, listed[partition], same.get(partition, set()), now))
        for partition, items in wanted.items()
    }


def _changes(
    items: Items, listed: Iterable[ItemInfo], same: set[str], now: float
) -> Iterator[Operation]:
    here = {info.name: info for info in listed if is_live(info, now)}
    wanted = {name: item for name, item in items.items() if is_live(item, now)}
    # Bulk items come first: small items, in a later batch, may refer to them.
    for name, item in sorted(wanted.items(), key=lambda each: "/" not in each[0]):
        if name not in same:
            yield Put(name, item.value, here[name].version if name in here else ABSENT, item.expires_at)
    yield from (Delete(name, info.version) for name, info in here.items() if name not in wanted)


def _shapes(items: Items) -> Iterator[tuple[str, int, int | None]]:
    return ((name, len(item.value), item.expires_at) for name, item in items.items())


def _shape(info: ItemInfo) -> tuple[str, int, int | None]:
    return info.name, info.size, info.expires_at
