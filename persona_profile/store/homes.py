"""Where the items of an email are kept, also while the index key changes.

Ordinarily that is one partition. While two index keys are live there are two, the older and the
newer, and the **home** of a profile is found so:

1. The older partition's `key` item is no forward: the home is the older partition, unless nothing
   is there and a profile is in the newer.
2. It is a forward: the home is the newer partition, read after the forward was seen. If its `key`
   item is a moving item of the move that the forward names, the copy in it is the profile.

A moving item in any other place is no profile. No write spans two partitions. These rules keep one
home at every instant, whoever is killed or goes on after hours:

- **Making.** A profile is made in the partition of the primary index key. If that is the newer, a
  forward is put into the older one first, if that is empty. So two processes, of which only one has
  heard of the new primary key, can't make one each.
- **Claiming.** A mover (`reindexing`) writes to the newer partition only after it has claimed it:
  by a moving item, where there was no `key` item. It reads the older partition after that, and
  writes the copy only over its own claim. So nothing that was erased before the claim is ever
  copied.
- **Forwarding.** One batch in the older partition replaces what was copied by a forward, if it is
  still what was copied. This is the instant at which the profile moves. Whoever writes first, or
  the mover, then puts the copy under the usual names (`settle`).
- **Clearing.** A moving item is removed, at the version that was read, only when its forward can't
  come any more: the older partition has no `key` item, or another forward, or its `key` item was
  written once more, unchanged, so that the mover's batch fails. For a claim without a copy the
  version is enough.
- **Erasing** removes the profile at its home at the versions that were read, and then clears: a
  claim from before is gone, and a later one finds nothing to copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

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
    KEY_ITEM,
    NO_MOVE,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    Forward,
    Moving,
    holds_data_key,
    instant_of,
    parse_picture_item,
)
from persona_profile.store.partitions import read_items

_Items = dict[Address, Item]


@dataclass(frozen=True, slots=True)
class Home:
    """Where a profile is kept, or would be made, and what stands there.

    Attributes:
        partitions: all partitions of the email, the older first.
        partition: the home.
        key: the `key` item, with the version of the copy if it is that one's; none if nothing is kept.
        profile: the `profile` item, likewise.
        move_id: of the copy that is the profile but is not yet under the usual names.
        forward: the `key` item of the older partition, if it is a forward.
        has_leftover: whether the home's `key` item is a moving item that is no profile.
    """

    partitions: tuple[bytes, ...]
    partition: bytes
    key: Item | None
    profile: Item | None
    move_id: bytes | None = None
    forward: Item | None = None
    has_leftover: bool = False

    @property
    def versions(self) -> dict[str, int]:
        """The versions of the `key` and `profile` items that are stored at home, by name."""
        stored = {KEY_ITEM: self.key, PROFILE_ITEM: None if self.move_id else self.profile}
        return {name: item.version for name, item in stored.items() if item is not None}


class Homes:
    """Finds the homes of profiles.

    Args:
        backend: where sealed items are kept.
        keys: what computes partitions.
        forward_seconds: how long a forward stays, so that older URLs of pictures lead on.
    """

    def __init__(self, backend: Backend, keys: KeyWrapper, forward_seconds: int) -> None:
        self._backend = backend
        self._keys = keys
        self._forward_seconds = forward_seconds

    def find(
        self, emails: Sequence[str], with_marks_of: Sequence[str]
    ) -> tuple[list[Home], Mapping[str, int]]:
        """Return the homes of emails; and when sessions of some emails were last ended, in one trip.

        The latter in milliseconds since 1970, 0 for never. While the index key changes there is a
        second trip for profiles that were moved.

        Raises:
            Unavailable: the storage does not answer.
        """
        partitions = {email: self._keys.partitions(email) for email in (*with_marks_of, *emails)}
        addresses = [
            Address(each, NOT_BEFORE_ITEM) for email in with_marks_of for each in partitions[email]
        ]
        for email in emails:
            for each in partitions[email]:
                addresses += Address(each, KEY_ITEM), Address(each, PROFILE_ITEM)
        items = dict(self._backend.get_many(addresses))
        self._follow(items, [partitions[email] for email in emails])
        signed_out_at = {
            email: max(
                instant_of(items.get(Address(each, NOT_BEFORE_ITEM))) for each in partitions[email]
            )
            for email in with_marks_of
        }
        return [self._home(items, partitions[email]) for email in emails], signed_out_at

    def end_sessions(self, email: str, signed_out_at: int, now: float) -> None:
        """End the sessions of an email that were opened since a sign-out, by the mark of a later one.

        If there is a later mark already, they are over, and a partition that lacks it gets it.

        Args:
            email: canonical.
            signed_out_at: the sign-out that the sessions follow, in milliseconds since 1970.
            now: seconds since 1970.

        Raises:
            Conflict: somebody else has marked it meanwhile.
            Unavailable: the storage does not answer.
        """
        addresses = [Address(each, NOT_BEFORE_ITEM) for each in self._keys.partitions(email)]
        items = self._backend.get_many(addresses)
        last = max(instant_of(items.get(address)) for address in addresses)
        # By no clock alone: that may be behind the one of the last sign-out.
        instant = last if last > signed_out_at else max(int(1000 * now), signed_out_at + 1)
        # The newer partition first: no process that knows both needs the mark in the older one then.
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
        """Make sure that no other process makes the same profile elsewhere, before it is made at home.

        Args:
            home: where nothing is kept.
            now: seconds since 1970.

        Raises:
            Conflict: find the home again; it may be another by now.
            Unavailable: the storage does not answer.
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
        """Put a copy that is the profile under the usual names; nothing if somebody has done it.

        Raises:
            Conflict: somebody else is doing it.
            Unavailable: the storage does not answer.
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
        """Remove everything of an email but marks of ended sessions, in all of its partitions.

        Raises:
            Conflict: the profile is not as it was found any more; if so, it is as others made it.
            Unavailable: the storage does not answer.
        """
        older, newer = home.partitions[0], home.partitions[-1]
        if home.versions:
            if home.partition == older != newer:
                self._erase_hidden(home, newer)
            self._erase(home.partition, home.versions)
        for partition in home.partitions:
            self.clear(partition)

    def clear(self, partition: bytes) -> bool:
        """Remove what no profile names and none ever will: claims, copies, and items without a key.

        A profile stays as it is, and so does a copy that is one. See the module's text.

        Returns:
            Whether there was anything to remove.

        Raises:
            Unavailable: the storage does not answer.
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
        """Return items of a partition, or of the one that it forwards to; and which one that is.

        Among them the `key` item, also of a copy that is not yet under the usual names.

        Raises:
            Unavailable: the storage does not answer.
        """
        items = read_items(self._backend, partition, [KEY_ITEM, *names])
        forward = Forward.parse(items[KEY_ITEM].value) if KEY_ITEM in items else None
        if forward is not None:
            partition = forward.partition
            items = read_items(self._backend, partition, [KEY_ITEM, *names])
        moving = _moving(items.get(KEY_ITEM))
        if moving is not None:
            key = items.pop(KEY_ITEM)
            # Without a forward: a URL that was made for this partition proves that it was the home.
            if moving.key_item and (forward is None or forward.move_id == moving.move_id):
                items[KEY_ITEM] = Item(moving.key_item, key.version)
        return partition, items

    def _erase_hidden(self, home: Home, partition: bytes) -> None:
        """Erase a second profile of the email, as bad restores made, before it is the only one.

        Raises:
            Conflict: it may be the first one, moved at this instant.
            Unavailable: the storage does not answer.
        """
        items = read_items(self._backend, partition, [KEY_ITEM, PROFILE_ITEM])
        if not is_profile(items):
            return
        here = self._listed(home.partition)
        if _versions_of_profile(here) != home.versions:
            raise Conflict("the profile has moved")
        self._erase(partition, {name: item.version for name, item in items.items()})

    def _erase(self, partition: bytes, versions: Mapping[str, int]) -> None:
        """Erase a profile whose `key` and `profile` items are at these versions.

        Raises:
            Conflict: they are not; nothing was erased.
            Unavailable: the storage does not answer.
        """
        infos = self._listed(partition)
        if _versions_of_profile(infos) != versions:
            raise Conflict("somebody else has written the profile")
        # Each at its version: what comes at this instant is another's.
        first, *rest = batches(_deletes(infos.values()))
        self._backend.apply(partition, first)
        for batch in rest:
            with suppress(Conflict):
                self._backend.apply(partition, batch)

    def _is_dead(self, partition: bytes, moving: Moving) -> bool:
        """Return whether a moving item is no profile, and see to it that it never will be one."""
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
        return True  # a damaged one

    def _listed(self, partition: bytes) -> dict[str, ItemInfo]:
        infos = self._backend.list(partition)
        return {info.name: info for info in infos if info.name != NOT_BEFORE_ITEM}

    def _follow(self, items: _Items, all_partitions: Iterable[tuple[bytes, ...]]) -> None:
        """Read newer partitions again of which a forward was seen: what was read may be older."""
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


