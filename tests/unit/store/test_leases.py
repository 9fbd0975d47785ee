"""Leases: one holder at a time, also after kills and with wrong clocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backends import Unavailable
from backends.engines.memory import MemoryBackend
from persona_profile.store.leases import LEASE_SECONDS, Lease, LeaseHeld, LeaseLost
from persona_profile.store.partitions import LEASES_PARTITION


class Time:
    """Time that passes only during waits, in which other processes may act."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.meanwhile()


class World:
    """A store, and machines with different clocks."""

    def __init__(self) -> None:
        self.backend = MemoryBackend(lambda: 1_000_000.0)
        self.time = Time()

    def lease(self, clock_error: float = 0.0, name: str = "job") -> Lease:
        return Lease(
            self.backend,
            name,
            clock=lambda: 1_000_000.0 + clock_error,
            monotonic=self.time,
            sleep=self.time.sleep,
        )

    @property
    def items(self) -> list[str]:
        return [info.name for info in self.backend.list(LEASES_PARTITION)]


@pytest.fixture
def world() -> World:
    """A store without leases."""
    return World()


def test_is_given_back(world):
    """A lease is free as soon as its job ends, also by a failure."""
    for _ in range(3):
        with world.lease():
            assert world.items == ["job"]
        assert world.items == []
    with pytest.raises(ZeroDivisionError), world.lease():
        raise ZeroDivisionError
    assert world.items == []
    assert world.time.now == 5000.0


def test_jobs_have_leases_of_their_own(world):
    """Different jobs have different leases."""
    with world.lease(name="one"), world.lease(name="two"):
        assert world.items == ["one", "two"]


@pytest.mark.parametrize("clock_error", [-10_000, 0, 10_000])
def test_live_holder(world, clock_error):
    """A lease that is renewed has one holder, whatever the clocks of other machines say."""
    with world.lease() as holder:
        world.time.meanwhile = holder.keep
        with pytest.raises(LeaseHeld), world.lease(clock_error):
            pytest.fail("two holders")
        assert world.items == ["job"]


@pytest.mark.parametrize("clock_error", [-10_000, 0, 10_000])
def test_killed_holder(world, clock_error):
    """The lease of a killed process is taken over by a waiting process."""
    world.lease().__enter__()
    with world.lease(clock_error):
        assert LEASE_SECONDS <= world.time.now - 5000 <= 2 * LEASE_SECONDS
    assert world.items == []


def test_two_that_wait(world):
    """Of two processes that wait for the lease of a killed one, one gets it."""
    world.lease().__enter__()
    taken = []

    def take_over() -> None:
        if world.time.now > 5000 + LEASE_SECONDS and not taken:
            taken.append(world.lease())
            world.time.meanwhile = lambda: None
            taken[0].__enter__()

    world.time.meanwhile = take_over
    with pytest.raises(LeaseHeld), world.lease():
        pytest.fail("two holders")
    assert taken


def test_a_holder_that_was_stopped(world):
    """A process whose lease was taken over gets LeaseLost, and leaves the new lease."""
    stopped, other = world.lease(), world.lease()
    stopped.__enter__()
    with other:
        world.time.now += LEASE_SECONDS
        with pytest.raises(LeaseLost):
            stopped.keep()
        stopped.__exit__(None, None, None)
        assert world.items == ["job"]


def test_is_kept_while_waiting(world):
    """A long wait between two steps renews the lease."""
    with world.lease() as holder:
        seen = set()
        world.time.meanwhile = lambda: seen.add(world.backend.list(LEASES_PARTITION)[0].version)
        holder.sleep(10 * LEASE_SECONDS)
        assert world.time.now == pytest.approx(5000 + 10 * LEASE_SECONDS)
        assert len(seen) >= 20


def test_is_renewed_no_more_often_than_needed(world):
    """A job of many quick steps writes the lease only when a renewal is due."""
    with world.lease() as holder:
        [before] = world.backend.list(LEASES_PARTITION)
        for _ in range(100):
            holder.keep()
        assert world.backend.list(LEASES_PARTITION) == [before]


def test_a_store_that_fails_at_the_end(world):
    """A failure to give the lease back does not fail the job: the lease is taken over or expires."""

    def fail(*_arguments: object) -> None:
        raise Unavailable

    with world.lease():
        world.backend.apply = fail
    assert world.items == ["job"]
