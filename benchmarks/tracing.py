"""What traces cost: processor time of a request with traces over without.

Servers with the same settings but for traces run on one core, in turns; the collector and the client
have the other core. Prints the median of the ratios of each pair of runs: all traces recorded, and one
in a hundred. A server without traces still calls `span` for each part of a request: prints the time of
such a call by itself, and the share of a request that SPANS of them take.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from driving import CONNECTIONS, Clients, Served, all_profiles, cost, served, summary
from support.servers.answering import Reply
from support.servers.applications import application
from support.servers.collector import collecting

from persona_profile.runtime.spans import span
from persona_profile.serving.server import SWITCH_SECONDS

ROUNDS = 5
CALLS = 200_000
SPANS = 12
"""More spans than a sign-in of two emails has."""


def traced_app(folder: str, endpoint: str, ratio: str):
    """Return the service with traces, or without if there is no endpoint."""
    sys.setswitchinterval(SWITCH_SECONDS)
    issuers = {"browserid__pinned_issuers": f"{folder}/issuers.json"}
    traces = {"traces__endpoint": endpoint, "traces__sampling_ratio": ratio} if endpoint else {}
    return application(Path(folder), **issuers, **traces)


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
        for name, ratio in (("all recorded", "1"), ("1 in 100", "0.01")):
            with (
                served(traced_app, folder, "", "") as off,
                served(traced_app, folder, collector.endpoint, ratio) as on,
            ):
                seconds = compare(name, clients, off, on)
        each = unrecorded()
        share = SPANS * each / seconds
        print(f"off: {each * 1e9:.0f} ns a span, {SPANS} of them {share:.2%} of a sign-in")


if __name__ == "__main__":
    main()
