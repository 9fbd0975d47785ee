"""All items of a profile opened by `independent_keys`, without the service's code."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from support.forgeries import independent_keys as keys


class Opened(NamedTuple):
    """The plaintexts of a partition; pictures by the name of their items."""

    email: str
    profile: dict[str, Any]
    pictures: dict[str, bytes]


def open_data_key(
    partition: bytes, key_item: bytes, keyring: Mapping[int, bytes]
) -> tuple[bytes, keys.Owner]:
    """Return the data key of a partition and its owner."""
    parts = keys.split_key_item(key_item)
    data_key = keys.unwrap_data_key(keyring, partition, parts.wrapped_key)
    return data_key, keys.open_owner(data_key, parts.owner_record)


def open_items(
    partition: bytes,
    items: Mapping[str, bytes],
    keyring: Mapping[int, bytes],
    profile_key: bytes | None = None,
) -> Opened:
    """Open every item of a partition; fail if an item is left over, missing, or does not open."""
    data_key, owner = open_data_key(partition, items["key"], keyring)
    role, key = keys.DATA_KEY, data_key
    if owner.wraps:
        if profile_key is None:
            raise keys.Rejected("a protected profile needs its key")
        role, key = keys.CONTENT_KEY, keys.open_content_key(data_key, profile_key, owner)
    profile = keys.open_profile(role, key, items["profile"])
    names = picture_names(profile)
    if {"key", "profile", *names} != set(items):
        raise keys.Rejected("the items are not those that the profile names")
    if owner.wraps and names:
        picture_id = keys.from_base64url(profile["picture"]["id"])
        role, key = keys.PICTURE_KEY, keys.picture_key_of(key, picture_id)
    return Opened(
        owner.email, profile, {name: keys.open_record(role, key, name, items[name]) for name in names}
    )


def picture_names(profile: Mapping[str, Any]) -> list[str]:
    """Return the names of a profile's picture items."""
    picture = profile["picture"] or {"id": "", "formats": {}}
    return [
        f"picture/{picture['id']}/{size}.{name}"
        for size, names in picture["formats"].items()
        for name in names
    ]
