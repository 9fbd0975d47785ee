"""Support documents: which key speaks for a domain (mozilla/id-specs, browserid/index.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from persona_profile.auth.browserid_keys import PublicKey, parse_public_key
from persona_profile.auth.domain_cache import DomainCache, Entry
from persona_profile.auth.fetch import Fetched, FetchError
from persona_profile.auth.jws import InvalidJws
from persona_profile.auth.lookups import caused_by
from persona_profile.emails import InvalidDomain, canonical_domain, canonical_pattern, patterns_of
from persona_profile.encoding import Json, MalformedText, json_decode
from persona_profile.errors import InvalidProof, Overloaded
from persona_profile.files import read_json

WELL_KNOWN_PATH: Final = "/.well-known/browserid"
MAX_DELEGATIONS: Final = 5
DELEGATION_SECONDS: Final = 5.0
MAX_KEYS: Final = 8
CACHE_ENTRIES: Final = 4096
FOUND_SECONDS: Final = 3600
MISSED_SECONDS: Final = 60
AHEAD: Final = 0.75
"""The part of its life after which an entry in use is refreshed, beside the next sign-in."""

STALE: Final = 2
"""Lives that the entry of a domain in use goes on while too many lookups are under way."""

RENEWAL_SECONDS: Final = 60
"""A document that may have been replaced is fetched again no sooner."""


@dataclass(frozen=True, slots=True)
class SupportDocument:
    """What a domain says of itself: its keys, or who speaks for it, or that it takes no part."""

    keys: tuple[PublicKey, ...] = ()
    authority: str | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class _Failure:
    """A lookup that failed, remembered by its reason alone."""

    code: str


_NO_SUPPORT = SupportDocument()
_Outcome = SupportDocument | _Failure


class PinnedIssuers:
    """Support documents that are configured instead of looked up.

    Args:
        documents: by domain; `*.example.com` stands for every domain under `example.com`.
    """

    def __init__(self, documents: Mapping[str, SupportDocument]) -> None:
        self._documents = dict(documents)

    @classmethod
    def load(cls, path: Path) -> PinnedIssuers:
        """Read a JSON file `{domain: support document}`.

        Raises:
            ValueError: the file is unreadable or holds anything else; the message says where.
        """
        return read_json(path, cls.parse)

    @classmethod
    def parse(cls, documents: Json) -> PinnedIssuers:
        """Read `{domain: support document}`.

        Raises:
            ValueError: it is anything else; the message names the domain.
        """
        if not isinstance(documents, dict):
            raise ValueError("not an object of support documents")  # noqa: TRY004 - a file's content
        pinned = {}
        for pattern, document in documents.items():
            try:
                pinned[canonical_pattern(pattern)] = parse_support_document(document)
            except (InvalidDomain, InvalidProof):
                raise ValueError(f"{pattern}: not a domain with a support document") from None
        return cls(pinned)

    def get(self, domain: str) -> SupportDocument | None:
        """Return the document pinned for a domain itself, else for the nearest wildcard above it."""
        found = (self._documents.get(pattern) for pattern in patterns_of(domain))
        return next(filter(None, found), None)

    def merged_with(self, other: PinnedIssuers) -> PinnedIssuers:
        """Return these and the other's documents; these win."""
        return PinnedIssuers(other._documents | self._documents)


