"""The check of one partition of an email: every item opens, none is missing, none is left over.

The items are those of one instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backends import Backend, Item, size_of
from persona_profile.keys.records import RecordKey, is_record
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import is_profile
from persona_profile.store.items import (
    ITEMS_OF_THE_ADDRESS,
    KEY_ITEM,
    PROFILE_ITEM,
    REMOVAL_ITEM,
    Forward,
    KeyItem,
    Moving,
    parse_picture_item,
)
from persona_profile.store.partitions import read_items
from persona_profile.store.profile import Picture, ProfileDocument
from persona_profile.store.removals import PictureRemoval

_KNOWN_ITEMS: Final = {KEY_ITEM, PROFILE_ITEM, *ITEMS_OF_THE_ADDRESS}


class FindingKind(StrEnum):
    """The kinds of findings in a partition or an item."""

    UNREADABLE_KEY = "unreadable_key"
    UNREADABLE_PROFILE = "unreadable_profile"
    HALF_PROFILE = "half_profile"
    WRONG_PARTITION = "wrong_partition"
    TWO_HOMES = "two_homes"
    DANGLING_PICTURE = "dangling_picture"
    UNREADABLE_PICTURE = "unreadable_picture"
    UNREADABLE_REMOVAL = "unreadable_removal"
    ORPHAN_ITEM = "orphan_item"
    UNKNOWN_ITEM = "unknown_item"
    UNKNOWN_PARTITION = "unknown_partition"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding; `item` is the name of the item, empty for the partition as a whole."""

    kind: FindingKind
    partition: bytes
    item: str = ""


