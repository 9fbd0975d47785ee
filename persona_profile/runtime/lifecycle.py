"""Whether the process works on, or is on its way out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

LATER_SIGNALS: Final = {signal.SIGHUP, signal.SIGUSR2}
"""What would end a process that has no handlers yet; until it has them they wait."""


class Lifecycle:
    """Says when a process is to stop, and how much time it has.

    Args:
        drain_seconds: how long it tells balancers that it stops before it accepts no more.
        grace_seconds: how long what is in flight may take afterwards.
        clock: seconds.
    """

    def __init__(
        self,
        drain_seconds: float,
        grace_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grace_seconds = grace_seconds
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._closes_at: float | None = None
        self._is_announced = False
        self._wakers: list[Callable[[], None]] = []

    def stop(self, *, announce: bool = True) -> None:
        """Stop; called again it changes nothing. Signal handlers and any thread may call it.

        Args:
            announce: tell balancers, and give them time; not if other processes go on listening.
        """
        if self._closes_at is None:
            self._is_announced = announce
            self._closes_at = self._clock() + (self._drain_seconds if announce else 0)
            for wake in self._wakers:
                wake()

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Call something when the process is to stop; it must not wait."""
        self._wakers.append(wake)

    @property
    def is_stopping(self) -> bool:
        """Whether answers ask clients to connect anew."""
        return self._closes_at is not None

    @property
    def is_announced(self) -> bool:
        """Whether heartbeats tell balancers to send no more."""
        return self._closes_at is not None and self._is_announced

    @property
    def must_close(self) -> bool:
        """Whether nothing more is accepted."""
        return self._closes_at is not None and self._clock() >= self._closes_at


class Hangups:
    """Remembers that there was a SIGHUP, for a thread that looks now and then.

    A handler that takes a lock, as of `threading.Event`, would wait for itself if the next signal came
    while it holds that.
    """

    def __init__(self) -> None:
        self._is_told = False

    def tell(self) -> None:
        """There was one."""
        self._is_told = True

    def take(self) -> bool:
        """Return whether there was one since the last time of asking."""
        told, self._is_told = self._is_told, False
        return told
