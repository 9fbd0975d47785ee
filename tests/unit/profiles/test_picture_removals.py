"""Pictures that an operator removes, and addresses that an operator locks for pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from types import SimpleNamespace

import pytest
from support.forgeries import independent_keys as independent
from support.stores.moving import (
    ACTIONS,
    ENDED,
    FORWARD_SECONDS,
    OLD,
    OTHER_PICTURE,
    PROFILE_KEY,
    PROMOTED,
    World,
    mover,
    seen,
)
from support.stores.sealed_store import ALICE, BOB, FOREVER, Store, key, renditions
from support.stores.stores import Divided, Watched

from backends import Address, Put
from backends.engines.memory import MemoryBackend
from persona_profile.errors import (
    InvalidSession,
    NotFound,
    PictureLocked,
    PreconditionFailed,
    UnreadableProfile,
)
from persona_profile.keys.keyring import Keyring, KeyState
from persona_profile.profiles.export import profile_json
from persona_profile.profiles.preconditions import Precondition
from persona_profile.profiles.removals import NOTICE_SECONDS
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, REMOVAL_ITEM
from persona_profile.store.maintenance.key_use import check_unused, count_use
from persona_profile.store.maintenance.needed_keys import NeededKeys
from persona_profile.store.maintenance.partition_check import FindingKind
from persona_profile.store.maintenance.reindexing import Reindexing
from persona_profile.store.maintenance.rewrapping import Rewrapping
from persona_profile.store.partitions import read_items
from persona_profile.store.removals import PictureRemoval

DAY = 24 * 3600
KEYRING = Keyring([key(1)], [key(9)])
WITH_KEY = replace(FOREVER, profile_key=PROFILE_KEY)
SIGNED_IN = {"plain": FOREVER, "protected": WITH_KEY}


@pytest.fixture
def clock() -> SimpleNamespace:
    """A clock that a test may change."""
    return SimpleNamespace(now=1_000_000.0)


@pytest.fixture
def store(clock) -> Store:
    """A store with a name and a picture of Alice."""
    made = Store(KEYRING, Watched(lambda: clock.now))
    made.write(ALICE)
    made.put_picture(ALICE)
    return made


def removal_of(store: Store, email: str = ALICE) -> PictureRemoval | None:
    """Return the removal that the owner sees."""
    return store.profiles.profile(FOREVER, email).removal


@contextmanager
def moving_at(step: int, email: str) -> Iterator[Store]:
    """Yield a store as of shards, whose emails move at a step of what is done; `email` has a lock."""
    backend = Divided()
    old, promoted = Store(OLD, backend), Store(PROMOTED, backend)
    old.put_picture(ALICE)
    old.removals.remove(email, DAY, "")
    calls = iter(range(1000))

    def move() -> None:
        if next(calls) == step:
            mover(backend, promoted).run()

    backend.before_write = backend.before_read = move
    yield promoted
    backend.before_write = backend.before_read = lambda: None


class TestRemoving:
    @pytest.mark.parametrize("kind", SIGNED_IN)
    def test_picture_alone(self, store, kind):
        """The picture is gone for its owner and from the store; other claims stay, protected or not."""
        session = SIGNED_IN[kind]
        if kind == "protected":
            store.profiles.set_profile_key(session, ALICE, PROFILE_KEY)
        removal, had_picture = store.removals.remove(ALICE, None, "Not you.")
        assert (had_picture, removal.is_locked, removal.reason) == (True, False, "Not you.")
        profile = store.profiles.profile(session, ALICE)
        assert (profile.document.picture, profile.document.claims) == (None, {"name": "N"})
        assert store.pictures(ALICE) == []
        assert store.verify()[0] == []

    def test_opens_no_profile(self, store, monkeypatch):
        """Neither the data key nor a record of the profile is opened."""
        opened = []
        monkeypatch.setattr(store.keys, "unwrap", lambda *_: opened.append("key"))
        store.removals.remove(ALICE, DAY, "")
        assert opened == []

    def test_urls(self, store):
        """The URL of a removed picture leads nowhere, at once."""
        profile = store.profiles.profile(FOREVER, ALICE)
        url = store.pictures_service.capabilities(profile, FOREVER)[64]
        capability, _ = store.pictures_service.open_capability(url)
        store.removals.remove(ALICE, None, "")
        with pytest.raises(NotFound):
            store.pictures_service.read(capability, "jpeg")

    @pytest.mark.parametrize("kind", SIGNED_IN)
    def test_next_write_names_it_no_more(self, store, kind):
        """After the owner's next write the `key` item hides nothing."""
        if kind == "protected":
            store.profiles.set_profile_key(WITH_KEY, ALICE, PROFILE_KEY)
        store.removals.remove(ALICE, DAY, "")
        assert len(store.key_item(ALICE).removed) == 16
        store.profiles.write_claims(SIGNED_IN[kind], ALICE, {"name": "M"})
        assert store.key_item(ALICE).removed == b""
        profile = store.profiles.profile(SIGNED_IN[kind], ALICE)
        assert (profile.document.picture, profile.removal is not None) == (None, True)

    def test_new_profile_key(self, store):
        """A removed picture stays removed when the profile is sealed again."""
        store.removals.remove(ALICE, DAY, "")
        _, profile = store.profiles.set_profile_key(WITH_KEY, ALICE, PROFILE_KEY)
        assert profile.document.picture is None
        assert store.key_item(ALICE).removed == b""
        assert store.verify()[0] == []

    def test_more_than_once(self, store):
        """A second removal, of a second picture, replaces the first one's notice."""
        store.removals.remove(ALICE, None, "One.")
        store.put_picture(ALICE)
        assert store.removals.remove(ALICE, DAY, "Two.")[1]
        assert not store.removals.remove(ALICE, DAY, "Three.")[1]
        assert removal_of(store).reason == "Three."
        assert store.profiles.profile(FOREVER, ALICE).document.picture is None

    def test_notice(self, store, clock):
        """Without a lock the owner sees the reason for a while, until the next picture."""
        store.removals.remove(ALICE, None, "Not you.")
        assert profile_json(store.profiles.profile(FOREVER, ALICE))["picture_removal"] == {
            "removed_at": "1970-01-12T13:46:40.000Z",
            "locked_until": None,
            "reason": "Not you.",
        }
        assert store.put_picture(ALICE).removal is None
        assert removal_of(store) is None
        store.removals.remove(ALICE, None, "")
        clock.now += NOTICE_SECONDS
        assert removal_of(store) is None

    def test_damaged_profile(self, store):
        """The picture of a profile that does not open is removed too."""
        store.put(ALICE, KEY_ITEM, b"x" * 100)
        assert store.removals.remove(ALICE, DAY, "")[1]
        assert store.pictures(ALICE) == []

    def test_a_replica_that_is_behind(self, store):
        """The primary does not name a removed picture as current, so no replica is asked for it."""
        service = store.pictures_service
        profile = store.profiles.profile(FOREVER, ALICE)
        capability, _ = service.open_capability(service.capabilities(profile, FOREVER)[64])
        assert service._key_of_current(capability) is not None
        store.removals.remove(ALICE, None, "")
        assert service._key_of_current(capability) is None


