"""Counting what a store holds, by the names and sizes of its items: no value is read.

Sizes are those of sealed values in bytes; what the database adds for names, versions and its own
structure comes on top.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backends import Backend, ItemInfo
from backends.copying.transfer import walk
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, parse_picture_item
from persona_profile.store.partitions import LEASES_PARTITION, USED_PROOF_PREFIX

_STEP: Final = 64
_SIGNIFICANT_BITS: Final = 14


class Distribution:
    """How sizes are distributed, in bounded memory however many are added.

    Count, total, average and maximum are exact. A percentile is never too small, and too large by at
    most 63 bytes, or by 0.013 % for sizes over 1 MiB: sizes are counted rounded up.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.maximum = 0
        self._counts: Counter[int] = Counter()

    def add(self, size: int) -> None:
        """Count one size, in bytes."""
        self.count += 1
        self.total += size
        self.maximum = max(self.maximum, size)
        step = max(_STEP, 1 << max(0, size.bit_length() - _SIGNIFICANT_BITS))
        self._counts[-(-size // step) * step] += 1

    @property
    def average(self) -> float:
        """The mean in bytes; 0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: int) -> int:
        """Return the size in bytes that `percent` of all do not exceed (nearest rank); 0 of none."""
        rank = -(-self.count * percent // 100)
        passed = 0
        for size, count in sorted(self._counts.items()):
            passed += count
            if passed >= rank:
                return min(size, self.maximum)
        return 0

    def counts(self) -> Mapping[int, int]:
        """Return how often each size came, rounded up as the class says."""
        return self._counts


@dataclass(slots=True)
class Statistics:
    """What a store holds.

    Attributes:
        profiles: emails that hold a profile.
        forwards: partitions whose profile is kept under another index key by now, or still.
        with_picture: those of them with renditions.
        blank: emails without a profile that something else is kept for, as when sessions were ended.
        used_proofs: proofs that are remembered until they expire.
        profile_bytes: bytes of all items of an email with a profile.
        rendition_bytes: bytes of renditions, by size in pixels and format.
        total_bytes: bytes of all items.
    """

    profiles: int = 0
    forwards: int = 0
    with_picture: int = 0
    blank: int = 0
    used_proofs: int = 0
    total_bytes: int = 0
    profile_bytes: Distribution = field(default_factory=Distribution)
    rendition_bytes: defaultdict[tuple[int, str], Distribution] = field(
        default_factory=lambda: defaultdict(Distribution)
    )

    def add(self, infos: Sequence[ItemInfo]) -> None:
        """Count the items of an email's partition; one that is gone by now holds none."""
        if not infos:
            return
        size = sum(info.size for info in infos)
        self.total_bytes += size
        renditions = [
            (described, info.size)
            for info in infos
            if (described := parse_picture_item(info.name)) is not None
        ]
        for described, rendition_size in renditions:
            self.rendition_bytes[described].add(rendition_size)
        if any(info.name == PROFILE_ITEM for info in infos):
            self.profiles += 1
            self.with_picture += bool(renditions)
            self.profile_bytes.add(size)
        elif any(info.name == KEY_ITEM for info in infos):
            self.forwards += 1
        else:
            self.blank += 1


def measure(
    backend: Backend, progress: Callable[[bytes], None] = lambda _partition: None
) -> Statistics:
    """Count all that a store holds; tell `progress` of each partition that was counted.

    Raises:
        Unavailable: the storage does not answer.
    """
    statistics = Statistics()
    for partition in walk(backend):
        # A used proof is one item without a value: there is nothing to ask the store for.
        if partition.startswith(USED_PROOF_PREFIX):
            statistics.used_proofs += partition != LEASES_PARTITION
        else:
            statistics.add(backend.list(partition))
        progress(partition)
    return statistics
