"""Data servers that are lost and come back, under a service with writes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.servers.applications import wait_for
from support.servers.mariadb import MariaDB
from support.servers.services import Client, Service
from support.servers.spider import Shards
from support.stores.writers import Writer, wait_until_written, writing

from backends import Address, Backend, Put, Unavailable
from backends.engines.spider import SpiderBackend
from backends.engines.spider_tables import shard_of
from backends.findings import Level
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

STORAGE = "storage_unavailable"
LOST = 1
"""The shard that is lost."""


@pytest.fixture(scope="module")
def service(shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on empty shards."""
    shards.make_databases()
    with closing(
        Service(tmp_path_factory.mktemp("shards") / "service", "spider", shards.admin_url)
    ) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def writers(shards: Shards, service: Service) -> Sequence[Sequence[Writer]]:
    """Two clients for each shard that change their profiles all the time."""
    keys = KeyWrapper(KeyringFile(service.keyring).load())
    found: list[list[Writer]] = [[] for _ in shards.servers]
    number = 0
    while any(len(each) < 2 for each in found):
        email = f"person{number}@example.com"
        here = found[shard_of(keys.partition(email), len(found))]
        if len(here) < 2:
            here.append(Writer(service, email))
        number += 1
    return found


@pytest.fixture
def store(shards: Shards) -> Iterator[Backend]:
    """A connection of its own, by the other head."""
    with closing(SpiderBackend.from_url(shards.url_of(shards.heads[::-1]))) as backend:
        yield backend


def rejected(writers: Sequence[Writer], seconds: float = 60) -> None:
    """Wait until each client is rejected again."""
    before = [writer.codes[STORAGE] for writer in writers]
    deadline = time.monotonic() + seconds
    while any(writer.codes[STORAGE] <= n + 1 for writer, n in zip(writers, before, strict=True)):
        assert time.monotonic() < deadline, "writes were not rejected"
        time.sleep(0.02)


def kill(server: MariaDB) -> Callable[[], None]:
    """Crash a server; restart it with its data."""
    server.signal(signal.SIGKILL)
    return server.start


def freeze(server: MariaDB) -> Callable[[], None]:
    """Freeze a server; thaw it."""
    server.signal(signal.SIGSTOP)
    threads = Path(f"/proc/{server.pid}/task")
    # On a busy machine its threads may answer once more before they stop.
    wait_for(lambda: all(") T " in (each / "stat").read_text() for each in threads.iterdir()))
    return lambda: server.signal(signal.SIGCONT)


def restart(server: MariaDB) -> Callable[[], None]:
    """Stop a server in order; start it."""
    server.stop()
    return server.start


@pytest.mark.parametrize("fault", [kill, freeze, restart])
def test_data_server_is_lost(fault, shards, service, writers, store, pytestconfig):
    """Only emails of a lost shard are rejected; nothing acknowledged is lost, and nothing is torn."""
    here = writers[LOST]
    others = [writer for number, some in enumerate(writers) if number != LOST for writer in some]
    everybody = [*here, *others]
    for writer in everybody:
        writer.slowest = 0.0
        writer.codes.clear()
    for _ in range(pytestconfig.getoption("--node-losses")):
        with writing(everybody):
            wait_until_written(everybody)
            undo = fault(shards.servers[LOST])
            try:
                rejected(here)
                wait_until_written(others)
                assert Client(service, "").call("GET", "/__heartbeat__").status == 200
                assert service.metrics().value("persona_storage_unreachable") == 1
            finally:
                undo()
            wait_until_written(everybody)
        for writer in everybody:
            writer.check(store, service.keyring)
    slowest = [max(writer.slowest for writer in some) for some in (others, here)]
    print(f"{fault.__name__}: others {slowest[0]:.2f} s, of the shard {slowest[1]:.2f} s at most")
    assert not any(writer.codes[STORAGE] for writer in others)
    assert not any(writer.cuts for writer in everybody)
    assert service.metrics().value("persona_storage_unreachable") == 0
    verified = service.run("storage", "verify")
    assert verified.returncode == 0, verified


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("fault", [kill, freeze, restart])
def test_operations_after_the_return(fault, shards):
    """Once a data server is back no operation fails, whether others had asked it meanwhile or not."""
    candidates = (b"\x01%032d" % number for number in range(1000))
    partitions = [each for each in candidates if shard_of(each, len(shards.servers)) == LOST]
    with closing(SpiderBackend.from_url(shards.url)) as backend:
        connections = [backend._engine.connect() for _ in range(backend.stats().max_connections)]
        for connection in connections:
            connection.close()

        def use_each_connection() -> None:
            for partition, _ in zip(partitions, connections, strict=False):
                backend.get_many([Address(partition, "key")])
                backend.apply(partition, [Put("key", b""), Put("profile", b""), Put("picture/1", b"")])

        use_each_connection()
        for times in (0, 3):
            undo = fault(shards.servers[LOST])
            try:
                for partition in partitions[:times]:
                    with pytest.raises(Unavailable):
                        backend.get_many([Address(partition, "key")])
            finally:
                undo()
            use_each_connection()


@pytest.mark.parametrize("fault", [kill, freeze])
def test_head_is_lost(fault, shards, service, writers, store):
    """Without its first head a service goes on by the other one."""
    everybody = [writer for some in writers for writer in some]
    with writing(everybody):
        wait_until_written(everybody)
        undo = fault(shards.heads[0])
        try:
            wait_until_written(everybody)
        finally:
            undo()
        wait_until_written(everybody)
    for writer in everybody:
        writer.check(store, service.keyring)


def test_head_is_frozen_in_a_batch(shards, service, writers):
    """The locks of a head that stands still end, and the other head writes what they were for."""
    keys = KeyWrapper(KeyringFile(service.keyring).load())
    writer = writers[LOST][0]
    with (
        closing(SpiderBackend.from_url(shards.url_of(shards.heads[:1]))) as first,
        first._engine.connect() as connection,
    ):
        connection.exec_driver_sql(SpiderBackend.BEGIN)
        change = "UPDATE items SET version = version + 1 WHERE `partition` = %s AND name = 'profile'"
        assert connection.exec_driver_sql(change, (keys.partition(writer.client.email),)).rowcount
        undo = freeze(shards.heads[0])
        try:
            with writing([writer]):
                wait_until_written([writer])
        finally:
            undo()
        connection.invalidate()


def test_started_without_a_shard(shards, service):
    """While a data server is down, a new process serves the others, and the examination names it."""
    undo = kill(shards.servers[LOST])
    try:
        with closing(SpiderBackend.from_url(shards.url)) as backend:
            backend.check_schema()
            backend.ping()
            wrong = [each.subject for each in backend.examine() if each.level is Level.FAILED]
    finally:
        undo()
    assert wrong == [f"head {number} of 2: shard{LOST}" for number in (1, 2)]
