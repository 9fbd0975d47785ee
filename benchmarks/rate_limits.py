"""What rate limits cost: processor time of a request with limits, in memory or in Redis, over without.

Servers as they are served, but for `ratelimit.url`, run on one core, in turns, with limits that
nothing reaches; Redis, on loopback, and the client have the other core. It is the server's time, not
Redis'. Prints the median of the ratios of each pair of runs, and what one hit takes by itself.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from driving import CONNECTIONS, FIRST_CORE, Clients, cost, edit, summary
from limits import parse
from production import UNREACHED, Served, production
from support.servers.redis import RedisServer

from persona_profile.rate_limits.counters import Counters, MemoryCounters, RedisCounters

ROUNDS = 5
HITS = 5000


def compare(name: str, clients: Clients, off: Served, on: Served) -> None:
    """Run both in turns and print the ratios."""
    tokens = {server: clients.token(server.port) for server in (off, on)}
    for what, prepare in (
        ("POST /v1/sessions (2 hits)", lambda _server: clients.sessions()),
        ("PATCH /v1/profiles/EMAIL (1 hit)", lambda server: [[edit(tokens[server])]] * CONNECTIONS),
    ):
        ratios = []
        for _ in range(ROUNDS):
            base, limited = (
                cost([server.pid], server.port, prepare(server)).server for server in (off, on)
            )
            ratios.append(limited / base)
        print(f"{name:<8}{what:<36}{summary(ratios)}", flush=True)


def hit(name: str, counters: Counters) -> None:
    """Print what one hit takes."""
    limit = parse(UNREACHED)
    start = time.perf_counter()
    for _ in range(HITS):
        counters.hit("benchmark", limit, {"key": 1})
    print(f"{name:<8}one hit: {(time.perf_counter() - start) / HITS * 1e6:.0f} us", flush=True)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)).running() as redis:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        hit("memory", MemoryCounters())
        hit("redis", RedisCounters(redis.url, 1, MemoryCounters()))
        print("processor time of a request over that without limits, median (all rounds)")
        clients = Clients(folder)
        issuers = {"browserid.pinned_issuers": f"{folder}/issuers.json"}
        for name, url in (("memory", "memory://"), ("redis", redis.url)):
            without, limited = (issuers | {"ratelimit.url": each} for each in ("off", url))
            with (
                production(Path(folder, f"{name}-off"), without, cores=FIRST_CORE) as off,
                production(Path(folder, f"{name}-on"), limited, cores=FIRST_CORE) as on,
            ):
                compare(name, clients, off, on)


if __name__ == "__main__":
    main()
