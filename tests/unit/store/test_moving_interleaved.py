"""Two movers and a person at once, in every order of a few turns, and with kills."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from support.clients.sessions import session_of
from support.stores.moving import (
    ACTIONS,
    ENDED,
    OTHER_PICTURE,
    PICTURE,
    PROFILE_KEY,
    PROMOTED,
    WITH_KEY,
    Seen,
    World,
    erases,
    mover,
    seen,
    uploads,
    writes,
)
from support.stores.sealed_store import ALICE, FOREVER, Store, renditions
from support.stores.stepping import Actor, Killed, Stepped, killing_after

from backends import Address, Backend, Put, Unavailable
from persona_profile.errors import InvalidSession, NotFound, PreconditionFailed
from persona_profile.profiles.export import export
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.preconditions import ANY_STATE, Precondition
from persona_profile.store.homes import is_profile
from persona_profile.store.items import KEY_ITEM, NOT_BEFORE_ITEM, PROFILE_ITEM, Moving

FIRST: Seen = ("first", PICTURE)
IF_BLANK = Precondition(if_none_match=frozenset({ANY_STATE}))
RUNS = 60
"""Orders by chance for each action."""


each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)


class Scene:
    """A store with a profile under the old index key, and its actors."""

    def __init__(self, prepare: Callable[[World], None] = lambda _: None) -> None:
        self.world = World()
        self.world.old.write(ALICE, "first")
        state = self.world.old.put_picture(ALICE).state
        self.if_first = Precondition(if_match=frozenset({state}))
        prepare(self.world)
        self.partitions = self.world.promoted.keys.partitions(ALICE)
        self.actors: list[Actor] = []

    def mover(self) -> Actor:
        return self._actor(lambda backend: mover(backend, self.world.promoted).run())

    def person(self, action: Callable[[Store], Seen], keyring: object = PROMOTED) -> Actor:
        return self._actor(lambda backend: action(Store(keyring, backend)))

    def run(self, turns: Iterator[Actor]) -> None:
        """Let actors take turns; fail if an actor fails, or there are two profiles at any time."""
        for actor in turns:
            if not actor.is_done:
                actor.step()
                self.check_one_home()
        for actor in self.actors:
            actor.finish()
            self.check_one_home()
            assert actor.error is None

    def check_one_home(self) -> None:
        addresses = itertools.product(self.partitions, (KEY_ITEM, PROFILE_ITEM))
        items = self.world.backend.get_many(itertools.starmap(Address, addresses))
        homes = [
            is_profile({name: item for (where, name), item in items.items() if where == partition})
            for partition in self.partitions
        ]
        assert sum(homes) <= 1

    def check_ended(self, expected: Seen) -> None:
        """Fail unless all readers see this, also after another move, which leaves no traces."""
        for store in self.world.everybody():
            assert seen(store, ALICE) == expected
        self.world.move()
        self.world.check_moved()
        self.world.check(ALICE, expected)

    def traces(self) -> list[str]:
        """Return the names of all items with sealed values."""
        backend = self.world.backend
        names = []
        for partition in self.partitions:
            for info in backend.list(partition):
                if info.name == KEY_ITEM:
                    item = backend.get_many([(partition, KEY_ITEM)])[partition, KEY_ITEM]
                    moving = Moving.parse(item.value)
                    if not is_profile({KEY_ITEM: item}) and not (moving and moving.key_item):
                        continue
                if info.name != NOT_BEFORE_ITEM:
                    names.append(info.name)
        return names

    def close(self) -> None:
        for actor in self.actors:
            actor.kill()

    def _actor(self, work: Callable[[Backend], object]) -> Actor:
        self.actors.append(Actor(self.world.backend, work))
        return self.actors[-1]


def in_turns(*lengths: tuple[Actor, int]) -> Iterator[Actor]:
    """Yield each actor as often as it says, one after the other."""
    for actor, length in lengths:
        yield from itertools.repeat(actor, length)


@each_action
def test_person_between_two_movers(action):
    """A person's writes while two movers overtake each other stay, and nothing older comes back."""
    for first, second in itertools.product(range(1, 40), (0, 1, 2, 3, 4, 5, 7, 9, 12)):
        scene = Scene()
        mover_a, mover_b, person = scene.mover(), scene.mover(), scene.person(action)
        scene.run(in_turns((mover_a, first), (mover_b, second), (person, 50), (mover_b, 50)))
        assert (mover_a.steps, mover_b.steps) > (0, 0)
        scene.check_ended(person.result)
        if mover_a.steps < first:
            break


