"""Profiles: read, write, erase, export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.bodies import JSON, MERGE_PATCH, json_body, thumbnail_parameter
from persona_profile.api.policy import OWN_EMAIL, SESSION, email_in_path
from persona_profile.api.rate_limiting import charge_bytes, charge_write
from persona_profile.api.representations import (
    json_response,
    precondition,
    profile_response,
    profiles_response,
    represent,
    session_document,
)
from persona_profile.api.schemas import CLAIMS_BODY, PROFILE_KEY_BODY
from persona_profile.images.formats import THUMBNAIL_SIZES
from persona_profile.profiles.export import export_zip

EMAIL_PATH: Final = "/v1/profiles/{email:[^@]+@[^@/]+}"
MAX_BODY_BYTES: Final = 32 * 1024
"""Twice the longest claims, with every character escaped."""

MAX_PROFILE_KEY_BODY_BYTES: Final = 1024

profiles = Service(name="profiles", path="/v1/profiles", description="All profiles of the session.")
profile = Service(name="profile", path=EMAIL_PATH, description="One profile.")
profile_key = Service(
    name="profile-key",
    path=f"{EMAIL_PATH}/profile-key",
    description="The key that a profile opens with.",
)
export = Service(name="export", path=f"{EMAIL_PATH}/export", description="One profile to export.")


@profiles.get(permission=SESSION)  # type: ignore[untyped-decorator]
def list_all(request: Request) -> Response:
    """Return the profiles of the session's emails, in the order proved."""
    services: Services = request.services
    charge_bytes(request, request.identity.emails[0])
    size = thumbnail_parameter(request, THUMBNAIL_SIZES)
    return profiles_response(request, services.profiles.profiles(request.identity), size)


@profile.get(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def read(request: Request) -> Response:
    """Return one profile."""
    services: Services = request.services
    charge_bytes(request, request.identity.emails[0])
    found = services.profiles.profile(request.identity, email_in_path(request))
    return profile_response(request, found)


@profile.put(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def replace(request: Request) -> Response:
    """Replace all claims."""
    charge_write(request)
    return _write(request, json_body(request, CLAIMS_BODY, MAX_BODY_BYTES), merge=False)


@profile.patch(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def merge(request: Request) -> Response:
    """Change the claims in the body, by the rules of RFC 7396."""
    charge_write(request)
    claims = json_body(request, CLAIMS_BODY, MAX_BODY_BYTES, (MERGE_PATCH, JSON))
    return _write(request, claims, merge=True)


@profile.delete(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def erase(request: Request) -> Response:
    """Remove everything about one email."""
    charge_write(request)
    services: Services = request.services
    services.profiles.erase(request.identity, email_in_path(request), precondition(request))
    return Response(status=204)


@profile_key.put(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def set_profile_key(request: Request) -> Response:
    """Set, change or remove the person's own key, without which the profile does not open."""
    charge_write(request)
    services: Services = request.services
    key = json_body(request, PROFILE_KEY_BODY, MAX_PROFILE_KEY_BODY_BYTES)["profile_key"]
    session, written = services.profiles.set_profile_key(
        request.identity, email_in_path(request), key, precondition(request)
    )
    document = session_document(services.tokens.seal(session), session)
    [document["profile"]] = represent(request, [written], session)
    return json_response(document)


@export.get(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def export_all(request: Request) -> Response:
    """Return a zip of everything that is stored for one email."""
    charge_write(request)  # it costs more than one
    charge_bytes(request, request.identity.emails[0])
    services: Services = request.services
    archive = export_zip(
        services.profiles,
        services.pictures,
        services.acts,
        request.identity,
        email_in_path(request),
    )
    response = Response(archive, content_type="application/zip")
    response.headers["Content-Disposition"] = 'attachment; filename="profile.zip"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _write(request: Request, claims: Mapping[str, str | None], *, merge: bool) -> Response:
    services: Services = request.services
    written = services.profiles.write_claims(
        request.identity, email_in_path(request), claims, precondition(request), merge=merge
    )
    return profile_response(request, written)


def includeme(config: Configurator) -> None:
    """Register the services."""
    for service in (profiles, profile, profile_key, export):
        config.add_cornice_service(service)
