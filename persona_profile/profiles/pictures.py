"""Serving pictures: capability URLs, and the renditions that they permit to read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256

from backends import Address, Backend, Item
from persona_profile.errors import NotFound, UnreadableProfile
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import PictureCapabilities, PictureCapability, Protection, Session
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Homes
from persona_profile.store.items import (
    KEY_ITEM,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    KeyItem,
    instant_of,
    picture_item,
)
from persona_profile.store.partitions import read_items
from persona_profile.store.profile import ProfileDocument, StoredProfile
from persona_profile.store.renditions import Renditions
from persona_profile.store.replicas import Replicas


class PictureService:
    """Reads the pictures of profiles.

    Args:
        url_window: seconds for which the URL of a picture stays the same; it works for up to two
            windows. That of a protected profile works during the session that it was made in.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        homes: Homes,
        keys: KeyWrapper,
        *,
        url_window: int,
        replicas: Replicas | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._homes = homes
        self._keys = keys
        self._replicas = replicas or Replicas()
        self._renditions = Renditions(backend, homes, self._replicas)
        self._capabilities = PictureCapabilities(keys, url_window, clock)

    def capabilities(self, profile: StoredProfile, session: Session) -> dict[int, str]:
        """Return the last part of the URL for each size of the current picture."""
        picture = profile.document.picture
        if picture is None:
            return {}
        protection = self._protection(profile, session)
        return {
            size: self._capabilities.seal(
                PictureCapability(profile.home.partition, picture.id, size, names, protection)
            )
            for size, names in picture.formats.items()
        }

    def capabilities_tag(self, profile: StoredProfile, session: Session) -> str:
        """Return a text that changes whenever `capabilities` of the same picture change.

        It is the instant at which they expire; for a protected profile also a digest of the sign-outs
        that the session follows.
        """
        protection = self._protection(profile, session)
        tag = f"{self._capabilities.expiry(profile.home.partition, protection):x}"
        if protection is None:
            return tag
        sign_outs = (partition + instant.to_bytes(8) for partition, instant in protection.sign_outs)
        return f"{tag}-{sha256(b''.join(sign_outs)).hexdigest()[:16]}"

    def open_capability(self, text: str) -> tuple[PictureCapability, int]:
        """Return a capability, and the seconds until it expires.

        Raises:
            NotFound: the text is no capability of this service, or has expired.
        """
        try:
            return self._capabilities.open(text)
        except Unreadable:
            raise NotFound from None

    def read(self, capability: PictureCapability, format_name: str) -> bytes:
        """Return the bytes of the rendition that a capability permits.

        Raises:
            NotFound: the picture was replaced or removed, or the session that it was for has ended.
            UnreadableProfile: the rendition does not open.
        """
        address = Address(
            capability.partition, picture_item(capability.picture_id, capability.size, format_name)
        )
        protection = capability.protection
        if protection is None and self._replicas.has_healthy:
            key = self._key_of_current(capability)
            copies = self._renditions.from_replica({address: key} if key else {})
            if copies:
                return copies[address]
        partition, items = self._homes.follow(address.partition, [address.name])
        if address.name not in items or KEY_ITEM not in items:
            raise NotFound
        if protection and self._is_ended(protection):
            raise NotFound
        try:
            key = protection.picture_key if protection else self._data_key(partition, items[KEY_ITEM])
            return key.open(address.name, items[address.name].value)
        except Unreadable:
            raise UnreadableProfile("The picture can't be read now.", retry_after=60) from None

    def thumbnails(
        self, profiles: Sequence[StoredProfile], size: int, formats: Sequence[str]
    ) -> dict[str, tuple[str, bytes]]:
        """Return format and bytes of one rendition for each profile with a picture, by email.

        The format is the first of `formats` that is stored. All come from one read. Renditions that do
        not open are missing.
        """
        wanted: dict[Address, tuple[StoredProfile, str]] = {}
        for profile in profiles:
            picture = profile.document.picture
            stored = picture.formats.get(size, ()) if picture else ()
            name = next((name for name in formats if name in stored), None)
            if picture is not None and name is not None:
                address = Address(profile.home.partition, picture_item(picture.id, size, name))
                wanted[address] = profile, name
        found = self._renditions.get(
            {address: profile.picture_key() for address, (profile, _) in wanted.items()}
        )
        return {
            profile.email: (name, found[address])
            for address, (profile, name) in wanted.items()
            if address in found
        }

    def all_renditions(self, profile: StoredProfile) -> dict[str, bytes]:
        """Return all renditions of a profile's picture, by file name (`512.webp`).

        Raises:
            Conflict, UnreadableProfile, Unavailable: see `Renditions.of_profile`.
        """
        renditions = self._renditions.of_profile(profile)
        return {name.rpartition("/")[2]: data for name, data in renditions.items()}

    def _key_of_current(self, capability: PictureCapability) -> RecordKey | None:
        """Return the data key of a picture that the primary names as current.

        None while the index key changes, and for a picture that was replaced or removed.
        """
        items = read_items(self._backend, capability.partition, [KEY_ITEM, PROFILE_ITEM])
        if len(items) < 2:
            return None
        try:
            key_item = KeyItem.parse(items[KEY_ITEM].value, self._keys)
            key = key_item.data_key(self._keys, capability.partition)
            document = ProfileDocument.parse(key.open(PROFILE_ITEM, items[PROFILE_ITEM].value))
        except Unreadable:
            return None
        picture = document.picture
        is_current = picture is not None and picture.id == capability.picture_id
        return key if is_current and not key_item.hides(capability.picture_id) else None

    def _protection(self, profile: StoredProfile, session: Session) -> Protection | None:
        if not profile.is_protected or profile.document.picture is None:
            return None
        sign_outs = tuple(
            (partition, proof.signed_out_at)
            for proof in session.proofs
            for partition in self._keys.partitions(proof.email)
        )
        return Protection(profile.picture_key(), sign_outs, session.expires_at)

    def _is_ended(self, protection: Protection) -> bool:
        """Return whether the session of a protected picture's URL was ended by a sign-out.

        A session counts as ended if its sign-out could not be noticed: sign-outs don't mark the
        partitions of a destroyed index key.
        """
        versions = {partition[0] for partition, _ in protection.sign_outs}
        if versions.isdisjoint(self._keys.index_versions):
            return True
        addresses = [Address(partition, NOT_BEFORE_ITEM) for partition, _ in protection.sign_outs]
        marks = self._backend.get_many(addresses)
        return any(
            instant_of(marks.get(address)) > signed_out_at
            for address, (_, signed_out_at) in zip(addresses, protection.sign_outs, strict=True)
        )

    def _data_key(self, partition: bytes, key: Item) -> RecordKey:
        return KeyItem.parse(key.value, self._keys).data_key(self._keys, partition)
