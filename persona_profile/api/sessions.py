"""Sessions: proofs in, a token and profiles out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.bodies import json_body
from persona_profile.api.policy import SESSION
from persona_profile.api.rate_limiting import charge, client_of, failure_charged
from persona_profile.api.representations import json_response, represent, session_document
from persona_profile.api.schemas import MAX_PROOFS, session_body
from persona_profile.api.suggestions import add_suggestions
from persona_profile.auth import ProvedEmail
from persona_profile.auth.registrable_domains import party_of
from persona_profile.encoding import timestamp
from persona_profile.errors import FieldError, InvalidProof, Overloaded, ValidationFailed
from persona_profile.images.formats import THUMBNAIL_SIZES
from persona_profile.profiles.sessions import Vouched
from persona_profile.rate_limits import Policy

MAX_EMAILS: Final = 20
MAX_BODY_BYTES: Final = (MAX_PROOFS + 1) * 16 * 1024
"""The longest proofs that our authenticators accept, and the length of one more for the rest."""

VERIFICATION_SECONDS: Final = 10
"""The time after which no further proof of a request is verified, as that may take a lookup."""

_BODY: Final = "session_body"
"""The registry's key of the schema of the body, which depends on the configured authenticators."""

nonces = Service(
    name="nonces", path="/v1/nonces", description="Nonces for tokens of identity providers."
)
sessions = Service(name="sessions", path="/v1/sessions", description="Prove emails, sign out.")


@nonces.post()  # type: ignore[untyped-decorator]
def issue(request: Request) -> Response:
    """Return a nonce; an identity provider binds its token to one sign-in by it."""
    services: Services = request.services
    charge(request, Policy.SESSIONS_PER_ADDRESS, {client_of(request): 1})
    nonce, expires_at = services.nonces.issue()
    return json_response({"nonce": nonce, "expires_at": timestamp(1000 * expires_at)}, status=201)


@sessions.post()  # type: ignore[untyped-decorator]
def create(request: Request) -> Response:
    """Open a session of the proved emails and the emails of the request's session."""
    charge(request, Policy.SESSIONS_PER_ADDRESS, {client_of(request): 1})
    with failure_charged(request):
        return _open_session(request)


def _open_session(request: Request) -> Response:
    services: Services = request.services
    body = json_body(request, request.registry[_BODY], MAX_BODY_BYTES)
    previous = request.identity
    proved = _verify(services, body["proofs"], client_of(request))
    services.used_proofs.check(proved)
    # Valid proofs only: otherwise anybody could use up the quota of a domain's people.
    charge(request, Policy.PROOFS_PER_ISSUER, Counter(party_of(each.issuer) for each in proved))
    vouched = [
        Vouched(each.email, party_of(each.issuer), each.revoked_from, f"proofs.{position}.{each.kind}")
        for position, each in enumerate(proved)
    ]
    session, profiles = services.profiles.open_session(vouched, previous, body["profile_key"])
    if len(session.emails) > MAX_EMAILS:
        limit = FieldError("body", "proofs", f"a session has at most {MAX_EMAILS} emails")
        raise ValidationFailed("Too many emails.", errors=(limit,))
    document = session_document(services.tokens.seal(session), session)
    document["profiles"] = represent(request, profiles, session, body["thumbnails"])
    add_suggestions(request, document["profiles"], proved, profiles, session.expires_at)
    response = json_response(document, status=201)
    # Last: a request that fails uses up no proof.
    services.used_proofs.use(proved)
    services.metrics.count_session(len(session.emails))
    return response


@sessions.delete(permission=SESSION)  # type: ignore[untyped-decorator]
def sign_out(request: Request) -> Response:
    """End every session that proved an email of this session, wherever it was opened."""
    services: Services = request.services
    services.profiles.sign_out(request.identity)
    return Response(status=204)


def _verify(services: Services, proofs: Sequence[Mapping[str, str]], client: str) -> list[ProvedEmail]:
    """Return the emails that proofs prove; lookups count for the client."""
    deadline = time.monotonic() + VERIFICATION_SECONDS
    proved = []
    for position, proof in enumerate(proofs):
        if time.monotonic() > deadline:
            raise Overloaded("Identity providers answer too slowly.", retry_after=5)
        (member, text), *companions = proof.items()
        try:
            proved.append(services.authenticators.verify(member, text, client, dict(companions)))
        except InvalidProof as error:
            field = FieldError("body", f"proofs.{position}.{member}", error.code)
            raise InvalidProof(error.code, "A proof is invalid.", errors=(field,)) from None
    return proved


def includeme(config: Configurator) -> None:
    """Register the services."""
    services: Services = config.registry["services"]
    config.registry[_BODY] = session_body(THUMBNAIL_SIZES, services.authenticators.companions)
    config.add_cornice_service(nonces)
    config.add_cornice_service(sessions)
