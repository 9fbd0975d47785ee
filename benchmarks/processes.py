"""What several processes carry: requests/s of two over those of one, and over a bare "hello".

`persona-profile serve --processes` runs on all cores, as it is served, with a SQLite file; who
asks has a core of them, too. Where there are two, two processes can't be twice as fast: there is no
core left for the clients. So three ratios are printed: the measured ratio of requests/s; the ratio that
these cores allow, by the processor time of a request in the server and in its client; and the ratio
that a core for each would allow, which is twice the processor time of a request with one process over
that with two. Runs are side by side, in turns; medians are of the ratios of each turn.

    python benchmarks/processes.py [--seconds N] [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import driving
from driving import (
    HELLO,
    Clients,
    Cost,
    Request,
    all_profiles,
    cost,
    hello_server,
    summary,
)
from production import Served, production
from support.servers.applications import wait_for

PROCESSES = 2
CONNECTIONS = 8
"""As many as a process has threads, so that none waits; both processes have some, whoever accepts."""


@contextmanager
def service(folder: Path, issuers: Path, processes: int) -> Iterator[Served]:
    """Run the service with so many processes, on all cores."""
    settings = {
        "backend": "sqlite",
        "backend.url": f"sqlite:///{folder}/items.sqlite",
        "browserid.pinned_issuers": str(issuers),
    }
    with production(folder, settings, "--processes", str(processes)) as made:
        wait_for(lambda: len(pids_of(made)) == 1 + processes)
        yield made


def pids_of(made: Served) -> list[int]:
    """Return the process ids of the supervisor and of those that serve."""
    children = Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text()
    return [made.pid, *map(int, children.split())]


def allowed(one: Cost, two: Cost, cores: int) -> float:
    """Return the ratio of requests/s that cores allow which who asks shares.

    One process, and who asks, has a core at most; all together have what there is.
    """

    def fastest(each: Cost, processes: int) -> float:
        return min(processes / each.server, 1 / each.client, cores / (each.server + each.client))

    return fastest(two, PROCESSES) / fastest(one, 1)


def report(name: str, rounds: list[tuple[Cost, Cost, Cost]]) -> None:
    """Print what rounds of hello, one process and two have shown."""
    cores = len(os.sched_getaffinity(0))
    ratios = {
        "two processes over one, measured": [two.rate / one.rate for _, one, two in rounds],
        f"what {cores} cores allow": [allowed(one, two, cores) for _, one, two in rounds],
        "what a core for each would allow": [
            PROCESSES * one.server / two.server for _, one, two in rounds
        ],
        "one process over hello, requests/s": [one.rate / base.rate for base, one, _ in rounds],
        "its processor time over hello's": [one.server / base.server for base, one, _ in rounds],
    }
    print(f"\n{name}")
    for what, values in ratios.items():
        print(f"  {what:<38}{summary(values)}")
    for position, who in enumerate(("hello", "one process", "two processes")):
        costs = [each[position] for each in rounds]
        rate, server, client = (
            statistics.median(getattr(each, field) for each in costs) for field in Cost._fields
        )
        print(
            f"  {who:<14} {rate:6.0f}/s, {1000 * server:.2f} ms a request, who asks {1000 * client:.2f}"
        )


def measure(
    name: str,
    targets: tuple[Served, Served, Served],
    prepare: Callable[[Served], list[list[Request]]],
    rounds: int,
) -> None:
    """Ask hello, one process and two in turns, and print what came of it."""
    hello, *services = targets
    made = []
    for _ in range(rounds):
        base = cost([hello.pid], hello.port, [[HELLO]] * CONNECTIONS)
        one, two = (cost(pids_of(each), each.port, prepare(each)) for each in services)
        made.append((base, one, two))
    report(name, made)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=driving.SECONDS, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    driving.SECONDS = options.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clients = Clients(name)
        issuers = folder / "issuers.json"
        with (
            hello_server() as hello,
            service(folder / "one", issuers, 1) as one,
            service(folder / "two", issuers, PROCESSES) as two,
        ):
            targets = hello, one, two
            gets = {each.port: all_profiles(clients.token(each.port)) for each in (one, two)}
            measure(
                "GET /v1/profiles, two emails",
                targets,
                lambda each: [[gets[each.port]]] * CONNECTIONS,
                options.rounds,
            )
            measure(
                "POST /v1/sessions, two DS128 proofs",
                targets,
                lambda _each: clients.sessions(connections=CONNECTIONS),
                options.rounds,
            )


if __name__ == "__main__":
    main()
