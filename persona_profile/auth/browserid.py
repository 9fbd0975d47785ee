"""BrowserID assertions, verified locally (mozilla/id-specs, browserid/index.md).

A bundle is `certificate~assertion`. In the certificate a domain signs the key of one of its emails, for
a day at most. In the assertion that key signs the audience and an expiry within minutes. Cheap checks
come before lookups, and lookups before signatures.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.authenticators import AuthenticatorContext
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.auth.browserid_keys import PublicKey, parse_public_key
from persona_profile.auth.jws import InvalidJws, Jws, parse_jws
from persona_profile.auth.trust_file import TrustFile
from persona_profile.emails import InvalidEmail, canonical_email, is_canonical_domain
from persona_profile.encoding import Json
from persona_profile.errors import InvalidProof
from persona_profile.lifetimes import MAX_BROWSERID_SKEW_SECONDS

MAX_BUNDLE_CHARACTERS: Final = 16_384
MAX_CERTIFICATE_LIFE_MS: Final = 24 * 3600 * 1000
MAX_ASSERTION_LIFE_MS: Final = 5 * 60 * 1000
DEFAULT_SKEW_SECONDS: Final = 60
CERTIFICATE_CACHE_ENTRIES: Final = 2048

_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Certificate:
    jws: Jws
    issuer: str
    email: str
    domain: str
    key: PublicKey
    signed_by: bytes | None = None


class BrowserIDVerifier(Authenticator):
    """Verifies bundles whose audience is this server.

    Args:
        audiences: the origins of this server.
        fallback_issuers: domains that may vouch for emails of domains without BrowserID support.
        skew_seconds: the allowed difference between clocks.
        clock: seconds since 1970.
        trust_file: the pinned issuers; `reload` reads them again.
    """

    member = "assertion"
    description = "A BrowserID bundle, `certificate~assertion`, for one of the server's origins."

    def __init__(
        self,
        audiences: Iterable[str],
        discovery: Discovery,
        *,
        algorithms: Iterable[str],
        fallback_issuers: Iterable[str] = (),
        skew_seconds: int = DEFAULT_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
        trust_file: TrustFile[PinnedIssuers] | None = None,
    ) -> None:
        self._audiences = frozenset(filter(None, map(_origin, audiences)))
        self._discovery = discovery
        self._algorithms = frozenset(algorithms)
        self._fallback_issuers = frozenset(fallback_issuers)
        self._skew_ms = skew_seconds * 1000
        self._clock = clock
        self._trust_file = trust_file
        self._lock = threading.Lock()
        # Dialogs send the same certificate often. Its content and its signature are checked once,
        # its times and its issuer each time.
        self._certificates: LRUCache[str, _Certificate] = LRUCache(CERTIFICATE_CACHE_ENTRIES)

    def verify(self, proof: str) -> ProvedEmail:
        """Return the proved email. See `auth.Authenticator`."""
        return self._check(*self._parse(proof))

    def reload(self) -> None:
        """Reload the file of pinned issuers."""
        pinned = self._trust_file.reload() if self._trust_file else None
        if pinned is not None:
            self._discovery.use(pinned)

    def _parse(self, proof: str) -> tuple[str, _Certificate, Jws]:
        """Return the certificate of a bundle, as text and parsed, and the assertion."""
        if len(proof) > MAX_BUNDLE_CHARACTERS:
            raise InvalidProof("proof_too_large")
        parts = proof.split("~")
        if len(parts) != 2 or not all(parts):
            raise InvalidProof("malformed_bundle")
        try:
            return parts[0], self._parse_certificate(parts[0]), parse_jws(parts[1], self._algorithms)
        except InvalidJws as error:
            raise InvalidProof(error.code) from None

    def _check(self, certificate_text: str, certificate: _Certificate, assertion: Jws) -> ProvedEmail:
        """Verify the parts of a bundle, and return the proved email."""
        now = int(self._clock() * 1000)
        self._check_times(certificate.jws.payload, now, MAX_CERTIFICATE_LIFE_MS, "certificate")
        expires_at = self._check_assertion(assertion, now)
        if assertion.algorithm != certificate.key.algorithm:
            raise InvalidProof("algorithm_mismatch")
        self._check_certificate_signature(certificate_text, certificate)
        if not certificate.key.has_signed(assertion):
            raise InvalidProof("assertion_signature_invalid")
        self._discovery.note_proof(certificate.domain, certificate.issuer)
        # For a process with the largest clock skew, too.
        lapses_at = expires_at // 1000 + MAX_BROWSERID_SKEW_SECONDS + 1
        issued_at = assertion.payload.get("iat")
        # The same key and statement are the same proof, under any signature or certificate.
        proof_id = hashlib.sha256(certificate.key.fingerprint + assertion.signed).digest()
        return ProvedEmail(
            certificate.email,
            certificate.issuer,
            proof_id,
            lapses_at,
            assertion.algorithm,
            # The issuer's clock may be late.
            revoked_from=issued_at + self._skew_ms + 1 if isinstance(issued_at, int) else None,
        )

    def _parse_certificate(self, text: str) -> _Certificate:
        with self._lock:
            known = self._certificates.get(text)
        if known is not None:
            return known
        jws = parse_jws(text, self._algorithms)
        principal = jws.payload.get("principal")
        email = principal.get("email") if isinstance(principal, dict) else None
        issuer = jws.payload.get("iss")
        if not isinstance(email, str):
            raise InvalidProof("email_missing")
        try:
            canonical = canonical_email(email)
        except InvalidEmail:
            raise InvalidProof("email_invalid") from None
        if not isinstance(issuer, str) or not is_canonical_domain(issuer):
            raise InvalidProof("issuer_invalid")
        key = parse_public_key(jws.payload.get("public-key"))
        return _Certificate(jws, issuer, canonical, canonical.rpartition("@")[2], key)

    def _check_assertion(self, jws: Jws, now: int) -> int:
        """Return the instant at which the assertion expires, in milliseconds since 1970."""
        expires_at = self._check_times(jws.payload, now, MAX_ASSERTION_LIFE_MS, "assertion")
        audience = jws.payload.get("aud")
        if not isinstance(audience, str) or _origin(audience) not in self._audiences:
            raise InvalidProof("audience_mismatch")
        return expires_at

    def _check_times(self, payload: Mapping[str, Json], now: int, life: int, what: str) -> int:
        expires_at, issued_at = payload.get("exp"), payload.get("iat", now)
        if type(expires_at) is not int or type(issued_at) is not int:
            raise InvalidProof(f"{what}_times_invalid")
        if expires_at <= now - self._skew_ms:
            raise InvalidProof(f"{what}_expired")
        if issued_at > now + self._skew_ms:
            raise InvalidProof(f"{what}_not_yet_valid")
        # Without `iat` the life counts from now, and this server's clock may be late.
        allowance = 0 if "iat" in payload else self._skew_ms
        if expires_at - issued_at > life + allowance or expires_at <= issued_at - allowance:
            raise InvalidProof(f"{what}_life_invalid")
        return expires_at

    def _check_certificate_signature(self, text: str, certificate: _Certificate) -> None:
        if self._is_certified(text, certificate):
            return
        # Most support documents have one key, so a domain replaces its key without notice.
        if not self._discovery.renew(certificate.issuer) or not self._is_certified(text, certificate):
            raise InvalidProof("certificate_signature_invalid")

    def _is_certified(self, text: str, certificate: _Certificate) -> bool:
        """Return whether a key that may vouch for the certificate's email has signed it."""
        keys = self._discovery.keys_of_issuer(
            certificate.domain, certificate.issuer, self._fallback_issuers
        )
        if any(key.fingerprint == certificate.signed_by for key in keys):
            return True
        for key in keys:
            if key.has_signed(certificate.jws):
                with self._lock:
                    self._certificates[text] = replace(certificate, signed_by=key.fingerprint)
                return True
        return False


def _origin(text: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin as browsers serialize it (RFC 6454, 6.2)."""
    match = _ORIGIN.fullmatch(text) if len(text) <= 512 else None
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, int(port or _DEFAULT_PORTS[scheme])


def from_context(context: AuthenticatorContext) -> Authenticator:
    """Return the configured verifier (an entry point).

    Raises:
        InvalidSettings: the file of pinned issuers is invalid.
    """
    settings = context.settings
    pinned = TrustFile(
        "browserid.pinned_issuers",
        settings.browserid_pinned_issuers,
        PinnedIssuers.parse,
        context.pinned_issuers,
        context.reload_counter("pinned_issuers"),
    )
    return BrowserIDVerifier(
        settings.public_origins,
        Discovery(pinned.read(), context.fetch, refresh=context.lookups.refresh),
        algorithms=settings.browserid_algorithms,
        fallback_issuers=settings.browserid_fallback_issuers,
        skew_seconds=settings.browserid_clock_skew_seconds,
        clock=context.clock,
        trust_file=pinned,
    )
