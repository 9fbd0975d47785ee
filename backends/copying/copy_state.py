"""The state file of a copy: its knowledge of each partition, and the position of its pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, Self

from backends import BackendError, Item, ItemInfo

_APPLICATION_ID: Final = 0x50505333
_FINGERPRINT_BYTES: Final = 16
_REPLACE: Final = "REPLACE INTO partitions VALUES (?, ?, ?, ?, ?)"


class InvalidState(BackendError):
    """A state file can't be used; the message says why."""


class Copied(NamedTuple):
    """A partition that had the same values in both stores: the hashes of its listings.

    Attributes:
        source: None to compare the values again.
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

        Raises `InvalidState` if it is no state of a copy, or if another copy uses it.
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
        return self._database.execute("SELECT 1 FROM partitions").fetchone() is None

    def forget(self) -> None:
        """Compare all values again, from the first partition on.

        The copy still knows its own items in the destination.
        """
        with self._database:
            self._database.execute("DELETE FROM position")
            self._database.execute("UPDATE partitions SET source = NULL")

    def position(self) -> bytes | None:
        """Return the last partition that an unfinished pass has done; None without such a pass."""
        row = self._database.execute("SELECT after FROM position").fetchone()
        return None if row is None else bytes(row[0])

    def known(self, page: Sequence[bytes]) -> dict[bytes, Copied | Pending]:
        """Return the entries of partitions, which are given in order."""
        select = "SELECT * FROM partitions WHERE partition BETWEEN ? AND ?"
        return {
            partition: Copied(source, destination, _divided(items))
            if kept is None
            else Pending(_divided(items), _divided(kept))
            for partition, source, destination, items, kept in self._database.execute(
                select, (page[0], page[-1])
            )
        }

    def intend(self, pending: Mapping[bytes, Pending]) -> None:
        """Store which partitions of the destination the copy is about to write."""
        rows = (
            (partition, None, None, b"".join(each.known), b"".join(each.kept))
            for partition, each in pending.items()
        )
        with self._database:
            self._database.executemany(_REPLACE, rows)

    def record(self, copied: Mapping[bytes, Copied], after: bytes | None) -> None:
        """Store the results of a pass and its position; None at its end."""
        rows = (
            (partition, each.source, each.destination, b"".join(each.expiring), None)
            for partition, each in copied.items()
        )
        with self._database:
            self._database.executemany(_REPLACE, rows)
            self._database.execute("DELETE FROM position")
            if after is not None:
                self._database.execute("INSERT INTO position VALUES (?)", (after,))

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        if database.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                raise sqlite3.DatabaseError
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute("CREATE TABLE IF NOT EXISTS position (after BLOB NOT NULL)")
        # A row is a `Copied` or, with `kept`, a `Pending`.
        database.execute(
            "CREATE TABLE IF NOT EXISTS partitions (partition BLOB PRIMARY KEY, source BLOB,"
            " destination BLOB, items BLOB NOT NULL, kept BLOB) WITHOUT ROWID"
        )
        database.commit()


def by_version(info: ItemInfo) -> bytes:
    """Return the fingerprint of an item by its version."""
    return _digest(b"version\0%s\0%016x" % (info.name.encode("ascii"), info.version))


def by_value(name: str, item: Item) -> bytes:
    """Return the fingerprint of an item by its value and expiry."""
    return _digest(b"value\0%s\0%d\0" % (name.encode("ascii"), item.expires_at or 0), item.value)


def by_name(name: str) -> bytes:
    """Return the fingerprint of a name."""
    return _digest(b"name\0" + name.encode("ascii"))


def of_listing(infos: Iterable[ItemInfo]) -> bytes:
    """Return the hash of the versions in a listing, of the items that do not expire."""
    lasting = (info for info in infos if info.expires_at is None)
    return _digest(*(b"%s\0%016x" % (info.name.encode("ascii"), info.version) for info in lasting))


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=_FINGERPRINT_BYTES).digest()


def _divided(fingerprints: bytes) -> frozenset[bytes]:
    size = _FINGERPRINT_BYTES
    return frozenset(fingerprints[at : at + size] for at in range(0, len(fingerprints), size))
