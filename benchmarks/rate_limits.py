"""What rate limits cost: processor time of a request with limits, in memory or in Redis, over without.

Servers with the same settings but for `ratelimit.url` run on one core, in turns, with limits that
nothing reaches; Redis, on loopback, and the client have the other core. It is the server's time, not
Redis'. Prints the median of the ratios of each pair of runs, and what one hit takes by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from limits import parse
from requests_per_second import CONNECTIONS, EMAILS, Clients, Request, requests_per_second
from waitress import create_server

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.applications import application
from support.redis import RedisServer

from persona_profile.rate_counters import Counters, MemoryCounters, RedisCounters
from persona_profile.server import SWITCH_SECONDS

ROUNDS = 5
HITS = 5000
UNREACHED = {
    f"ratelimit__{name}": "1000000000/minute"
    for name in ("sessions_per_address", "proofs_per_issuer", "writes_per_email")
}


def serve(folder: str, url: str, ports: multiprocessing.Queue) -> None:
    """Serve until the process is ended."""
    os.sched_setaffinity(0, {0})
    sys.setswitchinterval(SWITCH_SECONDS)
    issuers = {"browserid__pinned_issuers": f"{folder}/issuers.json"}
    app = application(Path(folder), ratelimit__url=url, **issuers, **UNREACHED)
    server = create_server(app, listen="127.0.0.1:0", threads=8)
    ports.put(server.effective_port)
    server.run()


@contextmanager
def running(folder: str, url: str):
    """Run a server in a process of its own; yield its process id and port."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=serve, args=(folder, url, ports), daemon=True)
    process.start()
    try:
        yield process.pid, ports.get(timeout=30)
    finally:
        process.terminate()
        process.join(10)


def sessions(clients: Clients) -> list[list[Request]]:
    """Return openings of sessions, more for each connection than can be answered in one run."""
    return clients.sessions(fresh_certificates=False)


def write(token: str) -> list[list[Request]]:
    """Return a change of one claim, to be sent again and again."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request: Request = ("PATCH", f"/v1/profiles/{EMAILS[0]}", b'{"name": "Alice"}', headers)
    return [[request]] * CONNECTIONS


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(server: tuple[int, int], prepared: list[list[Request]]) -> float:
    """Send requests; return the processor time of each in the server."""
    pid, port = server
    began, used = time.perf_counter(), processor_seconds(pid)
    rate = requests_per_second(port, prepared)
    return (processor_seconds(pid) - used) / (rate * (time.perf_counter() - began))


def compare(name: str, clients: Clients, off: tuple[int, int], on: tuple[int, int]) -> None:
    """Run both in turns and print the ratios."""
    tokens = {server: clients.token(server[1]) for server in (off, on)}
    for what, prepare in (
        ("POST /v1/sessions (2 hits)", lambda _server: sessions(clients)),
        ("PATCH /v1/profiles/EMAIL (1 hit)", lambda server: write(tokens[server])),
    ):
        ratios = []
        for _ in range(ROUNDS):
            base = cost(off, prepare(off))
            ratios.append(cost(on, prepare(on)) / base)
        spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
        print(f"{name:<8}{what:<36}{statistics.median(ratios):5.2f}  ({spread})", flush=True)


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
                with running(folder, "off") as off, running(folder, url) as on:
                    compare(name, clients, off, on)
        finally:
            redis.stop()


if __name__ == "__main__":
    main()
