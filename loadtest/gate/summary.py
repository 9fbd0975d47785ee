"""The summary of a run's record, by step, endpoint, process and second."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_type_hints

from loadtest.record import (
    End,
    GeneratorSample,
    InvalidRecord,
    RecordLine,
    Run,
    Second,
    ServerSample,
    Step,
    Traffic,
    upper_bound,
)

WRONG_CONTENT: Final = "wrong_content"
BUSY_WINDOW: Final = 5
"""Seconds over which a generator's use of its core is averaged: one busy second is harmless."""

LATE: Final = 0.25
"""Seconds of delay from which a start is late: longer delays would distort the latencies."""

_COUNTERS: Final = ("_total", "_count", "_sum")
_MAX_NUMBER: Final = 1e18
_HINTS: Final = {
    kind: {each.name: get_type_hints(kind)[each.name] for each in fields(kind)}
    for kind in get_args(RecordLine)
}
_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class GeneratorProcess:
    """A process of the load generator in a step.

    Attributes:
        cpu: share of one core, in the busiest `BUSY_WINDOW` seconds.
        lag: longest delay of a start, in seconds.
        late_seconds: number of seconds with a start later than `LATE`.
        silence: longest time between two samples, in seconds.
        went_back: whether its clock went back.
    """

    name: str
    cpu: float
    lag: float
    late_seconds: int
    silence: float
    went_back: bool


@dataclass(frozen=True, slots=True)
class StepSummary:
    """A step: some time with one number of users; see `record.Step`.

    Attributes:
        start, end: first whole second, since 1970, and the second after the last one.
        endpoints, seconds: requests and outcomes, by endpoint, and by second and endpoint.
        cores: used by the server on average; None if unknown.
        seconds_per_request: processor seconds of the server; None if unknown.
        resident_bytes: the server's maximum; None if unknown.
        processor: pairs of instant and processor seconds, with one before and one after the step.
        finished: requests by the second of their end.
    """

    users: float
    start: int
    end: int
    is_measured: bool
    rates: Mapping[str, float]
    endpoints: Mapping[str, Traffic]
    seconds: Mapping[int, Mapping[str, Traffic]]
    processes: Sequence[GeneratorProcess]
    cores: float | None
    seconds_per_request: float | None
    resident_bytes: float | None
    processor: Sequence[tuple[float, float]]
    finished: Mapping[int, int]

    @property
    def whole(self) -> Traffic:
        """All endpoints together."""
        return Traffic.of(self.endpoints.values())

    @property
    def duration(self) -> int:
        """Whole seconds."""
        return max(0, self.end - self.start)

    @property
    def target(self) -> float:
        """Number of requests by the model's rates."""
        return sum(self.rates.values()) * self.duration


@dataclass(frozen=True, slots=True)
class Summary:
    """A run; steps and samples of the server are in order of time.

    Attributes:
        ended_at: None if the run was interrupted.
        seconds: requests and outcomes of all endpoints together, by second.
        processes: names of the load generator's processes with samples.
        metrics: the server's metrics in measured steps: growth of counters, maximum of gauges.
    """

    run: Run
    steps: Sequence[StepSummary]
    ended_at: float | None
    servers: Sequence[ServerSample]
    seconds: Mapping[int, Traffic]
    processes: frozenset[str]
    metrics: Mapping[str, float]

    @property
    def measured(self) -> list[StepSummary]:
        """Measured steps of at least a second."""
        return [each for each in self.steps if each.is_measured and each.duration]

    @property
    def wrong_content(self) -> int:
        """Responses with wrong content in the whole run."""
        return sum(each.errors.get(WRONG_CONTENT, 0) for each in self.seconds.values())


def summarize(lines: Iterable[RecordLine]) -> Summary:
    """Summarize the lines of a run.

    Raises:
        InvalidRecord: there is not exactly one run, or a line has an invalid value.
    """
    lines = list(lines)
    for line in lines:
        _check(line)
    runs = _of(Run, lines)
    if len(runs) != 1:
        raise InvalidRecord(f"it holds {len(runs)} runs; it must be one")
    steps = sorted(_of(Step, lines), key=_at)
    generators = _of(GeneratorSample, lines)
    servers = sorted(_of(ServerSample, lines), key=_at)
    ended_at = max((each.at for each in _of(End, lines)), default=None)
    edges = [each.at for each in steps]
    edges.append(max(line.at for line in lines) if ended_at is None else ended_at)
    by_second: dict[int, dict[str, list[Second]]] = defaultdict(lambda: defaultdict(list))
    for each in _of(Second, lines):
        by_second[int(each.at)][each.endpoint].append(each)
    traffic = {
        second: {name: Traffic.of(found) for name, found in by_second[second].items()}
        for second in sorted(by_second)
    }
    finished = _finished(traffic)
    made = [
        _step(step, edges[number + 1], traffic, finished, generators, servers)
        for number, step in enumerate(steps)
    ]
    measured = [each for each in made if each.is_measured]
    return Summary(
        runs[0],
        made,
        ended_at,
        servers,
        {second: Traffic.of(found.values()) for second, found in traffic.items()},
        frozenset(each.process for each in generators),
        _growth([[each for each in servers if step.start <= each.at <= step.end] for step in measured]),
    )


