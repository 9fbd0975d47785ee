import threading
import time
from collections.abc import Iterator

import pytest
from support.servers.applications import wait_for
from support.stores.stores import Watched

from backends import Address, Put, Unavailable, WrongSchema
from persona_profile.runtime.stats import ReplicaStats
from persona_profile.store.replicas import READS, Replicas

PARTITION = b"\x01" + bytes(32)
HERE, THERE = Address(PARTITION, "picture/here"), Address(PARTITION, "picture/there")
READ_SECONDS = 0.3


class Replica(Watched):
    """A replica with one item, which can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.apply(PARTITION, [Put(HERE.name, b"bytes")])
        self.failure: Exception | None = None
        self.looks = 0

    def check_schema(self) -> None:
        self.looks += 1
        if self.failure:
            raise self.failure

    ping = check_schema


class Asked:
    """Replicas and their counters."""

    def __init__(self, *backends: Replica, read_seconds: float = READ_SECONDS) -> None:
        self.replicas = Replicas(backends, read_seconds=read_seconds, check_seconds=0.02)
        wait_for(lambda: not self.replicas.stats().unreachable)

    @property
    def counted(self) -> dict[str, float]:
        """The number of reads by outcome, without zeros."""
        counts = self.replicas.reads.counts()
        return {outcome: count for (outcome,), count in counts.items() if count}


@pytest.fixture
def replica() -> Replica:
    """A replica."""
    return Replica()


@pytest.fixture
def asked(replica) -> Iterator[Asked]:
    """The replica behind `Replicas`."""
    asked = Asked(replica)
    yield asked
    asked.replicas.close()


def test_none():
    """Without replicas nothing is read, and the check succeeds."""
    replicas = Replicas()
    assert not replicas.has_healthy
    assert replicas.get_many([HERE]) == {}
    replicas.check()
    assert replicas.stats() == ReplicaStats(0, 0)


def test_reading(asked):
    """Items of a replica are read, others are missing, and both are counted."""
    assert asked.replicas.get_many([HERE])[HERE].value == b"bytes"
    assert asked.replicas.get_many([HERE, THERE]).keys() == {HERE}
    assert asked.replicas.get_many([]) == {}
    assert asked.counted == {"served": 1, "missing": 1}


def test_silence(asked, replica):
    """A read without an answer ends in time; then the replica is left out for a while."""
    thaw = threading.Event()
    replica.before_read = thaw.wait  # without an end
    replica.failure = Unavailable()
    assert asked.replicas.get_many([HERE]) == {}
    assert not asked.replicas.has_healthy
    with pytest.raises(Unavailable):
        asked.replicas.check()
    for _ in range(50):
        assert asked.replicas.get_many([HERE]) == {}
    assert asked.counted == {"failed": 1, "skipped": 50}
    thaw.set()
    replica.failure = None
    wait_for(lambda: asked.replicas.has_healthy)
    asked.replicas.check()
    assert asked.replicas.get_many([HERE])


def test_slow_reads(asked, replica):
    """A replica that answers only checks is left out for longer each time, until a read succeeds."""
    thaw = threading.Event()
    replica.before_read = thaw.wait  # without an end
    pauses = []
    for _ in range(4):
        wait_for(lambda: asked.replicas.has_healthy)
        assert asked.replicas.get_many([HERE]) == {}
        began = time.monotonic()
        while not asked.replicas.has_healthy:
            time.sleep(0.002)
        pauses.append(time.monotonic() - began)
    thaw.set()
    assert pauses[3] > 0.05


@pytest.mark.parametrize("failure", [Unavailable(), WrongSchema("no tables"), KeyError("a bug")])
def test_failures(asked, replica, failure):
    """Errors of a replica reach no caller."""

    def fail() -> None:
        raise failure

    replica.before_read = fail
    replica.failure = failure
    assert asked.replicas.get_many([HERE]) == {}
    assert asked.counted == {"failed": 1}
    before = replica.looks
    wait_for(lambda: replica.looks > before + 1)
    assert not asked.replicas.has_healthy
    replica.before_read = lambda: None
    replica.failure = None
    wait_for(lambda: asked.replicas.has_healthy)


def test_found_silent_without_reads(asked, replica):
    """A lost replica is noticed also without reads."""
    replica.failure = Unavailable()
    wait_for(lambda: asked.replicas.stats() == ReplicaStats(1, 1))


def test_busy(replica):
    """Simultaneous reads of a replica are limited to its threads."""
    asked = Asked(replica, read_seconds=30)
    thaw, begun = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        thaw.wait(30)

    replica.before_read = wait
    readers = [threading.Thread(target=asked.replicas.get_many, args=([HERE],)) for _ in range(READS)]
    for reader in readers:
        reader.start()
    for _ in readers:
        begun.acquire()
    assert asked.replicas.get_many([HERE]) == {}
    assert asked.counted["skipped"] == 1
    thaw.set()
    for reader in readers:
        reader.join()
    assert asked.counted == {"skipped": 1, "served": READS}
    asked.replicas.close()


def test_several(replica):
    """Reads are spread over the replicas; healthy replicas replace a lost one."""
    other = Replica()
    asked = Asked(replica, other)
    try:
        for _ in range(100):
            assert asked.replicas.get_many([HERE])
        assert replica.reads > 10
        assert other.reads > 10
        replica.failure = Unavailable()
        wait_for(lambda: asked.replicas.stats() == ReplicaStats(2, 1))
        before = other.reads
        for _ in range(20):
            assert asked.replicas.get_many([HERE])
        assert other.reads == before + 20
        with pytest.raises(Unavailable):
            asked.replicas.check()
    finally:
        asked.replicas.close()
    assert not asked.replicas.has_healthy
