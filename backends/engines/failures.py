"""Failures of a database, and the circuit breaker that knows silence from other failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Final

from backends import BackendError, Unavailable
from backends.breaker import CircuitBreaker, Outcome

SILENCE_SECONDS: Final = 1.0
"""An operation that fails after a longer wait opens the circuit breaker."""

MAX_SILENT_OPERATIONS: Final = 3
"""So many operations may wait longer while the database answers none."""


class Transient(BackendError):
    """The database rolled back the statements and asks to try again."""

    reason: ClassVar[str] = "transient"


class ConnectionLost(BackendError):
    """The connection broke: the last statement may or may not have taken effect.

    Attributes:
        final_message: the message of `Unavailable` once retries have failed.
    """

    reason: ClassVar[str] = "connection_lost"
    final_message: str = "the database breaks off every connection"


class HostLost(ConnectionLost):
    """One of several hosts is lost: the next connection goes to another."""

    def __init__(self, failure: ConnectionLost) -> None:
        super().__init__(str(failure))
        self.final_message = failure.final_message


class AllInUse(Unavailable):
    """No connection of the pool became free in time."""


class Rejected(Unavailable):
    """The database answered that it can't do it."""


def new_breaker(clock: Callable[[], float] = time.monotonic) -> CircuitBreaker:
    """Return a circuit breaker for a database: it opens when the database falls silent."""
    return CircuitBreaker(
        _outcome, max_stalled=MAX_SILENT_OPERATIONS, stall_seconds=SILENCE_SECONDS, clock=clock
    )


def _outcome(error: BaseException, seconds: float) -> Outcome:
    if isinstance(error, Rejected) or not isinstance(error, (ConnectionLost, Unavailable)):
        return Outcome.ANSWERED
    # These two waited for other operations, or for a host that is no longer used.
    if isinstance(error, (AllInUse, HostLost)) or seconds <= SILENCE_SECONDS:
        return Outcome.UNKNOWN
    return Outcome.FAILED
