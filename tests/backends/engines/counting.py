"""Processes that increment shared counters by compare-and-set."""

from __future__ import annotations

from collections import Counter

from backends import Address, Backend, Conflict, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend

PARTITION = b"\x01" + b"c" * 32
NAMES = tuple(f"counter{number}" for number in range(5))


def open_store(url: str) -> Backend:
    """Return the backend for a URL."""
    kind = SqliteBackend if url.startswith("sqlite") else MysqlBackend
    return kind.from_url(url)


def values(backend: Backend) -> dict[str, int]:
    """Return the values of the counters."""
    found = backend.get_many([Address(PARTITION, name) for name in NAMES])
    return {address.name: int(item.value) for address, item in found.items()}


def count_up(url: str, process: int, times: int) -> Counter[str]:
    """Increment counters `times` times; return the number of acknowledged writes of each."""
    backend = open_store(url)
    acknowledged: Counter[str] = Counter()
    for step in range(times):
        name = NAMES[(process + step) % len(NAMES)]
        while True:
            item = backend.get_many([Address(PARTITION, name)])[Address(PARTITION, name)]
            try:
                backend.apply(PARTITION, [Put(name, b"%d" % (int(item.value) + 1), item.version)])
            except Conflict:
                continue
            acknowledged[name] += 1
            break
    backend.close()
    return acknowledged


def initialize(url: str) -> None:
    """Create the schema of a store."""
    backend = open_store(url)
    try:
        backend.initialize()
        backend.check_schema()
    finally:
        backend.close()
