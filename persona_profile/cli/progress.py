"""One line on a terminal, or in a log, about the progress of a job."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TextIO, TypeVar

from backends import Unavailable
from persona_profile.capacity.units import byte_count
from persona_profile.keys.service import KeysUnavailable
from persona_profile.store.leases import LeaseLost
from persona_profile.store.partitions import USED_PROOF_PREFIX

TERMINAL_SECONDS: Final = 1.0
LOG_SECONDS: Final = 10.0

STOPPED: Final = (KeyboardInterrupt, Unavailable, KeysUnavailable, LeaseLost)
"""Exceptions after which the same command, started again, goes on."""


class _ProgressLine:
    """A line that is rewritten each second on a terminal, and printed every `log_seconds` elsewhere."""

    log_seconds = math.inf

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._pause = TERMINAL_SECONDS if self._is_terminal else self.log_seconds
        self._started = clock()
        self._next = self._started + self._pause

    @property
    def seconds(self) -> float:
        """The duration of the job until now."""
        return round(self._clock() - self._started, 3)

    def clear(self) -> None:
        """Erase the line on a terminal, so that other output can stand there."""
        if self._is_terminal:
            self._write("\r\x1b[K")

    def _is_due(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._pause
        return True

    def _show(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}" if self._is_terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class WalkProgress(_ProgressLine):
    """The progress of a walk over all partitions, on a terminal only.

    Attributes:
        last: the last partition that was done.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._done = 0
        self.last: bytes | None = None

    def __call__(self, partition: bytes) -> None:
        """Count a partition that was done."""
        self.last = partition
        self._done += 1
        if self._is_due():
            kind = "used proofs" if partition.startswith(USED_PROOF_PREFIX) else "emails"
            rate = self._done / self.seconds
            share = f"{_share(partition):.0%}"
            self._show(f"{kind}: {share}, {self._done:,} partitions done, {rate:,.0f} per second")


class JobProgress(_ProgressLine):
    """The progress of a job over a whole store or archive, on a terminal or in a log.

    Attributes:
        last: the last partition that was done.
    """

    log_seconds = LOG_SECONDS

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self.last: bytes | None = None
        self._part: tuple[str, bytes] | None = None
        self._used_proofs = 0

    def __call__(self, stage: str, partitions: int, size: int, last: bytes) -> None:
        """Show the progress."""
        if (part := (stage, last[:1])) != self._part:
            self._part, self._part_began = part, self._clock()
            self._first_share = _share(last)
        self.last = last
        if is_used_proof := last.startswith(USED_PROOF_PREFIX):
            self._used_proofs = partitions
        elif self._used_proofs > partitions:  # the next stage begins with an email
            self._used_proofs = 0
        if not self._is_due():
            return
        kind = "used proofs" if is_used_proof else "emails"
        number = partitions if is_used_proof else partitions - self._used_proofs
        text = f"{stage}: {_share(last):.0%} of the {kind}, {number:,} {kind}, {byte_count(size)}"
        done = _share(last) - self._first_share
        if done > 0:
            left = (1 - _share(last)) * (self._clock() - self._part_began) / done
            text += f", {timedelta(seconds=round(left))} left"
        self._show(text)


def _share(partition: bytes) -> float:
    """Return the share of the partitions before this one: they are digests, spread evenly."""
    return int.from_bytes(partition[1:5].ljust(4, b"\0")) / 2**32


class RowProgress(_ProgressLine):
    """The progress of an import, on a terminal or in a log."""

    log_seconds = LOG_SECONDS

    def __init__(self, stream: TextIO, rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._rows = rows

    def __call__(self, done: int, rejected: int) -> None:
        """Show the progress."""
        if self._is_due():
            rate = done / self.seconds
            text = f"{done:,} of {self._rows:,} rows, {rejected:,} rejected, {rate:,.1f} per second"
            if rate:
                text += f", {timedelta(seconds=round((self._rows - done) / rate))} left"
            self._show(text)


_Shown = TypeVar("_Shown", bound=_ProgressLine)


@contextmanager
def shown(progress: _Shown, if_stopped: str = "") -> Iterator[_Shown]:
    """Clear the line in the end; if the job is stopped, print how to go on."""
    try:
        yield progress
    except STOPPED:
        progress.clear()
        if if_stopped:
            print(f"persona-profile: stopped; {if_stopped}", file=sys.stderr)
        raise
    finally:
        progress.clear()
