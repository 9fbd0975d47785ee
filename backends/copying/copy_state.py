"""The state file of a copy: its knowledge of each partition, and the position of its pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from backends import BackendError
from backends.copying.fingerprints import FINGERPRINT_BYTES

_APPLICATION_ID: Final = 0x50505332


class InvalidState(BackendError):
    """A state file can't be used; the message says why."""


class Copied(NamedTuple):
    """A partition that had the same values in both stores.

    Attributes:
        source: hash of its listing in the source; None to compare its values again.
        destination: hash of its listing in the destination.
        expiring: fingerprints of the items in the destination that expire.
    """

    source: bytes | None
    destination: bytes
    expiring: frozenset[bytes]


class Pending(NamedTuple):
    """A partition of the destination that the copy is about to write.

    Attributes:
        known: fingerprints of the present items, by version, and of the new items, by value.
        kept: fingerprints of the names that exist before and after.
    """

    known: frozenset[bytes]
    kept: frozenset[bytes]


class CopyState:
    """The file, a SQLite database: every change is atomic. A context manager that closes it.

    It serves one copy at a time, in one thread. The file is readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create it if it is absent.

        Raises:
            InvalidState: the file is no state of a copy, or another copy uses it.
            OSError: the file can't be created.
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
            raise InvalidState("the state file is not the state of a copy") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._database.close()

    def is_new(self) -> bool:
        """Return whether no partition was copied yet."""
        tables = "SELECT 1 FROM pairs UNION ALL SELECT 1 FROM under_way"
        return self._database.execute(tables).fetchone() is None

    def forget(self) -> None:
        """Compare all values again, from the first partition on.

        The copy still knows its own items in the destination.
        """
        self._database.execute("DELETE FROM position")
        self._database.execute("UPDATE pairs SET source = NULL")
        self._database.commit()

    def position(self) -> bytes | None:
        """Return the last partition that an unfinished pass has done; None without such a pass."""
        row = self._database.execute("SELECT after FROM position").fetchone()
        return None if row is None else bytes(row[0])

    def known(self, page: Sequence[bytes]) -> dict[bytes, Copied | Pending]:
        """Return the entries of partitions, which are given in order."""
        between = "WHERE partition BETWEEN ? AND ?", (page[0], page[-1])
        copied = self._rows("SELECT partition, source, destination, expiring FROM pairs", *between)
        found: dict[bytes, Copied | Pending] = {
            partition: Copied(source, destination, _divided(expiring))
            for partition, source, destination, expiring in copied
        }
        pending = self._rows("SELECT partition, known, kept FROM under_way", *between)
        for partition, known, kept in pending:
            found[partition] = Pending(_divided(known), _divided(kept))
        return found

    def intend(self, partitions: Mapping[bytes, Pending]) -> None:
        """Store which partitions of the destination the copy is about to write."""
        self._database.executemany(
            "REPLACE INTO under_way VALUES (?, ?, ?)",
            (
                (partition, b"".join(each.known), b"".join(each.kept))
                for partition, each in partitions.items()
            ),
        )
        self._database.commit()

    def record(self, copied: Mapping[bytes, Copied], after: bytes | None) -> None:
        """Store the results of a pass and its position; None at its end."""
        self._database.executemany(
            "REPLACE INTO pairs VALUES (?, ?, ?, ?)",
            (
                (partition, each.source, each.destination, b"".join(each.expiring))
                for partition, each in copied.items()
            ),
        )
        self._database.executemany(
            "DELETE FROM under_way WHERE partition = ?", ((partition,) for partition in copied)
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