def test_two_movers_in_turns():
    """A mover that stands still at any call while another goes on still ends well."""
    for first in itertools.count():
        for second in itertools.count():
            scene = Scene()
            mover_a, mover_b = scene.mover(), scene.mover()
            scene.run(in_turns((mover_a, first), (mover_b, second), (mover_a, 100)))
            scene.check_ended(FIRST)
            if mover_b.steps < second:
                break
        if mover_a.steps < first:
            break
    assert first > 10


def test_index_key_that_is_destroyed_meanwhile():
    """A mover that stood still until the older key was destroyed ends without errors."""
    for calls in itertools.count():
        scene = Scene()
        slow = scene.mover()
        for _ in range(calls):
            if not slow.is_done:
                slow.step()
        mover(scene.world.backend, Store(PROMOTED, scene.world.backend)).run()
        scene.world.promoted.keys.use(ENDED)
        slow.finish()
        assert slow.error is None
        assert slow.result.unreadable == []
        assert seen(scene.world.ended, ALICE) == FIRST
        if slow.steps < calls:
            break
    assert calls > 10


def test_index_key_that_was_destroyed_before():
    """A mover that finds one index key moves nothing, and reports nothing as unreadable."""
    scene = Scene()
    scene.world.move()
    done = mover(scene.world.backend, scene.world.ended).run()
    assert (done.moved, done.unreadable, done.is_complete) == (0, [], True)


@each_action
def test_any_order(action):
    """In any order of the calls of two movers and a person, none fails, and there is one profile."""
    for seed in range(RUNS):
        chance = random.Random(f"{action.__name__} {seed}")
        scene = Scene()
        actors = [scene.mover(), scene.mover(), scene.person(action)]
        weights = [chance.random() for _ in actors]
        scene.run(iter(chance.choices(actors, weights, k=120)))
        scene.check_ended(actors[2].result)


@each_action
def test_any_order_with_kills(action):
    """Movers that are killed at any call keep the person's writes; the next run removes the rest."""
    for seed in range(RUNS):
        chance = random.Random(f"{action.__name__} {seed}")
        scene = Scene()
        movers = [scene.mover(), scene.mover()]
        person = scene.person(action)
        for _ in range(chance.randrange(60)):
            actor = chance.choice([*movers, person])
            if not actor.is_done:
                actor.step()
                scene.check_one_home()
        for each in movers:
            each.kill()
        person.finish()
        assert person.error is None
        if action is erases:
            assert scene.traces() == []
        scene.check_ended(person.result)


def test_nothing_is_left_of_what_was_erased():
    """A mover that goes on after an erasure, and is killed at any call, brings nothing back."""
    for before, after in itertools.product(range(1, 12), range(15)):
        scene = Scene()
        late, other, person = scene.mover(), scene.mover(), scene.person(erases)
        for actor, steps in ((late, before), (other, 6), (person, 100), (late, after)):
            for _ in range(steps):
                if not actor.is_done:
                    actor.step()
        assert (person.is_done, person.error) == (True, None)
        scene.close()
        assert scene.traces() == []
        assert scene.world.promoted.verify()[0] == []
        scene.check_ended((None, None))


@pytest.mark.parametrize("action", [writes, erases], ids=["write", "erase"])
@pytest.mark.parametrize("keyring", ["pending", "promoted"])
def test_person_killed_anywhere(action, keyring):
    """A server that is killed during a write or an erasure leaves the old state or the new one."""
    for steps in range(14):
        for calls in itertools.count():
            scene = Scene()
            killed = scene.mover()
            for _ in range(steps):
                killed.step()
            killed.kill()
            backend = Stepped(scene.world.backend)
            killing_after(backend, calls)
            expected = ("second", PICTURE) if action is writes else (None, None)
            try:
                action(Store(getattr(scene.world, keyring).keyring, backend))
            except Killed:
                now = seen(scene.world.promoted, ALICE)
                assert now in (FIRST, expected)
                scene.check_ended(now)
                continue
            scene.check_ended(expected)
            assert calls > 1
            break


