"""Tokens, discovery documents and key sets in the shapes that providers of today send."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from support.servers.openid import (
    CLIENT,
    EMAIL,
    GONE,
    ORIGIN,
    SECOND_CLIENT,
    Provider,
    edwards,
    elliptic,
    public,
    rsa,
    token,
)

from persona_profile.auth.openid import OpenIDVerifier
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.errors import InvalidProof
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.tokens import Nonces
from persona_profile.keys.wrapping import KeyWrapper

TENANT = "9122040d-6c67-4c5b-b112-36a304b66dad"
CERTIFICATE = {"x5t": "dGh1bWJwcmludA", "x5c": ["MIIC"]}


class Shape(NamedTuple):
    """An ID token as a provider sends it.

    Attributes:
        issuer: its identifier.
        jwks_uri: where its keys are.
        keys: its key set.
        claims: of its tokens, beside or instead of the usual ones.
        header: of its tokens, likewise.
        key: signs them, if it is not the usual one.
        media_type: of its key set.
        discovery_type: the media type of its discovery document.
        trust: what the configuration says of it, beside or instead of the usual.
    """

    issuer: str
    jwks_uri: str
    keys: list[dict[str, Any]]
    claims: dict[str, Any]
    header: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    key: Any = None
    media_type: str = "application/json"
    discovery_type: str = "application/json"
    trust: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


def life(seconds: int, **members: int) -> dict[str, int]:
    """Return the times of a token that is issued now."""
    now = int(time.time())
    return {"iat": now, "exp": now + seconds} | {name: now + off for name, off in members.items()}


def encrypting() -> dict[str, Any]:
    """Return a key that signs nothing."""
    return public(rsa("next"), "enc", use="enc", alg="RSA-OAEP", **CERTIFICATE)


def foreign() -> list[dict[str, Any]]:
    """Return what providers have in their sets beside the key that signs."""
    return [
        encrypting(),
        public(rsa("next"), "rs512", use="sig", alg="RS512"),
        public(elliptic("k", "secp256k1"), "es256k", use="sig", alg="ES256K"),
        public(elliptic("p384", "P-384"), "es384", use="sig", alg="ES384"),
        {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-65", "pub": "AAAA"},
    ]


def edwards_shape(of_key: str, trusted: str, **more: Any) -> Shape:
    """Return a token of Ed25519, with the algorithm's name in the key and in the configuration."""
    return Shape(
        "https://ed.example.com",
        "https://ed.example.com/jwks",
        [public(edwards("ed"), "ed", use="sig", alg=of_key)],
        {},
        {"alg": "Ed25519", "kid": "ed"},
        edwards("ed"),
        trust={"algorithms": [trusted]},
        **more,
    )


