from collections.abc import Iterator

import pytest
from support.stores.stores import WithDefaults

import backends
from backends import Address, Busy, Put
from backends.engines.memory import MemoryBackend
from backends.testing.conformance import BackendConformance


class TestMemory(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        backend = MemoryBackend()
        yield backend
        backend.close()


class TestDefaults(BackendConformance):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        backend = WithDefaults()
        yield backend
        backend.close()


def test_reads_of_partitions_that_never_stand_still(monkeypatch):
    """An engine without reads of whole partitions gives up after some time."""
    monkeypatch.setattr(backends, "PATIENCE_SECONDS", 0.05)

    class Written(WithDefaults):
        def get_many(self, addresses):
            self.apply(b"p", [Put("x", b"")])
            return super().get_many(addresses)

    backend = Written()
    backend.apply(b"p", [Put("x", b"")])
    with pytest.raises(Busy):
        backend.read_many([b"p"], 1)


def test_expires_by_the_clock():
    """An item expires at its instant, not before."""
    now = [100.0]
    backend = MemoryBackend(clock=lambda: now[0])
    backend.apply(b"p", [Put("x", b"", expires_at=101)])
    address = Address(b"p", "x")
    assert address in backend.get_many([address])
    now[0] = 101.0
    assert address not in backend.get_many([address])


def test_expired_items_do_not_pile_up():
    """Writes delete expired items: a long-lived server does not grow."""
    now = [0.0]
    backend = MemoryBackend(clock=lambda: now[0])
    for second in range(1000):
        now[0] = float(second)
        backend.apply(b"%d" % second, [Put("x", b"", expires_at=second + 5)])
    assert len(backend._partitions) <= 7


def test_takes_no_url():
    """A URL for the memory store is an error."""
    with pytest.raises(ValueError, match="no URL"):
        MemoryBackend.from_url("mysql://")
