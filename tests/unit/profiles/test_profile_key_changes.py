"""Several keys of one profile: added and removed by the service, also while others write."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.forgeries import independent_keys as independent
from support.stores.archives import backup, restore
from support.stores.moving import PROMOTED, World, mover
from support.stores.sealed_store import ALICE, BOB, FOREVER, Store, key
from support.stores.stepping import Actor, Killed, Stepped, killing_after

from backends import Backend
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import copy
from backends.copying.transfer import read_partition
from backends.engines.memory import MemoryBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.errors import (
    LastProfileKey,
    NotFound,
    PreconditionFailed,
    ProfileKeyRequired,
    ProfileNotProtected,
    TooManyProfileKeys,
)
from persona_profile.keys.keyring import Keyring, KeyState
from persona_profile.keys.tokens import Session
from persona_profile.profiles.preconditions import Precondition
from persona_profile.store.items import KEY_ITEM, KeyItem, Owner
from persona_profile.store.maintenance.archived_homes import ArchivedHomes
from persona_profile.store.maintenance.rewrapping import Rewrapping

KEYRING = Keyring([key(1)], [key(9)])
FIRST, SECOND, THIRD, STRANGE = (bytes([number]) * 32 for number in (1, 2, 3, 4))


def holding(profile_key: bytes) -> Session:
    """Return a session that holds a profile key."""
    return replace(FOREVER, profile_key=profile_key)


def protected(store: Store) -> Store:
    """Make the protected profile of Alice, with a picture."""
    store.write(ALICE, "Alice")
    store.put_picture(ALICE)
    store.profiles.set_profile_key(FOREVER, ALICE, FIRST)
    return store


def opening(store: Store) -> set[bytes]:
    """Return those of the known keys that open Alice's profile."""
    found = set()
    for profile_key in (FIRST, SECOND, THIRD, STRANGE):
        with suppress(ProfileKeyRequired):
            assert store.profiles.profile(holding(profile_key), ALICE).document.claims
            found.add(profile_key)
    return found


def ids(store: Store, profile_key: bytes = FIRST) -> list[bytes]:
    """Return the ids of the keys of Alice's profile."""
    return [each.id for each in store.profiles.profile_keys(holding(profile_key), ALICE)]


def versions(store: Store) -> dict[str, int]:
    """Return the versions of the items of Alice's profile."""
    return {info.name: info.version for info in store.backend.list(store.keys.partition(ALICE))}


@pytest.fixture
def store() -> Store:
    """A store with the protected profile of Alice."""
    return protected(Store(KEYRING))


class TestAdding:
    def test_each_opens(self, store):
        """Each added key opens the profile and lists the keys; the key of the session is marked."""
        before = time.time()
        for profile_key in (SECOND, THIRD):
            added, is_new = store.profiles.add_profile_key(holding(FIRST), ALICE, profile_key)
            assert (is_new, added.is_current) == (True, False)
        assert opening(store) == {FIRST, SECOND, THIRD}
        for position, profile_key in enumerate((FIRST, SECOND, THIRD)):
            listed = store.profiles.profile_keys(holding(profile_key), ALICE)
            assert [each.is_current for each in listed] == [at == position for at in range(3)]
            times = [each.added_at for each in listed]
            assert times == sorted(times)
            assert 1000 * before - 1 <= times[1] <= 1000 * time.time()
        assert len(set(ids(store))) == 3

    def test_key_item_alone(self, store):
        """Adding and removing write the `key` item and nothing else; the profile's state stays."""
        before, state = versions(store), store.profiles.profile(holding(FIRST), ALICE).state
        added, _ = store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        between = versions(store)
        store.profiles.remove_profile_key(holding(FIRST), ALICE, added.id)
        for one, other in itertools.pairwise((before, between, versions(store))):
            assert {name for name in one if one[name] != other[name]} == {KEY_ITEM}
            assert one.keys() == other.keys()
        assert store.profiles.profile(holding(FIRST), ALICE).state == state

    def test_again(self, store):
        """A key that opens the profile already is returned as it is, and nothing is written."""
        added, _ = store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        before = versions(store)
        assert store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND) == (added, False)
        own, is_new = store.profiles.add_profile_key(holding(SECOND), ALICE, SECOND)
        assert (own, is_new) == (replace(added, is_current=True), False)
        assert versions(store) == before

    def test_ninth(self, store):
        """Eight keys open a profile; a ninth is rejected, a known one is not."""
        for number in range(7):
            store.profiles.add_profile_key(holding(FIRST), ALICE, bytes([100 + number]) * 32)
        with pytest.raises(TooManyProfileKeys) as rejected:
            store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        assert rejected.value.members == {"limit": 8}
        assert store.profiles.add_profile_key(holding(FIRST), ALICE, FIRST)[1] is False
        assert len(ids(store)) == 8

    @pytest.mark.parametrize("profile_key", [None, STRANGE])
    def test_without_a_key(self, store, profile_key):
        """A session without a key of the profile neither lists nor adds nor removes."""
        session = replace(FOREVER, profile_key=profile_key)
        for call in (
            lambda: store.profiles.profile_keys(session, ALICE),
            lambda: store.profiles.add_profile_key(session, ALICE, STRANGE),
            lambda: store.profiles.remove_profile_key(session, ALICE, ids(store)[0]),
        ):
            with pytest.raises(ProfileKeyRequired):
                call()
        assert opening(store) == {FIRST}

    def test_of_another_profile(self, store):
        """Each profile has its own keys, also for one person's key."""
        store.write(BOB)
        store.profiles.set_profile_key(holding(FIRST), BOB, FIRST)
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        [bob] = store.profiles.profile_keys(holding(FIRST), BOB)
        assert bob.id not in ids(store)
        with pytest.raises(NotFound):
            store.profiles.remove_profile_key(holding(FIRST), BOB, ids(store)[1])

    def test_without_protection(self, store):
        """An unprotected or blank profile has no keys, and gets its first one by protecting it."""
        for email in (ALICE, BOB):
            if email == ALICE:
                store.profiles.set_profile_key(holding(FIRST), ALICE, None)
            assert store.profiles.profile_keys(holding(FIRST), email) == []
            with pytest.raises(ProfileNotProtected):
                store.profiles.add_profile_key(holding(FIRST), email, SECOND)
            with pytest.raises(NotFound):
                store.profiles.remove_profile_key(holding(FIRST), email, bytes(8))


