"""Support documents: the keys that may vouch for a domain (mozilla/id-specs, browserid/index.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from persona_profile.auth.browserid_keys import PublicKey, parse_public_key
from persona_profile.auth.domain_cache import DomainLookups
from persona_profile.auth.fetch import Fetched, FetchError
from persona_profile.auth.jws import InvalidJws
from persona_profile.auth.lookups import caused_by
from persona_profile.emails import InvalidDomain, canonical_domain, canonical_pattern, patterns_of
from persona_profile.encoding import Json, MalformedText, json_decode
from persona_profile.errors import InvalidProof

WELL_KNOWN_PATH: Final = "/.well-known/browserid"
MAX_DELEGATIONS: Final = 5
DELEGATION_SECONDS: Final = 5.0
MAX_KEYS: Final = 8
FOUND_SECONDS: Final = 3600
MISSED_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class SupportDocument:
    """The keys of a domain, or the domain that it delegates to (`authority`), or its opt-out."""

    keys: tuple[PublicKey, ...] = ()
    authority: str | None = None
    disabled: bool = False

    @property
    def is_found(self) -> bool:
        """Whether the domain supports BrowserID, or has opted out."""
        return self is not _NO_SUPPORT

    @property
    def is_failure(self) -> bool:
        """Whether the lookup failed."""
        return False

    @property
    def life(self) -> float:
        """Seconds for which it holds."""
        return FOUND_SECONDS if self.is_found else MISSED_SECONDS


@dataclass(frozen=True, slots=True)
class _Failure:
    """The reason of a failed lookup."""

    code: str
    is_found: bool = False
    is_failure: bool = True
    life: float = MISSED_SECONDS


_NO_SUPPORT = SupportDocument()
_Outcome = SupportDocument | _Failure


class PinnedIssuers:
    """Configured support documents, which replace lookups; `*.example.com` is for its subdomains."""

    def __init__(self, documents: Mapping[str, SupportDocument]) -> None:
        self._documents = dict(documents)

    @classmethod
    def parse(cls, documents: Json) -> PinnedIssuers:
        """Parse `{domain: support document}`.

        Raises:
            ValueError: the value is invalid; the message names the domain.
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
        """Return the pinned document of a domain, or of the most specific wildcard that matches it."""
        for pattern in patterns_of(domain):
            if pattern in self._documents:
                return self._documents[pattern]
        return None

    def merged_with(self, other: PinnedIssuers) -> PinnedIssuers:
        """Return the documents of both; the own ones take precedence."""
        return PinnedIssuers(other._documents | self._documents)


class Discovery:
    """Finds the keys that may vouch for a domain: pinned, cached or fetched.

    Args:
        pinned: documents that need no lookup.
        fetch: returns the document of a URL; raises FetchError.
        clock: seconds, for the age of cache entries and the time of delegations.
        refresh: carries out the lookup of a domain beside requests.
    """

    def __init__(
        self,
        pinned: PinnedIssuers,
        fetch: Callable[[str], Fetched],
        clock: Callable[[], float] = time.monotonic,
        refresh: Callable[[str, Callable[[], None]], None] = lambda _domain, _work: None,
    ) -> None:
        self._pinned = pinned
        self._fetch = fetch
        self._clock = clock
        self._documents: DomainLookups[_Outcome] = DomainLookups(self._look_up, clock, refresh)

    def use(self, pinned: PinnedIssuers) -> None:
        """Replace the pinned issuers."""
        self._pinned = pinned

    def keys_of_issuer(
        self, domain: str, issuer: str, fallback_issuers: frozenset[str]
    ) -> tuple[PublicKey, ...]:
        """Return the keys with which `issuer` may vouch for emails of `domain`.

        Raises:
            InvalidProof: the issuer may not vouch for the domain, or a lookup failed.
            Overloaded: too many lookups are under way.
        """
        with caused_by(domain=domain):
            authority, document = self._follow(domain)
            if document is _NO_SUPPORT:
                # The domain has answered: an attacker who blocks a lookup gains no fallback.
                if issuer not in fallback_issuers:
                    raise InvalidProof("issuer_without_support")
                authority, document = self._follow(issuer)
        if authority != issuer or not document.keys:
            raise InvalidProof("issuer_not_authoritative")
        return document.keys

    def note_proof(self, domain: str, issuer: str) -> None:
        """Mark the entries of `domain` and `issuer` as in use, since an email was proved."""
        for start in {domain, issuer}:  # most domains vouch for themselves
            for name in self._chain(start):
                self._documents.use(name)

    def _chain(self, name: str | None) -> Iterator[str]:
        """Yield a domain and the domains that it delegates to, as far as they are cached."""
        for _ in range(MAX_DELEGATIONS + 1):
            if name is None:
                return
            yield name
            document = self._pinned.get(name) or self._documents.known(name)
            name = document.authority if isinstance(document, SupportDocument) else None

    def renew(self, issuer: str) -> bool:
        """Fetch an issuer's document again, as its keys may have changed; return whether that was done.

        The entry stays as it is after a recent fetch, or if the fetch fails.

        Raises:
            Overloaded: too many lookups are under way.
        """
        if self._pinned.get(issuer) is not None:
            return False
        with caused_by(domain=issuer):
            return self._documents.renew(issuer)

    def _follow(self, domain: str) -> tuple[str, SupportDocument]:
        """Return the authority of a domain at the end of its delegations, and its document."""
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
                # Each lookup has its own deadline; the deadlines of a chain must not add up.
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
        outcome = self._documents.get(domain)
        if isinstance(outcome, _Failure):
            raise InvalidProof(outcome.code)
        return outcome

    def _look_up(self, domain: str) -> _Outcome:
        try:
            fetched = self._fetch(f"https://{domain}{WELL_KNOWN_PATH}")
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


def parse_support_document(document: Json) -> SupportDocument:
    """Parse a support document.

    Raises:
        InvalidProof: `support_document_invalid`.
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
