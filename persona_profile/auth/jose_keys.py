"""JSON Web Keys and their sets (RFC 7517), and the signatures of tokens, on joserfc."""

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
MAX_TRIED_KEYS: Final = 10
"""The keys that a token without `kid` is tried with, if several may fit."""

MAX_KEY_ID_CHARACTERS: Final = 256
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_OF_RSA: Final = ("RS256", "PS256")
# Two names of one algorithm: RFC 9864 deprecates EdDSA, and names algorithms by their curves.
_OF_ED25519: Final = ("EdDSA", "Ed25519")
_REGISTRY: Final = JWSRegistry(algorithms=[*_OF_RSA, "ES256", "ES384", "Ed25519"])


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A valid public key.

    Attributes:
        key_id: the `kid`, if the key has one.
        algorithms: the algorithms that its type, its curve and its `alg` allow, as tokens name them.
        fingerprint: 32 bytes that identify the key with its algorithms.
    """

    key_id: str | None
    algorithms: tuple[str, ...]
    fingerprint: bytes
    key: Any

    def has_signed(self, token: Jws) -> bool:
        """Return whether the token is signed by this key, with one of its algorithms."""
        if token.algorithm not in self.algorithms:
            return False
        algorithm = _REGISTRY.get_alg("Ed25519" if token.algorithm == "EdDSA" else token.algorithm)
        try:
            algorithm.check_key(self.key)
            return algorithm.verify(token.signed, token.signature, self.key)
        except (JoseError, ValueError):
            return False


def parse_key_set(document: Json, max_keys: int = MAX_KEYS) -> tuple[VerificationKey, ...]:
    """Return the keys of a JSON Web Key Set that may sign tokens.

    Invalid keys, and keys of other types and uses, are ignored, as providers publish all sorts of keys
    in one set.

    Raises:
        InvalidProof: `key_set_invalid`: the set is malformed, is too large, or has no usable key.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > max_keys:
        raise InvalidProof("key_set_invalid")
    keys: dict[tuple[str | None, bytes], VerificationKey] = {}
    for entry in entries:
        try:
            key = parse_key(entry)
        except ValueError:
            continue
        keys[key.key_id, key.fingerprint] = key
    if not keys:
        raise InvalidProof("key_set_invalid")
    return tuple(keys.values())


def parse_key(entry: Json) -> VerificationKey:
    """Parse a public key that may sign tokens.

    Raises:
        ValueError: it is invalid, private, or of another type or use.
    """
    if not isinstance(entry, dict) or entry.keys() & _PRIVATE_MEMBERS:
        raise ValueError("not a public key")
    uses = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("for another use")
    key_id = read_key_id(entry)
    try:
        algorithms, key = _import(entry)
    except JoseError:
        raise ValueError("not a sound key") from None
    if "alg" in entry and entry["alg"] not in algorithms:
        raise ValueError("alg")
    if "alg" in entry and algorithms is not _OF_ED25519:
        algorithms = (str(entry["alg"]),)
    public = key.as_dict(private=False)
    parts = [*algorithms, *(str(public[name]) for name in ("n", "e", "x", "y") if name in public)]
    fingerprint = hashlib.sha256(":".join(parts).encode("ascii")).digest()
    return VerificationKey(key_id, algorithms, fingerprint, key)


def _import(entry: Mapping[str, Json]) -> tuple[tuple[str, ...], RSAKey | ECKey | OKPKey]:
    """Return the algorithms of a key's type and curve, and the key; raise JoseError or ValueError."""
    match entry.get("kty"), entry.get("crv"):
        case "RSA", None:
            return _OF_RSA, _rsa_key(entry)
        case "EC", "P-256":
            return ("ES256",), _elliptic_key(entry, "P-256", 32)
        case "EC", "P-384":
            return ("ES384",), _elliptic_key(entry, "P-384", 48)
        case "OKP", "Ed25519":
            numbers = _numbers(entry, "x", size=32)
            return _OF_ED25519, OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", **numbers})
    raise ValueError("kty")


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


def _elliptic_key(entry: Mapping[str, Json], curve: str, size: int) -> ECKey:
    return ECKey.import_key({"kty": "EC", "crv": curve, **_numbers(entry, "x", "y", size=size)})


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


def check_signature(
    keys: tuple[VerificationKey, ...], token: Jws, key_id: str | None, *, tries_several: bool = False
) -> None:
    """Verify the signature of a token with the only key that its `kid` and algorithm select.

    Args:
        keys: the keys of its issuer.
        token: the parsed token.
        key_id: its `kid`; None if it has none.
        tries_several: whether a token without `kid` is tried with up to MAX_TRIED_KEYS.

    Raises:
        InvalidProof: no key or several keys are selected, or the signature is invalid.
    """
    named = [key for key in keys if key_id is None or key.key_id == key_id]
    fitting = [key for key in named if token.algorithm in key.algorithms]
    if not fitting and named and key_id is not None:
        raise InvalidProof("algorithm_mismatch")
    if not fitting:
        raise InvalidProof("key_unknown")
    if len(fitting) > 1 and (key_id is not None or not tries_several):
        raise InvalidProof("key_ambiguous")
    if not any(key.has_signed(token) for key in fitting[:MAX_TRIED_KEYS]):
        raise InvalidProof("token_signature_invalid")