class TestErasingWithPrecondition:
    """An erasure whose precondition held for one state erases no other."""

    def test_at_every_step(self):
        """An erasure with `If-Match` never erases a write that happens meanwhile."""
        outcomes = set()
        for steps in itertools.count():
            scene = Scene()
            person = scene.person(partial(_erase_if, scene.if_first))
            for _ in range(steps):
                if not person.is_done:
                    person.step()
            was_done = person.is_done
            writes(scene.world.promoted)
            person.finish()
            outcomes.add(type(person.error))
            scene.check_ended(("second", PICTURE if person.error else None))
            if was_done:
                break
        assert outcomes == {PreconditionFailed, type(None)}

    @pytest.mark.parametrize("keyring", ["pending", "promoted"])
    def test_blank(self, keyring):
        """An erasure of a blank profile keeps a profile that is made meanwhile."""
        for steps in range(12):
            scene = Scene(lambda world: world.old.profiles.erase(FOREVER, ALICE))
            person = scene.person(_erase_if_blank, getattr(scene.world, keyring).keyring)
            for _ in range(steps):
                if not person.is_done:
                    person.step()
            writes(scene.world.promoted)
            person.finish()
            scene.check_ended(("second", None))

    def test_while_it_is_moved(self):
        """A write to the new partition, after the erasure has read the old one, is not erased."""
        for steps in range(12):
            scene = Scene()
            person = scene.person(partial(_erase_if, scene.if_first))
            for _ in range(steps):
                if not person.is_done:
                    person.step()
            scene.world.move()
            writes(scene.world.promoted)
            person.finish()
            scene.check_ended(("second", PICTURE if person.error else None))


@pytest.mark.parametrize("is_moved", [False, True], ids=["stays", "moves"])
@pytest.mark.parametrize(
    "write",
    [
        lambda profiles, if_first: profiles.write_claims(FOREVER, ALICE, {"name": "X"}, if_first),
        lambda profiles, if_first: profiles.write_picture(FOREVER, ALICE, renditions(300), if_first),
        lambda profiles, if_first: profiles.delete_picture(FOREVER, ALICE, if_first),
        lambda profiles, if_first: profiles.set_profile_key(WITH_KEY, ALICE, PROFILE_KEY, if_first),
    ],
    ids=["claims", "picture", "removal", "profile key"],
)
def test_every_write_with_a_precondition(write, is_moved):
    """A write whose precondition held for one state replaces no other, at any instant."""
    outcomes = set()
    for steps in itertools.count():
        scene = Scene()
        person = scene.person(partial(_write_if, scene.if_first, write))
        for _ in range(steps):
            if not person.is_done:
                person.step()
        was_done = person.is_done
        if is_moved:
            scene.world.move()
        scene.world.promoted.profiles.write_claims(WITH_KEY, ALICE, {"nickname": "second"}, merge=True)
        person.finish()
        outcomes.add(type(person.error))
        profile = scene.world.promoted.profiles.profile(WITH_KEY, ALICE)
        assert profile.document.claims["nickname"] == "second"
        if person.error:
            assert seen(scene.world.promoted, ALICE) == FIRST
        assert scene.world.promoted.verify()[0] == []
        if was_done:
            break
    assert outcomes == {PreconditionFailed, type(None)}


def test_taking_away_what_moves_and_is_replaced():
    """An export is complete, even if the profile is moved and written at any two instants meanwhile."""
    for first, second in itertools.product(range(5), range(8)):
        scene = Scene()
        person = scene.person(
            lambda store: export(store.profiles, store.pictures_service, FOREVER, ALICE)
        )
        for steps, change in (
            (first, scene.world.move),
            (second, partial(uploads, scene.world.pending)),
        ):
            for _ in range(steps):
                if not person.is_done:
                    person.step()
            change()
        person.finish()
        assert person.error is None
        _, found = person.result
        assert found["64.jpeg"] in (PICTURE, OTHER_PICTURE)


