"""What the SQL backends cost, as ratios of things done in turns on one private server or file.

- Opening the dialog for two emails: how many queries that is, and its latency in a store of a million
  profiles over that in a store of a thousand. Everything is in memory by then.
- Writing a picture with all its renditions: how many a second, over a bare multi-row INSERT of the
  same bytes by the driver.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
from sqlalchemy import event, make_url

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.servers.mariadb import MariaDB

from backends import Address, Backend, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.sql import SqlBackend
from backends.engines.sqlite import SqliteBackend

KEY_BYTES, PROFILE_BYTES = 428, 1108
NAMES = ("not_before", "key", "profile")
RENDITIONS = 12
RENDITION_BYTES = 200_000 // RENDITIONS
ROUNDS = 9
OPENINGS = 500
PICTURES = 40
CHUNK = 50_000

COLUMNS = "(`partition`, name, version, expires_at, value)"


def partition_of(number: int) -> bytes:
    """Return a partition that looks like the one of an email."""
    return b"\x01" + hashlib.sha256(str(number).encode()).digest()


def driver_connection(url: str) -> pymysql.Connection:
    """Connect to where a backend connects, without it."""
    parsed = make_url(url)
    return pymysql.connect(
        host=parsed.host,
        port=parsed.port or 3306,
        user=parsed.username,
        password=parsed.password or "",
        database=parsed.database,
        autocommit=True,
    )


def random_bytes(size: int) -> str:
    """Return an expression; the server's function makes 1,024 bytes at the most."""
    sizes = [min(1024, size - start) for start in range(0, size, 1024)]
    return f"CONCAT({', '.join(f'RANDOM_BYTES({each})' for each in sizes)})"


def fill_mysql(url: str, profiles: int) -> None:
    """Write profiles by the server itself: it knows how to make numbers, hashes and random bytes."""
    with closing(driver_connection(url)) as connection, connection.cursor() as cursor:
        for start in range(0, profiles, CHUNK):
            end = min(start + CHUNK, profiles) - 1
            for name, size in (("key", KEY_BYTES), ("profile", PROFILE_BYTES)):
                rows = (
                    f"SELECT CONCAT(X'01', UNHEX(SHA2(seq, 256))), '{name}', "
                    f"1 + FLOOR(RAND() * 9e18), NULL, {random_bytes(size)} FROM seq_{start}_to_{end}"
                )
                cursor.execute(f"INSERT INTO items {COLUMNS} {rows}")