class TestLock:
    def test_rejects_pictures(self, store, clock):
        """A locked email gets no picture, with end and reason, until the lock ends by itself."""
        store.removals.remove(ALICE, DAY, "Not you.")
        for attempt in (
            lambda: store.put_picture(ALICE),
            lambda: store.profiles.check_upload(FOREVER, ALICE),
        ):
            with pytest.raises(PictureLocked) as caught:
                attempt()
            assert caught.value.members == {
                "locked_until": "1970-01-13T13:46:40.000Z",
                "reason": "Not you.",
            }
        assert store.put_picture(BOB).document.picture is not None
        assert store.write(ALICE, "M").document.claims == {"name": "M"}
        clock.now += DAY
        assert store.put_picture(ALICE).document.picture is not None
        assert store.verify()[0] == []

    def test_precondition_first(self, store):
        """A write in an unexpected state is rejected for that reason."""
        store.removals.remove(ALICE, DAY, "")
        with pytest.raises(PreconditionFailed):
            store.profiles.check_upload(FOREVER, ALICE, Precondition(if_match=frozenset({"other"})))

    def test_erasing_lifts_none(self, store):
        """A lock outlives the profile, and holds for the next one; a notice goes with the profile."""
        store.removals.remove(ALICE, DAY, "Not you.")
        store.profiles.erase(FOREVER, ALICE)
        store.profiles.erase(FOREVER, ALICE)
        [info] = store.backend.list(store.keys.partition(ALICE))
        assert info.name == REMOVAL_ITEM
        store.write(ALICE)
        with pytest.raises(PictureLocked):
            store.put_picture(ALICE)
        store.removals.unlock(ALICE)
        store.removals.remove(ALICE, None, "Not you.")
        store.profiles.erase(FOREVER, ALICE)
        assert not store.backend.list(store.keys.partition(ALICE))

    def test_of_nobody(self, store):
        """An email without a profile can be locked, and then has no first picture."""
        assert not store.removals.remove(BOB, DAY, "")[1]
        assert store.profiles.profile(FOREVER, BOB).is_blank
        with pytest.raises(PictureLocked) as caught:
            store.put_picture(BOB)
        assert caught.value.members["reason"] is None
        assert store.verify()[0] == []

    def test_unlock(self, store):
        """An unlocked email gets pictures again; a notice is no lock."""
        store.removals.remove(ALICE, DAY, "")
        assert store.removals.is_locked(ALICE)
        store.removals.unlock(ALICE)
        store.removals.unlock(ALICE)
        assert not store.removals.is_locked(ALICE)
        assert store.put_picture(ALICE).document.picture is not None
        store.removals.remove(ALICE, None, "")
        assert not store.removals.is_locked(ALICE)
        store.removals.unlock(ALICE)
        assert removal_of(store) is None

    def test_second_removal_keeps_it(self, store, clock):
        """A removal without a lock leaves an earlier lock and its reason; a new lock replaces it."""
        first, _ = store.removals.remove(ALICE, 30 * DAY, "Not you.")
        clock.now += DAY
        for reason, shown in (("", "Not you."), ("Nor this.", "Nor this.")):
            second, _ = store.removals.remove(ALICE, None, reason)
            assert second == removal_of(store)
            assert (second.is_locked, second.expires_at) == (True, first.expires_at)
            assert second.reason == shown
        third, _ = store.removals.remove(ALICE, DAY, "")
        assert removal_of(store) == third
        assert third.expires_at == clock.now + DAY
        clock.now += DAY
        assert not store.removals.remove(ALICE, None, "")[0].is_locked

    def test_two_operators_at_every_step(self, clock):
        """A lock that another operator adds at any step of a removal stays."""
        for step in range(12):
            store = Store(KEYRING, Watched(lambda: clock.now))
            store.put_picture(ALICE)
            calls = iter(range(100))

            def lock(store=store, calls=calls, step=step) -> None:
                if next(calls) == step:
                    store.removals.remove(ALICE, DAY, "Not you.")

            store.backend.before_write = store.backend.before_read = lock
            store.removals.remove(ALICE, None, "")
            store.backend.before_write = store.backend.before_read = lambda: None
            assert store.removals.is_locked(ALICE) or next(calls) <= step

    @pytest.mark.parametrize("email", [ALICE, BOB])
    def test_upload_at_every_step(self, clock, email):
        """An upload at any step of a removal is removed or rejected: no picture is left."""
        rejected = 0
        for step in range(12):
            store = Store(KEYRING, Watched(lambda: clock.now))
            store.put_picture(ALICE)
            calls = iter(range(100))

            def upload(store=store, calls=calls, step=step) -> None:
                nonlocal rejected
                if next(calls) == step:
                    try:
                        store.put_picture(email)
                    except PictureLocked:
                        rejected += 1

            store.backend.before_write = store.backend.before_read = upload
            store.removals.remove(email, DAY, "")
            store.backend.before_write = store.backend.before_read = lambda: None
            assert store.pictures(email) == []
            assert store.profiles.profile(FOREVER, email).document.picture is None
            assert store.verify()[0] == []
        assert rejected

    @pytest.mark.parametrize("had_notice", [False, True])
    @pytest.mark.parametrize("email", [ALICE, BOB])
    def test_removal_at_every_step(self, clock, email, had_notice):
        """A removal at any step of an upload: no picture is left, not even a first one."""
        for step in range(6):
            store = Store(KEYRING, Watched(lambda: clock.now))
            store.put_picture(ALICE)
            if had_notice:
                store.removals.remove(email, None, "")
            calls = iter(range(100))

            def remove(store=store, calls=calls, step=step) -> None:
                if next(calls) == step:
                    store.removals.remove(email, DAY, "")

            store.backend.before_write = store.backend.before_read = remove
            try:
                store.put_picture(email)
            except PictureLocked:
                pass
            store.backend.before_write = store.backend.before_read = lambda: None
            if next(calls) <= step:  # the upload came first
                store.removals.remove(email, DAY, "")
            assert store.removals.is_locked(email)
            assert store.pictures(email) == []
            assert store.verify()[0] == []

    def test_sign_out_at_every_step(self, clock):
        """A first upload is rejected for a sign-out, or written: never both."""
        outcomes = set()
        for step in range(8):
            store = Store(KEYRING, Watched(lambda: clock.now))
            session, _ = store.profiles.open_session([Vouched(BOB, "test")])
            calls = iter(range(100))

            def sign_out(store=store, session=session, calls=calls, step=step) -> None:
                if next(calls) == step:
                    store.profiles.sign_out(session)

            store.backend.before_write = store.backend.before_read = sign_out
            try:
                store.profiles.write_picture(session, BOB, renditions(20))
                is_written = True
            except InvalidSession:
                is_written = False
            store.backend.before_write = store.backend.before_read = lambda: None
            assert bool(store.pictures(BOB)) == is_written
            outcomes.add(is_written)
        assert outcomes == {True, False}


