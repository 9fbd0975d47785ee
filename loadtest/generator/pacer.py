"""Starts arrivals at their planned times, whether or not the server has answered earlier ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import gevent
from gevent.event import Event

from loadtest.generator.plan import Arrival
from loadtest.generator.tally import NOT_OFFERED, Tally

MAX_IN_FLIGHT: Final = 10_000
"""Requests in flight per process; further requests count as `not_offered`."""

_REST: Final = 0.05
"""Longest sleep in seconds, so that a change of rate is noticed."""


class Pacer:
    """Starts arrivals, each in a new greenlet, at a rate that may change at given instants."""

    def __init__(self, perform: Callable[[Arrival, float], None], tally: Tally) -> None:
        self._perform = perform
        self._tally = tally
        self._changes: list[tuple[float, float]] = []
        self._ended = Event()
        self.lag = 0.0
        """Longest delay of a start in seconds, since this was last set to 0."""

    def change(self, at: float, rate: float) -> None:
        """Change the rate to so many arrivals per second at an instant (seconds since 1970)."""
        self._changes.append((at, rate))

    def end(self) -> None:
        """Start no more arrivals."""
        self._ended.set()

    def run(self, arrivals: Iterator[Arrival]) -> None:
        """Start arrivals until `end`."""
        planned_at, rate = time.time(), 0.0
        arrival = next(arrivals)
        left = arrival.gap  # to wait, in units of the mean
        while not self._ended.is_set():
            now = time.time()
            until = self._changes[0][0] if self._changes else float("inf")
            due = planned_at + left / rate if rate else float("inf")
            if until <= min(due, now):
                # A change in the middle of a gap: the rest of the gap runs at the new rate.
                left -= max(0.0, until - planned_at) * rate
                planned_at, rate = max(planned_at, until), self._changes.pop(0)[1]
            elif due <= now:
                self._start(arrival, due)
                planned_at, arrival = due, next(arrivals)
                left = arrival.gap
            else:
                gevent.sleep(min(due - now, until - now, _REST))

    def _start(self, arrival: Arrival, planned_at: float) -> None:
        self.lag = max(self.lag, time.time() - planned_at)
        is_full = self._tally.in_flight >= MAX_IN_FLIGHT
        self._tally.plan(arrival.activity, planned_at)
        if is_full:
            self._tally.finish(arrival.activity, planned_at, NOT_OFFERED)
        else:
            gevent.spawn(self._perform, arrival, planned_at)
