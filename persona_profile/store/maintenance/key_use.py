"""The use of keys in a store, and the checks before a key is destroyed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from backends import Backend, Item
from persona_profile.keys.keyring import KeyKind, Keyring, KeyringError
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import MARK_MARGIN_SECONDS
from persona_profile.store.items import (
    KEY_ITEM,
    NOT_BEFORE_ITEM,
    REMOVAL_ITEM,
    Forward,
    Moving,
    instant_of,
)
from persona_profile.store.partitions import WalkReport, walk_items

MOVING: Final = "keys rewrap --index"
"""The lease of movers, and of commands that destroy a key: a mover may wrap by it."""

RELOAD_SECONDS: Final = 3.0
"""More time than a running server needs to reload a changed keyring."""


_COUNTED_ITEMS: Final = (KEY_ITEM, NOT_BEFORE_ITEM, REMOVAL_ITEM)


@dataclass(slots=True)
class KeyUse:
    """The number of items that need each key.

    Attributes:
        wraps: data keys and removal keys by the version of the key-encryption key that wraps them.
        stale: data keys that are not wrapped by the primary key.
        unreadable: `key` items of an unknown layout, or of a key service that is not configured.
        profiles: partitions with a data key, by index version.
        marks: partitions with the only mark of a sign-out, by index version; marks expire.
        removals: partitions with an operator's removal of a picture, by index version.
        forwards: partitions whose profile was moved to another index key; forwards expire.
        moving: moves to another index key that have not ended, or have left a copy.
    """

    wraps: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    unreadable: int = 0
    profiles: Counter[int] = field(default_factory=Counter)
    marks: Counter[int] = field(default_factory=Counter)
    removals: Counter[int] = field(default_factory=Counter)
    forwards: int = 0
    moving: int = 0

    def add(self, keys: KeyWrapper, partition: bytes, items: Mapping[str, Item]) -> None:
        """Count one partition."""
        key, mark, removal = (items.get(name) for name in _COUNTED_ITEMS)
        self.marks[partition[0]] += mark is not None and not _is_elsewhere(keys, partition[0], mark)
        if removal is not None:
            self.removals[partition[0]] += 1
            self._count_wrapped(keys, removal)
        if key is None:
            return
        if Forward.parse(key.value) is not None:
            self.forwards += 1
            self.moving += key.expires_at is None
            return
        if Moving.parse(key.value) is not None:
            self.moving += 1
            return
        self.profiles[partition[0]] += 1
        self._count_wrapped(keys, key)

    def _count_wrapped(self, keys: KeyWrapper, item: Item) -> None:
        try:
            wrapped, _ = keys.split(item.value)
            self.wraps[keys.wrapping_version(wrapped)] += 1
            self.stale += keys.needs_rewrap(wrapped)
        except Unreadable:
            self.unreadable += 1


def _is_elsewhere(keys: KeyWrapper, version: int, mark: Item) -> bool:
    """Return whether the partition of the newer index key has the same mark.

    It has, as soon as every process has the newer key; there is a margin for clocks.
    """
    retired_at = keys.index_retired_at(version)
    if retired_at is None:
        return False
    return instant_of(mark) > 1000 * (retired_at.timestamp() + MARK_MARGIN_SECONDS)


def count_use(backend: Backend, keys: KeyWrapper, report: WalkReport = lambda _: None) -> KeyUse:
    """Count which keys a store needs."""
    use = KeyUse()
    for partition, items in walk_items(backend, _COUNTED_ITEMS):
        use.add(keys, partition, items)
        report(partition)
    return use


def check_unused(
    backend: Backend, keys: KeyWrapper, kind: KeyKind, version: int, report: WalkReport
) -> None:
    """Return if no item needs a key.

    Raises:
        KeyringError: items need it.
    """
    use = count_use(backend, keys, report)
    counts = {"moves to another index key have not ended": use.moving}
    if kind is KeyKind.ENCRYPTION:
        counts["data keys are under it"] = use.wraps[str(version)]
        counts["data keys have an unknown layout"] = use.unreadable
    else:
        counts["profiles are under it"] = use.profiles[version]
        counts["removals of pictures are under it"] = use.removals[version]
        counts["marks of sign-outs are under it, and expire"] = use.marks[version]
    reasons = [f"{count:,} {reason}" for reason, count in counts.items() if count]
    if reasons:
        raise KeyringError(f"{kind} key {version} is needed: {'; '.join(reasons)}")


def missing_keys(keyring: Keyring, wraps: Mapping[str, int], profiles: Mapping[int, int]) -> list[str]:
    """Return why a keyring can't open all data keys and find all profiles, counted by version."""
    missing = {
        f"data keys are under encryption key {version}, which the keyring lacks": count
        for version, count in wraps.items()
        if version.isdigit() and not _is_live(keyring, KeyKind.ENCRYPTION, int(version))
    }
    missing |= {
        f"profiles are under index key {version}, which the keyring lacks": count
        for version, count in profiles.items()
        if not _is_live(keyring, KeyKind.INDEX, version)
    }
    return [f"{count:,} {problem}" for problem, count in missing.items() if count]


def _is_live(keyring: Keyring, kind: KeyKind, version: int) -> bool:
    key = keyring.find(kind, version)
    return key is not None and key.is_live


def write_seconds(backend: Backend) -> int:
    """Return the seconds after which all writes have ended that a server began with a replaced key.

    They count from now: on another machine the key was replaced when the keyring was copied there.
    """
    return math.ceil(RELOAD_SECONDS + backend.write_seconds)
