"""Proofs of email ownership, and the sessions that they open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProvedEmail:
    """What a proof proves.

    Attributes:
        email: the address in its canonical spelling.
        issuer: who vouches for it: a domain, or a URL.
        proof_id: 32 bytes that are the same whenever the same proof is presented.
        expires_at: seconds since 1970 from which on the proof is refused for its age, also if settings
            such as a clock skew are raised meanwhile. It is remembered until then.
        revoked_from: a sign-out of the email at or after this instant, in milliseconds since 1970,
            revokes the proof; none if the proof does not say when it was made.
        algorithm: of its signature: a name out of a few, for the figures.
        kind: the member that it came as; `Authenticators` says so.
    """

    email: str
    issuer: str
    proof_id: bytes
    expires_at: int
    revoked_from: int | None = field(default=None, kw_only=True)
    algorithm: str = "unknown"
    kind: str = ""


class Authenticator(Protocol):
    """Verifies one kind of proof.

    Attributes:
        member: what such a proof is called in a request: `{"proofs": [{member: "..."}]}`.
        description: a sentence on what stands there, for the OpenAPI document.
        codes: those of `InvalidProof` that the service does not have itself, with their meaning.
    """

    member: str
    description: str
    codes: Mapping[str, str] = MappingProxyType({})

    def verify(self, proof: str) -> ProvedEmail:
        """Return what the proof proves, without any lasting effect; several threads do so at once.

        Raises:
            InvalidProof: it does not hold; its code says why.
        """
        ...

    def prepare(self) -> None:
        """Begin to look up, beside requests, what the first proofs will need; the server starts."""
        return

    def reload(self) -> None:
        """Reload files of the configuration; what can't be used leaves things as they are."""
        return

    def close(self) -> None:
        """Give back what is held."""
        return
