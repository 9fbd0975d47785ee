"""Compact JWS (RFC 7515), parsed but not verified."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from persona_profile.encoding import (
    Json,
    MalformedText,
    base64url_decode,
    json_decode,
)
from persona_profile.settings import BROWSERID_ALGORITHMS

_HEADER_MEMBERS: Final = frozenset({"alg", "typ"})


class InvalidJws(ValueError):
    """A JWS, or a key, that this service does not accept; `code` is the reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed JWS. Several signatures of one statement have the same `signed` bytes."""

    algorithm: str
    header: Mapping[str, Json]
    payload: Mapping[str, Json]
    signed: bytes
    signature: bytes


def parse_jws(
    text: str,
    algorithms: Collection[str] = BROWSERID_ALGORITHMS,
    header_members: Collection[str] = _HEADER_MEMBERS,
) -> Jws:
    """Parse a compact JWS of limited size.

    The header may hold `header_members` alone. A key, a URL or an extension in the header asks for a
    behaviour that this service does not have.

    Raises:
        InvalidJws: `malformed_jws`, `header_not_allowed` or `algorithm_not_allowed`.
    """
    parts = text.split(".")
    if len(parts) != 3:
        raise InvalidJws("malformed_jws")
    try:
        header = json_decode(base64url_decode(parts[0]))
        payload = json_decode(base64url_decode(parts[1]))
        signature = base64url_decode(parts[2])
    except MalformedText:
        raise InvalidJws("malformed_jws") from None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise InvalidJws("malformed_jws")
    if not header.keys() <= set(header_members):
        raise InvalidJws("header_not_allowed")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidJws("algorithm_not_allowed")
    return Jws(algorithm, header, payload, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)
