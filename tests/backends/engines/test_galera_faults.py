"""Nodes of a cluster that are lost and come back, under a service with writes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from counting import initialize
from failing import fails
from support.servers.galera import Galera, GaleraNode
from support.servers.services import Client, Service
from support.stores.writers import Writer, meanwhile, wait_until_well, wait_until_written, writing

from backends import Backend, Put
from backends.engines.mysql import MysqlBackend

pytestmark = [pytest.mark.alone, pytest.mark.timeout(3600)]

EMAILS = tuple(f"person{number}@example.com" for number in range(4))
EVICTION = "evs.suspect_timeout=PT{}S; evs.inactive_timeout=PT{}S"
MAX_SECONDS = 20
"""Far more than the six seconds in which Galera evicts a node, for slow machines."""


@pytest.fixture(scope="module")
def service(galera: Galera, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that prefers the first node."""
    galera.create_database()
    initialize(galera.url)
    with closing(
        Service(tmp_path_factory.mktemp("galera") / "service", "mysql", galera.url)
    ) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def writers(service: Service) -> Sequence[Writer]:
    """Clients that change their profiles all the time."""
    return [Writer(service, email) for email in EMAILS]


@pytest.fixture
def store(galera: Galera) -> Iterator[Backend]:
    """A direct connection to the database, on the last node in the service's order."""
    backend = MysqlBackend.from_url(galera.url_of(*reversed(galera.nodes)))
    yield backend
    backend.close()


class Pauses:
    """Measures the longest time without an acknowledged write."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.longest = 0.0
        self._writers = writers

    def watch(self, stop: threading.Event) -> None:
        """Measure until `stop`."""
        last, since = -1, time.monotonic()
        while not stop.wait(0.01):
            written = sum(writer.writes for writer in self._writers)
            if written != last:
                last, since = written, time.monotonic()
            self.longest = max(self.longest, time.monotonic() - since)


def wait_for_use(node: GaleraNode, seconds: float = 30) -> None:
    """Wait until the service uses a node."""
    clients = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'persona'"
    deadline = time.monotonic() + seconds
    while node.query(clients) == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill(node: GaleraNode) -> Callable[[], None]:
    """Crash a node; restart it with its data."""
    node.kill()
    return node.restart


def freeze(node: GaleraNode) -> Callable[[], None]:
    """Freeze a node; thaw it."""
    node.freeze()
    return node.thaw


def isolate(node: GaleraNode) -> Callable[[], None]:
    """Cut a node off from the other nodes, but not from clients; undo that."""
    node.isolate()
    return node.unite


def check(service: Service, writers: Sequence[Writer], store: Backend) -> None:
    """Check that the store has every acknowledged write, and no items without an owner."""
    for writer in writers:
        writer.check(store, service.keyring)
    assert not any(writer.cuts for writer in writers)
    verified = service.run("storage", "verify")
    assert verified.returncode == 0, verified


class Load:
    """Running writes, and their measurements."""

    def __init__(self, writers: Sequence[Writer], record: Callable[[str, object], None]) -> None:
        self._writers = writers
        self._record = record

    @contextlib.contextmanager
    def during(self, fault: str) -> Iterator[None]:
        """Write meanwhile; measure the longest pause, the slowest answer and the rejections."""
        pauses = Pauses(self._writers)
        for writer in self._writers:
            writer.slowest, writer.rejections = 0.0, 0
        with writing(self._writers), meanwhile([pauses.watch]):
            wait_until_written(self._writers)
            yield
            wait_until_written(self._writers)
        slowest = max(writer.slowest for writer in self._writers)
        rejections = sum(writer.rejections for writer in self._writers)
        measured = f"pause {pauses.longest:.2f} s, slowest {slowest:.2f} s, {rejections} rejected"
        print(f"{fault}: {measured}")
        self._record(fault, measured)
        assert pauses.longest < MAX_SECONDS
        assert slowest < MAX_SECONDS


@pytest.fixture
def load(writers: Sequence[Writer], record_property: Callable[[str, object], None]) -> Load:
    """Clients that write while a test harms the cluster."""
    return Load(writers, record_property)


@pytest.fixture
def hasty(galera: Galera) -> Iterator[None]:
    """Nodes that evict each other sooner than by default, to save time."""
    for node in galera.nodes:
        node.query(f"SET GLOBAL wsrep_provider_options = '{EVICTION.format(2, 6)}'")
    yield
    for node in galera.nodes:
        node.query(f"SET GLOBAL wsrep_provider_options = '{EVICTION.format(5, 15)}'")


Lose = Callable[[Callable[[GaleraNode], Callable[[], None]]], None]


@pytest.fixture
def lose(
    galera: Galera,
    service: Service,
    writers: Sequence[Writer],
    store: Backend,
    load: Load,
    pytestconfig: pytest.Config,
) -> Lose:
    """Loses the node with the writes and brings it back, as often as configured."""
    first = galera.nodes[0]

    def lose(fault: Callable[[GaleraNode], Callable[[], None]]) -> None:
        for _ in range(pytestconfig.getoption("--node-losses")):
            with load.during(f"{fault.__name__} the node written to"):
                undo = fault(first)
                wait_until_written(writers)
                undo()
                galera.wait()
                wait_for_use(first)
            assert first.joined_by_increments
            check(service, writers, store)

    return lose


@pytest.mark.parametrize("fault", [kill, freeze])
def test_node_written_to_is_lost(fault, lose):
    """A lost node costs a pause and no write; back again, it gets the missed writes in increments."""
    lose(fault)


def test_node_written_to_is_cut_off(hasty, lose):
    """So does a node that is cut off from the other nodes only."""
    lose(isolate)


def test_others_are_lost(galera, hasty, service, writers, store, load):
    """One node less costs a pause; without a majority writes are rejected, until the operator acts."""
    first, second, third = galera.nodes
    with closing(MysqlBackend.from_url(galera.url_of(first))) as backend:
        backend.ping()
        with load.during("kill another node"):
            second.kill()
        with load.during("kill the second of three and make the last one primary"):
            third.kill()
            wait_until_cut_off(first)
            check_refusals(service, writers[0].client, backend)
            first.become_primary()
            wait_until_well(service)
        with load.during("two nodes come back"):
            for node in (second, third):
                node.restart()
            galera.wait()
        backend.ping()
    assert second.joined_by_increments
    check(service, writers, store)


def wait_until_cut_off(node: GaleraNode) -> None:
    """Wait until a node knows that it has lost the majority."""
    deadline = time.monotonic() + MAX_SECONDS
    while node.is_synced:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def check_refusals(service: Service, someone: Client, backend: Backend) -> None:
    """Check that requests with storage are soon rejected, with a reason and Retry-After."""
    client = Client(service, "")
    client.token = someone.token
    answers = [
        client.call("GET", "/v1/profiles"),
        client.call("GET", f"/v1/profiles/{someone.email}/export"),
        client.call("DELETE", f"/v1/profiles/{someone.email}/picture"),
    ]
    assert all(answer.says_when_to_retry for answer in answers), answers
    health = client.call("GET", "/__heartbeat__")
    assert health.status == 503
    assert all(answer.seconds < 5 for answer in (*answers, health))
    assert client.call("GET", "/__lbheartbeat__").status == 200
    for work in (backend.ping, lambda: backend.apply(b"\xfe", [Put("a", b"")])):
        with fails("no node of the database's cluster is ready"):
            work()
