"""The file that makes an import resumable: which emails were imported, and which are about to be.

It names emails by their partitions, which are keyed digests: a thief of the file alone learns nothing.
Before a profile is written, the file has its present state. After a kill, another state shows that it
was written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

_APPLICATION_ID: Final = 0x50505349
_MEMORY: Final = ":memory:"


class InvalidProgressFile(Exception):
    """The file can't be used; the message says why."""


class ProgressFile:
    """The file, a SQLite database: every change is atomic. A context manager that closes it.

    It serves one import at a time, in one thread. The file is readable by its owner alone. Every method
    raises `InvalidProgressFile` if the disk is full or the file is damaged.
    """

    def __init__(self, path: Path, *, is_kept: bool = True) -> None:
        """Open the file; create it if it is absent, or, unless it `is_kept`, in memory only."""
        with _failures_explained():
            if is_kept:
                path.touch(mode=0o600)
            place = path if is_kept or path.exists() else _MEMORY
            self._database = sqlite3.connect(place, timeout=1)
        try:
            with _failures_explained():
                self._prepare()
        except InvalidProgressFile:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._database.close()

    def first_line(self, partition: bytes, line: int) -> int:
        """Return the line of this run in which an email was first: this one, or an earlier one."""
        with _failures_explained():
            self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (partition, line))
            found = self._database.execute("SELECT line FROM seen WHERE partition = ?", (partition,))
            return int(found.fetchone()[0])

    def known(self, partitions: Sequence[bytes]) -> Iterable[str | None]:
        """Return the entries of an email's partitions: None if imported, else the state before."""
        marks = ", ".join("?" * len(partitions))
        select = f"SELECT state FROM emails WHERE partition IN ({marks})"  # noqa: S608 - marks only
        with _failures_explained():
            return [state for (state,) in self._database.execute(select, tuple(partitions))]

    def intend(self, states: Mapping[bytes, str]) -> None:
        """Store the states of the profiles that the import is about to write."""
        with _failures_explained(), self._database:
            self._database.executemany("REPLACE INTO emails VALUES (?, ?)", states.items())

    def settle(self, imported: Iterable[bytes], rejected: Iterable[bytes]) -> None:
        """Store the outcomes of writes."""
        with _failures_explained(), self._database:
            self._database.executemany(
                "REPLACE INTO emails VALUES (?, NULL)", ((each,) for each in imported)
            )
            self._database.executemany(
                "DELETE FROM emails WHERE partition = ?", ((each,) for each in rejected)
            )

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN EXCLUSIVE")
        if database.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                raise InvalidProgressFile("is not the progress of an import")
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(
            "CREATE TABLE IF NOT EXISTS emails (partition BLOB PRIMARY KEY, state TEXT) WITHOUT ROWID"
        )
        # In a temporary file: a CSV may have more lines than fit into memory.
        database.execute("PRAGMA temp_store = FILE")
        database.commit()
        database.execute(
            "CREATE TEMP TABLE seen (partition BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID"
        )


@contextmanager
def _failures_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidProgressFile(str(error.strerror)) from None
    except sqlite3.Error as error:
        reasons = {
            sqlite3.SQLITE_BUSY: "another import is using it",
            sqlite3.SQLITE_NOTADB: "is not the progress of an import",
            sqlite3.SQLITE_FULL: "the disk is full",
        }
        code = getattr(error, "sqlite_errorcode", None) or 0
        raise InvalidProgressFile(reasons.get(code & 0xFF, "can't be read or written")) from None
