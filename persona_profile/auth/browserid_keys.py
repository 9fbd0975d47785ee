"""BrowserID's public keys and their signatures (mozilla/id-specs), on `cryptography`.

Sizes are checked before any arithmetic. A key has exactly one algorithm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from persona_profile.auth.jws import InvalidJws, Jws
from persona_profile.encoding import (
    Json,
    base64url_encode,
    json_encode,
)
from persona_profile.settings import BROWSERID_ALGORITHMS

RS256, DS128, DS256 = BROWSERID_ALGORITHMS

# Two in five of the 2048-bit keys that browserid-crypto makes are a bit short of it.
MIN_RSA_BITS: Final = 2047
MAX_RSA_BITS: Final = 4096

# Each DSA algorithm: bits of p, bits of q, hash.
_DSA_PARAMETERS: Final = {
    DS128: (1024, 160, SHA1()),  # noqa: S303 - what Persona's users had; a setting can exclude it
    DS256: (2048, 256, SHA256()),
}
_MAX_DECIMAL_DIGITS: Final = 1234  # of a number of 4096 bits
_DECIMAL = re.compile(rf"[1-9][0-9]{{0,{_MAX_DECIMAL_DIGITS - 1}}}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,512}")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A valid public key.

    Attributes:
        algorithm: its only algorithm.
        fingerprint: 32 bytes that identify it.
        order: q of a DSA key.
    """

    algorithm: str
    fingerprint: bytes
    key: rsa.RSAPublicKey | dsa.DSAPublicKey
    order: int = 0

    def has_signed(self, jws: Jws) -> bool:
        """Return whether the JWS is signed by this key, with its algorithm."""
        return self.algorithm == jws.algorithm and self.verify(jws.signature, jws.signed)

    def verify(self, signature: bytes, signed: bytes) -> bool:
        """Return whether `signature` is this key's signature of `signed`."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                # JavaScript signers omit leading zeros, which one in 256 signatures has.
                padded = signature.rjust((self.key.key_size + 7) // 8, b"\0")
                self.key.verify(padded, signed, padding.PKCS1v15(), SHA256())
            else:
                digest = _DSA_PARAMETERS[self.algorithm][2]
                self.key.verify(self._der_signature(signature), signed, digest)
        except InvalidSignature:
            return False
        return True

    def _der_signature(self, signature: bytes) -> bytes:
        """Return the DER form of `r || s`, each as long as q."""
        half = _DSA_PARAMETERS[self.algorithm][1] // 8
        r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
        if len(signature) != 2 * half or not (0 < r < self.order and 0 < s < self.order):
            raise InvalidSignature
        return encode_dss_signature(r, s)


def parse_public_key(document: Json) -> PublicKey:
    """Parse a BrowserID key: decimal `n`, `e` (RS) or hexadecimal `p`, `q`, `g`, `y` (DS).

    Raises:
        InvalidJws: `key_not_allowed`: the document is no valid key.
    """
    if not isinstance(document, dict):
        raise InvalidJws("key_not_allowed")
    try:
        match document.get("algorithm"):
            case "RS":
                return _rsa_key(document)
            case "DS":
                return _dsa_key(document)
    except ValueError:
        pass  # one code for all broken rules
    raise InvalidJws("key_not_allowed")


def public_key_document(key: rsa.RSAPublicKey | dsa.DSAPublicKey) -> dict[str, Json]:
    """Return BrowserID's document of a public key."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"algorithm": "RS", "n": str(numbers.n), "e": str(numbers.e)}
    dsa_numbers = key.public_numbers()
    group = dsa_numbers.parameter_numbers
    values = {"p": group.p, "q": group.q, "g": group.g, "y": dsa_numbers.y}
    return {"algorithm": "DS", **{name: format(value, "x") for name, value in values.items()}}


def sign_jws(
    payload: Mapping[str, Any],
    key: rsa.RSAPrivateKey | dsa.DSAPrivateKey,
    header: Mapping[str, Any] | None = None,
) -> str:
    """Return the payload as a compact JWS, signed with the algorithm of the key.

    `header` holds the header members other than `alg`.
    """
    algorithm = parse_public_key(public_key_document(key.public_key())).algorithm
    parts = {"alg": algorithm, **(header or {})}, payload
    segments = (base64url_encode(json_encode(part)) for part in parts)
    signed = ".".join(segments)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed.encode("ascii"), padding.PKCS1v15(), SHA256())
    else:
        _, q_bits, digest = _DSA_PARAMETERS[algorithm]
        r, s = decode_dss_signature(key.sign(signed.encode("ascii"), digest))
        signature = r.to_bytes(q_bits // 8) + s.to_bytes(q_bits // 8)
    return f"{signed}.{base64url_encode(signature)}"


def _rsa_key(document: Mapping[str, Json]) -> PublicKey:
    n, e = (_number(document.get(name), _DECIMAL, 10) for name in ("n", "e"))
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or n % 2 == 0:
        raise ValueError("modulus")
    # FIPS 186-5, A.1.1: an odd exponent above 2**16; a large one only costs the verifier.
    if not 2**16 < e < 2**32 or e % 2 == 0:
        raise ValueError("exponent")
    key = rsa.RSAPublicNumbers(e, n).public_key()
    return PublicKey(RS256, _fingerprint("RS", n, e), key)


def _dsa_key(document: Mapping[str, Json]) -> PublicKey:
    p, q, g, y = (_number(document.get(name), _HEXADECIMAL, 16) for name in ("p", "q", "g", "y"))
    sizes = (p.bit_length(), q.bit_length())
    algorithm = next((a for a, (*bits, _) in _DSA_PARAMETERS.items() if tuple(bits) == sizes), None)
    # FIPS 186-4, 4.1: q divides p - 1; g and y are neither 0, 1 nor -1.
    odd = p % 2 and q % 2
    if algorithm is None or not odd or (p - 1) % q or not (1 < g < p - 1 and 1 < y < p - 1):
        raise ValueError("parameters")
    numbers = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g))
    return PublicKey(algorithm, _fingerprint("DS", p, q, g, y), numbers.public_key(), q)


def _number(text: Json, form: re.Pattern[str], base: int) -> int:
    if not isinstance(text, str) or not form.fullmatch(text):
        raise ValueError("not a number")
    return int(text, base)


def _fingerprint(kind: str, *numbers: int) -> bytes:
    return hashlib.sha256(f"{kind}:{':'.join(map(hex, numbers))}".encode("ascii")).digest()
