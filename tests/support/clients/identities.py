"""Cached keys and bundles for tests: generating keys is slow."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from persona_profile.auth.browserid_discovery import PinnedIssuers
from persona_profile.auth.browserid_keys import public_key_document, sign_jws

AUDIENCE = "http://127.0.0.1:6543"

# FIPS 186-3 test vectors of BrowserID's JavaScript implementations, by bits of p.
_DSA_GROUPS = {
    1024: dsa.DSAParameterNumbers(
        p=int(
            "ff600483db6abfc5b45eab78594b3533d550d9f1bf2a992a7a8daa6dc34f8045ad4e6e0c429d334eeeaaefd7e23d"
            "4810be00e4cc1492cba325ba81ff2d5a5b305a8d17eb3bf4a06a349d392e00d329744a5179380344e82a18c47933"
            "438f891e22aeef812d69c8f75e326cb70ea000c3f776dfdbd604638c2ef717fc26d02e17",
            16,
        ),
        q=int("e21e04f911d1ed7991008ecaab3bf775984309c3", 16),
        g=int(
            "c52a4a0ff3b7e61fdf1867ce84138369a6154f4afa92966e3c827e25cfa6cf508b90e5de419e1337e07a2e9e2a3c"
            "d5dea704d175f8ebf6af397d69e110b96afb17c7a03259329e4829b0d03bbc7896b15b4ade53e130858cc34d9626"
            "9aa89041f409136c7242a38895c9d5bccad4f389af1d7a4bd1398bd072dffa896233397a",
            16,
        ),
    ),
    2048: dsa.DSAParameterNumbers(
        p=int(
            "d6c4e5045697756c7a312d02c2289c25d40f9954261f7b5876214b6df109c738b76226b199bb7e33f8fc7ac1dcc3"
            "16e1e7c78973951bfc6ff2e00cc987cd76fcfb0b8c0096b0b460fffac960ca4136c28f4bfb580de47cf7e7934c39"
            "85e3b3d943b77f06ef2af3ac3494fc3c6fc49810a63853862a02bb1c824a01b7fc688e4028527a58ad58c9d51292"
            "2660db5d505bc263af293bc93bcd6d885a157579d7f52952236dd9d06a4fc3bc2247d21f1a70f5848eb017651353"
            "7c983f5a36737f01f82b44546e8e7f0fabc457e3de1d9c5dba96965b10a2a0580b0ad0f88179e10066107fb74314"
            "a07e6745863bc797b7002ebec0b000a98eb697414709ac17b401",
            16,
        ),
        q=int("b1e370f6472c8754ccd75e99666ec8ef1fd748b748bbbc08503d82ce8055ab3b", 16),
        g=int(
            "9a8269ab2e3b733a5242179d8f8ddb17ff93297d9eab00376db211a22b19c854dfa80166df2132cbc51fb224b090"
            "4abb22da2c7b7850f782124cb575b116f41ea7c4fc75b1d77525204cd7c23a15999004c23cdeb72359ee74e886a1"
            "dde7855ae05fe847447d0a68059002c3819a75dc7dcbb30e39efac36e07e2c404b7ca98b263b25fa314ba93c0625"
            "718bd489cea6d04ba4b0b7f156eeb4c56c44b50e4fb5bce9d7ae0d55b379225feb0214a04bed72f33e0664d290e7"
            "c840df3e2abb5e48189fa4e90646f1867db289c6560476799f7be8420a6dc01d078de437f280fff2d7ddf1248d56"
            "e1a54b933a41629d6c252983c58795105802d30d7bcd819cf6ef",
            16,
        ),
    ),
}


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the RSA key with a name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def dsa_key(name: str, bits: int = 1024) -> dsa.DSAPrivateKey:
    """Return the DSA key with a name, for DS128 (1024 bits) or DS256 (2048)."""
    return _DSA_GROUPS[bits].parameters().generate_private_key()


def support_document(key: Any) -> dict[str, Any]:
    """Return the support document of an issuer by its private key."""
    return {"public-key": public_key_document(key.public_key())}


def pinned(**issuers: Any) -> PinnedIssuers:
    """Return pinned issuers by `example_com=key`."""
    documents = {name.replace("_", "."): support_document(key) for name, key in issuers.items()}
    return PinnedIssuers.parse(documents)


def certificate_claims(email: str, user_key: Any, **changes: Any) -> dict[str, Any]:
    """Return the payload of a certificate; a change of None removes a member."""
    now = int(time.time() * 1000)
    claims = {
        "iss": email.rpartition("@")[2],
        "iat": now,
        "exp": now + 3600_000,
        "public-key": public_key_document(user_key.public_key()),
        "principal": {"email": email},
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def assertion_claims(audience: str = AUDIENCE, **changes: Any) -> dict[str, Any]:
    """Return the payload of an assertion; a change of None removes a member."""
    claims = {"aud": audience, "exp": int(time.time() * 1000) + 120_000} | changes
    return {name: value for name, value in claims.items() if value is not None}


def bundle(
    email: str, audience: str = AUDIENCE, *, issuer_key: Any = None, user_key: Any = None
) -> str:
    """Return a valid bundle; by default of the RSA keys `issuer` and `user`."""
    issuer_key = issuer_key or rsa_key("issuer")
    user_key = user_key or rsa_key("user")
    certificate = sign_jws(certificate_claims(email, user_key), issuer_key)
    # A nonce makes each proof unique, because RSA signatures are deterministic.
    nonce = time.perf_counter_ns()
    return f"{certificate}~{sign_jws(assertion_claims(audience, nonce=nonce), user_key)}"