class TestRemoving:
    def test_each(self, store):
        """A removed key opens nothing any more, also the one of the session; the others do."""
        for profile_key in (SECOND, THIRD):
            store.profiles.add_profile_key(holding(FIRST), ALICE, profile_key)
        first, second, _ = ids(store)
        store.profiles.remove_profile_key(holding(THIRD), ALICE, second)
        assert opening(store) == {FIRST, THIRD}
        store.profiles.remove_profile_key(holding(FIRST), ALICE, first)
        assert opening(store) == {THIRD}
        with pytest.raises(ProfileKeyRequired):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, first)

    def test_last(self, store):
        """The last key stays."""
        with pytest.raises(LastProfileKey):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, ids(store)[0])
        assert opening(store) == {FIRST}

    @pytest.mark.parametrize("key_id", [b"", bytes(8), bytes(9)])
    def test_unknown(self, store, key_id):
        """An unknown id is not found, also if it is one removed before."""
        with pytest.raises(NotFound):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, key_id)
        added, _ = store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        store.profiles.remove_profile_key(holding(FIRST), ALICE, added.id)
        with pytest.raises(NotFound):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, added.id)

    def test_all_by_a_new_key(self, store):
        """A new profile key replaces all keys; none of them opens the new records."""
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        before = ids(store)
        store.profiles.set_profile_key(holding(SECOND), ALICE, THIRD)
        assert opening(store) == {THIRD}
        assert not set(ids(store, THIRD)) & set(before)


def test_preconditions(store):
    """A stale state rejects a change of the keys; the present one permits several."""
    state = store.profiles.profile(holding(FIRST), ALICE).state
    present = Precondition(if_match=frozenset({state}))
    for profile_key in (SECOND, THIRD):
        store.profiles.add_profile_key(holding(FIRST), ALICE, profile_key, present)
    store.profiles.write_claims(holding(FIRST), ALICE, {"name": "Changed"})
    with pytest.raises(PreconditionFailed):
        store.profiles.add_profile_key(holding(FIRST), ALICE, STRANGE, present)
    with pytest.raises(PreconditionFailed):
        store.profiles.remove_profile_key(holding(FIRST), ALICE, ids(store)[1], present)
    assert opening(store) == {FIRST, SECOND, THIRD}


def rewrap(store: Store, pace: Callable[[], None] = lambda: None) -> Store:
    """Wrap all data keys under a newer encryption key; return the store without the older one."""
    promoted = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)])
    store.keys.use(promoted)
    Rewrapping(store.backend, store.keys, pace).run()
    return Store(Keyring([key(2)], [key(9)]), store.backend)


