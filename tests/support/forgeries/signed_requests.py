"""Requests for email verification tokens, signed as browsers do (RFC 9421)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from persona_profile.development.message_signatures import COMPONENTS, SignedRequest
from persona_profile.encoding import base64url_encode

NOW = 1_795_981_057
BODY = b'{"email":"alice@example.com"}'

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def byte_sequence(data: bytes) -> str:
    """Return bytes as a structured field."""
    return f":{base64.b64encode(data).decode()}:"


def key_field(key: Key, **changes: Any) -> str:
    """Return the `Signature-Key` of a private key; None removes a parameter."""
    public = key.public_key()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "x": public.public_bytes_raw()}
    else:
        numbers = public.public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256"}
        jwk |= {"x": numbers.x.to_bytes(32), "y": numbers.y.to_bytes(32)}
    texts = {
        name: base64url_encode(value) if isinstance(value, bytes) else value
        for name, value in (jwk | changes).items()
        if value is not None
    }
    return "sig=hwk" + "".join(f';{name}="{value}"' for name, value in texts.items())


def sign(key: Key, signed: bytes) -> bytes:
    """Return a signature as RFC 9421 encodes it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    return b"".join(
        half.to_bytes(32) for half in decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
    )


def signed_request(
    key: Key,
    *,
    path: str = "/issue",
    names: Sequence[str] = COMPONENTS,
    parameters: str = f";created={NOW}",
    body: bytes = BODY,
    **key_changes: Any,
) -> SignedRequest:
    """Return a request that is signed in truth, with changes before it is signed."""
    fields = {
        "content-digest": f"sha-256={byte_sequence(hashlib.sha256(body).digest())}",
        "signature-key": key_field(key, **key_changes),
    }
    values = {"@method": "POST", "@authority": "accounts.example", "@path": path, **fields}
    quoted = " ".join(f'"{name}"' for name in names)
    covered = f"({quoted}){parameters}"
    lines = [f'"{name}": {values.get(name, "")}' for name in names]
    base = "\n".join([*lines, f'"@signature-params": {covered}'])
    fields |= {
        "signature-input": f"sig={covered}",
        "signature": f"sig={byte_sequence(sign(key, base.encode()))}",
    }
    return SignedRequest("POST", "accounts.example", path, fields, body)
