"""Writes to one, two and three data servers behind a head of Spider, and to a database without a head.

Threads write a profile with two thumbnails, each time for another email, to each of the four in turns.
All servers and the writers share this machine's cores: the writes a second say little about machines of
their own. The processor time of a data server for a write says more: of several data servers each has
its part of the writes, and the busiest one bounds all. Over two servers emails spread unevenly.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.workers import processor_seconds
from support.servers.spider import Shards, running_shards

from backends import Backend, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.spider import SpiderBackend

MAX_SHARDS = 3
THREADS = 4
TURNS = 4
THUMBNAIL_BYTES = 5_000


def write(backend: Backend, seconds: float) -> int:
    """Write emails for some seconds; return their number."""
    ends = time.monotonic() + seconds
    written = 0
    while time.monotonic() < ends:
        thumbnails = [Put(f"picture/{size}", random.randbytes(THUMBNAIL_BYTES)) for size in (64, 128)]
        partition = b"\x01" + secrets.token_bytes(32)
        backend.apply(partition, [Put("key", bytes(100)), Put("profile", bytes(400)), *thumbnails])
        written += 1
    return written


class Tally:
    """What one store did in all turns."""

    def __init__(self) -> None:
        self.writes = 0
        self.seconds = 0.0
        self.processor: Counter[str] = Counter()

    def measure(self, backend: Backend, shards: Shards, seconds: float) -> None:
        """Write by several threads, and note the processor time of each program."""
        servers = {f"shard{number}": server for number, server in enumerate(shards.servers)}
        servers["head"] = shards.heads[0]
        before = {name: processor_seconds(server.pid) for name, server in servers.items()}
        began, own = time.monotonic(), time.process_time()
        with ThreadPoolExecutor(THREADS) as pool:
            self.writes += sum(pool.map(write, [backend] * THREADS, [seconds] * THREADS))
        self.seconds += time.monotonic() - began
        self.processor["writers"] += time.process_time() - own
        for name, server in servers.items():
            self.processor[name] += processor_seconds(server.pid) - before[name]

    def of_a_write(self, name: str) -> float:
        """Return the processor time of a program for a write, in microseconds."""
        return 1e6 * self.processor[name] / self.writes

    @property
    def busiest(self) -> float:
        """The processor time of the busiest data server for a write."""
        return max(self.of_a_write(name) for name in self.processor if name.startswith("shard"))


def stores(shards: Shards, stack: ExitStack) -> dict[str, Backend]:
    """Return the stores to compare."""
    port = shards.servers[0].port
    direct = MysqlBackend.from_url(f"mysql://admin:secret@127.0.0.1:{port}/persona")
    found: dict[str, Backend] = {"no head": stack.enter_context(closing(direct))}
    for count in range(1, MAX_SHARDS + 1):
        name = f"shards{count}"
        shards.heads[0].query(f"CREATE DATABASE {name}")
        shards.heads[0].query(f"GRANT ALL ON {name}.* TO admin@'127.0.0.1'")
        url = shards.url_of(shards.heads, shards.names[:count], "admin:secret", name)
        backend = stack.enter_context(closing(SpiderBackend.from_url(url)))
        backend.initialize()
        found[f"data servers: {count}"] = backend
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each store in each turn")
    seconds = parser.parse_args().seconds
    with running_shards(heads=1, servers=MAX_SHARDS) as shards, ExitStack() as stack:
        shards.make_databases()
        compared = stores(shards, stack)
        tallies = {name: Tally() for name in compared}
        for _ in range(TURNS):
            for name, backend in compared.items():
                tallies[name].measure(backend, shards, seconds)
    base = tallies["data servers: 1"]
    for name, tally in tallies.items():
        rate, base_rate = tally.writes / tally.seconds, base.writes / base.seconds
        print(f"{name}: {rate:.0f} writes/s, {rate / base_rate:.2f} of one data server")
        print(
            f"  processor time of a write: writers {tally.of_a_write('writers'):.0f} us, head "
            f"{tally.of_a_write('head'):.0f} us, busiest data server {tally.busiest:.0f} us, "
            f"{tally.busiest / base.busiest:.2f} of one data server"
        )


if __name__ == "__main__":
    main()