class TestMaintenance:
    def test_new_encryption_key(self, store):
        """All keys open the profile after its data key was wrapped again, and can be changed."""
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        before = ids(store)
        after = rewrap(store)
        assert opening(after) == {FIRST, SECOND}
        assert ids(after) == before
        after.profiles.remove_profile_key(holding(SECOND), ALICE, before[0])
        assert opening(after) == {SECOND}

    def test_added_while_rewrapped(self, store):
        """A key that is added while the data key is wrapped again stays."""
        done = []

        def interfere() -> None:
            if not done:
                done.append(store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND))

        after = rewrap(store, interfere)
        assert done
        assert opening(after) == {FIRST, SECOND}
        assert after.verify()[0] == []

    def test_new_index_key(self):
        """All keys open the profile after it was moved, and can be changed there."""
        world = World()
        protected(world.old).profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        before = ids(world.old)
        world.move()
        assert opening(world.ended) == {FIRST, SECOND}
        assert ids(world.ended) == before
        world.ended.profiles.add_profile_key(holding(SECOND), ALICE, THIRD)
        assert opening(world.promoted) == {FIRST, SECOND, THIRD}

    def test_backup_and_copy(self, store, tmp_path):
        """All keys open the profile in a restored archive and in a copy, also in the older format."""
        store.write(BOB)
        store.profiles.set_profile_key(FOREVER, BOB, FIRST)
        to_first_format(store, BOB)
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        with closing(ArchivedHomes(store.keys)) as homes:
            backup(store.backend, tmp_path / "archive", software="test", related=homes.related)
        restored, copied = Store(KEYRING), Store(KEYRING)
        with closing(ArchivedHomes(store.keys)) as homes:
            archive = tmp_path / "archive"
            restore(archive, restored.backend, inspect=homes.check)
        with CopyState(tmp_path / "state") as state:
            assert copy(store.backend, copied.backend, state).equal
        for other in (restored, copied):
            assert opening(other) == {FIRST, SECOND}
            assert ids(other) == ids(store)
            assert other.profiles.profile(holding(FIRST), BOB).document.claims == {"name": "N"}
            assert other.verify()[0] == []

    def test_erasure(self, store):
        """Erasing removes all keys with the profile; a new profile has none of them."""
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        store.profiles.erase(FOREVER, ALICE)
        assert versions(store) == {}
        store.write(ALICE, "New")
        assert store.profiles.profile_keys(FOREVER, ALICE) == []

    def test_verification(self, store):
        """Verification finds nothing in a profile of several keys, and counts it as protected."""
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        findings, verified = store.verify()
        assert (findings, verified.protected) == ([], 1)


def to_first_format(store: Store, email: str = ALICE, profile_key: bytes | None = FIRST) -> None:
    """Replace the owner record by one that an earlier build would have written."""
    key_item, data_key = store.key_item(email), store.data_key(email).secret
    owner = independent.open_owner(data_key, key_item.owner)
    if profile_key is not None:
        content_key = independent.open_content_key(data_key, profile_key, owner)
        wrap = independent.wrap_content_key(data_key, profile_key, content_key, bytes(8), 0)
        owner = owner._replace(wraps=(independent.first_wrap(wrap.wrapped),))
    record = independent.seal_first_owner(data_key, owner, os.urandom(32))
    store.put(email, KEY_ITEM, key_item.wrapped + record)
    assert not store.key_item(email).has_current_format


