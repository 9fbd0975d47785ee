"""Serving pictures: capability URLs, and the renditions that they and a profile's owner may read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from backends import Address, Backend, Conflict, Item
from persona_profile.errors import NotFound, UnreadableProfile
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import PictureCapabilities, PictureCapability, Protection
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
from persona_profile.store.profile import Profile
from persona_profile.store.replicas import Replicas


class PictureService:
    """Reads the pictures of profiles.

    Args:
        backend: where sealed items are kept.
        homes: finds them while the index key changes.
        keys: what seals them.
        url_window: seconds for which the URL of a picture stays the same; it works for up to two. That
            of a protected profile works during the session that it was made in.
        replicas: of the backend; asked for renditions that the backend has just told to be current.
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
        self._replicas = replicas or Replicas()
        self._homes = homes
        self._keys = keys
        self._capabilities = PictureCapabilities(keys, url_window, clock)

    def capabilities(self, profile: Profile) -> dict[int, str]:
        """Return the last part of the URL for each size of the current picture."""
        if profile.picture is None:
            return {}
        protection = self._protection(profile)
        return {
            size: self._capabilities.seal(
                PictureCapability(profile.partition, profile.picture.id, size, names, protection)
            )
            for size, names in profile.picture.formats.items()
        }

    def capabilities_tag(self, profile: Profile) -> str:
        """Return a text that is another whenever `capabilities` of the same picture are others.

        It is the instant at which they expire, and of a protected profile a digest of the sign-outs
        that end them.
        """
        protection = self._protection(profile)
        tag = f"{self._capabilities.expiry(profile.partition, protection):x}"
        if protection is None:
            return tag
        sign_outs = (partition + instant.to_bytes(8) for partition, instant in protection.sign_outs)
        return f"{tag}-{sha256(b''.join(sign_outs)).hexdigest()[:16]}"

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
            NotFound: the picture was replaced or removed, or the session that it was for has ended.
            UnreadableProfile: what is stored does not open.
            Unavailable, KeysUnavailable: the storage or the key service does not answer.
        """
        name = picture_item(capability.picture_id, capability.size, format_name)
        protection = capability.protection
        if protection is None and self._replicas.can_be_asked:
            data = self._read_replica(capability, name)
            if data is not None:
                return data
        partition, items = self._homes.follow(capability.partition, [name])
        if name not in items or KEY_ITEM not in items:
            raise NotFound
        if protection and self._is_ended(protection):
            raise NotFound
        try:
            key = protection.picture_key if protection else self._data_key(partition, items[KEY_ITEM])
            return key.open(name, items[name].value)
        except Unreadable:
            raise _unreadable() from None

    def thumbnails(
        self, profiles: Sequence[Profile], size: int, formats: Sequence[str]
    ) -> dict[str, tuple[str, bytes]]:
        """Return format and bytes of one rendition for each profile with a picture, by email.

        The format is the first of `formats` that is stored. All come from one read; a picture that
        does not open is missing from the answer.
        """
        wanted: dict[Address, tuple[Profile, str]] = {}
        for profile in profiles:
            stored = profile.picture.formats.get(size, ()) if profile.picture else ()
            name = next((name for name in formats if name in stored), None)
            if profile.picture is not None and name is not None:
                rendition = picture_item(profile.picture.id, size, name)
                wanted[Address(profile.partition, rendition)] = profile, name
        found = {}
        for address, copy in self._replicas.get_many(wanted).items():
            profile, name = wanted[address]
            try:
                found[profile.email] = name, _picture_key(profile).open(address.name, copy.value)
            except Unreadable:
                self._replicas.report_damage()
        left = {address: each for address, each in wanted.items() if each[0].email not in found}
        items = self._backend.get_many(left) if left else {}
        for address, (profile, name) in left.items():
            # What is missing was replaced, or moved to another partition, since the profile was read.
            item = items.get(address) or self._homes.follow(address.partition, [address.name])[1].get(
                address.name
            )
            try:
                if item is not None:
                    found[profile.email] = name, _picture_key(profile).open(address.name, item.value)
            except Unreadable:
                continue
        return found

    def all_renditions(self, profile: Profile) -> dict[str, bytes]:
        """Return every rendition of a profile's picture, by file name (`512.webp`).

        Raises:
            Conflict, UnreadableProfile, Unavailable: see `read_renditions`.
        """
        renditions = read_renditions(self._backend, profile)
        return {name.rpartition("/")[2]: data for name, data in renditions.items()}

    def _read_replica(self, capability: PictureCapability, name: str) -> bytes | None:
        """Return what a replica has of a rendition, if by the backend the picture is the current one.

        A picture's id is never used twice, so its bytes do not change. Nothing is returned if a replica
        can't help or the backend's own answer is needed: while the index key changes, and for what is
        not there any more.

        Raises:
            Unavailable, KeysUnavailable: the storage or the key service does not answer.
        """
        partition = capability.partition
        key_address, profile_address = Address(partition, KEY_ITEM), Address(partition, PROFILE_ITEM)
        kept = self._backend.get_many([key_address, profile_address])
        try:
            data_key = self._data_key(partition, kept[key_address])
            plaintext = data_key.open(PROFILE_ITEM, kept[profile_address].value)
            picture = Profile("").filled(plaintext).picture
        except (Unreadable, ValueError, LookupError, TypeError, AttributeError):
            return None
        if picture is None or picture.id != capability.picture_id:
            return None
        address = Address(partition, name)
        copy = self._replicas.get_many([address]).get(address)
        try:
            return None if copy is None else data_key.open(name, copy.value)
        except Unreadable:
            self._replicas.report_damage()
            return None

    def _protection(self, profile: Profile) -> Protection | None:
        session = profile.session
        if not profile.is_protected or profile.picture is None or session is None:
            return None
        sign_outs = tuple(
            (partition, proof.signed_out_at)
            for proof in session.proofs
            for partition in self._keys.partitions(proof.email)
        )
        return Protection(_picture_key(profile), sign_outs, session.expires_at)

    def _is_ended(self, protection: Protection) -> bool:
        """Tell whether any email of the session that a picture's URL is of was signed out since.

        It counts as ended if a sign-out would not be noticed: nobody marks the partitions of an index
        key that is destroyed.
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


def read_renditions(backend: Backend, profile: Profile) -> Mapping[str, bytes]:
    """Return every rendition of a profile's picture, by the name of its item.

    Raises:
        Conflict: the profile was written since it was read; read it again.
        UnreadableProfile: one is missing or does not open.
        Unavailable: the storage does not answer.
    """
    if profile.picture is None:
        return {}
    addresses = [Address(profile.partition, name) for name in profile.picture.item_names()]
    profile_address = Address(profile.partition, PROFILE_ITEM)
    items = backend.get_many([profile_address, *addresses])
    key = _picture_key(profile)
    try:
        return {each.name: key.open(each.name, items[each].value) for each in addresses}
    except (KeyError, Unreadable):
        current = items.get(profile_address)
        if current is None or current.version != profile.stored_version:
            raise Conflict("the profile was written meanwhile") from None
        raise _unreadable() from None


def _picture_key(profile: Profile) -> RecordKey:
    """Return what opens the renditions of a profile that has a picture, and so was opened itself."""
    assert profile.content_key is not None
    assert profile.picture is not None
    return profile.content_key.for_picture(profile.picture.id)


def _unreadable() -> UnreadableProfile:
    return UnreadableProfile("The picture can't be read now.", retry_after=60)
