"""The rules by which sessions open, and end before they expire.

A session has a proof for each of its emails. Each proof names the last sign-out of its email, as the
store had it when the proof was presented. A later sign-out of any of its emails ends the session. So
no clock decides the order of proofs and sign-outs, and adding emails keeps the earlier proofs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from persona_profile.encoding import base64url_encode
from persona_profile.errors import FieldError, InvalidProof, InvalidSession
from persona_profile.keys.tokens import EmailProof, Session
from persona_profile.lifetimes import CLOCK_DIFFERENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Vouched:
    """An email that an issuer has just vouched for.

    Attributes:
        email: the canonical address.
        issuer: a domain or a URL.
        revoked_from: milliseconds since 1970; a sign-out of the email at or after this instant revokes
            the proof. None if the time of the proof is unknown.
        member: the member of the request with the proof, for errors.
    """

    email: str
    issuer: str
    revoked_from: int | None = None
    member: str = ""


def emails_of(vouched: Iterable[Vouched], previous: Session | None) -> tuple[str, ...]:
    """Return the emails of a previous session and of new proofs, in the order first proved."""
    older = previous.emails if previous else ()
    return tuple(dict.fromkeys([*older, *(each.email for each in vouched)]))


def new_session(
    vouched: Sequence[Vouched],
    previous: Session | None,
    signed_out_at: Mapping[str, int],
    now: float,
    *,
    lifetime: int,
    profile_key: bytes | None,
    pseudonym: Callable[[str], bytes],
) -> Session:
    """Return a session of newly proved emails and of the emails of a previous session.

    The previous emails keep their proofs. Unless all of them were proved again, the session expires
    with the previous one: a proof prolongs the session of its own email only.

    Args:
        vouched: the newly proved emails; for one email the last proof counts.
        previous: a session that has not expired.
        signed_out_at: the last sign-out of each email (see `emails_of`), read before this call, in
            milliseconds since 1970; 0 for none.
        now: seconds since 1970.
        lifetime: of the session, in seconds.
        profile_key: the person's own key, KEY_BYTES; by default the key in the previous session.
        pseudonym: of an issuer.

    Raises:
        InvalidProof: an email was signed out after its proof was made.
        InvalidSession: the previous session was ended.
    """
    older = {proof.email: proof for proof in previous.proofs} if previous else {}
    if previous is not None:
        check_not_ended(previous, signed_out_at)
        profile_key = profile_key or previous.profile_key
    _check_not_revoked(vouched, signed_out_at, now)
    instant = int(1000 * now)
    newer = {
        each.email: EmailProof(
            each.email,
            base64url_encode(pseudonym(each.issuer)),
            instant,
            signed_out_at[each.email],
        )
        for each in vouched
    }
    keeps_older = previous is not None and not older.keys() <= newer.keys()
    expires_at = previous.expires_at if previous and keeps_older else instant + 1000 * lifetime
    return Session(tuple((older | newer).values()), expires_at, profile_key)


def check_not_ended(session: Session, signed_out_at: Mapping[str, int]) -> None:
    """Return if no email of a session was signed out after its proof.

    Raises:
        InvalidSession: an email was signed out.
    """
    if session.is_ended_by(signed_out_at):
        raise InvalidSession("session_revoked", "This session was signed out.")


def _check_not_revoked(
    vouched: Iterable[Vouched], signed_out_at: Mapping[str, int], now: float
) -> None:
    """Compare each proof with the last sign-out of its email, at `now` in seconds since 1970.

    A mark of the future comes from a wrong clock and is ignored: it must keep nobody out.
    """
    latest = 1000 * (now + CLOCK_DIFFERENCE_SECONDS)
    errors = tuple(
        FieldError("body", each.member, "proof_revoked")
        for each in vouched
        if each.revoked_from is not None and each.revoked_from <= signed_out_at[each.email] <= latest
    )
    if errors:
        raise InvalidProof("proof_revoked", "The email was signed out since.", errors=errors)
