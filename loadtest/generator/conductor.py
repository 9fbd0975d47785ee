"""The leader of a run: sends the workers each change of rate, and writes the record."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from loadtest.generator.options import Options
from loadtest.generator.stages import Stage, stages
from loadtest.generator.tally import LATE
from loadtest.record import End, Run, Second, Step, Traffic, Writer, bucket, percentile
from persona_profile.capacity.model import UPLOADS, rates

LEAD: Final = 2.0
"""Seconds between sending a change and its start."""

GRACE: Final = 3.0
"""Seconds for which a measured stage keeps its rates after its end, until its last answers arrive."""

GRACE_OF_STEPS: Final = LATE + 2.0
"""The same in the shape `steps`, until each upload has ended or is overdue."""

DRAIN: Final = 65.0
"""Seconds to wait for the last answers: longer than any request may take, unless it waits for a write
of the same user that takes as long. Requests without an answer are then `unanswered`."""

PREPARATION: Final = 3 * 3600.0
"""Seconds within which all users must be prepared."""


class StepLevel(NamedTuple):
    """Least share of right answers, and 95th percentile in seconds, of a step before a larger one."""

    right: float
    seconds: float


STEP_LEVELS: Final[Mapping[str, StepLevel]] = {
    "dialog_open": StepLevel(0.99, 0.5),
    "picture_read": StepLevel(0.99, 0.5),
    "upload": StepLevel(0.95, LATE),
}
"""By activity, or `upload` for all kinds of upload; the verdict has its own levels. Assumed: people
notice a slower dialog, but wait for an upload. A step has too few uploads to judge one in a hundred."""

Send = Callable[[str, Mapping[str, Any]], None]


class Conductor:
    """The course of a run; call `tick` each second."""

    def __init__(self, options: Options, writer: Writer, send: Send) -> None:
        self._options = options
        self._writer = writer
        self._send = send
        self._stages = stages(
            options.shape,
            options.users,
            options.lengths,
            max_steps=options.max_steps,
            growth=options.growth,
            met=self._met,
        )
        self._began_at: float | None = None
        self._stage = Stage(0, 0, is_measured=False)
        self._starts_at = self._ends_at = 0.0
        self._drains_until: float | None = None
        self._is_finished = False
        self._asks = options.shape == "steps"  # the next stage depends on the result of this one
        self._seconds: list[Second] = []
        self._in_flight: dict[str, int] = {}
        self._overdue: dict[str, int] = {}
        self._ready: set[str] = set()
        self._workers = 0
        self.failure: str | None = None
        """The reason why the run can't go on, or None."""

    def begin(self, workers: int, version: Mapping[str, Any]) -> None:
        """Write the run's parameters, after the workers got the message to prepare."""
        self._workers = workers
        self._began_at = time.time()
        options = self._options
        self._writer.write(
            Run(
                self._began_at,
                options.shape,
                options.host,
                options.seed,
                workers,
                version,
                options.changed_parameters,
                options.peak,
            )
        )

    def hear(self, process: str, in_flight: int, overdue: int, seconds: list[Second]) -> None:
        """Add the counts that a worker sends each second; `overdue` of `Tally`."""
        self._in_flight[process] = in_flight
        self._overdue[process] = overdue
        # Over hours these would fill the memory.
        if self._asks and self._stage.is_measured:
            self._seconds += [each for each in seconds if self._starts_at <= each.at < self._ends_at]

    def hear_ready(self, process: str, failure: str | None) -> None:
        """Note that a worker has prepared its users, or has failed to."""
        self._ready.add(process)
        self.failure = self.failure or failure

    def tick(self) -> bool:
        """Start the next stage if it is due; return whether the run goes on."""
        now = time.time()
        if self.failure is not None:
            return False
        if self._drains_until is not None:
            return self._drains(now, self._drains_until)
        assert self._began_at is not None
        if len(self._ready) < self._workers:
            if now - self._began_at > PREPARATION:
                self.failure = "the preparation of users took too long"
            return True
        if not self._stage.is_measured:
            due = self._ends_at - LEAD
        elif self._asks:
            due = self._ends_at + GRACE_OF_STEPS
        else:
            due = self._ends_at + GRACE - LEAD
        if now >= due:
            self._next(now)
        return True

    def close(self, *, is_complete: bool) -> None:
        """End the record."""
        if is_complete and self.failure is None:
            self._writer.write(End(time.time()))
        self._writer.close()

    def _drains(self, now: float, until: float) -> bool:
        """Return whether to wait for more answers."""
        if now > until - DRAIN + GRACE and not any(self._in_flight.values()):
            return False
        if now >= until and not self._is_finished:
            self._is_finished = True
            self._send("finish", {})
        return now < until + GRACE

    def _next(self, now: float) -> None:
        stage = next(self._stages, None)
        at = max(float(math.ceil(now + LEAD)), self._ends_at)
        if self._stage.is_measured:
            self._step(self._ends_at, self._stage.users, is_measured=False)
        self._seconds.clear()
        if stage is None:
            self._step(at, 0.0, is_measured=False)
            self._send("rate", {"at": at, "rate": 0.0})
            self._drains_until = at + DRAIN
            return
        self._stage, self._starts_at, self._ends_at = stage, at, at + math.ceil(stage.seconds)
        self._step(at, stage.users, is_measured=stage.is_measured)
        self._send("rate", {"at": at, "rate": sum(self.rates(stage.users).values())})

    def rates(self, users: float) -> dict[str, float]:
        """Return arrivals per second by activity, of all workers."""
        mean = rates(self._options.parameters, users)
        return {activity: rate * self._options.peak for activity, rate in mean.items()}

    def _step(self, at: float, users: float, *, is_measured: bool) -> None:
        self._writer.write(Step(at, users, self.rates(users), is_measured))

    def _met(self) -> bool:
        """Return whether the measured stage met the levels; unanswered requests count as failed."""
        rate = sum(self.rates(self._stage.users).values())
        planned = sum(each.planned for each in self._seconds)
        # A healthy server may have a second's requests in flight.
        late = max(0.0, sum(self._in_flight.values()) - rate)
        if not planned or planned / (planned + late) < STEP_LEVELS["dialog_open"].right:
            return False
        return meets_levels(self._seconds, sum(self._overdue.values()))


def meets_levels(seconds: Iterable[Second], overdue: int = 0) -> bool:
    """Return whether the requests of a step met `STEP_LEVELS`; overdue uploads did not."""
    groups = defaultdict(list)
    for each in seconds:
        groups["upload" if each.endpoint in UPLOADS else each.endpoint].append(each)
    if overdue:
        endless = {bucket(DRAIN * 1000): overdue}
        groups["upload"].append(Second(0.0, UPLOADS[0], overdue, endless))
    return all(_meets(groups[name], level) for name, level in STEP_LEVELS.items() if groups[name])


def _meets(seconds: Iterable[Second], level: StepLevel) -> bool:
    traffic = Traffic.of(seconds)
    latency = percentile(traffic.latencies, 0.95)
    is_quick = latency is None or latency <= level.seconds * 1000
    return is_quick and traffic.achieved >= level.right
