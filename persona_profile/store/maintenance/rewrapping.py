"""Wrapping all data keys of a store by the primary key-encryption key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends import Address, Backend, Conflict, Item, Put
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, KeyItem, holds_data_key
from persona_profile.store.partitions import WalkReport, walk_items

MAX_PASSES: Final = 10
"""If this many walks found stale data keys, some machine keeps wrapping with an older keyring."""


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
        pace: called before each data key.
    """

    def __init__(self, backend: Backend, keys: KeyWrapper, pace: Callable[[], None]) -> None:
        self._backend = backend
        self._keys = keys
        self._pace = pace
        self.done = Rewrapped()

    def run(self, report: WalkReport = lambda _: None) -> Rewrapped:
        """Walk over all partitions until nothing is left to do, at most MAX_PASSES times."""
        for _ in range(MAX_PASSES):
            unreadable = []
            done_before = self.done.keys
            for partition, items in walk_items(self._backend, [KEY_ITEM]):
                try:
                    self._rewrap(partition, items.get(KEY_ITEM))
                except Unreadable:
                    unreadable.append(partition)
                report(partition)
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
