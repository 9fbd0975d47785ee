"""Where the load test finds the knee, and where the capacity model predicts it; both on one core.

`persona-profile serve`, its picture workers and a MariaDB of its own have one core, the generator has
another. First the processor time of each activity is measured, one activity at a time, and the model
predicts the knee from it. Then the shape `steps` looks for the knee. What others take of the server's
core in the meantime is reported too, and the prediction is repeated for what was left of it.

    python benchmarks/knee.py --pictures var/loadtest/pictures
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import gevent.pool

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from metering import ALL, Meter
from support.servers.mariadb import MariaDB
from support.servers.services import Service

from loadtest import identities, run
from loadtest.generator.conductor import meets_levels
from loadtest.generator.engine import Engine
from loadtest.generator.plan import kinds
from loadtest.pictures import PictureLibrary
from loadtest.record import Second, Step, read
from persona_profile.capacity.model import ACTIVITIES, UPLOADS, Parameters, rates

SERVER_CORE = 1
GENERATOR_CORE = 0
TIMES = {"dialog_open": 600, "picture_read": 1500, "edit": 300, "export": 100, "erase": 40}
UPLOADS_MEASURED = 60
AT_ONCE = 2

Used = Mapping[str, float]
"""Processor time by name: of the server, of its database, of all on their core."""


def measured_costs(meter: Meter, service: Service, people: Path, pictures: Path) -> dict[str, Used]:
    """Return the processor time of one request of each activity; uploads in the model's mix."""
    library = PictureLibrary.open(pictures, kinds())
    users = identities.Identities.open(people)
    engine = Engine("costs", service.origin, service.origin, users, library, lambda *_: None)
    everything = rates(Parameters(), 1)
    engine.prepare(7, 0, 1, everything, launch=False)
    found = {}
    for activity in ("dialog_open", "picture_read", "edit", "export", "replacement", "erase"):
        times = UPLOADS_MEASURED if activity == "replacement" else TIMES[activity]
        only = {each: float(each == activity) for each in ACTIVITIES}
        arrivals = engine.plan.arrivals(only)
        # The first ones fill caches.
        gevent.pool.Pool(AT_ONCE).map(engine.perform_now, [next(arrivals) for _ in range(times // 10)])
        list(engine.tally.rest())
        before = meter.look()
        gevent.pool.Pool(AT_ONCE).map(engine.perform_now, [next(arrivals) for _ in range(times)])
        after = meter.look()
        seconds = engine.tally.rest()
        right = sum(sum(each.latencies.values()) for each in seconds)
        assert right >= 0.95 * times, (activity, right, [each.errors for each in seconds])
        found[activity] = {name: (after[name] - before[name]) / right for name in after}
    for upload in UPLOADS:
        found[upload] = found["replacement"]
    return found


def predicted(costs: dict[str, Used]) -> float:
    """Return the users whose mean rates take one core."""
    of_one = rates(Parameters(), 1)
    return 1 / sum(of_one[each] * _of_both(costs[each]) for each in ACTIVITIES)


def _of_both(used: Used) -> float:
    return used["server"] + used["database"]


class Found(NamedTuple):
    """A measured step: whether it met the levels, and what was used of the core meanwhile."""

    users: float
    met: bool
    right: float
    used: Used


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
        planned = sum(each.planned for each in seconds)
        right = sum(sum(each.latencies.values()) for each in seconds)
        met = right >= 0.99 * planned and meets_levels(seconds)
        used = meter.between(step.at, following.at)
        found.append(Found(step.users, met, right / planned, used))
    return found


def report(costs: dict[str, Used], found: list[Found]) -> None:
    """Print what was predicted and what was found."""
    print("processor milliseconds per request: of the server with its workers, of the database")
    for activity in ACTIVITIES:
        cost = costs[activity]
        print(f"  {activity:14} {1000 * cost['server']:8.2f} {1000 * cost['database']:8.2f}")
    print("\nusers      met   right   cores used: server, database, others; served per core")
    for step in found:
        used = step.used
        others = used[ALL] - _of_both(used)
        print(
            f"{step.users:9.0f}  {step.met!s:5} {step.right:6.3f}"
            f"   {used['server']:.3f} {used['database']:.3f} {others:.3f}"
            f"   {step.right * step.users / _of_both(used):.0f}"
        )
    carried = max((step.users for step in found if step.met), default=0.0)
    broken = [step for step in found if not step.met and step.users > carried]
    prediction = predicted(costs)
    print(f"\npredicted, on a whole core: {prediction:.0f} users")
    print(f"carried: {carried:.0f} users, {carried / prediction:.2f} of it")
    if broken:
        lowest = min(broken, key=lambda step: step.users)
        share = _of_both(lowest.used)
        knee = (carried + lowest.users) / 2
        print(
            f"broke at {lowest.users:.0f} users: the knee is at {knee:.0f}, "
            f"{knee / prediction:.2f} of it"
        )
        print(f"of the core there was left {share:.3f}: predicted for that {share * prediction:.0f}")
        print(f"knee / prediction for what was left: {knee / (share * prediction):.2f}")


def main() -> None:
    """Measure, predict, look for the knee, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--measured", type=float, default=40, help="seconds of a step")
    parser.add_argument("--from-share", type=float, default=0.4, help="of the prediction: first step")
    parser.add_argument("--nice", type=int, default=0, help="against other sessions (autogroup)")
    options = parser.parse_args()
    if options.nice:
        # Of processes that others have started, Linux weighs sessions, not single ones.
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(options.nice))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        identities.make(folder / "identities", users=options.people)
        identities.mint(folder / "identities")
        os.sched_setaffinity(0, {SERVER_CORE})
        database = MariaDB(folder)
        database.install()
        database.start()
        issuers = folder / "identities" / "pinned-issuers.json"
        more = f"browserid.pinned_issuers = {issuers}"
        service = Service(folder / "service", "mysql", database.url, more=more)
        try:
            database.create_database()
            service.start()
            os.sched_setaffinity(0, {GENERATOR_CORE})
            pids = {"server": service.pid, "database": int((folder / "pid").read_text())}
            meter = Meter(pids, f"cpu{SERVER_CORE}")
            costs = measured_costs(meter, service, folder / "identities", options.pictures)
            prediction = predicted(costs)
            print(json.dumps({"predicted": round(prediction)}), flush=True)
            arguments = ["--shape", "steps", "--users-active", str(prediction * options.from_share)]
            arguments += ["--warm-up", "6", "--measured", str(options.measured)]
            arguments += ["--server-pid", str(service.pid), "--max-steps", "8"]
            (folder / "pictures").symlink_to(options.pictures.resolve())
            record = folder / "record"
            with meter.running():
                status = run.locust(folder, record, service.origin, arguments, 1)
            assert status == 0, status
            report(costs, steps_of(record, meter))
        finally:
            service.close()
            database.stop()


if __name__ == "__main__":
    main()
