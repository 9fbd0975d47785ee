"""Which uploads may begin: places, a short queue, memory; fair between networks and issuers."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from persona_profile.errors import Overloaded

_LEAST_RETRY_SECONDS: Final = 2
_MOST_RETRY_SECONDS: Final = 60
_WEIGHT: Final = 0.2
"""Of the newest job in the moving average of how long a job takes."""

_RESERVE: Final = 1 / 8
"""Memory for small pictures alone, on top: a picture that takes all the rest must not hold them up."""


class Admission:
    """Lets as many uploads begin as there are places, and few more wait.

    An upload counts for each of its claimants: the client's network and the issuer of the email. No
    claimant gets the last place, so another finds one free. Of the uploads that wait the first is the
    one whose claimants have the least under way. If the queue is full, an upload displaces the latest
    of the claimant that holds the most, unless it would hold as much itself.

    Each upload that is refused gets a time to come back, a little later than the one before, at the
    pace at which uploads are worked off: so they do not come back all at once.

    Args:
        places: how many uploads are worked on at once.
        queue: how many more may wait for a place.
        patience: how long an upload waits for place and memory together, in seconds.
        memory: bytes that all under way may take together; an eighth more is for small pictures alone.
    """

    def __init__(self, places: int, queue: int, patience: float, memory: int) -> None:
        self._places = places
        self._queue = queue
        self._patience = patience
        self._memory = _Memory(memory)
        self._reserve = _Memory(int(memory * _RESERVE))
        self._places_of_one = max(1, places - 1)
        self._changed = threading.Condition()
        self._busy = 0
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
    def max_concurrent(self) -> int:
        """How many uploads are worked on or wait."""
        return self._places + self._queue

    def stats(self) -> tuple[int, int, int]:
        """Return how many uploads have a place, how many wait for one, and the bytes admitted."""
        with self._changed:
            return self._busy, len(self._waiting), self._memory.taken + self._reserve.taken

    @contextmanager
    def place(self, claimants: Sequence[Hashable]) -> Iterator[float]:
        """Hold a place; yield until when memory may be waited for (`time.monotonic`).

        Raises:
            Overloaded: the queue is full, or another upload has displaced this one, or the wait was too
                long.
        """
        until = time.monotonic() + self._patience
        with self._changed:
            self._await_place(_Ticket(claimants), until)
        began = time.monotonic()
        try:
            yield until
        finally:
            with self._changed:
                self._job_seconds += _WEIGHT * (time.monotonic() - began - self._job_seconds)
                self._busy -= 1
                self._under_way.subtract(claimants)
                self._under_way += Counter()  # drops those at nought
                self._changed.notify_all()

    @contextmanager
    def memory(self, needed: int, until: float) -> Iterator[None]:
        """Hold some bytes of memory, in turn with the others who wait for some.

        Raises:
            Overloaded: they did not become free in time.
        """
        ticket, taken = _Ticket(()), self._reserve

        def fits() -> bool:
            nonlocal taken
            taken = self._reserve if needed <= self._reserve.free else self._memory
            is_its_turn = taken is self._reserve or self._waiting_for_memory[0] is ticket
            return is_its_turn and needed <= taken.free

        with self._changed:
            self._wait(self._waiting_for_memory, ticket, until, fits)
            taken.taken += needed
        try:
            yield
        finally:
            with self._changed:
                taken.taken -= needed
                self._changed.notify_all()

    def overload(self) -> Overloaded:
        """Return the error that tells one more upload when to come back."""
        with self._changed:
            return self._overload()

    def _await_place(self, ticket: _Ticket, until: float) -> None:
        self._waiting.append(ticket)
        at_once = self._next() is ticket
        self._waiting.pop()
        if not at_once and len(self._waiting) >= self._queue:
            self._displace(ticket)
        self._wait(self._waiting, ticket, until, lambda: ticket.is_displaced or self._next() is ticket)
        if ticket.is_displaced:
            raise self._overload()
        self._busy += 1
        self._under_way.update(ticket.claimants)
        self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        """Return the upload that gets a place now, of those that wait."""
        if self._busy >= self._places:
            return None
        able = [each for each in self._waiting if each.most(self._under_way) < self._places_of_one]
        return min(able, key=lambda each: each.load(self._under_way), default=None)

    def _displace(self, newcomer: _Ticket) -> None:
        """Make room in the queue, at the cost of the claimant that holds the most.

        Raises:
            Overloaded: none holds more than the newcomer would.
        """
        held = self._under_way + Counter(
            claimant for each in (*self._waiting, newcomer) for claimant in each.claimants
        )
        latest_first = reversed(self._waiting)
        heaviest = max(latest_first, key=lambda each: each.load(held), default=None)
        if heaviest is None or heaviest.load(held) <= newcomer.load(held):
            raise self._overload()
        heaviest.is_displaced = True
        self._waiting.remove(heaviest)
        self._changed.notify_all()

    def _wait(
        self, line: deque[_Ticket], ticket: _Ticket, until: float, ready: Callable[[], bool]
    ) -> None:
        line.append(ticket)
        try:
            if not self._changed.wait_for(ready, max(0.0, until - time.monotonic())):
                raise self._overload()
        finally:
            if not ticket.is_displaced:
                line.remove(ticket)
            self._changed.notify_all()

    def _overload(self) -> Overloaded:
        now = time.monotonic()
        pace = self._job_seconds / self._places
        self._appointment = max(self._appointment, now + _LEAST_RETRY_SECONDS) + pace
        self._appointment = min(self._appointment, now + _MOST_RETRY_SECONDS)
        return Overloaded(
            "Too many pictures are under way; try again.", math.ceil(self._appointment - now)
        )


class _Ticket:
    """The turn of one upload; each is like no other."""

    def __init__(self, claimants: Sequence[Hashable]) -> None:
        self.claimants = tuple(claimants)
        self.is_displaced = False

    def load(self, counts: Mapping[Hashable, int]) -> list[int]:
        """Return the counts of its claimants, the highest first."""
        return sorted((counts.get(each, 0) for each in self.claimants), reverse=True)

    def most(self, counts: Mapping[Hashable, int]) -> int:
        """Return the highest count of its claimants."""
        return max(self.load(counts), default=0)


class _Memory:
    """Bytes to give out, and those that are taken."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = 0

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return self._size - self.taken