class TestFirstFormat:
    def test_opens(self, store):
        """A profile of an earlier build opens with its key alone; the key has an id and no time."""
        to_first_format(store)
        assert opening(store) == {FIRST}
        [listed] = store.profiles.profile_keys(holding(FIRST), ALICE)
        assert (listed.added_at, listed.is_current, len(listed.id)) == (None, True, 8)
        assert store.profiles.profile_keys(holding(FIRST), ALICE) == [listed]
        assert store.verify()[0] == []

    @pytest.mark.parametrize(
        "write",
        [
            lambda store: store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND),
            lambda store: store.profiles.write_claims(holding(FIRST), ALICE, {"name": "B"}),
            lambda store: store.profiles.delete_picture(holding(FIRST), ALICE),
        ],
        ids=["key", "claims", "picture"],
    )
    def test_next_write(self, store, write):
        """The next write of the profile or its keys replaces the format; the key keeps its id."""
        to_first_format(store)
        before = ids(store)
        write(store)
        assert store.key_item(ALICE).has_current_format
        assert FIRST in opening(store)
        assert ids(store)[:1] == before
        assert store.verify()[0] == []

    def test_plain(self, store):
        """The next write of an unprotected profile replaces the format too."""
        store.write(BOB)
        to_first_format(store, BOB, None)
        assert store.profiles.profile(FOREVER, BOB).document.claims == {"name": "N"}
        store.write(BOB, "B")
        assert store.key_item(BOB).has_current_format
        assert len(store.get(BOB, KEY_ITEM)) == len(store.get(ALICE, KEY_ITEM))
        version = store.backend.list(store.keys.partition(BOB))
        store.write(BOB, "C")
        after = store.backend.list(store.keys.partition(BOB))
        kept = {info.version for info in version} & {info.version for info in after}
        assert len(kept) == 1  # the key item is written once

    def test_damaged_owner(self, store):
        """A plain profile whose owner record does not open can be written; the record stays."""
        store.write(BOB)
        to_first_format(store, BOB, None)
        value = store.get(BOB, KEY_ITEM)
        for damaged in (value[:-1] + b"x", value[:-1], value + b"x"):
            store.put(BOB, KEY_ITEM, damaged)
            store.write(BOB, "B")
            assert store.get(BOB, KEY_ITEM) == damaged
            assert store.only_finding() == ("unreadable_key", BOB, KEY_ITEM)

    def test_removed(self, store):
        """The key of an earlier build is removed like any other."""
        to_first_format(store)
        [first] = ids(store)
        with pytest.raises(LastProfileKey):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, first)
        store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        store.profiles.remove_profile_key(holding(SECOND), ALICE, first)
        assert opening(store) == {SECOND}

    def test_maintenance(self):
        """A new encryption key and a new index key keep the format, and the profile opens."""
        to_first_format(store := protected(Store(KEYRING)))
        assert opening(rewrap(store)) == {FIRST}
        world = World()
        to_first_format(protected(world.old))
        world.move()
        assert opening(world.ended) == {FIRST}


@pytest.fixture(params=["memory", "sqlite"])
def backend(request, tmp_path: Path) -> Iterator[Backend]:
    """A store of each of two kinds."""
    backend: Backend = MemoryBackend()
    if request.param == "sqlite":
        backend = SqliteBackend.from_url(f"sqlite:///{tmp_path}/items.sqlite")
        backend.initialize()
    yield backend
    backend.close()


WRITERS, KEEPERS, CHANGES = 20, 5, 3


def add_when_there_is_room(store: Store, profile_key: bytes) -> bytes:
    """Add a key as soon as the profile has fewer than eight; return its id."""
    while True:
        with suppress(TooManyProfileKeys):
            return store.profiles.add_profile_key(holding(FIRST), ALICE, profile_key)[0].id
        time.sleep(0.001)


def add_and_remove(store: Store, profile_key: bytes, *, stays: bool) -> None:
    """Add a key and remove it, several times; it stays after the last time if it `stays`."""
    for number in range(CHANGES):
        added = add_when_there_is_room(store, profile_key)
        assert store.profiles.profile(holding(profile_key), ALICE).key is not None
        if not (stays and number == CHANGES - 1):
            store.profiles.remove_profile_key(holding(FIRST), ALICE, added)


def write_claims(store: Store) -> None:
    """Write claims several times."""
    for number in range(CHANGES):
        store.profiles.write_claims(holding(FIRST), ALICE, {"name": str(number)})


