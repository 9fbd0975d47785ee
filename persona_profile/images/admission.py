"""Which uploads may begin: places, a short queue and memory, shared fairly by networks and issuers."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from persona_profile.errors import Overloaded

_MIN_RETRY_SECONDS: Final = 2
_MAX_RETRY_SECONDS: Final = 60
_WEIGHT: Final = 0.2
"""Weight of the newest job in the moving average of the time of a job."""

_RESERVE: Final = 1 / 8
"""Additional memory for small images, so that an image that takes all the rest does not delay them."""


class Admission:
    """Places for uploads, and a queue for a few more.

    An upload counts for each of its claimants: the client's network and the issuer of the email. No
    claimant gets the last place, so that another finds it free. A free place goes to the first waiting
    upload of the claimant with the fewest places. In a full queue, a new upload displaces the latest
    upload of the claimant that holds the most, unless its own claimant would hold as much.

    A rejected upload gets a time to retry. These times follow each other at the pace of finished
    uploads, so that clients do not return all at once.

    Args:
        places: uploads that are rendered at once.
        max_queued: uploads that may wait for a place.
        max_wait_seconds: the longest wait of an upload for its place and its memory together.
        memory: bytes that all uploads may take together; small images have an eighth more.
    """

    def __init__(self, places: int, max_queued: int, max_wait_seconds: float, memory: int) -> None:
        self._places = places
        self._max_queued = max_queued
        self._max_wait_seconds = max_wait_seconds
        self._memory = _Memory(memory)
        self._reserve = _Memory(int(memory * _RESERVE))
        self._max_places_of_claimant = max(1, places - 1)
        self._changed = threading.Condition()
        self._in_progress = 0
        self._places_held: Counter[Hashable] = Counter()
        self._queue: deque[_Ticket] = deque()
        self._memory_queue: deque[_Ticket] = deque()
        self._job_seconds = 1.0
        self._next_retry = 0.0

    @property
    def max_concurrent(self) -> int:
        """The number of uploads that are rendered or wait for a place."""
        return self._places + self._max_queued

    def stats(self) -> tuple[int, int, int]:
        """Return the uploads in progress, the queued uploads, and the bytes of memory in use."""
        with self._changed:
            return self._in_progress, len(self._queue), self._memory.used + self._reserve.used

    @contextmanager
    def place(self, claimants: Sequence[Hashable]) -> Iterator[float]:
        """Hold a place; yield the time (`time.monotonic`) until which the upload may wait for memory.

        Raises `Overloaded` if the queue is full, another upload displaces this one, or time is up.
        """
        until = time.monotonic() + self._max_wait_seconds
        with self._changed:
            self._await_place(_Ticket(claimants), until)
        began = time.monotonic()
        try:
            yield until
        finally:
            with self._changed:
                self._job_seconds += _WEIGHT * (time.monotonic() - began - self._job_seconds)
                self._in_progress -= 1
                self._places_held.subtract(claimants)
                self._places_held += Counter()  # drops the claimants without a place
                self._give_places()

    @contextmanager
    def memory(self, needed: int, until: float) -> Iterator[None]:
        """Hold bytes of memory, given out in the order of requests; `Overloaded` if time is up."""
        ticket, store = _Ticket(()), self._reserve

        def fits() -> bool:
            nonlocal store
            store = self._reserve if needed <= self._reserve.free else self._memory
            is_its_turn = store is self._reserve or self._memory_queue[0] is ticket
            return is_its_turn and needed <= store.free

        with self._changed:
            self._memory_queue.append(ticket)
            self._wait(self._memory_queue, ticket, until, fits)
            store.used += needed
        try:
            yield
        finally:
            with self._changed:
                store.used -= needed
                self._changed.notify_all()

    def overload(self) -> Overloaded:
        """Return the error for a rejected upload, with its time to retry."""
        with self._changed:
            return self._overload()

    def _await_place(self, ticket: _Ticket, until: float) -> None:
        self._queue.append(ticket)
        self._give_places()
        if not ticket.has_place and len(self._queue) > self._max_queued:
            self._queue.pop()
            self._displace(ticket)
            self._queue.append(ticket)
        self._wait(self._queue, ticket, until, lambda: ticket.has_place or ticket.is_displaced)
        if ticket.is_displaced:
            raise self._overload()

    def _give_places(self) -> None:
        """Give the free places to queued uploads, at once: they do not count as queued any longer."""
        while (ticket := self._next()) is not None:
            self._queue.remove(ticket)
            ticket.has_place = True
            self._in_progress += 1
            self._places_held.update(ticket.claimants)
        self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        """Return the queued upload that gets a place now."""
        if self._in_progress >= self._places:
            return None
        held, limit = self._places_held, self._max_places_of_claimant
        able = [
            each for each in self._queue if all(held[claimant] < limit for claimant in each.claimants)
        ]
        return min(able, key=lambda each: each.load(held), default=None)

    def _displace(self, newcomer: _Ticket) -> None:
        """Make room in the queue at the expense of a claimant that holds more than the newcomer."""
        held = self._places_held + Counter(
            claimant for each in (*self._queue, newcomer) for claimant in each.claimants
        )
        latest_first = reversed(self._queue)
        heaviest = max(latest_first, key=lambda each: each.load(held), default=None)
        if heaviest is None or heaviest.load(held) <= newcomer.load(held):
            raise self._overload()
        heaviest.is_displaced = True
        self._queue.remove(heaviest)
        self._changed.notify_all()

    def _wait(
        self, queue: deque[_Ticket], ticket: _Ticket, until: float, ready: Callable[[], bool]
    ) -> None:
        try:
            if not self._changed.wait_for(ready, max(0.0, until - time.monotonic())):
                raise self._overload()
        finally:
            if ticket in queue:
                queue.remove(ticket)
            self._changed.notify_all()

    def _overload(self) -> Overloaded:
        now = time.monotonic()
        pace = self._job_seconds / self._places
        self._next_retry = max(self._next_retry, now + _MIN_RETRY_SECONDS) + pace
        self._next_retry = min(self._next_retry, now + _MAX_RETRY_SECONDS)
        return Overloaded(
            "Too many pictures are in progress; try again.", math.ceil(self._next_retry - now)
        )


class _Ticket:
    """The turn of one upload; equal to itself alone."""

    def __init__(self, claimants: Sequence[Hashable]) -> None:
        self.claimants = tuple(claimants)
        self.has_place = self.is_displaced = False

    def load(self, counts: Mapping[Hashable, int]) -> list[int]:
        """Return the counts of its claimants, the highest first."""
        return sorted((counts.get(each, 0) for each in self.claimants), reverse=True)


class _Memory:
    """Bytes of memory, and the part in use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that are not in use."""
        return self._size - self.used
