"""The use of keys in a store, and wrapping its data keys by the primary key-encryption key."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from backends import Address, Backend, Conflict, Item, Put
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import MARK_MARGIN_SECONDS
from persona_profile.store.items import (
    KEY_ITEM,
    NOT_BEFORE_ITEM,
    Forward,
    KeyItem,
    Moving,
    holds_data_key,
    instant_of,
)
from persona_profile.store.partitions import walk_items

MAX_PASSES: Final = 10
"""If this many walks found stale data keys, some machine keeps wrapping with an older keyring."""

Progress = Callable[[bytes], None]
"""Called for each partition that was done."""


@dataclass(slots=True)
class KeyUse:
    """The number of items that need each key.

    Attributes:
        wraps: data keys by the version of the key-encryption key that wraps them.
        stale: data keys that are not wrapped by the primary key.
        unreadable: `key` items of an unknown layout, or of a key service that is not configured.
        profiles: partitions with a data key, by index version.
        marks: partitions with the only mark of a sign-out, by index version; marks expire.
        forwards: partitions whose profile was moved to another index key; forwards expire.
        moving: moves to another index key that have not ended, or have left a copy.
    """

    wraps: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    unreadable: int = 0
    profiles: Counter[int] = field(default_factory=Counter)
    marks: Counter[int] = field(default_factory=Counter)
    forwards: int = 0
    moving: int = 0

    def add(self, keys: KeyWrapper, partition: bytes, key: Item | None, mark: Item | None) -> None:
        """Count one partition."""
        self.marks[partition[0]] += mark is not None and not _is_elsewhere(keys, partition[0], mark)
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
        try:
            wrapped = KeyItem.parse(key.value, keys).wrapped
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


def count_use(backend: Backend, keys: KeyWrapper, progress: Progress = lambda _: None) -> KeyUse:
    """Count which keys a store needs.

    Raises:
        Unavailable, KeysUnavailable: the storage or the key service does not answer.
    """
    use = KeyUse()
    for partition, items in walk_items(backend, [KEY_ITEM, NOT_BEFORE_ITEM]):
        use.add(keys, partition, items.get(KEY_ITEM), items.get(NOT_BEFORE_ITEM))
        progress(partition)
    return use


class Pace:
    """Limits work to a number of steps per second, so that the service beside it stays fast."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def __call__(self) -> None:
        """Wait until the next step may begin."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._pause


@dataclass(slots=True)
class Rewrapped:
    """The result of a run.

    Attributes:
        keys: data keys that were wrapped again.
        unreadable: partitions whose data key does not open.
        is_complete: the last walk found nothing to do.
    """

    keys: int = 0
    unreadable: Sequence[bytes] = ()
    is_complete: bool = False


class Rewrapping:
    """Wraps every data key by the primary key-encryption key, while the store is in use.

    Writes `key` items only, each by compare-and-set; the data keys stay the same. After a kill at any
    instant another run goes on.

    Args:
        backend: the store of sealed items.
        keys: wraps data keys.
        pace: called before each data key.
    """

    def __init__(self, backend: Backend, keys: KeyWrapper, pace: Callable[[], None]) -> None:
        self._backend = backend
        self._keys = keys
        self._pace = pace
        self.done = Rewrapped()

    def run(self, progress: Progress = lambda _: None) -> Rewrapped:
        """Walk over all partitions until nothing is left to do, at most MAX_PASSES times.

        Raises:
            Unavailable, KeysUnavailable: the storage or the key service does not answer.
        """
        for _ in range(MAX_PASSES):
            unreadable = []
            done_before = self.done.keys
            for partition, items in walk_items(self._backend, [KEY_ITEM]):
                try:
                    self._rewrap(partition, items.get(KEY_ITEM))
                except Unreadable:
                    unreadable.append(partition)
                progress(partition)
            self.done.unreadable = unreadable
            if self.done.keys == done_before:
                self.done.is_complete = True
                break
        return self.done

    def _rewrap(self, partition: bytes, key: Item | None) -> None:
        opened: dict[bytes, RecordKey] = {}
        while key is not None and holds_data_key(key.value):
            key_item = KeyItem.parse(key.value, self._keys)
            if not self._keys.needs_rewrap(key_item.wrapped):
                return
            self._pace()
            # A key that was wrapped here is not unwrapped again: its KEK may be destroyed by now.
            data_key = opened.get(key_item.wrapped) or key_item.data_key(self._keys, partition)
            wrapped = self._keys.wrap(partition, data_key.secret)
            opened[wrapped] = data_key
            value = replace(key_item, wrapped=wrapped).to_bytes()
            try:
                versions = self._backend.apply(partition, [Put(KEY_ITEM, value, key.version)])
            except Conflict:
                address = Address(partition, KEY_ITEM)
                key = self._backend.get_many([address]).get(address)
            else:
                self.done.keys += 1
                # Check again: the KEK may have been replaced meanwhile.
                key = Item(value, versions[KEY_ITEM])
