"""Proofs of email ownership, and the sessions that they open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from persona_profile.auth.access import Route


@dataclass(frozen=True, slots=True)
class ProvedEmail:
    """The result of a verified proof.

    Attributes:
        email: the canonical address.
        issuer: the domain or URL that vouches for the email.
        proof_id: 32 bytes that identify the proof.
        expires_at: seconds since 1970 from which on the proof is rejected as too old, by any setting of
            the clock skew. The used proof is stored until then.
        revoked_from: a sign-out of the email at or after this instant, in milliseconds since 1970,
            revokes the proof; None if the time of the proof is unknown.
        algorithm: the algorithm of its signature, one of a few, for metrics.
        kind: the member of the request; set by `Authenticators`.
        suggestions: texts of the issuer for a new profile, unchecked; see `suggestions`.
    """

    email: str
    issuer: str
    proof_id: bytes
    expires_at: int
    revoked_from: int | None = field(default=None, kw_only=True)
    algorithm: str = "unknown"
    kind: str = ""
    suggestions: Mapping[str, str] = field(
        default_factory=dict, kw_only=True, repr=False, compare=False
    )


class Authenticator(Protocol):
    """Verifies one kind of proof.

    Attributes:
        member: the name of the proof in requests: `{"proofs": [{member: "..."}]}`.
        description: a sentence about the member, for the OpenAPI document.
        codes: its own codes of `InvalidProof` with their meanings.
        companions: optional members beside the proof, with descriptions. `verify` has a keyword
            argument of each, for a member that is given.
    """

    member: str
    description: str
    codes: Mapping[str, str] = MappingProxyType({})
    companions: Mapping[str, str] = MappingProxyType({})

    def verify(self, proof: str) -> ProvedEmail:
        """Verify a proof, without lasting effects; thread-safe.

        Raises:
            InvalidProof: the proof is invalid; the code is the reason.
        """

    def route(self, issuer: str) -> Route | None:  # noqa: ARG002 - for authenticators that use it
        """Return the way to the pictures that an issuer suggests; None for no such pictures."""
        return None

    def prepare(self) -> None:
        """Begin the lookups for the first proofs, beside requests, when the server starts."""
        return

    def reload(self) -> None:
        """Reload files of the configuration; an invalid file changes nothing."""
        return

    def close(self) -> None:
        """Release resources."""
        return
