"""Data keys are wrapped again while others read and write."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from support.clients.sessions import session_of
from support.servers.machines import SharedStore
from support.stores.sealed_store import ALICE, BOB, CAROL, FOREVER, Store, key

from backends import Put, Unavailable
from persona_profile.errors import InvalidSession
from persona_profile.keys.keyring import KeyKind, Keyring, KeyState
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM
from persona_profile.store.maintenance.key_use import count_use
from persona_profile.store.maintenance.rewrapping import MAX_PASSES, Rewrapping

OLD = Keyring([key(1)], [key(9)])
PROMOTED = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)])
ENDED = Keyring([key(2)], [key(9)])


@pytest.fixture
def old() -> Store:
    """A store under the first key."""
    store = Store(OLD)
    for email in (ALICE, BOB, CAROL):
        store.write(email)
    store.put_picture(BOB)
    return store


@pytest.fixture
def promoted(old: Store) -> Store:
    """The same store under the next key."""
    return Store(PROMOTED, old.backend)


def rewrap(store: Store, pace=lambda: None) -> Rewrapping:
    """Wrap all data keys again."""
    job = Rewrapping(store.backend, store.keys, pace)
    job.run()
    return job


class TestRewrapping:
    def test_key_items_alone(self, old, promoted):
        """All data keys are under the new key, and no other item was written."""
        versions = {
            (partition, info.name): info.version
            for partition in old.backend.scan(None, 99)
            for info in old.backend.list(partition)
        }
        assert rewrap(promoted).done.keys == 3
        for partition in old.backend.scan(None, 99):
            for info in old.backend.list(partition):
                is_same = versions[partition, info.name] == info.version
                assert is_same == (info.name != KEY_ITEM)
        ended = Store(ENDED, old.backend)
        assert ended.profiles.profile(FOREVER, BOB).document.claims == {"name": "N"}
        assert ended.verify()[0] == []

    def test_a_second_run_finds_nothing(self, promoted):
        """Data keys under the primary key are left."""
        rewrap(promoted)
        done = rewrap(promoted).done
        assert (done.keys, done.is_complete) == (0, True)

    def test_protected(self, old, promoted):
        """The data key of a protected profile is wrapped too; the profile opens with its own key."""
        session, _ = old.profiles.set_profile_key(FOREVER, ALICE, b"p" * 32)
        rewrap(promoted)
        ended = Store(ENDED, old.backend)
        assert ended.profiles.profile(session, ALICE).document.claims == {"name": "N"}
        assert ended.profiles.profiles(FOREVER)[0].problem == "profile_key_required"

    def test_unreadable(self, old, promoted):
        """A data key that does not open is left and reported; the others are wrapped."""
        old.put(ALICE, KEY_ITEM, b"PPK\x01\0\0\0\x01" + bytes(200))
        old.put(BOB, KEY_ITEM, b"junk")
        done = rewrap(promoted).done
        assert (done.keys, len(done.unreadable), done.is_complete) == (1, 2, True)
        use = count_use(promoted.backend, promoted.keys)
        assert (use.unreadable, use.stale) == (1, 1)

    @pytest.mark.parametrize("action", ["write", "erase", "rewrap", "protect"])
    def test_somebody_is_faster(self, old, promoted, action):
        """A write between the read and the write of a `key` item stays."""
        actions = {
            "write": lambda: old.write(ALICE, "second"),
            "erase": lambda: old.profiles.erase(FOREVER, ALICE),
            "rewrap": lambda: rewrap(promoted),
            "protect": lambda: old.profiles.set_profile_key(FOREVER, ALICE, b"p" * 32),
        }
        for at in range(1, 4):
            done = []

            def interfere(at: int = at, done: list[int] = done) -> None:
                done.append(1)
                if len(done) == at:
                    actions[action]()

            assert rewrap(promoted, interfere).done.is_complete
            assert count_use(promoted.backend, promoted.keys).stale == 0
            assert promoted.verify()[0] == []

    def test_a_machine_that_keeps_the_old_keyring(self, old, promoted):
        """If a machine keeps wrapping with an old key, the run is reported as not complete."""
        numbers = itertools.count()

        def write() -> None:
            email = f"{next(numbers)}@example.com"
            session = session_of(email)
            old.profiles.write_claims(session, email, {"name": "N"})

        done = rewrap(promoted, write).done
        assert not done.is_complete
        assert next(numbers) >= MAX_PASSES


class TestCounting:
    def test_what_needs_which_key(self, old, promoted):
        """Data keys are counted by key version, profiles by index version."""
        promoted.write(CAROL, "again")
        old.profiles.sign_out(session_of(BOB))
        use = count_use(promoted.backend, promoted.keys)
        assert (use.wraps, use.stale) == ({"1": 3}, 3)
        assert use.profiles == Counter({9: 3})
        assert use.marks[9] == 1

    @pytest.mark.parametrize(("hours", "needed"), [(0, 1), (1, 1), (2, 0)])
    def test_marks_under_both_index_keys(self, hours, needed):
        """Marks from long after an index key was retired are under the newer key as well."""
        now = datetime.now(UTC)
        first = Keyring.generate(now)
        both = first.adding(KeyKind.INDEX, now)
        both = both.promoting(KeyKind.INDEX, now - timedelta(hours=hours))
        store = Store(both)
        store.profiles.sign_out(session_of(ALICE, signed_out_at=0))
        use = count_use(store.backend, store.keys)
        assert (use.marks[1], use.marks[2]) == (needed, 1)
        ended = Store(both.destroying(KeyKind.INDEX, 1, now), store.backend)
        with pytest.raises(InvalidSession):
            ended.profiles.profiles(session_of(ALICE, signed_out_at=0))

    def test_a_sign_out_that_was_cut_off(self):
        """After a sign-out that fails between two partitions, the mark is under the newer index key."""
        now = datetime.now(UTC)
        both = Keyring.generate(now).adding(KeyKind.INDEX, now).promoting(KeyKind.INDEX, now)
        store = Store(both, SharedStore(time.time))
        store.backend.calls_left = 1
        with pytest.raises(Unavailable):
            store.profiles.sign_out(session_of(ALICE, signed_out_at=0))
        use = count_use(store.backend, store.keys)
        assert (use.marks[1], use.marks[2]) == (0, 1)

    def test_under_a_key_that_is_gone(self, old):
        """Keys of versions that the keyring lacks are counted as well."""
        use = count_use(old.backend, Store(ENDED).keys)
        assert (use.wraps, use.stale, use.unreadable) == ({"1": 3}, 3, 0)

    def test_not_a_key(self, old):
        """A used proof, a profile without key, and junk are no data keys."""
        old.backend.apply(b"\0" + bytes(32), [Put("used", b"")])
        old.delete(BOB, KEY_ITEM)
        old.put(CAROL, KEY_ITEM, b"")
        use = count_use(old.backend, old.keys)
        assert (use.wraps, use.unreadable) == ({"1": 1}, 1)
        assert old.get(BOB, PROFILE_ITEM)
