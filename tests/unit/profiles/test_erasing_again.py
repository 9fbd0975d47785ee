"""Erasures and removals of pictures leave entries, which a restore applies to what they concern."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.stores.archives import backup, restore
from support.stores.moving import ENDED, OLD, PROMOTED, mover
from support.stores.sealed_store import ALICE, BOB, CAROL, FOREVER, Store, key
from support.stores.stepping import Call, Killed, Stepped

from backends import Put, Unavailable
from backends.copying.transfer import walk
from backends.engines.memory import MemoryBackend
from persona_profile.errors import PreconditionFailed
from persona_profile.keys.keyring import Keyring, KeyState
from persona_profile.profiles.erasing_again import CLOCK_SECONDS, ErasedAgain, ErasingAgain
from persona_profile.profiles.preconditions import Precondition
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.store.items import REMOVAL_ITEM
from persona_profile.store.ledger import Act
from persona_profile.store.operator_acts import ACTS, OperatorAct, OperatorActs
from persona_profile.store.removals import PictureRemoval

PROFILE_KEY = b"p" * 32
PROTECTED = replace(FOREVER, profile_key=PROFILE_KEY)
DAY = 24 * 3600


class World:
    """A store with Alice, Bob and Carol, its ledger, and an archive of it in a file."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(1_800_000_000.0)
        self.store = Store(OLD, MemoryBackend(self.clock))
        self.file = folder / "archive"
        for email in (ALICE, BOB, CAROL):
            self.store.write(email, email)
            self.store.put_picture(email)
        self.clock.now += DAY
        self.started = self.now
        backup(self.store.backend, self.file, software="test", clock=self.clock)
        self.clock.now += DAY

    @property
    def now(self) -> int:
        """The time in milliseconds."""
        return int(1000 * self.clock.now)

    def archive(self) -> None:
        """Write another archive."""
        self.started = self.now
        backup(self.store.backend, self.file, software="test", clock=self.clock)

    def erase(self, email: str = ALICE) -> None:
        self.store.profiles.erase(FOREVER, email)

    def entries(self, email: str = ALICE) -> dict[Act, int]:
        return dict(self.store.ledger.find([email]).get(email, {}))

    def restored(self, keyring: Keyring = OLD, since: int | None = None) -> tuple[Store, ErasedAgain]:
        """Restore the archive into an empty store, and apply the ledger."""
        made = Store(keyring, MemoryBackend(self.clock))
        restore(self.file, made.backend, clock=self.clock)
        self.store.keys.use(keyring)
        since = self.started if since is None else since
        job = ErasingAgain(made.backend, made.keys, self.store.ledger, since, 3600)
        return made, job.run()


@pytest.fixture
def world(tmp_path) -> World:
    """A world whose archive is a day old."""
    made = World(tmp_path)
    made.store.ledger.begin()
    return made


def name_of(store: Store, email: str) -> str | None:
    """Return the name in a profile."""
    return store.profiles.profile(FOREVER, email).document.claims.get("name")


def test_erased_and_removed(world):
    """The restored store has nothing of an erased person, and no removed picture; others are whole."""
    world.erase(ALICE)
    world.store.profiles.delete_picture(FOREVER, BOB)
    made, done = world.restored()
    assert done == ErasedAgain(erased=1, pictures=1)
    assert made.keys.partition(ALICE) not in list(walk(made.backend))
    assert (name_of(made, BOB), made.pictures(BOB)) == (BOB, [])
    assert (name_of(made, CAROL), len(made.pictures(CAROL))) == (CAROL, 6)
    assert made.verify()[0] == []


