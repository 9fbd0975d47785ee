"""What is kept for an email, and how it is written down before it is sealed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from backends import Item
from persona_profile.encoding import base64url_decode, base64url_encode, json_encode
from persona_profile.images import Rendition
from persona_profile.keys.records import RecordKey
from persona_profile.keys.tokens import Session

KEY_ITEM: Final = "key"
PROFILE_ITEM: Final = "profile"
NOT_BEFORE_ITEM: Final = "not_before"

PROFILE_BYTES: Final = 1024
"""Most profiles have this length before they are sealed; others twice that, and so on."""

UNREADABLE: Final = "profile_unreadable"
PROFILE_KEY_REQUIRED: Final = "profile_key_required"
PROFILE_KEY_WRONG: Final = "profile_key_wrong"

_PICTURE_ITEM: Final = re.compile(r"picture/([A-Za-z0-9_-]{22})/([1-9][0-9]{0,4})\.([a-z0-9]{1,8})")


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


def state_of(record: bytes) -> str:
    """Return the state that a sealed profile is: records differ, as each has a salt of its own."""
    return sha256(record).hexdigest()[:16]


def instant_of(mark: Item | None) -> int:
    """Return when sessions were ended, as a `not_before` item tells: milliseconds since 1970, or 0."""
    return int.from_bytes(mark.value) if mark else 0


def picture_item(picture_id: bytes, size: int, format_name: str) -> str:
    """Return the name of the item that holds one rendition."""
    return f"picture/{base64url_encode(picture_id)}/{size}.{format_name}"


def parse_picture_item(name: str) -> tuple[int, str] | None:
    """Return size and format of the rendition that an item holds, by its name; none for others."""
    match = _PICTURE_ITEM.fullmatch(name)
    return match and (int(match[2]), match[3])
