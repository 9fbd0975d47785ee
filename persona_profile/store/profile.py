"""A profile: its stored form, and how it opens from the items of a partition."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from persona_profile.encoding import base64url_decode, base64url_encode, json_encode
from persona_profile.images import Rendition
from persona_profile.keys.records import RecordKey, is_record
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import Session
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Home
from persona_profile.store.items import PROFILE_ITEM, KeyItem, picture_item

logger = logging.getLogger(__name__)

PROFILE_BYTES: Final = 1024
"""Most profiles have this length before they are sealed; others twice that, and so on."""

UNREADABLE: Final = "profile_unreadable"
PROFILE_KEY_REQUIRED: Final = "profile_key_required"
PROFILE_KEY_WRONG: Final = "profile_key_wrong"


@dataclass(frozen=True, slots=True)
class Picture:
    """The current picture: its id (16 random bytes), and which formats are stored for each size."""

    id: bytes
    formats: Mapping[int, tuple[str, ...]]

    @classmethod
    def of(cls, picture_id: bytes, renditions: Iterable[Rendition]) -> Picture:
        """Describe renditions as a picture."""
        formats: dict[int, tuple[str, ...]] = {}
        for each in sorted(renditions, key=lambda rendition: rendition.size):
            formats[each.size] = (*formats.get(each.size, ()), each.format)
        return cls(picture_id, formats)

    def item_names(self) -> list[str]:
        """Return the names of the items that hold its renditions."""
        return [
            picture_item(self.id, size, name) for size in self.formats for name in self.formats[size]
        ]


@dataclass(frozen=True, slots=True)
class Profile:
    """What is kept for one email.

    Attributes:
        email: the canonical address.
        claims: the claims that are set.
        picture: the current picture.
        updated_at: milliseconds since 1970 of the last write; none for a blank profile.
        version: how often it was written since it was blank.
        partition: where it is kept, or would be made.
        stored_version: the storage's own version, by which a write finds out that another came first.
        state: names what is stored, wherever that is kept: no two writes give the same; empty if
            nothing is.
        problem: why everything else is blank, although something is stored: UNREADABLE,
            PROFILE_KEY_REQUIRED or PROFILE_KEY_WRONG.
        is_protected: whether it opens only with the person's own profile key.
        content_key: what it was opened with.
        session: what it was read in.
    """

    email: str
    claims: Mapping[str, str] = field(default_factory=dict)
    picture: Picture | None = None
    updated_at: int | None = None
    version: int = 0
    partition: bytes = b""
    stored_version: int | None = None
    state: str = ""
    problem: str | None = None
    is_protected: bool = False
    content_key: RecordKey | None = field(default=None, repr=False, compare=False)
    session: Session | None = field(default=None, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """Return the plaintext of the `profile` item: JSON, and spaces up to one of few lengths."""
        picture = self.picture and {
            "id": base64url_encode(self.picture.id),
            "formats": {str(size): names for size, names in self.picture.formats.items()},
        }
        text = json_encode(
            {
                "claims": dict(self.claims),
                "picture": picture,
                "updated_at": self.updated_at,
                "version": self.version,
            }
        )
        length = PROFILE_BYTES
        while length < len(text):
            length *= 2
        return text.ljust(length)

    def filled(self, plaintext: bytes) -> Profile:
        """Return this profile with what `to_bytes` wrote.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: that is not of the form that is written.
        """
        document = json.loads(plaintext)
        described = document["picture"]
        picture = described and Picture(
            base64url_decode(described["id"]),
            {int(size): tuple(names) for size, names in described["formats"].items()},
        )
        return replace(
            self,
            claims=document["claims"],
            picture=picture,
            updated_at=document["updated_at"],
            version=document["version"],
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A profile with where it is kept, and what opens its data key; no key item while it is blank."""

    profile: Profile
    home: Home
    key_item: KeyItem | None = None


class _Locked(Exception):
    """A profile opens only with another profile key than the session's; the message is the problem."""


def open_profile(home: Home, email: str, session: Session, keys: KeyWrapper) -> Stored:
    """Return the profile of an email, with a problem if something is there that does not open.

    Raises:
        KeysUnavailable: the key service can't be asked now.
    """
    profile = Profile(email, partition=home.partition, session=session)
    if home.key is None and home.profile is None:
        return Stored(profile, home)
    if home.profile is not None:
        version, state = home.profile.version, state_of(home.profile.value)
        profile = replace(profile, stored_version=version, state=state)
    try:
        if home.key is None or home.profile is None:
            raise Unreadable  # noqa: TRY301 - half a profile is as good as a damaged one
        key_item = KeyItem.parse(home.key.value, keys)
        data_key = key_item.data_key(keys, home.partition)
        content_key, plaintext = data_key, _open(data_key, home.profile.value)
        if plaintext is None:
            # Only then the owner record is needed, and opening it is a third of the work.
            wrapped = key_item.open_owner(data_key).content_key
            profile = replace(profile, is_protected=wrapped is not None)
            content_key = _content_key(data_key, wrapped, session)
            plaintext = content_key.open(PROFILE_ITEM, home.profile.value)
    except _Locked as locked:
        return Stored(replace(profile, problem=str(locked)), home)
    except Unreadable:
        logger.error("unreadable profile in partition %s", home.partition.hex())  # noqa: TRY400
        return Stored(replace(profile, problem=UNREADABLE), home)
    return Stored(replace(profile, content_key=content_key).filled(plaintext), home, key_item)


def _open(data_key: RecordKey, record: bytes) -> bytes | None:
    """Return what a profile's record holds; none if it may be under a content key.

    Raises:
        Unreadable: it is no record.
    """
    if not is_record(record):
        raise Unreadable
    try:
        return data_key.open(PROFILE_ITEM, record)
    except Unreadable:
        return None


def _content_key(data_key: RecordKey, wrapped: bytes | None, session: Session) -> RecordKey:
    """Return what the session's profile key unwraps."""
    if wrapped is None:
        raise Unreadable
    if session.profile_key is None:
        raise _Locked(PROFILE_KEY_REQUIRED)
    try:
        return data_key.unwrap_content_key(session.profile_key, wrapped)
    except Unreadable:
        raise _Locked(PROFILE_KEY_WRONG) from None


def state_of(record: bytes) -> str:
    """Return the state that a sealed profile is: records differ, as each has a salt of its own."""
    return sha256(record).hexdigest()[:16]
