"""How many active users a Galera cluster carries: one node and three, one service process and two.

Everything shares this machine's cores: the nodes, `persona-profile serve` with its picture workers,
what makes the load. So three nodes can't carry more than one here; what is to be seen is what each
write costs more when it is made on three nodes, and what limits each case. Processor time is reported
by process. For each case the shape `steps` of the load test looks for the knee.

    python benchmarks/cluster.py                                 # some 10 minutes on an idle machine
    python benchmarks/cluster.py --write docs/reference/load-report.md     # and puts the table there
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from knee import Found, steps_of
from metering import ALL, Meter
from support.servers.galera import Galera, GaleraNode
from support.servers.services import Service

from loadtest import identities, run
from loadtest.generator.plan import kinds
from loadtest.pictures import PictureLibrary
from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import Parameters, knee

CASES = ((1, 1), (1, 2), (3, 1), (3, 2))
"""Nodes, service processes."""

BEGIN, END = "<!-- made by benchmarks/cluster.py -->", "<!-- until here -->"
BUSY = 0.9
"""From what share on a core counts as used up."""

OTHERS = 0.3
"""Cores that others may use: the kernel's own work is among it."""


class Case(NamedTuple):
    """What was found with so many nodes and processes.

    Attributes:
        nodes: of the cluster.
        processes: of the service.
        carried: users of the highest step that met its levels; 0 if none did.
        broke: users of the lowest one that did not, above it; None if none was tried.
        used: cores by process at the step that shows the limit: the step that broke, else the highest.
    """

    nodes: int
    processes: int
    carried: float
    broke: float | None
    used: Mapping[str, float]

    @property
    def service(self) -> float:
        """Cores that the service used, picture workers included."""
        return self.used["service"]

    @property
    def generator(self) -> float:
        """Cores that the load generator used, this script's own looking on included."""
        return self.used["ours"] - self.service - sum(self.database)

    @property
    def database(self) -> list[float]:
        """Cores that each node used."""
        return [cores for name, cores in self.used.items() if name.startswith("n")]

    @property
    def limit(self) -> str:
        """What was used up."""
        cores = os.cpu_count() or 1
        others = self.used[ALL] - self.used["ours"]
        if others > OTHERS:
            return f"void: others used {others:.2f} cores"
        if self.broke is None:
            return "nothing: more users were not tried"
        if self.generator > BUSY:
            return "the load generator"
        if self.used[ALL] > BUSY * cores:
            return f"all {cores} cores"
        if self.processes == 1 and self.service > BUSY:
            return "the interpreter of the one service process"
        return "no processor: waiting, for locks, disk or other nodes"


def _case(nodes: int, processes: int, record: Path, meter: Meter) -> Case:
    """Return what a record says."""
    steps: list[Found] = steps_of(record, meter)
    carried = max((step.users for step in steps if step.met), default=0.0)
    broken = [step for step in steps if not step.met and step.users > carried]
    telling = min(broken, key=lambda step: step.users) if broken else steps[-1]
    broke = telling.users if broken else None
    return Case(nodes, processes, carried, broke, telling.used)


def measured(
    folder: Path, nodes: list[GaleraNode], url: str, processes: int, options: argparse.Namespace
) -> Case:
    """Look for the knee with these nodes and so many service processes."""
    name = f"{len(nodes)}-{processes}"
    issuers = folder / "identities" / "pinned-issuers.json"
    more = f"browserid.pinned_issuers = {issuers}\npictures.workers = 1"
    service = Service(folder / f"service-{name}", "mysql", url, more=more)
    # The data of the first case are those of all, and so is its keyring.
    keyring = folder / "keyring.json"
    if keyring.exists():
        service.keyring.write_bytes(keyring.read_bytes())
    keyring.write_bytes(service.keyring.read_bytes())
    keyring.chmod(0o600)
    record = folder / f"record-{name}"
    try:
        service.start("--processes", str(processes))
        pids = {node.name: node.pid for node in nodes} | {"service": service.pid}
        pids["ours"] = os.getpid()  # and what it has started: all of these, and Locust
        meter = Meter(pids)
        arguments = ["--shape", "steps", "--users-active", str(options.users)]
        arguments += ["--warm-up", str(options.warm_up), "--measured", str(options.measured)]
        arguments += ["--server-pid", str(service.pid), "--max-steps", str(options.max_steps)]
        arguments += ["--small-pictures"] if options.small_pictures else []
        with meter.running():
            status = run.locust(folder, record, service.origin, arguments, 1)
        if status != 0:
            raise RuntimeError(f"Locust ended with status {status}: {service.log[-2000:]}")
    finally:
        service.close()
    return _case(len(nodes), processes, record, meter)


def table(cases: list[Case], options: argparse.Namespace) -> str:
    """Return what was found, as a table for the report."""
    cores = os.cpu_count() or 1
    lines = [
        (
            f"{cores} cores for everything, Python {platform.python_version()}; steps of "
            f"{options.measured:g} s, at most {options.max_steps}; processor time where it broke:\n"
        ),
        (
            "| nodes | service processes | users carried | broke at | cores: service | each node "
            "| load generator | all | limited by |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        broke = "" if case.broke is None else f"{case.broke:,.0f}"
        each = ", ".join(f"{cores:.2f}" for cores in case.database)
        lines.append(
            f"| {case.nodes} | {case.processes} | {case.carried:,.0f} | {broke} | {case.service:.2f} "
            f"| {each} | {case.generator:.2f} | {case.used[ALL]:.2f} | {case.limit} |"
        )
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put a table in the place that a page has for it."""
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"{path} has no place for it: {BEGIN} ... {END}")
    place = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    path.write_text(place.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page))


def main() -> None:
    """Measure all cases, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    parser.add_argument("--small-pictures", action="store_true", help="instead of huge ones; to try it")
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument(
        "--users", type=float, help="of the first step; default: half of the model's knee"
    )
    parser.add_argument("--warm-up", type=float, default=4, help="seconds before a step is measured")
    parser.add_argument("--measured", type=float, default=15, help="seconds of a step")
    parser.add_argument("--max-steps", type=int, default=4)
    parser.add_argument("--write", type=Path, help="a page with a place for the table")
    options = parser.parse_args()
    if options.users is None:
        # Of one core, as the load generator takes the other one.
        options.users = knee(1, Parameters(), Costs.measured(), with_database=True) / 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nodes may run as another user
        identities.make(folder / "identities", users=options.people)
        identities.mint(folder / "identities")
        if not options.small_pictures:
            PictureLibrary.open(options.pictures, kinds(), report=print)
            (folder / "pictures").symlink_to(options.pictures.resolve())
        (folder / "nodes").mkdir()
        cluster = Galera(folder / "nodes")
        cluster.install()
        try:
            cases = list(_all_cases(folder, cluster, options))
        finally:
            cluster.stop()
    text = table(cases, options)
    print(f"\n{text}\n\n{time.monotonic() - began:.0f} s in all")
    if options.write:
        write(options.write, text)


def _all_cases(folder: Path, cluster: Galera, options: argparse.Namespace) -> Iterator[Case]:
    first, *others = cluster.nodes
    first.start("--wsrep-new-cluster")
    cluster.create_database()
    for count, processes in CASES:
        for node in others[: count - 1]:
            if not node.is_running:
                node.start()
        nodes = [node for node in cluster.nodes if node.is_running]
        assert len(nodes) == count
        case = measured(folder, nodes, cluster.url_of(*nodes), processes, options)
        print(f"{count} nodes, {processes} service processes: {case.carried:,.0f} users", flush=True)
        yield case


if __name__ == "__main__":
    main()