class TestSealing:
    def test_damage(self, store):
        """An altered removal is found; the profile is unreadable, and erasing ends that."""
        store.removals.remove(ALICE, DAY, "")
        value = store.get(ALICE, REMOVAL_ITEM)
        for position in (3, 20, 60, 200, len(value) - 1):
            altered = bytearray(value)
            altered[position] ^= 1
            store.put(ALICE, REMOVAL_ITEM, bytes(altered))
            assert store.only_finding() == (FindingKind.UNREADABLE_REMOVAL, ALICE, REMOVAL_ITEM)
            with pytest.raises(UnreadableProfile):
                removal_of(store)
        store.profiles.erase(FOREVER, ALICE)
        assert removal_of(store) is None

    def test_of_another(self, store):
        """The removal of another email does not open, nor one that was sealed for another email."""
        store.removals.remove(BOB, DAY, "")
        store.put(ALICE, REMOVAL_ITEM, store.get(BOB, REMOVAL_ITEM))
        with pytest.raises(UnreadableProfile):
            removal_of(store)
        removal = removal_of(store, BOB)
        store.put(ALICE, REMOVAL_ITEM, removal.seal(store.keys, store.keys.partition(ALICE)))
        assert store.only_finding()[0] == FindingKind.UNREADABLE_REMOVAL
        with pytest.raises(UnreadableProfile):
            removal_of(store)

    def test_lengths(self, store):
        """All removals have one length, whatever the reason; no text of them is readable."""
        lengths = set()
        for email, reason in [(ALICE, ""), (BOB, "ä" * 200), (BOB, "😀" * 200)]:
            store.removals.remove(email, DAY, reason)
            assert removal_of(store, email).reason == reason
            value = store.get(email, REMOVAL_ITEM)
            assert email.encode() not in value
            lengths.add(len(value))
        assert len(lengths) == 1


