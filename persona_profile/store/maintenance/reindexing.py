"""Moving profiles to their partitions under a new index key, while the store is in use.

`homes` explains why this is safe. A profile moves in five steps, each a batch:

1. **Claim.** A moving item in the new partition keeps other processes from making a profile there.
   Renditions that an earlier move left there are removed.
2. **Copy.** The old partition is read and written to the new one, over the claim: `key` and `profile`
   inside the moving item, renditions under their names. Values stay sealed as they are; only the data
   key is wrapped again, for the new partition.
3. **Forward.** In the old partition a forward replaces all copied items, if they have not changed.
   From this instant the profile is in the new partition.
4. **Settle.** In the new partition `key` and `profile` get their usual names.
5. **Let go.** The forward gets its expiry, after the expiry of URLs of pictures that follow it.

Last, an operator's removal of the picture (see `removals`) is sealed again for the new partition.
Readers find it in either one.

After a kill before step 3 the next run removes the copy; after step 3 it finishes the move. Several
movers may run at once; a lease (see `leases`) spares them the double work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from backends import (
    ABSENT,
    MAX_OPERATIONS,
    Backend,
    Conflict,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
)
from backends.copying.transfer import batches
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Homes, is_profile
from persona_profile.store.items import (
    ITEMS_OF_THE_ADDRESS,
    KEY_ITEM,
    MOVE_ID_BYTES,
    PROFILE_ITEM,
    REMOVAL_ITEM,
    Forward,
    KeyItem,
    Moving,
    parse_picture_item,
)
from persona_profile.store.partitions import WalkReport, read_items, walk_items
from persona_profile.store.removals import PictureRemoval


@dataclass(slots=True)
class Reindexed:
    """The result of a run.

    Attributes:
        moved: profiles that were moved.
        finished: moves of an earlier run that were finished.
        cleaned: partitions from which copies of an earlier run were removed.
        removals: operators' removals of pictures that were moved.
        unreadable: partitions that stay: their key does not open, or is of another email.
        doubled: partitions that stay: the email also has a profile in the new partition.
        is_complete: the last walk found nothing to do.
    """

    moved: int = 0
    finished: int = 0
    cleaned: int = 0
    removals: int = 0
    unreadable: list[bytes] = field(default_factory=list)
    doubled: list[bytes] = field(default_factory=list)
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """An old partition as it was at one instant, without ITEMS_OF_THE_ADDRESS."""

    key: Item
    profile: Item | None
    pictures: Mapping[str, Item]

    def replaced_by(self, forward: Forward) -> list[Operation]:
        """Return the operations that replace the items, at their versions, by a forward."""
        operations: list[Operation] = [Put(KEY_ITEM, forward.to_bytes(), self.key.version)]
        if self.profile is not None:
            operations.append(Delete(PROFILE_ITEM, self.profile.version))
        operations += (Delete(name, item.version) for name, item in self.pictures.items())
        return operations


class _Doubled(Exception):
    """An email has a profile under both index keys."""


class Reindexing:
    """Moves every profile to its partition under the primary index key.

    Args:
        keys: with two index keys; the newer one is primary.
        forward_seconds: the life of a forward.
        pace: called before each profile.
        clock: seconds since 1970.
        keep_lease: called for each partition; its exceptions end the run.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        forward_seconds: int,
        pace: Callable[[], None],
        clock: Callable[[], float],
        keep_lease: Callable[[], None] = lambda: None,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._older = keys.index_versions[0]
        self._forward_seconds = forward_seconds
        self._homes = Homes(backend, keys, forward_seconds)
        self._pace = pace
        self._clock = clock
        self._keep_lease = keep_lease
        self.done = Reindexed()

    def run(self, report: WalkReport = lambda _: None) -> Reindexed:
        """Walk over all partitions until nothing is left to do."""
        while not self.done.is_complete:
            self.done.unreadable, self.done.doubled = [], []
            before = self._count()
            names, after = [KEY_ITEM, REMOVAL_ITEM], bytes([self._older])
            for partition, items in walk_items(self._backend, names, after):
                self._keep_lease()
                try:
                    self._visit(partition, items.get(KEY_ITEM))
                    self._move_removal(partition, items.get(REMOVAL_ITEM))
                except Unreadable:
                    # If its index key was destroyed meanwhile, other movers have moved the profile.
                    if partition[0] in self._keys.index_versions:
                        self.done.unreadable.append(partition)
                except _Doubled:
                    self.done.doubled.append(partition)
                report(partition)
            self.done.is_complete = self._count() == before
        return self.done

    def _count(self) -> tuple[int, ...]:
        return self.done.moved, self.done.finished, self.done.cleaned, self.done.removals

    def _move_removal(self, partition: bytes, item: Item | None) -> None:
        is_older = partition[0] == self._older != self._keys.primary_index_version
        if item is None or not is_older:
            return
        # Again: the walk has read it long ago, and an operator may have ended a lock.
        item = read_items(self._backend, partition, [REMOVAL_ITEM]).get(REMOVAL_ITEM)
        if item is None:
            return
        removal = PictureRemoval.open(item.value, self._keys, partition)
        destination = self._new_partition(partition, removal.email)
        put = replace(removal.put(self._keys, destination), if_version=ABSENT)
        wrapped, _ = self._keys.split(put.value)
        with suppress(Conflict):  # the operator's command has written both, or another one has followed
            versions = self._backend.apply(destination, [put])
            if not self._keys.is_lasting(destination, wrapped):
                self._backend.apply(destination, [Delete(put.name, versions[put.name])])
                return  # the KEK was replaced meanwhile: the next run moves it
        with suppress(Conflict):
            self._backend.apply(partition, [Delete(REMOVAL_ITEM, item.version)])
            self.done.removals += 1

    def _visit(self, partition: bytes, key: Item | None) -> None:
        if partition[0] not in self._keys.index_versions:
            return
        if key is None or Moving.parse(key.value) is not None:
            self.done.cleaned += self._homes.clear(partition)
        elif self._older == self._keys.primary_index_version:
            pass  # the older key was destroyed before the run
        elif partition[0] == self._older and key.expires_at is None:
            self._move(partition, key)

    def _move(self, partition: bytes, key: Item | None) -> None:
        """Move the profile of an old partition, or finish its move; `key` is its item in the walk."""
        self._pace()
        while key is not None:
            forward = Forward.parse(key.value)
            if forward is not None:
                self._finish(partition, key, forward)
                self.done.finished += 1
                return
            destination = self._destination(partition, key)
            claim = self._claim(partition, destination)
            if claim is None:
                self._check_not_doubled(partition, key, destination)
            elif self._carry(partition, destination, claim):
                self.done.moved += 1
                return
            # Another process was faster. The walk clears this attempt in the new partition later.
            key = read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)

    def _destination(self, partition: bytes, key: Item) -> bytes:
        """Return the new partition of an email."""
        key_item = KeyItem.parse(key.value, self._keys)
        email = key_item.open_owner(key_item.data_key(self._keys, partition)).email
        return self._new_partition(partition, email)

    def _new_partition(self, partition: bytes, email: str) -> bytes:
        *older, destination = self._keys.partitions(email)
        if older != [partition]:
            raise Unreadable
        return destination

    def _claim(self, partition: bytes, destination: bytes) -> tuple[Moving, int] | None:
        """Return the claim of a new partition, and its version.

        None: there is a profile, or another process was faster.
        """
        moving = Moving(os.urandom(MOVE_ID_BYTES), partition)
        put = Put(KEY_ITEM, moving.to_bytes(), ABSENT)
        try:
            version = self._backend.apply(destination, [put])[KEY_ITEM]
        except Conflict:
            self._homes.clear(destination)
            return None
        infos = self._backend.list(destination)
        if not any(info.version == version for info in infos):
            return None  # another mover has cleared it
        left: list[Operation] = [
            Delete(info.name, info.version) for info in infos if parse_picture_item(info.name)
        ]
        is_free = all(info.name != PROFILE_ITEM for info in infos)
        if not is_free:
            left = [Delete(KEY_ITEM, version)]  # half a profile: leave it
        try:
            for batch in batches(left):
                self._backend.apply(destination, batch)
        except Conflict:
            return None
        return (moving, version) if is_free else None

    def _check_not_doubled(self, partition: bytes, key: Item, destination: bytes) -> None:
        """Return unless both partitions have a profile."""
        if not is_profile(read_items(self._backend, destination, [KEY_ITEM, PROFILE_ITEM])):
            return
        # After that read: a profile that another mover has moved is no longer in the old partition.
        if _version(read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)) == key.version:
            raise _Doubled

    def _carry(self, partition: bytes, destination: bytes, claim: tuple[Moving, int]) -> bool:
        """Move the profile of an old partition to a claimed one, unless another process was faster."""
        moving, version = claim
        snapshot = self._read(partition)
        if snapshot is None or Forward.parse(snapshot.key.value) is not None:
            return False
        key_item = KeyItem.parse(snapshot.key.value, self._keys)
        data_key = key_item.data_key(self._keys, partition)
        moved = replace(key_item, wrapped=self._keys.wrap(destination, data_key.secret))
        profile = snapshot.profile.value if snapshot.profile else b""
        copy = replace(moving, key_item=moved.to_bytes(), profile=profile).to_bytes()
        puts = [Put(name, item.value, ABSENT) for name, item in snapshot.pictures.items()]
        forward = Forward(moving.move_id, destination)
        emptied = snapshot.replaced_by(forward)
        if len(emptied) > MAX_OPERATIONS:
            raise Unreadable
        try:
            self._backend.apply(destination, [Put(KEY_ITEM, copy, version), *puts])
            if not self._keys.is_lasting(destination, moved.wrapped):
                return False  # the KEK was replaced meanwhile
            versions = self._backend.apply(partition, emptied)
        except Conflict:
            return False
        self._finish(partition, Item(forward.to_bytes(), versions[KEY_ITEM]), forward)
        return True

    def _finish(self, partition: bytes, key: Item, forward: Forward) -> None:
        """Settle the copy behind a forward, and give the forward its expiry."""
        while True:
            try:
                self._homes.settle(forward.partition, forward.move_id)
                break
            except Conflict:
                continue  # another process has settled or erased it
        expiry = int(self._clock()) + self._forward_seconds
        put = Put(KEY_ITEM, forward.to_bytes(), key.version, expires_at=expiry)
        with suppress(Conflict):  # another mover was faster
            self._backend.apply(partition, [put])

    def _read(self, partition: bytes) -> _Snapshot | None:
        """Return an old partition as it was at one instant; None without a `key` item."""
        while True:
            infos = {info.name: info for info in self._backend.list(partition)}
            names = [name for name in infos if name not in ITEMS_OF_THE_ADDRESS]
            items = read_items(self._backend, partition, names)
            # Every write of a picture also writes the profile.
            if all(_version(infos.get(name)) == _version(items.get(name)) for name in names):
                break
        key, profile = items.pop(KEY_ITEM, None), items.pop(PROFILE_ITEM, None)
        return None if key is None else _Snapshot(key, profile, items)


def _version(item: Item | ItemInfo | None) -> int | None:
    return item.version if item else None
