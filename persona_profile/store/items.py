"""The items of an email: their names, and the layouts of `key` items.

Integers are big-endian:

    key item    wrapped key | owner record | ids of removed pictures (16 each)
    forward     "PPF" | format 0x01 | move id (16) | partition (33)
    moving      "PPM" | format 0x01 | move id (16) | partition (33) | length of the key item (4)
                | key item | profile record

The owner record has the email, which a new index key needs, and the wraps of a protected profile's
content key. It is sealed under the data key. Its plaintext always has the same length:

    owner       0x03 | number of wraps (1) | 8 slots (56), a wrap or zeros (see `content_key_wraps`)
                | length of the email (1) | email in UTF-8, then zeros (254)

Earlier builds wrote another format, which the next write of the profile or its keys replaces:

    owner       0x01, or 0x02 of a protected profile | wrapped content key, or zeros (40)
                | length of the email (1) | email in UTF-8, then zeros (254)

An operator who removes a picture can't write the profile, which may be protected: the ids at the end of
the `key` item hide the picture that the profile still names. The next write of the profile ends this.

While the index key changes, a forward leads from the older partition of an email to the newer one. A
moving item is the copy of a profile that is being moved. See `homes`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Final

from backends import Item
from persona_profile.emails import MAX_BYTES
from persona_profile.encoding import MalformedText, base64url_decode, base64url_encode
from persona_profile.keys.content_key_wraps import MAX_WRAPS, WRAP, ContentKeyWrap
from persona_profile.keys.records import OVERHEAD_BYTES, KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper

KEY_ITEM: Final = "key"
PROFILE_ITEM: Final = "profile"
NOT_BEFORE_ITEM: Final = "not_before"
REMOVAL_ITEM: Final = "picture_removal"

ITEMS_OF_THE_ADDRESS: Final = frozenset({NOT_BEFORE_ITEM, REMOVAL_ITEM})
"""Items that belong to the email rather than to its profile: they stay when the profile is erased."""

_PICTURE_ITEM: Final = re.compile(r"picture/([A-Za-z0-9_-]{22})/([1-9][0-9]{0,4})\.([a-z0-9]{1,8})")

PICTURE_ID_BYTES: Final = 16
MOVE_ID_BYTES: Final = 16
NO_MOVE: Final = bytes(MOVE_ID_BYTES)
"""The move id of a forward to a profile that was made in the newer partition, without a move."""

_OWNER_FORMAT = 3
_OWNER = struct.Struct(f">BB{MAX_WRAPS * WRAP.size}sB{MAX_BYTES}s")
_FIRST_PLAIN, _FIRST_PROTECTED = 1, 2
_FIRST_OWNER = struct.Struct(f">B40sB{MAX_BYTES}s")
_OWNER_RECORDS = (OVERHEAD_BYTES + _OWNER.size, OVERHEAD_BYTES + _FIRST_OWNER.size)
_FORWARD = struct.Struct(">4s16s33s")
_FORWARD_MAGIC = b"PPF\x01"
_MOVING = struct.Struct(">4s16s33sI")
_MOVING_MAGIC = b"PPM\x01"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a `key` item.

    Attributes:
        email: the canonical address.
        wraps: of the content key, the oldest first; none if the profile is not protected.
    """

    email: str
    wraps: tuple[ContentKeyWrap, ...] = ()

    @classmethod
    def parse(cls, plaintext: bytes) -> Owner:
        """Return the owner in the plaintext of an owner record.

        Raises:
            Unreadable: the plaintext has another layout.
        """
        is_first_format = len(plaintext) == _FIRST_OWNER.size
        try:
            if is_first_format:
                wraps, length, padded = _parse_first(plaintext)
            else:
                _, count, slots, length, padded = _OWNER.unpack(plaintext)
                used = WRAP.iter_unpack(slots[: count * WRAP.size])
                wraps = tuple(starmap(ContentKeyWrap, used))
            owner = cls(padded[:length].decode("utf-8"), wraps)
        except (struct.error, UnicodeDecodeError):
            raise Unreadable from None
        written = owner._to_first_format() if is_first_format else owner.to_bytes()
        # Zeros are padding, never the end of an email, nor a wrap.
        if written != plaintext or "\0" in owner.email or not all(any(each.wrapped) for each in wraps):
            raise Unreadable
        return owner

    def to_bytes(self) -> bytes:
        """Return the plaintext of the owner record; all have the same length."""
        assert len(self.wraps) <= MAX_WRAPS
        email = self.email.encode("utf-8")
        slots = b"".join(wrap.to_bytes() for wrap in self.wraps)
        return _OWNER.pack(_OWNER_FORMAT, len(self.wraps), slots, len(email), email)

    def _to_first_format(self) -> bytes:
        email = self.email.encode("utf-8")
        kind, wrapped = (_FIRST_PROTECTED, self.wraps[0].wrapped) if self.wraps else (_FIRST_PLAIN, b"")
        return _FIRST_OWNER.pack(kind, wrapped, len(email), email)

    def seal(self, data_key: RecordKey) -> bytes:
        """Return the owner record."""
        return data_key.seal(KEY_ITEM, self.to_bytes())


