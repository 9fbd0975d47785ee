"""The items of an email: their names, and the values of `key` items.

Layouts, integers big-endian:

    key item    wrapped key | owner record
    forward     "PPF" | format 0x01 | move id (16) | partition (33)
    moving      "PPM" | format 0x01 | move id (16) | partition (33) | length of the key item (4)
                | key item | profile record

The owner record holds the email itself, sealed under the data key, so that it can be indexed anew, and
the wrapped content key of a protected profile. Its plaintext always has the same length:

    owner       0x01, or 0x02 of a protected profile | wrapped content key, or zeros (40)
                | length of the email (1) | email in UTF-8, then zeros (254)

A forward stands where a profile was, or would be, before the index key changed; a moving item where one
is copied to; see `homes`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from typing import Final

from backends import Item
from persona_profile.emails import MAX_BYTES
from persona_profile.encoding import base64url_encode
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper

KEY_ITEM: Final = "key"
PROFILE_ITEM: Final = "profile"
NOT_BEFORE_ITEM: Final = "not_before"

_PICTURE_ITEM: Final = re.compile(r"picture/([A-Za-z0-9_-]{22})/([1-9][0-9]{0,4})\.([a-z0-9]{1,8})")

MOVE_ID_BYTES: Final = 16
NO_MOVE: Final = bytes(MOVE_ID_BYTES)
"""The move of a forward behind which nothing was moved: the profile was made there."""

_PLAIN, _PROTECTED = 1, 2
_OWNER = struct.Struct(f">B40sB{MAX_BYTES}s")
_FORWARD = struct.Struct(">4s16s33s")
_FORWARD_MAGIC = b"PPF\x01"
_MOVING = struct.Struct(">4s16s33sI")
_MOVING_MAGIC = b"PPM\x01"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a `key` item is.

    Attributes:
        email: in its canonical spelling.
        content_key: the content key, wrapped under the person's profile key; none if the profile is
            not protected.
    """

    email: str
    content_key: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return the plaintext of the owner record, of the same length for everybody."""
        email = self.email.encode("utf-8")
        kind = _PLAIN if self.content_key is None else _PROTECTED
        return _OWNER.pack(kind, self.content_key or b"", len(email), email)

    def seal(self, data_key: RecordKey) -> bytes:
        """Return the owner record."""
        return data_key.seal(KEY_ITEM, self.to_bytes())


@dataclass(frozen=True, slots=True)
class KeyItem:
    """What the data key of an email is wrapped in.

    Attributes:
        wrapped: the data key, as a key service wrapped it.
        owner: the owner record.
    """

    wrapped: bytes
    owner: bytes

    @classmethod
    def parse(cls, value: bytes, keys: KeyWrapper) -> KeyItem:
        """Take a value apart.

        Raises:
            Unreadable: it is not of the form that is written.
        """
        return cls(*keys.split(value))

    @classmethod
    def create(cls, keys: KeyWrapper, partition: bytes, email: str) -> tuple[KeyItem, RecordKey]:
        """Return the item of a new data key, and that key.

        Raises:
            KeysUnavailable: the key service can't be asked now.
        """
        data_key = RecordKey.generate(KeyRole.DATA)
        return cls(keys.wrap(partition, data_key.secret), Owner(email).seal(data_key)), data_key

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        return self.wrapped + self.owner

    def data_key(self, keys: KeyWrapper, partition: bytes) -> RecordKey:
        """Return the data key.

        Raises:
            Unreadable: it is another partition's, altered, or its KEK is gone.
            KeysUnavailable: the key service can't be asked now.
        """
        return RecordKey(KeyRole.DATA, keys.unwrap(partition, self.wrapped))

    def rewrapped(self, keys: KeyWrapper, partition: bytes, destination: bytes) -> KeyItem:
        """Return the item with its data key wrapped by the primary KEK, for another partition maybe.

        Raises:
            Unreadable, KeysUnavailable: see `data_key`.
        """
        data_key = self.data_key(keys, partition)
        return replace(self, wrapped=keys.wrap(destination, data_key.secret))

    def open_owner(self, data_key: RecordKey) -> Owner:
        """Return whose item this is.

        Raises:
            Unreadable: that does not open, or is not of the form that is written.
        """
        plaintext = data_key.open(KEY_ITEM, self.owner)
        try:
            kind, content_key, length, padded = _OWNER.unpack(plaintext)
            email = padded[:length].decode("utf-8")
        except (struct.error, UnicodeDecodeError):
            raise Unreadable from None
        owner = Owner(email, content_key if kind == _PROTECTED else None)
        if owner.to_bytes() != plaintext:
            raise Unreadable
        return owner


@dataclass(frozen=True, slots=True)
class Forward:
    """The `key` item of a partition whose profile is kept in another one.

    Attributes:
        move_id: which copy there took the place of what was here; NO_MOVE if nothing was.
        partition: where the profile is.
    """

    move_id: bytes
    partition: bytes

    @classmethod
    def parse(cls, value: bytes) -> Forward | None:
        """Read a value; none if it is no forward."""
        if len(value) != _FORWARD.size or not value.startswith(_FORWARD_MAGIC):
            return None
        _, move_id, partition = _FORWARD.unpack(value)
        return cls(move_id, partition)

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        return _FORWARD.pack(_FORWARD_MAGIC, self.move_id, self.partition)


@dataclass(frozen=True, slots=True)
class Moving:
    """The `key` item of a partition that a mover has claimed, to copy a profile to it.

    Attributes:
        move_id: of the move; a forward that names it makes the copy the profile.
        origin: the partition that the profile is copied from.
        key_item: the value of the `key` item here; empty as long as nothing is copied.
        profile: the value of the `profile` item; empty if there was none.
    """

    move_id: bytes
    origin: bytes
    key_item: bytes = b""
    profile: bytes = b""

    @classmethod
    def parse(cls, value: bytes) -> Moving | None:
        """Read a value; none if it is no moving item. Parts that were altered do not open."""
        if len(value) < _MOVING.size or not value.startswith(_MOVING_MAGIC):
            return None
        _, move_id, origin, length = _MOVING.unpack_from(value)
        end = _MOVING.size + length
        return cls(move_id, origin, value[_MOVING.size : end], value[end:])

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        head = _MOVING.pack(_MOVING_MAGIC, self.move_id, self.origin, len(self.key_item))
        return head + self.key_item + self.profile


def holds_data_key(value: bytes) -> bool:
    """Return whether a `key` item is that of a profile: neither a forward nor moving."""
    return Forward.parse(value) is None and Moving.parse(value) is None


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
