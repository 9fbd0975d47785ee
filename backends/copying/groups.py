"""Reading partitions that belong together at one instant, in a walk that meets them one by one.

A store keeps each partition whole, and no two. An owner may have two, and move something from the one
to the other while a backup walks from the first to the second: then it would be in the backup twice.
So whoever knows of such groups names them. All of a group is read when its first partition is met, at
one instant. The others wait in a temporary file until the walk comes to them; most of them are empty,
and only that is remembered.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from backends import Backend, Item
from backends.copying.transfer import PATIENCE_SECONDS, Busy, read_partition, walk

Items = Mapping[str, Item]

Related = Callable[[bytes, Items], Sequence[bytes]]
"""Returns the other partitions that belong to one with these items."""


def alone(_partition: bytes, _items: Items) -> Sequence[bytes]:
    """Return no partition: none belongs to another."""
    return ()


def read_all(source: Backend, related: Related = alone) -> Iterator[tuple[bytes, Items]]:
    """Yield all partitions in order with their items, those of a group as they were at one instant.

    In memory are the items of one group at the most. A partition may be yielded without items.

    Raises:
        Unavailable: the store can't answer now, or others keep writing for PATIENCE_SECONDS.
    """
    walked = walk(source)
    upcoming = next(walked, None)
    with closing(_Waiting()) as waiting:
        last = b""
        while True:
            waits = waiting.first_after(last)
            if upcoming is None and waits is None:
                return
            last = min(each for each in (upcoming, waits) if each is not None)
            if last == upcoming:
                upcoming = next(walked, None)
            if last == waits:
                yield last, waiting.items(last)
            else:
                yield last, _read_group(source, last, related, waiting)


def _read_group(source: Backend, partition: bytes, related: Related, waiting: _Waiting) -> Items:
    """Return the items of a partition; keep those of later partitions that belong to it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        items = read_partition(source, partition)
        # What was passed already is in the backup.
        others = [each for each in related(partition, items) if each > partition]
        if not others:
            return items
        group = {each: read_partition(source, each) for each in others}
        # Each was as it was read from then until now: together at the instant of the last read.
        if all(_is_unchanged(source, *each) for each in ((partition, items), *group.items())):
            for other, found in group.items():
                waiting.add(other, found)
            return items
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, 0.01))  # noqa: S311 - spreads readers, hides nothing


def _is_unchanged(source: Backend, partition: bytes, items: Items) -> bool:
    listed = {info.name: info.version for info in source.list(partition)}
    return listed == {name: item.version for name, item in items.items()}


class _Waiting:
    """Partitions that were read before their turn, in a temporary file without a name."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE partitions (partition BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute(
            "CREATE TABLE items (partition BLOB, name TEXT, expires_at INTEGER, value BLOB)"
        )
        self._database.execute("CREATE INDEX by_partition ON items (partition)")

    def add(self, partition: bytes, items: Items) -> None:
        """Keep what was read, unless the partition was read before."""
        insert = "INSERT OR IGNORE INTO partitions VALUES (?)"
        if self._database.execute(insert, (partition,)).rowcount:
            rows = ((partition, name, item.expires_at, item.value) for name, item in items.items())
            self._database.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)

    def first_after(self, partition: bytes) -> bytes | None:
        """Return the first partition that follows one; none if there is none."""
        query = "SELECT min(partition) FROM partitions WHERE partition > ?"
        [first] = self._database.execute(query, (partition,)).fetchone()
        return first  # type: ignore[no-any-return]

    def items(self, partition: bytes) -> Items:
        """Return the items of a partition, without versions."""
        query = "SELECT name, value, expires_at FROM items WHERE partition = ? ORDER BY name"
        rows = self._database.execute(query, (partition,))
        return {name: Item(value, 0, expires_at) for name, value, expires_at in rows}

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
