"""The nonce of this service in a token of an identity provider."""

from __future__ import annotations

from collections.abc import Mapping

from persona_profile.encoding import Json
from persona_profile.errors import InvalidProof
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import Nonce, Nonces


def read_nonce(nonces: Nonces, claims: Mapping[str, Json], now: int) -> Nonce:
    """Return the nonce of a token's claims. `UsedProofs` ensures its single use.

    Raises:
        InvalidProof: it is missing, is not of this service, or has expired.
    """
    text = claims.get("nonce")
    try:
        nonce = nonces.open(text if isinstance(text, str) else "")
    except Unreadable:
        raise InvalidProof("nonce_invalid") from None
    if nonce.expires_at <= now:
        raise InvalidProof("nonce_expired")
    return nonce
