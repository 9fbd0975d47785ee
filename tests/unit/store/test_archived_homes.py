"""Backups while profiles move to another index key have each email once, in one of its states."""

from __future__ import annotations

import random
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.stores.archives import backup, restore
from support.stores.moving import (
    ACTIONS,
    ENDED,
    OLD,
    PENDING,
    PICTURE,
    PROMOTED,
    Seen,
    World,
    erases,
    mover,
    seen,
    writes,
)
from support.stores.sealed_store import ALICE, BOB, CAROL, Store
from support.stores.stepping import Actor
from support.stores.stores import everything

from backends import Backend, Put
from backends.engines.memory import MemoryBackend
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.settings import parse_settings
from persona_profile.store.items import KEY_ITEM, NOT_BEFORE_ITEM
from persona_profile.store.maintenance.archived_homes import ArchivedHomes, HomesError

FIRST: Seen = ("first", PICTURE)
RUNS = 40


def back_up(backend: Backend, path: Path, keyring: Keyring | None = PROMOTED, **options: Any) -> None:
    """Write a backup as the command does."""
    keys = None if keyring is None else KeyWrapper(keyring)
    with closing(ArchivedHomes(keys)) as homes:
        options |= {"related": homes.related, "clock": backend._clock}
        backup(backend, path, software="test", **options)


def bring_back(path: Path, backend: Backend, *, overwrite: bool = False) -> None:
    """Restore a backup as the command does."""
    with closing(ArchivedHomes(KeyWrapper(PROMOTED))) as homes:
        restore(
            path,
            backend,
            overwrite=overwrite,
            inspect=homes.check,
            prepare=partial(homes.make_room, backend),
            clock=backend._clock,
        )


def restored(path: Path, now: float) -> Store:
    """Restore a backup into an empty store; fail on any finding."""
    backend = MemoryBackend(lambda: now)
    bring_back(path, backend)
    store = Store(PROMOTED, backend)
    assert store.verify()[0] == []
    return store


@pytest.fixture
def world() -> World:
    """A store with profiles under the old index key."""
    world = World()
    for email in (ALICE, BOB, CAROL):
        world.old.write(email, "first")
        world.old.put_picture(email)
    return world


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_any_order(action, tmp_path):
    """A backup during moves and writes restores one of the states of each profile."""
    for seed in range(RUNS):
        world = World()
        world.old.write(ALICE, "first")
        world.old.put_picture(ALICE)
        world.old.write(BOB, "first")
        chance = random.Random(f"{action.__name__} {seed}")
        backend = world.backend
        saving = Actor(backend, lambda backend: back_up(backend, tmp_path / "archive"))
        moving = Actor(backend, lambda backend: mover(backend, world.promoted).run())  # noqa: B023
        person = Actor(backend, lambda backend: action(Store(PROMOTED, backend)))
        actors = [saving, moving, person]
        weights = [chance.random() for _ in actors]
        for actor in chance.choices(actors, weights, k=150):
            if not actor.is_done:
                actor.step()
        for actor in actors:
            actor.finish()
            assert actor.error is None
        store = restored(tmp_path / "archive", backend.now)
        states = {"first": FIRST, "then": person.result}
        if action.__name__ == "makes_again":
            states["between"] = (None, None)
        now = seen(store, ALICE)
        assert now in states.values()
        assert seen(store, BOB) == ("first", None)
        mover(store.backend, store).run()
        assert seen(store, ALICE) == now
        findings, verified = store.verify()
        assert (findings, verified.moving) == ([], 0)


def test_moved_and_written_between_the_partitions(world, tmp_path):
    """A profile that moves after its old partition was saved is in the backup once."""
    seen_keys = [1]

    def move_and_write(_stage, _number, _size, partition) -> None:
        # The walk comes to the partitions under the new key: all that was saved moves now.
        if partition[0] != seen_keys[-1]:
            seen_keys.append(partition[0])
            world.move()
            writes(world.promoted)

    back_up(world.backend, tmp_path / "archive", report=move_and_write)
    assert seen_keys == [1, 2]
    assert seen(world.promoted, ALICE) == ("second", PICTURE)
    store = restored(tmp_path / "archive", world.backend.now)
    assert seen(store, ALICE) == FIRST
    erases(store)
    assert seen(store, ALICE) == (None, None)
    mover(store.backend, store).run()
    assert seen(store, ALICE) == (None, None)
    assert store.verify()[0] == []


