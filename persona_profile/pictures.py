"""Serving pictures: capability URLs, and the renditions that they and a profile's owner may read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from backends import Address, Backend, Item
from persona_profile.errors import NotFound, UnreadableProfile
from persona_profile.keywrap import WRAPPED_KEY_BYTES, KeyWrapper, Unreadable
from persona_profile.model import KEY_ITEM, Profile, picture_item
from persona_profile.tokens import PictureCapabilities, PictureCapability


class PictureService:
    """Reads the pictures of profiles.

    Args:
        backend: where sealed items are kept.
        keys: what seals them.
        url_window: seconds for which the URL of a picture stays the same; it works for up to two.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        *,
        url_window: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._capabilities = PictureCapabilities(keys, url_window, clock)

    def capabilities(self, profile: Profile) -> dict[int, str]:
        """Return the last part of the URL for each size of the current picture."""
        if profile.picture is None:
            return {}
        partition = self._keys.partition(profile.email)
        return {
            size: self._capabilities.seal(PictureCapability(partition, profile.picture.id, size, names))
            for size, names in profile.picture.formats.items()
        }

    def capabilities_expire_at(self, profile: Profile) -> int:
        """Return when those of `capabilities` stop working, in seconds since 1970."""
        return self._capabilities.expiry(self._keys.partition(profile.email))

    def open_capability(self, text: str) -> tuple[PictureCapability, int]:
        """Return a capability, and the seconds for which it still works.

        Raises:
            NotFound: it is not one of ours, or it has expired.
        """
        try:
            return self._capabilities.open(text)
        except Unreadable:
            raise NotFound from None

    def read(self, capability: PictureCapability, format_name: str) -> bytes:
        """Return the bytes of the rendition that a capability permits.

        Raises:
            NotFound: the picture was replaced or removed.
            UnreadableProfile: what is stored does not open.
            Unavailable: the storage does not answer.
        """
        item = picture_item(capability.picture_id, capability.size, format_name)
        address = Address(capability.partition, item)
        items = self._backend.get_many([Address(capability.partition, KEY_ITEM), address])
        if len(items) < 2:
            raise NotFound
        return self._open_or_refuse(items, address)

    def thumbnails(
        self, profiles: Sequence[Profile], size: int, formats: Sequence[str]
    ) -> dict[str, tuple[str, bytes]]:
        """Return format and bytes of one rendition for each profile with a picture, by email.

        The format is the first of `formats` that is stored. All come from one read; a picture that
        does not open is missing from the answer.
        """
        wanted: dict[str, tuple[str, Address]] = {}
        for profile in profiles:
            stored = profile.picture.formats.get(size, ()) if profile.picture else ()
            name = next((name for name in formats if name in stored), None)
            if profile.picture is not None and name is not None:
                item = picture_item(profile.picture.id, size, name)
                wanted[profile.email] = name, Address(self._keys.partition(profile.email), item)
        addresses = [address for _, address in wanted.values()]
        keys = [Address(address.partition, KEY_ITEM) for address in addresses]
        items = self._backend.get_many(addresses + keys) if addresses else {}
        found = {}
        for email, (name, address) in wanted.items():
            try:
                found[email] = name, self._open(items, address)
            except (KeyError, Unreadable):
                continue
        return found

    def all_renditions(self, profile: Profile) -> dict[str, bytes]:
        """Return every rendition of a profile's picture, by file name (`512.webp`).

        Raises:
            UnreadableProfile: one is missing or does not open.
            Unavailable: the storage does not answer.
        """
        if profile.picture is None:
            return {}
        partition = self._keys.partition(profile.email)
        addresses = [Address(partition, name) for name in profile.picture.item_names()]
        items = self._backend.get_many([Address(partition, KEY_ITEM), *addresses])
        return {
            address.name.rpartition("/")[2]: self._open_or_refuse(items, address)
            for address in addresses
        }

    def _open_or_refuse(self, items: Mapping[Address, Item], address: Address) -> bytes:
        try:
            return self._open(items, address)
        except (KeyError, Unreadable):
            raise UnreadableProfile("The picture can't be read now.", retry_after=60) from None

    def _open(self, items: Mapping[Address, Item], address: Address) -> bytes:
        wrapped = items[Address(address.partition, KEY_ITEM)].value[:WRAPPED_KEY_BYTES]
        data_key = self._keys.unwrap(address.partition, wrapped)
        return self._keys.open(data_key, address.name, items[address].value)
