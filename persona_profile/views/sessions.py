"""Sessions: proofs in, token and profiles out."""

from __future__ import annotations

from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.auth.policy import SESSION
from persona_profile.errors import FieldError, InvalidProof, ValidationFailed
from persona_profile.images import SIZES
from persona_profile.schemas import session_body
from persona_profile.views import Services
from persona_profile.views.bodies import json_body
from persona_profile.views.representations import json_response, represent, timestamp

MAX_EMAILS: Final = 20
MAX_BODY_BYTES: Final = 512 * 1024

_BODY: Final = session_body(SIZES)
sessions = Service(name="sessions", path="/v1/sessions", description="Prove emails, sign out.")


@sessions.post()  # type: ignore[untyped-decorator]
def create(request: Request) -> Response:
    """Open a session of the emails proved, and of those of the session that the request carries."""
    services: Services = request.services
    body = json_body(request, _BODY, MAX_BODY_BYTES)
    previous = request.identity
    proved = []
    for position, proof in enumerate(body["proofs"]):
        try:
            proved.append(services.authenticator.verify(proof["assertion"]))
        except InvalidProof as error:
            where = FieldError("body", f"proofs.{position}.assertion", error.code)
            raise InvalidProof(error.code, "A proof does not hold.", errors=(where,)) from None
    session, profiles = services.profiles.open_session([each.email for each in proved], previous)
    if len(session.emails) > MAX_EMAILS:
        limit = FieldError("body", "proofs", f"a session has at most {MAX_EMAILS} emails")
        raise ValidationFailed("Too many emails.", errors=(limit,))
    # Last, so that no proof is used up by a request that fails.
    services.used_proofs.use(proved)
    document = {
        "token": services.tokens.seal(session),
        "token_type": "Bearer",
        "expires_at": timestamp(session.expires_at),
        "profiles": represent(request, profiles, body["thumbnails"]),
    }
    return json_response(document, status=201)


@sessions.delete(permission=SESSION)  # type: ignore[untyped-decorator]
def sign_out(request: Request) -> Response:
    """End every session that proved any of this one's emails, wherever it was opened."""
    services: Services = request.services
    services.profiles.sign_out(request.identity)
    return Response(status=204)


def includeme(config: Configurator) -> None:
    """Register the service."""
    config.add_cornice_service(sessions)