def test_many_at_once(backend):
    """Twenty writers add and remove keys at once, and one writes claims: nothing is lost."""
    store = protected(Store(KEYRING, backend))
    store.profiles.write_patience = 300.0
    before = store.profiles.profile(holding(FIRST), ALICE).document.version
    keys = [bytes([100 + number]) * 32 for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        jobs = [
            pool.submit(add_and_remove, store, profile_key, stays=number < KEEPERS)
            for number, profile_key in enumerate(keys)
        ]
        for job in (*jobs, pool.submit(write_claims, store)):
            job.result()
    assert len(ids(store)) == 1 + KEEPERS
    for number, profile_key in enumerate(keys):
        profile = store.profiles.profiles(holding(profile_key))[0]
        assert (profile.problem is None) == (number < KEEPERS)
    document = store.profiles.profile(holding(FIRST), ALICE).document
    assert (document.version, document.claims) == (before + CHANGES, {"name": str(CHANGES - 1)})
    assert store.verify()[0] == []


@pytest.mark.parametrize("change", ["add", "remove"])
def test_crash(change):
    """A process that is killed at any call leaves the old keys or the new ones."""
    outcomes = set()
    for calls in itertools.count():
        store = protected(Store(KEYRING))
        if change == "remove":
            store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
        stepped = Stepped(store.backend)
        dying = Store(KEYRING, stepped)
        killing_after(stepped, calls)
        try:
            if change == "add":
                dying.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
            else:
                dying.profiles.remove_profile_key(holding(FIRST), ALICE, ids(store)[1])
        except Killed:
            is_killed = True
        else:
            is_killed = False
        found = opening(store)
        assert found in ({FIRST}, {FIRST, SECOND})
        outcomes.add(SECOND in found)
        assert store.verify()[0] == []
        if not is_killed:
            break
    assert outcomes == {True, False}


def erase_and_make(store: Store) -> None:
    """Erase the profile, make another one, and protect it."""
    store.profiles.erase(FOREVER, ALICE)
    store.write(ALICE, "again")
    store.profiles.set_profile_key(FOREVER, ALICE, THIRD)


MEANWHILE: dict[str, tuple[Callable[[World], object], list[set[bytes]]]] = {
    "another key": (
        lambda world: world.promoted.profiles.add_profile_key(holding(FIRST), ALICE, THIRD),
        [{FIRST, SECOND, THIRD}],
    ),
    "own key removed": (
        lambda world: world.promoted.profiles.remove_profile_key(
            holding(FIRST), ALICE, ids(world.promoted)[0]
        ),
        [{STRANGE}, {SECOND, STRANGE}],
    ),
    "new key": (
        lambda world: world.promoted.profiles.set_profile_key(holding(FIRST), ALICE, THIRD),
        [{THIRD}],
    ),
    "made again": (lambda world: erase_and_make(world.promoted), [{THIRD}]),
    "claims": (
        lambda world: world.promoted.profiles.write_claims(holding(FIRST), ALICE, {"name": "B"}),
        [{FIRST, SECOND}],
    ),
    "move": (lambda world: world.move(), [{FIRST, SECOND}]),
}


@pytest.mark.parametrize("keyring", ["pending", "promoted"])
@pytest.mark.parametrize("name", MEANWHILE)
def test_others_meanwhile(name, keyring):
    """A process that adds a key stands still before any call, while others change the profile."""
    interfere, expected = MEANWHILE[name]
    for steps in itertools.count():
        world = World()
        protected(world.old)
        if name == "own key removed":
            world.old.profiles.add_profile_key(holding(FIRST), ALICE, STRANGE)
        keys = getattr(world, keyring).keyring

        def add(backend: Backend, keys: Keyring = keys) -> object:
            return Store(keys, backend).profiles.add_profile_key(holding(FIRST), ALICE, SECOND)

        person = Actor(world.backend, add)
        for _ in range(steps):
            if not person.is_done:
                person.step()
        was_done = person.is_done
        interfere(world)
        person.finish()
        found = opening(world.promoted)
        assert found in expected
        if person.error is None:
            assert SECOND in found or was_done or name in ("new key", "made again")
        else:
            assert isinstance(person.error, ProfileKeyRequired)
        assert world.promoted.verify()[0] == []
        if was_done:
            break


@pytest.mark.parametrize("at", range(1, 12))
def test_added_while_moved(at):
    """A key that is added at any instant of a move opens the moved profile."""
    world = World()
    protected(world.old)
    added = []

    def interfere() -> None:
        added.append(world.pending.profiles.add_profile_key(holding(FIRST), ALICE, SECOND))

    world.backend.arm(at, interfere)
    mover(world.backend, world.promoted).run()
    if not added:
        interfere()
    world.move()
    assert opening(Store(PROMOTED, world.backend)) == {FIRST, SECOND} == opening(world.ended)
    assert world.promoted.verify()[0] == []


def test_owner_of_too_many_wraps(store):
    """An owner record holds no more wraps than it has slots."""
    data_key = store.data_key(ALICE)
    owner = store.key_item(ALICE).open_owner(data_key)
    with pytest.raises(AssertionError):
        Owner(ALICE, owner.wraps * 9).seal(data_key)


def test_opens_independently(store):
    """Each key of the stored item opens the profile by the documented format alone."""
    store.profiles.add_profile_key(holding(FIRST), ALICE, SECOND)
    items = read_partition(store.backend, store.keys.partition(ALICE))
    record = KeyItem.parse(items[KEY_ITEM].value, store.keys).owner
    data_key = store.data_key(ALICE).secret
    owner = independent.open_owner(data_key, record)
    for profile_key in (FIRST, SECOND):
        content_key = independent.open_content_key(data_key, profile_key, owner)
        profile = independent.open_profile(independent.CONTENT_KEY, content_key, items["profile"].value)
        assert profile["claims"] == {"name": "Alice"}
    with pytest.raises(independent.Rejected):
        independent.open_content_key(data_key, THIRD, owner)
