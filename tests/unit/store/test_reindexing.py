"""Profiles move to another index key while others read and write, and movers are killed."""

from __future__ import annotations

import itertools
import os

import pytest
from support.clients.sessions import session_of
from support.stores.moving import (
    ACTIONS,
    FORWARD_SECONDS,
    PICTURE,
    PROFILE_KEY,
    PROMOTED,
    WITH_KEY,
    World,
    mover,
    seen,
)
from support.stores.sealed_store import ALICE, BOB, FOREVER, Store, key, renditions
from support.stores.stepping import Call, Killed, Stepped

from backends import MAX_OPERATIONS, Put
from persona_profile.errors import NotFound
from persona_profile.keys.keyring import KeyKind, Keyring, KeyState
from persona_profile.keys.tokens import PictureCapability, Protection
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import (
    KEY_ITEM,
    MOVE_ID_BYTES,
    PROFILE_ITEM,
    Forward,
    Moving,
    Owner,
    picture_item,
)
from persona_profile.store.maintenance.key_use import count_use
from persona_profile.store.maintenance.reindexing import Reindexed
from persona_profile.store.maintenance.rewrapping import Rewrapping
from persona_profile.store.profile import StoredProfile


@pytest.fixture
def world() -> World:
    """A store with profiles under the old index key."""
    world = World()
    world.old.write(ALICE, "first")
    world.old.put_picture(ALICE)
    return world


class TestMoving:
    def test_moves_everything(self, world):
        """A profile and its picture are in the partition of the new key; only a forward is left."""
        done = world.move()
        assert (done.moved, done.is_complete, done.unreadable) == (1, True, [])
        world.check(ALICE, ("first", PICTURE))
        world.check_moved()
        [old_partition, _] = world.promoted.keys.partitions(ALICE)
        [info] = world.backend.list(old_partition)
        assert (info.name, info.expires_at) == (KEY_ITEM, 1_000_000 + FORWARD_SECONDS)

    def test_values_move_as_they_are(self, world):
        """Records stay sealed as they are, and the profile's entity tag stays valid."""
        before = world.old.profiles.profile(FOREVER, ALICE)
        record = world.old.get(ALICE, PROFILE_ITEM)
        world.move()
        assert world.ended.get(ALICE, PROFILE_ITEM) == record
        assert world.ended.profiles.profile(FOREVER, ALICE).state == before.state

    def test_a_second_run_finds_nothing(self, world):
        """Moved profiles stay."""
        world.move()
        assert world.move() == Reindexed(is_complete=True)

    def test_protected(self, world):
        """A profile that the server can't open is moved too, and opens with its key."""
        world.old.profiles.set_profile_key(WITH_KEY, ALICE, PROFILE_KEY)
        world.move()
        world.check(ALICE, ("first", PICTURE))
        locked = world.promoted.profiles.profiles(FOREVER)[0]
        assert locked.problem == "profile_key_required"

    def test_damaged(self, world):
        """A profile whose key does not open stays, and is reported."""
        world.old.write(BOB)
        world.old.put(BOB, KEY_ITEM, b"PPK\x01" + bytes(150))
        done = world.move()
        assert (done.moved, done.unreadable) == (1, [world.old.keys.partition(BOB)])

    def test_in_another_s_partition(self, world):
        """An item in the partition of another email is not moved."""
        world.old.write(BOB)
        partition = world.old.keys.partition(BOB)
        owner = Owner("carol@example.net").seal(world.old.data_key(BOB))
        world.old.put(BOB, KEY_ITEM, world.old.key_item(BOB).wrapped + owner)
        assert world.move().unreadable == [partition]

    def test_more_items_than_a_batch_takes(self, world):
        """A partition of more pictures than a profile can have is reported, and stays."""
        world.old.write(BOB)
        partition = world.old.keys.partition(BOB)
        for number in range(MAX_OPERATIONS):
            world.old.put(BOB, picture_item(number.to_bytes(16), 64, "jpeg"), b"x")
        assert world.move().unreadable == [partition]
        assert world.promoted.profiles.profiles(FOREVER)[1].document.claims == {"name": "N"}

    def test_renditions_that_are_left(self, world):
        """Renditions without a profile in the new partition are removed, and the profile is moved."""
        [_, new] = world.promoted.keys.partitions(ALICE)
        left = picture_item(bytes(16), 64, "jpeg")
        world.backend.apply(new, [Put(left, b"x")])
        assert world.move().moved == 1
        assert left not in {info.name for info in world.backend.list(new)}
        world.check(ALICE, ("first", PICTURE))

    def test_finding_beside_a_forward(self, world):
        """A `profile` item beside a forward belongs to nobody, and is found."""
        world.move()
        [old, _] = world.promoted.keys.partitions(ALICE)
        world.backend.apply(old, [Put(PROFILE_ITEM, b"x")])
        findings, _ = world.promoted.verify()
        assert ("orphan_item", old, PROFILE_ITEM) in [
            (each.kind, each.partition, each.item) for each in findings
        ]

    def test_old_picture_urls_lead_on(self, world):
        """A URL that was made before the move works after it, until the forward expires."""
        pictures = world.old.pictures_service
        text = pictures.capabilities(world.old.profiles.profile(FOREVER, ALICE), FOREVER)[64]
        world.move()
        for store in [*world.everybody(), world.ended]:
            capability, _ = store.pictures_service.open_capability(text)
            assert store.pictures_service.read(capability, "jpeg") == PICTURE

    def test_after_the_end(self, world):
        """Once the old key is destroyed, the new one finds everything, and forwards are no findings."""
        world.move()
        assert seen(world.ended, ALICE) == ("first", PICTURE)
        assert world.ended.verify()[0] == []
        world.backend.now += FORWARD_SECONDS + 1
        assert seen(world.ended, ALICE) == ("first", PICTURE)
        assert len(list(world.backend.scan(None, 10))) == 1


