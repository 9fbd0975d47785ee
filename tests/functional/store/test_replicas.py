"""Reads from replicas, over HTTP, with a real asynchronous replica whose lag has no bound."""

import base64
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import webtest
from replication import Replication
from support.clients.metrics import Exposition
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application, wait_for
from support.servers.proxies import proxy
from support.servers.services import Client, Service

from backends import ABSENT, Put
from backends.copying.transfer import read_partition, walk
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.settings import InvalidSettings

KEY = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
OTHER = quadrants(100, 100).rotate(90)


class ReplicaMetrics:
    """The metrics of a service about its replicas."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def value(self, name: str, **labels: str) -> float:
        """Return a metric."""
        return self._service.metrics().value(name, **labels)

    def reads(self, outcome: str) -> float:
        """Return the number of reads of replicas with an outcome."""
        return self.value("persona_replica_reads_total", outcome=outcome)

    def wait_until_asked(self) -> None:
        """Wait until the replica is healthy."""
        wait_for(lambda: self.value("persona_replicas_unreachable") == 0)


@pytest.fixture(scope="module")
def replication(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replication]:
    """A server with a replica."""
    replication = Replication(tmp_path_factory.mktemp("db"))
    try:
        replication.start()
        yield replication
    finally:
        replication.stop()


def reading_from(url: str, replication: Replication, folder: Path) -> Service:
    """Return a service, not started, that may read from a replica."""
    more = f"pictures.formats = jpeg\nbackend.read_url = {url}"
    return Service(folder, "mysql", replication.primary.url, more=more)


@pytest.fixture(scope="module")
def service(
    replication: Replication, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, ReplicaMetrics]]:
    """A service that may read from the replica, and its metrics."""
    service = reading_from(replication.replica.url, replication, tmp_path_factory.mktemp("s"))
    service.start()
    yield service, ReplicaMetrics(service)
    service.close()


@pytest.fixture
def client(service, replication, request) -> Iterator[tuple[Client, ReplicaMetrics]]:
    """The client of a person whose picture the replica has too, and the service's metrics."""
    running, metrics = service
    client = Client(running, f"{re.sub('[^a-z]', '', request.node.name)}@example.com")
    client.sign_in()
    assert client.upload(encode(quadrants())).status == 200
    replication.catch_up()
    metrics.wait_until_asked()
    yield client, metrics
    client.close()


@pytest.fixture
def exchange(replication: Replication) -> Iterator[Callable[[], None]]:
    """Exchange the roles of the two servers."""
    first, second = replication.primary, replication.replica

    def exchange() -> None:
        first.query("SET GLOBAL read_only = 1")
        second.query("SET GLOBAL read_only = 0")

    yield exchange
    second.query("SET GLOBAL read_only = 1")
    first.query("SET GLOBAL read_only = 0")


@pytest.mark.parametrize("are_named", [True, False], ids=["both are named", "behind one address"])
def test_another_server_takes_the_writes(replication, service, exchange, are_named):
    """After a change of the primary, connections to the old one close at the first write."""
    first, second = replication.primary.port, replication.replica.port
    partition = bytes([0xFE, are_named])  # what the second one is given, the first one never has
    with proxy(first) as moving:
        hosts = f"host=127.0.0.1:{second}&host=127.0.0.1:{first}"
        if not are_named:
            hosts = f"host=127.0.0.1:{moving.port}"
        url = f"mysql://persona:secret@/persona?{hosts}"
        with closing(MysqlBackend.from_url(url)) as backend:
            before = backend.apply(partition, [Put("a", b"1")])["a"]
            replication.catch_up()
            exchange()
            moving.upstream = second
            backend.apply(partition, [Put("a", b"2", before)])
            backend.apply(partition, [Put("a", b"3"), Put("b", b"3")])
    values = f"SELECT value FROM persona.items WHERE `partition` = X'{partition.hex()}'"
    assert replication.replica.query(values) == [(b"3",), (b"3",)]


def urls(client: Client) -> dict[str, str]:
    """Return the paths of the person's picture, by size."""
    found = client.call("GET", client.profile).json["picture"]["urls"]
    return {size: url[url.index("/v1/") :] for size, url in found.items()}


def thumbnail(client: Client) -> bytes:
    """Return the picture on the person's card."""
    [profile] = client.call("GET", "/v1/profiles?thumbnails=64").json["profiles"]
    return base64.b64decode((profile["picture"]["thumbnail"] or "").partition(",")[2])


def health(client: Client) -> dict[str, object]:
    """Return the health of the service, which has status 200."""
    answer = client.call("GET", "/__heartbeat__")
    assert answer.status == 200
    return answer.json


