"""Pictures that an operator removes, and addresses that an operator locks for pictures.

No profile is opened: that of a protected one could not be. The profile goes on naming the removed
picture; its id in the `key` item hides it (see `items`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Final

from backends import ABSENT, Backend, Conflict, Delete, ItemInfo, Operation, Put
from backends.copying.transfer import batches
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.repeating import WRITE_PATIENCE_SECONDS, repeated
from persona_profile.store.homes import Home, Homes
from persona_profile.store.items import (
    KEY_ITEM,
    PROFILE_ITEM,
    KeyItem,
    parse_picture_item,
    picture_id_of,
)
from persona_profile.store.ledger import Act, Ledger
from persona_profile.store.removals import PictureRemoval, forget_removal, open_removal

NOTICE_SECONDS: Final = 30 * 24 * 3600
"""How long the owner sees the reason of a removal without a lock."""


class PictureRemovals:
    """Removes pictures and locks addresses at an operator's command.

    Both methods raise `WriteConflict` if others kept writing for `write_patience`.

    Args:
        ledger: records what is removed, for restores; None where the ledger itself demands it.
        clock: seconds since 1970.
        write_patience: seconds during which a write is repeated while others write to the profile.
    """

    def __init__(
        self,
        backend: Backend,
        homes: Homes,
        keys: KeyWrapper,
        *,
        ledger: Ledger | None,
        clock: Callable[[], float] = time.time,
        write_patience: float = WRITE_PATIENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._homes = homes
        self._keys = keys
        self._ledger = ledger
        self._clock = clock
        self.write_patience = write_patience

    @repeated
    def remove(
        self, email: str, lock_seconds: int | None, reason: str, now: float | None = None
    ) -> tuple[PictureRemoval, bool]:
        """Remove the picture of an email; with `lock_seconds`, accept no other one for that time.

        It begins at `now`, by default the clock's. Without `lock_seconds` an earlier lock stays, and
        its reason unless there is a new one.

        Returns:
            The removal; whether there was a picture.
        """
        now = self._clock() if now is None else now
        expires_at = int(now) + (lock_seconds or NOTICE_SECONDS)
        removal = PictureRemoval(email, int(1000 * now), expires_at, lock_seconds is not None, reason)
        home, earlier = self._found(email)
        if lock_seconds is None and earlier is not None and earlier.is_locked:
            reason = reason or earlier.reason
            removal = replace(removal, expires_at=earlier.expires_at, is_locked=True, reason=reason)
        # The lock first, so that no picture follows the removed one.
        self._put(removal, home)
        return removal, self.remove_renditions(email)

    @repeated
    def lock_again(self, removal: PictureRemoval) -> bool:
        """Bring a lock back that a restore has lost; return whether it was lost, and has not ended."""
        home, found = self._found(removal.email)
        if found is not None and found.removed_at >= removal.removed_at:
            return False
        if removal.expires_at <= self._clock():
            return False
        self._put(removal, home)
        return True

    @repeated
    def unlock_again(self, email: str, ended_at: int) -> None:
        """End a lock that a restore has brought back; later ones stay. Milliseconds since 1970."""
        _, found = self._found(email)
        if found is not None and found.is_locked and found.removed_at <= ended_at:
            self.unlock(email)

    def _found(self, email: str) -> tuple[Home, PictureRemoval | None]:
        """Return an email's home and removal; None if there is none, or it does not open."""
        [home], _ = self._homes.find([email], [])
        with suppress(Unreadable):
            return home, open_removal(email, home, self._keys)
        return home, None

    def _put(self, removal: PictureRemoval, home: Home) -> None:
        """Write a removal, over those that were found with a home.

        Raises:
            Conflict: another operator has written one meanwhile, or the keys were replaced.
        """
        found = {partition: item.version for partition, item in home.removals}
        partitions = self._keys.partitions(removal.email)
        puts = {each: removal.put(self._keys, each) for each in reversed(partitions)}
        for partition, put in puts.items():  # the newest first: it is read first
            expected = found.get(partition, ABSENT)
            self._backend.apply(partition, [replace(put, if_version=expected)])
        wrapped, _ = self._keys.split(puts[partitions[-1]].value)
        if not self._keys.is_lasting(partitions[-1], wrapped):
            raise Conflict("the keys were replaced meanwhile")

    def is_locked(self, email: str) -> bool:
        """Return whether an email is locked, or has a removal that does not open."""
        [home], _ = self._homes.find([email], [])
        try:
            removal = open_removal(email, home, self._keys)
        except Unreadable:
            return True
        return removal is not None and removal.is_locked

    @repeated
    def unlock(self, email: str) -> None:
        """Forget the removal of an email's picture, which ends its lock."""
        home, found = self._found(email)
        forget_removal(self._backend, home)
        _, left = self._found(email)
        if left is None:
            return
        # On shards it may move to the partition that was read already, once.
        may_have_moved = found is None and len(home.partitions) > 1
        if may_have_moved or (found is not None and left.removed_at <= found.removed_at):
            raise Conflict("it was written to another partition meanwhile")

    def _settled(self, email: str) -> Home:
        """Return the home of an email, its items under their usual names."""
        [home], _ = self._homes.find([email], [])
        if home.move_id is not None:
            self._homes.settle(home.partition, home.move_id)
            [home], _ = self._homes.find([email], [])
        return home

    @repeated
    def remove_renditions(self, email: str) -> bool:
        """Remove the picture of an email alone; return whether there was one."""
        recorded: AbstractContextManager[None] = nullcontext()
        if self._ledger is not None:
            recorded = self._ledger.recording(Act.PICTURE_REMOVED, email)
        with recorded:
            return self._remove_renditions(self._settled(email))

    def _remove_renditions(self, home: Home) -> bool:
        """Remove all renditions in a home, and hide their picture; return whether there were any.

        Raises:
            Conflict: another process has written the profile.
        """
        renditions = [
            info for info in self._backend.list(home.partition) if parse_picture_item(info.name)
        ]
        operations = self._hiding(home, renditions)
        operations += (Delete(each.name, each.version) for each in renditions)
        for batch in batches(operations):
            self._backend.apply(home.partition, batch)
        return bool(renditions)

    def _hiding(self, home: Home, renditions: Sequence[ItemInfo]) -> list[Operation]:
        operations: list[Operation] = []
        if home.profile is not None:
            # Unchanged, but with a new version: an upload that has read the profile before fails.
            operations.append(Put(PROFILE_ITEM, home.profile.value, home.profile.version))
        if home.key is not None and renditions:
            try:
                key_item = KeyItem.parse(home.key.value, self._keys)
            except Unreadable:
                return operations  # the profile does not open either
            removed = sorted({picture_id_of(each.name) or b"" for each in renditions})
            value = key_item.hiding(removed).to_bytes()
            operations.append(Put(KEY_ITEM, value, home.key.version))
        return operations