def fill_sqlite(url: str, profiles: int) -> None:
    """Write profiles by the driver."""
    with closing(sqlite3.connect(make_url(url).database or "")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        for start in range(0, profiles, CHUNK):
            rows = (
                (partition_of(number), name, random.getrandbits(62), None, os.urandom(size))
                for number in range(start, min(start + CHUNK, profiles))
                for name, size in ((b"key", KEY_BYTES), (b"profile", PROFILE_BYTES))
            )
            connection.executemany(f"INSERT INTO items {COLUMNS} VALUES (?, ?, ?, ?, ?)", rows)
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def open_dialog(backend: Backend, profiles: int) -> None:
    """Read what ProfileService reads for a session of two emails."""
    numbers = random.sample(range(profiles), 2)
    found = backend.get_many(
        [Address(partition_of(number), name) for number in numbers for name in NAMES]
    )
    assert len(found) == 4


def queries_to_open(backend: SqlBackend, profiles: int) -> int:
    """Count the statements that opening a dialog sends."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        statements.append(statement)

    event.listen(backend._engine, "before_cursor_execute", note)
    open_dialog(backend, profiles)
    event.remove(backend._engine, "before_cursor_execute", note)
    return len(statements)


def questions(server: MariaDB, backend: Backend, profiles: int) -> float:
    """Count the queries that the server gets when dialogs are opened, for each."""
    counts = [0]
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        for openings in (0, OPENINGS):
            for _ in range(openings):
                open_dialog(backend, profiles)
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
            counts.append(int(cursor.fetchone()[1]))
    return (counts[2] - counts[1] - 1) / OPENINGS


def seconds_to_open(backend: Backend, profiles: int) -> float:
    """Return the median latency of opening a dialog of random emails."""
    taken = []
    for _ in range(OPENINGS):
        start = time.perf_counter()
        open_dialog(backend, profiles)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure_opening(name: str, stores: dict[int, SqlBackend]) -> None:
    """Compare stores of two sizes."""
    small, large = sorted(stores)
    for profiles, backend in stores.items():
        with backend._engine.connect() as connection:
            for table in ("items", "bulk_items"):
                connection.exec_driver_sql(f"SELECT SUM(LENGTH(value)), SUM(LENGTH(name)) FROM {table}")
        for _ in range(4):
            seconds_to_open(backend, profiles)
    pairs = [
        (seconds_to_open(stores[large], large), seconds_to_open(stores[small], small))
        for _ in range(ROUNDS)
    ]
    queries = queries_to_open(stores[large], large)
    show(f"{name}: queries to open the dialog for two emails", [float(queries)])
    milliseconds = ", ".join(
        f"{1000 * statistics.median(each):.2f}" for each in zip(*pairs, strict=True)
    )
    what = f"{name}: latency of that, {large:,} profiles over {small:,}"
    show(what, [many / few for many, few in pairs], f"{milliseconds} ms")


def picture_set() -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return a new owner, and the renditions of a picture as they are stored."""
    folder = f"picture/{os.urandom(8).hex()}"
    files = [(f"{folder}/{number}.webp", os.urandom(RENDITION_BYTES)) for number in range(RENDITIONS)]
    return os.urandom(33), files


def pictures_per_second(write: Callable[[bytes, list[tuple[str, bytes]]], object]) -> float:
    """Return how many pictures a second are written."""
    sets = [picture_set() for _ in range(PICTURES)]
    start = time.perf_counter()
    for partition, files in sets:
        write(partition, files)
    return PICTURES / (time.perf_counter() - start)


def measure_writing(name: str, backend: Backend, insert: Callable[[str, list[object]], object]) -> None:
    """Compare a backend's batch with a bare INSERT."""

    def by_backend(partition: bytes, files: list[tuple[str, bytes]]) -> None:
        backend.apply(partition, [Put(*file) for file in files])

    def by_driver(partition: bytes, files: list[tuple[str, bytes]]) -> None:
        rows = [
            (partition, name.encode(), random.getrandbits(62), None, value) for name, value in files
        ]
        marks = ", ".join(["(%s, %s, %s, %s, %s)"] * len(rows))
        statement = f"INSERT INTO bulk_items {COLUMNS} VALUES {marks}"
        insert(statement, [value for row in rows for value in row])

    for write in (by_backend, by_driver):
        pictures_per_second(write)
    pairs = [(pictures_per_second(by_backend), pictures_per_second(by_driver)) for _ in range(ROUNDS)]
    rates = ", ".join(f"{statistics.median(each):.0f}" for each in zip(*pairs, strict=True))
    what = f"{name}: pictures/s, over those of a bare INSERT"
    show(what, [ours / bare for ours, bare in pairs], f"{rates}/s")


def show(what: str, ratios: list[float], note: str = "") -> None:
    """Print a line of the table."""
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else ""
    print(f"{what:<66} {statistics.median(ratios):6.2f}  {spread:<14} {note}", flush=True)


@contextmanager
def filled(kind: type[SqlBackend], url: str, profiles: int) -> Iterator[SqlBackend]:
    """Make a store of so many profiles."""
    backend = kind.from_url(url)  # type: ignore[attr-defined]
    backend.initialize()
    start = time.perf_counter()
    (fill_mysql if kind is MysqlBackend else fill_sqlite)(url, profiles)
    seconds = time.perf_counter() - start
    print(f"  filled with {profiles:,} profiles, {2 * profiles / seconds:,.0f} rows/s", flush=True)
    with closing(backend):
        yield backend


def measure_mysql(folder: Path, small: int, large: int) -> None:
    """Measure on MariaDB."""
    server = MariaDB(folder, innodb_buffer_pool_size="3G", innodb_log_file_size="1G")
    with server.running():
        server.create_database()
        server.query("CREATE DATABASE small CHARACTER SET binary")
        server.query("GRANT ALL ON small.* TO persona@'127.0.0.1'")
        server.query("SET GLOBAL innodb_flush_log_at_trx_commit = 0")
        small_url = make_url(server.url).set(database="small").render_as_string(hide_password=False)
        with (
            filled(MysqlBackend, small_url, small) as few,
            filled(MysqlBackend, server.url, large) as many,
        ):
            server.query("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
            show(
                "MariaDB: queries to open the dialog, by the server's count",
                [questions(server, many, large)],
            )
            measure_opening("MariaDB", {small: few, large: many})
            with closing(driver_connection(server.url)) as bare, bare.cursor() as cursor:
                measure_writing("MariaDB", many, cursor.execute)


def measure_sqlite(folder: Path, small: int, large: int) -> None:
    """Measure on SQLite."""
    paths = [folder / f"{size}.sqlite" for size in (small, large)]
    with (
        filled(SqliteBackend, f"sqlite:///{paths[0]}", small) as few,
        filled(SqliteBackend, f"sqlite:///{paths[1]}", large) as many,
        closing(sqlite3.connect(paths[1], isolation_level=None)) as connection,
    ):
        measure_opening("SQLite", {small: few, large: many})
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")

        def insert(statement: str, values: list[object]) -> None:
            connection.execute(statement.replace("%s", "?"), values)

        measure_writing("SQLite", many, insert)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", type=int, default=1000, metavar="PROFILES")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="PROFILES")
    options = parser.parse_args()
    print("median of rounds, all rounds, medians of both")
    for measure in (measure_mysql, measure_sqlite):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options.small, options.large)


if __name__ == "__main__":
    main()
