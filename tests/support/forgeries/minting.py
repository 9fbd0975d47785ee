"""Mints bundles that are good but for what a forger changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from persona_profile.encoding import base64url_encode
from support.clients.identities import (
    assertion_claims,
    certificate_claims,
    dsa_key,
    rsa_key,
    support_document,
)
from support.forgeries.documents import json_encode

EMAIL = "alice@issuer.test"
HOMOGRAPH = "xn--issur-2we.test"  # "issuer" with a Cyrillic letter in it
GONE = object()
"""As a changed value: the member is left away."""

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


class Forgery(NamedTuple):
    """A bundle that must be rejected.

    Attributes:
        name: the reason in words.
        code: the reason as the verifier says it.
        mint: makes the bundle.
        over_http: status and code of a request that is rejected before the verifier.
    """

    name: str
    code: str
    mint: Callable[[], str]
    over_http: tuple[int, str] | None = None


def support_documents() -> dict[str, Any]:
    """Return what the servers under attack pin; no other domain is ever looked up."""
    stranger = support_document(rsa_key("stranger"))
    return {
        "issuer.test": support_document(rsa_key("issuer")),
        "dsa.test": support_document(dsa_key("issuer")),
        "disabled.test": {"disabled": True},
        "delegating.test": {"authority": "issuer.test"},
        "*.test": stranger,
        "*.com": stranger,
    }


def now() -> int:
    """Return milliseconds since 1970."""
    return int(time.time() * 1000)


def changed(claims: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return claims with changes."""
    return {name: value for name, value in {**claims, **changes}.items() if value is not GONE}


def signature(signed: bytes, key: Any) -> bytes:
    """Sign as BrowserID does, with keys of any size."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), SHA256())
    short = key.key_size == 1024
    size = 20 if short else 32
    r, s = decode_dss_signature(key.sign(signed, SHA1() if short else SHA256()))
    return r.to_bytes(size) + s.to_bytes(size)


def algorithm_of(key: Any) -> str:
    """Return the name in the header of what a key signs."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return "DS128" if key.key_size == 1024 else "DS256"


def jws(payload: Any, key: Any, header: Any = None, sign: Callable[..., bytes] = signature) -> str:
    """Return a compact JWS; header and payload are JSON values, or bytes to be taken as they are."""
    header = {"alg": algorithm_of(key)} if header is None else header
    parts = (part if isinstance(part, bytes) else json_encode(part) for part in (header, payload))
    signed = ".".join(map(base64url_encode, parts))
    return f"{signed}.{base64url_encode(sign(signed.encode(), key))}"


def certificate(changes: Mapping[str, Any] | None = None, **options: Any) -> str:
    """Return a certificate of EMAIL; options: `email`, `user`, `issuer` (keys), `header`, `sign`."""
    user = options.pop("user", None) or rsa_key("user")
    issuer = options.pop("issuer", None) or rsa_key("issuer")
    claims = certificate_claims(options.pop("email", EMAIL), user)
    return jws(changed(claims, changes or {}), issuer, **options)


def assertion(changes: Mapping[str, Any] | None = None, **options: Any) -> str:
    """Return an assertion; options: `user` (key), `header`, `sign`."""
    user = options.pop("user", None) or rsa_key("user")
    claims = assertion_claims(nonce=time.perf_counter_ns())
    return jws(changed(claims, changes or {}), user, **options)


def bundle(certificate_text: str | None = None, assertion_text: str | None = None) -> str:
    """Return a bundle of the two parts; each is a good one where none is given."""
    return f"{certificate_text or certificate()}~{assertion_text or assertion()}"


def with_certificate(changes: Mapping[str, Any] | None = None, **options: Any) -> Callable[[], str]:
    """Return a minter of bundles with a changed certificate."""
    return lambda: bundle(certificate(changes, **options))


def with_assertion(changes: Mapping[str, Any] | None = None, **options: Any) -> Callable[[], str]:
    """Return a minter of bundles with a changed assertion."""
    return lambda: bundle(None, assertion(changes, **options))


def with_email(email: Any, issuer: str = "issuer.test") -> Callable[[], str]:
    """Return a minter of bundles whose certificate names another email."""
    return with_certificate({"principal": {"email": email}, "iss": issuer})
