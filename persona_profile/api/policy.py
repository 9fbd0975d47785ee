"""Bearer tokens (RFC 6750) as Pyramid's security policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pyramid.request import Request
from pyramid.security import Allowed

from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.errors import EmailNotProved, InvalidSession, NotFound, Unauthorized
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import Session, SessionTokens
from persona_profile.lifetimes import MAX_SESSION_SECONDS

SESSION: Final = "session"
"""Permission for calls of any session."""

OWN_EMAIL: Final = "own email"
"""Permission to act on the email in the path: the session must have proved it."""


class BearerPolicy:
    """The identity of a request is the `Session` of its bearer token.

    Only the storage knows whether a session was ended early. `ProfileService` reads that together with
    the data, in the same round trip.
    """

    def __init__(self, tokens: SessionTokens, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock

    def authenticated_userid(self, request: Request) -> None:
        """Return None: a session is no account, and no email belongs in a log."""

    def permits(self, request: Request, context: object, permission: str) -> Allowed:
        """Return a result if the session has a permission, or raise an error with the reason."""
        session: Session | None = request.identity
        if session is None:
            raise Unauthorized("session_missing", "Send the token as `Authorization: Bearer`.")
        if permission == OWN_EMAIL and email_in_path(request) not in session.emails:
            raise EmailNotProved("This session has not proved that email.")
        return Allowed("the session permits it")

    def remember(self, request: Request, userid: str, **kw: object) -> list[tuple[str, str]]:
        """Return no headers: the client keeps its token."""
        return []

    def forget(self, request: Request, **kw: object) -> list[tuple[str, str]]:
        """Return no headers: there is no cookie."""
        return []

    def identity(self, request: Request) -> Session | None:
        """Return the session of the request's token, or None without a token."""
        authorization = request.environ.get("HTTP_AUTHORIZATION")
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidSession("session_invalid", "The scheme of Authorization must be Bearer.")
        try:
            session = self._tokens.open(token.strip())
        except Unreadable:
            raise InvalidSession("session_invalid", "This token belongs to no session.") from None
        now = self._clock() * 1000
        # A sign-out mark is kept for the longest lifetime: older tokens could outlive it.
        is_too_old = session.proved_at <= now - 1000 * MAX_SESSION_SECONDS
        if session.expires_at <= now or is_too_old:
            raise InvalidSession("session_expired", "This session has expired; prove the emails again.")
        return session


def email_in_path(request: Request) -> str:
    """Return the canonical email in the path, or raise `NotFound`."""
    try:
        return canonical_email(request.matchdict["email"])
    except InvalidEmail:
        raise NotFound from None
