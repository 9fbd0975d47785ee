"""The partition of an email's items, also while the index key changes.

Usually an email has one partition. With two live index keys it has an older and a newer one, and the
**home** of its profile is found so:

1. If the older partition's `key` item is no forward, the home is the older partition. If only the
   newer partition has a profile, the newer one is the home.
2. If it is a forward, the home is the newer partition, read after the forward. If its `key` item is
   a moving item with the move id of the forward, the copy in it is the profile.

Any other moving item is no profile. No write spans two partitions. There is one home at every
instant, even if processes are killed, or stand still for hours and go on:

- **Making.** A profile is made in the partition of the primary index key. If that is the newer
  partition, a forward is put into the older one first, which must be empty. So two processes with
  different primary keys can't make two profiles.
- **Claiming.** A mover (`reindexing`) first claims the newer partition, by a moving item where there
  was no `key` item. Then it reads the older partition, and writes the copy only over its own claim.
  So nothing that was erased before the claim is ever copied.
- **Forwarding.** One batch in the older partition replaces the copied items by a forward, if they
  have not changed. At this instant the profile moves. The next writer, or the mover, then puts the
  copy under the usual names (`settle`).
- **Clearing.** A moving item is removed, at the version that was read, only when its forward can't
  come any more: the older partition has no `key` item, or another forward, or its `key` item was
  written again, unchanged, so that the mover's batch fails. For a claim without a copy the version
  is enough.
- **Erasing** removes the profile at home at the versions that were read, and then clears: an earlier
  claim is gone, and a later one finds nothing to copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from backends import (
    ABSENT,
    Address,
    Backend,
    Conflict,
    Delete,
    Item,
    ItemInfo,
    Operation,
    Put,
)
from backends.copying.transfer import batches
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import MARK_MARGIN_SECONDS, MAX_SESSION_SECONDS
from persona_profile.store.items import (
    ITEMS_OF_THE_ADDRESS,
    KEY_ITEM,
    NO_MOVE,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    REMOVAL_ITEM,
    Forward,
    Moving,
    holds_data_key,
    instant_of,
    parse_picture_item,
)
from persona_profile.store.partitions import read_items

_Items = dict[Address, Item]
_ITEMS_OF_A_HOME: Final = (KEY_ITEM, PROFILE_ITEM, REMOVAL_ITEM)


@dataclass(frozen=True, slots=True)
class Home:
    """The partition where a profile is, or would be made, and the items there.

    Attributes:
        partitions: all partitions of the email, the older first.
        partition: the home.
        key: the `key` item, of a copy with the version of the moving item; None without a profile.
        profile: the `profile` item, likewise.
        move_id: of a copy that is the profile and is not yet under the usual names.
        forward: the `key` item of the older partition, if it is a forward.
        has_leftover: whether the home's `key` item is a moving item that is no profile.
        removals: the items of an operator's removal of the picture, with their partitions, the newest
            first.
    """

    partitions: tuple[bytes, ...]
    partition: bytes
    key: Item | None
    profile: Item | None
    move_id: bytes | None = None
    forward: Item | None = None
    has_leftover: bool = False
    removals: tuple[tuple[bytes, Item], ...] = ()

    @property
    def versions(self) -> dict[str, int]:
        """The versions of the stored `key` and `profile` items, by name."""
        stored = {KEY_ITEM: self.key, PROFILE_ITEM: None if self.move_id else self.profile}
        return {name: item.version for name, item in stored.items() if item is not None}


class Homes:
    """Finds the homes of profiles.

    Args:
        forward_seconds: the life of a forward; older URLs of pictures follow it.
    """

    def __init__(self, backend: Backend, keys: KeyWrapper, forward_seconds: int) -> None:
        self._backend = backend
        self._keys = keys
        self._forward_seconds = forward_seconds

    def find(
        self, emails: Sequence[str], with_marks_of: Sequence[str]
    ) -> tuple[list[Home], Mapping[str, int]]:
        """Return the homes of emails and the last sign-outs of some emails, in one trip.

        The sign-outs are in milliseconds since 1970, 0 for none. While the index key changes, moved
        profiles need a second trip.
        """
        partitions = {email: self._keys.partitions(email) for email in {*with_marks_of, *emails}}
        addresses = [
            Address(each, NOT_BEFORE_ITEM) for email in with_marks_of for each in partitions[email]
        ]
        for email in emails:
            for each in partitions[email]:
                addresses += (Address(each, name) for name in _ITEMS_OF_A_HOME)
        items = dict(self._backend.get_many(addresses))
        self._follow(items, [partitions[email] for email in emails])
        signed_out_at = {
            email: max(
                instant_of(items.get(Address(each, NOT_BEFORE_ITEM))) for each in partitions[email]
            )
            for email in with_marks_of
        }
        homes = [self._home(items, partitions[email]) for email in emails]
        return [_with_removals(home, items) for home in homes], signed_out_at

    def end_sessions(self, email: str, signed_out_at: int, now: float) -> None:
        """End the sessions that follow a sign-out of an email, by the mark of a later sign-out.

        If one partition has a later mark already, the other one gets the same. `signed_out_at` is the
        earlier sign-out in milliseconds, `now` is in seconds since 1970.

        Raises:
            Conflict: another process has written a mark meanwhile.
        """
        addresses = [Address(each, NOT_BEFORE_ITEM) for each in self._keys.partitions(email)]
        items = self._backend.get_many(addresses)
        last = max(instant_of(items.get(address)) for address in addresses)
        # This clock may be behind the clock of the last sign-out.
        instant = last if last > signed_out_at else max(int(1000 * now), signed_out_at + 1)
        # The newer partition first: then processes with both keys don't need the mark in the older one.
        for address in reversed(addresses):
            item = items.get(address)
            if instant_of(item) < instant:
                mark = Put(
                    NOT_BEFORE_ITEM,
                    instant.to_bytes(8),
                    if_version=item.version if item else ABSENT,
                    expires_at=int(now) + 1 + MAX_SESSION_SECONDS + MARK_MARGIN_SECONDS,
                )
                self._backend.apply(address.partition, [mark])

    def reserve(self, home: Home, now: float) -> None:
        """Put a forward to a home without a profile, and clear the home, before one is made there.

        Raises:
            Conflict: the home may have changed; find it again.
        """
        older = home.partitions[0]
        if home.partition != older and not (home.forward and home.forward.expires_at is None):
            put = Put(
                KEY_ITEM,
                Forward(NO_MOVE, home.partition).to_bytes(),
                if_version=home.forward.version if home.forward else ABSENT,
                expires_at=int(now) + self._forward_seconds,
            )
            self._backend.apply(older, [put])
        if home.has_leftover:
            self.clear(home.partition)

    def settle(self, partition: bytes, move_id: bytes) -> None:
        """Put a copy that is the profile under the usual names, unless that is done.

        Raises:
            Conflict: another process is doing it.
        """
        key = read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)
        moving = _moving(key)
        if key is None or moving is None or moving.move_id != move_id:
            return
        operations: list[Operation] = [Put(KEY_ITEM, moving.key_item, key.version)]
        if moving.profile:
            operations.append(Put(PROFILE_ITEM, moving.profile))
        self._backend.apply(partition, operations)

    def erase(self, home: Home) -> None:
        """Remove the profile of an email in all of its partitions.

        ITEMS_OF_THE_ADDRESS stay.

        Raises:
            Conflict: the profile was written since it was found, and is not erased.
        """
        older, newer = home.partitions[0], home.partitions[-1]
        if home.versions:
            if home.partition == older != newer:
                self._erase_hidden(home, newer)
            self._erase(home.partition, home.versions)
        for partition in home.partitions:
            self.clear(partition)

    def clear(self, partition: bytes) -> bool:
        """Remove claims, copies that are no profile, and renditions without a `key` item.

        A profile stays, also as a copy. See the module's text. Return whether anything was removed.
        """
        while True:
            infos = self._listed(partition)
            if KEY_ITEM in infos:
                key = read_items(self._backend, partition, [KEY_ITEM]).get(KEY_ITEM)
                if key is None or key.version != infos[KEY_ITEM].version:
                    continue
                moving = Moving.parse(key.value)
                if moving is None or not self._is_dead(partition, moving):
                    return False
            elif PROFILE_ITEM in infos:
                return False
            left = [info for info in infos.values() if _is_copied(info.name)]
            try:
                for batch in batches(_deletes(left)):
                    self._backend.apply(partition, batch)
            except Conflict:
                continue
            return bool(left)

    def follow(self, partition: bytes, names: Sequence[str]) -> tuple[bytes, dict[str, Item]]:
        """Return the named items and the `key` item of a partition, or of the one it forwards to.

        The `key` item may be in a copy that is not yet under the usual names.
        """
        items = read_items(self._backend, partition, [KEY_ITEM, *names])
        forward = Forward.parse(items[KEY_ITEM].value) if KEY_ITEM in items else None
        if forward is not None:
            partition = forward.partition
            items = read_items(self._backend, partition, [KEY_ITEM, *names])
        moving = _moving(items.get(KEY_ITEM))
        if moving is not None:
            key = items.pop(KEY_ITEM)
            # Without a forward: the URL for this partition proves that it was the home.
            if moving.key_item and (forward is None or forward.move_id == moving.move_id):
                items[KEY_ITEM] = Item(moving.key_item, key.version)
        return partition, items

    def _erase_hidden(self, home: Home, partition: bytes) -> None:
        """Erase a second profile of the email, which a bad restore made, before the home's profile."""
        items = read_items(self._backend, partition, [KEY_ITEM, PROFILE_ITEM])
        if not is_profile(items):
            return
        if _versions_of_profile(self._listed(home.partition)) != home.versions:
            raise Conflict("the profile has moved")
        self._erase(partition, {name: item.version for name, item in items.items()})

    def _erase(self, partition: bytes, versions: Mapping[str, int]) -> None:
        """Erase a profile whose `key` and `profile` items have these versions."""
        infos = self._listed(partition)
        if _versions_of_profile(infos) != versions:
            raise Conflict("another process has written the profile")
        # Each item at its version: a newer one is part of another write.
        first, *rest = batches(_deletes(infos.values()))
        self._backend.apply(partition, first)
        for batch in rest:
            with suppress(Conflict):
                self._backend.apply(partition, batch)

    def _is_dead(self, partition: bytes, moving: Moving) -> bool:
        """Return whether a moving item is no profile; if so, it never will be."""
        while moving.origin != partition:
            key = read_items(self._backend, moving.origin, [KEY_ITEM]).get(KEY_ITEM)
            if key is None:
                return True
            forward = Forward.parse(key.value)
            if forward is not None:
                return forward.move_id != moving.move_id
            if not moving.key_item:
                return True
            try:
                self._backend.apply(moving.origin, [Put(KEY_ITEM, key.value, key.version)])
            except Conflict:
                continue
            return True
        return True  # damaged

    def _listed(self, partition: bytes) -> dict[str, ItemInfo]:
        infos = self._backend.list(partition)
        return {info.name: info for info in infos if info.name not in ITEMS_OF_THE_ADDRESS}

    def _follow(self, items: _Items, all_partitions: Iterable[tuple[bytes, ...]]) -> None:
        """Read newer partitions again, after the forward: their items may have been read before it."""
        addresses = [
            Address(partitions[1], name)
            for partitions in all_partitions
            if _forward(items, partitions) is not None
            for name in (KEY_ITEM, PROFILE_ITEM)
        ]
        if addresses:
            for address in addresses:
                items.pop(address, None)
            items |= self._backend.get_many(addresses)

    def _home(self, items: _Items, partitions: tuple[bytes, ...]) -> Home:
        older, newer = partitions[0], partitions[-1]
        forward = _forward(items, partitions)
        key, profile = (items.get(Address(older, name)) for name in (KEY_ITEM, PROFILE_ITEM))
        if forward is not None:
            return _newer_home(items, partitions, forward, key)
        if _moving(key) is not None:
            home = Home(partitions, older, None, None, has_leftover=True)
        else:
            home = Home(partitions, older, key, profile)
        if home.versions or older == newer:
            return home
        newer_home = _newer_home(items, partitions, None, None)
        is_newer_primary = newer[0] == self._keys.primary_index_version
        return newer_home if newer_home.versions or is_newer_primary else home