class TestIndependent:
    """An implementation written from docs/reference/key-formats.md alone."""

    def test_opens_ours(self, store):
        """It opens our removal, and finds the removed picture behind the `key` item."""
        picture = store.profiles.profile(FOREVER, ALICE).document.picture
        removal, _ = store.removals.remove(ALICE, DAY, "Ä reason")
        partition = store.keys.partition(ALICE)
        opened = independent.open_removal({1: b"\1" * 32}, partition, store.get(ALICE, REMOVAL_ITEM))
        assert opened == astuple(removal)
        key_item, removed = independent.split_removed(store.get(ALICE, KEY_ITEM))
        assert removed == [picture.id]
        assert independent.split_key_item(key_item).wrapped_key == store.key_item(ALICE).wrapped

    def test_seals_for_us(self, store):
        """We open its removal."""
        made = independent.Removal(ALICE, 1_000_000_000_000, 2_000_000_000, True, "Ä reason")
        partition = store.keys.partition(ALICE)
        item = independent.pack_removal(1, b"\1" * 32, partition, b"r" * 32, made, b"s" * 32)
        store.put(ALICE, REMOVAL_ITEM, item)
        assert astuple(removal_of(store)) == made


class TestKeys:
    def test_rewrapping(self, store):
        """A lock is wrapped again with the data keys, keeps its end, and then needs no old key."""
        store.removals.remove(ALICE, DAY, "Not you.")
        store.removals.remove(BOB, DAY, "")
        promoted = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)])
        keys = Store(promoted, store.backend).keys
        use = count_use(store.backend, keys)
        assert (use.wraps, use.removals, use.stale) == ({"1": 3}, {9: 2}, 3)
        done = Rewrapping(store.backend, keys, lambda: None).run()
        assert (done.keys, done.is_complete) == (3, True)
        after = Store(Keyring([key(2)], [key(9)]), store.backend)
        assert removal_of(after).reason == "Not you."
        address = Address(after.keys.partition(ALICE), REMOVAL_ITEM)
        assert after.backend.get_many([address])[address].expires_at == 1_000_000 + DAY
        assert after.verify()[0] == []

    def test_archives_name_them(self, store):
        """The keys that an archive needs include those of removals."""
        store.removals.remove(BOB, DAY, "")
        needed = NeededKeys()
        partition = store.keys.partition(BOB)
        needed.add(partition, read_items(store.backend, partition, [REMOVAL_ITEM]))
        assert str(needed) == "encryption key 1 and index key 9"

    @pytest.mark.parametrize("email", [ALICE, BOB])
    def test_another_index_key(self, email):
        """A removal moves with the index key: of a profile, and of an email without one."""
        world = World()
        world.old.write(ALICE)
        world.old.put_picture(ALICE)
        world.old.removals.remove(email, DAY, "Not you.")
        assert all(removal_of(each, email).is_locked for each in world.everybody())
        with pytest.raises(Exception, match="removals of pictures are under it"):
            check_unused(world.backend, world.promoted.keys, "index", 1, lambda _: None)
        done = world.move()
        assert (done.removals, done.is_complete, done.unreadable) == (1, True, [])
        use = count_use(world.backend, world.promoted.keys)
        assert (use.removals[1], use.removals[2]) == (0, 1)
        ended = Store(ENDED, world.backend)
        assert removal_of(ended, email).reason == "Not you."
        with pytest.raises(PictureLocked):
            ended.put_picture(email)

    def test_under_a_destroyed_index_key(self):
        """What a machine with an older keyring writes is no damage to those who destroyed its key."""
        world = World()
        world.old.write(ALICE)
        world.move()
        for reason in ("Not you.", "A logo."):
            world.promoted.removals.remove(ALICE, DAY, reason)
            assert world.ended.verify()[0] == []
            assert removal_of(world.ended).reason == reason

    @pytest.mark.parametrize("at", range(1, 7))
    def test_two_operators(self, at):
        """A lock holds for every machine whatever another operator's removal does at that time."""
        world = World()
        world.old.write(ALICE)
        world.backend.arm(at, lambda: world.promoted.removals.remove(ALICE, DAY, "Not you."))
        world.promoted.removals.remove(ALICE, None, "")
        assert world.backend.at == -1
        assert all(removal_of(each).is_locked for each in (world.old, world.promoted))

    @pytest.mark.parametrize("at", range(1, 16))
    def test_removing_at_every_step_of_a_move(self, at):
        """A removal at any step of a move removes the picture, and holds for everybody afterwards."""
        world = World()
        world.old.write(ALICE, "first")
        world.old.put_picture(ALICE)
        world.backend.arm(at, lambda: world.promoted.removals.remove(ALICE, DAY, ""))
        world.move()
        world.backend.at = -1
        world.move()
        if removal_of(world.promoted) is None:
            world.promoted.removals.remove(ALICE, DAY, "")
        for store in world.everybody():
            assert seen(store, ALICE) == ("first", None)
            with pytest.raises(PictureLocked):
                store.put_picture(ALICE)
        assert world.promoted.verify()[0] == []

    @pytest.mark.parametrize("email", [ALICE, BOB])
    def test_moving_at_every_step_of_an_upload(self, email):
        """A lock that moves at any step of an upload holds, also where each partition is read alone."""
        for step in range(8):
            with moving_at(step, email) as promoted, pytest.raises(PictureLocked):
                promoted.put_picture(email)
            assert promoted.pictures(email) == []
            assert promoted.verify()[0] == []

    def test_unlocking_before_a_move(self):
        """A lock that ends after the walk has read it, and before it moves, is not brought back."""
        world = World()
        world.old.put_picture(ALICE)
        world.old.removals.remove(ALICE, DAY, "")

        def unlock() -> None:
            world.promoted.removals.unlock(ALICE)

        keys, clock = world.promoted.keys, world.backend._clock
        Reindexing(world.backend, keys, FORWARD_SECONDS, unlock, clock).run()
        assert not world.promoted.removals.is_locked(ALICE)

    @pytest.mark.parametrize("email", [ALICE, BOB])
    def test_moving_at_every_step_of_an_unlocking(self, email):
        """An email that moves at any step of its unlocking is unlocked afterwards, also on shards."""
        for step in range(6):
            with moving_at(step, email) as promoted:
                promoted.removals.unlock(email)
            assert not promoted.removals.is_locked(email)

    @pytest.mark.parametrize("action", ACTIONS)
    def test_moves_under_actions(self, action):
        """A move after a removal, and after an action of the owner under the lock, loses nothing."""
        world = World()
        world.old.write(ALICE, "first")
        world.old.put_picture(ALICE)
        world.old.removals.remove(ALICE, None, "")
        name, picture = action(world.pending)
        world.move()
        expected = picture if picture == OTHER_PICTURE else None
        if action.__name__ != "protects":
            world.check(ALICE, (name, expected))
        else:
            assert seen(world.promoted, ALICE) == ("first", None)

    def test_unlocking_while_both_keys_live(self):
        """An unlocked email is unlocked under both index keys."""
        world = World()
        world.pending.removals.remove(ALICE, DAY, "")
        assert len(world.backend.list(world.old.keys.partition(ALICE))) == 1
        world.promoted.removals.unlock(ALICE)
        for store in (world.old, *world.everybody()):
            assert removal_of(store) is None


