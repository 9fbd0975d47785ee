"""The trusted OpenID providers and Portier brokers, and the domains that each may vouch for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from persona_profile.auth.access import PUBLIC, Route
from persona_profile.auth.fetch import Url
from persona_profile.auth.openid_routes import MEMBERS as ROUTE_MEMBERS
from persona_profile.auth.openid_routes import parse_flag, parse_route
from persona_profile.emails import InvalidDomain, canonical_pattern, patterns_of
from persona_profile.encoding import Json
from persona_profile.setting_values import EVERY_DOMAIN

OPENID: Final = "openid"
PORTIER: Final = "portier"
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
DEFAULT_ALGORITHMS: Final = ("RS256", "ES256")
PORTIER_ALGORITHMS: Final = ("RS256",)

_MEMBERS: Final = ROUTE_MEMBERS | {
    "issuer",
    "client_ids",
    "domains",
    "algorithms",
    "profile",
    "userinfo",
    "assume_verified",
}
_OF_ED25519: Final = frozenset({"EdDSA", "Ed25519"})
_OPENID_MEMBERS: Final = frozenset({"userinfo", "assume_verified"})
_MAX_CLIENT_ID_CHARACTERS: Final = 255


@dataclass(frozen=True, slots=True)
class OpenIDIssuer:
    """A provider.

    Attributes:
        url: its issuer identifier, the `iss` of tokens.
        client_ids: the client ids of this service's dialogs; empty for a Portier broker, whose clients
            are origins.
        domains: the domains whose emails it may vouch for; `*.example.com` matches all domains under
            `example.com`, `*` all domains.
        algorithms: the accepted algorithms of its tokens.
        profile: OPENID or PORTIER.
        has_userinfo: whether its UserInfo is asked for an email that is not in the token.
        assumed_verified: the domains whose emails count as verified if `email_verified` is missing;
            they are among `domains`.
        route: the way to its hosts.
    """

    url: str
    client_ids: frozenset[str]
    domains: frozenset[str]
    algorithms: frozenset[str] = frozenset(DEFAULT_ALGORITHMS)
    profile: str = OPENID
    has_userinfo: bool = False
    assumed_verified: frozenset[str] = frozenset()
    route: Route = PUBLIC

    @property
    def is_portier(self) -> bool:
        """Whether it is a Portier broker."""
        return self.profile == PORTIER

    def vouches_for(self, domain: str) -> bool:
        """Return whether it may vouch for emails of a canonical domain."""
        return EVERY_DOMAIN in self.domains or not self.domains.isdisjoint(patterns_of(domain))

    def assumes_verified(self, domain: str) -> bool:
        """Return whether its emails of a canonical domain count as verified without its saying so."""
        return self.is_portier or not self.assumed_verified.isdisjoint(patterns_of(domain))


class OpenIDIssuers:
    """The trusted providers, which have different URLs."""

    def __init__(self, issuers: Iterable[OpenIDIssuer] = ()) -> None:
        self._issuers = {issuer.url: issuer for issuer in issuers}

    @classmethod
    def parse(cls, document: Json, *, is_development: bool = False) -> OpenIDIssuers:
        """Parse a list of issuers; in development they may be on http://localhost.

        Raises:
            ValueError: the list is invalid; the message names the issuer by its position and URL.
        """
        if not isinstance(document, list):
            raise ValueError("not a list of issuers")  # noqa: TRY004 - a file's content
        issuers: dict[str, OpenIDIssuer] = {}
        for position, entry in enumerate(document):
            url = entry.get("issuer") if isinstance(entry, dict) else None
            name = f"issuer {position}" + (f" ({url})" if isinstance(url, str) else "")
            try:
                issuer = _parse_issuer(entry, is_development=is_development)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if issuer.url in issuers:
                raise ValueError(f"{name}: is there twice")
            issuers[issuer.url] = issuer
        return cls(issuers.values())

    def get(self, url: str) -> OpenIDIssuer | None:
        """Return the provider with exactly this issuer identifier."""
        return self._issuers.get(url)

    @property
    def urls(self) -> frozenset[str]:
        """The identifiers of all providers."""
        return frozenset(self._issuers)

    @property
    def routes(self) -> dict[str, Route]:
        """The ways to the hosts of all providers, by URL."""
        return {url: issuer.route for url, issuer in self._issuers.items()}

    def merged_with(self, other: OpenIDIssuers) -> OpenIDIssuers:
        """Return the providers of both; the own ones take precedence."""
        return OpenIDIssuers((other._issuers | self._issuers).values())


def _parse_issuer(entry: Json, *, is_development: bool) -> OpenIDIssuer:
    if not isinstance(entry, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - a file's content
    if unknown := sorted(entry.keys() - _MEMBERS):
        raise ValueError(f"{unknown[0]}: there is no such member")
    profile = entry.get("profile", OPENID)
    if profile not in (OPENID, PORTIER):
        raise ValueError(f"profile: must be {OPENID} or {PORTIER}")
    url = _parse_url(entry.get("issuer"), is_origin=profile == PORTIER)
    issuer = OpenIDIssuer(
        url,
        _parse_client_ids(entry, is_needed=profile == OPENID),
        frozenset(map(_parse_domain, _strings(entry, "domains"))),
        _parse_algorithms(entry, PORTIER_ALGORITHMS if profile == PORTIER else ALGORITHMS),
        str(profile),
        has_userinfo=parse_flag(entry, "userinfo"),
        assumed_verified=_parse_assumed_verified(entry),
        route=parse_route(entry, Url.parse(url), is_development=is_development),
    )
    if issuer.is_portier and (unfit := sorted(entry.keys() & _OPENID_MEMBERS)):
        raise ValueError(f"{unfit[0]}: not of a Portier broker")
    for pattern in sorted(issuer.assumed_verified):
        if not issuer.vouches_for(pattern.replace("*", "any")):
            raise ValueError(f"assume_verified: {pattern} is not of domains")
    return issuer


def _parse_url(url: Json, *, is_origin: bool) -> str:
    try:
        location = Url.parse(url if isinstance(url, str) else "")
    except ValueError as error:
        raise ValueError(f"issuer: {error}") from None
    if location.query:
        raise ValueError("issuer: must have no query")
    if is_origin and url != location.origin:
        raise ValueError("issuer: a Portier broker is an origin, without a path or a slash at its end")
    return str(url)


def _parse_client_ids(entry: Mapping[str, Json], *, is_needed: bool) -> frozenset[str]:
    if not is_needed:
        if "client_ids" in entry:
            raise ValueError("client_ids: a Portier broker knows clients by their origins")
        return frozenset()
    found = _strings(entry, "client_ids")
    if not all(0 < len(each) <= _MAX_CLIENT_ID_CHARACTERS for each in found):
        raise ValueError(f"client_ids: each has 1 to {_MAX_CLIENT_ID_CHARACTERS} characters")
    return frozenset(found)


def _parse_algorithms(entry: Mapping[str, Json], possible: tuple[str, ...]) -> frozenset[str]:
    if "algorithms" not in entry:
        return frozenset(set(DEFAULT_ALGORITHMS) & set(possible))
    found = frozenset(_strings(entry, "algorithms"))
    if not found <= set(possible):
        raise ValueError(f"algorithms: must be of {', '.join(possible)}")
    # Two names of one algorithm: RFC 9864 deprecates EdDSA, and names algorithms by their curves.
    return found if found.isdisjoint(_OF_ED25519) else found | _OF_ED25519


def _parse_assumed_verified(entry: Mapping[str, Json]) -> frozenset[str]:
    if "assume_verified" not in entry:
        return frozenset()
    try:
        found = frozenset(map(canonical_pattern, _strings(entry, "assume_verified")))
    except InvalidDomain:
        found = frozenset()
    # A wildcard of a whole top-level domain would be as careless as "*".
    if not found or any("." not in pattern.removeprefix("*.") for pattern in found):
        raise ValueError("assume_verified: must be names such as example.com, or *.example.com")
    return found


def _parse_domain(pattern: str) -> str:
    if pattern == EVERY_DOMAIN:
        return pattern
    try:
        return canonical_pattern(pattern)
    except InvalidDomain:
        raise ValueError('domains: must be "*", names such as example.com, or *.example.com') from None


def _strings(entry: Mapping[str, Json], name: str) -> list[str]:
    found = entry.get(name)
    strings = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
    if not isinstance(found, list) or not strings or len(strings) != len(found):
        raise ValueError(f"{name}: must be a list of strings, and not an empty one")
    return strings
