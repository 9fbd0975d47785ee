"""Keeps a database that has fallen silent from holding every thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self

from backends import Unavailable
from backends.engines.sql import AllInUse, ConnectionLost

SILENCE_SECONDS: Final = 1.0
SILENT_OPERATIONS: Final = 3


class HostLost(ConnectionLost):
    """It broke because one of several hosts is lost: the next connection goes to another."""

    @classmethod
    def of(cls, failure: ConnectionLost) -> Self:
        """Return one that is told of as another failure is."""
        lost = cls(str(failure))
        lost.refusal = failure.refusal
        return lost


class Refused(Unavailable):
    """The database did answer: that it can't."""


class Breaker:
    """Lets operations through, unless the database is silent: then they are refused at once.

    It is held to be silent while SILENT_OPERATIONS have waited for SILENCE_SECONDS and none was
    answered in that time; and, once an operation was given up after such a wait, until one is
    answered: they are let through one at a time, to see.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[object, float] = {}
        self._answered_at = clock()
        self._is_open = False

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Carry out one operation.

        Raises:
            Unavailable: the database is silent.
        """
        operation = object()
        with self._lock:
            if self._is_silent():
                raise Unavailable("the database does not answer")
            began = self._under_way[operation] = self._clock()
        is_answered = True
        try:
            yield
        except Refused:
            raise  # that was an answer
        except (AllInUse, HostLost):
            is_answered = False
            began = self._clock()  # it waited for others, or for a host that is asked no more
            raise
        except (ConnectionLost, Unavailable):
            is_answered = False
            raise
        finally:
            with self._lock:
                del self._under_way[operation]
                if is_answered:
                    self._answered_at = self._clock()
                    self._is_open = False
                elif self._clock() - began > SILENCE_SECONDS:
                    self._is_open = True

    @property
    def is_silent(self) -> bool:
        """Whether the database is held to be silent now."""
        with self._lock:
            return self._is_open or self._is_silent()

    def _is_silent(self) -> bool:
        if self._is_open:
            return bool(self._under_way)
        long_ago = self._clock() - SILENCE_SECONDS
        silent = sum(began < long_ago for began in self._under_way.values())
        return silent >= SILENT_OPERATIONS and self._answered_at < long_ago
