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
"""Formats that every recent browser shows in a data URI, the better compressed first."""

_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def represent(
    request: Request, profiles: Sequence[Profile], thumbnail_size: int | None = None
) -> list[dict[str, Any]]:
    """Return profiles as JSON objects; with a size, thumbnails are data URIs in them."""
    services: Services = request.services
    thumbnails = {}
    if thumbnail_size is not None:
        thumbnails = services.pictures.thumbnails(profiles, thumbnail_size, THUMBNAIL_FORMATS)
    return [_profile(request, each, thumbnails.get(each.email)) for each in profiles]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a JSON answer that no cache keeps."""
    response = Response(json_encode(document), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def session_document(token: str, session: Session) -> dict[str, Any]:
    """Return the token and the expiry of a session as a JSON object."""
    return {"token": token, "token_type": "Bearer", "expires_at": timestamp(session.expires_at)}


def profile_response(request: Request, profile: Profile) -> Response:
    """Return one profile with its entity tag, or 304."""
    [document] = represent(request, [profile])
    return validated(request, json_encode(document), document["etag"])


def profiles_response(
    request: Request, profiles: Sequence[Profile], thumbnail_size: int | None
) -> Response:
    """Return profiles with an entity tag of the whole list, or 304."""
    body = json_encode({"profiles": represent(request, profiles, thumbnail_size)})
    return validated(request, body, digest_tag(body))


def digest_tag(body: bytes) -> str:
    """Return an entity tag of a body's content."""
    return f'"{base64url_encode(sha256(body).digest()[:16])}"'


def validated(
    request: Request,
    body: bytes,
    etag: str,
    cache_control: str = "private, no-cache",
    content_type: str = "application/json",
) -> Response:
    """Return a body with its entity tag; 304 if If-None-Match of a GET or HEAD has the tag."""
    known = _ENTITY_TAG.findall(request.headers.get("If-None-Match", ""))
    if request.method in ("GET", "HEAD") and etag.strip('"') in known:  # weak comparison
        response = Response(status=304)
    else:
        response = Response(body, content_type=content_type)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = cache_control
    return response


def precondition(request: Request) -> Callable[[Profile], None]:
    """Return a check of If-Match and If-None-Match against the profile before a write.

    An entity tag is `"<state>.<urls>"`. The check compares the state, which names the stored
    profile, and ignores the picture's URLs. `*` is any profile that is not blank. Weak tags count:
    proxies that compress make tags weak.
    """
    if_match = request.headers.get("If-Match")
    if_none_match = request.headers.get("If-None-Match")

    def check(profile: Profile) -> None:
        if if_match is not None and not _matches(if_match, profile):
            raise PreconditionFailed("If-Match: the profile has changed.")
        if if_none_match is not None and _matches(if_none_match, profile):
            raise PreconditionFailed("If-None-Match: the profile exists.")

    return check


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
