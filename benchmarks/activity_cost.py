"""What each activity of the capacity model costs a real server: processor time, bytes, statements.

`persona-profile serve` as in production, on a MariaDB of its own, asked by the load test's generator.
Service and database share a core, the generator has the others. First each activity alone, over a few
connections; then all in the model's mix at a rate of their own, as people come. There each part takes
longer than alone, as they compete for caches and interrupt each other: the costs are those alone times
that factor of service, workers and database.

The median of the rounds, as JSON for `persona-profile model --costs FILE`.

    python benchmarks/activity_cost.py > costs.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.pool

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from deployment import Deployment, Used, deployment

from backends import Put
from backends.engines.mysql import MysqlBackend
from loadtest import identities
from loadtest.generator.engine import Engine
from loadtest.generator.plan import Arrival, kinds
from loadtest.pictures import KINDS, PictureLibrary
from loadtest.record import Second
from persona_profile.capacity.costs import MEASURED_ACTIVITIES, PICTURE_KINDS, Cost, Costs
from persona_profile.capacity.model import ACTIVITIES, Parameters, knee, rates

TIMES: Final = {"dialog_open": 1000, "picture_read": 2000, "edit": 400, "export": 150, "erase": 40}
UPLOADS_OF_A_KIND: Final = {"jpeg_12mp": 60}
FEW_UPLOADS: Final = 16
NAMES: Final = dict(zip(PICTURE_KINDS, (kind.name for kind in KINDS), strict=True))
"""The load test's kinds of pictures by the model's."""

SECONDS_OF_MIX: Final = 60.0
SHARE_OF_KNEE: Final = 0.8
"""The rate of the mix, over the one that uses a whole core if activities cost what they do alone."""

UPLOADS_AT_ONCE: Final = 2
"""More would wait for a worker."""

HOMES: Final = b"\x01"
"""First byte of the partitions of profiles; marks of used proofs come before."""

COPIES: Final = 500


class Bench:
    """Measures activities of a deployment, whose users and pictures are prepared.

    Args:
        found: it runs, and nobody else asks it.
        people: folder of identities.
        pictures: folder of the load test's pictures.
        connections: requests under way at a time.
    """

    def __init__(self, found: Deployment, people: Path, pictures: Path, connections: int) -> None:
        self.deployment = found
        self.library = PictureLibrary.open(pictures, kinds())
        self._connections = connections
        users, origin = identities.Identities.open(people), found.service.origin
        self._engine = Engine("costs", origin, origin, users, self.library, lambda *_: None)
        self._engine.prepare(7, 0, 1, rates(Parameters(), 1), launch=False)

    def alone(self) -> dict[str, dict[str, Cost]]:
        """Return the cost of each activity, and of an upload of each kind, measured one at a time."""
        uploads = {}
        for kind, name in NAMES.items():
            times = UPLOADS_OF_A_KIND.get(kind, FEW_UPLOADS)
            uploads[kind] = self._measure(self._uploads(name), times, UPLOADS_AT_ONCE)
        activities = {
            activity: self._measure(self._arrivals(activity), TIMES[activity], self._connections)
            for activity in MEASURED_ACTIVITIES
            if activity != "erase"
        }
        # Last: others need what is erased.
        activities["erase"] = self._measure(self._arrivals("erase"), TIMES["erase"], self._connections)
        return {"activities": activities, "uploads": uploads}

    def mixed(self, costs: Costs, arrivals_per_second: float, seconds: float) -> Used:
        """Return what the model's mix used for some seconds, over the sum of its costs."""
        before = self.deployment.used()
        self._engine.change(time.time(), arrivals_per_second)
        runner = gevent.spawn(self._engine.run)
        gevent.sleep(seconds)
        self._engine.change(time.time(), 0.0)
        while self._engine.tally.in_flight:
            gevent.sleep(0.05)
        used = self.deployment.used().since(before)
        self._engine.end()
        runner.join()
        done: Counter[str] = Counter()
        for each in self._engine.tally.rest():
            done[each.endpoint] += sum(each.latencies.values())
        mix = Parameters().mix
        sums = [
            math.fsum(count * getattr(costs.of(name, mix), part) for name, count in done.items())
            for part in ("service_seconds", "worker_seconds", "database_seconds")
        ]
        return Used(*(part / alone for part, alone in zip(used, sums, strict=True)))

    def give_pictures(self) -> None:
        """Give emails a picture of a phone."""
        uploads = self._uploads(NAMES["jpeg_12mp"], "first_upload")
        self._perform(itertools.islice(uploads, FEW_UPLOADS), UPLOADS_AT_ONCE)

    def _arrivals(self, activity: str) -> Iterable[Arrival]:
        return self._engine.plan.arrivals({each: float(each == activity) for each in ACTIVITIES})

    def _uploads(self, kind: str, activity: str = "replacement") -> Iterable[Arrival]:
        library = self.library
        for each in self._arrivals(activity):
            number = next(
                number
                for number in itertools.count(each.picture or 0)
                if library.picture(number).kind.name == kind
            )
            yield dataclasses.replace(each, picture=number)

    def _measure(self, arrivals: Iterable[Arrival], times: int, at_once: int) -> Cost:
        """Perform arrivals; return what each cost."""
        arrivals = iter(arrivals)
        # The first ones fill caches.
        self._perform(itertools.islice(arrivals, max(2, times // 10)), at_once)
        work = list(itertools.islice(arrivals, times))
        before, asked = self.deployment.used(), self._statements()
        seconds = self._perform(work, at_once)
        used, statements = self.deployment.used().since(before), self._statements() - asked - 1
        right = sum(sum(each.latencies.values()) for each in seconds)
        assert right >= 0.95 * times, [(each.endpoint, each.errors, each.shed) for each in seconds]
        return Cost(
            *(part / right for part in used),
            statements / right,
            sum(each.sent for each in seconds) / right,
            sum(each.received for each in seconds) / right,
        )

    def _perform(self, arrivals: Iterable[Arrival], at_once: int) -> list[Second]:
        gevent.pool.Pool(at_once).map(self._engine.perform_now, arrivals)
        return self._engine.tally.rest()

    def _statements(self) -> int:
        [(_, questions)] = self.deployment.database.query("SHOW GLOBAL STATUS LIKE 'Questions'")
        return int(str(questions))


def measured(bench: Bench, seconds: float = SECONDS_OF_MIX, cores: float = 1) -> Costs:
    """Return the costs of a deployment that has so many cores, with its database."""
    alone = Costs(processor(), **bench.alone(), picture_set_bytes=0, profile_bytes=0, database_factor=0)
    users = SHARE_OF_KNEE * knee(cores, Parameters(), alone, with_database=True)
    factors = bench.mixed(alone, sum(rates(Parameters(), users).values()), seconds)
    print("under load, over alone:", *(f"{each:.2f}" for each in factors), file=sys.stderr)
    parts = dict(zip(("service_seconds", "worker_seconds", "database_seconds"), factors, strict=True))

    def under_load(costs: Any) -> dict[str, Cost]:
        return {
            name: dataclasses.replace(
                cost, **{part: getattr(cost, part) * factor for part, factor in parts.items()}
            )
            for name, cost in costs.items()
        }

    return dataclasses.replace(
        alone, activities=under_load(alone.activities), uploads=under_load(alone.uploads)
    )


def typical(rounds: list[Any]) -> Any:
    """Return the median of documents of the same form, three significant digits."""
    if isinstance(rounds[0], dict):
        return {name: typical([each[name] for each in rounds]) for name in rounds[0]}
    return float(f"{statistics.median(rounds):.3g}")


def stored(bench: Bench) -> dict[str, float]:
    """Return the bytes that a profile with a picture takes, sealed and in the database."""
    bench.give_pictures()
    counted = json.loads(bench.deployment.service.run("storage", "stats", "--json"))
    of_pictures = sum(each["count"] * each["average"] for each in counted["renditions"])
    of_profiles = counted["profile_bytes"]["count"] * counted["profile_bytes"]["average"]
    found = {
        "picture_set": of_pictures / counted["with_picture"],
        "profile": (of_profiles - of_pictures) / counted["profile_bytes"]["count"],
        "database_factor": database_factor(bench.deployment),
    }
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def database_factor(found: Deployment) -> float:
    """Return by how much the database's files grow for each byte of profiles with pictures.

    Many are written directly, with random bytes as values, of the names and sizes of one that is there:
    the files of a few would be mostly what is reserved.
    """

    def size() -> int:
        return sum(path.stat().st_size for path in found.database.folder.rglob("data/persona/*.ibd"))

    with closing(MysqlBackend.from_url(found.database.url)) as backend:
        partitions = (backend.list(each) for each in backend.scan(HOMES, 1000))
        model = max(partitions, key=lambda items: sum(each.size for each in items))
        before = size()
        for _ in range(COPIES):
            items = [Put(each.name, os.urandom(each.size)) for each in model]
            backend.apply(HOMES + os.urandom(32), items)
        return (size() - before) / (COPIES * sum(each.size for each in model))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4, help="requests under way at a time")
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    options = parser.parse_args()
    *others, server = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, others or {server})
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            identities.make(folder / "people", users=options.people)
            identities.mint(folder / "people")
            issuers = folder / "people" / "pinned-issuers.json"
            with deployment(
                folder / "server", issuers, cores={server}, database_cores={server}
            ) as found:
                bench = Bench(found, folder / "people", options.pictures, options.connections)
                costs = dataclasses.asdict(measured(bench))
                sizes = stored(bench)
        rounds.append({name: costs[name] for name in ("activities", "uploads")} | {"sizes": sizes})
    found = typical(rounds)
    document = {
        "measured_on": f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "activities": found["activities"],
        "uploads": found["uploads"],
        "stored_bytes": found["sizes"],
    }
    print(json.dumps(document, indent=1))


def processor() -> str:
    """Return the name of the machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


if __name__ == "__main__":
    main()
