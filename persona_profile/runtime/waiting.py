"""The budget of threads that wait: for identity providers, picture workers, the key service.

A server whose threads all wait answers no request. So each wait that may be long holds a place of one
budget, which is smaller than the number of threads. The other threads are left for requests that do
not wait.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from persona_profile.errors import Overloaded
from persona_profile.runtime.stats import EventCounter

DEFAULT_THREADS: Final = 8
MIN_THREADS: Final = 5
"""With fewer threads there is not one for each kind of wait and one for other requests."""

NO_PLACE: Final = "budget"
"""The reason of a rejection while no place is free."""


class Wait(StrEnum):
    """A kind of wait."""

    LOOKUP = "lookup"
    UPLOAD = "upload"
    KEY_SERVICE = "key_service"


_RESERVED: Final = (Wait.LOOKUP, Wait.UPLOAD)
"""Kinds that strangers cause. A third of the budget is reserved for each."""

_DETAILS: Final = {
    Wait.LOOKUP: "Too many identity providers are being looked up.",
    Wait.UPLOAD: "Too many pictures are in progress; try again.",
    Wait.KEY_SERVICE: "Too many requests wait for the key service.",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A party that a place counts for, and the number of places that it may hold.

    Attributes:
        reason: the kind of party; a rejection for its share has this reason in metrics.
        share: the number of places that it may hold at once. A second place must leave one free.
    """

    reason: str
    party: Hashable
    share: int


class FairPlaces:
    """Held places, and the parties that they count for. The caller holds a lock."""

    def __init__(self) -> None:
        self.held = 0
        self._of_parties: Counter[tuple[str, Hashable]] = Counter()

    def obstacle(self, claims: Collection[Claim], free: int) -> str | None:
        """Return the reason against another place while `free` are left; None if there is none."""
        if free < 1:
            return NO_PLACE
        for claim in claims:
            holds = self._of_parties[claim.reason, claim.party]
            if holds >= claim.share or (holds and free < 2):
                return claim.reason
        return None

    def acquire(self, claims: Collection[Claim]) -> None:
        """Hold a place for parties."""
        self.held += 1
        self._of_parties.update((each.reason, each.party) for each in claims)

    def release(self, claims: Collection[Claim]) -> None:
        """Release a place."""
        self.held -= 1
        self._of_parties.subtract((each.reason, each.party) for each in claims)
        self._of_parties += Counter()  # drops parties without places


class WaitingBudget:
    """Places for threads that wait: at most three quarters of the threads, and all but two.

    Attributes:
        places: the number of threads that may wait at once.
        rejections: counts rejected waits by kind and reason.
    """

    def __init__(self, threads: int = DEFAULT_THREADS) -> None:
        self.rejections = EventCounter()
        self._lock = threading.Lock()
        self._kinds = {kind: FairPlaces() for kind in Wait}
        self.fit(threads)

    def fit(self, threads: int) -> None:
        """Set the number of threads of the server.

        Raises:
            ValueError: there are fewer than MIN_THREADS.
        """
        if threads < MIN_THREADS:
            raise ValueError(f"at least {MIN_THREADS} threads are needed")
        self.places = threads - max(2, threads // 4)
        self._reserve = self.places // 3

    def limit(self, kind: Wait) -> int:
        """Return the number of threads that may wait in one way while no thread waits in another."""
        return self.places - sum(self._reserve for each in _RESERVED if each is not kind)

    def in_use(self) -> Mapping[str, int]:
        """Return the number of waiting threads by kind."""
        with self._lock:
            return {kind.value: places.held for kind, places in self._kinds.items()}

    @contextmanager
    def place(
        self, kind: Wait, claims: Collection[Claim] = (), retry_after: int = 1, spare: int = 0
    ) -> Iterator[None]:
        """Hold a place while the thread waits.

        Args:
            kind: the kind of wait.
            claims: the parties that hold the place, each at most its share.
            retry_after: seconds after which a rejected client may try again.
            spare: places beyond the budget, for very short waits; at most 1.

        Raises:
            Overloaded: no place is free for them.
        """
        places = self._kinds[kind]
        with self._lock:
            reason = places.obstacle(claims, self._free(kind) + spare)
            if reason is None:
                places.acquire(claims)
        if reason is not None:
            raise self.rejection(kind, reason, retry_after)
        try:
            yield
        finally:
            with self._lock:
                places.release(claims)

    def rejection(self, kind: Wait, reason: str, retry_after: int = 1) -> Overloaded:
        """Count a rejected wait; return the error to raise."""
        self.rejections.count(kind.value, reason)
        return Overloaded(_DETAILS[kind], retry_after)

    def _free(self, kind: Wait) -> int:
        """Return the number of threads that may still begin to wait in this way."""
        kept = sum(
            max(0, self._reserve - self._kinds[each].held) for each in _RESERVED if each is not kind
        )
        taken = sum(min(places.held, self.limit(each)) for each, places in self._kinds.items())
        beyond = max(0, self._kinds[kind].held - self.limit(kind))
        return self.places - kept - taken - beyond
