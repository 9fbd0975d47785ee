"""Lookups of identity providers: how many wait, for whom, and which are done before anybody waits.

Strangers choose whom the server looks up, and how slow that is. So the places for lookups are shared
fairly between the networks of clients and between registrable domains. Parties whose lookups take long
get fewer.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from cachetools import TTLCache

from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.errors import Overloaded
from persona_profile.runtime.waiting import Claim, FairPlaces, Wait, WaitingBudget

FREE_SECONDS: Final = 1.0
"""A lookup that takes no longer costs its parties next to nothing."""

COST_SECONDS: Final = 0.05
"""The debt for each lookup, for its processor time."""

DEBT_SECONDS: Final = 10.0
"""A party with such a debt has one place. A network with twice that has none; nor has it one for a
domain with such a debt, from which it would keep others.
"""

FORGIVEN_PER_SECOND: Final = DEBT_SECONDS / 60
MAX_PARTIES: Final = 4096

FLIGHTS: Final = 16
"""Threads that fetch documents, for each authenticator. A silent name server may hold them for long."""

REFRESHES: Final = 2
"""Threads that refresh documents ahead of time. As many flights are kept for them."""

MAX_REFRESHES: Final = 64
"""Registrable domains whose documents may be waiting for a refresh."""

logger = logging.getLogger(__name__)

_R = TypeVar("_R")
_Party = tuple[str, str]
"""A kind of party, and the party."""


@dataclass(frozen=True, slots=True)
class _Cause:
    """The party that causes lookups.

    Attributes:
        client: its network; none if no request waits.
        domain: the domain whose proof is verified.
    """

    client: str | None = None
    domain: str | None = None


_CAUSE: ContextVar[_Cause] = ContextVar("lookups_cause", default=_Cause())  # noqa: B039 - it is frozen

_HOLDS_PLACE: ContextVar[bool] = ContextVar("lookups_holds_place", default=False)


@contextmanager
def caused_by(*, client: str | None = None, domain: str | None = None) -> Iterator[None]:
    """Count the lookups of this thread for a client's network, or for a domain whose proof is verified.

    Lookups that have no client hold no place of the budget, as no request waits for them.
    """
    cause = _CAUSE.get()
    cause = _Cause(
        cause.client if client is None else client, cause.domain if domain is None else domain
    )
    token = _CAUSE.set(cause)
    try:
        yield
    finally:
        _CAUSE.reset(token)


class Lookups:
    """The places for lookups, and the threads that refresh documents before they expire.

    Args:
        budget: places for threads that wait.
        clock: seconds, for how long lookups take.
    """

    def __init__(
        self, budget: WaitingBudget | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._budget = budget or WaitingBudget()
        self._debts = _Debts(clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshed: set[str] = set()
        self._executor = ThreadPoolExecutor(REFRESHES, thread_name_prefix="refresh")

    @contextmanager
    def place(self, domain: str) -> Iterator[None]:
        """Hold one place while this thread waits for lookups of a domain, and of others within it.

        A network, and a registrable domain, leave one place to others.

        Raises:
            Overloaded: no place is free for them.
        """
        cause = _CAUSE.get()
        if cause.client is None or _HOLDS_PLACE.get():
            yield
            return
        network, domains = ("network", cause.client), _domains(cause, domain)
        claims, retry_after = self._claims(network, domains)
        with self._budget.place(Wait.LOOKUP, claims, retry_after):
            began, token = self._clock(), _HOLDS_PLACE.set(True)
            try:
                yield
            finally:
                _HOLDS_PLACE.reset(token)
                taken = self._clock() - began
                for party in (network, *domains):
                    self._debts.add(party, max(COST_SECONDS, taken - FREE_SECONDS))

    def flight_claims(self, domain: str) -> list[Claim]:
        """Return the claims of a thread that fetches from a domain; nobody has more than half."""
        cause = _CAUSE.get()
        parties = [("network", cause.client)] if cause.client is not None else []
        return [Claim(*each, FLIGHTS // 2) for each in (*parties, *_domains(cause, domain))]

    def rejection(self, reason: str) -> Overloaded:
        """Count a lookup that is rejected; return the error to raise."""
        return self._budget.rejection(Wait.LOOKUP, reason)

    def refresh(self, domain: str, work: Callable[[], None]) -> None:
        """Carry out work that looks a domain up, soon and beside requests.

        It is left for the next time while another domain of the same registrable one is refreshed.
        """
        party = registrable_domain(domain)
        with self._lock:
            if party in self._refreshed or len(self._refreshed) >= MAX_REFRESHES:
                return
            self._refreshed.add(party)
        try:
            self._executor.submit(self._refresh, party, work)
        except RuntimeError:  # closed, or the system gives no more threads
            with self._lock:
                self._refreshed.discard(party)

    def close(self) -> None:
        """Begin no more refreshes."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _claims(self, network: _Party, domains: list[_Party]) -> tuple[list[Claim], int]:
        """Return the claims of a lookup, and the seconds until a rejected client may come back."""
        most = self._budget.most(Wait.LOOKUP)
        owed = self._debts.of(network)
        is_slow = any(self._debts.of(each) >= DEBT_SECONDS for each in domains)
        allowed = DEBT_SECONDS if is_slow else 2 * DEBT_SECONDS
        claims = [
            Claim(*network, self._share(network, most) if owed < allowed else 0),
            *(Claim(*each, self._share(each, most)) for each in domains),
        ]
        return claims, 1 + max(0, math.ceil((owed - allowed) / FORGIVEN_PER_SECOND))

    def _share(self, party: _Party, most: int) -> int:
        return max(1, most - 1) if self._debts.of(party) < DEBT_SECONDS else 1

    def _refresh(self, party: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            logger.warning("a refresh of an identity provider failed: %s", type(error).__name__)
        finally:
            with self._lock:
                self._refreshed.discard(party)


class Flights(Generic[_R]):
    """Work that one thread does, and for which any number may wait.

    Args:
        lookups: knows for whom the work is.
    """

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._lock = threading.Lock()
        self._places = FairPlaces()
        self._under_way: dict[str, tuple[Future[_R], float]] = {}
        self._executor = ThreadPoolExecutor(FLIGHTS, thread_name_prefix="fetch")

    def join(self, key: str, domain: str, work: Callable[[], _R], seconds: float) -> _R:
        """Return the result of the work of that key, which is begun unless it is under way.

        Raises:
            TimeoutError: it has been under way for `seconds`. It goes on, and nobody waits for it.
            Overloaded: too many others are under way.
            Exception: what the work raises.
        """
        with self._lock:
            future, until = self._under_way.get(key) or self._begin(key, domain, work, seconds)
        return future.result(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Begin no more work."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self, key: str, domain: str, work: Callable[[], _R], seconds: float
    ) -> tuple[Future[_R], float]:
        claims = self._lookups.flight_claims(domain)
        most = FLIGHTS if _CAUSE.get().client is None else FLIGHTS - REFRESHES
        if self._places.refusal(claims, most - self._places.held) is not None:
            raise self._lookups.rejection("threads")

        def carry_out() -> _R:
            try:
                return work()
            finally:
                with self._lock:
                    del self._under_way[key]
                    self._places.give_back(claims)

        try:
            future = self._executor.submit(carry_out)
        except RuntimeError:  # closed, or the system gives no more threads
            raise self._lookups.rejection("threads") from None
        self._places.take(claims)
        self._under_way[key] = flight = (future, time.monotonic() + seconds)
        return flight


class _Debts:
    """Seconds that the lookups of parties took too long, which are forgiven with time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._debts: TTLCache[_Party, tuple[float, float]] = TTLCache(
            MAX_PARTIES, 6 * DEBT_SECONDS / FORGIVEN_PER_SECOND, clock
        )

    def of(self, party: _Party) -> float:
        """Return the debt of a party in seconds."""
        with self._lock:
            debt, since = self._debts.get(party, (0.0, 0.0))
        return max(0.0, debt - (self._clock() - since) * FORGIVEN_PER_SECOND)

    def add(self, party: _Party, seconds: float) -> None:
        """Add to the debt of a party."""
        debt = min(self.of(party) + seconds, 4 * DEBT_SECONDS)
        with self._lock:
            self._debts[party] = debt, self._clock()


def _domains(cause: _Cause, domain: str) -> list[_Party]:
    """Return the registrable domains that a lookup is counted for: of the name, and of its cause."""
    names = (domain, cause.domain or domain)
    return [("domain", each) for each in dict.fromkeys(map(registrable_domain, names))]
