"""Each proof opens one session: the backend remembers its digest until it lapses."""

from __future__ import annotations

from collections.abc import Iterable

from backends import ABSENT, Backend, Conflict, Put
from persona_profile.auth import CountProof, ProvedEmail
from persona_profile.errors import InvalidProof
from persona_profile.partitions import USED_PROOF_ITEM, USED_PROOF_PREFIX


class UsedProofs:
    """The proofs that were accepted, across all processes that share a backend.

    Args:
        backend: where they are remembered.
        count_proof: is told of each that comes again.
    """

    def __init__(self, backend: Backend, count_proof: CountProof) -> None:
        self._backend = backend
        self._count_proof = count_proof

    def use(self, proofs: Iterable[ProvedEmail]) -> None:
        """Accept proofs, each for the first and last time.

        Raises:
            InvalidProof: `proof_replayed`; the proofs before it are used up all the same.
            Unavailable: the storage does not answer.
        """
        for proof in proofs:
            mark = Put(USED_PROOF_ITEM, b"", if_version=ABSENT, expires_at=proof.expires_at)
            try:
                self._backend.apply(USED_PROOF_PREFIX + proof.proof_id, [mark])
            except Conflict:
                self._count_proof(proof.kind, "proof_replayed", proof.algorithm)
                raise InvalidProof("proof_replayed") from None
