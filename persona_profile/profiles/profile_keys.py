"""The keys that open a protected profile: listed, added, removed.

Each has a wrap of the content key in the `key` item. To add or remove one writes that item alone; the
profile and its picture are not sealed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from persona_profile.errors import LastProfileKey, NotFound, TooManyProfileKeys
from persona_profile.keys.content_key_wraps import MAX_WRAPS, ContentKeyWrap, open_wraps
from persona_profile.keys.records import RecordKey
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KeyItem, Owner
from persona_profile.store.profile import StoredProfile


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """A key that opens a profile.

    Attributes:
        id: random bytes.
        added_at: milliseconds since 1970; None if it was not stored.
        is_current: whether the session holds this key.
    """

    id: bytes
    added_at: int | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class OpenedKeyItem:
    """The `key` item of a protected profile, opened by a session.

    Attributes:
        content_key: the key that seals the profile.
        current: the wrap that the session's key opens.
    """

    key_item: KeyItem
    owner: Owner
    data_key: RecordKey = field(repr=False)
    content_key: RecordKey = field(repr=False)
    current: ContentKeyWrap

    @classmethod
    def open(cls, profile: StoredProfile, keys: KeyWrapper, profile_key: bytes | None) -> Self:
        """Return the item of a protected profile that `profile_key` has opened."""
        assert profile.home.key is not None
        assert profile_key is not None
        key_item = KeyItem.parse(profile.home.key.value, keys)
        data_key = key_item.data_key(keys, profile.home.partition)
        owner = key_item.open_owner(data_key)
        opened = open_wraps(owner.wraps, data_key, profile_key)
        assert opened is not None
        current, content_key = opened
        return cls(key_item, owner, data_key, content_key, current)

    def profile_keys(self) -> list[ProfileKey]:
        """Return the keys that open the profile, the first added first."""
        return [self._describe(each) for each in self.owner.wraps]

    def with_key(self, profile_key: bytes, added_at: int) -> tuple[ProfileKey, KeyItem | None]:
        """Return another key, and the item with it; None if the key opens the profile already.

        Raises:
            TooManyProfileKeys: the profile has MAX_WRAPS keys.
        """
        existing = open_wraps(self.owner.wraps, self.data_key, profile_key)
        if existing is not None:
            return self._describe(existing[0]), None
        if len(self.owner.wraps) >= MAX_WRAPS:
            raise TooManyProfileKeys(MAX_WRAPS)
        added = ContentKeyWrap.create(self.data_key, profile_key, self.content_key, added_at)
        return self._describe(added), self._with_wraps((*self.owner.wraps, added))

    def without_key(self, key_id: bytes) -> KeyItem:
        """Return the item without a key.

        Raises:
            NotFound: the profile has no key of this id.
            LastProfileKey: the profile has no other key.
        """
        left = tuple(each for each in self.owner.wraps if each.id != key_id)
        if left == self.owner.wraps:
            raise NotFound
        if not left:
            raise LastProfileKey("Remove the protection instead: set the profile key to null.")
        return self._with_wraps(left)

    def _describe(self, wrap: ContentKeyWrap) -> ProfileKey:
        return ProfileKey(wrap.id, wrap.added_at or None, wrap == self.current)

    def _with_wraps(self, wraps: tuple[ContentKeyWrap, ...]) -> KeyItem:
        return self.key_item.with_owner(replace(self.owner, wraps=wraps), self.data_key)
