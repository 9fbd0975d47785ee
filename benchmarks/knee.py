"""Where the load test finds the knee, and where the capacity model predicts it; both on one core.

`persona-profile serve` as in production and its picture workers have one core, the generator has
another; a MariaDB of its own shares the first, or with `--database apart` the second. First the costs
of activities are measured (`activity_cost`), and the model predicts the knee from them. Then the shape
`steps` looks for it, several times, with other people and pictures each time.

Prints each step: what it used of the core, and what limited it.

    python benchmarks/knee.py [--runs 3] [--processes 2] [--database apart]
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from activity_cost import Bench, measured
from deployment import Deployment, deployment
from metering import ALL, Meter

from loadtest import identities, run
from loadtest.generator.conductor import STEP_LEVELS, meets_levels
from loadtest.record import GeneratorSample, Second, Step, Traffic, percentile, read
from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import ACTIVITIES, UPLOADS, Parameters, knee

SERVER_CORE: Final = 1
GENERATOR_CORE: Final = 0
FIRST_STEP: Final = 0.9
"""Of the prediction."""

GROWTH: Final = 1.11
WARM_UP: Final = 6


class Found(NamedTuple):
    """A measured step.

    Attributes:
        users: active users.
        met: whether it met the levels of `STEP_LEVELS`.
        cores: in use: by the service with its workers, the database, all on the server's core, the
            generator.
        late: the 95th percentile over its level, of dialogs and of uploads.
        lost: shares of dialogs and of uploads without a right answer.
    """

    users: float
    met: bool
    cores: tuple[float, ...]
    late: tuple[float, ...]
    lost: tuple[float, ...]


def steps_of(record: Path, meter: Meter) -> list[Found]:
    """Return the measured steps of a record."""
    lines = list(read(record))
    steps = sorted((each for each in lines if isinstance(each, Step)), key=lambda each: each.at)
    found = []
    for step, following in itertools.pairwise(steps):
        if not step.is_measured:
            continue
        seconds = [
            each for each in lines if isinstance(each, Second) and step.at <= each.at < following.at
        ]
        groups = defaultdict(list)
        for each in seconds:
            groups["upload" if each.endpoint in UPLOADS else each.endpoint].append(each)
        traffic = [Traffic.of(groups[name]) for name in ("dialog_open", "upload")]
        late = tuple(
            (percentile(each.latencies, 0.95) or 0) / 1000 / STEP_LEVELS[name].seconds
            for each, name in zip(traffic, ("dialog_open", "upload"), strict=True)
        )
        used = meter.between(step.at, following.at)
        samples = [
            each.cpu
            for each in lines
            if isinstance(each, GeneratorSample) and step.at <= each.at < following.at
        ]
        generator = sum(samples) / len(samples)
        cores = (used["server"], used["database"], used[ALL], generator)
        lost = tuple(1 - each.achieved for each in traffic)
        found.append(Found(step.users, meets_levels(seconds), cores, late, lost))
    return sorted(found)


def look(found: Deployment, folder: Path, prediction: float, seed: int, measured: float) -> list[Found]:
    """Look for the knee by the people and pictures of a folder; return the steps."""
    arguments = ["--shape", "steps", "--users-active", str(prediction * FIRST_STEP)]
    arguments += ["--growth", str(GROWTH), "--warm-up", str(WARM_UP), "--measured", str(measured)]
    arguments += ["--server-pid", str(found.service.pid), "--max-steps", "8"]
    arguments += ["--seed", str(seed)]
    record = folder / f"record-{seed}"
    meter = Meter({"server": found.service.pid, "database": found.database.pid}, f"cpu{SERVER_CORE}")
    with meter.running():
        status = run.locust(folder, record, found.service.origin, arguments, 1)
    assert status == 0, status
    return steps_of(record, meter)


def print_costs(costs: Costs) -> None:
    """Print the costs of activities."""
    mix = Parameters().mix
    print("processor milliseconds per request, under load: of the service, workers, database")
    for activity in ACTIVITIES:
        cost = costs.of(activity, mix)
        parts = (cost.service_seconds, cost.worker_seconds, cost.database_seconds)
        print(f"  {activity:14}", *(f"{1000 * part:8.2f}" for part in parts))


def print_run(found: Sequence[Found], prediction: float) -> None:
    """Print the steps of a run, levels of dialogs and of uploads, and the knee over the prediction."""
    print("\n      users  met    cores: service, database, all, generator; p95 over level (lost)")
    for step in found:
        cores = " ".join(f"{part:.2f}" for part in step.cores)
        late = "   ".join(
            f"{late:.2f} ({lost:.1%})" for late, lost in zip(step.late, step.lost, strict=True)
        )
        print(f"{step.users:11,.0f}  {step.met!s:5}  {cores}   {late}")
    broken = min((step.users for step in found if not step.met), default=math.inf)
    carried = max((step.users for step in found if step.met and step.users < broken), default=0)
    measured = (carried + broken) / 2
    print(
        f"carried {carried:,.0f}, broke at {broken:,.0f}: knee {measured:,.0f}, "
        f"{measured / prediction:.2f} of the prediction",
        flush=True,
    )


def main() -> None:
    """Measure, predict, look for the knee, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="of the service")
    parser.add_argument("--database", choices=("beside", "apart"), default="beside")
    parser.add_argument("--measured", type=float, default=45, help="seconds of a step")
    options = parser.parse_args()
    is_beside = options.database == "beside"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people = folder / "identities"
        identities.make(people, users=options.people)
        identities.mint(people)
        (folder / "pictures").symlink_to(options.pictures.resolve())
        os.sched_setaffinity(0, {GENERATOR_CORE})
        with deployment(
            folder / "server",
            people / "pinned-issuers.json",
            *("--processes", str(options.processes)),
            cores={SERVER_CORE},
            database_cores={SERVER_CORE if is_beside else GENERATOR_CORE},
        ) as found:
            costs = measured(Bench(found, people, options.pictures, 4))
            print_costs(costs)
            prediction = knee(
                1,
                Parameters(),
                costs,
                processes=options.processes,
                with_database=is_beside,
                upload_seconds=STEP_LEVELS["upload"].seconds,
            )
            print(f"predicted: {prediction:,.0f} users", flush=True)
            for seed in range(1, options.runs + 1):
                steps = look(found, folder, prediction, seed, options.measured)
                print_run(steps, prediction)


if __name__ == "__main__":
    main()