def test_killed_between_any_two_calls(world):
    """A run that was killed leaves a sound store, and its repetition ends as one whole run does."""
    world.erase(ALICE)
    acts = OperatorActs(world.store.ledger, 100 * DAY, world.clock)
    for email in (BOB, "dave@example.net"):
        acts.append(email, OperatorAct.LOCKED, "", int(world.clock.now) + 30 * DAY)
    with world.store.ledger.recording(Act.PICTURE_REMOVED, BOB):
        pass
    kills = 0
    while True:
        made = Store(OLD, MemoryBackend(world.clock))
        restore(world.file, made.backend, clock=world.clock)
        stepped = Stepped(made.backend)
        left = itertools.repeat(None, kills)

        def kill(_call: Call, left: Iterator[None] = left) -> None:
            if next(left, Killed) is Killed:
                raise Killed

        stepped.before = kill
        is_killed = False
        for backend in (stepped, made.backend):
            job = ErasingAgain(backend, made.keys, world.store.ledger, world.started, 3600)
            try:
                job.run()
            except Killed:
                is_killed = True
            assert made.verify()[0] == []
        assert made.keys.partition(ALICE) not in list(walk(made.backend))
        assert (name_of(made, BOB), made.pictures(BOB)) == (BOB, [])
        assert (name_of(made, CAROL), len(made.pictures(CAROL))) == (CAROL, 6)
        assert [made.removals.is_locked(each) for each in (BOB, "dave@example.net")] == [True, True]
        if not is_killed:
            break
        kills += 1
    assert kills > 10


def test_can_be_repeated(world):
    """A second run changes nothing, and the entries keep their times."""
    world.erase(ALICE)
    world.store.profiles.delete_picture(FOREVER, BOB)
    before = world.entries(ALICE), world.entries(BOB)
    made, _ = world.restored()
    job = ErasingAgain(made.backend, made.keys, world.store.ledger, world.started, 3600)
    assert job.run() == ErasedAgain()
    assert (world.entries(ALICE), world.entries(BOB)) == before


@pytest.mark.parametrize("is_straddling", [False, True])
def test_who_came_back_stays(world, is_straddling):
    """Later profiles and pictures survive, also in an archive that began before the erasure."""
    if is_straddling:
        world.started = world.now - 1000
    world.erase(ALICE)
    world.store.profiles.delete_picture(FOREVER, BOB)
    world.clock.now += 1
    world.store.write(ALICE, "back")
    world.store.put_picture(BOB)
    if not is_straddling:
        world.clock.now += DAY
    started = world.started
    world.archive()
    made, done = world.restored(since=started if is_straddling else None)
    assert done == ErasedAgain()
    assert name_of(made, ALICE) == "back"
    assert len(made.pictures(BOB)) == 6


def test_straddling_archive_of_the_old(world):
    """An archive that began before an erasure and read the profile first brings nothing back."""
    world.archive()
    world.erase()
    _, done = world.restored()
    assert done.erased == 1


def test_older_entries_are_left_out(world):
    """Entries from before the archive, but for errors of clocks, do not concern it."""
    world.erase()
    store = world.store
    world.clock.now += CLOCK_SECONDS - 1
    world.started = world.now
    assert world.restored()[1].erased == 1
    world.clock.now += 2
    world.started = world.now
    store.keys.use(OLD)
    assert world.restored()[1].erased == 0


def test_clock_that_is_behind(world):
    """A machine whose clock is behind the last write's erases what was written before."""
    world.store.write(ALICE, "late")
    world.archive()
    world.clock.now -= 60
    world.erase()
    assert world.restored()[1].erased == 1


def test_clock_that_goes_back(world):
    """Times of a profile grow although the clocks of machines differ."""
    first = world.store.write(ALICE, "first").document.updated_at
    world.clock.now -= 60
    assert world.store.write(ALICE, "second").document.updated_at > first


