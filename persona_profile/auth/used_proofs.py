"""Single use of proofs: the backend stores the id of each used proof until the proof expires."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from backends import ABSENT, Address, Backend, BackendError, Conflict, Delete, Put
from persona_profile.auth import ProvedEmail
from persona_profile.errors import FieldError, InvalidProof
from persona_profile.lifetimes import MARK_MARGIN_SECONDS
from persona_profile.runtime.stats import EventCounter
from persona_profile.store.partitions import USED_PROOF_ITEM, USED_PROOF_PREFIX


class UsedProofs:
    """The used proofs of all processes that share a backend; `outcomes` counts replayed proofs."""

    def __init__(self, backend: Backend, outcomes: EventCounter) -> None:
        self._backend = backend
        self._outcomes = outcomes

    def check(self, proofs: Sequence[ProvedEmail]) -> None:
        """Check that the proofs differ and are unused, without using them.

        Raises:
            InvalidProof: `proof_replayed`; `errors` names each replayed proof.
            Unavailable: the storage does not answer.
        """
        used = {address.partition for address in self._backend.get_many(map(_address, proofs))}
        replayed = []
        for position, proof in enumerate(proofs):
            partition = _address(proof).partition
            if partition in used:
                replayed.append(position)
            used.add(partition)
        self._reject(proofs, replayed)

    def use(self, proofs: Sequence[ProvedEmail]) -> None:
        """Mark all proofs as used, or none of them.

        Raises:
            InvalidProof: `proof_replayed`: another request has used one of the proofs meanwhile.
            Unavailable: the storage does not answer; some proofs may be marked.
        """
        marked: dict[bytes, int] = {}
        # All requests mark in the same order: of requests with equal proofs, one marks them all.
        for position, proof in sorted(enumerate(proofs), key=lambda each: each[1].proof_id):
            partition = _address(proof).partition
            expires_at = proof.expires_at + MARK_MARGIN_SECONDS
            mark = Put(USED_PROOF_ITEM, b"", if_version=ABSENT, expires_at=expires_at)
            try:
                marked[partition] = self._backend.apply(partition, [mark])[USED_PROOF_ITEM]
            except Conflict:
                self._release(marked)
                self._reject(proofs, [position])

    def _release(self, marked: dict[bytes, int]) -> None:
        """Remove the marks of a request without a session, as far as the storage answers."""
        for partition, version in marked.items():
            with contextlib.suppress(BackendError):
                self._backend.apply(partition, [Delete(USED_PROOF_ITEM, version)])

    def _reject(self, proofs: Sequence[ProvedEmail], replayed: Sequence[int]) -> None:
        """Raise InvalidProof if there are positions of replayed proofs."""
        for position in replayed:
            proof = proofs[position]
            self._outcomes.count(proof.kind, "proof_replayed", proof.algorithm)
        errors = tuple(
            FieldError("body", f"proofs.{position}.{proofs[position].kind}", "proof_replayed")
            for position in replayed
        )
        if errors:
            raise InvalidProof("proof_replayed", "A proof has opened a session before.", errors=errors)


def _address(proof: ProvedEmail) -> Address:
    return Address(USED_PROOF_PREFIX + proof.proof_id, USED_PROOF_ITEM)
