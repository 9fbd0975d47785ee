"""The states of a profile in which a client permits a write (RFC 9110, section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from persona_profile.errors import PreconditionFailed
from persona_profile.store.profile import BLANK_STATE

ANY_STATE: Final = "*"
"""In a precondition: every state of a profile that is not blank."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """The expected states of a profile; see `StoredProfile.state`.

    Attributes:
        if_match: the states that permit the write; None for all.
        if_none_match: the states that forbid the write.
    """

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] = frozenset()

    def check(self, state: str) -> None:
        """Return if the state of a profile permits the write.

        Raises:
            PreconditionFailed: the state does not.
        """
        names = {state} if state == BLANK_STATE else {state, ANY_STATE}
        if self.if_match is not None and names.isdisjoint(self.if_match):
            raise PreconditionFailed("If-Match: the profile has changed.")
        if not names.isdisjoint(self.if_none_match):
            raise PreconditionFailed("If-None-Match: the profile exists.")


UNCONDITIONAL: Final = Precondition()
