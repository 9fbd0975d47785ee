"""What it costs on a Galera cluster that every node shows what another has acknowledged.

A client writes to one node; another one reads that on another node at once, and then writes there by
compare-and-set. This is done with each value of `wsrep_sync_wait`, in turns, while others write
pictures to the first node: how many reads were stale, how many writes met a conflict that there was
not, and the latencies over those without waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.servers.galera import Galera, galera_cluster
from support.stores.writers import meanwhile

import backends.engines.mysql_connections
from backends import Address, Backend, Conflict, Put
from backends.engines.mysql import MysqlBackend

WAITS = {
    "no waiting": 0,
    "before reads (1)": 1,
    "before reads and writes (7)": 7,
}
LOADERS = 2
PICTURE_BYTES = 100_000
PARTITION = b"\x01" + b"r" * 32
ITEM = Address(PARTITION, "profile")
TURNS = 5


class Stats:
    """What was seen with one setting."""

    def __init__(self) -> None:
        self.rounds = self.stale = self.conflicts = 0
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure how long something takes."""
        began = time.perf_counter()
        yield
        self.seconds[what].append(time.perf_counter() - began)


def load(backend: Backend, number: int, stop: threading.Event) -> None:
    """Write pictures."""
    partition = b"\x01" + bytes([number]) * 32
    while not stop.wait(0.005):
        backend.apply(
            partition, [Put(f"picture/{size}", random.randbytes(PICTURE_BYTES)) for size in "ab"]
        )


@contextlib.contextmanager
def loaded(cluster: Galera) -> Iterator[None]:
    """Let others write to the first node meanwhile."""
    with (
        closing(MysqlBackend.from_url(cluster.url_of(cluster.nodes[0]))) as backend,
        meanwhile([partial(load, backend, number) for number in range(LOADERS)]),
    ):
        yield


def measure(cluster: Galera, wait: int, rounds: int, stats: Stats) -> None:
    """Write here and read there."""
    backends.engines.mysql_connections.SYNC_WAIT = wait  # type: ignore[misc]
    urls = [cluster.url_of(node) for node in cluster.nodes[:2]]
    with (
        closing(MysqlBackend.from_url(urls[0])) as here,
        closing(MysqlBackend.from_url(urls[1])) as there,
    ):
        for backend in (here, there):
            backend.ping()
        for number in range(rounds):
            value = b"%d" % number
            with stats.timed("write"):
                version = here.apply(PARTITION, [Put("profile", value * 40)])["profile"]
            with stats.timed("read on another node"):
                found = there.get_many([ITEM])
            stats.stale += not found or found[ITEM].version != version
            with stats.timed("read on the same node"):
                here.get_many([ITEM])
            version = here.apply(PARTITION, [Put("profile", value * 40)])["profile"]
            try:
                with stats.timed("compare-and-set on another node"):
                    there.apply(PARTITION, [Put("profile", value * 40, version)])
            except Conflict:
                stats.conflicts += 1
            stats.rounds += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="of each setting")
    rounds = parser.parse_args().rounds
    found = {name: Stats() for name in WAITS}
    with galera_cluster() as cluster:
        cluster.create_database()
        with closing(MysqlBackend.from_url(cluster.url)) as backend:
            backend.initialize()
        with loaded(cluster):
            for _ in range(TURNS):
                for name, wait in WAITS.items():
                    measure(cluster, wait, rounds // TURNS, found[name])
    base = found["no waiting"].seconds
    for name, stats in found.items():
        print(f"{name}: {stats.rounds} rounds, ", end="")
        print(f"{stats.stale} stale reads, {stats.conflicts} false conflicts")
        for what, seconds in stats.seconds.items():
            median = statistics.median(seconds)
            ratio = median / statistics.median(base[what])
            print(f"  {what}: median {1000 * median:.2f} ms, {ratio:.2f} of that without waiting")


if __name__ == "__main__":
    main()