@dataclass(frozen=True, slots=True)
class KeyItem:
    """The `key` item of a profile.

    Attributes:
        wrapped: the data key, wrapped by a key service.
        owner: the owner record.
        removed: the ids of pictures that an operator has removed, one after the other.
    """

    wrapped: bytes
    owner: bytes
    removed: bytes = b""

    @classmethod
    def parse(cls, value: bytes, keys: KeyWrapper) -> KeyItem:
        """Return the parts of a value.

        Raises:
            Unreadable: the value has another layout.
        """
        wrapped, rest = keys.split(value)
        fitting = (
            length
            for length in _OWNER_RECORDS
            if len(rest) >= length and (len(rest) - length) % PICTURE_ID_BYTES == 0
        )
        length = next(fitting, len(rest))
        return cls(wrapped, rest[:length], rest[length:])

    @classmethod
    def create(cls, keys: KeyWrapper, partition: bytes, email: str) -> tuple[KeyItem, RecordKey]:
        """Return a new item and its new data key."""
        data_key = RecordKey.generate(KeyRole.DATA)
        return cls(keys.wrap(partition, data_key.secret), Owner(email).seal(data_key)), data_key

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        return self.wrapped + self.owner + self.removed

    def data_key(self, keys: KeyWrapper, partition: bytes) -> RecordKey:
        """Return the data key.

        Raises:
            Unreadable: the item is of another partition or altered, or its KEK was destroyed.
        """
        return RecordKey(KeyRole.DATA, keys.unwrap(partition, self.wrapped))

    def open_owner(self, data_key: RecordKey) -> Owner:
        """Return the owner.

        Raises:
            Unreadable: the owner record does not open, or has another layout.
        """
        return Owner.parse(data_key.open(KEY_ITEM, self.owner))

    @property
    def has_current_format(self) -> bool:
        """Whether the owner record has the present format, by its length."""
        return len(self.owner) == _OWNER_RECORDS[0]

    def hides(self, picture_id: bytes) -> bool:
        """Return whether an operator has removed a picture."""
        return any(
            self.removed[start : start + PICTURE_ID_BYTES] == picture_id
            for start in range(0, len(self.removed), PICTURE_ID_BYTES)
        )

    def hiding(self, picture_ids: Iterable[bytes]) -> KeyItem:
        """Return the item that hides some pictures more."""
        added = (each for each in picture_ids if not self.hides(each))
        return replace(self, removed=b"".join([self.removed, *added]))

    def renewed(self, keys: KeyWrapper, partition: bytes) -> KeyItem | None:
        """Return the item beside a newly written profile; None if it stays as it is.

        It has the present format, if the owner opens, and hides no picture.
        """
        renewed = replace(self, removed=b"")
        if not self.has_current_format:
            # Only `storage verify` and a move need the owner of a plain profile.
            with suppress(Unreadable):
                data_key = self.data_key(keys, partition)
                renewed = renewed.with_owner(self.open_owner(data_key), data_key)
        return None if renewed == self else renewed

    def with_owner(self, owner: Owner, data_key: RecordKey) -> KeyItem:
        """Return the item with another owner."""
        return replace(self, owner=owner.seal(data_key))