def test_export_of_a_picture_that_is_replaced_again_and_again():
    """An export during which the picture is replaced each time ends with an error that says so."""
    store = Store(PROMOTED)
    store.write(ALICE)
    store.put_picture(ALICE)

    class Replaced(PictureService):
        def all_renditions(self, profile):
            store.put_picture(ALICE)
            return super().all_renditions(profile)

    pictures = Replaced(store.backend, store.homes, store.keys, url_window=3600)
    with pytest.raises(Unavailable, match="replaced again and again"):
        export(store.profiles, pictures, FOREVER, ALICE)


@pytest.mark.parametrize("keyring", ["pending", "promoted"])
def test_making_what_must_not_be_there(keyring):
    """Of two processes that make the same profile with `If-None-Match: *`, one succeeds."""
    for steps in itertools.count():
        scene = Scene(lambda world: world.old.profiles.erase(FOREVER, ALICE))
        person = scene.person(
            lambda store: store.profiles.write_claims(FOREVER, ALICE, {"name": "X"}, IF_BLANK),
            getattr(scene.world, keyring).keyring,
        )
        for _ in range(steps):
            if not person.is_done:
                person.step()
        was_done = person.is_done
        other = scene.person(
            lambda store: store.profiles.write_claims(FOREVER, ALICE, {"name": "Y"}, IF_BLANK)
        )
        other.finish()
        person.finish()
        failed = [isinstance(each.error, PreconditionFailed) for each in (person, other)]
        assert failed in ([True, False], [False, True])
        scene.check_ended(("Y" if failed[0] else "X", None))
        if was_done:
            break


def _write_if(precondition: Precondition, write: Callable[..., Seen], store: Store) -> Seen:
    return write(store.profiles, precondition)


def _erase_if(precondition: Precondition, store: Store) -> Seen:
    store.profiles.erase(FOREVER, ALICE, precondition)
    return None, None


def _erase_if_blank(store: Store) -> Seen:
    with suppress(PreconditionFailed):
        _erase_if(IF_BLANK, store)
    return None, None


class TestTwoHomes:
    """A store with a profile in both partitions, after a bad restore."""

    @pytest.fixture
    def scene(self) -> Scene:
        scene = Scene()
        [older, _] = scene.partitions
        backend = scene.world.backend
        before = {info.name: info for info in backend.list(older)}
        items = backend.get_many([(older, name) for name in before])
        scene.world.move()
        writes(scene.world.promoted)
        backend.apply(older, [Put(name, item.value) for (_, name), item in items.items()])
        return scene

    def test_are_found(self, scene):
        """Verification finds both; the mover leaves them, and reports them."""
        findings, _ = scene.world.promoted.verify()
        assert [(each.kind, each.partition) for each in findings] == [
            ("two_homes", partition) for partition in scene.partitions
        ]
        done = scene.world.move()
        assert (done.moved, done.doubled) == (0, [scene.partitions[0]])
        assert len(scene.world.promoted.verify()[0]) == 2

    def test_are_both_erased(self, scene):
        """An erasure removes both, also if it was killed at any call and repeated."""
        for calls in itertools.count():
            backend = Stepped(scene.world.backend)
            killing_after(backend, calls)
            try:
                erases(Store(PROMOTED, backend))
            except Killed:
                assert seen(scene.world.promoted, ALICE) in [FIRST, (None, None)]
                continue
            break
        assert scene.traces() == []
        scene.check_ended((None, None))


def test_later_mark_wins_where_partitions_are_followed():
    """The later mark of the two partitions ends sessions and the URLs of protected pictures."""
    scene = Scene()
    world = scene.world
    session = session_of(ALICE, signed_out_at=1000, expires_at=4 * 10**12)
    session, profile = world.old.profiles.set_profile_key(session, ALICE, b"p" * 32)
    text = world.old.pictures_service.capabilities(profile, session)[64]
    world.move()
    for where, instant in zip(scene.partitions, (1005, 995), strict=True):
        world.backend.apply(where, [Put(NOT_BEFORE_ITEM, instant.to_bytes(8))])
    for store in world.everybody():
        capability, _ = store.pictures_service.open_capability(text)
        with pytest.raises(NotFound):
            store.pictures_service.read(capability, "jpeg")
        with pytest.raises(InvalidSession):
            store.profiles.profiles(session)
