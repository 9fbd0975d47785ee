"""The suggestions of an issuer for a blank profile; nothing is stored before a person takes them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, cast

from pyramid.request import Request

from persona_profile.api import Services
from persona_profile.api.bodies import close_with, json_body
from persona_profile.api.rate_limiting import client_of
from persona_profile.api.schemas import SUGGESTION_BODY
from persona_profile.auth import ProvedEmail
from persona_profile.auth.suggestions import PICTURE
from persona_profile.errors import SuggestionRejected
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import SuggestedPicture
from persona_profile.profiles.suggestions import acceptable_claims
from persona_profile.store.profile import StoredProfile

MAX_BODY_BYTES: Final = 16 * 1024
"""More than the longest reference."""


def add_suggestions(
    request: Request,
    documents: Sequence[dict[str, Any]],
    proved: Sequence[ProvedEmail],
    profiles: Sequence[StoredProfile],
    expires_at: int,
) -> None:
    """Add the suggestions of new proofs to the documents of blank profiles.

    A reference to a picture works until `expires_at`, in milliseconds since 1970.
    """
    newest = {each.email: each for each in proved}
    for document, profile in zip(documents, profiles, strict=True):
        proof = newest.get(profile.email)
        if proof is None or not profile.is_blank:
            continue
        suggestions: dict[str, Any] = {}
        if claims := acceptable_claims(proof.suggestions):
            suggestions["claims"] = claims
        if not profile.is_locked and (picture := _reference(request, proof, expires_at)):
            suggestions["picture"] = picture
        if suggestions:
            document["suggestions"] = suggestions


def read_suggestion(request: Request, email: str) -> SuggestedPicture:
    """Return the suggested picture that a body names for an email.

    Raises:
        SuggestionRejected: the reference is altered or for another email, or has expired.
    """
    services: Services = request.services
    text = json_body(request, SUGGESTION_BODY, MAX_BODY_BYTES)["suggestion"]
    with contextlib.suppress(Unreadable):
        picture = services.suggested_picture_tokens.open(text)
        if picture.email == email:
            return picture
    detail = "The reference has expired, is altered, or belongs to another email."
    raise SuggestionRejected("suggestion_invalid", detail)


def fetch_suggestion(request: Request, picture: SuggestedPicture) -> BinaryIO:
    """Return a suggested picture as a file that is closed with the request.

    Raises:
        SuggestionRejected, UnsupportedMediaType, Overloaded: see `SuggestedPictures.fetch`.
    """
    services: Services = request.services
    data = services.suggested_pictures.fetch(
        picture.member, picture.issuer, picture.url, client_of(request)
    )
    # On the disk, as uploads, while it waits for a worker.
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the request
    close_with(request, cast(BinaryIO, file))
    file.write(data)
    file.seek(0)
    return cast(BinaryIO, file)


def _reference(request: Request, proof: ProvedEmail, expires_at: int) -> str | None:
    services: Services = request.services
    url = proof.suggestions.get(PICTURE, "")
    if not services.suggested_pictures.may_fetch(proof.kind, proof.issuer, url):
        return None
    picture = SuggestedPicture(proof.email, proof.kind, proof.issuer, url, expires_at)
    return services.suggested_picture_tokens.seal(picture)
