"""What a run writes down while it goes on, and the verdict reads: one JSON object a line.

Lines are only ever added, so a run that was cut off leaves what it saw until then. Every process of the
load generator writes a file of its own (`PROCESS.jsonl`) into the run's folder; instants are seconds
since 1970 by the writer's clock.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Self

BUCKET_RATIO: Final = 1.05
"""Each latency is known to within 5 %: buckets of a histogram grow by that."""


def bucket(milliseconds: float) -> int:
    """Return the histogram's bucket of a latency: number n holds up to 1.05 ** n milliseconds."""
    return max(0, math.ceil(math.log(max(milliseconds, 1e-3), BUCKET_RATIO)))


def upper_bound(number: int) -> float:
    """Return the largest latency of a bucket, in milliseconds."""
    return float(BUCKET_RATIO**number)


def percentile(latencies: Mapping[int, int], share: float) -> float | None:
    """Return the latency that a share of answers did not exceed, in ms; None if there are none.

    It is the nearest rank's, rounded up to its bucket: at most 5 % too large, never too small.
    """
    total = sum(latencies.values())
    rank = max(1, math.ceil(share * total - 1e-9))
    seen = 0
    for number in sorted(latencies):
        seen += latencies[number]
        if seen >= rank:
            return upper_bound(number)
    return None


@dataclass(frozen=True, slots=True)
class Run:
    """What was to be done; written once, by the process that leads.

    Attributes:
        shape: `smoke`, `average`, `steps`, `spike`, `soak` or `launch`.
        host: origin of the server.
        seed: of the sequence of users and pictures.
        workers: processes that make the load.
        server_version: what the server's `/__version__` answered.
        parameters: of the capacity model, those that differ from its defaults.
        peak: by which the model's mean rates were multiplied; 1 for a steady load of the day's mean.
    """

    kind: ClassVar[str] = "run"
    at: float
    shape: str
    host: str
    seed: int
    workers: int
    server_version: Mapping[str, Any]
    parameters: Mapping[str, float]
    peak: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """From now on so many users are active; written by the process that leads.

    Attributes:
        users: active users that the rates stand for.
        rates: arrivals per second by activity of the capacity model, `Run.peak` times the mean.
        is_measured: false while a run warms up, changes over, or ends.
    """

    kind: ClassVar[str] = "step"
    at: float
    users: float
    rates: Mapping[str, float]
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Second:
    """What one process asked of one endpoint, and got, in one second of planned starts.

    Attributes:
        at: the second, a whole number: that in which the requests were planned to start.
        endpoint: an activity of the capacity model.
        planned: requests that were to start.
        latencies: of answers that were right, from the planned start to the last byte: count by
            `bucket`.
        errors: counts by what went wrong: a problem code, `status_500`, `connection_refused`,
            `timeout`, `wrong_content`, ...
        shed: 503 and 429 with Retry-After, in no other count.
        withdrawn: requests that were not sent, and are in no other count, as what they were to read is
            not there: an upload before had failed, or has not ended.
        sent: bytes of bodies.
        received: bytes of bodies.
    """

    kind: ClassVar[str] = "second"
    at: float
    endpoint: str
    planned: int
    latencies: Mapping[int, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    shed: int = 0
    sent: int = 0
    received: int = 0
    withdrawn: int = 0


@dataclass(frozen=True)
class Traffic:
    """What was asked, and what came of it.

    Attributes:
        planned: requests that were to start.
        latencies: of right answers, by bucket.
        errors: counts by what went wrong.
        shed: answers of 503 or 429 that said when to come back.
        withdrawn: reads that were not made, and not planned, as an upload had failed or not ended.
    """

    planned: int
    latencies: Mapping[int, int]
    errors: Mapping[str, int]
    shed: int
    withdrawn: int

    @classmethod
    def of(cls, seconds: Iterable[Second | Traffic]) -> Self:
        """Add up seconds, or what was added up before."""
        planned = shed = withdrawn = 0
        latencies: Counter[int] = Counter()
        errors: Counter[str] = Counter()
        for each in seconds:
            planned += each.planned
            shed += each.shed
            withdrawn += each.withdrawn
            latencies.update(each.latencies)
            errors.update(each.errors)
        return cls(planned, dict(latencies), dict(errors), shed, withdrawn)

    @cached_property
    def right(self) -> int:
        """Answers that were right."""
        return sum(self.latencies.values())

    @cached_property
    def failed(self) -> int:
        """Errors of all kinds."""
        return sum(self.errors.values())

    @property
    def answered(self) -> int:
        """Requests of which it is known what came of them."""
        return self.right + self.failed + self.shed

    @property
    def achieved(self) -> float:
        """Right answers over planned requests; 1 if none were planned."""
        return self.right / self.planned if self.planned else 1.0

    @property
    def error_share(self) -> float:
        """Errors over planned requests."""
        return self.failed / self.planned if self.planned else 0.0

    @property
    def shed_share(self) -> float:
        """Shed requests over planned ones."""
        return self.shed / self.planned if self.planned else 0.0


@dataclass(frozen=True, slots=True)
class GeneratorSample:
    """How a process of the load generator fared in the second before.

    Attributes:
        cpu: share of one core that it used.
        lag: seconds by which the latest request started after it was planned to.
    """

    kind: ClassVar[str] = "generator"
    at: float
    process: str
    cpu: float
    lag: float


@dataclass(frozen=True, slots=True)
class ServerSample:
    """What the server told, or the machine of it: cumulative, from the server's start.

    Attributes:
        started_at: when its processes started; another value is a restart.
        cpu_seconds: of all its processes, picture workers included; None if unknown.
        resident_bytes: of all its processes; None if unknown.
        metrics: figures of its `/metrics`, by name and labels as they stand there, without buckets.
        clock_offset: its `Date` less this machine's clock, in seconds; None if unknown.
        cores: of its machine that it may use; None if unknown.
    """

    kind: ClassVar[str] = "server"
    at: float
    started_at: float | None
    cpu_seconds: float | None
    resident_bytes: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    clock_offset: float | None = None
    cores: float | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The run was brought to its end; without it, it was cut off."""

    kind: ClassVar[str] = "end"
    at: float


RecordLine = Run | Step | Second | GeneratorSample | ServerSample | End
_KINDS: Final = {each.kind: each for each in (Run, Step, Second, GeneratorSample, ServerSample, End)}


class InvalidRecord(ValueError):
    """A folder holds no record of a run; the message says which line of which file."""


class Writer:
    """Adds lines to the file of one process."""

    def __init__(self, folder: Path, process: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{process}.jsonl").open("a", encoding="utf-8")

    def write(self, line: RecordLine) -> None:
        """Add a line; it is in the file when this returns."""
        document = {"kind": line.kind, **asdict(line)}
        self._file.write(json.dumps(document, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()


def read(folder: Path) -> Iterator[RecordLine]:
    """Give the lines of all processes, file after file; a last line that was cut off is left away.

    Raises:
        InvalidRecord: there is none, or a line is something else.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise InvalidRecord(f"{folder}: holds no record of a run")
    for path in files:
        text = path.read_text("utf-8")
        for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
            try:
                yield line_of(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InvalidRecord(f"{path}, line {number}: {error}") from None


def line_of(document: dict[str, Any]) -> RecordLine:
    """Return the line that a JSON object says.

    Raises:
        KeyError, TypeError: it is something else.
    """
    kind = _KINDS[document.pop("kind")]
    if kind is Second:
        document["latencies"] = {int(number): count for number, count in document["latencies"].items()}
    return kind(**document)
