"""The record of a run, which the verdict reads: one JSON object a line.

Lines are only appended, so that an interrupted run leaves a record too. Every process of the
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
"""Ratio of neighbouring buckets: a latency is known to within 5 %."""


def bucket(milliseconds: float) -> int:
    """Return the histogram's bucket of a latency: number n holds up to 1.05 ** n milliseconds."""
    return max(0, math.ceil(math.log(max(milliseconds, 1e-3), BUCKET_RATIO)))


def upper_bound(number: int) -> float:
    """Return the largest latency of a bucket, in milliseconds."""
    return float(BUCKET_RATIO**number)


def percentile(latencies: Mapping[int, int], share: float) -> float | None:
    """Return the latency in ms that a share of responses did not exceed, or None without any.

    The nearest rank, rounded up to its bucket: at most 5 % too large, never too small.
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
    """The parameters of a run; the leader writes them once.

    Attributes:
        host: origin of the server.
        seed: of the sequence of users and pictures.
        workers: processes of the load generator.
        server_version: document of the server's `/__version__`.
        parameters: of the capacity model that differ from its defaults.
        peak: factor of the model's mean rates; 1 for the mean of a day.
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
    """The start of a number of active users; the leader writes it.

    Attributes:
        users: active users.
        rates: arrivals per second by activity of the capacity model, `Run.peak` times the mean.
        is_measured: false while a run warms up, changes over, or ends.
    """

    kind: ClassVar[str] = "step"
    at: float
    users: float
    rates: Mapping[str, float]
    is_measured: bool


@dataclass(slots=True)
class Second:
    """The requests of one process to one endpoint, by the second of their planned start.

    Attributes:
        at: the second, a whole number.
        endpoint: an activity of the capacity model.
        latencies: of right responses, from the planned start to the last byte: count by `bucket`.
        errors: counts by code: a problem code, `status_500`, `connection_refused`,
            `timeout`, `wrong_content`, ...
        shed: 503 and 429 with Retry-After, in no other count.
        repeated: requests that were sent again after such an answer; the last answer counts.
        withdrawn: reads that were not sent and are in no other count, as the upload of their picture
            had failed or not ended.
        sent, received: bytes of bodies.
    """

    kind: ClassVar[str] = "second"
    at: float
    endpoint: str
    planned: int = 0
    latencies: dict[int, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    shed: int = 0
    sent: int = 0
    received: int = 0
    withdrawn: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Traffic:
    """The sum of requests and their outcomes; the members are those of `Second`."""

    planned: int
    latencies: Mapping[int, int]
    errors: Mapping[str, int]
    shed: int
    withdrawn: int
    repeated: int

    @classmethod
    def of(cls, seconds: Iterable[Second | Traffic]) -> Self:
        """Return the sum of seconds, or of sums."""
        planned = shed = withdrawn = repeated = 0
        latencies: Counter[int] = Counter()
        errors: Counter[str] = Counter()
        for each in seconds:
            planned += each.planned
            shed += each.shed
            withdrawn += each.withdrawn
            repeated += each.repeated
            latencies.update(each.latencies)
            errors.update(each.errors)
        return cls(planned, dict(latencies), dict(errors), shed, withdrawn, repeated)

    @cached_property
    def right(self) -> int:
        """Right responses."""
        return sum(self.latencies.values())

    @cached_property
    def failed(self) -> int:
        """Errors of all kinds."""
        return sum(self.errors.values())

    @property
    def achieved(self) -> float:
        """Right responses over planned requests; 1 if none were planned."""
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
    """A sample of a process of the load generator.

    Attributes:
        cpu: used share of one core, since the last sample.
        lag: longest delay of a start behind its plan, in seconds.
    """

    kind: ClassVar[str] = "generator"
    at: float
    process: str
    cpu: float
    lag: float


@dataclass(frozen=True, slots=True)
class ServerSample:
    """A sample of the server and its machine; counters go from the server's start.

    Attributes:
        started_at: start of its main process; another value means a restart.
        cpu_seconds: of all processes, picture workers included; None if unknown.
        resident_bytes: of all its processes; None if unknown.
        metrics: samples of its `/metrics` by name and labels, without buckets.
        clock_offset: its `Date` less this machine's clock, in seconds; None if unknown.
        cores: number that it may use; None if unknown.
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
    """The end of a complete run; an interrupted run has none."""

    kind: ClassVar[str] = "end"
    at: float


RecordLine = Run | Step | Second | GeneratorSample | ServerSample | End
_KINDS: Final = {each.kind: each for each in (Run, Step, Second, GeneratorSample, ServerSample, End)}


class InvalidRecord(ValueError):
    """A folder has no valid record of a run; the message names file and line."""


class Writer:
    """The file of one process, to which lines are appended."""

    def __init__(self, folder: Path, process: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{process}.jsonl").open("a", encoding="utf-8")

    def write(self, line: RecordLine) -> None:
        """Append a line and flush it to the file."""
        self._file.write(json.dumps(document_of(line), separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(folder: Path) -> Iterator[RecordLine]:
    """Yield the lines of all processes, file after file; an incomplete last line is ignored.

    Raises:
        InvalidRecord: there is none, or a line is invalid.
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


def document_of(line: RecordLine) -> dict[str, Any]:
    """Return a line as a JSON object."""
    return {"kind": line.kind, **asdict(line)}


def line_of(document: dict[str, Any]) -> RecordLine:
    """Return the line of a JSON object.

    Raises:
        KeyError, TypeError: it is something else.
    """
    kind = _KINDS[document.pop("kind")]
    if kind is Second:
        document["latencies"] = {int(number): count for number, count in document["latencies"].items()}
    return kind(**document)
