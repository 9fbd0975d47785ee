"""The issuers of email verification tokens: a DNS record of the email's domain names a host.

The host publishes metadata and a key set. The owner of a domain chooses a zone and two hosts: `lookups`
shares places fairly, and caches have a bounded size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from persona_profile.auth.dns_records import DnsFailed, TxtAnswer, TxtResolver
from persona_profile.auth.documents import Fetch
from persona_profile.auth.domain_cache import DomainCache, DomainLookups
from persona_profile.auth.jws import Jws
from persona_profile.auth.lookups import FOUND, LookupFailed, Lookups, caused_by
from persona_profile.auth.openid_discovery import Provider
from persona_profile.emails import canonical_domain, patterns_of
from persona_profile.errors import DnsUnavailable, InvalidProof

RECORD_PREFIX: Final = "_email-verification."
WELL_KNOWN_PATH: Final = "/.well-known/email-verification"
MIN_SECONDS: Final = 60
MAX_SECONDS: Final = 3600
"""The bounds of a record's lifetime, whatever its TTL is."""

MISSED_SECONDS: Final = 60
FAILED_SECONDS: Final = 10
ISSUERS: Final = 256
"""The number of issuers in use whose keys are kept, and the number of others.

Strangers can fill both with the largest keys, of which each issuer takes some 60 KiB.
"""

MAX_KEYS: Final = 16
KIND: Final = "evt"
"""The kind of proofs, for metrics."""

_ISSUER_MEMBER: Final = b"iss="


def parse_issuer(text: str) -> str:
    """Return the host of an issuer: `https://host` or the host alone.

    Raises:
        ValueError: it is an IP address or a single label, or has a port, a path or user information.
    """
    if not text.isascii():
        raise ValueError("not ASCII")
    return canonical_domain(text.removeprefix("https://"))


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """The issuer that a domain names in DNS, or the reason why there is none.

    Attributes:
        issuer: the host.
        problem: the code of the rejection.
        life: seconds for which the record holds.
        is_failure: whether DNS did not answer.
    """

    issuer: str = ""
    problem: str = ""
    life: float = MISSED_SECONDS
    is_failure: bool = False

    @property
    def is_found(self) -> bool:
        """Whether the domain names an issuer."""
        return bool(self.issuer)


_FAILURE: Final = IssuerRecord(problem=DnsUnavailable.code, life=FAILED_SECONDS, is_failure=True)


class _Issuer(Provider):
    """The keys of an issuer, whose host a stranger may have chosen."""

    kind = KIND
    is_configured = False
    tries_several = True
    max_keys = MAX_KEYS
    patience_seconds = 2.5  # DNS may have taken some seconds before

    def _discover(self) -> str:
        """Return the URL of the key set, from the issuer's metadata of any media type."""
        document = self._document(self._url + WELL_KNOWN_PATH, "discovery_document_invalid")
        if not isinstance(document, dict):
            raise LookupFailed("discovery_document_invalid", "metadata: not an object")
        return self._key_set_url(document)


class EmailVerificationIssuers:
    """Verifies the signatures of tokens with the keys of their domains' issuers.

    Args:
        resolver: looks up TXT records.
        fetch: returns the document of a URL; raises FetchError.
        clock: seconds, for the age of records and keys.
        pinned: the issuers of patterns of domains that need no DNS, in development.
        is_dnssec_needed: whether records must be validated by DNSSEC.
    """

    def __init__(
        self,
        resolver: TxtResolver,
        fetch: Fetch,
        *,
        lookups: Lookups | None = None,
        clock: Callable[[], float] = time.monotonic,
        pinned: Mapping[str, str] | None = None,
        is_dnssec_needed: bool = False,
    ) -> None:
        self._resolver = resolver
        self._fetch = fetch
        self._lookups = lookups or Lookups()
        self._clock = clock
        self._pinned = dict(pinned or {})
        self._is_dnssec_needed = is_dnssec_needed
        self._records: DomainLookups[IssuerRecord] = DomainLookups(
            self._look_up, clock, self._lookups.refresh
        )
        self._lock = threading.Lock()
        self._issuers: DomainCache[_Issuer] = DomainCache(ISSUERS)

    def check(self, domain: str, issuer: str, token: Jws, key_id: str | None) -> None:
        """Verify that `issuer` is the issuer of `domain`, and has signed a token.

        Raises:
            InvalidProof: it is not, or a fetch failed.
            DnsUnavailable: DNS does not answer.
            Overloaded: too many lookups are under way.
        """
        with caused_by(domain=domain):
            if self._issuer_of(domain) != issuer:
                raise InvalidProof("issuer_not_authoritative")
            self._keys_of(issuer).check(token, key_id)
        self._records.use(domain)
        with self._lock:
            self._issuers.use(issuer)

    def configure(self) -> None:
        """Read the configuration of DNS again.

        Raises:
            ValueError: it can't be used. The present one stays.
        """
        self._resolver.configure()

    def _issuer_of(self, domain: str) -> str:
        for pattern in patterns_of(domain):
            if pattern in self._pinned:
                return self._pinned[pattern]
        record = self._records.get(domain)
        if record.is_failure:
            raise DnsUnavailable("DNS does not answer for the domain of the email.", FAILED_SECONDS)
        if not record.issuer:
            raise InvalidProof(record.problem)
        return record.issuer

    def _keys_of(self, issuer: str) -> _Issuer:
        with self._lock:
            entry = self._issuers.get(issuer)
            if entry is not None:
                return entry.value
            found = _Issuer(f"https://{issuer}", self._fetch, self._clock, self._lookups)
            self._issuers.put(issuer, found, self._clock())
            return found

    def _look_up(self, domain: str) -> IssuerRecord:
        record = self._ask(domain)
        self._lookups.report(KIND, None, record.problem or FOUND)
        return record

    def _ask(self, domain: str) -> IssuerRecord:
        try:
            answer = self._resolver.txt(RECORD_PREFIX + domain, domain)
        except DnsFailed:
            return _FAILURE
        try:
            issuer = self._parse(answer)
        except InvalidProof as error:
            return IssuerRecord(problem=error.code)
        return IssuerRecord(issuer, life=min(max(answer.ttl, MIN_SECONDS), MAX_SECONDS))

    def _parse(self, answer: TxtAnswer) -> str:
        """Return the issuer that exactly one of the records names."""
        found = [each for each in answer.records if each.startswith(_ISSUER_MEMBER)]
        if not found:
            raise InvalidProof("issuer_record_missing")
        if len(found) > 1:
            raise InvalidProof("issuer_record_ambiguous")
        if self._is_dnssec_needed and not answer.is_authenticated:
            raise InvalidProof("issuer_record_unsigned")
        try:
            return parse_issuer(found[0].removeprefix(_ISSUER_MEMBER).decode("ascii"))
        except ValueError:
            raise InvalidProof("issuer_record_invalid") from None
