from __future__ import annotations

import contextlib
import multiprocessing
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from counting import NAMES, PARTITION, count_up, initialize, open_store, values
from support.servers.applications import wait_for
from support.servers.disks import leave_free, small_disk
from support.servers.mariadb import MariaDB
from support.servers.services import Answer, Client, Service
from support.stores.writers import Writer, wait_until_well, writing

from backends import Address, Backend, Delete, Put, Unavailable

PROCESSES = 4
WRITERS = 4
EMAILS = tuple(f"person{number}@example.com" for number in range(WRITERS))


@pytest.fixture(params=["sqlite", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/items.sqlite"
    mariadb = request.getfixturevalue("mariadb")
    mariadb.create_database()
    return mariadb.url


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Starts a service on a database."""
    services = []

    def make(url: str) -> Service:
        service = Service(tmp_path / "service", url.partition(":")[0], url)
        services.append(service)
        service.start()
        return service

    yield make
    for service in services:
        service.close()


@pytest.fixture
def store(url: str) -> Iterator[Backend]:
    """A direct connection to the database."""
    backend = open_store(url)
    yield backend
    backend.close()


def check(service: Service, writers: list[Writer], store: Backend) -> None:
    """Check that the store has every acknowledged write, and no items without an owner."""
    for writer in writers:
        writer.check(store, service.keyring)
    verified = service.run("storage", "verify")
    assert verified.returncode == 0, verified


def rounds(pytestconfig: pytest.Config, have_met_everything: Callable[[], bool]) -> Iterator[int]:
    """Count crashes: the configured number, and more until the writers have met each case.

    On a busy machine that takes longer: fewer writes are in progress at a crash.
    """
    least = pytestconfig.getoption("--crashes")
    for number in range(10 * least):
        if number >= least and have_met_everything():
            return
        yield number


def test_processes_lose_no_write(url):
    """Processes that increment five counters by compare-and-set end with the exact sums."""
    initialize(url)
    backend = open_store(url)
    backend.apply(PARTITION, [Put(name, b"0") for name in NAMES])
    times = 60
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        counts = [pool.submit(count_up, url, process, times) for process in range(PROCESSES)]
        total = sum((count.result(100) for count in counts), Counter())
    assert values(backend) == total
    assert total.total() == PROCESSES * times
    backend.close()


@pytest.mark.timeout(3600)
def test_service_killed(url, store, make_service, pytestconfig):
    """A service that is killed at any instant loses no acknowledged write."""
    service = make_service(url)
    writers = [Writer(service, email) for email in EMAILS]

    def all_were_cut() -> bool:
        return all(writer.writes and writer.cuts for writer in writers)

    for _ in rounds(pytestconfig, all_were_cut):
        with writing(writers):
            time.sleep(random.uniform(0.02, 0.5))
            service.kill()
        service.start()
        for writer in writers:
            writer.check(store, service.keyring)
    check(service, writers, store)
    assert all_were_cut()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("url", ["mysql"], indirect=True)
def test_database_killed(url, store, make_service, mariadb, pytestconfig):
    """A database that is killed under a running service costs rejections, and no write."""
    service = make_service(url)
    writers = [Writer(service, email) for email in EMAILS]

    def all_were_refused() -> bool:
        return all(writer.writes and writer.rejections for writer in writers)

    for _ in rounds(pytestconfig, all_were_refused):
        with writing(writers):
            time.sleep(random.uniform(0.02, 0.5))
            mariadb.signal(signal.SIGKILL)
            time.sleep(random.uniform(0, 0.3))
            mariadb.start()
            wait_until_well(service)
            time.sleep(0.1)
        for writer in writers:
            writer.check(store, service.keyring)
    check(service, writers, store)
    assert all_were_refused()
    assert not any(writer.cuts for writer in writers)
    assert max(writer.slowest for writer in writers) < 5


class Poll(threading.Thread):
    """Sends requests without storage all the time; records their times and durations."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.answers: list[tuple[float, Answer]] = []
        self._client = Client(service, "")
        self._stop_asking = threading.Event()

    def run(self) -> None:
        while not self._stop_asking.wait(0.05):
            began = time.monotonic()
            self.answers.append((began, self._client.call("GET", "/__lbheartbeat__")))

    def stop(self) -> None:
        self._stop_asking.set()
        self.join(30)


@pytest.mark.alone
@pytest.mark.parametrize("url", ["mysql"], indirect=True)
def test_database_frozen(url, store, make_service, mariadb):
    """A silent database costs rejections within the time limit, not the threads of the service."""
    limit = 3
    service = make_service(f"{url}?read_timeout={limit}&write_timeout={limit}")
    writers = [Writer(service, f"person{number}@example.com") for number in range(16)]
    poll = Poll(service)
    with writing(writers):
        time.sleep(0.5)
        poll.start()
        mariadb.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            time.sleep(3 * limit)
            before = [writer.writes for writer in writers]
            rejected = [writer.rejections for writer in writers]
        finally:
            mariadb.signal(signal.SIGCONT)
        poll.stop()
        assert wait_until_well(service) < limit
        time.sleep(1)
    check(service, writers, store)
    assert all(rejected)
    assert not any(writer.cuts for writer in writers)
    assert all(writer.writes > count for writer, count in zip(writers, before, strict=True))
    assert max(writer.slowest for writer in writers) < limit + 1.5
    at_first = [answer.seconds for began, answer in poll.answers if began < frozen + 1.5]
    later = [answer.seconds for began, answer in poll.answers if began >= frozen + 1.5]
    assert max(at_first) < 2
    assert max(later) < 0.5
    assert len(later) > 50


def fill(store: Backend) -> tuple[dict[bytes, bytes], Unavailable]:
    """Write until the disk is full; return the acknowledged values, and the failure."""
    acknowledged = {}
    for number in range(1000):
        partition = b"\xfe%d" % number
        value = random.randbytes(50_000)
        try:
            store.apply(partition, [Put("picture/1/1.jpeg", value)])
        except Unavailable as rejected:
            return acknowledged, rejected
        acknowledged[partition] = value
    raise AssertionError("there was always room")


def check_full_disk(
    service: Service,
    store: Backend,
    make_room: Callable[[], object],
    has_survived: Callable[[], bool] = lambda: True,
) -> None:
    """Check that a full disk costs rejections only, and that all works once there is room.

    Messages and reads meanwhile are checked only if the database has survived.
    """
    writers = [Writer(service, email) for email in EMAILS]
    with writing(writers):
        time.sleep(0.5)
    with writing(writers):
        filled, rejected = fill(store)
        wait_for(lambda: all(writer.rejections for writer in writers))
    assert rejected.retry_after > 0
    assert filled
    if has_survived():
        assert "has no room left" in str(rejected)
        for writer in writers:
            writer.check(store, service.keyring)
        service.kill()
        service.start()
    written = [writer.writes for writer in writers]
    make_room()
    wait_until_well(service)
    with writing(writers):
        time.sleep(0.5)
    assert all(writer.writes > before for writer, before in zip(writers, written, strict=True))
    for partition, value in filled.items():
        address = Address(partition, "picture/1/1.jpeg")
        assert store.get_many([address])[address].value == value
        store.apply(partition, [Delete(address.name)])
    check(service, writers, store)


def test_disk_full_under_sqlite(tmp_path, make_service):
    """A full disk under a SQLite file costs rejections and nothing else."""
    with small_disk(tmp_path / "disk", 16) as disk:
        url = f"sqlite:///{disk}/items.sqlite"
        service = make_service(url)
        ballast = leave_free(disk, 8_000_000)
        with contextlib.closing(open_store(url)) as store:
            check_full_disk(service, store, ballast.unlink)
        service.close()
        with contextlib.closing(sqlite3.connect(disk / "items.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextlib.contextmanager
def installed(server: MariaDB) -> Iterator[MariaDB]:
    """Run a server for one test."""
    with server.running():
        server.create_database()
        yield server


def test_tables_full_in_mariadb(tmp_path, make_service):
    """Tables that can't grow cost rejections and nothing else, even if MariaDB crashes."""
    files = "ibdata1:12M;ibdata2:12M"
    server = MariaDB(tmp_path, innodb_file_per_table="0", innodb_data_file_path=files)

    def survives() -> bool:
        time.sleep(1)  # InnoDB aborts, slowly, if a rollback finds no room
        return server.is_running

    def make_room() -> None:
        server.stop()
        server.options["innodb_data_file_path"] = f"{files};ibdata3:12M:autoextend"
        server.start()

    with installed(server), contextlib.closing(open_store(server.url)) as store:
        check_full_disk(make_service(server.url), store, make_room, survives)
        assert server.query("CHECK TABLE persona.bulk_items")[0][3] == "OK"


def test_disk_full_under_mariadb(tmp_path, make_service):
    """A full disk, which may crash MariaDB, costs rejections and nothing else."""
    with small_disk(tmp_path / "disk", 256) as disk:
        server = MariaDB(disk, innodb_log_file_size="16M")
        with installed(server), contextlib.closing(open_store(server.url)) as store:
            service = make_service(server.url)
            ballast = leave_free(disk, 8_000_000)

            def make_room() -> None:
                server.stop()
                ballast.unlink()
                server.start()

            check_full_disk(service, store, make_room, has_survived=lambda: False)
            assert server.query("CHECK TABLE persona.bulk_items")[0][3] == "OK"
