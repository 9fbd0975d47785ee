"""Proofs of email ownership, and the sessions that they open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProvedEmail:
    """What a proof proves.

    Attributes:
        email: the address in its canonical spelling.
        issuer: the domain that vouches for it.
        proof_id: 32 bytes that are the same whenever the same proof is presented.
        expires_at: seconds since 1970 from which on the proof is refused for its age.
    """

    email: str
    issuer: str
    proof_id: bytes
    expires_at: int


class Authenticator(Protocol):
    """Verifies one kind of proof."""

    def verify(self, proof: str) -> ProvedEmail:
        """Return what the proof proves, without any lasting effect.

        Raises:
            InvalidProof: it does not hold; its code says why.
        """
        ...
