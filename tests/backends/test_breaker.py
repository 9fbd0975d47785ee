from __future__ import annotations

import contextlib

import pytest
from support.servers.applications import Clock

from backends import Unavailable
from backends.breaker import CircuitBreaker, CircuitOpen, Outcome
from backends.engines.mysql import (
    MAX_SILENT_OPERATIONS,
    SILENCE_SECONDS,
    HostLost,
    Rejected,
    new_breaker,
)
from backends.engines.sql import AllInUse, ConnectionLost, Transient


@pytest.fixture
def clock() -> Clock:
    """The time, which tests move on."""
    return Clock(1000.0)


@pytest.fixture
def breaker(clock) -> CircuitBreaker:
    """The breaker of a database, before any operation."""
    return new_breaker(clock)


def fail(breaker: CircuitBreaker, clock: Clock, error: Exception, seconds: float) -> None:
    """Let an operation fail after some seconds."""
    with contextlib.suppress(type(error)), breaker.call():
        clock.now += seconds
        raise error


def is_open(breaker: CircuitBreaker) -> bool:
    """Return whether a second operation at the same time is rejected."""
    with breaker.call():
        try:
            with breaker.call():
                return False
        except CircuitOpen:
            return True


def test_silence_is_noticed(breaker, clock):
    """Once MAX_SILENT_OPERATIONS have waited for SILENCE_SECONDS, the next is rejected at once."""
    with contextlib.ExitStack() as waiting:
        for _ in range(MAX_SILENT_OPERATIONS):
            waiting.enter_context(breaker.call())
        clock.now += 1.01 * SILENCE_SECONDS
        with pytest.raises(CircuitOpen), breaker.call():
            pass


def test_slow_is_not_silent(breaker, clock):
    """As long as any operation is answered, others may wait, for a lock for instance."""
    with contextlib.ExitStack() as waiting:
        for _ in range(2 * MAX_SILENT_OPERATIONS):
            waiting.enter_context(breaker.call())
        for _ in range(10):
            clock.now += 0.9 * SILENCE_SECONDS
            with breaker.call():
                pass


def test_one_at_a_time_after_silence(breaker, clock):
    """After silence one operation at a time is let through, until one is answered."""
    fail(breaker, clock, ConnectionLost(), 8)
    with breaker.call():
        with pytest.raises(CircuitOpen), breaker.call():
            pass
        clock.now += 0.1
    assert not is_open(breaker)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ConnectionLost(), 0.1),
        (Unavailable(), 0.1),
        (Transient(), 3),
        (Rejected(), 8),
        (AllInUse(), 8),
        (HostLost(), 8),
        (KeyError(), 8),
    ],
)
def test_what_is_no_silence(breaker, clock, error, seconds):
    """A failure at once, a late answer, and a wait for anything else are no silence."""
    fail(breaker, clock, error, seconds)
    assert not is_open(breaker)


def test_refusal_ends_silence(breaker, clock):
    """A database that rejects an operation, because it has no room for instance, is not silent."""
    fail(breaker, clock, ConnectionLost(), 8)
    fail(breaker, clock, Rejected(), 3)
    assert not is_open(breaker)


def test_probe_that_fails(breaker, clock):
    """The breaker stays open while these operations fail, at once or late."""
    fail(breaker, clock, ConnectionLost(), 8)
    for seconds in (0.1, 8):
        fail(breaker, clock, Unavailable(), seconds)
        with breaker.call(), pytest.raises(CircuitOpen), breaker.call():
            pass
        fail(breaker, clock, ConnectionLost(), 8)


def test_pause(clock):
    """After a failure nothing is let through until the pause is over; then one call at a time."""
    breaker = CircuitBreaker(pause=10, clock=clock)
    fail(breaker, clock, KeyError(), 1)
    clock.now += 9.9
    with pytest.raises(CircuitOpen), breaker.call():
        pass
    clock.now += 0.2
    with breaker.call(), pytest.raises(CircuitOpen), breaker.call():
        pass
    assert not breaker.is_open


def test_pause_grows(clock):
    """Each failure doubles the pause up to a maximum; the second answer resets it."""

    def judge(error: BaseException, _seconds: float) -> Outcome:
        return Outcome.UNKNOWN if isinstance(error, InterruptedError) else Outcome.FAILED

    breaker = CircuitBreaker(judge, pause=1, max_pause=4, clock=clock)

    def pause() -> float:
        fail(breaker, clock, KeyError(), 0)
        began = clock.now
        while True:
            try:
                fail(breaker, clock, InterruptedError(), 0)
            except CircuitOpen:
                clock.now += 0.5
            else:
                return clock.now - began

    assert [pause() for _ in range(4)] == [1, 2, 4, 4]
    with breaker.call():
        pass
    assert pause() == 4
    for _ in range(2):
        with breaker.call():
            pass
    assert pause() == 1


def test_open_at_first(clock):
    """A breaker may be open at first: one call is let through as a probe."""
    breaker = CircuitBreaker(is_open=True, clock=clock)
    assert breaker.is_open
    assert is_open(breaker)
    assert not breaker.is_open


def test_recorded_outcomes(clock):
    """Outcomes of calls that were made without the breaker count; failures in its pause do not."""
    breaker = CircuitBreaker(pause=10, clock=clock)
    breaker.record(Outcome.FAILED)
    clock.now += 9
    breaker.record(Outcome.FAILED)
    clock.now += 1
    with breaker.call():
        breaker.record(Outcome.UNKNOWN)
        assert breaker.is_open
    assert not breaker.is_open
