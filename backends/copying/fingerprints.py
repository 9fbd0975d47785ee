"""Short hashes by which a copy recognizes items and partitions later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

from backends import Item, ItemInfo

FINGERPRINT_BYTES: Final = 16


def of_version(info: ItemInfo) -> bytes:
    """Return the fingerprint of an item by its version."""
    return _digest(b"version\0%s\0%016x" % (info.name.encode("ascii"), info.version))


def of_value(name: str, item: Item) -> bytes:
    """Return the fingerprint of an item by its value and expiry."""
    return _digest(b"value\0%s\0%d\0" % (name.encode("ascii"), item.expires_at or 0), item.value)


def of_name(name: str) -> bytes:
    """Return the fingerprint of a name."""
    return _digest(b"name\0" + name.encode("ascii"))


def of_listing(infos: Iterable[ItemInfo]) -> bytes:
    """Return the hash of the versions in a listing, of the items that do not expire."""
    lasting = (info for info in infos if info.expires_at is None)
    return _digest(*(b"%s\0%016x" % (info.name.encode("ascii"), info.version) for info in lasting))


def of_items(items: Mapping[str, Item]) -> bytes:
    """Return `of_listing` of the listing that has these items."""
    return of_listing(
        ItemInfo(name, item.version, len(item.value), item.expires_at) for name, item in items.items()
    )


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()
