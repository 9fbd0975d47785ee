"""How a profile is stored: sealed, and written over the profile that was read, by compare-and-set.

The home partition of an email (see `homes`) has these items after the first write:

- `key`: the wrapped data key and the owner record (see `items`);
- `profile`: the sealed `ProfileDocument`;
- `picture/<id>/<size>.<format>`: a sealed rendition of the current picture.

An operator may remove the picture (see `removals`): each partition of the email then has a
`picture_removal` item until it expires, with or without a profile.

`key` and `profile` are created in one batch and erased in one batch. A batch names the version of each
of these two that it replaces. So nothing is ever sealed under a key that is not stored, and
no rendition is left behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from backends import ABSENT, Backend, Conflict, Delete, Expectation, Item, Operation, Put
from persona_profile.images import Rendition
from persona_profile.keys.content_key_wraps import ContentKeyWrap
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Homes
from persona_profile.store.items import (
    KEY_ITEM,
    PICTURE_ID_BYTES,
    PROFILE_ITEM,
    KeyItem,
    Owner,
    parse_picture_item,
    picture_item,
)
from persona_profile.store.profile import Picture, ProfileDocument, StoredProfile
from persona_profile.store.renditions import Renditions
from persona_profile.store.replicas import Replicas


class ProfileWriter:
    """Seals profiles, and writes each in one batch.

    Every method raises `Conflict` if another write was faster.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self, backend: Backend, homes: Homes, keys: KeyWrapper, clock: Callable[[], float]
    ) -> None:
        self._backend = backend
        self._homes = homes
        self._keys = keys
        self._clock = clock
        self._renditions = Renditions(backend, homes, Replicas())

    def write(
        self,
        before: StoredProfile,
        document: ProfileDocument,
        renditions: Sequence[Rendition] = (),
    ) -> StoredProfile:
        """Write a document over the profile that was read; `renditions` are of a new picture."""
        if before.home.key is None:
            key_item, key = self._new_key(before)
            return self._write(before, document, renditions, key_item, key)
        # Renewed, else the length of an old item would show whose keys were changed since.
        renewed = self._key_item(before).renewed(self._keys, before.home.partition)
        assert before.key is not None
        return self._write(before, document, renditions, renewed, before.key)

    def seal_again(self, before: StoredProfile, profile_key: bytes | None) -> StoredProfile:
        """Seal a profile under a new content key, or, without a profile key, under its data key."""
        if before.home.key is None:
            key_item, data_key = self._new_key(before)
        else:
            key_item = self._key_item(before)
            data_key = key_item.data_key(self._keys, before.home.partition)
        key, owner = data_key, Owner(before.email)
        if profile_key is not None:
            key = RecordKey.generate(KeyRole.CONTENT)
            now = int(1000 * self._clock())
            wrap = ContentKeyWrap.create(data_key, profile_key, key, now)
            owner = replace(owner, wraps=(wrap,))
        key_item = replace(key_item.with_owner(owner, data_key), removed=b"")
        renditions = [
            Rendition(*described, data)
            for name, data in self._renditions.of_profile(before).items()
            if (described := parse_picture_item(name)) is not None
        ]
        picture = Picture.of(os.urandom(PICTURE_ID_BYTES), renditions) if renditions else None
        document = replace(before.document, picture=picture)
        return self._write(before, document, renditions, key_item, key)

    def write_key_item(self, before: StoredProfile, key_item: KeyItem) -> None:
        """Write a `key` item over the one that was read."""
        put = Put(KEY_ITEM, key_item.to_bytes(), _version(before.home.key))
        self._backend.apply(before.home.partition, [put])

    def _write(
        self,
        before: StoredProfile,
        document: ProfileDocument,
        renditions: Sequence[Rendition],
        key_item: KeyItem | None,
        key: RecordKey,
    ) -> StoredProfile:
        """Write a document that `key` seals, and a new `key` item if there is one.

        Raises:
            Conflict: the key that wraps a new data key is no longer primary: it may be destroyed by a
                process that has not seen this data key.
        """
        home = before.home
        # The ledger compares these times, which may come from the clocks of different machines.
        updated_at = max(int(1000 * self._clock()), (document.updated_at or 0) + 1)
        document = replace(document, version=document.version + 1, updated_at=updated_at)
        record = key.seal(PROFILE_ITEM, document.to_bytes())
        batch: list[Operation] = [Put(PROFILE_ITEM, record, _version(home.profile))]
        if key_item is not None:
            batch.append(Put(KEY_ITEM, key_item.to_bytes(), _version(home.key)))
        batch += _picture_operations(before.document.picture, document.picture, renditions, key)
        versions = self._backend.apply(home.partition, batch)
        if key_item is not None:
            if home.key is None and not self._keys.is_lasting(home.partition, key_item.wrapped):
                undo = [Delete(name, version) for name, version in versions.items()]
                self._backend.apply(home.partition, undo)
                raise Conflict("the keys were replaced meanwhile")
            home = replace(home, key=Item(key_item.to_bytes(), versions[KEY_ITEM]))
        home = replace(home, profile=Item(record, versions[PROFILE_ITEM]))
        return StoredProfile(
            before.email, home, document, key, key.role is KeyRole.CONTENT, removal=before.removal
        )

    def _key_item(self, profile: StoredProfile) -> KeyItem:
        assert profile.home.key is not None
        return KeyItem.parse(profile.home.key.value, self._keys)

    def _new_key(self, before: StoredProfile) -> tuple[KeyItem, RecordKey]:
        """Return a new data key for a blank profile, after its partition was reserved."""
        self._homes.reserve(before.home, self._clock())
        return KeyItem.create(self._keys, before.home.partition, before.email)


def _picture_operations(
    old: Picture | None, new: Picture | None, renditions: Sequence[Rendition], key: RecordKey
) -> list[Operation]:
    """Return the operations that replace the renditions of a picture."""
    if old == new:
        return []
    operations: list[Operation] = [Delete(name) for name in (old.item_names() if old else ())]
    if new is not None:
        picture_key = key.for_picture(new.id)
        for each in renditions:
            name = picture_item(new.id, each.size, each.format)
            operations.append(Put(name, picture_key.seal(name, each.data)))
    return operations


def _version(item: Item | None) -> int | Expectation:
    return item.version if item else ABSENT