class TestMaking:
    def test_under_the_new_key(self, world):
        """A profile that is made after the promotion is under the new key, for all processes."""
        world.promoted.write(BOB, "new")
        world.pending.write(BOB, "newer")
        world.check(BOB, ("newer", None))
        assert world.ended.profiles.profile(FOREVER, BOB).document.claims == {"name": "newer"}

    def test_under_the_old_key(self, world):
        """With the keyring of before the promotion a profile is made under the old key, for all."""
        world.pending.write(BOB, "old")
        world.promoted.write(BOB, "newer")
        world.check(BOB, ("newer", None))

    @pytest.mark.parametrize("first", ["pending", "promoted"])
    @pytest.mark.parametrize("at", range(1, 12))
    def test_by_two_at_once(self, world, first, at):
        """Two processes that make the same profile, each under another key, make one profile."""
        makers = {"pending": world.pending, "promoted": world.promoted}
        maker, other = makers.pop(first), next(iter(makers.values()))
        names = {"name": "N"}

        def adds(store: Store, name: str) -> StoredProfile:
            return store.profiles.write_claims(FOREVER, BOB, {name: "X"}, merge=True)

        world.backend.arm(at, lambda: adds(other, "nickname"))
        adds(maker, "label")
        if world.backend.at == -1:
            names = {"nickname": "X", "label": "X"}
            for store in world.everybody():
                assert store.profiles.profile(FOREVER, BOB).document.claims == names
        assert world.promoted.verify()[0] == []

    def test_again_after_erasing(self, world):
        """A profile that was moved, erased and made again is in the new partition."""
        world.move()
        world.pending.profiles.erase(FOREVER, ALICE)
        world.check(ALICE, (None, None))
        world.pending.write(ALICE, "again")
        world.check(ALICE, ("again", None))
        world.backend.now += FORWARD_SECONDS + 1
        world.check(ALICE, ("again", None))


STEPS = range(1, 26)


class TestInterference:
    @pytest.mark.parametrize("who", ["old", "pending", "promoted"])
    @pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
    def test_at_every_step(self, world, action, who):
        """A person's writes between two steps of a mover stay, and nothing older comes back."""
        for at in itertools.count(1):
            world = World()
            world.old.write(ALICE, "first")
            world.old.put_picture(ALICE)
            expected = [("first", PICTURE)]
            stores = {"old": world.pending, "pending": world.pending, "promoted": world.promoted}
            world.backend.arm(at, lambda: expected.append(action(stores[who])))  # noqa: B023
            world.move()
            if len(expected) == 1:
                assert at > 10  # every step had its turn
                return
            world.check(ALICE, expected[-1])
            world.move()
            world.check_moved()
            world.check(ALICE, expected[-1])

    @pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
    def test_killed_at_every_step(self, action):
        """A killed mover leaves one state; the next run keeps the person's writes."""

        def kill() -> None:
            raise Killed

        for at in itertools.count(1):
            world = World()
            world.old.write(ALICE, "first")
            world.old.put_picture(ALICE)
            world.backend.arm(at, kill)
            try:
                world.move()
            except Killed:
                pass
            else:
                assert at > 10
                return
            for store in world.everybody():
                assert seen(store, ALICE) == ("first", PICTURE)
            expected = action(world.pending if at % 2 else world.promoted)
            for store in world.everybody():
                assert seen(store, ALICE) == expected
            assert world.promoted.verify()[0] == []
            world.move()
            world.check_moved()
            world.check(ALICE, expected)

    @pytest.mark.parametrize("at", STEPS)
    def test_two_movers(self, world, at):
        """A second mover that overtakes the first moves the profile once."""
        moved = []
        world.backend.arm(at, lambda: moved.append(world.move()))
        world.move()
        world.check_moved()
        world.check(ALICE, ("first", PICTURE))

    def test_killed_again_and_again(self, world):
        """After many killed movers, each with a copy of another picture, one copy is left."""

        def kill_after_copying(call: Call) -> None:
            if len([each for each in call.operations if isinstance(each, Put)]) > 1:
                raise Killed

        [_, new_partition] = world.promoted.keys.partitions(ALICE)
        for _ in range(20):
            world.promoted.put_picture(ALICE)
            backend = Stepped(world.backend)
            backend.after = kill_after_copying
            with pytest.raises(Killed):
                mover(backend, world.promoted).run()
            assert len(world.backend.list(new_partition)) == 1 + len(renditions())
        assert world.promoted.verify()[1].moving == 1
        assert count_use(world.backend, world.promoted.keys).moving == 1
        world.move()
        world.check_moved()
        world.check(ALICE, ("first", PICTURE))


