"""The verdict on a run: whether its build may be promoted, and how many users it carried.

In order of precedence:

1. Wrong content, without a flaw of generator, clocks or server process: do not promote. An interrupted
   run fails by it too.
2. A void run: its numbers prove nothing, good or bad.
3. A missed level, or a missed target: do not promote.
4. Otherwise: promote.

Steps above the smallest valid failing step are ignored. So are, with a target, steps above the smallest
valid step that carried it. There the generator is busy with a server that does not respond, or with
itself.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from loadtest.gate.levels import EndpointLevels, Levels
from loadtest.gate.summary import LATE, WRONG_CONTENT, GeneratorProcess, StepSummary, Summary
from loadtest.record import ServerSample, Traffic, percentile
from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import UPLOADS, Parameters, knee, rates

MAX_CPU: Final = 0.85
"""Share of a core above which a generator process measures itself."""
MAX_LAG: Final = 1.0
"""Longest delay of a request's start, in seconds."""
MAX_LATE: Final = 0.01
"""Share of seconds with a start later than `LATE`, in addition to `_FORGIVEN` seconds."""
_FORGIVEN: Final = 2
MAX_SILENCE: Final = 5.0
"""Longest time between two samples of a generator process, in seconds; it sends one a second."""
MIN_OFFERED: Final = 0.99
"""Share of the model's requests that must be planned, less the deviation by chance."""
CHANCE: Final = 4
"""Standard deviations of arrivals by chance: exceeded once in 30,000 steps."""
MAX_OFFSET: Final = 5.0
"""Largest difference of the clocks of server and generator, in seconds; headers have whole seconds."""
MAX_DRIFT: Final = 2.5
"""Largest change of that difference in a run, in seconds."""
_READINGS: Final = 5
RESTART: Final = 2.0
"""Largest difference of two readings of one start, in seconds."""
MIN_ANSWERS: Final = {"p95": 20, "p99": 100}
"""Minimum of responses for a percentile."""
SHARES: Final = {"p95": 0.95, "p99": 0.99}


class Outcome(Enum):
    """The result of a run; the value is the command's exit status."""

    PROMOTE = 0
    DO_NOT_PROMOTE = 1
    VOID = 3

    @property
    def headline(self) -> str:
        """For people."""
        return "The run is void" if self is Outcome.VOID else self.code.replace("_", " ").capitalize()

    @property
    def code(self) -> str:
        """For programs."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Breach:
    """A missed level.

    Attributes:
        endpoint: its name; None for all together.
        figure: `p95`, `p99`, `error_share`, `shed_share`, `achieved` or `wrong_content`.
        measured: its value.
        limit: its level.
    """

    endpoint: str | None
    figure: str
    measured: float
    limit: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason why a run or step is void.

    Attributes:
        code: for programs.
        text: for people.
        covers_content: whether it may explain wrong content too.
    """

    code: str
    text: str
    covers_content: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A step with its missed levels and doubts."""

    step: StepSummary
    breaches: Sequence[Breach]
    doubts: Sequence[Doubt]

    @property
    def outcome(self) -> str:
        """`void`, or `failed` if it missed a level, or `met`."""
        return "void" if self.doubts else "failed" if self.breaches else "met"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The knee by the capacity model: all cores of the server are busy, or uploads are late."""

    users: float
    cores: float
    seconds_per_request: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a run.

    Attributes:
        reasons: for people, the most important first.
        doubts: of the run and of deciding steps.
        steps: the measured steps.
        carried: the largest step that met its levels, below all failed steps, or None.
        failed: the smallest failed step, or None.
        target: users that must be carried, or None.
        prediction: of the model; None if the cores are unknown.
    """

    outcome: Outcome
    reasons: Sequence[str]
    doubts: Sequence[Doubt]
    steps: Sequence[Judged]
    carried: Judged | None
    failed: Judged | None
    target: float | None
    prediction: Prediction | None

    @property
    def knee(self) -> float | None:
        """The middle between carried and failed users."""
        if self.carried is None or self.failed is None:
            return None
        return (self.carried.step.users + self.failed.step.users) / 2

    @property
    def agreement(self) -> float | None:
        """The model's knee over the measured one."""
        if self.knee is None or self.prediction is None or not math.isfinite(self.prediction.users):
            return None
        return self.prediction.users / self.knee


