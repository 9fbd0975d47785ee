"""Copying everything from one store to another, of any two kinds, while the source is in use.

A copy is made in passes. Each walks the partitions of both stores in order and makes those of the
destination equal to those of the source, until a pass finds nothing to do. So the first pass carries
everything, the next ones what changed meanwhile, and one after the last write proves the stores equal.

What is compared are listings, without values, as a pass over values would take as long as the first
one did. Versions are given by each store on its own, so a state file remembers for each partition two
short hashes: of the versions in the source and of those in the destination, taken when both were read
and had the same values. As versions are never used twice, equal hashes later mean equal values still.
The file takes some 90 bytes for a partition, on disk; nothing in memory grows with the store. A state
that is lost, old or of other stores makes a copy slower, never wrong: what it does not know is compared
by value.

The hash of the destination has a second use: it tells whether somebody else has written there. That is
refused, as it mostly means that a service uses the destination already, or that source and destination
were mixed up.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from backends import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Address,
    Backend,
    BackendError,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
    Unavailable,
)
from backends.copy_state import CopyState, Pair

PASSES: Final = 5
"""How many passes a copy makes by default before it says that the source keeps changing."""

PATIENCE_SECONDS: Final = 10.0
"""For how long a partition is read again that is written meanwhile."""

# Partitions under way at once, each whole in memory: they wait for networks and disks at the same time.
_WORKERS: Final = 4
_PAGE_PARTITIONS: Final = 100
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


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy did.

    Attributes:
        equal: the last pass found nothing to do.
        passes: how many were made.
        partitions: how many the last pass walked, of both stores.
        differing: in how many of these the stores differed when the last pass came to them.
        written: how often a partition of the destination was written.
        bytes: how many bytes of values these writes had.
    """

    equal: bool
    passes: int
    partitions: int
    differing: int
    written: int
    bytes: int


def copy(
    source: Backend,
    destination: Backend,
    state: CopyState,
    *,
    passes: int = PASSES,
    overwrite: bool = False,
    report: Report | None = None,
    clock: Clock = time.time,
) -> CopyResult:
    """Make the destination equal to the source: every live item, and nothing else.

    Each partition is written in one batch (what is more than a batch may be, in several: bulk items
    first, deletions last) and read back. It can be stopped at any instant and started again.

    Args:
        source: only read; may be in use.
        destination: an empty store, or what the copy with this state has made so far.
        state: what earlier runs have done.
        passes: how many to make at most, from 2.
        overwrite: replace and delete in the destination also what this copy did not write there.
        report: called some times a second.
        clock: what both stores take the time from.

    Raises:
        NotEmpty: the destination holds something else, and `overwrite` is not set.
        NotWritten: the destination does not give back what was written.
        Unavailable: a store can't answer now; start again.
        ValueError: fewer than two passes.
    """
    if passes < 2:
        raise ValueError("a copy takes two passes at least")
    if state.is_new() and not overwrite and destination.scan(None, 1):
        raise NotEmpty("the destination is not empty; nothing was written")
    job = _Copy(source, destination, state, overwrite, report, clock)
    for number in range(1, passes + 1):
        is_whole = state.position() is None
        job.make_pass(number)
        if is_whole and not job.differing:
            break
    return CopyResult(not job.differing, number, job.partitions, job.differing, job.written, job.volume)


class _Finding(NamedTuple):
    """What the listings of a partition tell."""

    is_same: bool
    may_write: bool


class _Outcome(NamedTuple):
    """What became of a partition that was not the same; no pair if the source kept changing."""

    pair: Pair | None
    differed: bool
    bytes: int