class TestLeftovers:
    @pytest.fixture
    def left(self, world) -> World:
        """A store whose mover was killed after it had copied a profile, which was then erased."""
        older, newer = world.promoted.keys.partitions(BOB)
        world.old.write(BOB, "erased")
        world.old.put_picture(BOB)
        world.move()
        items = world.backend.get_many([(newer, info.name) for info in world.backend.list(newer)])
        values = {name: item.value for (_, name), item in items.items()}
        world.promoted.profiles.erase(FOREVER, BOB)
        copy = Moving(os.urandom(MOVE_ID_BYTES), older, values.pop(KEY_ITEM), values.pop(PROFILE_ITEM))
        values[KEY_ITEM] = copy.to_bytes()
        world.backend.apply(newer, [Put(name, value) for name, value in values.items()])
        return world

    def test_are_seen(self, left):
        """Verification and the count of key uses report the copy, and no session reads it."""
        findings, verified = left.promoted.verify()
        assert (findings, verified.moving) == ([], 1)
        assert count_use(left.backend, left.promoted.keys).moving == 1
        for store in left.everybody():
            assert seen(store, BOB) == (None, None)

    def test_finding_beside_a_copy(self, left):
        """A `profile` item beside a copy belongs to nobody, and is found."""
        [_, new] = left.promoted.keys.partitions(BOB)
        left.backend.apply(new, [Put(PROFILE_ITEM, b"x")])
        findings, _ = left.promoted.verify()
        assert [(each.kind, each.item) for each in findings] == [("orphan_item", PROFILE_ITEM)]

    def test_are_found_when_no_mover_will_come(self, left):
        """Once the older index key is destroyed, a copy is a finding."""
        findings, _ = left.ended.verify()
        assert [(each.kind, each.item) for each in findings] == [("orphan_item", KEY_ITEM)]

    @pytest.mark.parametrize("keyring", ["pending", "promoted", "ended"])
    @pytest.mark.parametrize("action", ["mover", "erase", "write"])
    def test_are_removed(self, left, keyring, action):
        """The next mover removes the copy, and so does an erasure or the next profile of the email."""
        store = getattr(left, keyring)
        if action == "mover":
            assert left.move().cleaned == 1
        elif action == "erase":
            store.profiles.erase(FOREVER, BOB)
        else:
            store.write(BOB, "again")
            assert seen(store, BOB) == ("again", None)
        for partition in left.promoted.keys.partitions(BOB):
            assert not any("/" in info.name for info in left.backend.list(partition))
        left.promoted.profiles.erase(FOREVER, BOB)
        assert left.promoted.verify()[1].moving == 0

    def test_are_not_wrapped(self, left):
        """A job that wraps data keys again leaves a copy."""
        keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(3)], PROMOTED.keys(KeyKind.INDEX))
        done = Rewrapping(left.backend, KeyWrapper(keyring), lambda: None).run()
        assert (done.unreadable, done.is_complete) == ([], True)
        assert count_use(left.backend, left.promoted.keys).moving == 1


