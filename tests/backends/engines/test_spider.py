"""The backend on shards behind two heads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from failing import fails
from hypothesis import HealthCheck, settings
from spreading import SpreadBackend
from support.servers.spider import Shards
from support.stores.stores import everything, fill

from backends import Address, Backend, Put, WrongSchema
from backends.copying.archive import backup, restore
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import copy
from backends.engines import spider_tables
from backends.engines.memory import MemoryBackend
from backends.engines.mysql import MysqlBackend
from backends.engines.spider import SpiderBackend
from backends.engines.spider_heads import of_number
from backends.findings import Level
from backends.testing.conformance import BackendConformance
from backends.testing.state_machine import BackendMachine

pytestmark = pytest.mark.alone

FRESH = "fresh"


@pytest.fixture(scope="module")
def tables(shards: Shards) -> Shards:
    """Shards with the tables of the newest schema."""
    shards.make_databases()
    with closing(SpiderBackend.from_url(shards.admin_url)) as backend:
        backend.initialize()
    return shards


@pytest.fixture
def empty(tables: Shards) -> Shards:
    """The shards without items."""
    tables.empty()
    return tables


@pytest.fixture(scope="module")
def clients(tables: Shards) -> Iterator[SpreadBackend]:
    """Clients of both heads, each prefers another."""
    orders = (tables.heads, tables.heads[::-1])
    opened = SpreadBackend(
        [SpiderBackend.from_url(tables.url_of(order, user="admin:secret")) for order in orders]
    )
    yield opened
    opened.close()


class TestSpider(BackendConformance):
    @pytest.fixture
    def backend(self, empty: Shards, clients: SpreadBackend) -> SpreadBackend:
        """Empty shards; each operation goes to another head than the last."""
        return clients


class SpiderMachine(BackendMachine):
    shards: Shards

    def make_backend(self, clock: Callable[[], float]) -> Backend:
        self.shards.empty()
        heads = self.shards.heads
        urls = [self.shards.url_of(order) for order in (heads, heads[::-1])]
        return SpreadBackend([SpiderBackend.from_url(url, clock) for url in urls])


class TestSpiderMachine(SpiderMachine.TestCase):
    settings = settings(
        max_examples=6,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @pytest.fixture(autouse=True)
    def _shards(self, empty: Shards) -> None:
        """Give the state machine the shards."""
        SpiderMachine.shards = empty


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:p@h/db?shards=a", "must be spider://"),
        ("spider://u:p@h/db", "must have .shards="),
        ("spider://u:p@h/db?shards=", "must have .shards="),
        ("spider://u:p@h/db?shards=a,,b", "must have .shards="),
        ("spider://u:p@h/db?shards=a,b,a", "must have .shards="),
        ("spider://u:p@h/db?shards=a;b", "must have .shards="),
        ("spider://u:p@h/db?shards=a&shards=b", "twice"),
        ("spider://u:p@h/db?shards=" + ",".join(f"s{number}" for number in range(257)), "1 to 256"),
        ("spider://u:p@h/db?shards=a&unknown=1", "unknown option"),
    ],
)
def test_wrong_urls(url, message):
    """A URL of another form is rejected, without a part of it."""
    with pytest.raises(ValueError, match=message) as raised:
        SpiderBackend.from_url(url)
    assert "u:p" not in str(raised.value)


@pytest.fixture
def fresh(empty: Shards) -> Iterator[Shards]:
    """The shards without items, with databases of another name at the heads, without tables."""
    for head in empty.heads:
        head.query(f"CREATE DATABASE {FRESH}")
        head.query(f"GRANT ALL ON {FRESH}.* TO admin@'127.0.0.1'")
    yield empty
    for head in empty.heads:
        head.query(f"DROP DATABASE {FRESH}")
        empty.name_servers(head)
        head.query("FLUSH TABLES")


def opened(shards: Shards, *names: str, heads: slice = slice(None)) -> SpiderBackend:
    """Return a backend of the schema's user on the fresh databases."""
    return SpiderBackend.from_url(shards.url_of(shards.heads[heads], names, "admin:secret", FRESH))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_places(count, shards):
    """A partition is where MariaDB's KEY partitioning places it."""
    head = shards.heads[0]
    partitions = [hashlib.sha256(b"%d" % number).digest()[: number % 33 + 1] for number in range(99)]
    head.query("CREATE DATABASE IF NOT EXISTS places")
    try:
        head.query(
            "CREATE TABLE places.places (`partition` VARBINARY(33) NOT NULL PRIMARY KEY) "
            f"PARTITION BY KEY (`partition`) PARTITIONS {count}"
        )
        head.query(
            f"INSERT INTO places.places VALUES {', '.join(f'(0x{p.hex()})' for p in partitions)}"
        )
        for number in range(count):
            found = head.query(f"SELECT `partition` FROM places.places PARTITION (p{number})")
            here = {each for each in partitions if spider_tables.shard_of(each, count) == number}
            assert {row[0] for row in found} == here
    finally:
        head.query("DROP DATABASE places")


