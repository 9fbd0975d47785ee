"""Moving profiles to their partitions under a new index key, while the store is in use.

What makes it safe is told in `homes`. One profile is moved in four steps, each a batch of its own:

1. **Copy.** Everything is written to the new partition, key and profile as one item `moved/<move id>`.
   Values stay as they are sealed; only the data key is wrapped anew, for the new partition.
2. **Forward.** In the old partition everything that was copied is replaced by a forward, if it is still
   what was copied. From here on the profile is in the new partition.
3. **Settle.** There, key and profile take their usual names.
4. **Let go.** The forward gets a time to expire at: as long as URLs of pictures lead to it.

Killed at any instant, what comes before step 2 is only left over, and is done again or cleaned away by
the next run, and what comes after it is finished by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from backends import Address, Backend, Conflict, Delete, Item, ItemInfo, Operation, Put
from persona_profile.homes import Homes, moved_name
from persona_profile.key_items import MOVE_ID_BYTES, NO_MOVE, Forward, KeyItem, Moved
from persona_profile.key_use import Progress
from persona_profile.keyservice import Unreadable
from persona_profile.keywrap import KeyWrapper
from persona_profile.model import (
    KEY_ITEM,
    MOVED_PREFIX,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    parse_picture_item,
)
from persona_profile.partitions import walk_items


@dataclass(slots=True)
class Reindexed:
    """What came of moving.

    Attributes:
        moved: profiles that were moved.
        finished: moves of an earlier run that were finished.
        cleaned: partitions where copies of an earlier run were cleaned away.
        unreadable: partitions that can't be moved, as their key does not open or is another email's.
        is_complete: the last walk found nothing left to do.
    """

    moved: int = 0
    finished: int = 0
    cleaned: int = 0
    unreadable: list[bytes] = field(default_factory=list)
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


class Reindexing:
    """Moves every profile to its partition under the primary index key.

    Args:
        backend: where sealed items are kept.
        keys: under two index keys, of which the newer is primary.
        forward_seconds: how long a forward stays.
        pace: is called before each profile.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        forward_seconds: int,
        pace: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._forward_seconds = forward_seconds
        self._homes = Homes(backend, keys, forward_seconds)
        self._pace = pace
        self._clock = clock
        self.done = Reindexed()

    def run(self, progress: Progress = lambda _: None) -> Reindexed:
        """Walk over all partitions until nothing is left to do.

        Raises:
            Unavailable, KeysUnavailable: the storage or the key service does not answer.
        """
        older, newer = self._keys.index_versions
        while not self.done.is_complete:
            self.done.unreadable = []
            before = self._count()
            for partition, items in walk_items(self._backend, [KEY_ITEM], bytes([older])):
                key = items.get(KEY_ITEM)
                try:
                    if partition[0] == older and key is not None and key.expires_at is None:
                        self._move(partition)
                    elif partition[0] == newer and key is None:
                        self._clean(partition)
                except Unreadable:
                    self.done.unreadable.append(partition)
                progress(partition)
            self.done.is_complete = self._count() == before
        return self.done

    def _count(self) -> tuple[int, int, int]:
        return self.done.moved, self.done.finished, self.done.cleaned

    def _move(self, partition: bytes) -> None:
        """Move what is in an old partition, or finish what was begun."""
        self._pace()
        copied: set[str] = set()  # what earlier attempts wrote to the new partition
        destination = b""
        while True:
            snapshot = self._read(partition)
            if snapshot is None:
                # Erased meanwhile: nobody will ever name what was copied.
                self._delete(destination, copied)
                return
            forward = Forward.parse(snapshot.key.value)
            if forward is not None:
                # Pictures stay if they may be those that another run has moved: it copied the same.
                if forward.move_id != NO_MOVE:
                    copied = {name for name in copied if name.startswith(MOVED_PREFIX)}
                self._delete(destination, copied)
                self._finish(partition, snapshot.key, forward)
                self.done.finished += 1
                return
            destination, forward = self._copy(partition, snapshot, copied)
            try:
                versions = self._backend.apply(partition, snapshot.replaced_by(forward))
            except Conflict:
                continue  # somebody was faster; look again
            marked = Item(forward.to_bytes(), versions[KEY_ITEM])
            self._finish(partition, marked, forward)
            self.done.moved += 1
            return

    def _copy(self, partition: bytes, snapshot: _Snapshot, copied: set[str]) -> tuple[bytes, Forward]:
        """Write a snapshot to the new partition, instead of what earlier attempts wrote.

        Raises:
            Unreadable: it is not known which partition that is.
        """
        key_item = KeyItem.parse(snapshot.key.value, self._keys)
        email = key_item.open_owner(key_item.data_key(self._keys, partition)).email
        here, destination = self._keys.partitions(email)
        if here != partition:
            raise Unreadable
        moved = key_item.rewrapped(self._keys, partition, destination).to_bytes()
        forward = Forward(os.urandom(MOVE_ID_BYTES), destination)
        profile = snapshot.profile.value if snapshot.profile else b""
        values = {name: item.value for name, item in snapshot.pictures.items()}
        copy = Moved(moved, profile, frozenset(values))
        values[moved_name(forward.move_id)] = copy.to_bytes()
        operations: list[Operation] = [Delete(name) for name in copied - values.keys()]
        operations += (Put(name, value) for name, value in values.items())
        self._backend.apply(destination, operations)
        copied.clear()
        copied.update(values)
        return destination, forward

    def _finish(self, partition: bytes, key: Item, forward: Forward) -> None:
        """Settle what a forward leads to, and let the forward go."""
        try:
            self._homes.settle(forward.partition, forward.move_id)
        except Conflict:
            pass  # a writer was faster
        expiry = int(self._clock()) + self._forward_seconds
        put = Put(KEY_ITEM, forward.to_bytes(), key.version, expires_at=expiry)
        try:
            self._backend.apply(partition, [put])
        except Conflict:
            pass  # another run has done the same

    def _clean(self, partition: bytes) -> None:
        """Clean copies away that a killed run left for a profile that was erased since."""
        infos = self._backend.list(partition)
        moved = [info for info in infos if info.name.startswith(MOVED_PREFIX)]
        if not moved:
            return
        address = Address(partition, moved[0].name)
        item = self._backend.get_many([address]).get(address)
        if item is None:
            return
        key_item = KeyItem.parse(Moved.parse(item.value).key_item, self._keys)
        email = key_item.open_owner(key_item.data_key(self._keys, partition)).email
        older = Address(self._keys.partitions(email)[0], KEY_ITEM)
        if older not in self._backend.get_many([older]):
            self._delete(partition, {info.name for info in infos if _is_copied(info)})
            self.done.cleaned += 1

    def _read(self, partition: bytes) -> _Snapshot | None:
        """Return what an old partition holds, all of one instant; none if that is nothing."""
        while True:
            infos = {info.name: info for info in self._backend.list(partition)}
            names = [name for name in infos if name != NOT_BEFORE_ITEM]
            found = self._backend.get_many([Address(partition, name) for name in names])
            items = {address.name: item for address, item in found.items()}
            # Whoever changes a picture writes the profile as well.
            if all(_version(infos.get(name)) == _version(items.get(name)) for name in names):
                break
        key, profile = items.pop(KEY_ITEM, None), items.pop(PROFILE_ITEM, None)
        return None if key is None else _Snapshot(key, profile, items)

    def _delete(self, partition: bytes, names: Iterable[str]) -> None:
        operations = [Delete(name) for name in names]
        if operations:
            self._backend.apply(partition, operations)


def _version(item: Item | ItemInfo | None) -> int | None:
    return item.version if item else None


def _is_copied(info: ItemInfo) -> bool:
    return info.name.startswith(MOVED_PREFIX) or parse_picture_item(info.name) is not None
