"""The budget of threads that wait for others: identity providers, picture workers, the key service.

A server whose threads all wait answers nobody. So each wait that may be long holds a place of one
budget, which is smaller than the number of threads. The threads beyond it are always left for requests
that wait for nobody.
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
"""Fewer leave no thread for each kind of wait and one for everybody else."""

NO_PLACE: Final = "budget"
"""The reason of a rejection for want of any place."""


class Wait(StrEnum):
    """A kind of wait."""

    LOOKUP = "lookup"
    UPLOAD = "upload"
    KEY_SERVICE = "key_service"


_RESERVED: Final = (Wait.LOOKUP, Wait.UPLOAD)
"""Kinds that strangers cause. Each has a third of the budget for itself, whatever the others take."""

_DETAILS: Final = {
    Wait.LOOKUP: "Too many identity providers are being looked up.",
    Wait.UPLOAD: "Too many pictures are in progress; try again.",
    Wait.KEY_SERVICE: "Too many requests wait for the key service.",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A party for which a place is taken, and the number of places that it may hold.

    Attributes:
        reason: the kind of party, for metrics: one of a few words.
        party: identifies the party among those of its kind.
        share: places that it may hold at once. It takes a second one only while one more is free.
    """

    reason: str
    party: Hashable
    share: int


class FairPlaces:
    """Places that are held, and for whom. The caller holds a lock."""

    def __init__(self) -> None:
        self.held = 0
        self._of_parties: Counter[tuple[str, Hashable]] = Counter()

    def refusal(self, claims: Collection[Claim], free: int) -> str | None:
        """Return the reason why no place can be taken while `free` are left, or None."""
        if free < 1:
            return NO_PLACE
        for claim in claims:
            holds = self._of_parties[claim.reason, claim.party]
            if holds >= claim.share or (holds and free < 2):
                return claim.reason
        return None

    def take(self, claims: Collection[Claim]) -> None:
        """Take a place for parties."""
        self.held += 1
        self._of_parties.update((each.reason, each.party) for each in claims)

    def give_back(self, claims: Collection[Claim]) -> None:
        """Give a place back."""
        self.held -= 1
        self._of_parties.subtract((each.reason, each.party) for each in claims)
        self._of_parties += Counter()  # drops the parties that hold nothing


class WaitingBudget:
    """Places for threads that wait: three quarters of the threads at the most, and all but two.

    Args:
        threads: threads of the server.

    Attributes:
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
        self._places = threads - max(2, threads // 4)
        self._reserve = self._places // 3

    @property
    def places(self) -> int:
        """The number of threads that may wait at once."""
        return self._places

    def most(self, kind: Wait) -> int:
        """Return how many threads may wait in one way while none waits in another."""
        return self._places - sum(self._reserve for each in _RESERVED if each is not kind)

    def in_use(self) -> Mapping[str, int]:
        """Return how many threads wait, by kind."""
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
            retry_after: seconds after which a client that is rejected may try again.
            spare: places beyond the budget, for threads that wait no longer than a moment; at most 1.

        Raises:
            Overloaded: no place is free for them.
        """
        places = self._kinds[kind]
        with self._lock:
            reason = places.refusal(claims, self._free(kind) + spare)
            if reason is None:
                places.take(claims)
        if reason is not None:
            raise self.rejection(kind, reason, retry_after)
        try:
            yield
        finally:
            with self._lock:
                places.give_back(claims)

    def rejection(self, kind: Wait, reason: str, retry_after: int = 1) -> Overloaded:
        """Count a wait that is rejected; return the error to raise."""
        self.rejections.count(kind.value, reason)
        return Overloaded(_DETAILS[kind], retry_after)

    def _free(self, kind: Wait) -> int:
        """Return how many more threads may wait in this way."""
        kept = sum(
            max(0, self._reserve - self._kinds[each].held) for each in _RESERVED if each is not kind
        )
        taken = sum(min(places.held, self.most(each)) for each, places in self._kinds.items())
        beyond = max(0, self._kinds[kind].held - self.most(kind))
        return self._places - kept - taken - beyond
