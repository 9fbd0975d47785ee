"""Counts of one process, by the second in which requests were planned to start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from loadtest.record import Second, bucket

RIGHT: Final = ""
SHED: Final = "shed"
WRONG_CONTENT: Final = "wrong_content"
NOT_OFFERED: Final = "not_offered"
UNANSWERED: Final = "unanswered"


@dataclass(slots=True)
class _Counts:
    planned: int = 0
    done: int = 0
    latencies: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    shed: int = 0
    sent: int = 0
    received: int = 0
    withdrawn: int = 0


class Tally:
    """Counts of planned requests and their outcomes.

    Args:
        report: called for each request with its activity, milliseconds from the planned start, bytes
            received and outcome.
    """

    def __init__(self, report: Callable[[str, float, int, str], None]) -> None:
        self._counts: dict[tuple[int, str], _Counts] = {}
        self._report = report
        self.in_flight = 0

    def plan(self, activity: str, planned_at: float) -> None:
        """Count a planned request; `finish` must follow."""
        self._of(activity, planned_at).planned += 1
        self.in_flight += 1

    def withdraw(self, activity: str, planned_at: float) -> None:
        """Remove a planned request whose picture does not exist."""
        counts = self._of(activity, planned_at)
        counts.planned -= 1
        counts.withdrawn += 1
        self.in_flight -= 1

    def finish(
        self,
        activity: str,
        planned_at: float,
        outcome: str,
        *,
        ended_at: float | None = None,
        sent: int = 0,
        received: int = 0,
    ) -> None:
        """Count the outcome of a request.

        Args:
            activity: of the model.
            planned_at: its planned start.
            outcome: `RIGHT`, `SHED`, or the code of an error.
            ended_at: instant of the response; by default now.
            sent: bytes of the request's body.
            received: bytes of the response's body.
        """
        milliseconds = ((ended_at or time.time()) - planned_at) * 1000
        counts = self._of(activity, planned_at)
        counts.done += 1
        self.in_flight -= 1
        counts.sent += sent
        counts.received += received
        if outcome == RIGHT:
            counts.latencies[bucket(milliseconds)] += 1
        elif outcome == SHED:
            counts.shed += 1
        else:
            counts.errors[outcome] += 1
        self._report(activity, milliseconds, received, outcome)

    def settled(self, now: float) -> list[Second]:
        """Return and forget the past seconds in which every request has an outcome."""
        over = [key for key, each in self._counts.items() if key[0] + 1 < now]
        return [
            self._second(key) for key in over if self._counts[key].done == self._counts[key].planned
        ]

    def rest(self) -> list[Second]:
        """Return all remaining seconds; requests without an outcome are `UNANSWERED`."""
        for counts in self._counts.values():
            if missing := counts.planned - counts.done:
                counts.errors[UNANSWERED] += missing
        return [self._second(key) for key in list(self._counts)]

    def _of(self, activity: str, planned_at: float) -> _Counts:
        return self._counts.setdefault((int(planned_at), activity), _Counts())

    def _second(self, key: tuple[int, str]) -> Second:
        counts = self._counts.pop(key)
        return Second(
            float(key[0]),
            key[1],
            counts.planned,
            dict(counts.latencies),
            dict(counts.errors),
            counts.shed,
            counts.sent,
            counts.received,
            counts.withdrawn,
        )