def _step(
    step: Step,
    end: float,
    traffic: Mapping[int, Mapping[str, Traffic]],
    finished: Mapping[int, int],
    generators: Sequence[GeneratorSample],
    servers: Sequence[ServerSample],
) -> StepSummary:
    # A second that is only partly in a step belongs to no step.
    first, last = math.ceil(step.at), math.floor(end)
    seconds = {second: found for second, found in traffic.items() if first <= second < last}
    names = sorted({name for found in seconds.values() for name in found} | step.rates.keys())
    endpoints = {
        name: Traffic.of(found[name] for found in seconds.values() if name in found) for name in names
    }
    within = [each for each in servers if first <= each.at <= last]
    readings = [(each.at, each.cpu_seconds) for each in within if each.cpu_seconds is not None]
    cores = None
    if len(readings) > 1 and readings[-1][0] > readings[0][0]:
        cores = (readings[-1][1] - readings[0][1]) / (readings[-1][0] - readings[0][0])
    # An overloaded server finishes many requests later: their processor time is not in this step.
    ended = {second: count for second, count in finished.items() if first <= second < last}
    answered = sum(ended.values())
    return StepSummary(
        step.users,
        first,
        last,
        step.is_measured,
        dict(step.rates),
        endpoints,
        seconds,
        _processes([each for each in generators if first <= each.at <= last], first, last),
        cores,
        cores * (last - first) / answered if cores is not None and answered else None,
        max((each.resident_bytes for each in within if each.resident_bytes is not None), default=None),
        _around(first, last, servers),
        ended,
    )


def _around(first: int, last: int, servers: Sequence[ServerSample]) -> list[tuple[float, float]]:
    """Return the readings of processor seconds in a step, with one before and one after it."""
    readings = [(each.at, each.cpu_seconds) for each in servers if each.cpu_seconds is not None]
    start = bisect.bisect_right(readings, float(first), key=lambda pair: pair[0]) - 1
    end = bisect.bisect_left(readings, float(last), key=lambda pair: pair[0]) + 1
    return readings[max(0, start) : end]


def _finished(traffic: Mapping[int, Mapping[str, Traffic]]) -> dict[int, int]:
    """Count requests by the second of their end, accurate to 5 % of the latency."""
    ended: Counter[int] = Counter()
    for second, found in traffic.items():
        for each in found.values():
            ended[second] += each.failed + each.shed
            for number, count in each.latencies.items():
                ended[int(second + 0.5 + upper_bound(number) / 1000)] += count
    return dict(ended)


def _processes(lines: Sequence[GeneratorSample], start: int, end: int) -> list[GeneratorProcess]:
    found: dict[str, list[GeneratorSample]] = defaultdict(list)
    for line in lines:
        found[line.process].append(line)
    made = []
    for name, own in sorted(found.items()):
        # In the order of the file, so that a clock that went back shows.
        instants = [each.at for each in own]
        steps = [later - earlier for earlier, later in itertools.pairwise([start, *instants, end])]
        loads = [each.cpu for each in own]
        width = min(BUSY_WINDOW, len(loads))
        means = [sum(loads[at : at + width]) / width for at in range(len(loads) - width + 1)]
        went_back = any(later < earlier for earlier, later in itertools.pairwise(instants))
        lags = [each.lag for each in own]
        late = sum(lag > LATE for lag in lags)
        made.append(GeneratorProcess(name, max(means), max(lags), late, max(steps), went_back))
    return made


def _growth(steps: Sequence[Sequence[ServerSample]]) -> dict[str, float]:
    """Return the growth of counters and the maximum of gauges in some steps, without buckets."""
    grown: dict[str, float] = {}
    for servers in steps:
        samples = [each.metrics for each in servers if each.metrics]
        for name in set[str]().union(*samples):
            values = [each[name] for each in samples if name in each]
            family = name.partition("{")[0]
            if family.endswith(_COUNTERS):
                grown[name] = grown.get(name, 0) + values[-1] - samples[0].get(name, 0)
            elif not family.endswith("_bucket"):
                grown[name] = max(values) if name not in grown else max(grown[name], *values)
    return dict(sorted(grown.items()))


def _of(kind: type[_Kind], lines: Iterable[RecordLine]) -> list[_Kind]:
    return [line for line in lines if isinstance(line, kind)]


def _at(line: RecordLine) -> float:
    return line.at


def _check(line: RecordLine) -> None:
    """Raise `InvalidRecord` if a line has an invalid type or value."""
    for name, hint in _HINTS[type(line)].items():
        minimum = -_MAX_NUMBER if name in {"metrics", "clock_offset"} else 0
        if not _fits(getattr(line, name), hint, minimum):
            raise InvalidRecord(f"a line of kind {line.kind} has an invalid member {name}")
    # No latency is longer than a week; the number of a bucket is an exponent.
    if isinstance(line, Second) and any(each > 420 for each in line.latencies):
        raise InvalidRecord(f"a line of kind {line.kind} has an invalid bucket")


def _fits(value: Any, hint: Any, minimum: float = 0) -> bool:
    """Return whether a value has a type, and its numbers are in their range."""
    of = get_args(hint)
    if len(of) > 1 and of[1] is not NoneType:
        return isinstance(value, dict) and all(
            _fits(name, of[0]) and _fits(each, of[1], minimum) for name, each in value.items()
        )
    if of:
        return value is None or _fits(value, of[0], minimum)
    if hint in (int, float):
        return type(value) in {int, hint} and minimum <= value <= _MAX_NUMBER
    return hint is Any or isinstance(value, hint)
