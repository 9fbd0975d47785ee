"""Erasures and removals of pictures that the ledger demands of a restored store.

A restore brings back what was removed since the archive. A walk opens the owner of each profile and
asks the ledger, a page at a time. An entry applies if it is no older than the archive, and if the
profile was last written before it: an archive takes time, and people may have come back meanwhile. The
time of the last write is in the sealed document; of a protected profile, the newest of its keys counts.
Locks of operators are applied by themselves, as they need no profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from backends import Backend, Item, chunks
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.homes import Homes
from persona_profile.store.items import KEY_ITEM, Forward, KeyItem, Moving
from persona_profile.store.ledger import Act, Ledger
from persona_profile.store.operator_acts import locks_since
from persona_profile.store.partitions import WalkReport, walk_items
from persona_profile.store.profile import open_profile
from persona_profile.store.removals import PictureRemoval

CLOCK_SECONDS: Final = 300
"""The accepted difference between the clocks of the service and of its backups."""

_PAGE: Final = 200


@dataclass(slots=True)
class ErasedAgain:
    """The result: numbers of profiles.

    Attributes:
        erased: erased again.
        pictures: whose picture was removed again.
        locks: emails that were locked again, as an operator had.
        unreadable: whose owner does not open with this keyring, so that the ledger was not asked; and
            locks of the ledger that do not open.
    """

    erased: int = 0
    pictures: int = 0
    locks: int = 0
    unreadable: int = 0


class _Owned(NamedTuple):
    """The email of a profile, and the time of its newest profile key; 0 without one."""

    email: str
    keyed_at: int


class ErasingAgain:
    """Applies the ledger to a store. A run that was stopped can be repeated.

    Args:
        since: milliseconds since 1970; older entries are left out.
        forward_seconds: the life of a forward.
    """

    def __init__(
        self, backend: Backend, keys: KeyWrapper, ledger: Ledger, since: int, forward_seconds: int
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._ledger = ledger
        self._since = since - 1000 * CLOCK_SECONDS
        self._homes = Homes(backend, keys, forward_seconds)
        # Without the ledger: its entries keep their times.
        self._profiles = ProfileService(backend, self._homes, keys, ledger=None, session_lifetime=3600)
        self._removals = PictureRemovals(backend, self._homes, keys, ledger=None)
        self.done = ErasedAgain()

    def run(self, report: WalkReport = lambda _: None) -> ErasedAgain:
        """Walk over all profiles, if the ledger has an entry that may apply; then renew locks.

        Raises:
            ServiceError: others keep writing to a profile.
        """
        if self._ledger.has_since(self._since):
            self._erase(report)
        self._renew_locks()
        return self.done

    def _erase(self, report: WalkReport) -> None:
        walked = walk_items(self._backend, [KEY_ITEM])
        for page in chunks(walked, lambda _: 1, _PAGE):
            owned = {each.email: each.keyed_at for each in self._owned(page)}
            for email, times in self._ledger.find(list(owned)).items():
                self._apply(email, times, owned[email])
            report(page[-1][0])

    def _owned(self, page: Sequence[tuple[bytes, Mapping[str, Item]]]) -> Iterator[_Owned]:
        for partition, items in page:
            value = items[KEY_ITEM].value if KEY_ITEM in items else b""
            moving = Moving.parse(value)
            value = moving.key_item if moving else value
            if not value or Forward.parse(value) is not None:
                continue  # no profile, or its copy is in another partition
            try:
                key_item = KeyItem.parse(value, self._keys)
                owner = key_item.open_owner(key_item.data_key(self._keys, partition))
            except Unreadable:
                self.done.unreadable += 1
            else:
                yield _Owned(owner.email, max((each.added_at for each in owner.wraps), default=0))

    def _apply(self, email: str, times: Mapping[Act, int], keyed_at: int) -> None:
        [home], _ = self._homes.find([email], [])
        profile = open_profile(email, home, self._keys, None)
        written_at = keyed_at if profile.document.updated_at is None else profile.document.updated_at
        acts = {act for act, at in times.items() if at >= max(self._since, written_at)}
        session, _ = self._profiles.open_session([Vouched(email, "operator")])
        if Act.ERASED in acts:
            self._profiles.erase(session, email)
            self.done.erased += 1
        elif Act.PICTURE_REMOVED in acts and self._removals.remove_renditions(email):
            self.done.pictures += 1

    def _renew_locks(self) -> None:
        """Bring back the state of operators' locks, of which the archive has an earlier one or none."""
        for lock in locks_since(self._ledger, self._since):
            if lock is None:
                self.done.unreadable += 1
            elif lock.until is None:
                self._removals.unlock_again(lock.email, lock.at)
            else:
                removal = PictureRemoval(
                    lock.email, lock.at, lock.until, is_locked=True, reason=lock.reason
                )
                self.done.locks += self._removals.lock_again(removal)
