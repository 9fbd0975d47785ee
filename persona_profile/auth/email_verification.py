"""Tokens of the Email Verification Protocol (draft-hardt-email-verification), verified locally.

A proof is an SD-JWT with key binding and without disclosures (RFC 9901): `EVT~KB`. The EVT is signed by
the issuer of the email's domain. The KB binds it to the page and to a nonce of this service, and is
signed by the browser's key, which the EVT names. Cheap checks come before lookups.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.authenticators import AuthenticatorContext
from persona_profile.auth.dns_records import DnsResolver
from persona_profile.auth.email_verification_issuers import EmailVerificationIssuers, parse_issuer
from persona_profile.auth.jose_keys import VerificationKey, parse_key, read_key_id
from persona_profile.auth.jws import InvalidJws, Jws, parse_jws
from persona_profile.auth.nonces import read_nonce
from persona_profile.emails import InvalidEmail, canonical_email, patterns_of
from persona_profile.encoding import Json, base64url_encode
from persona_profile.errors import InvalidProof
from persona_profile.keys.tokens import Nonce, Nonces
from persona_profile.setting_values import EVERY_DOMAIN

MAX_PROOF_CHARACTERS: Final = 16_384
MAX_AGE_SECONDS: Final = 300
MAX_AHEAD_SECONDS: Final = 60

EVT_ALGORITHMS: Final = ("EdDSA", "Ed25519", "ES256", "RS256")
KB_ALGORITHMS: Final = ("Ed25519", "ES256", "RS256")
_EVT_HEADER: Final = frozenset({"alg", "kid", "typ"})
_KB_HEADER: Final = frozenset({"alg", "typ"})
_HASH_ALGORITHM: Final = "sha-256"

_UNASKED: Final = ("127.0.0.1", 53)

logger = logging.getLogger(__name__)


class EmailIssuers(Protocol):
    """The issuers of emails' domains."""

    def check(self, domain: str, issuer: str, token: Jws, key_id: str | None) -> None:
        """Verify that a host is the issuer of a domain, and has signed a token.

        Raises:
            InvalidProof: it is another domain's issuer, or the signature is invalid.
            Overloaded: DNS does not answer, or too many lookups are under way.
        """

    def configure(self) -> None:
        """Read the configuration of DNS again.

        Raises:
            ValueError: it can't be used. The present one stays.
        """


@dataclass(frozen=True, slots=True)
class AcceptedDomains:
    """The domains whose emails may be proved: canonical patterns, or EVERY_DOMAIN."""

    accepted: frozenset[str]
    denied: frozenset[str] = frozenset()

    def __contains__(self, domain: str) -> bool:
        patterns = {EVERY_DOMAIN, *patterns_of(domain)}
        return not self.accepted.isdisjoint(patterns) and self.denied.isdisjoint(patterns)