class TestProtected:
    """Profiles whose documents do not open without the person's own key."""

    def protect(self, world: World, email: str) -> None:
        world.store.profiles.set_profile_key(FOREVER, email, PROFILE_KEY)

    def test_erased_and_removed(self, world):
        """They are erased too, and the bytes of a removed picture are gone."""
        self.protect(world, ALICE)
        self.protect(world, BOB)
        world.archive()
        world.clock.now += 60
        world.erase(ALICE)
        world.store.profiles.delete_picture(PROTECTED, BOB)
        made, done = world.restored()
        assert done == ErasedAgain(erased=1, pictures=1)
        assert made.keys.partition(ALICE) not in list(walk(made.backend))
        assert made.pictures(BOB) == []
        document = made.profiles.profile(PROTECTED, BOB).document
        assert (document.claims, document.picture) == ({"name": BOB}, None)

    def test_removed_by_an_operator(self, world):
        """The picture that an operator has removed since the archive is removed again."""
        self.protect(world, BOB)
        world.archive()
        world.clock.now += 60
        removals = PictureRemovals(
            world.store.backend,
            world.store.homes,
            world.store.keys,
            ledger=world.store.ledger,
            clock=world.clock,
        )
        removals.remove(BOB, None, "")
        made, done = world.restored()
        assert (done, made.pictures(BOB)) == (ErasedAgain(pictures=1), [])
        assert made.profiles.profile(PROTECTED, BOB).document.picture is None

    @pytest.mark.parametrize("is_erased", [False, True])
    def test_locked_by_an_operator(self, world, is_erased):
        """A lock since the archive is back after the restore; one that was ended since is not."""
        store = world.store
        removals = PictureRemovals(
            store.backend, store.homes, store.keys, ledger=store.ledger, clock=world.clock
        )
        acts = OperatorActs(store.ledger, 100 * DAY, world.clock)
        removals.remove(BOB, 10 * DAY, "before")
        world.archive()
        world.clock.now += DAY
        for email, reason in ((ALICE, "first"), (ALICE, "second")):
            world.clock.now += 60
            until = int(world.clock.now) + 30 * DAY
            acts.append(email, OperatorAct.LOCKED, reason, until)
            removals.remove(email, 30 * DAY, reason)
        acts.append(BOB, OperatorAct.UNLOCKED)
        removals.unlock(BOB)
        if is_erased:
            world.erase(ALICE)
        made, done = world.restored()
        assert (done.locks, done.erased) == (1, int(is_erased))
        found = made.profiles.profile(FOREVER, ALICE).removal
        assert found is not None
        assert (found.reason, found.expires_at, found.is_locked) == ("second", until, True)
        assert made.profiles.profile(FOREVER, BOB).removal is None
        assert made.profiles.profile(FOREVER, ALICE).document.picture is None
        job = ErasingAgain(made.backend, made.keys, store.ledger, world.started, 3600)
        assert job.run() == ErasedAgain()

    def test_lock_without_a_profile(self, world):
        """A lock of which the archive has nothing is back; one that has ended is not."""
        store = world.store
        acts = OperatorActs(store.ledger, 100 * DAY, world.clock)
        until = int(world.clock.now) + 30 * DAY
        acts.append("dave@example.net", OperatorAct.LOCKED, "not him", until)
        acts.append("erin@example.net", OperatorAct.LOCKED, "ended", 1)
        made, done = world.restored()
        assert done == ErasedAgain(locks=1)
        assert made.removals.is_locked("dave@example.net")
        assert not made.removals.is_locked("erin@example.net")
        found = PictureRemoval.open(
            made.get("dave@example.net", REMOVAL_ITEM),
            made.keys,
            made.keys.partition("dave@example.net"),
        )
        assert (found.reason, found.expires_at) == ("not him", until)
        assert made.verify()[0] == []

    def test_lock_that_was_ended(self, world):
        """An unlock is applied although nothing else was done since, and to who has no profile."""
        store = world.store
        acts = OperatorActs(store.ledger, 100 * DAY, world.clock)
        for email in (BOB, "dave@example.net"):
            acts.append(email, OperatorAct.LOCKED, "", int(world.clock.now) + 30 * DAY)
            store.removals.remove(email, 30 * DAY, "")
        world.clock.now += DAY
        world.archive()
        world.clock.now += DAY
        for email in (BOB, "dave@example.net"):
            acts.append(email, OperatorAct.UNLOCKED)
        made, done = world.restored()
        assert done == ErasedAgain()
        assert not any(made.removals.is_locked(email) for email in (BOB, "dave@example.net"))

    def test_lock_that_was_altered(self, world):
        """A lock of the ledger that does not open is counted."""
        store = world.store
        OperatorActs(store.ledger, 100 * DAY, world.clock).append(
            BOB, OperatorAct.LOCKED, "", int(world.clock.now) + DAY
        )
        partition = store.ledger.partition(ACTS, BOB)
        store.ledger.backend.apply(partition, [Put("lock", b"altered")])
        assert world.restored()[1] == ErasedAgain(unreadable=1)

    def test_protected_after_coming_back(self, world):
        """A later profile stays, as its key is younger than the entry."""
        world.started = world.now - 1000
        world.erase()
        world.clock.now += 1
        world.store.write(ALICE, "back")
        self.protect(world, ALICE)
        since = world.started
        world.archive()
        made, done = world.restored(since=since)
        assert done == ErasedAgain()
        assert made.profiles.profile(PROTECTED, ALICE).document.claims == {"name": "back"}


