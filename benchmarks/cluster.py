"""How many active users a database of several servers carries: Galera's nodes, or shards behind heads.

Everything shares this machine's cores: the database servers, `persona-profile serve` with its picture
workers, and the load generator. So more servers can't carry more here. Processor time is reported by
process: it shows the limit of each row, and the users for each core of the busiest server. Heads keep
nothing and are added as needed, so they are not among these. For each row the shape `steps` of the
load test looks for the knee, on an empty database.

    python benchmarks/cluster.py                                 # some 15 minutes on an idle machine
    python benchmarks/cluster.py --rows shards --write docs/reference/load-report.md     # half of them
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from metering import ALL, Meter
from production import production
from support.servers.galera import Galera
from support.servers.spider import running_shards

from loadtest import identities, run
from loadtest.generator.conductor import meets_levels
from loadtest.generator.plan import kinds
from loadtest.pictures import PictureLibrary
from loadtest.record import Second, Step, Traffic, read
from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import Parameters, knee

BUSY = 0.9
"""From what share on a core counts as used up."""

OTHERS = 0.3
"""Cores that others may use: the kernel's own work is among it."""


class Database(NamedTuple):
    """An empty database.

    Attributes:
        settings: of the service.
        keepers: the process ids of the servers that keep items.
        heads: of the heads before them.
    """

    settings: Mapping[str, str]
    keepers: list[int]
    heads: list[int]


Prepare = Callable[[int], Database]
"""Empties a database of so many servers."""


class Row(NamedTuple):
    """What is measured: its name, the servers that keep items, the processes of the service."""

    name: str
    servers: int
    processes: int


class Found(NamedTuple):
    """A measured step.

    Attributes:
        users: active users.
        met: whether it met the levels.
        right: the share of requests with a right answer.
        used: cores by process.
    """

    users: float
    met: bool
    right: float
    used: Mapping[str, float]


class Case(NamedTuple):
    """What was found in a row.

    Attributes:
        row: what was measured.
        carried: users of the highest step that met its levels; 0 if none did.
        broke: users of the lowest step that did not, above it; None if none was tried.
        telling: the step that shows the limit: the one that broke, else the highest.
    """

    row: Row
    carried: float
    broke: float | None
    telling: Found

    @property
    def service(self) -> float:
        """Cores that the service used, picture workers included."""
        return self.telling.used["service"]

    @property
    def generator(self) -> float:
        """Cores that the load generator used, this script's own looking on included."""
        used = self.telling.used
        return used["ours"] - self.service - sum(self.of("head")) - sum(self.of("keeper"))

    @property
    def everybody(self) -> float:
        """Cores that were used at all."""
        return self.telling.used[ALL]

    @property
    def users_of_a_core(self) -> float:
        """Users that a core of the busiest server would carry."""
        return self.telling.right * self.telling.users / max(self.of("keeper"))

    @property
    def limit(self) -> str:
        """What was used up."""
        cores = os.cpu_count() or 1
        others = self.everybody - self.telling.used["ours"]
        if others > OTHERS:
            return f"void: others used {others:.2f} cores"
        if self.broke is None:
            return "nothing: more users were not tried"
        if self.generator > BUSY:
            return "the load generator"
        if self.everybody > BUSY * cores:
            return f"all {cores} cores"
        if self.row.processes == 1 and self.service > BUSY:
            return "the interpreter of the one service process"
        return "no processor: waiting, for locks, disk or other servers"

    def of(self, kind: str) -> list[float]:
        """Return the cores that each server of a kind used."""
        return [cores for name, cores in self.telling.used.items() if name.startswith(kind)]


@contextmanager
def galera(folder: Path) -> Iterator[Prepare]:
    """Run one node, and the others once they are asked for."""
    cluster = Galera(folder)
    cluster.install()
    first, *others = cluster.nodes

    def prepare(servers: int) -> Database:
        for node in others[: servers - 1]:
            if not node.is_running:
                node.start()
        nodes = [node for node in cluster.nodes if node.is_running]
        assert len(nodes) == servers, "rows have ever more nodes"
        cluster.create_database()
        settings = {"backend": "mysql", "backend.url": cluster.url_of(*nodes)}
        return Database(settings, [node.pid for node in nodes], [])

    try:
        first.start("--wsrep-new-cluster")
        yield prepare
    finally:
        cluster.stop()


@contextmanager
def shards(_folder: Path) -> Iterator[Prepare]:
    """Run data servers behind two heads, as installed: the second head stands by."""
    with running_shards(heads=2, servers=3) as running:
        for server in running.servers:  # as installed, too; tests have 2
            server.query("SET GLOBAL innodb_flush_log_at_trx_commit = 1")

        def prepare(servers: int) -> Database:
            running.make_databases()
            if servers == 0:
                [only, *_] = running.servers
                direct = f"mysql://admin:secret@127.0.0.1:{only.port}/persona"
                return Database({"backend": "mysql", "backend.url": direct}, [only.pid], [])
            url = running.url_of(running.heads, running.names[:servers], "admin:secret")
            keepers = [server.pid for server in running.servers[:servers]]
            settings = {"backend": "spider", "backend.url": url}
            return Database(settings, keepers, [head.pid for head in running.heads])

        yield prepare


DATABASES: Mapping[str, Callable[[Path], AbstractContextManager[Prepare]]] = {
    "galera": galera,
    "shards": shards,
}
ROWS: Mapping[str, tuple[Row, ...]] = {
    "galera": (
        Row("1 node", 1, 1),
        Row("1 node", 1, 2),
        Row("3 nodes", 3, 1),
        Row("3 nodes", 3, 2),
    ),
    "shards": (
        Row("1 server, no head", 0, 2),
        Row("1 data server", 1, 2),
        Row("2 data servers", 2, 2),
        Row("3 data servers", 3, 2),
    ),
}