def test_bytes_come_from_the_replica(client, replication):
    """Pictures and thumbnails are served also if their bytes are on the replica alone."""
    person, metrics = client
    wanted = urls(person)
    with replication.primary.connect("persona") as connection:
        cursor = connection.cursor()
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("DELETE FROM bulk_items")

    def are_all_served() -> bool:
        # On a busy machine the replica may be late, and is then not asked for some seconds.
        before = metrics.reads("served")
        answers = {size: person.call("GET", path) for size, path in wanted.items()}
        return (
            {answer.status for answer in answers.values()} == {200}
            and thumbnail(person) == answers["64"].body
            and metrics.reads("served") - before == len(wanted) + 1
        )

    wait_for(are_all_served)
    assert health(person)["checks"]["replicas"] == "ok"


def test_own_writes_are_seen(client, replication):
    """A session sees its own writes, pictures included, however long the replica lags."""
    person, metrics = client
    replication.hold()
    before = thumbnail(person)
    # On a busy machine the replica may be late, and is then asked no more.
    outcomes = ("missing", "failed", "skipped")
    own = sum(map(metrics.reads, outcomes))
    for number in range(3):
        assert person.set_name(f"Name {number}").status == 200
        assert person.call("GET", person.profile).json["name"] == f"Name {number}"
        assert person.upload(encode(OTHER.rotate(90 * number))).status == 200
        new = thumbnail(person)
        assert new != before
        assert person.call("GET", urls(person)["64"]).body == new
        before = new
    assert sum(map(metrics.reads, outcomes)) - own == 6
    other = Client(service_of(person), person.email)
    other.sign_in()
    assert other.call("GET", other.profile).json["name"] == "Name 2"


def service_of(client: Client) -> Service:
    """Return the service of a client."""
    return client._service


@pytest.mark.parametrize("change", ["replaced", "removed", "protected", "erased", "made again"])
def test_what_is_over_is_over_at_once(client, replication, change):
    """A picture that the person removed is no longer served, although the replica still has it."""
    person, _told = client
    replication.hold()
    path = urls(person)["512"]
    assert person.call("GET", path).status == 200
    if change == "replaced":
        assert person.upload(encode(OTHER)).status == 200
    elif change == "removed":
        assert person.call("DELETE", person.picture).status == 204
    elif change == "protected":
        person.sign_in(KEY)
        assert person.protect(KEY).status == 200
    else:
        assert person.call("DELETE", person.profile).status == 204
        if change == "made again":
            assert person.upload(encode(OTHER)).status == 200
    assert person.call("GET", path).status == 404
    if change == "erased":
        assert person.call("GET", person.profile).json["version"] == 0
        person.sign_in()
        assert person.call("GET", person.profile).json["picture"] is None
    elif change != "removed":
        assert person.call("GET", urls(person)["512"]).status == 200


def test_signing_out(client, replication):
    """An ended session and its pictures are rejected, however long the replica lags."""
    person, _told = client
    person.sign_in(KEY)
    assert person.protect(KEY).status == 200
    path = urls(person)["64"]
    replication.catch_up()
    assert person.call("GET", path).status == 200
    replication.hold()
    assert person.call("DELETE", "/v1/sessions").status == 204
    for method, called in (
        ("GET", person.profile),
        ("GET", "/v1/profiles"),
        ("DELETE", person.profile),
    ):
        answer = person.call(method, called)
        assert (answer.status, answer.json["code"]) == (401, "session_revoked")
    assert person.upload(encode(OTHER)).status == 401
    assert person.call("GET", path).status == 404
    body = {"proofs": [{"assertion": proof(person)}]}
    answer = person.call("POST", "/v1/sessions", json.dumps(body).encode(), "application/json")
    assert answer.status == 401
    person.sign_in(KEY)
    assert person.call("GET", person.profile).status == 200


def proof(client: Client) -> str:
    """Return a fresh proof of the client's email."""
    service = service_of(client)
    return service.identity_provider().bundle(client.email, service.origin)


def test_damaged_replica(client, replication):
    """An item that does not open comes from the primary instead of the replica, and is counted."""
    person, metrics = client
    path = urls(person)["64"]
    whole = person.call("GET", path).body
    replication.replica.query("UPDATE persona.bulk_items SET value = REVERSE(value)")

    def are_counted() -> bool:
        # On a busy machine the replica may be late, and is then not asked for some seconds.
        before = metrics.reads("damaged")
        assert person.call("GET", path).body == whole
        assert thumbnail(person) == whole
        return metrics.reads("damaged") - before == 2

    wait_for(are_counted)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