@pytest.mark.parametrize(("count", "largest"), [(2, 1.34), (3, 1.0), (4, 1.7), (5, 1.0), (9, 1.0)])
def test_odd_numbers_spread_evenly(count, largest):
    """Emails spread evenly over an odd number of shards, and over no even one; doctor warns."""
    partitions = (b"\x01" + hashlib.sha256(b"%d" % number).digest() for number in range(20_000))
    found = Counter(spider_tables.shard_of(each, count) for each in partitions)
    assert max(found.values()) * count / 20_000 == pytest.approx(largest, abs=0.05)
    assert of_number(count).level is (Level.OK if count % 2 else Level.WARNING)


def test_items_are_spread(empty, clients):
    """Each item is at the data server of its shard alone."""
    partitions = [hashlib.sha256(b"%d" % number).digest() for number in range(20)]
    for each in partitions:
        clients.apply(each, [Put("a", b""), Put("bulk/b", b"")])
    for shard, server in enumerate(empty.servers):
        expected = {each for each in partitions if spider_tables.shard_of(each, 3) == shard}
        assert expected
        for table in spider_tables.TABLES:
            found = server.query(f"SELECT `partition` FROM persona.{table}")
            assert {row[0] for row in found} == expected


def test_columns_are_those_of_the_migrations(tables):
    """A head's tables have the columns and keys of a data server's."""
    for table in spider_tables.TABLES:
        columns = f"SHOW COLUMNS FROM persona.{table}"
        assert tables.heads[0].query(columns) == tables.servers[0].query(columns)


