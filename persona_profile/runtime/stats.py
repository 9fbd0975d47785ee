"""Measurements that parts of the service report, for `metrics` to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REPLICA_OUTCOMES: Final = ("served", "missing", "failed", "skipped", "damaged")
"""How a read from a replica can end."""


@dataclass(slots=True)
class UploadStats:
    """The cost of one upload.

    Attributes:
        format: one of `images.formats.FORMATS_IN`, or `unknown` if the upload was rejected earlier.
        outcome: `accepted`, the problem code of the rejection, or `failed`.
        pixels: decoded pixels, including tiles and alpha planes.
        processor_seconds: processor time of the worker.
    """

    format: str = "unknown"
    outcome: str = "failed"
    pixels: int = 0
    processor_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PictureStats:
    """The present work of the picture workers.

    Attributes:
        workers: running worker processes.
        under_way: uploads that have a worker.
        waiting: uploads that wait for a worker.
        admitted_bytes: memory granted to pictures being decoded.
    """

    workers: int
    under_way: int
    waiting: int
    admitted_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """The number of configured replicas, and how many of them are skipped at present."""

    replicas: int
    silent: int