@pytest.mark.parametrize("value", [b"PPK\x01" + bytes(150), b"junk"])
def test_profile_that_does_not_open(world, tmp_path, value):
    """A profile whose `key` item is damaged is kept as it is, by a backup and a restore."""
    world.old.put(BOB, KEY_ITEM, value)
    back_up(world.backend, tmp_path / "archive")
    backend = MemoryBackend(lambda: world.backend.now)
    bring_back(tmp_path / "archive", backend)
    assert everything(backend) == everything(world.backend)


def test_nothing_changes_while_nothing_moves(world, tmp_path):
    """With one index key, or half-way through a move without writers, everything is saved unchanged."""
    back_up(world.backend, tmp_path / "archive", OLD)
    assert everything(restored(tmp_path / "archive", 1e6).backend) == everything(world.backend)
    world.promoted.homes.end_sessions(BOB, 5000, 10**7)
    actor = Actor(world.backend, lambda backend: mover(backend, world.promoted).run())
    while not actor.is_done:
        actor.step()
        for keyring in (PENDING, PROMOTED):
            back_up(world.backend, tmp_path / "archive", keyring)
            backend = MemoryBackend(lambda: 1e6)
            bring_back(tmp_path / "archive", backend)
            assert everything(backend) == everything(world.backend)
    back_up(world.backend, tmp_path / "archive", ENDED)


class TestWithoutTheRightKeyring:
    def test_one_index_key(self, world, tmp_path):
        """With one index key a backup needs no keyring."""
        back_up(world.backend, tmp_path / "archive", None)
        world.move()
        world.backend.now += 10**6
        back_up(world.backend, tmp_path / "archive", None)

    def test_while_the_index_key_changes(self, world, tmp_path):
        """While the index key changes, a backup needs the present keyring."""
        actor = Actor(world.backend, lambda backend: mover(backend, world.promoted).run())
        while not actor.is_done:
            actor.step()
            if any(partition[0] == 2 for partition in world.backend.scan(None, 100)):
                for keyring in (None, OLD):
                    with pytest.raises(HomesError, match="keyring"):
                        back_up(world.backend, tmp_path / "archive", keyring)
                break
        actor.kill()
        assert not (tmp_path / "archive").exists()


class TestRestore:
    def test_refuses_two_homes(self, world, tmp_path):
        """An archive with two profiles of an email is rejected, and nothing is written."""
        before = everything(world.backend)
        world.move()
        older, _ = world.promoted.keys.partitions(ALICE)
        puts = [Put(name, value) for name, (value, _) in before[older].items()]
        world.backend.apply(older, puts)
        backup(world.backend, tmp_path / "archive", software="test", clock=lambda: 1e6)
        backend = MemoryBackend(lambda: 1e6)
        with pytest.raises(HomesError, match="nothing was written"):
            bring_back(tmp_path / "archive", backend)
        assert everything(backend) == {}

    @pytest.mark.parametrize("is_moved_back", [True, False])
    def test_over_the_other_partition(self, world, tmp_path, is_moved_back):
        """A restored profile is the only one, also if the store had it in the other partition."""
        back_up(world.backend, tmp_path / "before")
        world.move()
        back_up(world.backend, tmp_path / "after")
        writes(world.promoted)
        if is_moved_back:
            store = restored(tmp_path / "before", world.backend.now)
            writes(store)
            bring_back(tmp_path / "after", store.backend, overwrite=True)
        else:
            store = world.promoted
            bring_back(tmp_path / "before", store.backend, overwrite=True)
        assert seen(store, ALICE) == FIRST
        assert store.verify()[0] == []
        mover(store.backend, store).run()
        assert seen(store, ALICE) == FIRST
        assert store.verify()[0] == []

    def test_keeps_marks(self, world, tmp_path):
        """Marks of sign-outs in the other partition stay."""
        back_up(world.backend, tmp_path / "before")
        world.move()
        world.promoted.homes.end_sessions(ALICE, 5000, 10**7)
        bring_back(tmp_path / "before", world.backend, overwrite=True)
        _, newer = world.promoted.keys.partitions(ALICE)
        assert [info.name for info in world.backend.list(newer)] == [NOT_BEFORE_ITEM]


def test_forwards_outlive_a_backup():
    """A backup finds a moved profile by its forward, even if URLs of pictures expire within minutes."""
    given = {
        "development": "true",
        "public_origins": "http://localhost",
        "pictures.url_window_seconds": "60",
    }
    settings = parse_settings(given, {})
    assert settings.forward_seconds == 24 * 3600
