"""What rate limits cost: processor time of a request with limits, in memory or in Redis, over without.

Servers with the same settings but for `ratelimit.url` run on one core, in turns, with limits that
nothing reaches; Redis, on loopback, and the client have the other core. It is the server's time, not
Redis'. Prints the median of the ratios of each pair of runs, and what one hit takes by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from driving import CONNECTIONS, EMAILS, Clients, Request, Served, cost, served, summary
from limits import parse
from support.servers.applications import application
from support.servers.redis import RedisServer

from persona_profile.rate_limits.counters import Counters, MemoryCounters, RedisCounters
from persona_profile.serving.server import SWITCH_SECONDS

ROUNDS = 5
HITS = 5000
UNREACHED = {
    f"ratelimit__{name}": "1000000000/minute"
    for name in ("sessions_per_address", "proofs_per_issuer", "writes_per_email")
}


def limited_app(folder: str, url: str):
    """Return the service with limits that nothing reaches, counted where a URL says."""
    sys.setswitchinterval(SWITCH_SECONDS)
    issuers = {"browserid__pinned_issuers": f"{folder}/issuers.json"}
    return application(Path(folder), ratelimit__url=url, **issuers, **UNREACHED)


def write(token: str) -> list[list[Request]]:
    """Return a change of one claim, to be sent again and again."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request: Request = ("PATCH", f"/v1/profiles/{EMAILS[0]}", b'{"name": "Alice"}', headers)
    return [[request]] * CONNECTIONS


def compare(name: str, clients: Clients, off: Served, on: Served) -> None:
    """Run both in turns and print the ratios."""
    tokens = {server: clients.token(server.port) for server in (off, on)}
    for what, prepare in (
        ("POST /v1/sessions (2 hits)", lambda _server: clients.sessions()),
        ("PATCH /v1/profiles/EMAIL (1 hit)", lambda server: write(tokens[server])),
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
    limit = parse("1000000000/minute")
    start = time.perf_counter()
    for _ in range(HITS):
        counters.hit("benchmark", limit, {"key": 1})
    print(f"{name:<8}one hit: {(time.perf_counter() - start) / HITS * 1e6:.0f} us", flush=True)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(Path(folder))
        redis.start()
        try:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            hit("memory", MemoryCounters())
            hit("redis", RedisCounters(redis.url, 1, MemoryCounters()))
            print("processor time of a request over that without limits, median (all rounds)")
            clients = Clients(folder)
            for name, url in (("memory", "memory://"), ("redis", redis.url)):
                with served(limited_app, folder, "off") as off, served(limited_app, folder, url) as on:
                    compare(name, clients, off, on)
        finally:
            redis.stop()


if __name__ == "__main__":
    main()
