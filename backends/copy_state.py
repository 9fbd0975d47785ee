"""The state file of a copy: what is known of each partition, and how far the pass is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from backends import BackendError

_APPLICATION_ID: Final = 0x50505343


class InvalidState(BackendError):
    """A state file can't be used; the message says why."""


class Pair(NamedTuple):
    """Hashes of a partition's versions in both stores; None where a write may be under way."""

    source: bytes | None
    destination: bytes | None


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
        self._database.commit()
        self._database.close()

    def is_new(self) -> bool:
        """Tell whether nothing was copied yet."""
        return self._database.execute("SELECT 1 FROM pairs").fetchone() is None

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

    def pairs(self, page: Sequence[bytes]) -> dict[bytes, Pair]:
        """Return what is known of partitions, which are given in order."""
        rows = self._database.execute(
            "SELECT partition, source, destination FROM pairs WHERE partition BETWEEN ? AND ?",
            (page[0], page[-1]),
        )
        return {partition: Pair(*hashes) for partition, *hashes in rows}

    def intend(self, partitions: Iterable[bytes]) -> None:
        """Remember that these partitions of the destination are about to be written."""
        self._replace((partition, None, None) for partition in partitions)
        self._database.commit()

    def record(self, pairs: Mapping[bytes, Pair], after: bytes | None) -> None:
        """Remember what a pass did, and up to where; None when it came to its end."""
        self._replace((partition, *pair) for partition, pair in pairs.items())
        self._database.execute("DELETE FROM position")
        if after is not None:
            self._database.execute("INSERT INTO position VALUES (?)", (after,))
        self._database.commit()

    def _replace(self, rows: Iterable[tuple[bytes, bytes | None, bytes | None]]) -> None:
        self._database.executemany("REPLACE INTO pairs VALUES (?, ?, ?)", rows)

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
            " (partition BLOB PRIMARY KEY, source BLOB, destination BLOB) WITHOUT ROWID"
        )
        database.commit()
