"""Registrable domains: the domains that somebody registers, with all names below them."""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(16_384)
def registrable_domain(domain: str) -> str:
    """Return the registrable domain of a canonical domain name: `example.co.uk` of `a.b.example.co.uk`.

    The names below a registry's suffix are registered apart. The names below a company's suffix
    (`github.io`) are often free, so here they belong together. A public suffix is its own.
    """
    return _suffixes().privatesuffix(domain) or domain


def party_of(issuer: str) -> str:
    """Return the party that an issuer belongs to, which limits by issuer count.

    Whoever has a domain has any number of domains below it. Of an OpenID provider the URL is the party:
    the configuration names each.
    """
    return issuer if "://" in issuer else registrable_domain(issuer)


@cache
def _suffixes() -> PublicSuffixList:
    """Return the public suffix list (https://publicsuffix.org), which is slow to read."""
    return PublicSuffixList(only_icann=True)