SHAPES: dict[str, Callable[[], Shape]] = {
    "Google": lambda: Shape(
        "https://accounts.google.com",
        "https://www.googleapis.com/oauth2/v3/certs",
        [public(rsa(each), each, use="sig", alg="RS256") for each in ("next", "rsa")],
        {"azp": CLIENT, "hd": "mail.test", "at_hash": "x", "jti": "x", **life(3600, nbf=-300)},
    ),
    "Google, for an app and its server": lambda: Shape(
        "https://accounts.google.com",
        "https://www.googleapis.com/oauth2/v3/certs",
        [public(rsa("rsa"), "rsa", use="sig", alg="RS256")],
        {"azp": SECOND_CLIENT},
        trust={"client_ids": [CLIENT, SECOND_CLIENT]},
    ),
    "Microsoft Entra ID, version 1": lambda: Shape(
        f"https://sts.windows.net/{TENANT}/",
        "https://login.microsoftonline.com/common/discovery/keys",
        [
            public(rsa(each), each, use="sig", issuer="https://sts.windows.net", **CERTIFICATE)
            for each in ("next", "rsa")
        ],
        {"ver": "1.0", "tid": TENANT, "aio": "x", "amr": ["pwd"], **life(3600, iat=-300, nbf=-300)},
        {"x5t": "rsa"},
    ),
    "WSO2: thumbprints": lambda: Shape(
        "https://identity.example.com/oauth2/token",
        "https://identity.example.com/oauth2/jwks",
        [public(rsa("rsa"), "rsa", alg="RS256", **CERTIFICATE)],
        {"aud": [CLIENT], "azp": CLIENT},
        {"x5t": "dGh1bWJwcmludA", "x5t#S256": "dGh1bWJwcmludA", "typ": GONE},
    ),
    "Keycloak": lambda: Shape(
        "https://sso.example.com/realms/company",
        "https://sso.example.com/realms/company/protocol/openid-connect/certs",
        [
            public(rsa("rsa"), "rsa", use="sig", alg="RS256", **CERTIFICATE),
            encrypting(),
        ],
        {"azp": CLIENT, "typ": "ID", "acr": "1", "sid": "x", "auth_time": 0, **life(300)},
    ),
    "Keycloak, ES256": lambda: Shape(
        "https://sso.example.com/auth/realms/company",
        "https://sso.example.com/auth/realms/company/protocol/openid-connect/certs",
        [encrypting(), public(elliptic("ec"), "ec", use="sig", alg="ES256")],
        {"azp": CLIENT, "typ": "ID"},
        {"alg": "ES256", "kid": "ec"},
        elliptic("ec"),
    ),
    "Keycloak, EdDSA": lambda: Shape(
        "https://sso.example.com/realms/modern",
        "https://sso.example.com/realms/modern/protocol/openid-connect/certs",
        [encrypting(), public(edwards("ed"), "ed", use="sig", alg="EdDSA")],
        {"azp": CLIENT, "typ": "ID"},
        {"alg": "EdDSA", "kid": "ed"},
        edwards("ed"),
        trust={"algorithms": ["EdDSA"]},
    ),
    "Auth0": lambda: Shape(
        "https://company.eu.auth0.com/",
        "https://company.eu.auth0.com/.well-known/jwks.json",
        [
            public(rsa(each), each, use="sig", alg="RS256", e="AQAB", **CERTIFICATE)
            for each in ("rsa", "next")
        ],
        {"sub": "auth0|507f1f77bcf86cd799439020", "updated_at": "2026", **life(36_000)},
    ),
    "GitLab": lambda: Shape(
        "https://gitlab.com",
        "https://gitlab.com/oauth/discovery/keys",
        [public(rsa(each), each, use="sig", alg="RS256") for each in ("rsa", "next")],
        {"auth_time": 0, "sub_legacy": "x", "groups_direct": ["company"], **life(120)},
    ),
    "Zitadel, Authelia: a list of audiences": lambda: Shape(
        "https://sign-in.example.com:8443",
        "https://sign-in.example.com:8443/oauth/v2/keys",
        [public(rsa("rsa"), "rsa", use="sig", alg="RS256")],
        {"aud": [CLIENT, "269161024021708803"], "azp": CLIENT, "client_id": CLIENT},
        {"typ": GONE},
    ),
    "Hydra: a list of one": lambda: Shape(
        "https://hydra.example.com/",
        "https://hydra.example.com/.well-known/jwks.json",
        [public(rsa("rsa"), "rsa", use="sig", alg="RS256")],
        {"aud": [CLIENT], "rat": 0, "sid": "x"},
        media_type="application/jwk-set+json",
    ),
    "AD FS: a host in capitals": lambda: Shape(
        "https://FS.example.com/adfs",
        "https://FS.example.com/adfs/discovery/keys",
        [public(rsa("rsa"), "rsa", use="sig", alg="RS256", **CERTIFICATE)],
        {"upn": EMAIL, "ver": "1.0", "appid": CLIENT, **life(3600)},
        {"x5t": "rsa"},
    ),
    "one key without a name, in a store of files": lambda: Shape(
        "https://files.example.com/issuer",
        "https://files.example.com/issuer/keys.json",
        [public(rsa("rsa"), None), *foreign()],
        {},
        {"kid": GONE},
        media_type="application/octet-stream",
        discovery_type="binary/octet-stream",
    ),
    "PS256 and a page's media type": lambda: Shape(
        "https://pss.example.com",
        "https://pss.example.com/jwks",
        [public(rsa("rsa"), "pss", use="sig", alg="PS256"), public(rsa("next"), "rs", alg="RS256")],
        {},
        {"alg": "PS256", "kid": "pss"},
        rsa("rsa"),
        discovery_type="text/html",
        trust={"algorithms": ["PS256"]},
    ),
    "ES384": lambda: Shape(
        "https://p384.example.com",
        "https://p384.example.com/jwks",
        foreign(),
        {},
        {"alg": "ES384", "kid": "es384"},
        elliptic("p384", "P-384"),
        trust={"algorithms": ["ES384"]},
    ),
    "Ed25519 by its new name": lambda: edwards_shape("Ed25519", "EdDSA", discovery_type=""),
    "a token with the new name, a key with the old": lambda: edwards_shape("EdDSA", "Ed25519"),
    "keys of all kinds": lambda: Shape(
        "https://agile.example.com",
        "https://agile.example.com/jwks",
        [*foreign(), public(elliptic("ec"), "now", key_ops=["verify"]), public(rsa("next"), "old")],
        {},
        {"alg": "ES256", "kid": "now"},
        elliptic("ec"),
        media_type="text/plain",
    ),
    "Portier": lambda: Shape(
        "https://broker.portier.io",
        "https://broker.portier.io/keys.json",
        [
            public(rsa("rsa"), "rsa", use="sig", alg="RS256"),
            public(edwards("ed"), "ed", use="sig", alg="EdDSA"),
        ],
        {"aud": ORIGIN, "sub": EMAIL, "email_original": EMAIL.upper(), **life(600)},
        {"typ": GONE},
        trust={"client_ids": GONE, "profile": "portier"},
    ),
}


