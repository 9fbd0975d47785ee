"""Reads of related partitions at one instant, within a walk over all partitions.

A store keeps each partition consistent, not several. The owner of the data may move items from one
partition to another while a backup walks from the first to the second: then the backup would have them
twice. So the owner names related partitions. When the walk reaches the first partition of a group, the
whole group is read at one instant. The other partitions wait in a temporary file until the walk reaches
them; most of them are empty, and take one row.
"""

from __future__ import annotations

import pickle
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from backends import Backend, Item
from backends.copying.transfer import PATIENCE_SECONDS, Busy, read_partition, walk

Items = Mapping[str, Item]

Related = Callable[[bytes, Items], Sequence[bytes]]
"""Returns the other partitions in the group of a partition with these items."""


def read_all(
    source: Backend, related: Related = lambda *_: (), *, patience: float = PATIENCE_SECONDS
) -> Iterator[tuple[bytes, Items]]:
    """Yield all partitions in order with their items, each group as it was at one instant.

    In memory are the items of one group at most. A partition may come without items.
    Raises `Busy` if others keep writing for `patience` seconds.
    """
    walked = walk(source)
    upcoming = next(walked, None)
    with closing(sqlite3.connect("")) as waiting:
        waiting.execute("CREATE TABLE waiting (partition BLOB PRIMARY KEY, items BLOB)")
        last = b""
        while True:
            first = "SELECT min(partition) FROM waiting WHERE partition > ?"
            [waits] = waiting.execute(first, (last,)).fetchone()
            if upcoming is None and waits is None:
                return
            last = min(each for each in (upcoming, waits) if each is not None)
            if last == upcoming:
                upcoming = next(walked, None)
            if last == waits:
                found = "SELECT items FROM waiting WHERE partition = ?"
                [items] = waiting.execute(found, (last,)).fetchone()
                yield last, pickle.loads(items)  # noqa: S301 - of this process
            else:
                yield last, _read_group(source, last, related, waiting, patience)


def _read_group(
    source: Backend, partition: bytes, related: Related, waiting: sqlite3.Connection, patience: float
) -> Items:
    """Return the items of a partition; put later partitions of its group into `waiting`."""
    deadline = time.monotonic() + patience
    while True:
        items = read_partition(source, partition, patience=patience)
        # Earlier partitions are in the backup already.
        others = [each for each in related(partition, items) if each > partition]
        if not others:
            return items
        group = {each: read_partition(source, each, patience=patience) for each in others}
        # Each partition is unchanged since its read: all had these items at the last read.
        if all(_is_unchanged(source, *each) for each in ((partition, items), *group.items())):
            rows = [(other, pickle.dumps(found)) for other, found in group.items()]
            waiting.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?)", rows)
            return items
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, 0.01))  # noqa: S311 - no secret


def _is_unchanged(source: Backend, partition: bytes, items: Items) -> bool:
    listed = {info.name: info.version for info in source.list(partition)}
    return listed == {name: item.version for name, item in items.items()}
