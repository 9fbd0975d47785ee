"""The backend on a healthy cluster of three nodes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing

import pytest
from counting import initialize
from failing import fails
from hypothesis import HealthCheck, settings
from spreading import SpreadBackend
from sqlalchemy import event
from support.servers.galera import Galera, GaleraNode
from support.servers.proxies import proxy

from backends import Address, Backend, Delete, Put, WrongSchema
from backends.engines.mysql import MysqlBackend
from backends.testing.conformance import BackendConformance
from backends.testing.state_machine import BackendMachine

pytestmark = pytest.mark.alone

PARTITION = b"\x01" + b"g" * 32
A, B = Address(PARTITION, "a"), Address(PARTITION, "picture/b")
TABLES = ("items", "bulk_items")


@pytest.fixture(scope="module")
def schema(galera: Galera) -> None:
    """A cluster whose tables three clients have created at once, each on another node."""
    galera.create_database()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(galera.nodes), mp_context=spawn) as pool:
        list(pool.map(initialize, [galera.url_of(node) for node in galera.nodes]))


@pytest.fixture
def empty(galera: Galera, schema: None) -> Galera:
    """The cluster with empty tables."""
    for table in TABLES:
        galera.nodes[0].query(f"DELETE FROM persona.{table}")
    return galera


@pytest.fixture
def clients(empty: Galera) -> Iterator[list[MysqlBackend]]:
    """A client for each node that prefers this node."""
    urls = [empty.url_of(*empty.nodes[number:], *empty.nodes[:number]) for number in range(3)]
    opened = [MysqlBackend.from_url(url) for url in urls]
    yield opened
    for client in opened:
        client.close()


class TestGalera(BackendConformance):
    @pytest.fixture
    def backend(self, clients: list[MysqlBackend]) -> SpreadBackend:
        """An empty database; each operation goes to another node than the last."""
        return SpreadBackend(clients)


class GaleraMachine(BackendMachine):
    cluster: Galera

    def make_backend(self, clock: Callable[[], float]) -> Backend:
        for table in TABLES:
            self.cluster.nodes[0].query(f"DELETE FROM persona.{table}")
        urls = [self.cluster.url_of(node) for node in self.cluster.nodes]
        return SpreadBackend([MysqlBackend.from_url(url, clock) for url in urls])


class TestGaleraMachine(GaleraMachine.TestCase):
    settings = settings(
        max_examples=12,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @pytest.fixture(autouse=True)
    def _cluster(self, empty: Galera) -> None:
        """Give the state machine the cluster."""
        GaleraMachine.cluster = empty


@contextlib.contextmanager
def behind(node: GaleraNode, seconds: float) -> Iterator[None]:
    """Stop a node from applying the writes of other nodes for some seconds."""
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        timer = threading.Timer(seconds, cursor.execute, ["UNLOCK TABLES"])
        timer.start()
        yield
        timer.join()


def test_reads_catch_up(empty, clients):
    """A lagging node returns writes that another node has acknowledged, and misses no version."""
    here, there, _ = clients
    there.apply(PARTITION, [Put("a", b"0"), Put("picture/b", b"0")])
    with behind(empty.nodes[1], 0.7):
        versions = here.apply(PARTITION, [Put("a", b"1"), Put("picture/b", b"1")])
        assert {item.value for item in there.get_many([A, B]).values()} == {b"1"}
    with behind(empty.nodes[1], 0.7):
        version = here.apply(PARTITION, [Put("a", b"2", versions["a"])])["a"]
        version = there.apply(PARTITION, [Put("a", b"3", version)])["a"]
    with behind(empty.nodes[1], 0.7):
        here.apply(PARTITION, [Delete("a", version)])
        there.apply(PARTITION, [Put("a", b"4")])
    assert here.get_many([A])[A].value == b"4"


@pytest.mark.parametrize("snapshots", ["OFF", "ON"])
def test_certification_conflicts(empty, clients, snapshots):
    """Batches that collide on different nodes all take effect, each once and whole."""
    for node in empty.nodes:
        if node.query("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'"):
            node.query(f"SET GLOBAL innodb_snapshot_isolation = {snapshots}")
    numbers = itertools.count()
    errors = []

    def write(client: MysqlBackend) -> None:
        for _ in range(40):
            value = b"%d" % next(numbers)
            client.apply(PARTITION, [Put("a", value), Put("picture/b", value)])

    for client in clients:

        @event.listens_for(client._engine, "handle_error")
        def note(context) -> None:
            errors.append(context.original_exception.args[0])

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(write, clients * 2))
    finally:
        for node in empty.nodes:
            node.query("SET GLOBAL innodb_snapshot_isolation = DEFAULT")
    for client in clients:
        assert len({item.value for item in client.get_many([A, B]).values()}) == 1
    assert errors
    assert set(errors) <= {1213, 1205, 1020}
    assert sum(client.stats().retries.get("transient", 0) for client in clients) == len(errors)


@pytest.mark.parametrize(
    ("more", "statement"), [((), b"UPDATE"), ((Put("picture/b", b"1"),), b"COMMIT")]
)
def test_outcome_looked_up_elsewhere(empty, clients, more, statement):
    """A write whose node is lost before the answer is found on another node, and not repeated."""
    _, _, direct = clients
    before = direct.apply(PARTITION, [Put("a", b"0")])["a"]
    with proxy(empty.nodes[0].port) as cutting:
        hosts = f"host=127.0.0.1:{cutting.port}&host=127.0.0.1:{empty.nodes[1].port}"
        url = f"mysql://persona:secret@/persona?{hosts}"
        with closing(MysqlBackend.from_url(url)) as backend:
            backend.ping()
            cutting.cut(statement, "after", cutting.stop_accepting)
            version = backend.apply(PARTITION, [Put("a", b"1", before), *more])["a"]
            assert cutting.cuts == 1
            assert backend.stats().retries == {}
            assert direct.get_many([A])[A].version == version


def node_of(galera: Galera, *nodes: GaleraNode) -> GaleraNode:
    """Return the node that a new client of some nodes uses."""
    with closing(MysqlBackend.from_url(galera.url_of(*nodes))) as backend:
        backend.ping()
        with backend._engine.connect() as connection:
            port = connection.exec_driver_sql("SELECT @@port").scalar_one()
    [node] = [node for node in galera.nodes if node.port == port]
    return node


def test_donors(empty):
    """A node out of sync, for example a donor, is used only if there is no other."""
    first, second, _ = empty.nodes
    try:
        first.query("SET GLOBAL wsrep_desync = ON")
        assert node_of(empty, first, second) is second
        assert node_of(empty, first) is first
        second.query("SET GLOBAL wsrep_desync = ON")
        assert node_of(empty, first, second) is first
    finally:
        for node in (first, second):
            node.query("SET GLOBAL wsrep_desync = OFF")
        empty.wait()
    assert node_of(empty, first, second) is first


class TestLimits:
    def test_write_sets(self, empty, clients):
        """A cluster with a too small transaction size is reported before and when a write fails."""
        client, *_ = clients
        for node in empty.nodes:
            node.query("SET GLOBAL wsrep_max_ws_size = 1000000")
        try:
            with pytest.raises(WrongSchema, match=r"wsrep_max_ws_size .* at least \d+"):
                client.check_schema()
            with fails("wsrep_max_ws_size"):
                client.apply(PARTITION, [Put("picture/b", bytes(2_000_000))])
            with fails("wsrep_max_ws_size"):
                client.apply(PARTITION, [Put("a", b""), Put("picture/b", bytes(2_000_000))])
            client.apply(PARTITION, [Put("picture/b", bytes(200_000))])
        finally:
            for node in empty.nodes:
                node.query("SET GLOBAL wsrep_max_ws_size = DEFAULT")
        client.check_schema()

    def test_packets(self, empty, clients):
        """A value too large for the packets of a node is rejected, without a try on other nodes."""
        client, *_ = clients
        for node in empty.nodes:
            node.query("SET GLOBAL max_allowed_packet = 1048576")
        try:
            with fails("breaks off|max_allowed_packet"):
                client.apply(PARTITION, [Put("picture/b", bytes(2_000_000))])
            client.apply(PARTITION, [Put("picture/b", bytes(200_000))])
        finally:
            for node in empty.nodes:
                node.query("SET GLOBAL max_allowed_packet = DEFAULT")