class PartitionCheck:
    """The check of an email's partition.

    Attributes:
        findings: the findings.
        wrapped: the wrapped data key, if there is one.
        is_empty: the partition has no items.
        is_misplaced: the email in the partition belongs to another one.
        is_forward: the profile is in another partition.
        is_moving: a move of the profile has not ended, or has left a copy.
        is_protected: the profile opens only with the person's own key, and was not opened.
        has_profile: the partition has a `profile` item.
        renditions: the number of renditions that were read.
        bytes_read: bytes of all values.
    """

    def __init__(
        self, backend: Backend, keys: KeyWrapper, partition: bytes, items: Mapping[str, Item]
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._partition = partition
        self._items = items
        self._hides: Callable[[bytes], bool] = lambda _: False
        self.findings: list[Finding] = []
        self.wrapped: bytes | None = None
        self.is_empty = not items
        self.is_misplaced = False
        self.is_forward = False
        self.is_moving = False
        self.is_protected = False
        self.has_profile = PROFILE_ITEM in items
        self.renditions = 0
        self.bytes_read = size_of(items)

    def run(self) -> None:
        """Run the check."""
        for name in self._items:
            if name not in _KNOWN_ITEMS and parse_picture_item(name) is None:
                self._found(FindingKind.UNKNOWN_ITEM, name)
        key, profile = self._items.get(KEY_ITEM), self._items.get(PROFILE_ITEM)
        self._check_removal(self._items.get(REMOVAL_ITEM))
        if key is None and profile is None:
            self._check_orphans(())
        elif key is not None and Forward.parse(key.value) is not None:
            self._check_forward(key, profile)
        elif key is not None and Moving.parse(key.value) is not None:
            self._check_moving(profile)
        elif key is None or profile is None:
            self._open_key(key)
            self._found(FindingKind.HALF_PROFILE, PROFILE_ITEM if key else KEY_ITEM)
        else:
            self._check_profile(self._open_key(key), profile)

    def _check_removal(self, item: Item | None) -> None:
        if item is None:
            return
        try:
            removal = PictureRemoval.open(item.value, self._keys, self._partition)
        except Unreadable:
            is_readable = False
        else:
            # What a machine with an older keyring has written may be of anybody; it expires.
            is_older = self._partition[0] not in self._keys.index_versions
            is_readable = is_older or self._partition in self._keys.partitions(removal.email)
        if not is_readable:
            self._found(FindingKind.UNREADABLE_REMOVAL, REMOVAL_ITEM)

    def _check_forward(self, key: Item, profile: Item | None) -> None:
        self.is_forward = True
        self.is_moving = key.expires_at is None
        if profile is not None:
            self._found(FindingKind.ORPHAN_ITEM, PROFILE_ITEM)
        self._check_orphans(())

    def _check_moving(self, profile: Item | None) -> None:
        """Check a claim or a copy. With two live index keys it is no finding: a mover will end it."""
        self.is_moving = len(self._keys.index_versions) > 1
        if not self.is_moving:
            self._found(FindingKind.ORPHAN_ITEM, KEY_ITEM)
        elif profile is not None:
            self._found(FindingKind.ORPHAN_ITEM, PROFILE_ITEM)

    def _check_profile(self, data_key: RecordKey | None, profile: Item) -> None:
        if data_key is None:
            return
        if self.is_protected:
            self._check_protected(data_key, profile)
            return
        names = self._open_profile(data_key, profile)
        if names is not None:
            self._check_renditions(data_key, names)
            self._check_orphans(names)

    def _check_protected(self, data_key: RecordKey, profile: Item) -> None:
        """Check that a protected profile's values are records which the data key does not open."""
        if not _is_under_another(data_key, PROFILE_ITEM, profile.value):
            self._found(FindingKind.UNREADABLE_PROFILE, PROFILE_ITEM)
        names = [name for name in self._items if parse_picture_item(name)]
        for name, record in self._renditions(names):
            if not _is_under_another(data_key, name, record):
                self._found(FindingKind.UNREADABLE_PICTURE, name)

    def _found(self, kind: FindingKind, item: str) -> None:
        self.findings.append(Finding(kind, self._partition, item))

    def _open_key(self, item: Item | None) -> RecordKey | None:
        """Return the data key; None if the key or the owner record does not open."""
        if item is None:
            return None
        try:
            key_item = KeyItem.parse(item.value, self._keys)
            self.wrapped = key_item.wrapped
            data_key = key_item.data_key(self._keys, self._partition)
            owner = key_item.open_owner(data_key)
            self._hides = key_item.hides
        except Unreadable:
            self._found(FindingKind.UNREADABLE_KEY, KEY_ITEM)
            return None
        self.is_protected = bool(owner.wraps)
        self.is_misplaced = self._partition not in self._keys.partitions(owner.email)
        if self.is_misplaced:
            self._found(FindingKind.WRONG_PARTITION, KEY_ITEM)
        else:
            self._check_other_homes(owner.email, item)
        return data_key

    def _check_other_homes(self, email: str, key: Item) -> None:
        """Find a profile of the same email under another index key."""
        for partition in self._keys.partitions(email):
            if partition == self._partition:
                continue
            if not is_profile(read_items(self._backend, partition, [KEY_ITEM, PROFILE_ITEM])):
                continue
            # After that read: a profile that moved meanwhile is no longer here.
            now = read_items(self._backend, self._partition, [KEY_ITEM]).get(KEY_ITEM)
            if now is not None and now.version == key.version:
                self._found(FindingKind.TWO_HOMES, KEY_ITEM)

    def _open_profile(self, data_key: RecordKey, item: Item) -> list[str] | None:
        """Return the names of a profile's renditions; None if it does not open."""
        try:
            plaintext = data_key.open(PROFILE_ITEM, item.value)
            picture = ProfileDocument.parse(plaintext).picture
            return [] if picture and self._hides(picture.id) else _names(picture)
        except Unreadable:
            self._found(FindingKind.UNREADABLE_PROFILE, PROFILE_ITEM)
            return None

    def _check_renditions(self, data_key: RecordKey, names: Iterable[str]) -> None:
        for name, record in self._renditions(names):
            if not self._is_rendition(data_key, name, record):
                self._found(FindingKind.UNREADABLE_PICTURE, name)

    def _renditions(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the records of named renditions; a missing one is a finding."""
        for name in names:
            if name in self._items:
                self.renditions += 1
                yield name, self._items[name].value
            else:
                self._found(FindingKind.DANGLING_PICTURE, name)

    def _is_rendition(self, data_key: RecordKey, name: str, record: bytes) -> bool:
        try:
            image = data_key.open(name, record)
        except Unreadable:
            return False
        return _is_image(image, name.rpartition(".")[2])

    def _check_orphans(self, names: Iterable[str]) -> None:
        for name in self._items:
            if parse_picture_item(name) is not None and name not in names:
                self._found(FindingKind.ORPHAN_ITEM, name)


def _names(picture: Picture | None) -> list[str]:
    names = picture.item_names() if picture else []
    if not all(map(parse_picture_item, names)):
        raise Unreadable
    return names


def _is_under_another(data_key: RecordKey, name: str, record: bytes) -> bool:
    """Return whether a value is a record that the data key does not open."""
    try:
        data_key.open(name, record)
    except Unreadable:
        return is_record(record)
    return False


def _is_image(data: bytes, format_name: str) -> bool:
    """Return whether data begins like an image of a stored format."""
    match format_name:
        case "jpeg":
            return data.startswith(b"\xff\xd8\xff")
        case "webp":
            return data.startswith(b"RIFF") and data[8:12] == b"WEBP"
        case "avif":
            return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")
    return False
