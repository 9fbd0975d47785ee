"""Whether a body is received at all, decided by the headers of its request.

A large body would otherwise be stored before anybody looks at its token. The token alone is checked:
the storage, which knows whether its session was ended, is asked once the body is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pyramid.config import Configurator
from pyramid.events import ContextFound
from pyramid.exceptions import URLDecodeError
from pyramid.interfaces import IRoutesMapper, ISecurityPolicy
from pyramid.request import Request
from pyramid.router import Router

from persona_profile.api import Services, pictures, profiles, sessions
from persona_profile.api.bodies import FORM_OVERHEAD_BYTES, MULTIPART
from persona_profile.api.policy import OWN_EMAIL
from persona_profile.errors import BodyTooLarge, MalformedRequest, NotFound, ServiceError

REFUSAL: Final = "persona_profile.refusal"
"""The key in a WSGI environment of the error for which the body was not received."""

NO_BODY_BYTES: Final = 4096
"""The limit of calls that need no body."""

_JSON_LIMITS: Final = {
    ("POST", sessions.sessions.name): sessions.MAX_BODY_BYTES,
    ("PUT", profiles.profile.name): profiles.MAX_BODY_BYTES,
    ("PATCH", profiles.profile.name): profiles.MAX_BODY_BYTES,
    ("PUT", profiles.profile_key.name): profiles.MAX_PROFILE_KEY_BODY_BYTES,
}
_UPLOAD: Final = ("PUT", pictures.own_picture.name)
_OF_ONE_EMAIL: Final = {profiles.profile.name, profiles.profile_key.name, pictures.own_picture.name}


class BodyLimit(NamedTuple):
    """How large a body may be, in bytes.

    Attributes:
        received: the whole body.
        reported: the limit that a problem names, of a form that of its picture.
    """

    received: int
    reported: int


class Reception:
    """Decides by the headers of a request how large its body may be.

    Args:
        app: the application that answers the request.
    """

    def __init__(self, app: Router) -> None:
        self._services: Services = app.registry["services"]
        self._routes = app.registry.queryUtility(IRoutesMapper)
        self._policy = app.registry.queryUtility(ISecurityPolicy)

    def body_limit(self, environ: Mapping[str, str]) -> BodyLimit:
        """Return how large the body of a request may be.

        Args:
            environ: method, path and headers, as names of WSGI.

        Raises:
            ServiceError: the body is not wanted, and this is the answer.
        """
        request = Request(dict(environ))
        try:
            found = self._routes(request)
        except URLDecodeError:
            raise MalformedRequest("The path is not UTF-8.") from None
        if found["route"] is None:
            raise NotFound
        request.matchdict = found["match"]
        name = found["route"].name
        if name in _OF_ONE_EMAIL:
            self._policy.permits(request, None, OWN_EMAIL)
        limit = self._limit(request, (request.method, name))
        if (request.content_length or 0) > limit.received:
            raise BodyTooLarge(limit.reported)
        return limit

    def _limit(self, request: Request, call: tuple[str, str]) -> BodyLimit:
        if call == _UPLOAD:
            most = self._services.max_picture_bytes
            is_form = (request.content_type or "").lower() == MULTIPART
            return BodyLimit(most + FORM_OVERHEAD_BYTES if is_form else most, most)
        most = _JSON_LIMITS.get(call, NO_BODY_BYTES)
        return BodyLimit(most, most)


def answer_refused(event: ContextFound) -> None:
    """Go on with a request, unless its body was not received.

    Raises:
        ServiceError: it was not, for this reason.
    """
    refusal: ServiceError | None = event.request.environ.get(REFUSAL)
    if refusal is not None:
        raise refusal


def includeme(config: Configurator) -> None:
    """Look at each request before its view does."""
    config.add_subscriber(answer_refused, ContextFound)
