"""Moving profiles to their partitions under a new index key, while the store is in use.

`homes` says why it is safe. One profile is moved in five steps, each a batch of its own:

1. **Claim.** A moving item in the new partition keeps other movers and makers away. What movers
   left there is removed, if no profile names it and none ever will.
2. **Copy.** The old partition is read, and written to the new one over the claim: key and profile
   inside of the moving item, pictures where there were none. Values stay as they are sealed; only
   the data key is wrapped again, for the new partition.
3. **Forward.** In the old partition everything that was copied is replaced by a forward, if it is
   still what was copied. From here on the profile is in the new partition.
4. **Settle.** There, key and profile take their usual names.
5. **Let go.** The forward gets a time to expire at: as long as URLs of pictures lead to it.

After a kill at any instant the next run removes what was left before step 3, and finishes what came
after it. Any number of movers may run at once; a lease (`leases`) keeps them from doing so for
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
    KEY_ITEM,
    MOVE_ID_BYTES,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    Forward,
    KeyItem,
    Moving,
    parse_picture_item,
)
from persona_profile.store.maintenance.rewrapping import Progress
from persona_profile.store.partitions import read_items, walk_items


@dataclass(slots=True)
class Reindexed:
    """What came of moving.

    Attributes:
        moved: profiles that were moved.
        finished: moves of an earlier run that were finished.
        cleaned: partitions where copies of an earlier run were cleaned away.
        unreadable: partitions that can't be moved, as their key does not open or is another email's.
        doubled: partitions that can't be moved, as the email has a profile in the new partition too.
        is_complete: the last walk found nothing left to do.
    """

    moved: int = 0
    finished: int = 0
    cleaned: int = 0
    unreadable: list[bytes] = field(default_factory=list)
    doubled: list[bytes] = field(default_factory=list)
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """An old partition as it was at one instant, less marks of ended sessions."""

    key: Item
    profile: Item | None
    pictures: Mapping[str, Item]

    def replaced_by(self, forward: Forward) -> list[Operation]:
        """Return what puts a forward in its place, if it is still there."""
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
        backend: where sealed items are kept.
        keys: under two index keys, of which the newer is primary.
        forward_seconds: how long a forward stays.
        pace: is called before each profile.
        clock: seconds since 1970.
        keep_lease: is called for each partition, and stops the run by an exception.
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

    def run(self, progress: Progress = lambda _: None) -> Reindexed:
        """Walk over all partitions until nothing is left to do.

        Raises:
            Unavailable, KeysUnavailable: the storage or the key service does not answer.
        """
        while not self.done.is_complete:
            self.done.unreadable, self.done.doubled = [], []
            before = self._count()
            for partition, items in walk_items(self._backend, [KEY_ITEM], bytes([self._older])):
                self._keep_lease()
                try:
                    self._visit(partition, items.get(KEY_ITEM))
                except Unreadable:
                    # If its index key was destroyed meanwhile, others have moved what was there.
                    if partition[0] in self._keys.index_versions:
                        self.done.unreadable.append(partition)
                except _Doubled:
                    self.done.doubled.append(partition)
                progress(partition)
            self.done.is_complete = self._count() == before
        return self.done

    def _count(self) -> tuple[int, int, int]:
        return self.done.moved, self.done.finished, self.done.cleaned

    def _visit(self, partition: bytes, key: Item | None) -> None:
        if partition[0] not in self._keys.index_versions:
            return
        if key is None or Moving.parse(key.value) is not None:
            self.done.cleaned += self._homes.clear(partition)
        elif self._older == self._keys.primary_index_version:
            pass  # the older key was destroyed before this began: there is nothing to move
        elif partition[0] == self._older and key.expires_at is None:
            self._move(partition, key)

    def _move(self, partition: bytes, key: Item | None) -> None:
        """Move what is in an old partition, or finish what was begun.

        Args:
            partition: the old one.
            key: its `key` item, as it was a moment ago.

        Raises:
            Unreadable: it is not known where to.
            _Doubled: something is there already.
        """
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
            # Somebody was faster. What is left of this attempt is cleared later in the same walk.
            key = read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)

    def _destination(self, partition: bytes, key: Item) -> bytes:
        """Return the new partition of an email.

        Raises:
            Unreadable: the key does not open, or is another email's.
        """
        key_item = KeyItem.parse(key.value, self._keys)
        email = key_item.open_owner(key_item.data_key(self._keys, partition)).email
        *older, destination = self._keys.partitions(email)
        if older != [partition]:
            raise Unreadable
        return destination

    def _claim(self, partition: bytes, destination: bytes) -> tuple[Moving, int] | None:
        """Claim a new partition; none if a profile is there, or somebody was faster.

        Returns:
            The moving item and its version.
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
            return None  # another mover has taken it
        left: list[Operation] = [
            Delete(info.name, info.version) for info in infos if parse_picture_item(info.name)
        ]
        is_free = all(info.name != PROFILE_ITEM for info in infos)
        if not is_free:
            left = [Delete(KEY_ITEM, version)]  # half a profile, which is not ours to replace
        try:
            for batch in batches(left):
                self._backend.apply(destination, batch)
        except Conflict:
            return None
        return (moving, version) if is_free else None

    def _check_not_doubled(self, partition: bytes, key: Item, destination: bytes) -> None:
        """Return if there is no profile at the destination beside that of the old partition.

        Raises:
            _Doubled: there are both.
        """
        if not is_profile(read_items(self._backend, destination, [KEY_ITEM, PROFILE_ITEM])):
            return
        # After that read: a profile that another mover has brought there is in the old one no more.
        if _version(read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)) == key.version:
            raise _Doubled

    def _carry(self, partition: bytes, destination: bytes, claim: tuple[Moving, int]) -> bool:
        """Move the profile of an old partition to one that was claimed; whether nobody was faster.

        Raises:
            Unreadable: the data key does not open, or more is there than one batch takes.
        """
        moving, version = claim
        snapshot = self._read(partition)
        if snapshot is None or Forward.parse(snapshot.key.value) is not None:
            return False
        key_item = KeyItem.parse(snapshot.key.value, self._keys)
        moved = key_item.rewrapped(self._keys, partition, destination)
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
                return False  # the key that it is wrapped by was replaced meanwhile
            versions = self._backend.apply(partition, emptied)
        except Conflict:
            return False
        self._finish(partition, Item(forward.to_bytes(), versions[KEY_ITEM]), forward)
        return True

    def _finish(self, partition: bytes, key: Item, forward: Forward) -> None:
        """Settle what a forward leads to, and let the forward go."""
        while True:
            try:
                self._homes.settle(forward.partition, forward.move_id)
                break
            except Conflict:
                continue  # a writer was faster: with this, or with erasing it
        expiry = int(self._clock()) + self._forward_seconds
        put = Put(KEY_ITEM, forward.to_bytes(), key.version, expires_at=expiry)
        try:
            self._backend.apply(partition, [put])
        except Conflict:
            pass  # another run has done the same

    def _read(self, partition: bytes) -> _Snapshot | None:
        """Return what an old partition holds, all of one instant; none if that is nothing."""
        while True:
            infos = {info.name: info for info in self._backend.list(partition)}
            names = [name for name in infos if name != NOT_BEFORE_ITEM]
            items = read_items(self._backend, partition, names)
            # Whoever changes a picture writes the profile as well.
            if all(_version(infos.get(name)) == _version(items.get(name)) for name in names):
                break
        key, profile = items.pop(KEY_ITEM, None), items.pop(PROFILE_ITEM, None)
        return None if key is None else _Snapshot(key, profile, items)


def _version(item: Item | ItemInfo | None) -> int | None:
    return item.version if item else None
