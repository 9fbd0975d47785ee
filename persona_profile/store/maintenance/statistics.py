"""Statistics of a store by the names and sizes of its items; no value is read.

Sizes are those of sealed values in bytes, without names, versions and structures of the database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backends import Backend, ItemInfo
from backends.copying.pace import UNLIMITED, Pace
from backends.copying.transfer import Report, walk_listings
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, parse_picture_item
from persona_profile.store.partitions import LEASES_PARTITION, USED_PROOF_PREFIX

_STEP: Final = 64
_SIGNIFICANT_BITS: Final = 14


class Distribution:
    """A distribution of sizes, in bounded memory.

    Count, total, average and maximum are exact. Percentiles are rounded up, by at most 63 bytes, or
    0.013 % for sizes over 1 MiB.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.maximum = 0
        self._counts: Counter[int] = Counter()

    def add(self, size: int) -> None:
        """Add a size in bytes."""
        self.count += 1
        self.total += size
        self.maximum = max(self.maximum, size)
        step = max(_STEP, 1 << max(0, size.bit_length() - _SIGNIFICANT_BITS))
        self._counts[-(-size // step) * step] += 1

    @property
    def average(self) -> float:
        """The mean in bytes; 0 without sizes."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: int) -> int:
        """Return a percentile in bytes (nearest rank); 0 without sizes."""
        rank = -(-self.count * percent // 100)
        passed = 0
        for size, count in sorted(self._counts.items()):
            passed += count
            if passed >= rank:
                return min(size, self.maximum)
        return 0

    def counts(self) -> Mapping[int, int]:
        """Return the number of each rounded size."""
        return self._counts


@dataclass
class Statistics:
    """The statistics of a store.

    Attributes:
        profiles: emails with a profile.
        forwards: partitions with a forward or a move to another index key.
        with_picture: profiles with renditions.
        blank: partitions of emails with the mark of a sign-out, or of a removed picture, only.
        used_proofs: used proofs that have not expired.
        profile_bytes: bytes of all items of an email with a profile.
        rendition_bytes: bytes of renditions, by size in pixels and format.
        total_bytes: bytes of all items.
    """

    profiles: int = 0
    with_picture: int = 0
    blank: int = 0
    forwards: int = 0
    used_proofs: int = 0
    total_bytes: int = 0
    profile_bytes: Distribution = field(default_factory=Distribution)
    rendition_bytes: defaultdict[tuple[int, str], Distribution] = field(
        default_factory=lambda: defaultdict(Distribution)
    )

    def add(self, infos: Sequence[ItemInfo]) -> None:
        """Add the items of an email's partition."""
        if not infos:
            return
        size = sum(info.size for info in infos)
        self.total_bytes += size
        has_picture = False
        for info in infos:
            if (described := parse_picture_item(info.name)) is not None:
                self.rendition_bytes[described].add(info.size)
                has_picture = True
        names = {info.name for info in infos}
        if PROFILE_ITEM in names:
            self.profiles += 1
            self.with_picture += has_picture
            self.profile_bytes.add(size)
        elif KEY_ITEM in names:
            self.forwards += 1
        else:
            self.blank += 1


def measure(
    backend: Backend, report: Report = lambda *_: None, *, pace: Pace = UNLIMITED
) -> Statistics:
    """Return the statistics of a store."""
    statistics = Statistics()
    for number, (partition, infos) in enumerate(walk_listings(backend, pace=pace), start=1):
        if partition.startswith(USED_PROOF_PREFIX):
            statistics.used_proofs += partition != LEASES_PARTITION
        else:
            statistics.add(infos)
        report("counting", number, statistics.total_bytes, partition)
    return statistics
