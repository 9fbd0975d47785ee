"""Requests per second of this service over those of a bare Pyramid + Cornice "hello".

Both run on the same waitress settings in a process of their own, pinned to one core, in turns; the
client has the other core. Prints the ratio of each pair of runs and their median.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from driving import (
    CONNECTIONS,
    HELLO,
    Clients,
    Request,
    Served,
    all_profiles,
    hello_app,
    requests_per_second,
    served,
    summary,
)
from support.servers.applications import application

ROUNDS = 5


def our_app(folder: str):
    """Return the service with everything in memory, and the pinned issuers of a folder."""
    return application(Path(folder), browserid__pinned_issuers=f"{folder}/issuers.json")


def compare(name: str, ours: Served, hello: Served, prepare: Callable[[], list[list[Request]]]) -> None:
    """Run both in turns and print the ratios."""
    ratios, rates = [], []
    for _ in range(ROUNDS):
        prepared = prepare()
        base = requests_per_second(hello.port, [[HELLO]] * CONNECTIONS)
        rate = requests_per_second(ours.port, prepared)
        rates.append(rate)
        ratios.append(rate / base)
    print(f"{name:<58} {summary(ratios)}  {statistics.median(rates):.0f}/s", flush=True)


def main() -> None:
    """Measure and print."""
    print("requests/s over those of hello, median of rounds (all rounds), and requests/s")
    with tempfile.TemporaryDirectory() as folder:
        clients = Clients(folder)
        with served(our_app, folder) as ours, served(hello_app) as hello:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            get = [all_profiles(clients.token(ours.port))]
            compare("GET /v1/profiles, two emails", ours, hello, lambda: [get] * CONNECTIONS)
            for fresh in (False, True):
                certificates = "certificates never seen" if fresh else "certificates seen before"
                compare(
                    f"POST /v1/sessions, two DS128 proofs, {certificates}",
                    ours,
                    hello,
                    lambda fresh=fresh: clients.sessions(fresh_certificates=fresh),
                )


if __name__ == "__main__":
    main()