@dataclass(frozen=True, slots=True)
class Forward:
    """The `key` item of an older partition that leads to the newer one.

    Attributes:
        move_id: of the copy that replaced this partition's profile; NO_MOVE if there was no profile.
        partition: the newer partition.
    """

    move_id: bytes
    partition: bytes

    @classmethod
    def parse(cls, value: bytes) -> Forward | None:
        """Return the forward in a value; None if it is no forward."""
        if len(value) != _FORWARD.size or not value.startswith(_FORWARD_MAGIC):
            return None
        _, move_id, partition = _FORWARD.unpack(value)
        return cls(move_id, partition)

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        return _FORWARD.pack(_FORWARD_MAGIC, self.move_id, self.partition)


@dataclass(frozen=True, slots=True)
class Moving:
    """The `key` item of a newer partition that a mover has claimed: a claim, then a copy.

    Attributes:
        move_id: of the move. The copy becomes the profile through a forward with this id.
        origin: the older partition.
        key_item: the value of the copied `key` item; empty in a claim.
        profile: the value of the copied `profile` item; empty if there was none.
    """

    move_id: bytes
    origin: bytes
    key_item: bytes = b""
    profile: bytes = b""

    @classmethod
    def parse(cls, value: bytes) -> Moving | None:
        """Return the moving item in a value; None if it is none. Altered parts do not open."""
        if len(value) < _MOVING.size or not value.startswith(_MOVING_MAGIC):
            return None
        _, move_id, origin, length = _MOVING.unpack_from(value)
        end = _MOVING.size + length
        return cls(move_id, origin, value[_MOVING.size : end], value[end:])

    def to_bytes(self) -> bytes:
        """Return the value of the item."""
        head = _MOVING.pack(_MOVING_MAGIC, self.move_id, self.origin, len(self.key_item))
        return head + self.key_item + self.profile


def _parse_first(plaintext: bytes) -> tuple[tuple[ContentKeyWrap, ...], int, bytes]:
    """Return wraps, length of the email, and padded email of an owner record of an earlier build."""
    kind, wrapped, length, padded = _FIRST_OWNER.unpack(plaintext)
    wraps = (ContentKeyWrap.of_first_format(wrapped),) if kind == _FIRST_PROTECTED else ()
    return wraps, length, padded


def holds_data_key(value: bytes) -> bool:
    """Return whether a `key` item is the one of a profile: neither a forward nor a moving item."""
    return Forward.parse(value) is None and Moving.parse(value) is None


def instant_of(mark: Item | None) -> int:
    """Return the instant in a `not_before` item, in milliseconds since 1970; 0 without an item."""
    return int.from_bytes(mark.value) if mark else 0


def picture_item(picture_id: bytes, size: int, format_name: str) -> str:
    """Return the name of a rendition's item."""
    return f"picture/{base64url_encode(picture_id)}/{size}.{format_name}"


def picture_id_of(name: str) -> bytes | None:
    """Return the picture's id in the name of a rendition's item; None for other names."""
    match = _PICTURE_ITEM.fullmatch(name)
    try:
        return match and base64url_decode(match[1])
    except MalformedText:
        return None


def parse_picture_item(name: str) -> tuple[int, str] | None:
    """Return size and format in the name of a rendition's item; None for other names."""
    match = _PICTURE_ITEM.fullmatch(name)
    return match and (int(match[2]), match[3])
