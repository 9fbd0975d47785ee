"""The keys that open a protected profile: list, add, remove."""

from __future__ import annotations

from typing import Any

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.bodies import json_body
from persona_profile.api.policy import OWN_EMAIL, email_in_path
from persona_profile.api.profiles import EMAIL_PATH, MAX_PROFILE_KEY_BODY_BYTES
from persona_profile.api.rate_limiting import charge_bytes, charge_write
from persona_profile.api.representations import json_response, precondition
from persona_profile.api.schemas import ADDED_KEY_BODY
from persona_profile.encoding import MalformedText, base64url_decode
from persona_profile.errors import NotFound
from persona_profile.profiles.export import key_json
from persona_profile.profiles.profile_keys import ProfileKey

profile_keys = Service(
    name="profile-keys",
    path=f"{EMAIL_PATH}/profile-keys",
    description="The keys that open a protected profile.",
)
one_profile_key = Service(
    name="one-profile-key",
    path=f"{EMAIL_PATH}/profile-keys/{{id}}",
    description="One of the keys that open a protected profile.",
)


@profile_keys.get(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def list_all(request: Request) -> Response:
    """Return the keys that open the profile, the first added first."""
    services: Services = request.services
    charge_bytes(request, request.identity.emails[0])
    keys = services.profiles.profile_keys(request.identity, email_in_path(request))
    return json_response({"profile_keys": [_document(each) for each in keys]})


@profile_keys.post(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def add(request: Request) -> Response:
    """Let another key open the profile too; 200 if it does already."""
    charge_write(request)
    services: Services = request.services
    key = json_body(request, ADDED_KEY_BODY, MAX_PROFILE_KEY_BODY_BYTES)["profile_key"]
    added, is_new = services.profiles.add_profile_key(
        request.identity, email_in_path(request), key, precondition(request)
    )
    return json_response(_document(added), status=201 if is_new else 200)


@one_profile_key.delete(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def remove(request: Request) -> Response:
    """Remove one of several keys."""
    charge_write(request)
    services: Services = request.services
    try:
        key_id = base64url_decode(request.matchdict["id"])
    except MalformedText:
        raise NotFound from None
    services.profiles.remove_profile_key(
        request.identity, email_in_path(request), key_id, precondition(request)
    )
    return Response(status=204)


def _document(key: ProfileKey) -> dict[str, Any]:
    return key_json(key) | {"current": key.is_current}


def includeme(config: Configurator) -> None:
    """Register the services."""
    for service in (profile_keys, one_profile_key):
        config.add_cornice_service(service)
