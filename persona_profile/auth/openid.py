"""ID tokens of OpenID providers (OpenID Connect Core 1.0) and Portier brokers, verified locally.

With an access token beside the ID token, the provider's UserInfo is asked for a missing email.

The audience of a token is a client of this service, and its nonce is issued by this service. Cheap
checks come before lookups, and lookups before the signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.access import Route
from persona_profile.auth.authenticators import AuthenticatorContext
from persona_profile.auth.jose_keys import read_key_id
from persona_profile.auth.jws import InvalidJws, Jws, parse_jws
from persona_profile.auth.nonces import read_nonce
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.auth.openid_issuers import ALGORITHMS, OpenIDIssuer, OpenIDIssuers
from persona_profile.auth.openid_userinfo import RequestLimit, check_access_token
from persona_profile.auth.suggestions import read_suggestions
from persona_profile.auth.trust_file import TrustFile
from persona_profile.characters import nfc
from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.encoding import Json
from persona_profile.errors import InvalidProof
from persona_profile.keys.tokens import Nonces

MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_TOKEN_LIFE_SECONDS: Final = 24 * 3600
MAX_AUDIENCES: Final = 16
MAX_SUBJECT_CHARACTERS: Final = 255
DEFAULT_SKEW_SECONDS: Final = 60

# Some providers send thumbprints of a certificate (`x5t`) beside `kid`; they are ignored. Members with
# a key, or with the URL of a key, are rejected.
_HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})


class OpenIDVerifier(Authenticator):
    """Verifies ID tokens whose audience is this server.

    Args:
        origins: the audiences of Portier brokers' tokens.
        skew_seconds: the allowed difference between clocks.
        clock: seconds since 1970.
        trust_file: the trusted providers; `reload` reads them again.
    """

    member = "id_token"
    description = "An ID token of an OpenID provider or a Portier broker, with a nonce of this server."
    companions = MappingProxyType(
        {
            "access_token": "The access token that was issued with the ID token. The server reads an "
            "email that is not in the ID token from the provider's UserInfo."
        }
    )

    def __init__(
        self,
        issuers: OpenIDIssuers,
        keys: ProviderKeys,
        nonces: Nonces,
        *,
        origins: Iterable[str] = (),
        skew_seconds: int = DEFAULT_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
        trust_file: TrustFile[OpenIDIssuers] | None = None,
    ) -> None:
        self._issuers = issuers
        self._keys = keys
        self._nonces = nonces
        self._origins = frozenset(origins)
        self._skew = skew_seconds
        self._clock = clock
        self._trust_file = trust_file
        self._userinfo_requests = RequestLimit(clock)

    def verify(self, proof: str, access_token: str | None = None) -> ProvedEmail:
        """Return the proved email. See `auth.Authenticator`."""
        return self._check(_parse(proof), access_token)

    def route(self, issuer: str) -> Route | None:
        """Return the way to the hosts of a provider that is still trusted."""
        found = self._issuers.get(issuer)
        return found.route if found else None

    def prepare(self) -> None:
        """Begin to fetch the keys of all providers, beside requests."""
        self._keys.prepare(self._issuers.urls)

    def reload(self) -> None:
        """Reload the file of trusted providers."""
        issuers = self._trust_file.reload() if self._trust_file else None
        if issuers is not None:
            self._issuers = issuers
            self._keys.keep(issuers.routes)
            self.prepare()

    def _check(self, token: Jws, access_token: str | None) -> ProvedEmail:
        payload, now = token.payload, int(self._clock())
        issuer = self._issuer(payload)
        if token.algorithm not in issuer.algorithms:
            raise InvalidProof("algorithm_not_allowed")
        key_id = _key_id(token, is_needed=issuer.is_portier)
        self._check_audience(issuer, payload)
        self._check_times(payload, now)
        nonce = read_nonce(self._nonces, payload, now)
        _check_subject(issuer, payload)
        if access_token is not None and issuer.has_userinfo and _lacks_email(issuer, payload):
            check_access_token(access_token, token)
            self._keys.check(issuer.url, token, key_id)
            self._userinfo_requests.count(nonce.digest)
            userinfo = self._keys.read_userinfo(issuer.url, access_token, payload["sub"])
            email = _email(issuer, userinfo)
        else:
            userinfo = {}
            email = _email(issuer, payload)
            self._keys.check(issuer.url, token, key_id)
        # The nonce identifies the proof: the token is used up with its nonce, expires with it, and was
        # made after it, by the clocks of this service.
        return ProvedEmail(
            email,
            issuer.url,
            nonce.digest,
            nonce.expires_at,
            token.algorithm,
            revoked_from=nonce.revoked_from,
            suggestions=read_suggestions(payload, userinfo),
        )

    def _issuer(self, payload: Mapping[str, Json]) -> OpenIDIssuer:
        url = payload.get("iss")
        issuer = self._issuers.get(url) if isinstance(url, str) else None
        if issuer is None:
            raise InvalidProof("issuer_unknown")
        return issuer

    def _check_audience(self, issuer: OpenIDIssuer, payload: Mapping[str, Json]) -> None:
        """Check audience and authorized party (OpenID Connect Core, 3.1.3.7, 3 to 5)."""
        ours = self._origins if issuer.is_portier else issuer.client_ids
        audience, party = payload.get("aud"), payload.get("azp")
        audiences = audience if isinstance(audience, list) and not issuer.is_portier else [audience]
        if not 0 < len(audiences) <= MAX_AUDIENCES:
            raise InvalidProof("audience_mismatch")
        names = [each for each in audiences if isinstance(each, str)]
        if len(names) != len(audiences) or ours.isdisjoint(names):
            raise InvalidProof("audience_mismatch")
        if ("azp" in payload or len(names) > 1) and not (isinstance(party, str) and party in ours):
            raise InvalidProof("authorized_party_mismatch")

    def _check_times(self, payload: Mapping[str, Json], now: int) -> None:
        expires_at, issued_at = payload.get("exp"), payload.get("iat")
        not_before = payload.get("nbf", issued_at)
        if type(expires_at) is not int or type(issued_at) is not int or type(not_before) is not int:
            raise InvalidProof("token_times_invalid")
        if expires_at <= now - self._skew:
            raise InvalidProof("token_expired")
        if max(issued_at, not_before) > now + self._skew:
            raise InvalidProof("token_not_yet_valid")
        if not 0 < expires_at - issued_at <= MAX_TOKEN_LIFE_SECONDS:
            raise InvalidProof("token_life_invalid")


def _parse(proof: str) -> Jws:
    """Return a parsed token; nothing of it is verified."""
    if len(proof) > MAX_TOKEN_CHARACTERS:
        raise InvalidProof("proof_too_large")
    try:
        return parse_jws(proof, ALGORITHMS, _HEADER_MEMBERS)
    except InvalidJws as error:
        raise InvalidProof(error.code) from None


def _key_id(token: Jws, *, is_needed: bool) -> str | None:
    kind = token.header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise InvalidProof("header_not_allowed")
    try:
        key_id = read_key_id(token.header)
    except ValueError:
        raise InvalidProof("header_not_allowed") from None
    if key_id is None and is_needed:
        raise InvalidProof("header_not_allowed")
    return key_id


def _lacks_email(issuer: OpenIDIssuer, payload: Mapping[str, Json]) -> bool:
    """Return whether a token proves no email, and UserInfo may have what it lacks."""
    if "email" in payload and "email_verified" in payload:
        return False
    try:
        _email(issuer, payload)
    except InvalidProof:
        return True
    return False


def _check_subject(issuer: OpenIDIssuer, payload: Mapping[str, Json]) -> None:
    subject = payload.get("sub")
    if not issuer.is_portier and not (
        isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT_CHARACTERS
    ):
        raise InvalidProof("subject_missing")


def _email(issuer: OpenIDIssuer, claims: Mapping[str, Json]) -> str:
    """Return the canonical email that an issuer vouches for in a token or in UserInfo."""
    email = claims.get("email")
    if not isinstance(email, str) or not email:
        raise InvalidProof("email_missing")
    canonical = _canonical(email)
    domain = canonical.rpartition("@")[2]
    # A broker only ever verifies emails, so the claim is optional.
    if claims.get("email_verified", issuer.assumes_verified(domain)) is not True:
        raise InvalidProof("email_not_verified")
    if issuer.is_portier:
        # The broker has normalized the email, and sends the typed one beside it.
        original = claims.get("email_original", email)
        if not isinstance(original, str) or canonical != nfc(email):
            raise InvalidProof("email_invalid")
        _canonical(original)
    if not issuer.vouches_for(domain):
        raise InvalidProof("issuer_not_authoritative")
    return canonical


def _canonical(email: str) -> str:
    try:
        return canonical_email(email)
    except InvalidEmail:
        raise InvalidProof("email_invalid") from None


def from_context(context: AuthenticatorContext) -> Authenticator:
    """Return the configured verifier (an entry point).

    Raises:
        InvalidSettings: the file of providers is invalid.
    """
    settings = context.settings
    issuers = TrustFile(
        "openid.issuers",
        settings.openid_issuers,
        partial(OpenIDIssuers.parse, is_development=settings.development),
        context.openid_issuers,
        context.reload_counter("openid_issuers"),
    )
    trusted = issuers.read()
    return OpenIDVerifier(
        trusted,
        ProviderKeys(context.fetch, lookups=context.lookups, routes=trusted.routes),
        context.nonces,
        origins=(*settings.public_origins, *settings.dialog_origins),
        skew_seconds=settings.openid_clock_skew_seconds,
        clock=context.clock,
        trust_file=issuers,
    )
