from __future__ import annotations

import contextlib

import pytest
from support.applications import Clock

from backends import Unavailable
from backends.breaker import SILENCE_SECONDS, SILENT_OPERATIONS, Breaker, HostLost, Refused
from backends.engines.sql import AllInUse, ConnectionLost, Transient


@pytest.fixture
def clock() -> Clock:
    """The time, which goes on when told to."""
    return Clock(1000.0)


@pytest.fixture
def breaker(clock) -> Breaker:
    """A breaker that nothing has gone through."""
    return Breaker(clock)


def fail(breaker: Breaker, clock: Clock, error: Exception, seconds: float) -> None:
    """Let an operation fail after some time."""
    with contextlib.suppress(type(error)), breaker.operation():
        clock.now += seconds
        raise error


def is_open(breaker: Breaker) -> bool:
    """Tell whether an operation beside another one is refused."""
    with breaker.operation():
        try:
            with breaker.operation():
                return False
        except Unavailable:
            return True


def test_silence_is_noticed(breaker, clock):
    """When enough operations have waited for long enough, the next is refused at once."""
    with contextlib.ExitStack() as waiting:
        for _ in range(SILENT_OPERATIONS):
            waiting.enter_context(breaker.operation())
        clock.now += 1.01 * SILENCE_SECONDS
        with pytest.raises(Unavailable), breaker.operation():
            pass


def test_slow_is_not_silent(breaker, clock):
    """While anything is answered, operations that wait, for a lock for instance, refuse nobody."""
    with contextlib.ExitStack() as waiting:
        for _ in range(2 * SILENT_OPERATIONS):
            waiting.enter_context(breaker.operation())
        for _ in range(10):
            clock.now += 0.9 * SILENCE_SECONDS
            with breaker.operation():
                pass


def test_one_at_a_time_after_silence(breaker, clock):
    """After silence one operation at a time finds out whether it is over."""
    fail(breaker, clock, ConnectionLost(), 8)
    with breaker.operation():
        with pytest.raises(Unavailable), breaker.operation():
            pass
        clock.now += 0.1
    assert not is_open(breaker)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ConnectionLost(), 0.1),
        (Unavailable(), 0.1),
        (Transient(), 3),
        (Refused(), 8),
        (AllInUse(), 8),
        (HostLost(), 8),
        (KeyError(), 8),
    ],
)
def test_what_is_no_silence(breaker, clock, error, seconds):
    """What fails at once, is answered late, or waited for something else is no silence."""
    fail(breaker, clock, error, seconds)
    assert not is_open(breaker)


def test_refusal_ends_silence(breaker, clock):
    """A database that answers that it can't, has no room for instance, is not silent any more."""
    fail(breaker, clock, ConnectionLost(), 8)
    fail(breaker, clock, Refused(), 3)
    assert not is_open(breaker)


def test_probe_that_fails(breaker, clock):
    """It stays so while those fail, at once or late."""
    fail(breaker, clock, ConnectionLost(), 8)
    for seconds in (0.1, 8):
        fail(breaker, clock, Unavailable(), seconds)
        with breaker.operation(), pytest.raises(Unavailable), breaker.operation():
            pass
        fail(breaker, clock, ConnectionLost(), 8)