@dataclass(slots=True)
class _Copy:
    """The passes of one run."""

    source: Backend
    destination: Backend
    state: CopyState
    overwrite: bool
    report: Report | None
    clock: Clock
    partitions: int = field(default=0, init=False)
    differing: int = field(default=0, init=False)
    written: int = field(default=0, init=False)
    volume: int = field(default=0, init=False)

    def make_pass(self, number: int) -> None:
        """Walk both stores from where the state stands to their ends."""
        self.partitions = self.differing = 0
        after = self.state.position()
        both = heapq.merge(walk(self.source, after), walk(self.destination, after))
        partitions = (partition for partition, _ in itertools.groupby(both))
        with ThreadPoolExecutor(_WORKERS) as pool:
            while page := list(itertools.islice(partitions, _PAGE_PARTITIONS)):
                self._carry_page(pool, page, f"pass {number}")
        self.state.record({}, None)

    def _carry_page(self, pool: ThreadPoolExecutor, page: list[bytes], stage: str) -> None:
        pairs = self.state.pairs(page)
        compared = pool.map(self._compare, page, map(pairs.get, page))
        findings = dict(zip(page, compared, strict=True))
        to_do = [partition for partition in page if not findings[partition].is_same]
        may_write = [findings[partition].may_write for partition in to_do]
        # Known to the state before the first byte is written: after a crash it is still ours.
        self.state.intend(itertools.compress(to_do, may_write))
        outcomes = dict(zip(to_do, pool.map(self._carry, to_do, may_write), strict=True))
        self.partitions += len(page)
        self.differing += sum(each.differed for each in outcomes.values())
        self.written += sum(each.differed and each.pair is not None for each in outcomes.values())
        self.volume += sum(each.bytes for each in outcomes.values())
        if self.report:
            self.report(Progress(stage, self.partitions, self.volume))
        done = {partition: each.pair for partition, each in outcomes.items() if each.pair}
        self.state.record(done, page[-1])

    def _compare(self, partition: bytes, pair: Pair | None) -> _Finding:
        in_source = self.source.list(partition)
        in_destination = self.destination.list(partition)
        hashes = Pair(_hash(in_source), _hash(in_destination))
        # What expires leaves no trace in the hashes; it is small and short-lived, so always compared.
        has_expiring = any(info.expires_at is not None for info in (*in_source, *in_destination))
        if pair is None:
            may_write = not in_destination
        else:
            may_write = pair.destination in (None, hashes.destination)
        return _Finding(pair == hashes and not has_expiring, may_write or self.overwrite)

    def _carry(self, partition: bytes, may_write: bool) -> _Outcome:  # noqa: FBT001 - mapped over
        try:
            items = read_partition(self.source, partition)
        except Busy:
            return _Outcome(None, differed=True, bytes=0)
        written = write_partition(
            self.destination, partition, items, may_write=may_write, clock=self.clock
        )
        pair = Pair(_hash(_infos(items)), _hash(written.infos))
        return _Outcome(pair, written.differed, written.bytes)


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
    """What `write_partition` found and did: the bytes that it wrote, and what is there now."""

    differed: bool
    bytes: int
    infos: Sequence[ItemInfo]


def write_partition(
    destination: Backend,
    partition: bytes,
    items: Mapping[str, Item],
    *,
    may_write: bool,
    clock: Clock,
) -> Written:
    """Make a partition hold exactly those of the items that have not expired; read back what it wrote.

    Raises:
        NotEmpty: there is something to write, and `may_write` is not set.
        NotWritten: what is read back differs.
        Unavailable: the store can't answer now.
    """
    listed = destination.list(partition)
    operations = _operations(destination, partition, items, listed, clock)
    if not operations:
        return Written(differed=False, bytes=0, infos=listed)
    if not may_write:
        raise NotEmpty("somebody else has written to the destination")
    for batch in batches(operations):
        destination.apply(partition, batch)
    listed = destination.list(partition)
    if _operations(destination, partition, items, listed, clock):
        raise NotWritten("the destination lost what was written: does somebody else write there?")
    size = sum(len(each.value) for each in operations if isinstance(each, Put))
    return Written(differed=True, bytes=size, infos=listed)


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
    """Return what makes a partition, as it was listed, equal to the items that live."""
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
        Put(name, item.value, expires_at=item.expires_at)
        for name, item in wanted.items()
        if name not in same
    ]
    # Of several batches the first ones hold what the small items of the last one may tell of.
    puts.sort(key=lambda put: "/" not in put.name)
    return [*puts, *(Delete(name) for name in here if name not in wanted)]


def is_live(item: Item | ItemInfo, now: float) -> bool:
    """Tell whether an item has not expired, at an instant in seconds since 1970."""
    return item.expires_at is None or item.expires_at > now


def _infos(items: Mapping[str, Item]) -> list[ItemInfo]:
    return [
        ItemInfo(name, item.version, len(item.value), item.expires_at) for name, item in items.items()
    ]


def _hash(infos: Iterable[ItemInfo]) -> bytes:
    """Return a hash of the versions of the items that don't expire."""
    digest = blake2b(digest_size=16)
    for info in infos:
        if info.expires_at is None:
            digest.update(b"%s\0%016x" % (info.name.encode("ascii"), info.version))
    return digest.digest()