class TestKeyItem:
    def test_appended_bytes(self, store):
        """Other bytes behind the owner record hide no picture, and are found."""
        value = store.get(ALICE, KEY_ITEM)
        store.put(ALICE, KEY_ITEM, value + b"x")
        assert store.profiles.profile(FOREVER, ALICE).document.picture is not None
        assert store.only_finding()[0] == FindingKind.UNREADABLE_KEY
        store.put(ALICE, KEY_ITEM, value + bytes(16))
        assert store.profiles.profile(FOREVER, ALICE).document.picture is not None

    def test_first_format(self, store):
        """A removal works on an owner record of an earlier build too."""
        key_item = store.key_item(ALICE)
        data_key = store.data_key(ALICE)
        email = ALICE.encode()
        first = b"\x01" + bytes(40) + bytes([len(email)]) + email.ljust(254, b"\0")
        item = replace(key_item, owner=data_key.seal(KEY_ITEM, first))
        store.put(ALICE, KEY_ITEM, item.to_bytes())
        store.removals.remove(ALICE, None, "")
        assert (len(store.key_item(ALICE).removed), store.verify()[0]) == (16, [])
        store.write(ALICE, "M")
        assert store.key_item(ALICE).has_current_format
        assert store.key_item(ALICE).removed == b""


