"""Key pairs and signatures of BrowserID (mozilla/id-specs), by `cryptography` only.

It does not use the server's code, which is tested against this independent implementation.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ALGORITHMS: Final = ("DS128", "RS256")
PrivateKey = rsa.RSAPrivateKey | dsa.DSAPrivateKey

_RSA_BITS: Final = 2048
_DSA_HALF: Final = 20  # bytes of r, and of s


class UserKey:
    """A key pair that signs JWS in compact serialization (RFC 7515)."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.document: Final = json.dumps(public_key_document(key), separators=(",", ":"))
        """The public half as it stands in certificates, JSON."""
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "DS128"
        self._header = encoded(f'{{"alg":"{algorithm}"}}'.encode("ascii"))

    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self._key.sign(data, SHA1()))  # noqa: S303 - DS128 is defined so
        return r.to_bytes(_DSA_HALF) + s.to_bytes(_DSA_HALF)

    def unsigned_jws(self, payload: str) -> str:
        """Return the signing input of a payload in JSON."""
        return f"{self._header}.{encoded(payload.encode('ascii'))}"

    def jws(self, payload: str) -> str:
        """Return a payload in JSON, signed."""
        unsigned = self.unsigned_jws(payload)
        return f"{unsigned}.{encoded(self.sign(unsigned.encode('ascii')))}"


def new_rsa_key() -> rsa.RSAPrivateKey:
    """Return a new key for RS256."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def public_key_document(key: PrivateKey) -> dict[str, str]:
    """Return the public half as BrowserID writes it: decimal for RSA, hexadecimal for DSA."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_numbers()
        return {"algorithm": "RS", "n": str(public.n), "e": str(public.e)}
    numbers = key.public_key().public_numbers()
    group = numbers.parameter_numbers
    values = {"p": group.p, "q": group.q, "g": group.g, "y": numbers.y}
    return {"algorithm": "DS", **{name: format(value, "x") for name, value in values.items()}}


def from_pem(pem: str) -> PrivateKey:
    """Read a private key.

    Raises:
        ValueError: it is none, or of another kind.
    """
    key = load_pem_private_key(pem.encode("ascii"), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | dsa.DSAPrivateKey):
        raise ValueError("neither an RSA nor a DSA key")  # noqa: TRY004 - it is a file's content
    return key


def to_pem(key: PrivateKey) -> str:
    """Write a private key, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def encoded(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
