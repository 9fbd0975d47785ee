"""Wrapping all data keys of a store by the primary key-encryption key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from backends import Backend, Conflict, Item, Put
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, REMOVAL_ITEM, holds_data_key
from persona_profile.store.partitions import WalkReport, read_items, walk_items

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

    Writes `key` and `picture_removal` items only, each by compare-and-set; their keys stay the same.
    After a kill at any instant another run goes on.

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
            for partition, items in walk_items(self._backend, [KEY_ITEM, REMOVAL_ITEM]):
                for name, item in items.items():
                    try:
                        self._rewrap(partition, name, item)
                    except Unreadable:
                        unreadable.append(partition)
                report(partition)
            self.done.unreadable = unreadable
            if self.done.keys == done_before:
                self.done.is_complete = True
                break
        return self.done

    def _rewrap(self, partition: bytes, name: str, item: Item | None) -> None:
        opened: dict[bytes, bytes] = {}
        while item is not None and holds_data_key(item.value):
            wrapped, rest = self._keys.split(item.value)
            if not self._keys.needs_rewrap(wrapped):
                return
            self._pace()
            # A key that was wrapped here is not unwrapped again: its KEK may be destroyed by now.
            secret = opened.get(wrapped) or self._keys.unwrap(partition, wrapped)
            wrapped = self._keys.wrap(partition, secret)
            opened[wrapped] = secret
            put = Put(name, wrapped + rest, item.version, expires_at=item.expires_at)
            try:
                versions = self._backend.apply(partition, [put])
            except Conflict:
                item = read_items(self._backend, partition, [name]).get(name)
            else:
                self.done.keys += 1
                # Check again: the KEK may have been replaced meanwhile.
                item = Item(put.value, versions[name], item.expires_at)
