"""Profiles as clients see them: JSON, entity tags, conditional requests (RFC 9110, section 13)."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services, origin_of
from persona_profile.encoding import base64url_encode, json_encode, timestamp
from persona_profile.images.formats import MEDIA_TYPES
from persona_profile.keys.tokens import Session
from persona_profile.profiles.export import profile_json
from persona_profile.profiles.preconditions import ANY_STATE, Precondition
from persona_profile.store.profile import StoredProfile

THUMBNAIL_FORMATS: Final = ("webp", "jpeg")
"""Formats that every recent browser shows in a data URI, the better compressed first."""

_ENTITY_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def represent(
    request: Request,
    profiles: Sequence[StoredProfile],
    session: Session,
    thumbnail_size: int | None = None,
) -> list[dict[str, Any]]:
    """Return profiles as JSON objects; with a size, thumbnails are data URIs in them."""
    services: Services = request.services
    thumbnails = {}
    if thumbnail_size is not None:
        thumbnails = services.pictures.thumbnails(profiles, thumbnail_size, THUMBNAIL_FORMATS)
    return [_profile(request, each, session, thumbnails.get(each.email)) for each in profiles]


def json_response(document: Any, status: int = 200) -> Response:
    """Return a JSON answer that no cache keeps."""
    response = Response(json_encode(document), status=status, content_type="application/json")
    response.headerlist.append(("Cache-Control", "no-store"))
    return response


def session_document(token: str, session: Session) -> dict[str, Any]:
    """Return the token and the expiry of a session as a JSON object."""
    return {"token": token, "token_type": "Bearer", "expires_at": timestamp(session.expires_at)}


def profile_response(request: Request, profile: StoredProfile) -> Response:
    """Return one profile with its entity tag, or 304."""
    [document] = represent(request, [profile], request.identity)
    return validated(request, json_encode(document), document["etag"])


def profiles_response(
    request: Request, profiles: Sequence[StoredProfile], thumbnail_size: int | None
) -> Response:
    """Return profiles with an entity tag of the whole list, or 304."""
    documents = represent(request, profiles, request.identity, thumbnail_size)
    body = json_encode({"profiles": documents})
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
    known = _ENTITY_TAG.findall(request.environ.get("HTTP_IF_NONE_MATCH", ""))
    if request.method in ("GET", "HEAD") and etag.strip('"') in known:  # weak comparison
        response = Response(status=304)
    else:
        response = Response(body, content_type=content_type)
    response.headerlist += [("ETag", etag), ("Cache-Control", cache_control)]
    return response


def precondition(request: Request) -> Precondition:
    """Return the states in If-Match and If-None-Match, for the profile before a write.

    An entity tag is `"<state>.<urls>"`: the state names the stored profile; the picture's URLs, and its
    removal by an operator, make no difference to a write. Weak tags count: proxies that compress make
    tags weak.
    """
    if_match = request.headers.get("If-Match")
    return Precondition(
        if_match=None if if_match is None else _states(if_match),
        if_none_match=_states(request.headers.get("If-None-Match", "")),
    )


def _profile(
    request: Request, profile: StoredProfile, session: Session, thumbnail: tuple[str, bytes] | None
) -> dict[str, Any]:
    services: Services = request.services
    document = profile_json(profile)
    urls_tag = "0"
    if profile.document.picture is not None:
        document["picture"] |= _picture(request, profile, session, thumbnail)
        urls_tag = services.pictures.capabilities_tag(profile, session)
    if profile.removal is not None:
        urls_tag += f"-{profile.removal.removed_at:x}"
    document["etag"] = f'"{profile.state}.{urls_tag}"'
    if profile.problem is not None:
        document["error"] = profile.problem
    return document


def _picture(
    request: Request, profile: StoredProfile, session: Session, thumbnail: tuple[str, bytes] | None
) -> dict[str, Any]:
    services: Services = request.services
    prefix = f"{origin_of(request)}/v1/pictures/"
    urls = services.pictures.capabilities(profile, session).items()
    picture: dict[str, Any] = {"urls": {str(size): prefix + capability for size, capability in urls}}
    if thumbnail is not None:
        name, data = thumbnail
        encoded = base64.b64encode(data).decode("ascii")
        picture["thumbnail"] = f"data:{MEDIA_TYPES[name]};base64,{encoded}"
    return picture


def _states(header: str) -> frozenset[str]:
    """Return the states that a header of entity tags names."""
    if header.strip() == ANY_STATE:
        return frozenset({ANY_STATE})
    return frozenset(tag.partition(".")[0] for tag in _ENTITY_TAG.findall(header)) - {ANY_STATE}
