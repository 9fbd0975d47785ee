"""Several hosts in a URL: two ports behind which is the same database."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest
from support.mariadb import MariaDB
from support.proxies import Proxy, proxy
from support.refusals import refused
from support.tls import serving, silent

import backends.engines.hosts
from backends import Address, Put
from backends.engines.hosts import Host, Hosts
from backends.engines.mysql import MysqlBackend

PARTITION = b"\x01" + b"h" * 32
A = Address(PARTITION, "a")


def url_of(*ports: int, more: str = "") -> str:
    """Return the URL of hosts of loopback."""
    hosts = "&".join(f"host=127.0.0.1:{port}" for port in ports)
    return f"mysql://persona:secret@/persona?{hosts}{more}"


@pytest.fixture
def database(mariadb: MariaDB) -> MariaDB:
    """A database that is ready and empty."""
    mariadb.create_database()
    with closing(MysqlBackend.from_url(mariadb.url)) as backend:
        backend.initialize()
    return mariadb


@pytest.fixture
def second(database: MariaDB) -> Iterator[Proxy]:
    """The host that stands by."""
    with proxy(database.port) as standing_by:
        yield standing_by


def unused_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition, seconds: float = 15) -> None:
    """Return when something has become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "query",
    [
        "127.0.0.1/persona?host=127.0.0.1",
        "/persona",
        ":3306/persona?host=one",
        "/persona?host=",
        "/persona?host=one:x",
        "/persona?host=one&host=one:3306",
        "/persona?host=::1",
        "/persona?host=one:65536",
        "/persona?host=one..two",
        "127.0.0.1:65536/persona",
        "/?host=one",
    ],
)
def test_urls_refused(query):
    """A URL that does not say where, or says it twice, is refused without showing the password."""
    with pytest.raises(ValueError, match=r"must be|twice|can't be") as raised:
        MysqlBackend.from_url(f"mysql://persona:secret@{query}")
    assert "secret" not in str(raised.value)


def test_preference(database, second):
    """The first host is used while it is well, the others are not even asked."""
    with closing(MysqlBackend.from_url(url_of(database.port, second.port))) as backend:
        for _ in range(5):
            backend.ping()
    assert second.connections == 0


def test_refusing_host(database, second):
    """A host that refuses is passed over at once, and used again once it listens."""
    port = unused_port()
    with closing(MysqlBackend.from_url(url_of(port, second.port))) as backend:
        backend.apply(PARTITION, [Put("a", b"1")])
        with proxy(database.port, port) as first:
            wait_until(lambda: backend.ping() or first.connections > 1)
            before = second.connections
            for _ in range(20):
                backend.ping()
            assert second.connections == before
            assert backend.get_many([A])[A].value == b"1"
        backend.ping()


def test_silent_host(second):
    """A host that takes connections and says nothing costs the time limit once."""
    with (
        serving(silent) as first,
        closing(
            MysqlBackend.from_url(url_of(first.port, second.port, more="&connect_timeout=1"))
        ) as backend,
    ):
        backend.ping()
        asked = first.connections
        for _ in range(50):
            backend.ping()
        assert first.connections <= asked + 1  # a look whether it is back


def test_all_connections_at_once(database, second):
    """When a host falls silent, all that wait for it go on with another one, long before they must."""
    with (
        proxy(database.port) as first,
        closing(
            MysqlBackend.from_url(url_of(first.port, second.port, more="&read_timeout=90"))
        ) as backend,
    ):
        results = []

        def write(number: int) -> None:
            results.append(backend.apply(PARTITION, [Put(f"n{number}", b"1")]))

        backend.ping()
        first.hush()
        threads = [threading.Thread(target=write, args=[number]) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)  # far less than what they may wait
        assert len(results) == len(threads)
        assert not backend.stats().is_unreachable
        assert {info.name for info in backend.list(PARTITION)} == {"n0", "n1"}


def test_full_host(database, second, monkeypatch):
    """A host that takes no more connections is passed over; what waits for it goes on."""
    monkeypatch.setattr(backends.engines.hosts, "SUSPICION_SECONDS", 0.05)
    here, there = Host("127.0.0.1", database.port), Host("127.0.0.1", second.port)
    full: set[Host] = set()

    def open_to(host: Host, *_: object) -> pymysql.Connection:
        if host in full:
            raise pymysql.err.OperationalError(1040, "Too many connections")
        return pymysql.connect(host=host.name, port=host.port, user="persona", password="secret")

    hosts = Hosts([here, there], open_to)
    with hosts.connect() as connection, connection.cursor() as cursor, hosts.lending(connection):
        full.add(here)
        while not hosts.is_passed_over(here):
            cursor.execute("SELECT SLEEP(0.3)")
            assert cursor.fetchone() == (0,)
    hosts.close()


def test_none_is_well(database):
    """When no host takes connections that is told at once, with the reason that says most."""
    with contextlib.closing(MysqlBackend.from_url(url_of(unused_port(), unused_port()))) as backend:
        for _ in range(3):
            with refused("can't be reached"):
                backend.ping()
    wrong = url_of(unused_port(), database.port).replace("secret", "wrong")
    with closing(MysqlBackend.from_url(wrong)) as backend, refused("user or the password"):
        backend.ping()