def is_profile(items: Mapping[str, Item]) -> bool:
    """Return whether `key` and `profile` of a partition are those of a profile, or half of one."""
    key = items.get(KEY_ITEM)
    return PROFILE_ITEM in items or (key is not None and holds_data_key(key.value))


def _newer_home(
    items: _Items, partitions: tuple[bytes, ...], forward: Forward | None, mark: Item | None
) -> Home:
    """Return what is kept in the newer partition, to which a forward, in the item `mark`, may lead."""
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
    key = items.get(Address(partitions[0], KEY_ITEM))
    if key is None or len(partitions) == 1:
        return None
    return Forward.parse(key.value)


def _moving(key: Item | None) -> Moving | None:
    return None if key is None else Moving.parse(key.value)


def _versions_of_profile(infos: Mapping[str, ItemInfo]) -> dict[str, int]:
    return {name: infos[name].version for name in (KEY_ITEM, PROFILE_ITEM) if name in infos}


def _is_copied(name: str) -> bool:
    return name in (KEY_ITEM, PROFILE_ITEM) or parse_picture_item(name) is not None


def _deletes(infos: Iterable[ItemInfo]) -> list[Operation]:
    """Return what deletes items at their versions, the small ones first."""
    return [
        Delete(each.name, each.version) for each in sorted(infos, key=lambda each: "/" in each.name)
    ]
