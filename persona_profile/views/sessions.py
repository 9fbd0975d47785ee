"""Sessions: proofs in, token and profiles out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.auth import ProvedEmail
from persona_profile.auth.policy import SESSION
from persona_profile.errors import FieldError, InvalidProof, Overloaded, ValidationFailed
from persona_profile.images import SIZES
from persona_profile.rate_limits import Policy
from persona_profile.schemas import session_body
from persona_profile.views import Services
from persona_profile.views.bodies import json_body
from persona_profile.views.rate_limiting import charge, client_of
from persona_profile.views.representations import json_response, represent, session_document

MAX_EMAILS: Final = 20
MAX_BODY_BYTES: Final = 512 * 1024
VERIFICATION_SECONDS: Final = 10
"""After that long no further proof of a request is looked at, whose issuer may have to be looked up."""

_BODY: Final = session_body(SIZES)
sessions = Service(name="sessions", path="/v1/sessions", description="Prove emails, sign out.")


@sessions.post()  # type: ignore[untyped-decorator]
def create(request: Request) -> Response:
    """Open a session of the emails proved, and of those of the session that the request carries."""
    services: Services = request.services
    charge(request, Policy.SESSIONS_PER_ADDRESS, {client_of(request): 1})
    body = json_body(request, _BODY, MAX_BODY_BYTES)
    previous = request.identity
    proved = _verify(services, [proof["assertion"] for proof in body["proofs"]])
    # Of proofs that hold: else anybody could use up what a domain's people need.
    charge(request, Policy.PROOFS_PER_ISSUER, Counter(each.issuer for each in proved))
    emails = [each.email for each in proved]
    session, profiles = services.profiles.open_session(emails, previous, body["profile_key"])
    if len(session.emails) > MAX_EMAILS:
        limit = FieldError("body", "proofs", f"a session has at most {MAX_EMAILS} emails")
        raise ValidationFailed("Too many emails.", errors=(limit,))
    # Last, so that no proof is used up by a request that fails.
    services.used_proofs.use(proved)
    services.metrics.count_session(len(session.emails))
    document = session_document(services.tokens.seal(session), session)
    document["profiles"] = represent(request, profiles, body["thumbnails"])
    return json_response(document, status=201)


@sessions.delete(permission=SESSION)  # type: ignore[untyped-decorator]
def sign_out(request: Request) -> Response:
    """End every session that proved any of this one's emails, wherever it was opened."""
    services: Services = request.services
    services.profiles.sign_out(request.identity)
    return Response(status=204)


def _verify(services: Services, proofs: Sequence[str]) -> list[ProvedEmail]:
    """Return what all proofs prove.

    Raises:
        InvalidProof: one does not hold; `errors` tells which.
        Overloaded: identity providers are too slow for that many proofs in one request.
    """
    deadline = time.monotonic() + VERIFICATION_SECONDS
    proved = []
    for position, proof in enumerate(proofs):
        if time.monotonic() > deadline:
            raise Overloaded("Identity providers answer too slowly.", retry_after=5)
        try:
            proved.append(services.authenticator.verify(proof))
        except InvalidProof as error:
            where = FieldError("body", f"proofs.{position}.assertion", error.code)
            raise InvalidProof(error.code, "A proof does not hold.", errors=(where,)) from None
    return proved


def includeme(config: Configurator) -> None:
    """Register the service."""
    config.add_cornice_service(sessions)
