"""The homes of profiles in backups, while the index key changes.

An email then has two partitions (see `homes`). A backup walks from older to newer partitions, and a
profile may move the same way: read one by one, both partitions could have it. So a backup reads both at
one instant. A restore rejects an archive with two profiles of an email, and removes the profile of the
other partition before it restores one. With one index key nothing of this is needed, nor the keyring.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from backends import Backend, BackendError, Delete, Item
from backends.copying.transfer import batches
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import is_profile
from persona_profile.store.items import (
    KEY_ITEM,
    PROFILE_ITEM,
    Forward,
    KeyItem,
    Moving,
    parse_picture_item,
)
from persona_profile.store.partitions import read_items

_Items = Mapping[str, Item]


class HomesError(BackendError):
    """The partitions of an email are not known, or both have a profile."""


class ArchivedHomes:
    """The relations between the partitions of emails, for one backup or restore.

    Args:
        keys: of the store; None without a keyring.
    """

    def __init__(self, keys: KeyWrapper | None) -> None:
        self._keys = keys
        self._indexed: set[int] = set()
        self._expected = sqlite3.connect("")  # in memory, or on disk where there is a lot
        self._expected.execute("CREATE TABLE homes (partition BLOB PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        """Delete the collected partitions."""
        self._expected.close()

    def related(self, partition: bytes, items: _Items) -> Sequence[bytes]:
        """Return the newer partition of an older partition's email.

        Raises:
            HomesError: the index key changes, and the keyring is missing or older than the change.
        """
        key = items.get(KEY_ITEM)
        if key is None:
            return ()
        if self._keys is None:
            self._check_one_index_key(partition, key)
            return ()
        self._check_keyring(self._keys, partition, key)
        forward = Forward.parse(key.value)
        if forward is not None:
            return (forward.partition,)
        if partition[0] != self._keys.index_versions[0]:
            return ()
        return self._others(partition, key)

    def check(self, partition: bytes, items: _Items) -> None:
        """Check the next partition of an archive.

        Raises:
            HomesError: the archive has two profiles of an email.
        """
        if self._keys is None or len(self._keys.index_versions) == 1 or not is_profile(items):
            return
        query = "SELECT 1 FROM homes WHERE partition = ?"
        if self._expected.execute(query, (partition,)).fetchone():
            raise HomesError("the archive has two profiles of an email; nothing was written")
        for other in self._others(partition, items.get(KEY_ITEM)):
            self._expected.execute("INSERT OR IGNORE INTO homes VALUES (?)", (other,))

    def make_room(self, destination: Backend, partition: bytes, items: _Items) -> None:
        """Remove the profile of an email's other partition, before a profile is restored.

        Raises:
            Conflict: another process is writing to the destination.
        """
        if self._keys is None or len(self._keys.index_versions) == 1 or not is_profile(items):
            return
        for other in self._others(partition, items.get(KEY_ITEM)):
            if is_profile(read_items(destination, other, [KEY_ITEM, PROFILE_ITEM])):
                deletes = [
                    Delete(info.name, info.version)
                    for info in destination.list(other)
                    if info.name in (KEY_ITEM, PROFILE_ITEM) or parse_picture_item(info.name)
                ]
                for batch in batches(deletes):
                    destination.apply(other, batch)

    def _others(self, partition: bytes, key: Item | None) -> Sequence[bytes]:
        """Return the other partitions of a partition's email; none if its `key` item does not open."""
        if self._keys is None or key is None or len(self._keys.index_versions) == 1:
            return ()
        try:
            key_item = KeyItem.parse(key.value, self._keys)
            owner = key_item.open_owner(key_item.data_key(self._keys, partition))
        except Unreadable:
            return ()
        partitions = self._keys.partitions(owner.email)
        return [each for each in partitions if each != partition] if partition in partitions else ()

    def _check_keyring(self, keys: KeyWrapper, partition: bytes, key: Item) -> None:
        """Return if the keyring has the index key of a profile."""
        forward, moving = Forward.parse(key.value), Moving.parse(key.value)
        if forward is None and moving is None:
            try:
                KeyItem.parse(key.value, keys)
            except Unreadable:
                return
        home = forward.partition if forward else partition
        if home[0] > max(keys.index_versions):
            raise HomesError("the index key was rotated: start again with the present keyring")

    def _check_one_index_key(self, partition: bytes, key: Item) -> None:
        if Forward.parse(key.value) is None:
            self._indexed.add(partition[0])
        if len(self._indexed) > 1 or Moving.parse(key.value) is not None:
            raise HomesError("the index key changes: a backup needs the keyring meanwhile")
