"""Profiles as people take them away: a JSON object, and a zip of everything that is kept."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from backends import Conflict, Unavailable
from persona_profile.encoding import base64url_encode
from persona_profile.keys.tokens import Session
from persona_profile.profiles.claims import CLAIMS
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.store.profile import Profile

ATTEMPTS: Final = 10
"""How often a profile is read whose picture is replaced meanwhile."""


def timestamp(milliseconds: int) -> str:
    """Return an instant since 1970 as RFC 3339 in UTC."""
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def profile_document(profile: Profile) -> dict[str, Any]:
    """Return a profile as a JSON object, without what one answer alone has: URLs and entity tag."""
    picture = {"id": base64url_encode(profile.picture.id)} if profile.picture else None
    return {
        "email": profile.email,
        **{name: profile.claims.get(name) for name in CLAIMS},
        "picture": picture,
        "updated_at": None if profile.updated_at is None else timestamp(profile.updated_at),
        "version": profile.version,
        "protected": profile.is_protected,
    }


def zip_of(profile: Profile, renditions: Mapping[str, bytes]) -> bytes:
    """Return a zip: `profile.json`, and `picture/<size>.<format>` for each rendition."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        text = json.dumps(profile_document(profile), ensure_ascii=False, indent=2)
        files.writestr("profile.json", text, zipfile.ZIP_DEFLATED)
        for name, data in renditions.items():
            files.writestr(f"picture/{name}", data)
    return archive.getvalue()


def whole_profile(
    profiles: ProfileService, pictures: PictureService, session: Session, email: str
) -> tuple[Profile, Mapping[str, bytes]]:
    """Read profile and picture, again if the picture was replaced in between.

    Raises:
        InvalidSession, Unavailable, KeysUnavailable, UnreadableProfile, ProfileKeyRequired: see
            `ProfileService.profile`. Unavailable also if the picture is replaced ATTEMPTS times.
    """
    for _ in range(ATTEMPTS):
        found = profiles.profile(session, email)
        try:
            return found, pictures.all_renditions(found)
        except Conflict:
            continue
    raise Unavailable("the picture is replaced again and again", retry_after=1)
