"""Copying everything from one store to another, of any two kinds, while the source is in use.

A copy makes passes. Each pass walks the partitions of both stores in order and makes the partitions of
the destination equal to those of the source, until a pass finds no difference. The first pass copies
everything, the next passes copy later changes, and a pass after the last write proves the stores equal.

A pass compares listings without values: comparing values would take as long as the first pass. Each
store has its own versions. So for each partition with the same values in both stores, a state file has
two short hashes: of the versions in the source and of the versions in the destination. Versions are
never used twice, so equal hashes later mean equal values. The file has some 90 bytes for each
partition; the memory for a copy does not grow with the stores.

By the state file, everything in the destination is this copy's own or **foreign**. A copy never
overwrites or deletes foreign items unless the operator asks for it: mostly they mean that a service
uses the destination already, or that source and destination were swapped.

- Of each copied partition the state has the hash, and fingerprints of its items that expire.
- Before a write, the state gets fingerprints of the partition's present items, by version, and of the
  new items, by value. After a crash these separate the copy's own items from foreign ones.
- A profile that is erased in the destination after a write, before the copy has noted that write,
  looks like a write that never arrived: the next copy writes it again.
- The copy decides about a page of partitions before it writes or notes any of them. Every write names
  the versions of that decision.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backends import Address, Backend, Busy, ItemInfo, chunks, is_live
from backends.copying.copy_state import (
    Copied,
    CopyState,
    Pending,
    by_name,
    by_value,
    by_version,
    of_listing,
)
from backends.copying.pace import UNLIMITED, Pace
from backends.copying.transfer import (
    PORTION_PARTITIONS,
    READ_BYTES,
    Clock,
    Items,
    NotEmpty,
    Report,
    ahead,
    read_items,
    read_partition,
    values_of,
    walk,
    write_partitions,
)

PASSES: Final = 5
"""The default limit of passes; a source that still changes then is reported."""

_PAGE_PARTITIONS: Final = 500


@dataclass(slots=True)
class CopyResult:
    """The result of a copy.

    Attributes:
        equal: whether the last pass found no difference.
        partitions: number of partitions in the last pass, of both stores.
        differing: number of these partitions in which the stores differed.
        written: number of writes of whole partitions, of all passes.
        bytes: bytes of the values in these writes.
        last_pass_seconds: the duration of the last pass that began with the first partition; 0 if none
            did.
    """

    equal: bool = False
    passes: int = 0
    partitions: int = 0
    differing: int = 0
    written: int = 0
    bytes: int = 0
    last_pass_seconds: float = field(default=0.0, compare=False)


def copy(
    source: Backend,
    destination: Backend,
    state: CopyState,
    *,
    passes: int = PASSES,
    overwrite: bool = False,
    report: Report = lambda *_: None,
    pace: Pace = UNLIMITED,
    clock: Clock = time.time,
) -> CopyResult:
    """Make the destination equal to the source: every live item, and nothing else.

    Each partition is written in one batch and read back. A partition that is too large for one batch is
    written in several: bulk items first, deletions last. A copy can be stopped at any instant and
    started again with its state. With `overwrite` it replaces and deletes foreign items, too.

    Raises:
        NotEmpty: the destination has foreign items, which are unchanged; `overwrite` is not set.
        NotWritten: the destination does not return what was written.
        ValueError: fewer than two passes.
    """
    if passes < 2:
        raise ValueError("a copy takes two passes at least")
    if state.is_new() and not overwrite and destination.scan(None, 1):
        raise NotEmpty("the destination is not empty; nothing was written")
    job = _Copy(source, destination, state, overwrite, report, pace, clock)
    for _ in range(passes):
        is_whole, began_at = state.position() is None, time.monotonic()
        job.make_pass()
        if is_whole:
            job.result.last_pass_seconds = round(time.monotonic() - began_at, 3)
        if is_whole and job.result.equal:
            break
    return job.result


class _Comparison(enum.Enum):
    """What the listings of a partition say."""

    SAME = "same"
    MAY_DIFFER = "may differ"
    MUST_WRITE = "must write"


@dataclass(slots=True)
class _Copy:
    """The passes of one run."""

    source: Backend
    destination: Backend
    state: CopyState
    overwrite: bool
    report: Report
    pace: Pace
    clock: Clock
    result: CopyResult = field(default_factory=CopyResult, init=False)

    def make_pass(self) -> None:
        """Walk both stores to their ends, from the position in the state."""
        self.result.passes += 1
        self.result.partitions = self.result.differing = 0
        after = self.state.position()
        both = heapq.merge(walk(self.source, after), walk(self.destination, after))
        partitions = (partition for partition, _ in itertools.groupby(both))
        while page := list(itertools.islice(partitions, _PAGE_PARTITIONS)):
            self._copy_page(page)
        self.state.record({}, None)
        self.result.equal = not self.result.differing

    def _copy_page(self, page: list[bytes]) -> None:
        known = self.state.known(page)
        in_source, listed = self.source.list_many(page), self.destination.list_many(page)
        compared = {
            each: self._compare(each, known.get(each), in_source[each], listed[each]) for each in page
        }
        self.result.differing += sum(each is _Comparison.MAY_DIFFER for each in compared.values())
        to_do = [each for each in page if compared[each] is _Comparison.MUST_WRITE]
        sizes = {each: sum(info.size for info in in_source[each]) for each in to_do}
        portions = chunks(to_do, sizes.__getitem__, self.pace.portion(READ_BYTES), PORTION_PARTITIONS)
        copied: dict[bytes, Copied] = {}
        # In memory are the values of two portions.
        for sources in ahead(self._read(portion) for portion in portions):
            copied |= self._copy_portion(sources, listed)
            self.pace(sum(sizes[partition] for partition in sources))
        self.state.record(copied, page[-1])
        for number, partition in enumerate(page, start=self.result.partitions + 1):
            self.report(f"pass {self.result.passes}", number, self.result.bytes, partition)
        self.result.partitions += len(page)

    def _copy_portion(
        self, sources: Mapping[bytes, Items | None], listed: Mapping[bytes, Sequence[ItemInfo]]
    ) -> dict[bytes, Copied]:
        ready = {partition: items for partition, items in sources.items() if items is not None}
        pending = {each: _pending(items, listed[each]) for each, items in ready.items()}
        # On disk before the first write: after a crash it separates own items from foreign ones.
        self.state.intend(pending)

        def check(partition: bytes, now_listed: Sequence[ItemInfo]) -> None:
            if not self.overwrite and self._is_foreign(partition, pending[partition], now_listed):
                raise NotEmpty("somebody else writes to the destination; that was left as it is")

        written = write_partitions(
            self.destination, ready, clock=self.clock, listed=listed, check=check
        )
        for each in written.values():
            self.result.differing += each.differed
            self.result.written += each.differed
            self.result.bytes += each.bytes
        self.result.differing += len(sources) - len(ready)
        return {each: _copied(items, written[each].infos) for each, items in ready.items()}

    def _read(self, portion: Sequence[bytes]) -> dict[bytes, Items | None]:
        """Read partitions of the source; None for one to which others keep writing."""
        try:
            return dict(read_items(self.source, portion))
        except Busy:
            return {partition: self._read_one(partition) for partition in portion}

    def _read_one(self, partition: bytes) -> Items | None:
        try:
            return read_partition(self.source, partition)
        except Busy:
            return None

    def _compare(
        self,
        partition: bytes,
        known: Copied | Pending | None,
        in_source: Sequence[ItemInfo],
        listed: Sequence[ItemInfo],
    ) -> _Comparison:
        if not self.overwrite and self._is_foreign(partition, known, listed):
            return _Comparison.MAY_DIFFER if self._may_differ(partition) else _Comparison.SAME
        # The hashes leave out items that expire; they are small and few, so always compared by value.
        is_same = (
            isinstance(known, Copied)
            and known[:2] == (of_listing(in_source), of_listing(listed))
            and not _expiring((*in_source, *listed))
        )
        return _Comparison.SAME if is_same else _Comparison.MUST_WRITE

    def _is_foreign(
        self, partition: bytes, known: Copied | Pending | None, listed: Sequence[ItemInfo]
    ) -> bool:
        """Return whether a partition of the destination has foreign items, or lacks own ones."""
        if known is None:
            return bool(listed)
        if isinstance(known, Copied):
            return known.destination != of_listing(listed) or not _expiring(listed) <= known.expiring
        if not known.kept <= {by_name(info.name) for info in listed}:
            return True
        new = [Address(partition, each.name) for each in listed if by_version(each) not in known.known]
        return any(
            by_value(address.name, item) not in known.known and is_live(item, self.clock())
            for address, item in self.destination.get_many(new).items()
        )

    def _may_differ(self, partition: bytes) -> bool:
        """Return whether a foreign partition may differ; raise `NotEmpty` if it does differ."""
        items = self._read_one(partition)
        if items is None:
            return True
        found, now = read_partition(self.destination, partition), self.clock()
        if values_of(found, now) != values_of(items, now):
            raise NotEmpty("somebody else has written to the destination; that was left as it is")
        return False


def _pending(items: Items, listed: Sequence[ItemInfo]) -> Pending:
    known = {*map(by_version, listed), *(by_value(name, item) for name, item in items.items())}
    lasting_names = {name for name, item in items.items() if item.expires_at is None}
    lasting_names &= {info.name for info in listed if info.expires_at is None}
    return Pending(frozenset(known), frozenset(map(by_name, lasting_names)))


def _copied(items: Items, infos: Sequence[ItemInfo]) -> Copied:
    source = (ItemInfo(name, item.version, 0, item.expires_at) for name, item in items.items())
    return Copied(of_listing(source), of_listing(infos), _expiring(infos))


def _expiring(infos: Iterable[ItemInfo]) -> frozenset[bytes]:
    return frozenset(by_version(info) for info in infos if info.expires_at is not None)
