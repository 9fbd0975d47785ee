"""Profiles as people export them: a JSON object, and a zip of everything that is stored."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from backends import Conflict, Unavailable
from persona_profile.encoding import base64url_encode, timestamp
from persona_profile.keys.tokens import Session
from persona_profile.profiles.claims import CLAIMS
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.profile_keys import ProfileKey
from persona_profile.profiles.service import ProfileService
from persona_profile.store.operator_acts import OperatorActs, RecordedAct
from persona_profile.store.profile import StoredProfile
from persona_profile.store.removals import PictureRemoval

ATTEMPTS: Final = 10
"""Reads of a profile whose picture is replaced each time before its renditions are read."""


def profile_json(profile: StoredProfile) -> dict[str, Any]:
    """Return a profile as a JSON object, without the URLs and the entity tag of an answer."""
    document = profile.document
    picture = {"id": base64url_encode(document.picture.id)} if document.picture else None
    return {
        "email": profile.email,
        **{name: document.claims.get(name) for name in CLAIMS},
        "picture": picture,
        "picture_removal": profile.removal and removal_json(profile.removal),
        "updated_at": None if document.updated_at is None else timestamp(document.updated_at),
        "version": document.version,
        "protected": profile.is_protected,
    }


def removal_json(removal: PictureRemoval) -> dict[str, Any]:
    """Return an operator's removal of a picture as a JSON object."""
    locked_until = timestamp(1000 * removal.expires_at) if removal.is_locked else None
    return {
        "removed_at": timestamp(removal.removed_at),
        "locked_until": locked_until,
        "reason": removal.reason or None,
    }


def key_json(key: ProfileKey) -> dict[str, Any]:
    """Return a key of a profile as a JSON object, without its relation to a session."""
    added_at = None if key.added_at is None else timestamp(key.added_at)
    return {"id": base64url_encode(key.id), "added_at": added_at}


def act_json(act: RecordedAct) -> dict[str, Any]:
    """Return an operator's act as a JSON object."""
    until = None if act.until is None else timestamp(1000 * act.until)
    return {"at": timestamp(act.at), "act": act.act, "reason": act.reason or None, "until": until}


def export_zip(
    profiles: ProfileService,
    pictures: PictureService,
    acts: OperatorActs,
    session: Session,
    email: str,
) -> bytes:
    """Return a zip: `profile.json`, and `picture/<size>.<format>` for each rendition; see `export`.

    `profile.json` has the profile's keys and the acts of operators too.
    """
    profile, renditions = export(profiles, pictures, session, email)
    document = profile_json(profile) | {
        "profile_keys": [key_json(each) for each in profiles.keys_of(profile, session)],
        "operator_acts": [act_json(each) for each in acts.of(email)],
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        text = json.dumps(document, ensure_ascii=False, indent=2)
        files.writestr("profile.json", text, zipfile.ZIP_DEFLATED)
        for name, data in renditions.items():
            files.writestr(f"picture/{name}", data)
    return archive.getvalue()


def export(
    profiles: ProfileService, pictures: PictureService, session: Session, email: str
) -> tuple[StoredProfile, Mapping[str, bytes]]:
    """Return a profile and its renditions; read again if the picture is replaced in between.

    Raises:
        InvalidSession, UnreadableProfile, ProfileKeyRequired: see `ProfileService`.
        Unavailable: also if the picture is replaced ATTEMPTS times.
    """
    for _ in range(ATTEMPTS):
        profile = profiles.profile(session, email)
        try:
            return profile, pictures.all_renditions(profile)
        except Conflict:
            continue
    raise Unavailable("the picture is replaced again and again", retry_after=1)
