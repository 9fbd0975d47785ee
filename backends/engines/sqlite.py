"""Items in a SQLite file: the durable default of one machine, for one or several processes."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, TableClause, event, make_url
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from backends import (
    BackendError,
    BatchOutcome,
    Conflict,
    NoWrites,
    Operation,
    Unavailable,
    chunks,
    outcome_of,
    value_bytes,
)
from backends.engines.sql import SqlBackend, Transient, open_engine
from backends.engines.sqlite_findings import of_file
from backends.engines.statements import CONTENT, KEY, MAX_STATEMENT_BYTES
from backends.findings import Finding, failed, ok

BUSY_SECONDS: Final = 5
CONNECTIONS: Final = 16
GROUP_BATCHES: Final = 200
"""The batches of one transaction: a service that writes too waits for its end."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",  # readers never wait for a writer
    "PRAGMA synchronous = FULL",  # acknowledged writes outlive a power cut
    "PRAGMA secure_delete = ON",  # erased values are overwritten
)
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NO_WRITES: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_PRIMARY_CODE: Final = 0xFF

logger = logging.getLogger(__name__)


class SqliteBackend(SqlBackend):
    """A SQLite file in WAL mode."""

    # Takes the write lock at once: a later attempt may fail after a part of the work.
    BEGIN = "BEGIN IMMEDIATE"
    TRIAL_BYTES = 64 * 1024  # as a rendition: the log may have room for less on a full disk

    @classmethod
    def from_url(cls, url: str | None, clock: Callable[[], float] = time.time) -> SqliteBackend:
        """Open `sqlite:///relative/path` or `sqlite:////absolute/path`.

        The first connection creates an absent file.

        Raises `ValueError` if the URL has another form.
        """
        try:
            parsed = make_url(url or "")
        except (ArgumentError, ValueError):
            raise ValueError("must be sqlite:///path") from None
        if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
            raise ValueError("must be sqlite:///path")
        if parsed.query:
            raise ValueError("must have no options after a question mark")
        path = Path(str(parsed.database)).absolute()
        if not path.parent.is_dir():
            raise ValueError("names a file in a folder that is not there")
        engine = open_engine(
            parsed,
            pool_size=CONNECTIONS,
            pool_timeout=BUSY_SECONDS,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        return cls(engine, path, clock)

    def __init__(self, engine: Engine, path: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(engine, BUSY_SECONDS, clock)
        self._path = path
        self._file = _identity(path)
        event.listen(engine, "do_connect", self._create)
        event.listen(engine, "connect", _set_up)

    @property
    def write_seconds(self) -> float:
        # Waiting for a connection; time limit of attempts; the last attempt.
        return 3 * BUSY_SECONDS

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        self._check_file()
        return super().apply(partition, operations)

    def apply_many(self, batches: Mapping[bytes, Sequence[Operation]]) -> Mapping[bytes, BatchOutcome]:
        self._check_file()
        outcomes: dict[bytes, BatchOutcome] = {}
        sizes = {partition: value_bytes(batch) for partition, batch in batches.items()}
        for group in chunks(batches, sizes.__getitem__, MAX_STATEMENT_BYTES, GROUP_BATCHES):
            prepared = {partition: self._prepared(partition, batches[partition]) for partition in group}
            steps = [step for _, its_steps in prepared.values() for step in its_steps]
            try:
                # One transaction: each has the price of its own wait for the disk.
                self._write(steps, lambda: False)
                outcomes |= {partition: versions for partition, (versions, _) in prepared.items()}
            except Conflict:
                outcomes |= {each: outcome_of(self, each, batches[each]) for each in group}
        return outcomes

    def ping(self) -> None:
        self._check_file()
        super().ping()

    def try_write(self) -> None:
        self._check_file()
        super().try_write()

    def examine(self) -> Iterator[Finding]:
        if self._file is None:
            yield failed("schema", "there is no database file", "run `persona-profile storage init`")
            return
        yield ok("version", f"SQLite {sqlite3.sqlite_version}")
        yield from of_file(self._path)
        yield from super().examine()

    def _create(self, *_: object) -> None:
        """Create an absent file before the first connection."""
        if self._file is None:
            with suppress(OSError):  # connecting fails with a better message
                # Readable by its owner alone; SQLite gives its other files the same mode.
                self._path.touch(mode=0o600)
            self._file = _identity(self._path)

    def _check_file(self) -> None:
        """Raise `Unavailable` if open connections write to a file that has lost its name."""
        if self._file is not None and _identity(self._path) != self._file:
            logger.error("SQLite: the database file was moved, replaced or deleted")
            raise Unavailable(
                "the database file was moved, replaced or deleted; restart the service", retry_after=60
            )

    def _upsert(self, table: TableClause) -> Any:
        statement = insert(table)
        replaced = {name: statement.excluded[name] for name in CONTENT}
        return statement.on_conflict_do_update(index_elements=KEY, set_=replaced)

    def _translate(self, error: DBAPIError) -> BackendError:
        code = getattr(error.orig, "sqlite_errorcode", 0)
        if code & _PRIMARY_CODE in _BUSY:
            return Transient("another process is writing")
        name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
        logger.error("SQLite error %s", name)
        if code == sqlite3.SQLITE_FULL:
            return NoWrites("the database file has no room left", retry_after=60)
        kind = NoWrites if code & _PRIMARY_CODE in _NO_WRITES else Unavailable
        return kind(f"the database file can't be used: {name}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_up(connection: Any, _record: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
