"""Which uploads may begin: places, a short queue, memory; fair between clients."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from persona_profile.errors import Overloaded

_LEAST_RETRY_SECONDS: Final = 2
_MOST_RETRY_SECONDS: Final = 60
_WEIGHT: Final = 0.2
"""Of the newest job in the moving average of how long a job takes."""


class Admission:
    """Lets as many uploads begin as there are places, and few more wait.

    A client has at most half of places and queue, and never the last place: whatever it sends, another
    finds one free. Among those that wait the one goes first whose client has the least under way. All
    that is refused is told when to come back, each a little later than the one before, at the pace at
    which uploads are worked off: so they do not come back all at once.

    Args:
        places: how many uploads are worked on at once.
        queue: how many more may wait for a place.
        patience: how long an upload waits for place and memory together, in seconds.
        memory: bytes that all under way may take together.
    """

    def __init__(self, places: int, queue: int, patience: float, memory: int) -> None:
        self._places = places
        self._queue = queue
        self._patience = patience
        self._memory = memory
        self._free_memory = memory
        self._share = max(1, (places + queue) // 2)
        self._places_of_one = max(1, places - 1)
        self._changed = threading.Condition()
        self._under_way: Counter[Hashable] = Counter()
        self._waiting: deque[_Ticket] = deque()
        self._waiting_for_memory: deque[_Ticket] = deque()
        self._job_seconds = 1.0
        self._appointment = 0.0

    @property
    def places(self) -> int:
        """How many uploads are worked on at once."""
        return self._places

    @property
    def most_at_once(self) -> int:
        """How many uploads are worked on or wait."""
        return self._places + self._queue

    def figures(self) -> tuple[int, int, int]:
        """Return how many uploads have a place, how many wait for one, and the bytes admitted."""
        with self._changed:
            admitted = self._memory - self._free_memory
            return self._under_way.total(), len(self._waiting), admitted

    @contextmanager
    def place(self, client: Hashable) -> Iterator[float]:
        """Hold a place; yield until when memory may be waited for (`time.monotonic`).

        Raises:
            Overloaded: the queue is full, or holds the client's share, or the wait was too long.
        """
        until = time.monotonic() + self._patience
        with self._changed:
            self._await_place(_Ticket(client), until)
        began = time.monotonic()
        try:
            yield until
        finally:
            with self._changed:
                self._job_seconds += _WEIGHT * (time.monotonic() - began - self._job_seconds)
                self._under_way[client] -= 1
                self._under_way += Counter()  # drops those at nought
                self._changed.notify_all()

    @contextmanager
    def memory(self, needed: int, until: float) -> Iterator[None]:
        """Hold some bytes of memory, in turn with the others who wait for some.

        Raises:
            Overloaded: they did not become free in time.
        """
        ticket = _Ticket(None)
        with self._changed:
            self._wait(
                self._waiting_for_memory,
                ticket,
                until,
                lambda: self._waiting_for_memory[0] is ticket and needed <= self._free_memory,
            )
            self._free_memory -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free_memory += needed
                self._changed.notify_all()

    def refusal(self) -> Overloaded:
        """Return the error that tells one more upload when to come back."""
        with self._changed:
            return self._refusal()

    def _await_place(self, ticket: _Ticket, until: float) -> None:
        client = ticket.client
        held = self._under_way[client] + sum(each.client == client for each in self._waiting)
        if held >= self._share:
            raise self._refusal()
        self._waiting.append(ticket)
        at_once = self._next() is ticket
        self._waiting.pop()
        if not at_once and len(self._waiting) >= self._queue:
            raise self._refusal()
        self._wait(self._waiting, ticket, until, lambda: self._next() is ticket)
        self._under_way[client] += 1
        self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        """Return who of those that wait for a place gets one now."""
        if self._under_way.total() >= self._places:
            return None
        able = [each for each in self._waiting if self._under_way[each.client] < self._places_of_one]
        return min(able, key=lambda each: self._under_way[each.client], default=None)

    def _wait(
        self, line: deque[_Ticket], ticket: _Ticket, until: float, ready: Callable[[], bool]
    ) -> None:
        line.append(ticket)
        try:
            if not self._changed.wait_for(ready, max(0.0, until - time.monotonic())):
                raise self._refusal()
        finally:
            line.remove(ticket)
            self._changed.notify_all()

    def _refusal(self) -> Overloaded:
        now = time.monotonic()
        pace = self._job_seconds / self._places
        self._appointment = max(self._appointment, now + _LEAST_RETRY_SECONDS) + pace
        self._appointment = min(self._appointment, now + _MOST_RETRY_SECONDS)
        return Overloaded(
            "Too many pictures are under way; try again.", math.ceil(self._appointment - now)
        )


class _Ticket:
    """Somebody's turn; each is like no other."""

    def __init__(self, client: Hashable) -> None:
        self.client = client
