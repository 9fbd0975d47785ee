"""Measurements that parts of the service keep, for `metrics` to read at each scrape."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Labels = tuple[str, ...]

REPLICA_OUTCOMES: Final = ("served", "missing", "failed", "skipped", "damaged")
"""How a read from a replica can end."""


class EventCounter:
    """Counts events by their labels; safe for several threads.

    Args:
        labels: combinations that are reported from the start, as 0.
    """

    def __init__(self, labels: Iterable[Labels] = ()) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Labels, float] = dict.fromkeys(labels, 0)

    def count(self, *labels: str, amount: float = 1) -> None:
        """Count an event, or an amount of something."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + amount

    def counts(self) -> dict[Labels, float]:
        """Return a copy of the counts by labels."""
        with self._lock:
            return dict(self._counts)


@dataclass(frozen=True, slots=True)
class PictureStats:
    """The running picture workers, uploads that have or await one, and the memory granted to them."""

    workers: int
    under_way: int
    waiting: int
    admitted_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """The number of configured replicas, and of those that are not asked now."""

    replicas: int
    unreachable: int
