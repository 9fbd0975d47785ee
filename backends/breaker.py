"""A circuit breaker: callers do not wait for a server that has stopped answering."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CircuitOpen(Exception):
    """The call was rejected and not sent."""


class Outcome(enum.Enum):
    """The meaning of a finished call for the state of its server."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class CircuitBreaker:
    """Lets calls through while the server answers; used by any number of threads at once.

    A failed call opens it: calls are rejected for `pause` seconds. Then it lets one call at a time
    through, until one is answered.

    Args:
        judge: returns the outcome of a call by its exception and seconds; by default a failure.
        pause: seconds after a failure in which all calls are rejected.
        max_pause: each failure doubles the pause up to this; an answer while it is closed resets it.
        max_stalled: it also rejects calls while this many have waited for `stall_seconds` and none was
            answered in that time.
        stall_seconds: see `max_stalled`.
        is_open: whether it is open at first.
        clock: seconds.
    """

    def __init__(
        self,
        judge: Callable[[BaseException, float], Outcome] = lambda _error, _seconds: Outcome.FAILED,
        *,
        pause: float = 0.0,
        max_pause: float = 0.0,
        max_stalled: float = math.inf,
        stall_seconds: float = 0.0,
        is_open: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._judge = judge
        self._first_pause = self._pause = pause
        self._max_pause = max(pause, max_pause)
        self._max_stalled = max_stalled
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._began_at: dict[object, float] = {}  # of calls in flight
        self._answered_at = clock()
        self._resumes_at = clock() if is_open else None

    @property
    def is_open(self) -> bool:
        """Whether calls are rejected, except probes."""
        with self._lock:
            return self._resumes_at is not None or self._is_stalled()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch over a call, or raise `CircuitOpen`."""
        call = object()
        with self._lock:
            now = self._clock()
            is_paused = self._resumes_at is not None and (self._began_at or now < self._resumes_at)
            if is_paused or self._is_stalled():
                raise CircuitOpen
            self._began_at[call] = now
        outcome = Outcome.ANSWERED
        try:
            yield
        except BaseException as error:
            outcome = self._judge(error, self._clock() - now)
            raise
        finally:
            with self._lock:
                del self._began_at[call]
                self.record(outcome)

    def record(self, outcome: Outcome) -> None:
        """Note the outcome of a call that was not made by `call`."""
        with self._lock:
            now = self._clock()
            if outcome is Outcome.ANSWERED:
                if self._resumes_at is None:
                    self._pause = self._first_pause
                self._resumes_at, self._answered_at = None, now
            elif outcome is Outcome.FAILED and (self._resumes_at is None or now >= self._resumes_at):
                self._resumes_at = now + self._pause
                self._pause = min(2 * self._pause, self._max_pause)

    def _is_stalled(self) -> bool:
        if len(self._began_at) < self._max_stalled:
            return False
        long_ago = self._clock() - self._stall_seconds
        stalled = sum(began < long_ago for began in self._began_at.values())
        return stalled >= self._max_stalled and self._answered_at < long_ago
