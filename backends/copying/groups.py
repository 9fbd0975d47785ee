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
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from backends import PATIENCE_SECONDS, Backend, Busy
from backends.copying.pace import UNLIMITED, Pace
from backends.copying.transfer import Items, read_partition, walk_items

Related = Callable[[bytes, Items], Sequence[bytes]]
"""Returns the other partitions in the group of a partition with these items."""


def read_all(
    source: Backend,
    related: Related = lambda *_: (),
    *,
    pace: Pace = UNLIMITED,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[tuple[bytes, Items]]:
    """Yield all partitions in order with their items, each group as it was at one instant.

    In memory are the items of one group and of two reads at most. Raises `Busy` if others keep writing
    for `patience` seconds.
    """
    with closing(walk_items(source, pace=pace)) as walked, closing(sqlite3.connect("")) as waiting:
        waiting.execute("CREATE TABLE waiting (partition BLOB PRIMARY KEY, items BLOB)")
        upcoming, last = next(walked, None), b""
        while True:
            first = "SELECT min(partition) FROM waiting WHERE partition > ?"
            [waits] = waiting.execute(first, (last,)).fetchone()
            if waits is not None and (upcoming is None or waits <= upcoming[0]):
                if upcoming is not None and waits == upcoming[0]:
                    upcoming = next(walked, None)
                found = "SELECT items FROM waiting WHERE partition = ?"
                [items] = waiting.execute(found, (waits,)).fetchone()
                last = waits
                yield last, pickle.loads(items)  # noqa: S301 - of this process
            elif upcoming is not None:
                last, items = upcoming
                upcoming = next(walked, None)
                yield last, _read_group(source, last, items, related, waiting, patience)
            else:
                return


def _read_group(
    source: Backend,
    partition: bytes,
    items: Items,
    related: Related,
    waiting: sqlite3.Connection,
    patience: float,
) -> Items:
    """Return the items of a partition; put later partitions of its group into `waiting`.

    `items` are those of an earlier read, and the result for a partition without such a group.
    """
    deadline = time.monotonic() + patience
    while True:
        # Earlier partitions are in the backup already.
        others = [each for each in related(partition, items) if each > partition]
        if not others:
            return items
        group = {each: read_partition(source, each) for each in others}
        # Each partition is unchanged since its read: all had these items at the last read.
        if all(_is_unchanged(source, *each) for each in ((partition, items), *group.items())):
            rows = [(other, pickle.dumps(found)) for other, found in group.items()]
            waiting.executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?)", rows)
            return items
        if time.monotonic() > deadline:
            raise Busy("others keep writing to a partition; try again when less is written")
        time.sleep(random.uniform(0, 0.01))  # noqa: S311 - no secret
        items = read_partition(source, partition)


def _is_unchanged(source: Backend, partition: bytes, items: Items) -> bool:
    listed = {info.name: info.version for info in source.list(partition)}
    return listed == {name: item.version for name, item in items.items()}
