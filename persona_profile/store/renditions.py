"""Reading renditions: from a replica, else from the primary, else from the partition of a forward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from backends import Address, Backend, Conflict, Item
from persona_profile.errors import UnreadableProfile
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.store.homes import Homes
from persona_profile.store.items import PROFILE_ITEM
from persona_profile.store.profile import StoredProfile
from persona_profile.store.replicas import Replicas

Wanted = Mapping[Address, RecordKey]
"""Renditions to read, each with the key that opens it."""


class Renditions:
    """Reads and opens the renditions of current pictures.

    The caller has just read from the primary that the pictures are current. The name of a rendition is
    never used twice, so a replica has the same bytes under it or none.

    Args:
        backend: the primary.
        homes: follows the forwards of profiles that were moved meanwhile.
        replicas: of the backend.
    """

    def __init__(self, backend: Backend, homes: Homes, replicas: Replicas) -> None:
        self._backend = backend
        self._homes = homes
        self._replicas = replicas

    def get(self, wanted: Wanted) -> dict[Address, bytes]:
        """Return renditions; those that were replaced meanwhile, or do not open, are missing."""
        found = self.from_replica(wanted)
        left = {address: key for address, key in wanted.items() if address not in found}
        if left:
            items = dict(self._backend.get_many(left))
            items |= self._forwarded(address for address in left if address not in items)
            for address, item in items.items():
                try:
                    found[address] = left[address].open(address.name, item.value)
                except Unreadable:
                    continue
        return found

    def from_replica(self, wanted: Wanted) -> dict[Address, bytes]:
        """Return the renditions that a replica has."""
        found = {}
        for address, item in self._replicas.get_many(wanted).items():
            try:
                found[address] = wanted[address].open(address.name, item.value)
            except Unreadable:
                self._replicas.report_damage()
        return found

    def of_profile(self, profile: StoredProfile) -> dict[str, bytes]:
        """Return all renditions of a profile's picture, by the name of the item.

        Raises:
            Conflict: the profile was written since it was read.
            UnreadableProfile: a rendition is missing or does not open.
        """
        if profile.document.picture is None:
            return {}
        partition, key = profile.home.partition, profile.picture_key()
        wanted = {Address(partition, name): key for name in profile.document.picture.item_names()}
        found = self.get(wanted)
        if len(found) < len(wanted):
            address = Address(partition, PROFILE_ITEM)
            current = self._backend.get_many([address]).get(address)
            if current != profile.home.profile:
                raise Conflict("the profile was written meanwhile")
            raise UnreadableProfile("The picture can't be read now.", retry_after=60)
        return {address.name: found[address] for address in wanted}

    def _forwarded(self, addresses: Iterable[Address]) -> dict[Address, Item]:
        names = defaultdict(list)
        for partition, name in addresses:
            names[partition].append(name)
        return {
            Address(partition, name): item
            for partition, missing in names.items()
            for name, item in self._homes.follow(partition, missing)[1].items()
            if name in missing
        }