def judge(
    summary: Summary, levels: Levels, target: float | None = None, prediction: Prediction | None = None
) -> Verdict:
    """Judge a run by the users that must be carried; without them, by every measured step."""
    steps = [
        Judged(each, list(_breaches(each, levels)), list(_step_doubts(each)))
        for each in summary.measured
    ]
    failed = min((each for each in steps if each.outcome == "failed"), key=_users, default=None)
    below = math.inf if failed is None else failed.step.users
    met = [each for each in steps if each.outcome == "met" and each.step.users < below]
    carried = max(met, key=_users, default=None)
    enough = math.inf
    if target is not None:
        enough = min((_users(each) for each in met if _users(each) >= target), default=math.inf)
    deciding = [each for each in steps if _users(each) < below and _users(each) <= enough]
    doubts = [*_run_doubts(summary), *(doubt for each in deciding for doubt in each.doubts)]
    outcome, reasons = _decide(summary, doubts, carried, failed, target)
    return Verdict(outcome, reasons, doubts, steps, carried, failed, target, prediction)


def predict(
    summary: Summary,
    costs: Costs,
    levels: Levels,
    *,
    cores: float | None = None,
    processes: int | None = None,
    with_database: bool = False,
) -> Prediction | None:
    """Return the model's knee for a run's load, or None if the server's cores are unknown.

    Uploads break it by their level of the 95th percentile. The cores are needed if the record has none,
    or has more than the server's. See `model.knee`.

    Raises:
        InvalidParameters: of the run, or the numbers of cores or processes.
    """
    recorded = [each.cores for each in summary.servers if each.cores]
    cores = cores if cores is not None else recorded[-1] if recorded else None
    loaded = [each for each in summary.steps if each.users and sum(each.rates.values())]
    if cores is None or not loaded:
        return None
    parameters = Parameters().changed(summary.run.parameters)
    # The rates of a run may be those of a peak, or a part of all.
    asked = sum(loaded[0].rates.values()) / loaded[0].users
    factor = asked / sum(rates(parameters, 1).values())
    users = knee(
        cores,
        parameters,
        costs,
        processes=processes,
        with_database=with_database,
        upload_seconds=min(levels.of(each).p95 for each in UPLOADS) / 1000,
    )
    seconds = sum(
        rate * costs.of(activity, parameters.mix).server_seconds
        for activity, rate in loaded[0].rates.items()
    )
    return Prediction(users / factor, cores, seconds / sum(loaded[0].rates.values()))


def headroom(traffic: Traffic, levels: Levels, endpoint: str) -> float | None:
    """Return the level over the latency, the smaller of p95 and p99; None with too few responses."""
    found = _percentiles(traffic, levels.of(endpoint))
    return min((limit / measured for _, measured, limit in found), default=None)


def _percentiles(traffic: Traffic, own: EndpointLevels) -> Iterator[tuple[str, float, float]]:
    """Yield name, value and level of each percentile with enough responses."""
    for figure, limit in (("p95", own.p95), ("p99", own.p99)):
        measured = percentile(traffic.latencies, SHARES[figure])
        if measured is not None and traffic.right >= MIN_ANSWERS[figure]:
            yield figure, measured, limit


def _decide(
    summary: Summary,
    doubts: Sequence[Doubt],
    carried: Judged | None,
    failed: Judged | None,
    target: float | None,
) -> tuple[Outcome, list[str]]:
    wrong = summary.wrong_content
    if wrong and not any(each.covers_content for each in doubts):
        return Outcome.DO_NOT_PROMOTE, [f"{wrong:,} answers had the wrong content: none may."]
    if doubts:
        return Outcome.VOID, list(dict.fromkeys(each.text for each in doubts))
    reasons = [] if failed is None else [f"At {failed.step.users:,.0f} users {_missed(failed)}."]
    if target is None:
        if failed is not None:
            return Outcome.DO_NOT_PROMOTE, reasons
        return Outcome.PROMOTE, ["Every measured step met the service levels."]
    largest = 0.0 if carried is None else carried.step.users
    if largest >= target:
        return Outcome.PROMOTE, [f"{largest:,.0f} users were carried; {target:,.0f} were asked for."]
    if failed is None:
        reasons = [f"No step had {target:,.0f} users; the largest had {largest:,.0f}."]
    return Outcome.DO_NOT_PROMOTE, reasons


def _missed(judged: Judged) -> str:
    texts = [describe(each) for each in judged.breaches[:3]]
    more = len(judged.breaches) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def describe(breach: Breach) -> str:
    """Return a missed level and its measured value in words."""
    of = "all endpoints" if breach.endpoint is None else breach.endpoint
    if breach.figure in SHARES:
        return f"{of}: {breach.figure} was {breach.measured:,.0f} ms, more than {breach.limit:,.0f} ms"
    if breach.figure == WRONG_CONTENT:
        return f"{of}: {breach.measured:,.0f} answers had the wrong content"
    if breach.figure == "achieved":
        return (
            f"{of}: {breach.measured:.1%} of requests were answered right, less than {breach.limit:.1%}"
        )
    outcome = "failed" if breach.figure == "error_share" else "were shed"
    return f"{of}: {breach.measured:.2%} of requests {outcome}, more than {breach.limit:.2%}"


