"""A bounded cache by domain that floods of names can't empty.

Names cost nothing: a wildcard zone has any number. So a full cache drops an entry of the registrable
domain with the most entries. A domain is in use once an email of it was proved. Entries of domains in
use have a cache of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from persona_profile.auth.registrable_domains import registrable_domain

_V = TypeVar("_V")


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