def test_replica_that_fails(client, replication, number):
    """While the replica is frozen or dead, no request fails, and soon no request reads from it."""
    person, metrics = client
    path = urls(person)["128"]
    stop, failed = threading.Event(), []

    def read() -> None:
        reader = Client(service_of(person), person.email)
        while not stop.is_set():
            answer = reader.call("GET", path)
            if answer.status != 200:
                failed.append(answer.status)
        reader.close()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    served = metrics.reads("served")
    wait_for(lambda: metrics.reads("served") > served)
    replication.replica.signal(number)
    wait_for(lambda: metrics.value("persona_replicas_unreachable") == 1)
    stop.set()
    for reader in readers:
        reader.join()
    before = metrics.reads("failed")
    assert [person.call("GET", path).status for _ in range(20)] == [200] * 20
    checks = health(person)
    assert failed == []
    assert checks["status"] == "ok"
    assert checks["checks"]["replicas"] == "error"
    assert metrics.reads("failed") == before
    if number == signal.SIGKILL:
        replication.replica.start()
    else:
        replication.replica.signal(signal.SIGCONT)
    metrics.wait_until_asked()
    assert "replica 1 is left out: " in service_of(person).log
    assert "replica 1 is healthy again" in service_of(person).log


def test_supervised(tmp_path, replication):
    """A process is healthy while its replica is frozen, and can end during a read from it."""
    url = f"{replication.replica.url}?read_timeout=600"
    service = reading_from(url, replication, tmp_path / "s")
    metrics = ReplicaMetrics(service)
    replication.replica.signal(signal.SIGSTOP)
    try:
        service.start("--processes", "1")
        wait_for(lambda: metrics.value("persona_processes") == 1)
        assert metrics.value("persona_replicas_unreachable") == 1
        replication.replica.signal(signal.SIGCONT)
        metrics.wait_until_asked()
        person = Client(service, "supervised@example.com")
        person.sign_in()
        assert person.upload(encode(quadrants())).status == 200
        path = urls(person)["64"]
        replication.replica.signal(signal.SIGSTOP)
        assert person.call("GET", path).status == 200
        assert metrics.reads("failed") == 1
        service.signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        replication.replica.signal(signal.SIGCONT)
        service.close()


@pytest.fixture
def app(tmp_path) -> Iterator[webtest.TestApp]:
    """An application on SQLite with two empty replicas."""
    app = application(
        tmp_path,
        backend="sqlite",
        backend__url=f"sqlite:///{tmp_path}/primary",
        backend__read_url=f"sqlite:///{tmp_path}/a sqlite:///{tmp_path}/b",
        pictures__formats="jpeg",
    )
    yield webtest.TestApp(app, extra_environ={"HTTP_HOST": "127.0.0.1:6543"})
    app.close()


def test_replica_without_tables(app, sign_in, tmp_path):
    """A replica without a schema is not read until it has one."""
    backend, metrics = app.app.backend, app.app.services.metrics
    headers = sign_in("alice@example.com") | {"Content-Type": "image/jpeg"}
    path = "/v1/profiles/alice@example.com/picture"
    url = app.put(path, encode(quadrants()), headers=headers).json["picture"]["urls"]["64"]
    app.get(url, status=200)
    assert app.get("/__heartbeat__", status=200).json["checks"]["replicas"] == "error"
    assert Exposition(metrics.exposition()).value("persona_replicas_unreachable") == 2
    for name in ("a", "b"):
        replica = SqliteBackend.from_url(f"sqlite:///{tmp_path}/{name}")
        replica.initialize()
        for partition in walk(backend):
            items = read_partition(backend, partition).items()
            replica.apply(partition, [Put(item, value.value, ABSENT) for item, value in items])
        replica.close()
    wait_for(lambda: Exposition(metrics.exposition()).value("persona_replicas_unreachable") == 0)
    assert app.get("/__heartbeat__", status=200).json["checks"]["replicas"] == "ok"
    app.get(url, status=200)
    found = Exposition(metrics.exposition())
    assert found.value("persona_replica_reads_total", outcome="served") == 1
    assert found.value("persona_replica_reads_total") == 1


def test_unusable_urls(tmp_path):
    """A URL that the backend does not accept is rejected at the start, by the name of its setting."""
    for given, message in (
        ({"backend__read_url": "mysql://secret@h/d"}, "backend.read_url: must be sqlite:///path"),
        ({"backend__read_url_file": str(tmp_path / "none")}, "backend.read_url_file: No such file"),
    ):
        with pytest.raises(InvalidSettings) as rejected:
            application(tmp_path, backend="sqlite", backend__url=f"sqlite:///{tmp_path}/a", **given)
        assert message in str(rejected.value)
        assert "secret" not in str(rejected.value)
