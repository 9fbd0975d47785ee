"""The life of a server process: it serves, drains, stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

LATER_SIGNALS: Final = {signal.SIGHUP, signal.SIGUSR2}
"""Signals that would end a process without handlers; they are blocked until it has handlers."""


class Lifecycle:
    """The state of a process that is to stop.

    Args:
        drain_seconds: the time for which load balancers are warned before connections are rejected.
        grace_seconds: the time for open requests after that.
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
        """Stop; a second call changes nothing. Signal handlers and any thread may call it.

        Args:
            announce: warn load balancers first; false if other processes go on listening.
        """
        if self._closes_at is None:
            self._is_announced = announce
            self._closes_at = self._clock() + (self._drain_seconds if announce else 0)
            for wake in self._wakers:
                wake()

    def on_stop(self, wake: Callable[[], None]) -> None:
        """Call a function on `stop`; it must not wait."""
        self._wakers.append(wake)

    @property
    def is_stopping(self) -> bool:
        """Whether answers close their connections."""
        return self._closes_at is not None

    @property
    def is_announced(self) -> bool:
        """Whether heartbeats warn load balancers."""
        return self._closes_at is not None and self._is_announced

    @property
    def remaining_seconds(self) -> float:
        """The rest of the time for open requests; all of it before the stop."""
        if self._closes_at is None:
            return self.grace_seconds
        return max(0.0, self._closes_at + self.grace_seconds - self._clock())

    @property
    def must_close(self) -> bool:
        """Whether the process accepts no more connections."""
        return self._closes_at is not None and self._clock() >= self._closes_at


class Hangups:
    """A flag for a received SIGHUP, which a thread polls.

    A `threading.Event` would not do: its lock, taken by a handler, could block the next handler.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Note a SIGHUP."""
        self._is_set = True

    def clear(self) -> bool:
        """Clear the flag; return whether it was set."""
        was_set, self._is_set = self._is_set, False
        return was_set