class Discovery:
    """Finds the keys that speak for a domain: pinned, cached, or fetched.

    Args:
        pinned: documents that are never looked up.
        fetch: fetches `https://<domain><path>`, raising FetchError.
        clock: seconds, for the age of cache entries and the patience with delegations.
        refresh: carries out work that looks a domain up, beside requests.
    """

    def __init__(
        self,
        pinned: PinnedIssuers,
        fetch: Callable[[str, str], Fetched],
        clock: Callable[[], float] = time.monotonic,
        refresh: Callable[[str, Callable[[], None]], None] = lambda _domain, _work: None,
    ) -> None:
        self._pinned = pinned
        self._fetch = fetch
        self._clock = clock
        self._refresh = refresh
        self._lock = threading.Lock()
        # Apart, so that a flood of names that lead nowhere can't push out those that do.
        self._found: DomainCache[_Outcome] = DomainCache(CACHE_ENTRIES)
        self._missed: DomainCache[_Outcome] = DomainCache(CACHE_ENTRIES)

    def use(self, pinned: PinnedIssuers) -> None:
        """Go on with other pinned issuers."""
        self._pinned = pinned

    def keys_of_issuer(
        self, domain: str, issuer: str, fallback_issuers: frozenset[str]
    ) -> tuple[PublicKey, ...]:
        """Return the keys by which `issuer` may vouch for emails of `domain`.

        Raises:
            InvalidProof: the issuer may not, or it can't be found out.
            Overloaded: too many lookups are under way.
        """
        with caused_by(domain=domain):
            authority, document = self._follow(domain)
            if document is _NO_SUPPORT:
                # Only a domain that was reached gets here: who blocks a lookup must gain nothing.
                if issuer not in fallback_issuers:
                    raise InvalidProof("issuer_without_support")
                authority, document = self._follow(issuer)
        if authority != issuer or not document.keys:
            raise InvalidProof("issuer_not_authoritative")
        return document.keys

    def note_proof(self, domain: str, issuer: str) -> None:
        """Note that an email of `domain` was proved: entries of domains in use are kept longer."""
        with self._lock:
            for name in (*self._chain(domain), *self._chain(issuer)):
                self._found.use(name)
                self._missed.use(name)

    def _chain(self, name: str | None) -> Iterator[str]:
        """Yield a domain, and those that it delegates to, as far as they are known."""
        for _ in range(MAX_DELEGATIONS + 1):
            if name is None:
                return
            yield name
            entry = self._found.get(name)
            document = self._pinned.get(name) or (entry.value if entry else None)
            name = document.authority if isinstance(document, SupportDocument) else None

    def renew(self, issuer: str) -> bool:
        """Fetch an issuer's document again, whose keys may be others by now; return whether it was.

        It goes on as it was if it was fetched just now, or can't be.

        Raises:
            Overloaded: too many lookups are under way.
        """
        with self._lock:
            entry = self._found.get(issuer) if self._pinned.get(issuer) is None else None
            now = self._clock()
            if entry is None or now - entry.tried_at < RENEWAL_SECONDS:
                return False
            tried_before, entry.tried_at = entry.tried_at, now
        try:
            with caused_by(domain=issuer):
                outcome = self._look_up(issuer)
        except Overloaded:
            entry.tried_at = tried_before
            raise
        if isinstance(outcome, _Failure):
            return False
        self._keep(issuer, outcome)
        return True

    def _follow(self, domain: str) -> tuple[str, SupportDocument]:
        """Follow delegations from a domain to the document of the one that speaks for it."""
        seen = {domain}
        last_start = self._clock() + DELEGATION_SECONDS
        document = self._document(domain)
        while document.authority is not None:
            domain = document.authority
            if domain in seen:
                raise InvalidProof("delegation_cycle")
            if len(seen) > MAX_DELEGATIONS:
                raise InvalidProof("delegation_too_long")
            if self._clock() > last_start:
                # Each lookup has a deadline of its own; a chain of slow ones must not add up.
                raise InvalidProof("issuer_unreachable")
            seen.add(domain)
            document = self._document(domain)
            if document is _NO_SUPPORT:
                raise InvalidProof("issuer_without_support")
        if document.disabled:
            raise InvalidProof("issuer_disabled")
        return domain, document

    def _document(self, domain: str) -> SupportDocument:
        if (pinned := self._pinned.get(domain)) is not None:
            return pinned
        with self._lock:
            entry = self._found.get(domain) or self._missed.get(domain)
        outcome = self._known(domain, entry) if entry is not None else None
        if outcome is None:
            outcome = self._look_up_now(domain, entry)
        if isinstance(outcome, _Failure):
            raise InvalidProof(outcome.code)
        return outcome

    def _known(self, domain: str, entry: Entry[_Outcome]) -> _Outcome | None:
        """Return what an entry says, if it is fresh; refresh it ahead of time if it is in use."""
        now, life = self._clock(), _life(entry.value)
        if now - entry.since >= life:
            return None
        is_due = now - entry.since >= AHEAD * life
        if entry.is_in_use and is_due and now - entry.tried_at >= min(RENEWAL_SECONDS, life / 4):
            self._refresh(domain, lambda: self._refresh_ahead(domain, entry))
        return entry.value

    def _refresh_ahead(self, domain: str, entry: Entry[_Outcome]) -> None:
        """Look a domain up again; if that fails, its entry goes on until it expires."""
        entry.tried_at = self._clock()
        outcome = self._look_up(domain)
        if not isinstance(outcome, _Failure):
            self._keep(domain, outcome)

    def _look_up_now(self, domain: str, entry: Entry[_Outcome] | None) -> _Outcome:
        try:
            outcome = self._look_up(domain)
        except Overloaded:
            # Strangers can keep all places for lookups busy. Who is known signs in all the same.
            if entry is None or not entry.is_in_use or isinstance(entry.value, _Failure):
                raise
            if self._clock() - entry.since >= STALE * _life(entry.value):
                raise
            return entry.value
        self._keep(domain, outcome)
        return outcome

    def _keep(self, domain: str, outcome: _Outcome) -> None:
        caches = self._found, self._missed
        cache, other = caches if _life(outcome) == FOUND_SECONDS else reversed(caches)
        with self._lock:
            replaced = other.pop(domain)
            cache.put(domain, outcome, self._clock())
            if replaced is not None and replaced.is_in_use:
                cache.use(domain)

    def _look_up(self, domain: str) -> _Outcome:
        try:
            fetched = self._fetch(domain, WELL_KNOWN_PATH)
            if fetched.status in (404, 410):
                return _NO_SUPPORT
            if fetched.status != 200:
                return _Failure("issuer_unreachable")
            if fetched.media_type != "application/json":
                return _Failure("support_document_invalid")
            return parse_support_document(json_decode(fetched.body))
        except MalformedText:
            return _Failure("support_document_invalid")
        except (FetchError, InvalidProof) as error:
            return _Failure(error.code)


def _life(outcome: _Outcome) -> float:
    """Return for how many seconds an outcome is kept."""
    return MISSED_SECONDS if isinstance(outcome, _Failure) or outcome is _NO_SUPPORT else FOUND_SECONDS


def parse_support_document(document: Json) -> SupportDocument:
    """Read a support document.

    Raises:
        InvalidProof: `support_document_invalid`, for anything that says nothing usable.
    """
    try:
        if not isinstance(document, dict):
            raise InvalidProof("support_document_invalid")
        if (disabled := document.get("disabled", False)) is not False:
            if disabled is not True:
                raise InvalidProof("support_document_invalid")
            return SupportDocument(disabled=True)
        if (authority := document.get("authority")) is not None:
            if not isinstance(authority, str):
                raise InvalidProof("support_document_invalid")
            return SupportDocument(authority=canonical_domain(authority))
        keys = document["keys"] if "keys" in document else [document.get("public-key")]
        if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
            raise InvalidProof("support_document_invalid")
        return SupportDocument(keys=tuple(map(parse_public_key, keys)))
    except (InvalidDomain, InvalidJws):
        raise InvalidProof("support_document_invalid") from None
