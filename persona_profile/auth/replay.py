"""Each proof opens one session: the backend remembers its digest until it lapses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backends import ABSENT, Backend, Conflict, Put
from persona_profile.auth import ProvedEmail
from persona_profile.errors import InvalidProof
from persona_profile.partitions import USED_PROOF_ITEM, USED_PROOF_PREFIX


class UsedProofs:
    """The proofs that were accepted, across all processes that share a backend.

    Args:
        backend: where they are remembered.
        observe_replay: is called for each that comes again.
    """

    def __init__(self, backend: Backend, observe_replay: Callable[[], None] = lambda: None) -> None:
        self._backend = backend
        self._observe_replay = observe_replay

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
                self._observe_replay()
                raise InvalidProof("proof_replayed") from None