def verify(shape: Shape, **changes: Any) -> str:
    """Return the email that a token of that shape proves, with some claims changed."""
    provider = Provider()
    discovery = {
        "issuer": shape.issuer,
        "jwks_uri": shape.jwks_uri,
        "mtls_endpoint_aliases": {},
        "claims_supported": ["email"],
    }
    provider.put(
        shape.issuer.removesuffix("/") + "/.well-known/openid-configuration",
        discovery,
        kind=shape.discovery_type,
    )
    provider.put(shape.jwks_uri, {"keys": shape.keys}, kind=shape.media_type)
    trust = {"issuer": shape.issuer, "client_ids": [CLIENT], "domains": ["mail.test"]} | shape.trust
    trusted = {name: value for name, value in trust.items() if value is not GONE}
    nonces = Nonces(KeyWrapper(Keyring.generate()), 600)
    verifier = OpenIDVerifier(
        OpenIDIssuers.parse([trusted]), ProviderKeys(provider.fetch), nonces, origins=[ORIGIN]
    )
    claims = {"iss": shape.issuer} | shape.claims | changes
    return verifier.verify(token(nonces.issue()[0], key=shape.key, header=shape.header, **claims)).email


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_taken(shape):
    """A real token of a provider signs in."""
    assert verify(shape()) == EMAIL


def entra(**trust: Any) -> Shape:
    """Return the shape of Entra ID with more trust."""
    shape = SHAPES["Microsoft Entra ID, version 1"]()
    return shape._replace(trust={"domains": ["*"], "assume_verified": ["mail.test"]} | trust)


def test_trusted_without_verification():
    """For a named domain the word of a provider counts that never says `email_verified`."""
    assert verify(entra(), email_verified=GONE) == EMAIL
    assert verify(entra(), email_verified=True, email="bob@other.test") == "bob@other.test"
    below = entra(assume_verified=["*.mail.test"])
    assert verify(below, email_verified=GONE, email="bob@a.mail.test") == "bob@a.mail.test"


@pytest.mark.parametrize(
    ("email", "verified"),
    [
        (EMAIL, False),
        (EMAIL, None),
        (EMAIL, "true"),
        ("bob@other.test", GONE),
        ("bob@a.mail.test", GONE),
        ("bob@xmail.test", GONE),
    ],
)
def test_word_that_does_not_count(email, verified):
    """`email_verified` that is not true rejects a token anyway, and so does another domain."""
    with pytest.raises(InvalidProof) as rejection:
        verify(entra(), email=email, email_verified=verified)
    assert rejection.value.code == "email_not_verified"


@pytest.mark.parametrize("verified", [GONE, False, "true"])
def test_addresses_that_nobody_has_verified(verified):
    """A provider that does not say that it has verified an address, as Entra ID, proves none."""
    with pytest.raises(InvalidProof) as rejection:
        verify(SHAPES["Microsoft Entra ID, version 1"](), email_verified=verified)
    assert rejection.value.code == "email_not_verified"
