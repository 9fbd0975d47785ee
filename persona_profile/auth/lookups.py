"""Lookups of identity providers: fair places for waiting threads, and refreshes beside requests.

Strangers choose the looked-up domains, and their servers' speed. So clients' networks and registrable
domains share the places for lookups fairly. A party with slow lookups gets fewer places.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.errors import InvalidProof, Overloaded
from persona_profile.runtime.spans import span
from persona_profile.runtime.stats import EventCounter
from persona_profile.runtime.waiting import Claim, Wait, WaitingBudget

FREE_SECONDS: Final = 1.0
"""A lookup up to this duration costs its parties COST_SECONDS alone."""

COST_SECONDS: Final = 0.05
"""The debt for the processor time of a usual lookup."""

COST_FACTOR: Final = 10
"""The debt for each second of processor time, which answers of thousands of parts may take."""

DEBT_SECONDS: Final = 10.0
"""A party with this debt has one place. A network has none with twice this debt, and none for a domain
with this debt, as it would keep other networks from that domain.
"""

FORGIVEN_PER_SECOND: Final = DEBT_SECONDS / 60
MAX_PARTIES: Final = 4096

REFRESH_THREADS: Final = 2
"""Threads that refresh documents ahead of time. Fetchers keep as many threads for them."""

MAX_REFRESHES: Final = 64
"""Registrable domains with a pending refresh."""

FOUND: Final = "found"
"""The outcome of a lookup that did not fail."""

_ADDRESS: Final = re.compile(r"[0-9.]+")

logger = logging.getLogger(__name__)

_Party = tuple[str, str]
"""The kind of a party (`network` or `domain`), and its name."""


class LookupFailed(InvalidProof):
    """A lookup failed; `reason` is for the log, in words of this service."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Cause:
    """The causes of a thread's lookups: a waiting client's network, the domain of a proof."""

    client: str | None = None
    domain: str | None = None


_CAUSE: ContextVar[_Cause] = ContextVar("lookups_cause", default=_Cause())  # noqa: B039 - it is frozen

_HOLDS_PLACE: ContextVar[bool] = ContextVar("lookups_holds_place", default=False)


@contextmanager
def caused_by(*, client: str | None = None, domain: str | None = None) -> Iterator[None]:
    """Count the lookups of this thread for a client's network, or for the domain of a proof.

    Lookups without a client hold no place of the budget, as no request waits for them.
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

    Attributes:
        outcomes: counts the lookups by kind of proof and outcome: FOUND, or the code of the rejection.
    """

    def __init__(
        self, budget: WaitingBudget | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._budget = budget or WaitingBudget()
        self._debts = _Debts(clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshed: set[str] = set()
        self.outcomes = EventCounter()
        self._executor = ThreadPoolExecutor(REFRESH_THREADS, thread_name_prefix="refresh")

    @contextmanager
    def place(self, domain: str) -> Iterator[None]:
        """Hold one place while this thread waits for the lookup of a domain; nested calls share it.

        A network leaves one place to other networks, and so does a registrable domain.

        Raises:
            Overloaded: no place is free for the client's network or the domain.
        """
        cause = _CAUSE.get()
        if cause.client is None or _HOLDS_PLACE.get():
            yield
            return
        network, domains = ("network", cause.client), _domains(cause, domain)
        claims, retry_after = self._claims(network, domains)
        with self._budget.place(Wait.LOOKUP, claims, retry_after):
            began, worked = self._clock(), time.thread_time()
            token = _HOLDS_PLACE.set(True)
            try:
                with span("provider.lookup"):
                    yield
            finally:
                _HOLDS_PLACE.reset(token)
                taken, worked = self._clock() - began, time.thread_time() - worked
                for party in (network, *domains):
                    self._debts.add(
                        party, max(COST_SECONDS, taken - FREE_SECONDS, COST_FACTOR * worked)
                    )

    def thread_claims(self, domain: str, threads: int) -> tuple[list[Claim], int]:
        """Return the claims of a fetch from a domain, and the threads that its cause may use.

        A party may use half of the threads. Requests leave REFRESH_THREADS to refreshes.
        """
        cause = _CAUSE.get()
        parties, usable = _domains(cause, domain), threads
        if cause.client is not None:
            parties, usable = [("network", cause.client), *parties], threads - REFRESH_THREADS
        return [Claim(*each, threads // 2) for each in parties], usable

    def rejection(self, reason: str) -> Overloaded:
        """Count a rejected lookup; return the error to raise."""
        return self._budget.rejection(Wait.LOOKUP, reason)

    def refresh(self, domain: str, work: Callable[[], None]) -> None:
        """Carry out the lookup of a domain soon, beside requests.

        The call has no effect while a refresh of the same registrable domain is pending.
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

    def report(self, kind: str, host: str | None, outcome: str, reason: str = "") -> None:
        """Count a lookup, and log it if it failed.

        A host that strangers chose is None, and not logged: it may be a person's own domain. No log has
        addresses, so a host without a name is logged as `an address`.
        """
        self.outcomes.count(kind, outcome)
        if outcome != FOUND and host is not None:
            name = "an address" if _ADDRESS.fullmatch(host) else host
            logger.warning("%s: lookup at %s failed: %s (%s)", kind, name, outcome, reason)

    def close(self) -> None:
        """Begin no more refreshes."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _claims(self, network: _Party, domains: list[_Party]) -> tuple[list[Claim], int]:
        """Return the claims of a lookup, and the seconds until a rejected client may try again."""
        places = self._budget.limit(Wait.LOOKUP)
        owed = self._debts.of(network)
        is_slow = any(self._debts.of(each) >= DEBT_SECONDS for each in domains)
        allowed = DEBT_SECONDS if is_slow else 2 * DEBT_SECONDS
        claims = [
            Claim(*network, self._share(network, places) if owed < allowed else 0),
            *(Claim(*each, self._share(each, places)) for each in domains),
        ]
        return claims, 1 + max(0, math.ceil((owed - allowed) / FORGIVEN_PER_SECOND))

    def _share(self, party: _Party, places: int) -> int:
        return max(1, places - 1) if self._debts.of(party) < DEBT_SECONDS else 1

    def _refresh(self, party: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - no request waits
            logger.warning("a refresh of an identity provider failed: %s", type(error).__name__)
        finally:
            with self._lock:
                self._refreshed.discard(party)


class _Debts:
    """Seconds above FREE_SECONDS of each party's lookups, forgiven with time."""

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
    """Return the parties of a lookup: the registrable domains of the name and of its cause."""
    names = (domain, cause.domain or domain)
    return [("domain", each) for each in dict.fromkeys(map(registrable_domain, names))]