def test_writes_that_pass(store):
    """A profile's record stays as it is, but its version is another one: a stale upload conflicts."""
    before = store.get(ALICE, PROFILE_ITEM)
    partition = store.keys.partition(ALICE)
    version = read_items(store.backend, partition, [PROFILE_ITEM])[PROFILE_ITEM].version
    store.removals.remove(ALICE, DAY, "")
    after = read_items(store.backend, partition, [PROFILE_ITEM])[PROFILE_ITEM]
    assert (after.value, after.version == version) == (before, False)


def test_renditions_of_no_profile(store):
    """Renditions that are left without a profile go too."""
    store.delete(ALICE, KEY_ITEM, PROFILE_ITEM)
    assert store.removals.remove(ALICE, None, "")[1]
    assert store.pictures(ALICE) == []


def test_more_renditions_than_a_batch_takes():
    """More leftover renditions than a batch takes are removed by several batches."""
    store = Store(KEYRING, MemoryBackend())
    store.put_picture(ALICE)
    for number in range(120):
        name = f"picture/{'A' * 19}{number:03}/64.jpeg"
        store.backend.apply(store.keys.partition(ALICE), [Put(name, renditions()[0].data)])
    assert store.removals.remove(ALICE, DAY, "")[1]
    assert store.pictures(ALICE) == []
