"""Keys and bundles for tests, made once for each run: making keys is slow, using them is not."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from persona_profile.auth.discovery import PinnedIssuers
from persona_profile.auth.jws import public_key_document, sign_jws

AUDIENCE = "http://127.0.0.1:6543"

# FIPS 186-3 test vectors for 1024/160, which the JavaScript implementations of BrowserID use.
_DSA_1024 = dsa.DSAParameterNumbers(
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
)


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the RSA key of that name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def dsa_key(name: str, bits: int = 1024) -> dsa.DSAPrivateKey:
    """Return the DSA key of that name, for DS128 (1024 bits) or DS256 (2048)."""
    if bits == 1024:
        return _DSA_1024.parameters().generate_private_key()
    return _dsa_2048().generate_private_key()


@cache
def _dsa_2048() -> dsa.DSAParameters:
    return dsa.generate_parameters(key_size=2048)


def support_document(key: Any) -> dict[str, Any]:
    """Return the support document of an issuer with that private key."""
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
    """Return a good bundle; by default of the RSA keys `issuer` and `user`."""
    issuer_key = issuer_key or rsa_key("issuer")
    user_key = user_key or rsa_key("user")
    certificate = sign_jws(certificate_claims(email, user_key), issuer_key)
    # Proofs are told apart by their bytes, and RSA signs the same bytes alike.
    nonce = time.perf_counter_ns()
    return f"{certificate}~{sign_jws(assertion_claims(audience, nonce=nonce), user_key)}"
