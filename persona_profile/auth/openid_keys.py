"""JSON Web Key Sets (RFC 7517) of OpenID providers, and the signatures of their tokens, on joserfc."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from persona_profile.auth.jws import Jws
from persona_profile.encoding import (
    Json,
    base64url_decode,
    base64url_encode,
)
from persona_profile.errors import InvalidProof

MAX_KEYS: Final = 64
MAX_KEY_ID_CHARACTERS: Final = 256
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# joserfc deprecates EdDSA: RFC 9864 names algorithms by their curves, and Ed25519 is accepted here.
_JOSE_NAMES: Final = {"RS256": "RS256", "ES256": "ES256", "EdDSA": "Ed25519"}
_REGISTRY: Final = JWSRegistry(algorithms=list(_JOSE_NAMES.values()))


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A valid public key.

    Attributes:
        key_id: the `kid`, if the key has one.
        algorithm: its only algorithm, as tokens name it.
        fingerprint: 32 bytes that identify it.
    """

    key_id: str | None
    algorithm: str
    fingerprint: bytes
    key: Any

    def verify(self, signature: bytes, signed: bytes) -> bool:
        """Return whether `signature` is this key's signature of `signed`."""
        algorithm = _REGISTRY.get_alg(_JOSE_NAMES[self.algorithm])
        try:
            algorithm.check_key(self.key)
            return algorithm.verify(signed, signature, self.key)
        except (JoseError, ValueError):
            return False


def parse_key_set(document: Json) -> tuple[VerificationKey, ...]:
    """Return the keys of a JSON Web Key Set that may sign tokens.

    Invalid keys, and keys of other types and uses, are ignored, as providers publish all sorts of keys
    in one set.

    Raises:
        InvalidProof: `key_set_invalid`: the set is malformed, is too large, or has no usable key.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise InvalidProof("key_set_invalid")
    keys: dict[tuple[str | None, bytes], VerificationKey] = {}
    for entry in entries:
        try:
            key = _parse_key(entry)
        except (JoseError, ValueError):
            continue
        keys[key.key_id, key.fingerprint] = key
    if not keys:
        raise InvalidProof("key_set_invalid")
    return tuple(keys.values())


def _parse_key(entry: Json) -> VerificationKey:
    """Parse a key of a set; raise JoseError or ValueError if it may not sign tokens."""
    if not isinstance(entry, dict) or entry.keys() & _PRIVATE_MEMBERS:
        raise ValueError("not a public key")
    uses = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("for another use")
    key_id = read_key_id(entry)
    key: RSAKey | ECKey | OKPKey
    match entry.get("kty"), entry.get("crv"):
        case "RSA", None:
            algorithm, key = "RS256", _rsa_key(entry)
        case "EC", "P-256":
            numbers = _numbers(entry, "x", "y", size=32)
            algorithm, key = "ES256", ECKey.import_key({"kty": "EC", "crv": "P-256", **numbers})
        case "OKP", "Ed25519":
            numbers = _numbers(entry, "x", size=32)
            algorithm, key = "EdDSA", OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", **numbers})
        case _:
            raise ValueError("kty")
    if entry.get("alg", algorithm) not in (algorithm, _JOSE_NAMES[algorithm]):
        raise ValueError("alg")
    public = key.as_dict(private=False)
    parts = [algorithm, *(str(public[name]) for name in ("n", "e", "x", "y") if name in public)]
    fingerprint = hashlib.sha256(":".join(parts).encode("ascii")).digest()
    return VerificationKey(key_id, algorithm, fingerprint, key)


def read_key_id(members: Mapping[str, Json]) -> str | None:
    """Return the `kid` of a key or of a header, if there is one.

    Raises:
        ValueError: it is no text of 1 to MAX_KEY_ID_CHARACTERS.
    """
    key_id = members.get("kid")
    if key_id is None and "kid" not in members:
        return None
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise ValueError("kid")
    return key_id


def _rsa_key(entry: Mapping[str, Json]) -> RSAKey:
    numbers = _numbers(entry, "n", "e")
    n, e = (int.from_bytes(base64url_decode(numbers[name])) for name in ("n", "e"))
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or n % 2 == 0:
        raise ValueError("modulus")
    if not 2**16 < e < 2**32 or e % 2 == 0:
        raise ValueError("exponent")
    return RSAKey.import_key({"kty": "RSA", **numbers})


def _numbers(entry: Mapping[str, Json], *names: str, size: int | None = None) -> dict[str, str]:
    """Return base64url members; of `size` bytes each, or else without leading zeros."""
    numbers = {}
    for name in names:
        text = entry.get(name)
        data = base64url_decode(text if isinstance(text, str) else "")
        if not 0 < len(data) <= MAX_RSA_BITS // 8 + 1 or size not in (None, len(data)):
            raise ValueError(name)
        numbers[name] = base64url_encode(data if size else data.lstrip(b"\0"))
    return numbers


def check_signature(keys: tuple[VerificationKey, ...], token: Jws, key_id: str | None) -> None:
    """Verify the signature of a token with the only key that its `kid` and algorithm select.

    Raises:
        InvalidProof: no key or several keys are selected, or the signature is invalid.
    """
    named = [key for key in keys if key_id is None or key.key_id == key_id]
    fitting = [key for key in named if key.algorithm == token.algorithm]
    if not fitting and named and key_id is not None:
        raise InvalidProof("algorithm_mismatch")
    if not fitting:
        raise InvalidProof("key_unknown")
    if len(fitting) > 1:
        raise InvalidProof("key_ambiguous")
    if not fitting[0].verify(token.signature, token.signed):
        raise InvalidProof("token_signature_invalid")
