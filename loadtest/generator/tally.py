"""Counts of one process, by the second in which requests were planned to start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from loadtest.record import Second, bucket
from persona_profile.capacity.model import UPLOADS

RIGHT: Final = ""
SHED: Final = "shed"
WRONG_CONTENT: Final = "wrong_content"
NOT_OFFERED: Final = "not_offered"
UNANSWERED: Final = "unanswered"

LATE: Final = 10.0
"""Seconds after which an upload is overdue."""


class Tally:
    """Counts of planned requests and their outcomes.

    Args:
        report: called for each request with its activity, milliseconds from the planned start, bytes
            received and outcome.
    """

    def __init__(self, report: Callable[[str, float, int, str], None]) -> None:
        self._seconds: dict[tuple[int, str], Second] = {}
        self._report = report
        self.in_flight = 0

    def plan(self, activity: str, planned_at: float) -> None:
        """Count a planned request; `finish` must follow."""
        self._of(activity, planned_at).planned += 1
        self.in_flight += 1

    def withdraw(self, activity: str, planned_at: float) -> None:
        """Remove a planned request whose picture does not exist."""
        second = self._of(activity, planned_at)
        second.planned -= 1
        second.withdrawn += 1
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
        repeated: int = 0,
    ) -> None:
        """Count a request that ended now or at an instant: `RIGHT`, `SHED`, or the code of an error."""
        milliseconds = ((ended_at or time.time()) - planned_at) * 1000
        second = self._of(activity, planned_at)
        self.in_flight -= 1
        second.sent += sent
        second.received += received
        second.repeated += repeated
        if outcome == RIGHT:
            place = bucket(milliseconds)
            second.latencies[place] = second.latencies.get(place, 0) + 1
        elif outcome == SHED:
            second.shed += 1
        else:
            second.errors[outcome] = second.errors.get(outcome, 0) + 1
        self._report(activity, milliseconds, received, outcome)

    def settled(self, now: float) -> list[Second]:
        """Return and forget the past seconds in which every request has an outcome."""
        past = [(key, each) for key, each in self._seconds.items() if each.at + 1 < now]
        return [self._seconds.pop(key) for key, each in past if not _unanswered(each)]

    def overdue(self, now: float) -> int:
        """Return the number of uploads without an outcome that were planned over `LATE` seconds ago."""
        return sum(
            _unanswered(each)
            for (second, activity), each in self._seconds.items()
            if activity in UPLOADS and second + 1 + LATE <= now
        )

    def rest(self) -> list[Second]:
        """Return all remaining seconds; requests without an outcome are `UNANSWERED`."""
        seconds = list(self._seconds.values())
        self._seconds.clear()
        for each in seconds:
            if missing := _unanswered(each):
                each.errors[UNANSWERED] = missing
        return seconds

    def _of(self, activity: str, planned_at: float) -> Second:
        key = int(planned_at), activity
        if key not in self._seconds:
            self._seconds[key] = Second(float(key[0]), activity)
        return self._seconds[key]


def _unanswered(second: Second) -> int:
    done = sum(second.latencies.values()) + sum(second.errors.values()) + second.shed
    return second.planned - done
