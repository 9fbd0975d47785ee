"""A profile: the document in its `profile` item, and its opening with the keys of the session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from persona_profile.encoding import base64url_decode, base64url_encode, json_decode_own, json_encode
from persona_profile.images import Rendition
from persona_profile.keys.content_key_wraps import ContentKeyWrap, open_wraps
from persona_profile.keys.records import RecordKey, is_record
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Home
from persona_profile.store.items import PROFILE_ITEM, KeyItem, picture_item
from persona_profile.store.removals import PictureRemoval, open_removal

logger = logging.getLogger(__name__)

PROFILE_BYTES: Final = 1024
"""The length of most documents before they are sealed; longer ones have 2, 4, 8, ... times as much."""

BLANK_STATE: Final = "0"
"""The state of a profile of which nothing is stored."""

UNREADABLE: Final = "profile_unreadable"
PROFILE_KEY_REQUIRED: Final = "profile_key_required"
PROFILE_KEY_WRONG: Final = "profile_key_wrong"


@dataclass(frozen=True, slots=True)
class Picture:
    """The current picture: its id (16 random bytes) and the stored formats of each size."""

    id: bytes
    formats: Mapping[int, tuple[str, ...]]

    @classmethod
    def of(cls, picture_id: bytes, renditions: Iterable[Rendition]) -> Picture:
        """Return the picture of some renditions."""
        formats: dict[int, tuple[str, ...]] = {}
        for each in sorted(renditions, key=lambda rendition: rendition.size):
            formats[each.size] = (*formats.get(each.size, ()), each.format)
        return cls(picture_id, formats)

    def item_names(self) -> list[str]:
        """Return the names of the renditions' items."""
        return [
            picture_item(self.id, size, name) for size in self.formats for name in self.formats[size]
        ]


@dataclass(frozen=True, slots=True)
class ProfileDocument:
    """The contents of a `profile` item.

    Attributes:
        claims: the claims that are set.
        picture: the current picture.
        updated_at: milliseconds since 1970 of the last write; None for a blank profile.
        version: the number of writes since the profile was blank.
    """

    claims: Mapping[str, str] = field(default_factory=dict)
    picture: Picture | None = None
    updated_at: int | None = None
    version: int = 0

    @classmethod
    def parse(cls, plaintext: bytes) -> ProfileDocument:
        """Return the document that `to_bytes` wrote.

        Raises:
            Unreadable: the plaintext has another form.
        """
        try:
            document = json_decode_own(plaintext)
            described = document["picture"]
            picture = described and Picture(
                base64url_decode(described["id"]),
                {int(size): tuple(names) for size, names in described["formats"].items()},
            )
            return cls(document["claims"], picture, document["updated_at"], document["version"])
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Unreadable from None

    def to_bytes(self) -> bytes:
        """Return the plaintext of the item: JSON, padded by spaces to one of few lengths."""
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


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """The profile of an email, as it is stored.

    Attributes:
        email: the canonical address.
        home: the partition of the profile, and its items.
        document: the contents; blank if nothing is stored, or if there is a problem.
        key: opens and seals the profile; None if nothing is stored, or if there is a problem.
        is_protected: whether the profile opens only with the person's own profile key.
        problem: why what is stored was not opened: UNREADABLE, PROFILE_KEY_REQUIRED or
            PROFILE_KEY_WRONG.
        removal: an operator's removal of the picture, which may lock the address.
    """

    email: str
    home: Home
    document: ProfileDocument = field(default_factory=ProfileDocument)
    key: RecordKey | None = field(default=None, repr=False, compare=False)
    is_protected: bool = False
    problem: str | None = None
    removal: PictureRemoval | None = None

    @property
    def is_blank(self) -> bool:
        """Whether nothing is stored for the email."""
        return self.home.key is None and self.home.profile is None

    @property
    def state(self) -> str:
        """The name of the stored record, different after each write; BLANK_STATE if there is none."""
        if self.home.profile is None:
            return BLANK_STATE
        # Records differ even if their contents are equal: each has a salt of its own.
        return sha256(self.home.profile.value).hexdigest()[:16]

    @property
    def is_locked(self) -> bool:
        """Whether an operator accepts no picture for the email."""
        return self.removal is not None and self.removal.is_locked

    def picture_key(self) -> RecordKey:
        """Return the key of the renditions of an opened profile that has a picture."""
        assert self.key is not None
        assert self.document.picture is not None
        return self.key.for_picture(self.document.picture.id)


class _Locked(Exception):
    """The session's profile key does not open the profile; the message is the problem."""


def open_profile(email: str, home: Home, keys: KeyWrapper, profile_key: bytes | None) -> StoredProfile:
    """Return the profile of an email; if it does not open, with a problem."""
    is_protected, removal = False, None
    try:
        removal = open_removal(email, home, keys)
        if home.key is None and home.profile is None:
            return StoredProfile(email, home, removal=removal)
        if home.key is None or home.profile is None:
            raise Unreadable  # noqa: TRY301 - half a profile is as good as a damaged one
        key_item = KeyItem.parse(home.key.value, keys)
        data_key = key_item.data_key(keys, home.partition)
        key, plaintext = data_key, _open(data_key, home.profile.value)
        if plaintext is None:
            # Opening the owner record would be a third of the work; only protected profiles need it.
            wraps = key_item.open_owner(data_key).wraps
            is_protected = bool(wraps)
            key = _content_key(data_key, wraps, profile_key)
            plaintext = key.open(PROFILE_ITEM, home.profile.value)
        document = ProfileDocument.parse(plaintext)
        if document.picture is not None and key_item.hides(document.picture.id):
            document = replace(document, picture=None)
    except _Locked as locked:
        return StoredProfile(email, home, is_protected=True, problem=str(locked), removal=removal)
    except Unreadable:
        logger.error("unreadable profile in partition %s", home.partition.hex())  # noqa: TRY400
        return StoredProfile(
            email, home, is_protected=is_protected, problem=UNREADABLE, removal=removal
        )
    return StoredProfile(email, home, document, key, is_protected, removal=removal)


def _open(data_key: RecordKey, record: bytes) -> bytes | None:
    """Return the plaintext of a profile's record; None if the record may be under a content key."""
    if not is_record(record):
        raise Unreadable
    try:
        return data_key.open(PROFILE_ITEM, record)
    except Unreadable:
        return None


def _content_key(
    data_key: RecordKey, wraps: Sequence[ContentKeyWrap], profile_key: bytes | None
) -> RecordKey:
    """Return the content key that a profile key unwraps."""
    if not wraps:
        raise Unreadable
    if profile_key is None:
        raise _Locked(PROFILE_KEY_REQUIRED)
    opened = open_wraps(wraps, data_key, profile_key)
    if opened is None:
        raise _Locked(PROFILE_KEY_WRONG)
    return opened[1]
