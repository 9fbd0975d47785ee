"""What traces cost: processor time of a request with traces over without.

Servers as they are served, but for traces, run on one core, in turns; the collector and the client
have the other core. Prints the median of the ratios of each pair of runs: all traces recorded, and one
in a hundred. A server without traces still calls `span` for each part of a request: prints the time of
such a call by itself, and the share of a request that SPANS of them take.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from driving import CONNECTIONS, FIRST_CORE, Clients, all_profiles, cost, summary
from production import Served, production
from support.servers.answering import Reply
from support.servers.collector import collecting

from persona_profile.runtime.spans import span

ROUNDS = 5
CALLS = 200_000
SPANS = 12
"""More spans than a sign-in of two emails has."""


def compare(name: str, clients: Clients, off: Served, on: Served) -> float:
    """Run both in turns and print the ratios; return the seconds of a sign-in without traces."""
    reads = {each: [all_profiles(clients.token(each.port))] for each in (off, on)}
    seconds = 0.0
    for what, prepare in (
        ("POST /v1/sessions", lambda _server: clients.sessions()),
        ("GET /v1/profiles", lambda server: [reads[server]] * CONNECTIONS),
    ):
        ratios, bases = [], []
        for _ in range(ROUNDS):
            base, traced = (cost([each.pid], each.port, prepare(each)).server for each in (off, on))
            bases.append(base)
            ratios.append(traced / base)
        seconds = seconds or statistics.median(bases)
        print(f"{name:<14}{what:<24}{summary(ratios)}", flush=True)
    return seconds


def unrecorded() -> float:
    """Return the seconds of one span that is not recorded."""
    began = time.perf_counter()
    for _ in range(CALLS):
        with span("store.apply"):
            pass
    return (time.perf_counter() - began) / CALLS


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, collecting(Reply(200)) as collector:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print("processor time of a request with traces over without, median (all rounds)")
        clients = Clients(folder)
        issuers = {"browserid.pinned_issuers": f"{folder}/issuers.json"}
        for name, ratio in (("all recorded", "1"), ("1 in 100", "0.01")):
            traces = {"traces.endpoint": collector.endpoint, "traces.sampling_ratio": ratio}
            with (
                production(Path(folder, f"{ratio}-off"), issuers, cores=FIRST_CORE) as off,
                production(Path(folder, f"{ratio}-on"), issuers | traces, cores=FIRST_CORE) as on,
            ):
                seconds = compare(name, clients, off, on)
        each = unrecorded()
        share = SPANS * each / seconds
        print(f"off: {each * 1e9:.0f} ns a span, {SPANS} of them {share:.2%} of a sign-in")


if __name__ == "__main__":
    main()
