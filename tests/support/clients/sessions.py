"""Sessions made without a sign-in."""

from __future__ import annotations

from persona_profile.keys.tokens import EmailProof, Session

ISSUER = "I" * 22
LATE = 10**15
"""An instant later than every sign-out mark, in milliseconds since 1970."""
END = 4 * 10**12
"""The default expiry, likewise; picture URLs can't hold instants after 2106."""


def session_of(
    *emails: str,
    signed_out_at: int = LATE,
    proved_at: int = LATE,
    expires_at: int = END,
    profile_key: bytes | None = None,
) -> Session:
    """Return a session with proved emails; by default no sign-out ends it."""
    proofs = tuple(EmailProof(email, ISSUER, proved_at, signed_out_at) for email in emails)
    return Session(proofs, expires_at, profile_key)
