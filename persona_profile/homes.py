"""Where the items of an email are kept, also while the index key changes.

Ordinarily that is one partition. While two index keys are live there are two, the older and the newer,
and the **home** of a profile is found so:

1. The older partition's `key` item is no forward: the home is the older partition, unless nothing is
   there and something is in the newer.
2. It is a forward: the home is the newer partition, read after the forward was seen. If that has no
   `key` item, but the copy (`moved/<move id>`) that the forward names, that copy is the profile.

What keeps it so, although no write spans two partitions:

- A profile is **made** in the partition of the primary index key. If that is the newer, a forward is
  put into the older one first, if that is empty: so two processes, of which only one has heard of the
  new primary key, can't make one each.
- A profile is **moved** (`reindexing`) by copying it to where nobody looks, under a move id that was
  never used before, and then, in one batch, replacing what was copied by a forward with that id, if
  it is still what was copied. Then the copy is the profile; to put it under the usual names
  (`settle`) is left to whoever writes first.

So at every instant there is one home, whoever is killed; a writer who was faster than a mover makes
its batch fail, and one who was slower meets the forward and writes to the new home.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends import ABSENT, MAX_OPERATIONS, Address, Backend, Delete, Item, Operation, Put
from persona_profile.encoding import base64url_encode
from persona_profile.key_items import NO_MOVE, Forward, Moved
from persona_profile.keywrap import KeyWrapper
from persona_profile.lifetimes import MARK_MARGIN_SECONDS, MAX_SESSION_SECONDS
from persona_profile.model import (
    KEY_ITEM,
    MOVED_PREFIX,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    instant_of,
    parse_picture_item,
)

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
    """

    partitions: tuple[bytes, ...]
    partition: bytes
    key: Item | None
    profile: Item | None
    move_id: bytes | None = None
    forward: Item | None = None


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
        if home.partition == older or (home.forward and home.forward.expires_at is None):
            return
        put = Put(
            KEY_ITEM,
            Forward(NO_MOVE, home.partition).to_bytes(),
            if_version=home.forward.version if home.forward else ABSENT,
            expires_at=int(now) + self._forward_seconds,
        )
        self._backend.apply(older, [put])

    def settle(self, partition: bytes, move_id: bytes) -> None:
        """Put a copy that is the profile under the usual names; nothing if somebody has done it.

        Raises:
            Conflict: somebody else is doing it.
            Unavailable: the storage does not answer.
        """
        # Before the copy is read: as long as that is there, nobody else writes to its partition.
        infos = self._backend.list(partition)
        name = moved_name(move_id)
        item = self._named(partition, [name]).get(name)
        if item is None:
            return
        moved = Moved.parse(item.value)
        # From attempts that were killed or overtaken, which no forward names.
        left = [info.name for info in infos if "/" in info.name and info.name not in moved.pictures]
        self._delete(partition, [each for each in left if each != name])
        operations: list[Operation] = [
            Delete(name, item.version),
            Put(KEY_ITEM, moved.key_item, if_version=ABSENT),
            Put(PROFILE_ITEM, moved.profile, if_version=ABSENT),
        ]
        self._backend.apply(partition, operations)

    def follow(self, partition: bytes, names: Sequence[str]) -> tuple[bytes, dict[str, Item]]:
        """Return items of a partition, or of the one that it forwards to; and which one that is.

        Among them the `key` item, also of a copy that is not yet under the usual names.

        Raises:
            Unavailable: the storage does not answer.
        """
        items = self._named(partition, [KEY_ITEM, *names])
        forward = Forward.parse(items[KEY_ITEM].value) if KEY_ITEM in items else None
        if forward is None:
            if KEY_ITEM not in items:
                items |= self._copied_key(partition, items)
            return partition, items
        moved = moved_name(forward.move_id)
        del items[KEY_ITEM]
        # What is left in the older partition is marks: they hold wherever the profile is.
        items |= self._named(forward.partition, [KEY_ITEM, moved, *names])
        if KEY_ITEM not in items and moved in items:
            items[KEY_ITEM] = _parts(items[moved])[0]
        return forward.partition, items

    def _copied_key(self, partition: bytes, items: Mapping[str, Item]) -> Mapping[str, Item]:
        """Return the `key` item of the copy that pictures belong to, under its usual name."""
        if not any(map(parse_picture_item, items)):
            return {}
        infos = self._backend.list(partition)
        names = [info.name for info in infos if info.name.startswith(MOVED_PREFIX)]
        for item in self._named(partition, names).values():
            if Moved.parse(item.value).pictures & items.keys():
                return {KEY_ITEM: _parts(item)[0]}
        return {}

    def _delete(self, partition: bytes, names: Sequence[str]) -> None:
        for start in range(0, len(names), MAX_OPERATIONS):
            some = names[start : start + MAX_OPERATIONS]
            self._backend.apply(partition, [Delete(name) for name in some])

    def _named(self, partition: bytes, names: Iterable[str]) -> dict[str, Item]:
        found = self._backend.get_many([Address(partition, name) for name in names])
        return {address.name: item for address, item in found.items()}

    def _follow(self, items: _Items, all_partitions: Iterable[tuple[bytes, ...]]) -> None:
        """Read newer partitions again of which a forward was seen: what was read may be older."""
        addresses: list[Address] = []
        for partitions in all_partitions:
            forward = _forward(items, partitions)
            if forward is not None:
                names = KEY_ITEM, PROFILE_ITEM, moved_name(forward.move_id)
                addresses += (Address(partitions[1], name) for name in names)
        if addresses:
            for address in addresses:
                items.pop(address, None)
            items |= self._backend.get_many(addresses)

    def _home(self, items: _Items, partitions: tuple[bytes, ...]) -> Home:
        older, newer = partitions[0], partitions[-1]
        forward = _forward(items, partitions)
        if forward is None:
            key = items.get(Address(older, KEY_ITEM))
            profile = items.get(Address(older, PROFILE_ITEM))
            if key or profile or older == newer:
                return Home(partitions, older, key, profile)
            key = items.get(Address(newer, KEY_ITEM))
            profile = items.get(Address(newer, PROFILE_ITEM))
            if key or profile:
                return Home(partitions, newer, key, profile)
            is_older = older[0] == self._keys.primary_index_version
            return Home(partitions, older if is_older else newer, None, None)
        mark = items[Address(older, KEY_ITEM)]
        key = items.get(Address(newer, KEY_ITEM))
        profile = items.get(Address(newer, PROFILE_ITEM))
        moved = items.get(Address(newer, moved_name(forward.move_id)))
        if key or profile or moved is None:
            return Home(partitions, newer, key, profile, forward=mark)
        return Home(partitions, newer, *_parts(moved), move_id=forward.move_id, forward=mark)


def moved_name(move_id: bytes) -> str:
    """Return the name of the item that holds the copy of a move."""
    return MOVED_PREFIX + base64url_encode(move_id)


def _forward(items: Mapping[Address, Item], partitions: tuple[bytes, ...]) -> Forward | None:
    key = items.get(Address(partitions[0], KEY_ITEM))
    if key is None or len(partitions) == 1:
        return None
    return Forward.parse(key.value)


def _parts(item: Item) -> tuple[Item, Item]:
    moved = Moved.parse(item.value)
    return Item(moved.key_item, item.version), Item(moved.profile, item.version)
