"""Copying everything from one store to another, of any two kinds, while the source is in use.

A copy is made in passes. Each walks the partitions of both stores in order and makes those of the
destination equal to those of the source, until a pass finds nothing to do. So the first pass carries
everything, the next ones what changed meanwhile, and one after the last write proves the stores equal.

What is compared are listings, without values, as a pass over values would take as long as the first
one did. Versions are given by each store on its own, so a state file remembers for each partition two
short hashes: of the versions in the source and of those in the destination, taken when both were read
and had the same values. As versions are never used twice, equal hashes later mean equal values still.
The file takes some 90 bytes for a partition, on disk; nothing in memory grows with the store.

The state has a second use: by it everything in the destination is this copy's own or **foreign**. A
foreign item is never written over and never deleted, unless the operator asks for it: mostly it means
that a service uses the destination already, or that source and destination were mixed up.

- Of a partition that was copied, the hash and the fingerprints of its items that expire are known.
- Before a partition is written, fingerprints are noted of what is there, by version, and of what is to
  be written, by value. So it is known after a crash whose the items are that are found there.
- A page of partitions is decided before any of them is written or noted, and every write names the
  versions that the decision was about.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from backends import MAX_BATCH_BYTES, Address, Backend, Item, ItemInfo
from backends.copying.copy_state import FINGERPRINT_BYTES, CopyState, Pair, UnderWay
from backends.copying.transfer import (
    Busy,
    Clock,
    NotEmpty,
    Progress,
    Report,
    is_live,
    read_partition,
    walk,
    write_partition,
)

PASSES: Final = 5
"""How many passes a copy makes by default before it says that the source keeps changing."""

# Partitions under way at once: they wait for networks and disks at the same time.
_WORKERS: Final = 4
_PAGE_PARTITIONS: Final = 100
_PORTION_BYTES: Final = MAX_BATCH_BYTES
"""About how many bytes of values are in memory at once, unless one partition has more."""


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
        NotEmpty: the destination holds something foreign, which is as it was; `overwrite` is not set.
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


class _Seen(NamedTuple):
    """What the listings of a partition say.

    Attributes:
        is_same: the stores have the same values there.
        is_foreign: the destination holds, or lacks, something that is not this copy's doing.
        listed: what the destination holds.
        bytes: of the values in the source.
    """

    is_same: bool
    is_foreign: bool
    listed: Sequence[ItemInfo]
    bytes: int


class _Outcome(NamedTuple):
    """What became of a partition that was not the same; no pair if it was not made equal."""

    pair: Pair | None
    differed: bool
    bytes: int


_UNDECIDED: Final = _Outcome(None, differed=True, bytes=0)


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
        known = self.state.known(page)
        seen = dict(zip(page, pool.map(self._look, page, map(known.get, page)), strict=True))
        foreign = [partition for partition in page if seen[partition].is_foreign]
        self.differing += sum(pool.map(self._check_foreign, foreign))
        pairs: dict[bytes, Pair] = {}
        to_do = [each for each in page if not seen[each].is_same and not seen[each].is_foreign]
        for portion in _portions(to_do, seen):
            sources = dict(zip(portion, pool.map(self._read, portion), strict=True))
            ready = {partition: items for partition, items in sources.items() if items is not None}
            marks = {each: _under_way(items, seen[each].listed) for each, items in ready.items()}
            # On disk before the first byte is written: after a crash it is known what is ours.
            self.state.intend(marks)
            listed = [seen[partition].listed for partition in ready]
            outcomes = list(pool.map(self._write, ready, ready.values(), listed, marks.values()))
            self._count([*outcomes, *[_UNDECIDED] * (len(portion) - len(ready))])
            done = zip(ready, outcomes, strict=True)
            pairs |= {each: outcome.pair for each, outcome in done if outcome.pair}
        self.partitions += len(page)
        if self.report:
            self.report(Progress(stage, self.partitions, self.volume))
        self.state.record(pairs, page[-1])

    def _count(self, outcomes: Sequence[_Outcome]) -> None:
        self.differing += sum(each.differed for each in outcomes)
        self.written += sum(each.differed and each.pair is not None for each in outcomes)
        self.volume += sum(each.bytes for each in outcomes)

    def _look(self, partition: bytes, known: Pair | UnderWay | None) -> _Seen:
        in_source = self.source.list(partition)
        listed = self.destination.list(partition)
        # What expires leaves no trace in the hashes; it is small and short-lived, so always compared.
        has_expiring = any(info.expires_at is not None for info in (*in_source, *listed))
        is_foreign = not self.overwrite and self._is_foreign(partition, known, listed)
        is_same = (
            isinstance(known, Pair)
            and (known.source, known.destination) == (_hash(in_source), _hash(listed))
            and not has_expiring
        )
        return _Seen(is_same, is_foreign, listed, sum(info.size for info in in_source))

    def _is_foreign(
        self, partition: bytes, known: Pair | UnderWay | None, listed: Sequence[ItemInfo]
    ) -> bool:
        """Return whether somebody else has written to a partition of the destination."""
        match known:
            case None:
                return bool(listed)
            case Pair():
                expiring = {_of_version(info) for info in listed if info.expires_at is not None}
                return known.destination != _hash(listed) or not expiring <= known.expiring
            case UnderWay():
                if not known.kept <= {_of_name(info.name) for info in listed}:
                    return True
                new = [info.name for info in listed if _of_version(info) not in known.known]
                found = self.destination.get_many([Address(partition, name) for name in new])
                items = {address.name: item for address, item in found.items()}
                return any(
                    _of_value(name, item) not in known.known and is_live(item, self.clock())
                    for name, item in items.items()
                )

    def _check_foreign(self, partition: bytes) -> bool:
        """Return whether it is not known that a foreign partition has the values of the source.

        Raises:
            NotEmpty: it has others.
        """
        items = self._read(partition)
        if items is None:
            return True
        found = read_partition(self.destination, partition)
        if _live_values(found, self.clock()) != _live_values(items, self.clock()):
            raise NotEmpty("somebody else has written to the destination; that was left as it is")
        return False

    def _read(self, partition: bytes) -> Mapping[str, Item] | None:
        try:
            return read_partition(self.source, partition)
        except Busy:
            return None

    def _write(
        self,
        partition: bytes,
        items: Mapping[str, Item],
        listed: Sequence[ItemInfo],
        under_way: UnderWay,
    ) -> _Outcome:
        def check(now_listed: Sequence[ItemInfo]) -> None:
            if not self.overwrite and self._is_foreign(partition, under_way, now_listed):
                raise NotEmpty("somebody else writes to the destination; that was left as it is")

        written = write_partition(
            self.destination, partition, items, clock=self.clock, listed=listed, check=check
        )
        expiring = frozenset(_of_version(info) for info in written.infos if info.expires_at is not None)
        pair = Pair(_hash(_infos(items)), _hash(written.infos), expiring)
        return _Outcome(pair, written.differed, written.bytes)


def _portions(partitions: Iterable[bytes], seen: Mapping[bytes, _Seen]) -> Iterator[list[bytes]]:
    """Divide partitions so that the values of each portion may be in memory at once."""
    portion: list[bytes] = []
    size = 0
    for partition in partitions:
        if portion and size + seen[partition].bytes > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(partition)
        size += seen[partition].bytes
    if portion:
        yield portion


def _under_way(items: Mapping[str, Item], listed: Sequence[ItemInfo]) -> UnderWay:
    known = {_of_version(info) for info in listed}
    known |= {_of_value(name, item) for name, item in items.items()}
    lasting = {name for name, item in items.items() if item.expires_at is None}
    kept = {_of_name(info.name) for info in listed if info.expires_at is None and info.name in lasting}
    return UnderWay(frozenset(known), frozenset(kept))


def _live_values(items: Mapping[str, Item], now: float) -> dict[str, tuple[bytes, int | None]]:
    return {name: (item.value, item.expires_at) for name, item in items.items() if is_live(item, now)}


def _of_version(info: ItemInfo) -> bytes:
    return _digest(b"version\0%s\0%016x" % (info.name.encode("ascii"), info.version))


def _of_value(name: str, item: Item) -> bytes:
    return _digest(b"value\0%s\0%d\0" % (name.encode("ascii"), item.expires_at or 0), item.value)


def _of_name(name: str) -> bytes:
    return _digest(b"name\0" + name.encode("ascii"))


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


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
