"""Records of runs that never were, with latencies as a real server has them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadtest.record import (
    End,
    GeneratorSample,
    RecordLine,
    Run,
    Second,
    ServerSample,
    Step,
    Writer,
    bucket,
)
from persona_profile.capacity.model import Parameters, rates

START = 1_790_000_000.0
MEDIANS = {"dialog_open": 25, "picture_read": 4, "edit": 15, "export": 60, "erase": 15}
UPLOAD_MEDIAN = 350
SECONDS_PER_REQUEST = 0.008
CORES = 2.0

Change = Callable[[RecordLine], RecordLine | None]


@dataclass
class Recorded:
    """A run to be written down.

    Attributes:
        users: of each measured step.
        seconds: of each, after `warm_up` seconds that are not measured.
        warm_up: see there.
        slowness: by which latencies and processor time are multiplied.
        seed: of chance.
        workers: processes of the generator.
        change: is given each line, and returns the one to be written, or None.
        has_end: whether the run came to its end.
        run: members of `Run` that are others.
    """

    users: Sequence[float] = (500_000,)
    seconds: int = 60
    warm_up: int = 5
    slowness: float = 1.0
    seed: int = 1
    workers: int = 2
    change: Change = field(default=lambda line: line)
    has_end: bool = True
    run: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the record, and return its folder."""
        draw = random.Random(self.seed)
        lines: dict[str, list[RecordLine]] = {"main": [], **{name: [] for name in self._workers}}
        run = Run(START, "steps", "http://127.0.0.1:6543", 7, self.workers, {"version": "0.1.0"}, {})
        lines["main"].append(replace(run, **self.run))
        at, spent = START + 0.4, 100.0
        for users in self.users:
            asked = rates(Parameters(), users)
            for is_measured, length in ((False, self.warm_up), (True, self.seconds)):
                lines["main"].append(Step(at, users, asked, is_measured))
                for second in range(math.ceil(at), math.ceil(at + length)):
                    spent = self._second(draw, lines, second, asked, spent)
                at += length
        if self.has_end:
            lines["main"].append(End(at))
        for name, own in lines.items():
            writer = Writer(folder, name)
            for line in own:
                changed = self.change(line)
                if changed is not None:
                    writer.write(changed)
            writer.close()
        return folder

    @property
    def _workers(self) -> list[str]:
        return [f"worker-{number}" for number in range(self.workers)]

    def _second(
        self,
        draw: random.Random,
        lines: dict[str, list[RecordLine]],
        second: int,
        asked: Mapping[str, float],
        spent: float,
    ) -> float:
        """Add the metrics of a second; return the server's processor seconds after it."""
        utilisation = sum(asked.values()) * SECONDS_PER_REQUEST * self.slowness / CORES
        waiting = 1 / max(0.02, 1 - utilisation)
        answers = 0
        for name in self._workers:
            for endpoint, rate in asked.items():
                planned = _poisson(draw, rate / self.workers)
                answers += planned
                median = MEDIANS.get(endpoint, UPLOAD_MEDIAN) * self.slowness * waiting
                latencies = Counter(
                    bucket(median * draw.lognormvariate(0, 0.4)) for _ in range(planned)
                )
                if planned:
                    lines[name].append(Second(float(second), endpoint, planned, dict(latencies)))
            lines[name].append(GeneratorSample(second + 0.9, name, draw.uniform(0.3, 0.45), 0.004))
        spent += min(CORES, answers * SECONDS_PER_REQUEST * self.slowness * draw.uniform(0.95, 1.05))
        lines["main"].append(
            ServerSample(
                second + 1.0,
                START - 50,
                spent,
                2.5e8 + 1e5 * (second - START),
                {
                    'persona_http_requests_total{route="/v1/sessions",status="201"}': 100 * spent,
                    'persona_http_problems_total{code="busy",status="503"}': 0.0,
                    'persona_storage_retries_total{reason="transient"}': second - START,
                    "persona_picture_uploads_queued": float(draw.randint(0, 3)),
                },
                draw.uniform(-0.9, 0.1),
                CORES,
            )
        )
        return spent


def _poisson(draw: random.Random, mean: float) -> int:
    """Count the arrivals of a second."""
    count, at = 0, draw.expovariate(1)
    while at < mean:
        count, at = count + 1, at + draw.expovariate(1)
    return count