def steps_of(record: Path, meter: Meter) -> list[Found]:
    """Return the measured steps of a record."""
    lines = list(read(record))
    steps = sorted((each for each in lines if isinstance(each, Step)), key=lambda each: each.at)
    found = []
    for step, following in itertools.pairwise(steps):
        if step.is_measured:
            seconds = [
                each for each in lines if isinstance(each, Second) and step.at <= each.at < following.at
            ]
            used = meter.between(step.at, following.at)
            right = Traffic.of(seconds).achieved
            found.append(Found(step.users, meets_levels(seconds), right, used))
    return found


def case_of(row: Row, record: Path, meter: Meter) -> Case:
    """Return what a record says."""
    steps = steps_of(record, meter)
    carried = max((step.users for step in steps if step.met), default=0.0)
    broken = [step for step in steps if not step.met and step.users > carried]
    telling = min(broken, key=lambda step: step.users) if broken else steps[-1]
    return Case(row, carried, telling.users if broken else None, telling)


def measured(folder: Path, row: Row, database: Database, options: argparse.Namespace) -> Case:
    """Look for the knee of a row."""
    issuers = folder / "identities" / "pinned-issuers.json"
    settings = {**database.settings, "browserid.pinned_issuers": str(issuers)}
    place = Path(tempfile.mkdtemp(dir=folder))
    with production(place / "service", settings, "--processes", str(row.processes)) as served:
        pids = {f"keeper {number}": pid for number, pid in enumerate(database.keepers)}
        pids |= {f"head {number}": pid for number, pid in enumerate(database.heads)}
        # `ours` are this script and all that it has started: all of these, and Locust.
        meter = Meter({**pids, "service": served.pid, "ours": os.getpid()})
        arguments = ["--shape", "steps", "--users-active", str(options.users)]
        arguments += ["--warm-up", str(options.warm_up), "--measured", str(options.measured)]
        arguments += ["--server-pid", str(served.pid), "--max-steps", str(options.max_steps)]
        arguments += ["--small-pictures"] if options.small_pictures else []
        with meter.running():
            status = run.locust(folder, place / "record", served.origin, arguments, 1)
        if status != 0:
            log = (place / "service" / "service.log").read_text()
            raise RuntimeError(f"Locust ended with status {status}: {log[-2000:]}")
    return case_of(row, place / "record", meter)


def table(cases: list[Case], options: argparse.Namespace) -> str:
    """Return what was found, as a table for the report."""
    cores = os.cpu_count() or 1
    lines = [
        (
            f"{cores} cores for everything, Python {platform.python_version()}; steps of "
            f"{options.measured:g} s, at most {options.max_steps}; processor time where it broke:\n"
        ),
        (
            "| database | service processes | users carried | broke at | cores: service | heads "
            "| nodes or data servers | load generator | all | users for a core of the busiest "
            "| limited by |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        broke = "" if case.broke is None else f"{case.broke:,.0f}"
        heads, keepers = (
            ", ".join(f"{cores:.2f}" for cores in case.of(kind)) for kind in ("head", "keeper")
        )
        lines.append(
            f"| {case.row.name} | {case.row.processes} | {case.carried:,.0f} | {broke} "
            f"| {case.service:.2f} | {heads} | {keepers} | {case.generator:.2f} "
            f"| {case.everybody:.2f} | {case.users_of_a_core:,.0f} | {case.limit} |"
        )
    return "\n".join(lines)


def write(path: Path, kind: str, text: str) -> None:
    """Put a table in the place that a page has for it."""
    begin, end = f"<!-- {kind}, made by benchmarks/cluster.py -->", f"<!-- end of {kind} -->"
    page = path.read_text()
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"{path} has no place for it: {begin} ... {end}")
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    path.write_text(place.sub(lambda _: f"{begin}\n{text}\n{end}", page))


def prepared(folder: Path, options: argparse.Namespace) -> None:
    """Make what the load generator needs."""
    folder.chmod(0o755)  # nodes may run as another user
    identities.make(folder / "identities", users=options.people)
    identities.mint(folder / "identities")
    if not options.small_pictures:
        PictureLibrary.open(options.pictures, kinds(), report=print)
        (folder / "pictures").symlink_to(options.pictures.resolve())


def main() -> None:
    """Measure all rows, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", choices=ROWS, nargs="+", default=list(ROWS), help="default: all")
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    parser.add_argument("--small-pictures", action="store_true", help="instead of huge ones; to try it")
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument(
        "--users", type=float, help="of the first step; default: half of the model's knee"
    )
    parser.add_argument("--warm-up", type=float, default=4, help="seconds before a step is measured")
    parser.add_argument("--measured", type=float, default=15, help="seconds of a step")
    parser.add_argument("--max-steps", type=int, default=4)
    parser.add_argument("--write", type=Path, help="a page with a place for each table")
    options = parser.parse_args()
    if options.users is None:
        # Of one core, as the load generator takes the other one.
        options.users = knee(1, Parameters(), Costs.measured(), with_database=True) / 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        prepared(folder, options)
        for kind in options.rows:
            (folder / kind).mkdir(mode=0o755)
            cases = []
            with DATABASES[kind](folder / kind) as prepare:
                for row in ROWS[kind]:
                    cases.append(measured(folder, row, prepare(row.servers), options))
                    print(f"{row.name}, {row.processes}: {cases[-1].carried:,.0f} users", flush=True)
            text = table(cases, options)
            print(f"\n{text}\n\n{time.monotonic() - began:.0f} s so far", flush=True)
            if options.write:
                write(options.write, kind, text)


if __name__ == "__main__":
    main()