def _breaches(step: StepSummary, levels: Levels) -> Iterator[Breach]:
    """Yield the missed levels of a step, the most important first."""
    for name, traffic in step.endpoints.items():
        if wrong := traffic.errors.get(WRONG_CONTENT, 0):
            yield Breach(name, WRONG_CONTENT, wrong, 0)
    if (achieved := step.whole.achieved) < levels.achieved:
        yield Breach(None, "achieved", achieved, levels.achieved)
    for name, traffic in step.endpoints.items():
        own = levels.of(name)
        found = [
            ("error_share", traffic.error_share, own.error_share),
            ("shed_share", traffic.shed_share, own.shed_share),
            *_percentiles(traffic, own),
        ]
        for figure, measured, limit in found:
            if measured > limit:
                yield Breach(name, figure, measured, limit)


def _step_doubts(step: StepSummary) -> Iterator[Doubt]:
    at = f"At {step.users:,.0f} users"
    for process in step.processes:
        yield from _process_doubts(process, step.duration, at)
    if not step.processes:
        yield Doubt("generator_unknown", f"{at} no generator process left samples.", True)
    planned = step.whole.planned
    # Reads without a picture follow from failed uploads, which are the server's.
    offered = planned + step.whole.withdrawn
    minimum = MIN_OFFERED * step.target - CHANCE * math.sqrt(step.target)
    if offered < minimum or not step.target:
        text = f"{at} {offered:,} requests were offered where the model asks for {step.target:,.0f}."
        yield Doubt("target_not_offered", text)
    elif planned < MIN_ANSWERS["p95"]:
        text = f"{at} only {planned:,} requests were made: too few to judge."
        yield Doubt("too_few_requests", text)


def _process_doubts(process: GeneratorProcess, duration: int, at: str) -> Iterator[Doubt]:
    name = f"the generator process {process.name}"
    if process.cpu > MAX_CPU:
        text = f"{at} {name} used {process.cpu:.0%} of its core, more than {MAX_CPU:.0%}."
        yield Doubt("generator_busy", text, True)
    if process.lag > MAX_LAG or process.late_seconds > _FORGIVEN + MAX_LATE * duration:
        text = f"{at} {name} started requests up to {process.lag * 1000:,.0f} ms late"
        text += f", more than {LATE * 1000:.0f} ms in {process.late_seconds:,} s of {duration:,}."
        yield Doubt("generator_late", text, True)
    if process.silence > MAX_SILENCE:
        text = f"{at} {name} gave no sign of life for {process.silence:,.0f} s."
        yield Doubt("generator_silent", text, True)
    if process.went_back:
        yield Doubt("clock_jumped", f"{at} the clock of {name} went back.", True)


def _run_doubts(summary: Summary) -> Iterator[Doubt]:
    if summary.ended_at is None:
        yield Doubt("cut_off", "The run was cut off before its end.")
    if not summary.measured:
        yield Doubt("nothing_measured", "The run has no measured step.")
    if len(summary.processes) < summary.run.workers:
        text = f"{len(summary.processes)} of {summary.run.workers} generator processes left a record."
        yield Doubt("generator_missing", text)
    starts = [each.started_at for each in summary.servers if each.started_at is not None]
    if starts and max(starts) - min(starts) > RESTART:
        yield Doubt("server_restarted", "The server was restarted during the run.", True)
    yield from _clock_doubts(summary.servers)


def _clock_doubts(servers: Sequence[ServerSample]) -> Iterator[Doubt]:
    readings = [each.clock_offset for each in servers if each.clock_offset is not None]
    if not readings:
        return
    # A slow response makes a single reading late; medians ignore it.
    width = min(_READINGS, len(readings))
    offsets = [statistics.median(readings[at : at + width]) for at in range(len(readings) - width + 1)]
    worst = max(offsets, key=abs)
    if abs(worst) > MAX_OFFSET:
        text = f"The clocks of server and generator are {abs(worst):,.1f} s apart."
        yield Doubt("clock_offset", text, True)
    elif (drift := max(offsets) - min(offsets)) > MAX_DRIFT:
        text = f"A clock jumped: server and generator moved {drift:,.1f} s apart."
        yield Doubt("clock_jumped", text, True)


def _users(judged: Judged) -> float:
    return judged.step.users
