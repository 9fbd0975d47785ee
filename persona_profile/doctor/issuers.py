"""Checks of the identity providers: the files that name them, their addresses and their keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Final

from backends.findings import Finding, failed, of_clock, ok, warning
from persona_profile.auth.access import PUBLIC, Access, Route
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.auth.dns_records import DnsFailed, DnsResolver
from persona_profile.auth.email_verification_issuers import RECORD_PREFIX
from persona_profile.auth.fetch import Fetched, HttpsFetcher, Url
from persona_profile.auth.lookups import LookupFailed, Lookups
from persona_profile.auth.openid_discovery import Provider
from persona_profile.auth.openid_issuers import OpenIDIssuer, OpenIDIssuers
from persona_profile.doctor import Check
from persona_profile.errors import InvalidProof
from persona_profile.files import read_json
from persona_profile.settings import Settings

NewFetcher = Callable[[], HttpsFetcher]

_EXAMPLE: Final = "example.com"
"""A domain that exists for ever (RFC 2606), to ask whether a resolver answers."""

_CODES: Final = "its code is in docs/how-to/rejected-proofs.md"


def checks(settings: Settings, new_fetcher: NewFetcher = HttpsFetcher) -> list[Check]:
    """Return the checks of the configured kinds of proofs."""
    found = []
    if "browserid" in settings.authenticators:
        found.append(Check("BrowserID", partial(_pinned, settings)))
        found += [
            Check(f"issuer {domain}", partial(_fallback, domain, new_fetcher))
            for domain in settings.browserid_fallback_issuers
        ]
    if "openid" in settings.authenticators and settings.openid_issuers is not None:
        found += _openid(settings.openid_issuers, settings, new_fetcher)
    if settings.evp_domains:
        found.append(Check("email verification", partial(_dns, settings)))
    return found


def of_date(subject: str, date: str, asked_at: float) -> Iterator[Finding]:
    """Yield the finding about a `Date` header, which has whole seconds; none without a valid one."""
    try:
        instant = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    yield of_clock(subject, instant - asked_at)


def _pinned(settings: Settings) -> Iterator[Finding]:
    path = settings.browserid_pinned_issuers
    if path is None:
        yield ok("pinned issuers", "none; each domain is asked for its keys")
        return
    try:
        read_json(path, PinnedIssuers.parse)
    except ValueError as error:
        yield failed("pinned issuers", str(error), "correct the file")
    else:
        yield ok("pinned issuers", "the file is valid")


def _fallback(domain: str, new_fetcher: NewFetcher) -> Iterator[Finding]:
    fetch = _Fetch(new_fetcher(), PUBLIC)
    try:
        keys = Discovery(PinnedIssuers({}), fetch).keys_of_issuer(domain, domain, frozenset())
    except InvalidProof as error:
        yield failed("keys", f"its support document can't be used: {error.code}", _CODES)
    else:
        yield ok("keys", f"it publishes {len(keys)}")
    yield from fetch.of_clock()


def _openid(path: Path, settings: Settings, new_fetcher: NewFetcher) -> list[Check]:
    try:
        issuers = read_json(path, partial(OpenIDIssuers.parse, is_development=settings.development))
    except ValueError as error:
        finding = failed("issuers", str(error), "correct the file")
        return [Check("OpenID", partial(iter, (finding,)))]
    return [
        Check(f"issuer {url}", partial(_provider, issuer, new_fetcher))
        for url in sorted(issuers.urls)
        if (issuer := issuers.get(url)) is not None
    ]


def _provider(issuer: OpenIDIssuer, new_fetcher: NewFetcher) -> Iterator[Finding]:
    fetch = _Fetch(new_fetcher(), issuer.route)
    with closing(Lookups()) as lookups:
        try:
            keys = Provider(issuer.url, fetch, time.monotonic, lookups).published_keys()
        except LookupFailed as error:
            yield failed("keys", error.reason or error.code, f"{error.code}: {_CODES}")
            keys = ()
    if keys and not any(issuer.algorithms.intersection(each.algorithms) for each in keys):
        wanted = ", ".join(sorted(issuer.algorithms))
        yield failed("keys", f"it publishes none for {wanted}", "set `algorithms` in openid.issuers")
    elif keys:
        yield ok("keys", f"it publishes {len(keys)}")
    yield from fetch.of_clock()


def _dns(settings: Settings) -> Iterator[Finding]:
    try:
        resolver = DnsResolver(settings.evp_dns, is_dnssec_needed=settings.evp_dnssec)
    except ValueError as error:
        yield failed("DNS", str(error), "set evp.dns")
        return
    named = [each for each in settings.evp_domains if "*" not in each]
    for domain in named or [_EXAMPLE]:
        try:
            answer = resolver.txt(RECORD_PREFIX + domain, domain)
        except DnsFailed:
            yield failed("DNS", "no resolver answers", "set evp.dns to resolvers that answer")
            return
        has_issuer = any(each.startswith(b"iss=") for each in answer.records)
        if domain in named and not has_issuer:
            advice = f"publish it, or remove {domain} from evp.domains"
            yield warning("record", f"{RECORD_PREFIX}{domain} names no issuer", advice)
        elif has_issuer and settings.evp_dnssec and not answer.is_authenticated:
            advice = "sign the zone, and let the resolver validate"
            yield failed("record", f"{RECORD_PREFIX}{domain} is not validated by DNSSEC", advice)
    yield ok("DNS", "a resolver answers")


class _Fetch:
    """Fetches documents of one provider, and keeps the last difference of clocks."""

    def __init__(self, fetcher: HttpsFetcher, route: Route) -> None:
        self._fetcher = fetcher
        self._access = Access(route=route)
        self._dated: tuple[str, float] | None = None

    def __call__(self, url: str) -> Fetched:
        """Return the document of a URL."""
        fetched = self._fetcher.fetch(Url.parse(url), self._access)
        self._dated = fetched.date, time.time()
        return fetched

    def of_clock(self) -> Iterator[Finding]:
        """Yield the finding about the provider's clock, if it has stated a time."""
        if self._dated is not None:
            yield from of_date("clock", *self._dated)