class TestRotation:
    """The index key changes between archive and restore."""

    @pytest.mark.parametrize("is_erased_first", [False, True])
    @pytest.mark.parametrize("keyring", [OLD, PROMOTED])
    def test_nobody_is_back(self, world, keyring, is_erased_first):
        """Keyrings of the archive's time and of today find entries from before and after a rotation."""
        if is_erased_first:
            world.erase()
        store = world.store
        store.keys.use(PROMOTED)
        store.ledger.carry()
        assert mover(store.backend, store).run().is_complete
        store.keys.use(ENDED)
        store.ledger.retire(1)
        if not is_erased_first:
            world.erase()
        made, done = world.restored(keyring)
        assert done == ErasedAgain(erased=1)
        assert made.keys.partition(ALICE) not in list(walk(made.backend))

    def test_archive_of_a_move(self, world):
        """A profile that was being moved, or had been, is erased in all of its partitions."""
        store = world.store
        store.keys.use(PROMOTED)
        assert mover(store.backend, store).run().moved == 3
        world.archive()
        world.erase()
        made, done = world.restored(PROMOTED)
        assert done.erased == 1
        old, new = made.keys.partitions(ALICE)
        assert new not in list(walk(made.backend))
        # The forward, without data, is left until it expires.
        assert [info.name for info in made.backend.list(old)] == ["key"]
        assert made.profiles.profile(FOREVER, ALICE).is_blank


def test_unreadable(world):
    """Profiles whose keys were destroyed can't be compared, and are counted."""
    world.erase()
    other = Keyring([key(1, KeyState.DESTROYED), key(2)], [key(1)])
    other = Keyring([replace(other.keys("encryption")[0], secret=None), key(2)], [key(1)])
    _, done = world.restored(other)
    assert done == ErasedAgain(unreadable=3)


class TestService:
    """The order of entry and act, and failures between them."""

    @pytest.fixture
    def fail(self, world, monkeypatch) -> Callable[[], None]:
        """Let the ledger be unreachable."""

        def unreachable(*_: object) -> None:
            raise Unavailable("away", retry_after=7)

        return lambda: monkeypatch.setattr(world.store.ledger._backend, "apply", unreachable)

    def test_ledger_is_away(self, world, fail):
        """Without the ledger nothing is erased or removed, and everything else works."""
        fail()
        for act in (world.store.profiles.erase, world.store.profiles.delete_picture):
            with pytest.raises(Unavailable):
                act(FOREVER, ALICE)
        assert name_of(world.store, ALICE) == ALICE
        assert len(world.store.pictures(ALICE)) == 6
        world.store.write(ALICE, "new")
        world.store.put_picture(ALICE)

    def test_store_is_away(self, world, monkeypatch):
        """An erasure that may have taken effect keeps its entry."""

        def unreachable(*_: object) -> None:
            raise Unavailable

        monkeypatch.setattr(world.store.backend, "apply", unreachable)
        with pytest.raises(Unavailable):
            world.erase()
        assert world.entries() == {Act.ERASED: world.now}

    def test_prevented(self, world, monkeypatch):
        """An erasure that another write prevents, under a condition, leaves no entry."""
        store = world.store
        state = store.profiles.profile(FOREVER, ALICE).state
        erase = store.homes.erase

        def write_first(home):
            monkeypatch.setattr(store.homes, "erase", erase)
            store.write(ALICE, "newer")
            erase(home)

        monkeypatch.setattr(store.homes, "erase", write_first)
        with pytest.raises(PreconditionFailed):
            store.profiles.erase(FOREVER, ALICE, Precondition(frozenset([state])))
        assert name_of(store, ALICE) == "newer"
        assert world.entries() == {}

    def test_nothing_to_remove(self, world):
        """Without a picture no entry is written; an erasure of nothing leaves one."""
        world.store.profiles.delete_picture(FOREVER, ALICE)
        removed = world.entries()
        world.clock.now += 60
        world.store.profiles.delete_picture(FOREVER, ALICE)
        assert world.entries() == removed == {Act.PICTURE_REMOVED: removed[Act.PICTURE_REMOVED]}
        world.erase()
        world.clock.now += 60
        world.erase()
        assert world.entries()[Act.ERASED] == world.now
