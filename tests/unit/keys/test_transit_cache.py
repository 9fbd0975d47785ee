from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.servers.transit import (
    FakeTransit,
    fake_transit,
    freezes,
    rejects,
    transit_service,
    write_token,
)

from persona_profile.keys.service import KeysUnavailable, Unreadable
from persona_profile.keys.transit import CachingService, TransitService

PARTITION = b"p" * 32
DATA_KEY = bytes(range(32))
SECONDS = 300


@pytest.fixture
def fake() -> Iterator[FakeTransit]:
    """A server with a key."""
    with fake_transit() as running:
        yield running


@pytest.fixture
def service(fake: FakeTransit, tmp_path: Path) -> Iterator[TransitService]:
    """The service at that server."""
    running = transit_service(fake.url, write_token(tmp_path / "token"), timeout=30)
    yield running
    running.close()


@pytest.fixture
def clock() -> Clock:
    """The clock of the cache."""
    return Clock(1000.0)


@pytest.fixture
def cache(service: TransitService, clock: Clock) -> CachingService:
    """A cache of two keys."""
    return CachingService(service, 2, SECONDS, clock)


def asked(fake: FakeTransit, what: str) -> int:
    """Return how often the server was asked for something."""
    return sum(f"/{what}/" in path for _, path, _, _ in fake.requests)


def test_what_was_unwrapped_is_remembered(
    cache: CachingService, service: TransitService, fake: FakeTransit
) -> None:
    """The server is asked once for a key that is used often."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    assert [cache.unwrap(PARTITION, wrapped) for _ in range(3)] == [DATA_KEY] * 3
    assert asked(fake, "decrypt") == 1


def test_what_was_wrapped_is_remembered(cache: CachingService, fake: FakeTransit) -> None:
    """A key that was just wrapped is unwrapped without the server."""
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    fake.behaviour = rejects(503, "Vault is sealed")
    assert cache.unwrap(PARTITION, wrapped) == DATA_KEY


def test_it_does_what_the_service_does(
    cache: CachingService, service: TransitService, fake: FakeTransit
) -> None:
    """Everything but keys is the service's own."""
    fake.key.rotate()
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    assert cache.magic == service.magic
    assert cache.length(wrapped + b"more") == len(wrapped)
    assert cache.version(wrapped) == cache.primary_version() == 2
    with pytest.raises(Unreadable):
        cache.version(wrapped + b"more")


def test_cache_is_bound_to_owners(cache: CachingService) -> None:
    """A wrap that is remembered opens for its owner alone, and unaltered alone."""
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    assert cache.unwrap(PARTITION, wrapped) == DATA_KEY
    altered = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    for partition, wrong in (
        (b"q" * 32, wrapped),
        (PARTITION, altered),
        (PARTITION + b"P", wrapped[1:]),
    ):
        with pytest.raises(Unreadable):
            cache.unwrap(partition, wrong)


def test_cache_expires(cache: CachingService, fake: FakeTransit, clock: Clock) -> None:
    """After its time a key is asked for again, though it was used meanwhile."""
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    clock.now += SECONDS - 1
    cache.unwrap(PARTITION, wrapped)
    assert asked(fake, "decrypt") == 0
    clock.now += 1
    cache.unwrap(PARTITION, wrapped)
    assert asked(fake, "decrypt") == 1


def test_key_that_was_taken_away(cache: CachingService, fake: FakeTransit, clock: Clock) -> None:
    """A disabled version still opens cached data keys, until they expire."""
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    fake.key.rotate()
    fake.key.min_decryption_version = 2
    assert cache.unwrap(PARTITION, wrapped) == DATA_KEY
    clock.now += SECONDS
    with pytest.raises(Unreadable):
        cache.unwrap(PARTITION, wrapped)


def test_cache_is_bounded(cache: CachingService, fake: FakeTransit) -> None:
    """Beyond so many keys the one that was used least recently is asked for again."""
    first, second = (cache.wrap(PARTITION, DATA_KEY) for _ in range(2))
    cache.unwrap(PARTITION, first)
    third = cache.wrap(PARTITION, DATA_KEY)
    for wrapped in (first, third):
        cache.unwrap(PARTITION, wrapped)
    assert asked(fake, "decrypt") == 0
    cache.unwrap(PARTITION, second)
    assert asked(fake, "decrypt") == 1


def test_failures_are_not_remembered(
    cache: CachingService, service: TransitService, fake: FakeTransit
) -> None:
    """Failures are not cached."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    fake.behaviours = [
        rejects(503, "Vault is sealed"),
        rejects(400, "cipher: message authentication failed"),
        rejects(503, "Vault is sealed"),
    ]
    with pytest.raises(KeysUnavailable):
        cache.unwrap(PARTITION, wrapped)
    with pytest.raises(Unreadable):
        cache.unwrap(PARTITION, wrapped)
    with pytest.raises(KeysUnavailable):
        cache.wrap(PARTITION, DATA_KEY)
    assert cache.unwrap(PARTITION, wrapped) == DATA_KEY


def test_remembered_keys_open_while_others_wait(cache: CachingService, fake: FakeTransit) -> None:
    """While some threads wait for the server, cached data keys open."""
    wrapped = cache.wrap(PARTITION, DATA_KEY)
    fake.behaviour = freezes
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cache.wrap, PARTITION, DATA_KEY)
        while asked(fake, "encrypt") < 2:
            assert not waiting.done()
        assert cache.unwrap(PARTITION, wrapped) == DATA_KEY
        assert not waiting.done()
        fake.thawed.set()
        with pytest.raises(KeysUnavailable):
            waiting.result(60)


def test_many_threads(service: TransitService, clock: Clock) -> None:
    """Eight threads that use more keys than are remembered get the right ones."""
    cache = CachingService(service, 3, SECONDS, clock)
    wraps = {cache.wrap(PARTITION, bytes([number]) * 32): number for number in range(6)}
    start = threading.Barrier(8)

    def use(_: int) -> bool:
        start.wait(60)
        right = True
        for wrapped, number in list(wraps.items()) * 5:
            try:
                right &= cache.unwrap(PARTITION, wrapped) == bytes([number]) * 32
            except KeysUnavailable:
                pass  # too many at once
        return right

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(8)))


def test_no_key_is_in_a_repr(cache: CachingService) -> None:
    """The repr of the cache holds no key."""
    cache.wrap(PARTITION, b"a data key that is nowhere else!")
    assert "nowhere else" not in repr(cache)
