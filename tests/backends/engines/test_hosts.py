"""Several hosts in a URL: two ports of the same database."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest
from failing import fails
from support.servers.mariadb import MariaDB
from support.servers.ports import free_port
from support.servers.proxies import Proxy, proxy
from support.servers.tls import serving, silent

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
    """A database with an empty schema."""
    mariadb.create_database()
    with closing(MysqlBackend.from_url(mariadb.url)) as backend:
        backend.initialize()
    return mariadb


@pytest.fixture
def second(database: MariaDB) -> Iterator[Proxy]:
    """A second host of the database."""
    with proxy(database.port) as standing_by:
        yield standing_by


def wait_until(condition, seconds: float = 15) -> None:
    """Wait until a condition is true."""
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
    """A URL without hosts, or with a host twice, is rejected; the message has no password."""
    with pytest.raises(ValueError, match=r"must be|twice|can't be") as raised:
        MysqlBackend.from_url(f"mysql://persona:secret@{query}")
    assert "secret" not in str(raised.value)


def test_preference(database, second):
    """While the first host is healthy, no other host gets a connection."""
    with closing(MysqlBackend.from_url(url_of(database.port, second.port))) as backend:
        for _ in range(5):
            backend.ping()
    assert second.connections == 0


def test_refusing_host(database, second):
    """A host that rejects connections is skipped at once, and used again once it listens."""
    port = free_port()
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
    """A host that accepts connections and says nothing costs the time limit once."""
    with (
        serving(silent) as first,
        closing(
            MysqlBackend.from_url(url_of(first.port, second.port, more="&connect_timeout=1"))
        ) as backend,
    ):
        backend.ping()
        before = first.connections
        for _ in range(50):
            backend.ping()
        assert first.connections <= before + 1  # a check of the host


def test_all_connections_at_once(database, second):
    """If a host falls silent, waiting operations move to another one, long before their time limit."""
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
            thread.join(60)  # far less than the time limit
        assert len(results) == len(threads)
        assert not backend.stats().is_unreachable
        assert {info.name for info in backend.list(PARTITION)} == {"n0", "n1"}


def test_full_host(database, second):
    """A host that accepts no more connections is skipped; its running operations go on."""
    here, there = Host("127.0.0.1", database.port), Host("127.0.0.1", second.port)
    full: set[Host] = set()

    def open_connection(host: Host, *_: object) -> pymysql.Connection:
        if host in full:
            raise pymysql.err.OperationalError(1040, "Too many connections")
        return pymysql.connect(host=host.name, port=host.port, user="persona", password="secret")

    hosts = Hosts([here, there], open_connection, suspicion_seconds=0.05)
    with hosts.connect() as connection, connection.cursor() as cursor, hosts.watching(connection):
        full.add(here)
        while not hosts.is_skipped(here):
            cursor.execute("SELECT SLEEP(0.3)")
            assert cursor.fetchone() == (0,)
    hosts.close()


def test_none_is_well(database):
    """If no host accepts connections, operations fail at once, with the most informative reason."""
    with contextlib.closing(MysqlBackend.from_url(url_of(free_port(), free_port()))) as backend:
        for _ in range(3):
            with fails("can't be reached"):
                backend.ping()
    wrong = url_of(free_port(), database.port).replace("secret", "wrong")
    with closing(MysqlBackend.from_url(wrong)) as backend, fails("user or the password"):
        backend.ping()


@pytest.mark.parametrize("url", ["", "nonsense", None, "mysql://", "sqlite:///x", "mysql://u:p/d"])
def test_text_that_is_no_url(url):
    """A URL of another form is rejected."""
    with pytest.raises(ValueError, match="must be mysql://user:password@host/database"):
        MysqlBackend.from_url(url)