class TestHalfWay:
    def test_a_copy_that_no_forward_names_is_nothing(self, world):
        """No session reads a copy without its forward."""
        [old, new] = world.promoted.keys.partitions(BOB)
        copy = Moving(os.urandom(MOVE_ID_BYTES), old, b"copy", b"copy")
        world.backend.apply(new, [Put(KEY_ITEM, copy.to_bytes())])
        assert seen(world.promoted, BOB) == (None, None)
        world.promoted.write(BOB, "new")
        assert seen(world.pending, BOB) == ("new", None)
        assert Forward.parse(world.backend.get_many([(old, KEY_ITEM)])[old, KEY_ITEM].value)

    def test_a_copy_of_itself(self, world):
        """A copy that names its own partition is damaged, and the next profile removes it."""
        [_, new] = world.promoted.keys.partitions(BOB)
        copy = Moving(os.urandom(MOVE_ID_BYTES), new, b"copy", b"copy")
        world.backend.apply(new, [Put(KEY_ITEM, copy.to_bytes())])
        assert seen(world.promoted, BOB) == (None, None)
        world.promoted.write(BOB, "new")
        assert seen(world.promoted, BOB) == ("new", None)

    def test_a_damaged_copy(self, world):
        """An altered copy is an unreadable profile, which can be erased."""
        [old, new] = world.promoted.keys.partitions(BOB)
        forward = Forward(os.urandom(16), new)
        world.backend.apply(old, [Put(KEY_ITEM, forward.to_bytes())])
        copy = Moving(forward.move_id, old, b"junk", b"junk")
        world.backend.apply(new, [Put(KEY_ITEM, copy.to_bytes())])
        assert world.promoted.profiles.profiles(FOREVER)[1].problem == "profile_unreadable"
        world.promoted.profiles.erase(FOREVER, BOB)
        assert seen(world.promoted, BOB) == (None, None)

    def test_sessions_that_were_ended_stay_ended(self, world):
        """A sign-out holds in both partitions, also for the URLs of protected pictures."""
        session = session_of(ALICE, signed_out_at=0, expires_at=4 * 10**12)
        session, profile = world.old.profiles.set_profile_key(session, ALICE, PROFILE_KEY)
        text = world.old.pictures_service.capabilities(profile, session)[64]
        capability, _ = world.old.pictures_service.open_capability(text)
        assert world.old.pictures_service.read(capability, "jpeg") == PICTURE
        world.old.profiles.sign_out(session)
        world.move()
        for store in world.everybody():
            with pytest.raises(Exception, match="signed out"):
                store.profiles.profiles(session)
            with pytest.raises(Exception, match=r"^$"):
                store.pictures_service.read(capability, "jpeg")

    @pytest.mark.parametrize("signs_out", ["old", "pending", "promoted"])
    @pytest.mark.parametrize("signed_in_at", ["old", "pending", "promoted"])
    @pytest.mark.parametrize("ended_by", [ALICE, BOB])
    def test_urls_die_with_their_session(self, world, signed_in_at, signs_out, ended_by):
        """A sign-out at any process ends the URLs of protected pictures at all processes."""
        session = session_of(ALICE, BOB, signed_out_at=0)
        session, _ = world.old.profiles.set_profile_key(session, ALICE, PROFILE_KEY)
        maker = getattr(world, signed_in_at)
        profile = maker.profiles.profile(session, ALICE)
        text = maker.pictures_service.capabilities(profile, session)[64]
        capability, _ = maker.pictures_service.open_capability(text)
        everybody = [world.old, *world.everybody()]
        for store in everybody:
            assert store.pictures_service.read(capability, "jpeg") == PICTURE
        getattr(world, signs_out).profiles.sign_out(session_of(ended_by, signed_out_at=0))
        for store in everybody:
            with pytest.raises(NotFound):
                store.pictures_service.read(capability, "jpeg")

    @pytest.mark.parametrize(("maker", "is_alive"), [("old", False), ("promoted", True)])
    def test_urls_that_name_destroyed_keys_alone(self, world, maker, is_alive):
        """A URL whose partitions no sign-out marks any more is dead."""
        session, _ = world.old.profiles.set_profile_key(session_of(ALICE), ALICE, PROFILE_KEY)
        world.move()
        profile = world.promoted.profiles.profile(session, ALICE)
        sign_outs = tuple(
            (partition, 10**15) for partition in getattr(world, maker).keys.partitions(ALICE)
        )
        protection = Protection(profile.picture_key(), sign_outs, 10**12)
        capability = PictureCapability(
            profile.home.partition, profile.document.picture.id, 64, ("jpeg",), protection
        )
        assert world.promoted.pictures_service.read(capability, "jpeg") == PICTURE
        if is_alive:
            assert world.ended.pictures_service.read(capability, "jpeg") == PICTURE
        else:
            with pytest.raises(NotFound):
                world.ended.pictures_service.read(capability, "jpeg")