class TestHeads:
    def test_made_at_all(self, fresh):
        """One command makes the tables at all heads; it may be repeated."""
        with closing(opened(fresh)) as backend:
            for _ in range(2):
                backend.initialize()
                backend.check_schema()
        with closing(opened(fresh, heads=slice(1, 2))) as backend:
            backend.apply(b"\x01", [Put("a", b"1")])
        with closing(opened(fresh, heads=slice(0, 1))) as backend:
            assert backend.get_many([Address(b"\x01", "a")])

    def test_other_order(self, fresh):
        """Shards in another order are rejected by every command and connection."""
        with closing(opened(fresh)) as backend:
            backend.initialize()
        with closing(opened(fresh, "shard1", "shard0", "shard2")) as backend:
            for work in (backend.initialize, backend.check_schema):
                with pytest.raises(WrongSchema, match="have the shards shard0,shard1,shard2, the URL"):
                    work()
            with fails("other shards than the URL"):
                backend.apply(b"\x01", [Put("a", b"1")])

    def test_other_servers(self, fresh):
        """Heads that mean different data servers by a name are found, as is a server for two shards."""
        for number in (2, 1):
            fresh.name_server(fresh.heads[1], "shard2", 3 - number)
            fresh.name_server(fresh.heads[1], "shard1", number)
            fresh.heads[1].query("FLUSH TABLES")
            with closing(opened(fresh)) as backend:
                if number == 1:
                    backend.initialize()
                    continue
                with pytest.raises(WrongSchema, match=r"disagree .*: compare SELECT"):
                    backend.initialize()
                with pytest.raises(WrongSchema, match="no tables yet"):
                    backend.check_schema()

    def test_moved_server(self, fresh):
        """The examination finds a data server with items of others."""
        with closing(opened(fresh)) as backend:
            backend.initialize()
            for number in range(9):
                backend.apply(bytes([1, number]), [Put("a", b"")])
            levels = {each.level for each in backend.examine()}
            assert Level.FAILED not in levels
            for name, number in (("shard1", 2), ("shard2", 1)):
                fresh.name_server(fresh.heads[1], name, number)
            fresh.heads[1].query("FLUSH TABLES")
            wrong = [each.subject for each in backend.examine() if each.level is Level.FAILED]
        assert wrong == ["head 2 of 2: shard1", "head 2 of 2: shard2"]

    def test_data_server_without_schema(self, fresh):
        """A data server without the newest schema is named."""
        fresh.servers[1].query("RENAME TABLE persona.schema_version TO persona.away")
        try:
            with closing(opened(fresh)) as backend:
                with pytest.raises(WrongSchema, match=r"schema of shard1 is none, not \d+: run"):
                    backend.initialize()
                with pytest.raises(WrongSchema, match="no tables yet: run"):
                    backend.check_schema()
        finally:
            fresh.servers[1].query("RENAME TABLE persona.away TO persona.schema_version")

    def test_upgrade(self, fresh):
        """An upgrade of the heads follows that of the data servers, and keeps all items."""
        with closing(opened(fresh)) as backend:
            backend.initialize()
            backend.apply(b"\x01", [Put("a", b"1")])
            fresh.heads[0].query(f"UPDATE {FRESH}.schema_version SET version_num = 'head-9999'")
            with pytest.raises(WrongSchema, match="newer than this version knows"):
                backend.check_schema()
            fresh.heads[0].query(f"DELETE FROM {FRESH}.schema_version")
            fresh.heads[0].query(f"ALTER TABLE {FRESH}.items DROP INDEX items_expires_at")
            backend.initialize()
            assert backend.get_many([Address(b"\x01", "a")])
        columns = fresh.heads[0].query(f"SHOW COLUMNS FROM {FRESH}.items")
        assert columns == fresh.servers[0].query("SHOW COLUMNS FROM persona.items")

    def test_another_backend(self, fresh):
        """The backend `mysql` rejects a head, and `spider` a database with items."""
        with closing(opened(fresh)) as backend:
            backend.initialize()
        url = f"mysql://admin:secret@127.0.0.1:{fresh.heads[0].port}/{FRESH}"
        with closing(MysqlBackend.from_url(url)) as backend:
            for work in (backend.initialize, backend.check_schema):
                with pytest.raises(WrongSchema, match="a head of shards: set `backend = spider`"):
                    work()
        server = fresh.url_of([fresh.servers[0]], ["shard0"], "admin:secret")
        with closing(SpiderBackend.from_url(server)) as backend, fails("needs mariadb-plugin-spider"):
            backend.initialize()


class TestCopies:
    @pytest.fixture
    def five(self, fresh: Shards) -> Iterator[SpiderBackend]:
        """Empty heads with five shards: databases of the three data servers."""
        places = [(f"five{number}", number % len(fresh.servers)) for number in range(5)]
        for name, number in places:
            server = fresh.servers[number]
            server.query(f"CREATE DATABASE {name}")
            for user in ("admin", "persona"):
                server.query(f"GRANT ALL ON {name}.* TO {user}@'127.0.0.1'")
            fresh.make_tables(number, name)
            for head in fresh.heads:
                fresh.name_server(head, name, number, name)
        with closing(opened(fresh, *(name for name, _ in places))) as backend:
            backend.initialize()
            yield backend
        for name, number in places:
            fresh.servers[number].query(f"DROP DATABASE {name}")
            for head in fresh.heads:
                head.query(f"DROP SERVER {name}")

    def test_one_to_three_to_five(self, clients, five, tmp_path):
        """A store is copied to three shards, and from there to five; an archive of those is equal."""
        source, restored = MemoryBackend(), MemoryBackend()
        fill(source)
        for number, (before, after) in enumerate([(source, clients), (clients, five)]):
            with CopyState(tmp_path / f"{number}.state") as state:
                assert copy(before, after, state).equal
            assert everything(after) == everything(source)
        archive = tmp_path / "archive"
        with archive.open("wb") as file:
            backup(five, file, software="1")
        with archive.open("rb") as file:
            restore(file, restored)
        assert everything(restored) == everything(source)
        assert {each.subject for each in five.examine() if each.level is Level.FAILED} == set()