class EmailVerifier(Authenticator):
    """Verifies tokens for pages of configured origins.

    Args:
        origins: the accepted audiences: origins of pages.
        domains: the domains whose emails may be proved.
        clock: seconds since 1970.
    """

    member = "evt"
    description = "A token of the Email Verification Protocol, `EVT~KB`, with a nonce of this server."

    def __init__(
        self,
        origins: Iterable[str],
        domains: AcceptedDomains,
        issuers: EmailIssuers,
        nonces: Nonces,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._origins = frozenset(origins)
        self._domains = domains
        self._issuers = issuers
        self._nonces = nonces
        self._clock = clock

    def verify(self, proof: str) -> ProvedEmail:
        """Return the proved email. See `auth.Authenticator`."""
        text, token, binding = _parse(proof)
        now = int(self._clock())
        key_id = _key_id(token)
        issuer, email = _issuer(token.payload), _email(token.payload)
        domain = email.rpartition("@")[2]
        if domain not in self._domains:
            raise InvalidProof("domain_not_accepted")
        for part in (token, binding):
            _check_times(part.payload, now)
        nonce = self._check_binding(text, token, binding, now)
        self._issuers.check(domain, issuer, token, key_id)
        # The nonce identifies the proof. The signed bytes of the KB have it: another signature of them,
        # another KB with this nonce, and an ID token with it are all the same proof.
        return ProvedEmail(
            email,
            issuer,
            nonce.digest,
            nonce.expires_at,
            token.algorithm,
            revoked_from=nonce.revoked_from,
        )

    def reload(self) -> None:
        """Read the configuration of the system's resolver again."""
        try:
            self._issuers.configure()
        except ValueError as error:
            logger.error("evp.dns: not reloaded: %s", error)  # noqa: TRY400 - no trace is needed

    def _check_binding(self, text: str, token: Jws, binding: Jws, now: int) -> Nonce:
        """Check the KB of an EVT, and return its nonce."""
        audience, stated = binding.payload.get("aud"), binding.payload.get("sd_hash")
        if not isinstance(audience, str) or audience not in self._origins:
            raise InvalidProof("audience_mismatch")
        nonce = read_nonce(self._nonces, binding.payload, now)
        digest = hashlib.sha256(f"{text}~".encode("ascii")).digest()
        if stated != base64url_encode(digest):
            raise InvalidProof("sd_hash_mismatch")
        key = _holder_key(token.payload)
        if binding.algorithm not in key.algorithms:
            raise InvalidProof("algorithm_mismatch")
        if not key.has_signed(binding):
            raise InvalidProof("key_binding_signature_invalid")
        return nonce


def _parse(proof: str) -> tuple[str, Jws, Jws]:
    """Return the EVT as text and parsed, and the KB; nothing of them is verified."""
    if len(proof) > MAX_PROOF_CHARACTERS:
        raise InvalidProof("proof_too_large")
    parts = proof.split("~")
    if len(parts) > 2:
        raise InvalidProof("disclosures_not_allowed" if parts[-1] else "key_binding_missing")
    if len(parts) == 1 or not parts[1]:
        raise InvalidProof("key_binding_missing")
    token = _parse_part(parts[0], "evt+jwt", EVT_ALGORITHMS, _EVT_HEADER)
    binding = _parse_part(parts[1], "kb+jwt", KB_ALGORITHMS, _KB_HEADER)
    # It would be the algorithm of `sd_hash`.
    if token.payload.get("_sd_alg", _HASH_ALGORITHM) != _HASH_ALGORITHM:
        raise InvalidProof("algorithm_not_allowed")
    return parts[0], token, binding


def _parse_part(text: str, kind: str, algorithms: Collection[str], header: Collection[str]) -> Jws:
    try:
        part = parse_jws(text, algorithms, header)
    except InvalidJws as error:
        raise InvalidProof(error.code) from None
    if part.header.get("typ") != kind:
        raise InvalidProof("header_not_allowed")
    return part


def _key_id(token: Jws) -> str | None:
    """Return the `kid` of a token; an empty one is none."""
    if token.header.get("kid") == "":
        return None
    try:
        return read_key_id(token.header)
    except ValueError:
        raise InvalidProof("header_not_allowed") from None


def _issuer(payload: Mapping[str, Json]) -> str:
    """Return the host of the issuer."""
    text = payload.get("iss")
    try:
        return parse_issuer(text if isinstance(text, str) else "")
    except ValueError:
        raise InvalidProof("issuer_invalid") from None


def _email(payload: Mapping[str, Json]) -> str:
    """Return the canonical email."""
    email = payload.get("email")
    if not isinstance(email, str) or not email:
        raise InvalidProof("email_missing")
    if payload.get("email_verified") is not True:
        raise InvalidProof("email_not_verified")
    try:
        return canonical_email(email)
    except InvalidEmail:
        raise InvalidProof("email_invalid") from None


def _check_times(payload: Mapping[str, Json], now: int) -> None:
    """Check the times of an EVT or a KB."""
    issued_at = payload.get("iat")
    not_before, expires_at = payload.get("nbf", issued_at), payload.get("exp", now + 1)
    if type(issued_at) is not int or type(not_before) is not int or type(expires_at) is not int:
        raise InvalidProof("token_times_invalid")
    if issued_at < now - MAX_AGE_SECONDS or expires_at <= now - MAX_AHEAD_SECONDS:
        raise InvalidProof("token_expired")
    if max(issued_at, not_before) > now + MAX_AHEAD_SECONDS:
        raise InvalidProof("token_not_yet_valid")


def _holder_key(payload: Mapping[str, Json]) -> VerificationKey:
    """Return the browser's key, which an EVT names (RFC 7800)."""
    confirmation = payload.get("cnf")
    try:
        return parse_key(confirmation.get("jwk") if isinstance(confirmation, dict) else None)
    except ValueError:
        raise InvalidProof("key_not_allowed") from None


def from_context(context: AuthenticatorContext) -> Authenticator | None:
    """Return the configured verifier (an entry point); None if no domain is configured.

    Raises:
        ValueError: there are no resolvers, or they do not fit `evp.dnssec`.
    """
    settings, pinned = context.settings, context.email_issuers
    accepted = frozenset((*settings.evp_domains, *pinned))
    if not accepted:
        return None
    # Pinned domains need no DNS: a development server starts where no resolver is configured.
    servers = settings.evp_dns if settings.evp_domains else (_UNASKED,)
    try:
        resolver = DnsResolver(servers, is_dnssec_needed=settings.evp_dnssec, lookups=context.lookups)
    except ValueError as error:
        raise ValueError(f"evp.dns: {error}") from None
    issuers = EmailVerificationIssuers(
        resolver,
        context.fetch,
        lookups=context.lookups,
        pinned=pinned,
        is_dnssec_needed=settings.evp_dnssec,
    )
    return EmailVerifier(
        dict.fromkeys((*settings.public_origins, *settings.dialog_origins)),
        AcceptedDomains(accepted, frozenset(settings.evp_denied_domains)),
        issuers,
        context.nonces,
        context.clock,
    )
