"""Registrable domains: a domain that somebody registers, with all names below it."""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(16_384)
def registrable_domain(domain: str) -> str:
    """Return the registrable domain of a canonical domain name: `example.co.uk` of `a.b.example.co.uk`.

    The suffixes of registries separate domains. The suffixes of companies (`github.io`) do not, as
    names below them are often free. A public suffix is its own registrable domain.
    """
    return _suffixes().privatesuffix(domain) or domain


def party_of(issuer: str) -> str:
    """Return the party that rate limits by issuer count.

    The party of a domain is its registrable domain, as its owner has any number of names below it.
    The party of an OpenID provider is its URL, as each provider is configured.
    """
    return issuer if "://" in issuer else registrable_domain(issuer)


@cache
def _suffixes() -> PublicSuffixList:
    """Return the public suffix list (https://publicsuffix.org), which is slow to read."""
    return PublicSuffixList(only_icann=True)
