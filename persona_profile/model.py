"""What is kept for an email, and how it is written down before it is sealed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from persona_profile.encoding import base64url_decode, base64url_encode, json_encode
from persona_profile.images import Rendition

KEY_ITEM: Final = "key"
PROFILE_ITEM: Final = "profile"
NOT_BEFORE_ITEM: Final = "not_before"

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
        stored_version: the storage's own version, by which a write finds out that another came first.
        readable: false if what is stored does not open; everything else is blank then.
    """

    email: str
    claims: Mapping[str, str] = field(default_factory=dict)
    picture: Picture | None = None
    updated_at: int | None = None
    version: int = 0
    stored_version: int | None = None
    readable: bool = True

    def to_bytes(self) -> bytes:
        """Return the plaintext of the `profile` item."""
        picture = self.picture and {
            "id": base64url_encode(self.picture.id),
            "formats": {str(size): names for size, names in self.picture.formats.items()},
        }
        return json_encode(
            {
                "claims": dict(self.claims),
                "picture": picture,
                "updated_at": self.updated_at,
                "version": self.version,
            }
        )

    @classmethod
    def from_bytes(cls, plaintext: bytes, email: str, stored_version: int) -> Profile:
        """Read what `to_bytes` wrote."""
        document = json.loads(plaintext)
        described = document["picture"]
        picture = described and Picture(
            base64url_decode(described["id"]),
            {int(size): tuple(names) for size, names in described["formats"].items()},
        )
        return cls(
            email=email,
            claims=document["claims"],
            picture=picture,
            updated_at=document["updated_at"],
            version=document["version"],
            stored_version=stored_version,
        )


def picture_item(picture_id: bytes, size: int, format_name: str) -> str:
    """Return the name of the item that holds one rendition."""
    return f"picture/{base64url_encode(picture_id)}/{size}.{format_name}"


def parse_picture_item(name: str) -> tuple[int, str] | None:
    """Return size and format of the rendition that an item holds, by its name; none for others."""
    match = _PICTURE_ITEM.fullmatch(name)
    return match and (int(match[2]), match[3])
