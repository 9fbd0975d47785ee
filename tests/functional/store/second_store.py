"""The destination of copies, which people use already."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from support.stores.stepping import Call
from support.stores.store_jobs import Copy
from support.stores.store_requests import Token, Write
from support.stores.store_world import EMAILS, ISSUER, World
from support.stores.stores import everything

from backends import Backend, ItemInfo
from backends.copying.copy_state import CopyState, Pending
from backends.copying.online_copy import CopyResult
from persona_profile.errors import PictureLocked
from persona_profile.keys.tokens import Session
from persona_profile.profiles.sessions import Vouched

Listing = dict[bytes, list[ItemInfo]]


class SecondStore:
    """The destination of copies.

    Attributes:
        store: the backend.
        state: the file with the copies' progress.
        foreign_writes: the number of writes by other writers than copies.
    """

    def __init__(self, world: World, store: Backend, state: Path) -> None:
        self.world = world
        self.store = store
        self.state = state
        self.foreign_writes = 0
        self._kept: dict[tuple[str, str], object] = {}
        self._left: dict[str, Listing] = {}

    def copy(self) -> Copy:
        """Return a copy to this store."""
        for email in EMAILS:
            if not self._lasting(email) and self._is_in_doubt(email):
                self._kept.pop((email, "profile"), None)
        return Copy(
            self.world,
            self.world.first,
            self.store,
            self.state,
            lambda: self.foreign_writes > 0,
            self._watch,
            self._made_equal,
            self.foreign_writes,
        )

    def sign_out(self, email: str) -> None:
        """End the sessions of an email in this store."""
        session = self._session(email)
        self._write(email, "mark", lambda: self.world.first.profiles(self.store).sign_out(session))

    def write(self, kind: type[Write], email: str, value: str) -> None:
        """Write a profile in this store."""
        session = self._session(email)
        token = Token(self.world.first.tokens.seal(session), session, {})
        write = kind(self.world, self.world.first, email, token, None, value)
        self._write(email, "profile", lambda: write.run(self.store))

    def abandon(self) -> None:
        """Stop the checks of this store."""
        self.foreign_writes += 1
        self._kept.clear()

    def after_waiting(self) -> None:
        """Accept that marks may have expired, without a trace."""
        values = {each: self._value(*each) for each in self._kept}
        self._kept = {each: value for each, value in values.items() if value or each[1] != "mark"}

    def _write(self, email: str, field: str, write: Callable[[], object]) -> None:
        before = self.world.listing(self.store, email)
        with suppress(PictureLocked):
            write()
        if self.world.listing(self.store, email) == before:
            return
        self.foreign_writes += 1
        self._kept[email, field] = self._value(email, field)
        if field == "profile" and self._lasting(email) == self._left.get(email, {}):
            del self._kept[email, field]  # the profile was erased without a trace

    def _session(self, email: str) -> Session:
        profiles = self.world.first.profiles(self.store)
        return profiles.open_session([Vouched(email, ISSUER)])[0]

    def _value(self, email: str, field: str) -> object:
        return getattr(self.world.first.observe(self.store)[email], field)

    def _lasting(self, email: str) -> Listing:
        """Return the items of an email here that do not expire."""
        found = self.world.listing(self.store, email)
        lasting = {
            each: [info for info in infos if not info.expires_at] for each, infos in found.items()
        }
        return {each: infos for each, infos in lasting.items() if infos}

    def _is_in_doubt(self, email: str) -> bool:
        """Return whether the last copy has left no note of whether it has written an email here."""
        partitions = self.world.partitions(email)
        with CopyState(self.state) as state:
            known = state.known([min(partitions), max(partitions)])
        found = [known.get(each) for each in partitions]
        return any(isinstance(each, Pending) and not each.kept for each in found)

    def _watch(self, call: Call) -> None:
        """Fail if a copy has changed the write of a person."""
        if call.method == "apply":
            for (email, field), value in self._kept.items():
                assert self._value(email, field) == value
            self._left = {email: self._lasting(email) for email in EMAILS}

    def _made_equal(self, work: Copy, result: CopyResult) -> None:
        """Fail unless this store equals the first one, if only copies wrote here meanwhile."""
        if self.foreign_writes != work.foreign_writes:
            return
        if work.source == everything(self.world.store):  # nobody wrote to the first store either
            assert result.equal
            assert everything(self.store) == work.source
        if result.equal:
            for email, view in self.world.first.observe(self.store).items():
                assert view.profile in [each.profile for each in work.window(email)]
                assert view.mark in [each.mark for each in work.window(email)]
