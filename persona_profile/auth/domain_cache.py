"""Lookups by domain, kept in a bounded cache that floods of names can't empty.

Names cost nothing: a wildcard zone has any number. So a full cache drops an entry of the registrable
domain with the most entries. A domain is in use once an email of it was proved. Entries of domains in
use have a cache of their own.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.errors import Overloaded

CACHE_ENTRIES: Final = 4096

AHEAD: Final = 0.75
"""The part of its lifetime after which an entry in use is refreshed, beside the next sign-in."""

STALE: Final = 2
"""Lifetimes of an entry in use while too many lookups are under way."""

RENEWAL_SECONDS: Final = 60
"""The minimum time between two lookups of a domain whose result may have been replaced."""


class Outcome(Protocol):
    """The result of a lookup."""

    @property
    def life(self) -> float:
        """Seconds for which it holds."""

    @property
    def is_found(self) -> bool:
        """Whether it has the wanted data."""

    @property
    def is_failure(self) -> bool:
        """Whether the lookup failed; the result says nothing of the domain then."""


_V = TypeVar("_V")
_O = TypeVar("_O", bound=Outcome)


@dataclass(slots=True)
class Entry(Generic[_V]):
    """The result of a domain's lookup, its instant, and the instant of the last attempt of another."""

    value: _V
    since: float
    tried_at: float
    is_in_use: bool = False


class DomainCache(Generic[_V]):
    """`size` entries of domains in use, and `size` others. The caller locks, and checks their age."""

    def __init__(self, size: int) -> None:
        self._in_use: _Tier[_V] = _Tier(size)
        self._others: _Tier[_V] = _Tier(size)

    def get(self, domain: str) -> Entry[_V] | None:
        """Return the entry of a domain."""
        return self._in_use.get(domain) or self._others.get(domain)

    def put(self, domain: str, value: _V, now: float) -> None:
        """Replace the entry of a domain, which stays in use if it was."""
        known = self.get(domain)
        entry = Entry(value, now, now, known is not None and known.is_in_use)
        (self._in_use if entry.is_in_use else self._others).put(domain, entry)

    def use(self, domain: str) -> None:
        """Mark the entry of a domain as in use, if there is an entry."""
        entry = self._others.pop(domain)
        if entry is not None:
            entry.is_in_use = True
            self._in_use.put(domain, entry)

    def pop(self, domain: str) -> Entry[_V] | None:
        """Remove and return the entry of a domain."""
        return self._in_use.pop(domain) or self._others.pop(domain)


class _Tier(Generic[_V]):
    """Entries by registrable domain and domain, each in the order of the last use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._groups: OrderedDict[str, OrderedDict[str, Entry[_V]]] = OrderedDict()

    def get(self, domain: str) -> Entry[_V] | None:
        """Return an entry, and move it to the end of the order."""
        party = registrable_domain(domain)
        group = self._groups.get(party)
        if group is None or domain not in group:
            return None
        self._groups.move_to_end(party)
        group.move_to_end(domain)
        return group[domain]

    def put(self, domain: str, entry: Entry[_V]) -> None:
        """Store an entry. A full cache drops the oldest entry of the largest registrable domain."""
        self.pop(domain)
        party = registrable_domain(domain)
        self._groups.setdefault(party, OrderedDict())[domain] = entry
        self._groups.move_to_end(party)
        self._count += 1
        if self._count > self._size:
            largest = max(self._groups.values(), key=len)  # of several: the least recently used
            self.pop(next(iter(largest)))

    def pop(self, domain: str) -> Entry[_V] | None:
        """Remove and return an entry."""
        party = registrable_domain(domain)
        group = self._groups.get(party)
        entry = group.pop(domain, None) if group is not None else None
        if entry is not None:
            self._count -= 1
            if not group:
                del self._groups[party]
        return entry


class DomainLookups(Generic[_O]):
    """The results of lookups by domain, each looked up again after its life; thread-safe.

    Args:
        look_up: looks a domain up; raises Overloaded alone.
        clock: seconds, for the age of entries.
        refresh: carries out the lookup of a domain beside requests.
    """

    def __init__(
        self,
        look_up: Callable[[str], _O],
        clock: Callable[[], float] = time.monotonic,
        refresh: Callable[[str, Callable[[], None]], None] = lambda _domain, _work: None,
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._refresh = refresh
        self._lock = threading.Lock()
        # Two caches, so that a flood of names without data can't empty the cache of data.
        self._found: DomainCache[_O] = DomainCache(CACHE_ENTRIES)
        self._missed: DomainCache[_O] = DomainCache(CACHE_ENTRIES)

    def get(self, domain: str) -> _O:
        """Return the result of a domain, after a lookup if none is fresh.

        Raises:
            Overloaded: too many lookups are under way.
        """
        with self._lock:
            entry = self._found.get(domain) or self._missed.get(domain)
        outcome = self._fresh(domain, entry) if entry is not None else None
        return self._look_up_now(domain, entry) if outcome is None else outcome

    def known(self, domain: str) -> _O | None:
        """Return the data of a domain that were found, however old."""
        with self._lock:
            entry = self._found.get(domain)
        return entry.value if entry is not None else None

    def use(self, domain: str) -> None:
        """Mark a domain as in use, since an email was proved by it."""
        with self._lock:
            self._found.use(domain)
            self._missed.use(domain)

    def renew(self, domain: str) -> bool:
        """Look a domain up again, as its data may have changed; return whether that was done.

        The entry stays as it is after a recent lookup, or if the lookup fails.

        Raises:
            Overloaded: too many lookups are under way.
        """
        with self._lock:
            entry, now = self._found.get(domain), self._clock()
            if entry is None or now - entry.tried_at < RENEWAL_SECONDS:
                return False
            tried_before, entry.tried_at = entry.tried_at, now
        try:
            outcome = self._look_up(domain)
        except Overloaded:
            entry.tried_at = tried_before
            raise
        if outcome.is_failure:
            return False
        self._keep(domain, outcome)
        return True

    def _fresh(self, domain: str, entry: Entry[_O]) -> _O | None:
        """Return the value of a fresh entry; refresh an entry in use ahead of time."""
        now, life = self._clock(), entry.value.life
        if now - entry.since >= life:
            return None
        is_due = now - entry.since >= AHEAD * life
        if entry.is_in_use and is_due and now - entry.tried_at >= min(RENEWAL_SECONDS, life / 4):
            self._refresh(domain, lambda: self._refresh_ahead(domain, entry))
        return entry.value

    def _refresh_ahead(self, domain: str, entry: Entry[_O]) -> None:
        """Look a domain up again. After a failure its entry stays until it expires."""
        entry.tried_at = self._clock()
        outcome = self._look_up(domain)
        if not outcome.is_failure:
            self._keep(domain, outcome)

    def _look_up_now(self, domain: str, entry: Entry[_O] | None) -> _O:
        try:
            outcome = self._look_up(domain)
        except Overloaded:
            # Strangers can keep all places for lookups busy. Domains in use must go on.
            if entry is None or not entry.is_in_use or entry.value.is_failure:
                raise
            if self._clock() - entry.since >= STALE * entry.value.life:
                raise
            return entry.value
        self._keep(domain, outcome)
        return outcome

    def _keep(self, domain: str, outcome: _O) -> None:
        caches = self._found, self._missed
        cache, other = caches if outcome.is_found else reversed(caches)
        with self._lock:
            replaced = other.pop(domain)
            cache.put(domain, outcome, self._clock())
            if replaced is not None and replaced.is_in_use:
                cache.use(domain)