def _with_removals(home: Home, items: _Items) -> Home:
    removals = tuple(
        (partition, items[address])
        for partition in reversed(home.partitions)
        if (address := Address(partition, REMOVAL_ITEM)) in items
    )
    return replace(home, removals=removals) if removals else home


def is_profile(items: Mapping[str, Item]) -> bool:
    """Return whether the items of a partition are those of a profile, or of half a profile."""
    key = items.get(KEY_ITEM)
    return PROFILE_ITEM in items or (key is not None and holds_data_key(key.value))


def _newer_home(
    items: _Items, partitions: tuple[bytes, ...], forward: Forward | None, mark: Item | None
) -> Home:
    """Return the newer partition as the home; `mark` is the item of the `forward` to it, if any."""
    newer = partitions[-1]
    key, profile = (items.get(Address(newer, name)) for name in (KEY_ITEM, PROFILE_ITEM))
    moving = _moving(key)
    if key is None or moving is None:
        return Home(partitions, newer, key, profile, forward=mark)
    if forward is None or forward.move_id != moving.move_id:
        return Home(partitions, newer, None, None, forward=mark, has_leftover=True)
    copied = Item(moving.profile, key.version) if moving.profile else None
    copied_key = Item(moving.key_item, key.version)
    return Home(partitions, newer, copied_key, copied, moving.move_id, forward=mark)


def _forward(items: Mapping[Address, Item], partitions: tuple[bytes, ...]) -> Forward | None:
    if len(partitions) == 1:
        return None
    key = items.get(Address(partitions[0], KEY_ITEM))
    return None if key is None else Forward.parse(key.value)


def _moving(key: Item | None) -> Moving | None:
    return None if key is None else Moving.parse(key.value)


def _versions_of_profile(infos: Mapping[str, ItemInfo]) -> dict[str, int]:
    return {name: infos[name].version for name in (KEY_ITEM, PROFILE_ITEM) if name in infos}


def _is_copied(name: str) -> bool:
    return name in (KEY_ITEM, PROFILE_ITEM) or parse_picture_item(name) is not None


def _deletes(infos: Iterable[ItemInfo]) -> list[Operation]:
    """Return the deletes of items at their versions, small items first."""
    return [
        Delete(each.name, each.version) for each in sorted(infos, key=lambda each: "/" in each.name)
    ]
