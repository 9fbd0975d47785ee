"""The state file of a copy: what is known of each partition, and how far the pass is."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from backends import BackendError

_APPLICATION_ID: Final = 0x50505332
FINGERPRINT_BYTES: Final = 16


class InvalidState(BackendError):
    """A state file can't be used; the message says why."""


class Pair(NamedTuple):
    """A partition that was the same in both stores.

    Attributes:
        source: hash of its versions in the source; none to compare it by value again.
        destination: hash of its versions in the destination, of items that don't expire.
        expiring: fingerprints of the items in the destination that expire.
    """

    source: bytes | None
    destination: bytes
    expiring: frozenset[bytes]


class UnderWay(NamedTuple):
    """A partition of the destination that is being written.

    Attributes:
        known: fingerprints of the items that were there, and of those that are written.
        kept: fingerprints of names that are there before and after.
    """

    known: frozenset[bytes]
    kept: frozenset[bytes]


class CopyState:
    """A context manager around the file, a SQLite database: every change of it is atomic.

    For one copy at a time, used by one thread. The file is readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; it is made if absent.

        Raises:
            InvalidState: it is something else, or another copy uses it.
            OSError: it can't be made.
        """
        path.touch(mode=0o600)
        try:
            self._database = sqlite3.connect(path, timeout=1)
        except sqlite3.Error:
            raise InvalidState("the state file can't be opened") from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise InvalidState("another copy is using the state file") from None
            raise InvalidState("the state file is something else, not of a copy") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._database.close()

    def is_new(self) -> bool:
        """Return whether nothing was copied yet."""
        tables = "SELECT 1 FROM pairs UNION ALL SELECT 1 FROM under_way"
        return self._database.execute(tables).fetchone() is None

    def forget(self) -> None:
        """Begin anew: compare everything by value, from the first partition on.

        What this copy wrote to the destination is still known as its own.
        """
        self._database.execute("DELETE FROM position")
        self._database.execute("UPDATE pairs SET source = NULL")
        self._database.commit()

    def position(self) -> bytes | None:
        """Return the last partition that an unfinished pass has done, if there is such a pass."""
        row = self._database.execute("SELECT after FROM position").fetchone()
        return None if row is None else bytes(row[0])

    def known(self, page: Sequence[bytes]) -> dict[bytes, Pair | UnderWay]:
        """Return what is known of partitions, which are given in order."""
        between = "WHERE partition BETWEEN ? AND ?", (page[0], page[-1])
        pairs = self._rows("SELECT partition, source, destination, expiring FROM pairs", *between)
        found: dict[bytes, Pair | UnderWay] = {
            partition: Pair(source, destination, _divided(expiring))
            for partition, source, destination, expiring in pairs
        }
        under_way = self._rows("SELECT partition, known, kept FROM under_way", *between)
        for partition, known, kept in under_way:
            found[partition] = UnderWay(_divided(known), _divided(kept))
        return found

    def intend(self, partitions: Mapping[bytes, UnderWay]) -> None:
        """Remember that these partitions of the destination are about to be written."""
        self._database.executemany(
            "REPLACE INTO under_way VALUES (?, ?, ?)",
            (
                (partition, b"".join(each.known), b"".join(each.kept))
                for partition, each in partitions.items()
            ),
        )
        self._database.commit()

    def record(self, pairs: Mapping[bytes, Pair], after: bytes | None) -> None:
        """Remember what a pass did, and up to where; None when it came to its end."""
        self._database.executemany(
            "REPLACE INTO pairs VALUES (?, ?, ?, ?)",
            (
                (partition, pair.source, pair.destination, b"".join(pair.expiring))
                for partition, pair in pairs.items()
            ),
        )
        self._database.executemany(
            "DELETE FROM under_way WHERE partition = ?", ((partition,) for partition in pairs)
        )
        self._database.execute("DELETE FROM position")
        if after is not None:
            self._database.execute("INSERT INTO position VALUES (?)", (after,))
        self._database.commit()

    def _rows(self, select: str, where: str, values: tuple[bytes, bytes]) -> sqlite3.Cursor:
        return self._database.execute(f"{select} {where}", values)

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        if database.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                raise sqlite3.DatabaseError
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute("CREATE TABLE IF NOT EXISTS position (after BLOB NOT NULL)")
        database.execute(
            "CREATE TABLE IF NOT EXISTS pairs"
            " (partition BLOB PRIMARY KEY, source BLOB, destination BLOB NOT NULL,"
            " expiring BLOB NOT NULL) WITHOUT ROWID"
        )
        database.execute(
            "CREATE TABLE IF NOT EXISTS under_way"
            " (partition BLOB PRIMARY KEY, known BLOB NOT NULL, kept BLOB NOT NULL) WITHOUT ROWID"
        )
        database.commit()


def _divided(fingerprints: bytes) -> frozenset[bytes]:
    size = FINGERPRINT_BYTES
    return frozenset(fingerprints[at : at + size] for at in range(0, len(fingerprints), size))
