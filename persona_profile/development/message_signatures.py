"""HTTP message signatures (RFC 9421) whose key is in the request.

Browsers send them to issuers of email verification tokens. This is the profile of that protocol: one
signature, its key in `Signature-Key` by the scheme `hwk`, and the digest of the body in
`Content-Digest` (RFC 9530). Any other form is rejected, so that regular expressions suffice for the
structured fields (RFC 9651).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from persona_profile.encoding import base64url_decode

COMPONENTS: Final = ("@method", "@authority", "@path", "content-digest", "signature-key")
"""The components that a signature must cover."""

MAX_AGE_SECONDS: Final = 300
MAX_FIELD_CHARACTERS: Final = 2048

_LABEL: Final = r"[a-z*][a-z0-9_.*-]*"
_STRING: Final = r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"'
_INPUT: Final = re.compile(
    rf"(?P<label>{_LABEL})=(?P<covered>\((?P<names>{_STRING}(?: {_STRING})*)\)"
    rf"(?P<parameters>(?:;{_LABEL}=(?:[0-9]{{1,15}}|{_STRING}))*))"
)
_SIGNATURE: Final = re.compile(rf"(?P<label>{_LABEL})=:(?P<bytes>[A-Za-z0-9+/]*=*):")
_KEY: Final = re.compile(rf"(?P<label>{_LABEL})=hwk(?P<parameters>(?:;{_LABEL}={_STRING})*)")
_PARAMETER: Final = re.compile(rf';({_LABEL})=(?:([0-9]+)|"([^"]*)")')
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]*=*):")


class BadSignature(Exception):
    """The request is not signed as it must be. The message names the rule, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as its receiver knows it: `authority` and `path` are those of the endpoint itself.

    Attributes:
        fields: the header fields by lower-case name.
    """

    method: str
    authority: str
    path: str
    fields: Mapping[str, str]
    body: bytes


def verify(request: SignedRequest, now: float) -> dict[str, str]:
    """Return the public key (JWK) that has signed a request.

    Raises:
        BadSignature: the request, its digest or its signature is invalid.
    """
    signed = _match(_INPUT, request, "signature-input")
    signature = _match(_SIGNATURE, request, "signature")
    key = _match(_KEY, request, "signature-key")
    digest = _match(_DIGEST, request, "content-digest")
    if not signed["label"] == signature["label"] == key["label"]:
        raise BadSignature("the labels differ")
    names = re.findall(r'"([^"]*)"', signed["names"])
    if sorted(names) != sorted(COMPONENTS):
        raise BadSignature(f"the signature must cover exactly {' '.join(COMPONENTS)}")
    _check_time(_parameters(signed["parameters"]), now)
    values = {"@method": request.method, "@authority": request.authority, "@path": request.path}
    lines = [f'"{name}": {values.get(name) or request.fields[name]}' for name in names]
    lines.append(f'"@signature-params": {signed["covered"]}')
    public = _public_key(_parameters(key["parameters"]))
    if not public.verify(_decoded(signature["bytes"]), "\n".join(lines).encode("ascii")):
        raise BadSignature("the signature does not fit")
    if _decoded(digest[1]) != hashlib.sha256(request.body).digest():
        raise BadSignature("the digest does not fit")
    return public.jwk


@dataclass(frozen=True, slots=True)
class _PublicKey:
    jwk: dict[str, str]
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

    def verify(self, signature: bytes, signed: bytes) -> bool:
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, signed)
                return True
            if len(signature) != 64:
                return False
            halves = (int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
            self.key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def _public_key(parameters: Mapping[str, str]) -> _PublicKey:
    """Return the key of the scheme `hwk`: Ed25519 or P-256."""
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
    try:
        match parameters:
            case {"kty": "OKP", "crv": "Ed25519", "x": x}:
                jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "Ed25519"}
                key = ed25519.Ed25519PublicKey.from_public_bytes(base64url_decode(x))
            case {"kty": "EC", "crv": "P-256", "x": x, "y": y}:
                jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256"}
                point = b"\x04" + base64url_decode(x) + base64url_decode(y)
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            case _:
                raise BadSignature("the key must be of Ed25519 or P-256")
    except ValueError:
        raise BadSignature("the key is malformed") from None
    if parameters.get("alg", jwk["alg"]) != jwk["alg"]:
        raise BadSignature("the algorithm does not fit the key")
    return _PublicKey(jwk, key)


def _check_time(parameters: Mapping[str, str], now: float) -> None:
    created, expires = parameters.get("created", ""), parameters.get("expires")
    if not created.isdecimal() or abs(now - int(created)) > MAX_AGE_SECONDS:
        raise BadSignature("created must be the present time")
    if expires is not None and (not expires.isdecimal() or int(expires) < now):
        raise BadSignature("the signature has expired")


def _match(form: re.Pattern[str], request: SignedRequest, name: str) -> re.Match[str]:
    value = request.fields.get(name, "")
    found = form.fullmatch(value) if len(value) <= MAX_FIELD_CHARACTERS else None
    if found is None:
        raise BadSignature(f"{name} is missing or malformed")
    return found


def _parameters(text: str) -> dict[str, str]:
    found = [(name, number or string) for name, number, string in _PARAMETER.findall(text)]
    if len(dict(found)) != len(found):
        raise BadSignature("a parameter is there twice")
    return dict(found)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadSignature("a byte sequence is malformed") from None
