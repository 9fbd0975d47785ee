"""Everything that people and operators do to a store at once, killed or paused between any two calls.

Each change that can be seen must be one that the work which made the call may make to the email as it
was at that instant. So acknowledged writes are never lost, and nothing comes back.

A restored backup is the store as it was, sign-outs included: a later sign-out is not in it. After a
copy to a second store a sign-out of either store holds there.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from second_store import SecondStore
from store_runner import TO_END, How, Runner, Until
from support.servers.applications import Clock
from support.stores.archives import restore
from support.stores.store_jobs import (
    Backup,
    Copy,
    Destroy,
    Move,
    RemovePicture,
    Rewrap,
    Unlock,
)
from support.stores.store_requests import WRITES, Edit, Erase, SignIn, SignOut, Token, Upload, Write
from support.stores.store_world import BLANK, EMAILS, PURGE_SECONDS, Machine, World

from backends import Backend
from backends.engines.memory import MemoryBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.errors import InvalidSession, NotFound
from persona_profile.keys.keyring import KeyKind, Keyring, KeyState
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.maintenance.archived_homes import ArchivedHomes

FIRST_CALLS = st.builds(Until, st.integers(1, 3), writes=st.just(False))
UNTIL = st.one_of(
    FIRST_CALLS,
    st.builds(Until, st.integers(1, 14), writes=st.just(False)),
    st.builds(Until, st.integers(0, 4), writes=st.just(True)),
)
HOW = st.one_of(st.just(TO_END), st.builds(How, st.sampled_from(["pause", "pause", "kill"]), UNTIL))
MACHINES = st.integers(0, 1)
ANY = st.integers(0, 100)
ANY_EMAIL = st.sampled_from(EMAILS)
ANY_EMAILS = st.sets(ANY_EMAIL, min_size=1).map(sorted)
ANY_WRITE = st.sampled_from([*WRITES, Erase])
TAGS = st.sampled_from([None, "current", "current", "stale"])
HOUR, DAY = 3600, 24 * 3600


class StoreMachine(RuleBasedStateMachine):
    """People, movers, backups, copies and keys before one store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.numbers = itertools.count()
        self.world = World(self.make_store)
        self.runner = Runner(self.world)
        self.second = self.make_second_store()
        self.links: dict[str, tuple[str, bytes]] = {}

    def make_store(self, clock: Clock) -> Backend:
        """Return an empty store."""
        return MemoryBackend(clock)

    def view(self, clock: Callable[[], float]) -> Backend:
        """Return the store as a machine with another clock sees it."""
        view, store = MemoryBackend(clock), self.world.store
        view._lock, view._partitions, view._expiries = store._lock, store._partitions, store._expiries
        return view

    def make_second_store(self) -> SecondStore:
        """Return an empty store that copies may go to."""
        state = self.folder / f"state {next(self.numbers)}"
        return SecondStore(self.world, MemoryBackend(self.world.clock), state)

    def teardown(self) -> None:
        """Stop all processes and release connections."""
        self.runner.kill_all()
        self.world.store.close()
        shutil.rmtree(self.folder)

    # What people do.

    @initialize(emails=ANY_EMAILS, rotations=st.sampled_from([0, 1, 2, 2, 2]))
    def populate(self, emails: list[str], rotations: int) -> None:
        """Begin with some profiles, and perhaps an index key that changes."""
        for email, kind in itertools.product(emails, (Edit, Upload)):
            self.write(kind, 0, email, 0, None, TO_END)
        for _ in range(rotations):
            self.rotate(KeyKind.INDEX)
            self.world.share_keyring()

    @rule(at=MACHINES, emails=ANY_EMAILS, how=HOW)
    def sign_in(self, at: int, emails: list[str], how: How) -> None:
        """Somebody signs in."""
        self.runner.start(SignIn(self.world, self.machine(at), emails, None, self.runner.keep), how)

    @rule(at=MACHINES, emails=ANY_EMAILS, number=ANY, how=HOW)
    def merge(self, at: int, emails: list[str], number: int, how: How) -> None:
        """Somebody adds emails to a session."""
        older = self.runner.token_of(EMAILS[number % 2], number)
        if opens(older, self.machine(at)):
            work = SignIn(self.world, self.machine(at), emails, older, self.runner.keep)
            self.runner.start(work, how)

    @rule(kind=ANY_WRITE, at=MACHINES, email=ANY_EMAIL, number=ANY, tag=TAGS, how=HOW)
    def write(
        self, kind: type[Write], at: int, email: str, number: int, tag: str | None, how: How
    ) -> None:
        """Somebody writes, with the tag of the profile as it is, or as it was, or without."""
        token = self.runner.token_of(email, number)
        if not opens(token, self.machine(at)):
            return
        if tag == "current":
            tag = self.world.views[email].profile.state
        elif tag == "stale":
            tag = self.runner.stale[-1 - number % min(len(self.runner.stale), 3)]
        value = f"value {next(self.numbers)}" + "." * (number % 2)
        self.runner.start(kind(self.world, self.machine(at), email, token, tag, value), how)

    @rule(kind=ANY_WRITE, at=MACHINES, email=ANY_EMAIL, number=ANY, tag=TAGS, until=FIRST_CALLS)
    def begin_to_write(
        self, kind: type[Write], at: int, email: str, number: int, tag: str | None, until: Until
    ) -> None:
        """Somebody's write has read the profile, and is held up."""
        self.write(kind, at, email, number, tag, How("pause", until))

    @precondition(lambda self: self.runner.of_kind(Write))
    @rule(kind=ANY_WRITE, at=MACHINES, number=ANY, tag=TAGS)
    def write_meanwhile(self, kind: type[Write], at: int, number: int, tag: str | None) -> None:
        """Somebody writes to a profile while another write of it is under way."""
        writes = self.runner.of_kind(Write)
        work, _ = self.runner.paused[writes[number % len(writes)]]
        self.write(kind, at, work.email, number, tag, TO_END)

    @rule(at=MACHINES, number=ANY, how=HOW)
    def sign_out(self, at: int, number: int, how: How) -> None:
        """Somebody signs out."""
        token = self.runner.token_of(EMAILS[number % 2], number)
        if opens(token, self.machine(at)):
            self.runner.start(SignOut(self.world, self.machine(at), token), how)

    # What operators do.

    @precondition(lambda self: self.may_remove_pictures())
    @rule(at=MACHINES, email=ANY_EMAIL, has_lock=st.sampled_from([True, True, False]), how=HOW)
    def remove_picture(self, at: int, email: str, *, has_lock: bool, how: How) -> None:
        """A picture is removed by an operator."""
        reason = f"reason {next(self.numbers)}"
        work = RemovePicture(self.world, self.machine(at), email, has_lock, reason)
        self.runner.start(work, how)

    @precondition(lambda self: self.may_remove_pictures())
    @rule(at=MACHINES, email=ANY_EMAIL, how=HOW)
    def unlock(self, at: int, email: str, how: How) -> None:
        """A lock is ended."""
        self.runner.start(Unlock(self.world, self.machine(at), email), how)

    @precondition(lambda self: KeyKind.INDEX in self.world.retired_kinds())
    @rule(has_lease=st.booleans(), how=HOW)
    def move(self, *, has_lease: bool, how: How) -> None:
        """Profiles move to the newer index key."""
        self.runner.start(Move(self.world, self.world.first, has_lease), how)

    @precondition(lambda self: len(self.world.keyring.live(KeyKind.ENCRYPTION)) > 1)
    @rule(how=HOW)
    def rewrap(self, how: How) -> None:
        """Data keys are wrapped again."""
        self.runner.start(Rewrap(self.world, self.world.first), how)

    @precondition(lambda self: self.may_change_keys())
    @rule(kind=st.sampled_from([KeyKind.INDEX, KeyKind.INDEX, KeyKind.ENCRYPTION]))
    def rotate(self, kind: KeyKind) -> None:
        """A key is added, on all machines; or the one that was added becomes primary, on one."""
        ring = self.world.keyring
        if ring.pending(kind):
            self.world.use(ring.promoting(kind, self.world.now()))
        elif len(ring.live(kind)) == 1:
            self.world.use(ring.adding(kind, self.world.now()))
            self.world.share_keyring()

    @precondition(lambda self: not self.world.in_step)
    @rule()
    def share_keyring(self) -> None:
        """The other machine gets the keyring."""
        self.world.share_keyring()

    @precondition(lambda self: self.may_change_keys() and self.world.retired_kinds())
    @rule(number=ANY, how=HOW)
    def destroy(self, number: int, how: How) -> None:
        """The older key of a kind is destroyed, if nothing in the first store needs it."""
        kinds = self.world.retired_kinds()
        self.replace_second_store()
        while found := self.runner.of_kind(RemovePicture, Unlock):
            self.runner.go(found[0])
        work = Destroy(self.world, self.world.first, kinds[number % len(kinds)])
        self.runner.start(work, how)

    @rule(how=HOW)
    def backup(self, how: How) -> None:
        """A backup is made, and restored when it is complete."""
        path = self.folder / f"{next(self.numbers)}"
        self.runner.start(Backup(self.world, self.world.first, path, self.check_restored), how)

    @precondition(lambda self: not self.runner.of_kind(Copy))
    @rule(how=HOW)
    def copy(self, how: How) -> None:
        """The store is copied to the second one."""
        self.runner.start(self.second.copy(), how)

    @rule(kind=ANY_WRITE, email=ANY_EMAIL)
    def write_to_second_store(self, kind: type[Write], email: str) -> None:
        """Somebody uses the second store already."""
        self.second.write(kind, email, f"second {next(self.numbers)}")

    @rule(email=ANY_EMAIL)
    def sign_out_of_second_store(self, email: str) -> None:
        """Somebody signs out there."""
        self.second.sign_out(email)

    @precondition(lambda self: self.second.foreign_writes)
    @rule()
    def replace_second_store(self) -> None:
        """The second store is made again, empty."""
        self.second.abandon()
        self.second = self.make_second_store()

    # Work under way.

    @precondition(lambda self: self.runner.paused)
    @rule(number=ANY, until=UNTIL)
    def go_on(self, number: int, until: Until) -> None:
        """Paused work goes on for a while."""
        self.runner.go(number % len(self.runner.paused), until)

    @precondition(lambda self: self.runner.paused)
    @rule(number=ANY)
    def go_to_end(self, number: int) -> None:
        """Paused work goes on to its end."""
        self.runner.go(number % len(self.runner.paused))

    @precondition(lambda self: self.runner.paused)
    @rule(number=ANY)
    def kill(self, number: int) -> None:
        """Paused work is killed."""
        self.runner.kill(number % len(self.runner.paused))

    # Time.

    @rule(seconds=st.sampled_from([1, 1, HOUR // 2, DAY - HOUR // 2]))
    def wait(self, seconds: int) -> None:
        """Time goes by; much only after requests and backups have ended, as none takes a day."""
        requests = Write, SignIn, SignOut, Backup, RemovePicture, Unlock
        while seconds > HOUR and (found := self.runner.of_kind(*requests)):
            self.runner.go(found[0])
        self.world.wait(seconds)
        self.second.after_waiting()

    @rule(seconds=st.sampled_from([0, PURGE_SECONDS]))
    def purge(self, seconds: int) -> None:
        """A machine whose clock is ahead removes what has expired."""
        self.view(lambda: self.world.clock.now + seconds).purge_expired(1000)
        self.world.wait(0)

    # What holds after each step.

    @invariant()
    def sessions_end_as_they_should(self) -> None:
        """Each session works at each machine exactly if none of its emails was signed out since."""
        for token, machine in itertools.product(self.runner.tokens, self.world.machines):
            if opens(token, machine):
                epochs = token.epochs.items()
                is_ended = any(self.world.epoch(email) > epoch for email, epoch in epochs)
                session = machine.tokens.open(token.text)
                try:
                    machine.profiles(self.world.store).profiles(session)
                except InvalidSession:
                    assert is_ended
                else:
                    assert not is_ended

    @invariant()
    def store_is_sound(self) -> None:
        """Verification finds nothing, and what was erased is nowhere."""
        world = self.world
        assert world.first.findings(world.store) == []
        assert world.strangers(world.store) == []
        for email in EMAILS:
            if world.views[email].profile == BLANK and self.runner.is_settled(email):
                assert world.data_of(world.store, email) == {}

    @invariant()
    def locks_hold(self) -> None:
        """A locked email has no picture, unless its removal is under way."""
        for email, view in self.world.views.items():
            if view.is_locked and self.runner.is_removed(email):
                assert view.profile.picture is None

    @invariant()
    def pictures_are_current(self) -> None:
        """The URL of the picture leads to it, and that of an earlier one nowhere."""
        pictures = self.world.first.pictures(self.world.store)
        session, profiles = self.world.first.read(self.world.store)
        for profile in profiles:
            picture_id = profile.document.picture and profile.document.picture.id
            link, linked = self.links.get(profile.email, ("", picture_id))
            if linked != picture_id:
                with pytest.raises(NotFound):
                    pictures.read(pictures.open_capability(link)[0], "jpeg")
            if picture_id:
                link = pictures.capabilities(profile, session)[64]
                capability, _ = pictures.open_capability(link)
                picture = self.world.views[profile.email].profile.picture
                assert picture is not None
                assert pictures.read(capability, "jpeg").endswith(picture)
                self.links[profile.email] = link, picture_id

    def machine(self, number: int) -> Machine:
        return self.world.machines[number]

    def may_change_keys(self) -> bool:
        return self.world.in_step and not self.runner.of_kind(Destroy)

    def may_remove_pictures(self) -> bool:
        """Return whether no machine has an index key that another one has destroyed.

        Under that key a lock lasts, for the one machine, until it gets the keyring.
        """
        first, second = (machine.keys.index_versions for machine in self.world.machines)
        return set(second) <= set(first) and not self.runner.of_kind(Destroy)

    def check_restored(self, work: Backup) -> None:
        """Fail unless a backup holds each email in one state that was while it was made."""
        ring = restoring(work.ring, self.world.keyring)
        if ring is None:
            return
        store = MemoryBackend(self.world.clock)
        with closing(ArchivedHomes(KeyWrapper(ring))) as homes:
            restore(
                work.path,
                store,
                inspect=homes.check,
                prepare=partial(homes.make_room, store),
                clock=self.world.clock,
            )
        machine = Machine(ring, self.world.clock)
        for email, view in machine.observe(store).items():
            window = work.window(email)
            assert view.profile in [each.profile for each in window]
            assert view.mark in [each.mark for each in window]
            assert view[2:] in [each[2:] for each in window]
            is_absent = all(each.profile == BLANK for each in window)
            if is_absent and self.runner.is_settled(email):
                assert self.world.data_of(store, email) == {}
        assert machine.findings(store) == []


def opens(token: Token, machine: Machine) -> bool:
    """Return whether a token is one of the machine's keys, and has not expired."""
    try:
        session = machine.tokens.open(token.text)
    except Unreadable:
        return False
    return session.expires_at > 1000 * machine.clock()


def restoring(then: Keyring, now: Keyring) -> Keyring | None:
    """Return the keyring of a backup, with encryption keys that came since; none if it is too old."""
    if now.live(KeyKind.INDEX)[-1].version > then.live(KeyKind.INDEX)[-1].version:
        return None
    newer = [
        replace(key, state=KeyState.DECRYPT_ONLY)
        for key in now.live(KeyKind.ENCRYPTION)
        if then.find(KeyKind.ENCRYPTION, key.version) is None
    ]
    return Keyring([*then.keys(KeyKind.ENCRYPTION), *newer], then.keys(KeyKind.INDEX))


class SqliteMachine(StoreMachine):
    """The same before a SQLite file."""

    def make_store(self, clock: Clock) -> Backend:
        store = self.view(clock)
        store.initialize()
        return store

    def view(self, clock: Callable[[], float]) -> Backend:
        return SqliteBackend.from_url(f"sqlite:///{self.folder}/store.sqlite", clock)


@pytest.mark.timeout(0)  # of more examples than usual
@pytest.mark.parametrize(
    ("machine", "share"), [(StoreMachine, 1), (SqliteMachine, 10)], ids=["memory", "sqlite"]
)
def test_everything_at_once(request, machine, share):
    """In any order of work, kills and pauses, nothing is lost and nothing comes back."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=request.config.getoption("--store-examples") // share,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,  # to shrink one takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
