"""Profiles as clients see them: JSON, entity tags, conditional requests (RFC 9110, section 13)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services, origin_of
from persona_profile.encoding import base64url_encode, json_encode
from persona_profile.errors import PreconditionFailed
from persona_profile.images import MEDIA_TYPES
from persona_profile.keys.tokens import Session
from persona_profile.profiles.export import profile_document, timestamp
from persona_profile.store.profile import Profile

THUMBNAIL_FORMATS: Final = ("webp", "jpeg")
"""What every browser of the last years shows in a data URI, the better compressed first."""

_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def represent(
    request: Request, profiles: Sequence[Profile], thumbnail_size: int | None = None
) -> list[dict[str, Any]]:
    """Return profiles as JSON objects, with thumbnails as data URIs if a size is given."""
    services: Services = request.services
    thumbnails = {}
    if thumbnail_size is not None:
        thumbnails = services.pictures.thumbnails(profiles, thumbnail_size, THUMBNAIL_FORMATS)
    return [_profile(request, each, thumbnails.get(each.email)) for each in profiles]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a JSON answer that nobody but the client keeps."""
    response = Response(json_encode(document), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def session_document(token: str, session: Session) -> dict[str, Any]:
    """Return what a client is told of its session."""
    return {"token": token, "token_type": "Bearer", "expires_at": timestamp(session.expires_at)}


def profile_response(request: Request, profile: Profile) -> Response:
    """Return one profile with its entity tag; 304 if a GET says that the client has it."""
    [document] = represent(request, [profile])
    return validated(request, json_encode(document), document["etag"])


def profiles_response(
    request: Request, profiles: Sequence[Profile], thumbnail_size: int | None
) -> Response:
    """Return profiles with an entity tag over all of them; 304 if the client has them."""
    body = json_encode({"profiles": represent(request, profiles, thumbnail_size)})
    return validated(request, body, digest_tag(body))


def digest_tag(body: bytes) -> str:
    """Return an entity tag that names what a body says."""
    return f'"{base64url_encode(sha256(body).digest()[:16])}"'


def validated(request: Request, body: bytes, etag: str) -> Response:
    """Return JSON with an entity tag; 304 if a GET says that the client has it."""
    if is_known(request, etag):
        response = Response(status=304)
    else:
        response = Response(body, content_type="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def precondition(request: Request) -> Callable[[Profile], None]:
    """Return a check of If-Match and If-None-Match against a profile that is to be written.

    An entity tag is `"<state>.<urls>"`: the state names what is stored; the rest tells
    representations apart whose picture URLs differ, which makes no difference to a write. `*` stands
    for any profile that is not blank. Weak tags count, as proxies that compress make tags weak.
    """
    if_match = request.headers.get("If-Match")
    if_none_match = request.headers.get("If-None-Match")

    def check(profile: Profile) -> None:
        if if_match is not None and not _matches(if_match, profile):
            raise PreconditionFailed("If-Match: the profile has changed.")
        if if_none_match is not None and _matches(if_none_match, profile):
            raise PreconditionFailed("If-None-Match: the profile is there.")

    return check


def is_known(request: Request, etag: str) -> bool:
    """Tell whether If-None-Match of a GET or HEAD names an entity tag (weak comparison)."""
    header = request.headers.get("If-None-Match", "")
    return request.method in ("GET", "HEAD") and etag.strip('"') in _ENTITY_TAG.findall(header)


def _profile(request: Request, profile: Profile, thumbnail: tuple[str, bytes] | None) -> dict[str, Any]:
    document = profile_document(profile)
    if profile.picture is not None:
        document["picture"] |= _picture(request, profile, thumbnail)
    document["etag"] = _etag(request, profile)
    if profile.problem is not None:
        document["error"] = profile.problem
    return document


def _picture(request: Request, profile: Profile, thumbnail: tuple[str, bytes] | None) -> dict[str, Any]:
    services: Services = request.services
    prefix = f"{origin_of(request)}/v1/pictures/"
    urls = services.pictures.capabilities(profile).items()
    picture: dict[str, Any] = {"urls": {str(size): prefix + capability for size, capability in urls}}
    if thumbnail is not None:
        name, data = thumbnail
        encoded = base64.b64encode(data).decode("ascii")
        picture["thumbnail"] = f"data:{MEDIA_TYPES[name]};base64,{encoded}"
    return picture


def _state(profile: Profile) -> str:
    return profile.state or "0"


def _etag(request: Request, profile: Profile) -> str:
    services: Services = request.services
    urls = services.pictures.capabilities_tag(profile) if profile.picture else "0"
    return f'"{_state(profile)}.{urls}"'


def _matches(header: str, profile: Profile) -> bool:
    if header.strip() == "*":
        return profile.stored_version is not None
    return _state(profile) in {tag.partition(".")[0] for tag in _ENTITY_TAG.findall(header)}
