"""The work of operators: movers, keys, backups and copies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from backends import Backend
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import CopyResult, copy
from backends.copying.transfer import NotEmpty, NotWritten
from persona_profile.errors import WriteConflict
from persona_profile.keys.keyring import KeyKind, KeyringError
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.leases import Lease, LeaseHeld, LeaseLost
from persona_profile.store.maintenance.archived_homes import ArchivedHomes, HomesError
from persona_profile.store.maintenance.key_use import MOVING, check_unused, write_seconds
from persona_profile.store.maintenance.reindexing import Reindexing
from persona_profile.store.maintenance.rewrapping import Rewrapping
from support.stores.archives import backup
from support.stores.stepping import Stepped
from support.stores.store_work import Work
from support.stores.store_world import FORWARD_SECONDS, LOCK_SECONDS, View, World
from support.stores.stores import Everything, everything


@dataclass
class Move(Work):
    """Moves profiles to the newer index key, with or without the lease that prevents double work."""

    errors = LeaseHeld, LeaseLost

    has_lease: bool

    def run(self, backend: Backend) -> object:
        if not self.has_lease:
            return self._move(backend, lambda: None)
        with lease(self.world, backend) as held:
            return self._move(backend, held.keep)

    def may_change(self, email: str, before: View, after: View) -> bool:
        # A removal that the mover has read before an unlock comes back; the owner sees it.
        is_back = after.removal in self.world.removed_at and before.removal == ""
        if is_back and self.world.unlocked[email] >= self.began:
            self.world.half_removed.add(email)
            return after[:2] == before[:2]
        return False

    def acknowledged(self, result: object) -> None:
        assert result.is_complete
        assert not result.unreadable
        assert not result.doubled

    def _move(self, backend: Backend, keep: Callable[[], None]) -> object:
        job = Reindexing(
            backend, self.machine.keys, FORWARD_SECONDS, lambda: None, self.world.clock, keep
        )
        return job.run()


@dataclass
class RemovePicture(Work):
    """An operator removes the picture of an email, and may lock it."""

    errors = (WriteConflict,)

    email: str
    has_lock: bool
    reason: str

    def run(self, backend: Backend) -> object:
        self.world.removed_at[self.reason] = self.world.clock.now
        seconds = LOCK_SECONDS if self.has_lock else None
        return self.machine.removals(backend).remove(self.email, seconds, self.reason)

    def may_change(self, email: str, before: View, after: View) -> bool:
        if email != self.email:
            return False
        if before[2:] != after[2:]:
            if before.is_locked and not self.has_lock:  # its end stays
                self.world.removed_at[self.reason] = self.world.removed_at[before.removal]
            self.world.half_removed.add(email)
            is_locked = before.is_locked or self.has_lock
            return after == before._replace(removal=self.reason, is_locked=is_locked)
        return after == before._replace(profile=before.profile._replace(picture=None))

    def acknowledged(self, result: object) -> None:
        views = self.window(self.email)
        assert any(view.profile.picture is None for view in views)
        assert any(view.removal == self.reason for view in views)


@dataclass
class Unlock(Work):
    """An operator ends the lock of an email."""

    errors = (WriteConflict,)

    email: str

    def run(self, backend: Backend) -> object:
        self.world.unlocked[self.email] = len(self.world.history)
        return self.machine.removals(backend).unlock(self.email)

    def may_change(self, email: str, before: View, after: View) -> bool:
        return email == self.email and after == before._replace(removal="", is_locked=False)

    def acknowledged(self, result: object) -> None:
        assert any(not view.removal for view in self.window(self.email))


class Rewrap(Work):
    """Wraps data keys again."""

    def run(self, backend: Backend) -> object:
        return Rewrapping(backend, self.machine.keys, lambda: None).run()

    def acknowledged(self, result: object) -> None:
        assert not result.unreadable


@dataclass
class Destroy(Work):
    """Destroys the oldest key of a kind, if unneeded."""

    errors = LeaseHeld, LeaseLost, KeyringError

    kind: KeyKind

    def run(self, backend: Backend) -> object:
        version = self.ring.live(self.kind)[0].version
        after = self.ring.destroying(self.kind, version, self.world.now())
        with lease(self.world, backend) as held:
            self._check_unused(backend, version, held)
            held.sleep(write_seconds(backend))
            self._check_unused(backend, version, held)
        return after

    def acknowledged(self, result: object) -> None:
        self.world.use(result)

    def _check_unused(self, backend: Backend, version: int, held: Lease) -> None:
        check_unused(backend, self.machine.keys, self.kind, version, lambda _: held.keep())


@dataclass
class Backup(Work):
    """Writes an archive, as a command that loads the keyring once."""

    errors = (HomesError,)

    path: Path
    restored: Callable[[Backup], None]

    def run(self, backend: Backend) -> object:
        with closing(ArchivedHomes(KeyWrapper(self.ring))) as homes:
            return backup(
                backend,
                self.path,
                software="test",
                related=homes.related,
                clock=self.world.clock,
            )

    def acknowledged(self, result: object) -> None:
        self.restored(self)

    def rejected(self, error: BaseException) -> None:
        super().rejected(error)
        assert self.ring is not self.world.keyring


@dataclass
class Copy(Work):
    """Copies the store to a second store.

    Attributes:
        destination: the second store.
        state: the file with the copy's progress.
        is_foreign: returns whether another writer has written to the second store.
        watch: called after each write to the second store.
        made_equal: called with the copy's result.
        foreign_writes: other writers' writes to the second store before the copy began.
        source: the content of the store at that time.
    """

    errors = NotEmpty, NotWritten

    destination: Backend
    state: Path
    is_foreign: Callable[[], bool]
    watch: Callable[..., None]
    made_equal: Callable[[Copy, CopyResult], None]
    foreign_writes: int
    source: Everything = field(init=False)

    def run(self, backend: Backend) -> object:
        self.source = everything(self.world.store)
        destination = Stepped(self.destination)
        if isinstance(backend, Stepped):
            destination.before = backend.before
        destination.after = self.watch
        with CopyState(self.state) as state:
            return copy(backend, destination, state, clock=self.world.clock, passes=4)

    def acknowledged(self, result: object) -> None:
        self.made_equal(self, result)

    def rejected(self, error: BaseException) -> None:
        super().rejected(error)
        assert self.is_foreign()


def lease(world: World, backend: Backend) -> Lease:
    """Return the lease of the jobs that move profiles or destroy keys."""
    return Lease(
        backend,
        MOVING,
        clock=world.clock,
        monotonic=lambda: world.monotonic,
        sleep=world.sleep,
    )
