"""The limit of a request's body, decided by the headers.

Large bodies of invalid sessions are rejected before they are stored. This checks the token alone;
the storage, which knows whether the session has ended, is read once the body is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.interfaces import IRoutesMapper, ISecurityPolicy
from pyramid.registry import Registry
from pyramid.request import Request

from persona_profile.api import Services, pictures, profile_keys, profiles, sessions
from persona_profile.api.bodies import FORM_OVERHEAD_BYTES, MULTIPART
from persona_profile.api.policy import OWN_EMAIL
from persona_profile.api.requests import ServiceRequest
from persona_profile.errors import BodyTooLarge, MalformedRequest, NotFound, ServiceError

REJECTION: Final = "persona_profile.rejection"
"""The key of the error in the WSGI environment of a request whose body was rejected."""

QUEUED_SECONDS: Final = "persona_profile.queued_seconds"
"""The key, in the WSGI environment, of the time that a request has waited for a thread."""

NO_BODY_BYTES: Final = 4096
"""The limit of calls that need no body."""

_JSON_LIMITS: Final = {
    ("POST", sessions.sessions.name): sessions.MAX_BODY_BYTES,
    ("PUT", profiles.profile.name): profiles.MAX_BODY_BYTES,
    ("PATCH", profiles.profile.name): profiles.MAX_BODY_BYTES,
    ("PUT", profiles.profile_key.name): profiles.MAX_PROFILE_KEY_BODY_BYTES,
    ("POST", profile_keys.profile_keys.name): profiles.MAX_PROFILE_KEY_BODY_BYTES,
}
_UPLOADS: Final = {("PUT", pictures.own_picture.name), ("POST", pictures.own_preview.name)}
_OF_ONE_EMAIL: Final = {
    profiles.profile.name,
    profiles.profile_key.name,
    profile_keys.profile_keys.name,
    profile_keys.one_profile_key.name,
    pictures.own_picture.name,
    pictures.own_preview.name,
}


class BodyLimit(NamedTuple):
    """The largest accepted body in bytes; for a form, problems report the limit of its picture."""

    received: int
    reported: int


class Reception:
    """The limits of bodies by the headers of their requests, in the application of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._services: Services = registry["services"]
        self._routes = registry.queryUtility(IRoutesMapper)
        self._policy = registry.queryUtility(ISecurityPolicy)

    def body_limit(self, environ: Mapping[str, str]) -> BodyLimit:
        """Return the largest accepted body of a request by its environment, without the body.

        Raises:
            ServiceError: the answer to a rejected body.
        """
        request = ServiceRequest(dict(environ))
        request.registry = self._registry
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
        if call in _UPLOADS:
            limit = self._services.max_picture_bytes
            is_form = (request.content_type or "").lower() == MULTIPART
            return BodyLimit(limit + FORM_OVERHEAD_BYTES if is_form else limit, limit)
        limit = _JSON_LIMITS.get(call, NO_BODY_BYTES)
        return BodyLimit(limit, limit)


class Root:
    """The root of resources, of which there are none. Pyramid makes it before each view."""

    def __init__(self, request: Request) -> None:
        """Raise the error of a request whose body was rejected."""
        rejection: ServiceError | None = request.environ.get(REJECTION)
        if rejection is not None:
            raise rejection


def includeme(config: Configurator) -> None:
    """Check each request before its view runs."""
    config.set_root_factory(Root)
