"""Stores of the service open to an implementation of docs/reference/key-formats.md."""

import os
import time
from dataclasses import replace

import pytest
from support.clients.sessions import session_of
from support.forgeries import independent_keys as independent
from support.forgeries.independent_store import Opened, open_data_key, open_items
from support.stores.sealed_store import ALICE, BOB, CAROL, FOREVER, Store, key, renditions

from backends import Unavailable
from backends.copying.transfer import read_partition, walk
from backends.engines.memory import MemoryBackend
from persona_profile.keys.keyring import KeyKind, Keyring, KeyState
from persona_profile.profiles.service import ProfileService
from persona_profile.store.maintenance.reindexing import Reindexing

KEYRING = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)])
SECRETS = {1: b"\x01" * 32, 2: b"\x02" * 32}
INDEX_SECRETS = {9: b"\x09" * 32, 10: b"\x0a" * 32}
PROFILE_KEY = os.urandom(32)


class Dying(MemoryBackend):
    """A store that takes some batches, and then no more."""

    batches = 1000

    def apply(self, partition, operations):
        self.batches -= 1
        if self.batches < 0:
            raise Unavailable
        return super().apply(partition, operations)


def items_of(store: Store, partition: bytes) -> dict[str, bytes]:
    """Return the values of the items of a partition."""
    return {name: item.value for name, item in read_partition(store.backend, partition).items()}


@pytest.fixture
def store() -> Store:
    """A store of three profiles, one written under the older encryption key, one protected."""
    written = Store(Keyring([key(1)], [key(9)]))
    written.write(ALICE, "Älice \U0001f600")
    written.put_picture(ALICE)
    written.keys.use(KEYRING)
    written.write(BOB, "Bob")
    written.write(CAROL, "Carol")
    written.put_picture(CAROL)
    written.profiles.set_profile_key(FOREVER, CAROL, PROFILE_KEY)
    return written


def opened(store: Store, profile_key: bytes | None = None) -> dict[str, Opened]:
    """Open a whole store, item by item, by email."""
    found = [
        open_items(partition, items_of(store, partition), SECRETS, profile_key)
        for partition in walk(store.backend)
    ]
    return {each.email: each for each in found}


def test_every_item(store):
    """Each item of each partition opens with the written value, and none is missing."""
    found = opened(store, PROFILE_KEY)
    assert {email: each.profile["claims"] for email, each in found.items()} == {
        ALICE: {"name": "Älice \U0001f600"},
        BOB: {"name": "Bob"},
        CAROL: {"name": "Carol"},
    }
    images = sorted(each.data for each in renditions())
    assert sorted(found[ALICE].pictures.values()) == images
    assert sorted(found[CAROL].pictures.values()) == images
    assert not found[BOB].pictures


def test_partitions(store):
    """Each email is where its partition is computed to be."""
    computed = {independent.partition_of(9, INDEX_SECRETS[9], email) for email in (ALICE, BOB, CAROL)}
    assert set(walk(store.backend)) == computed


def test_versions_of_the_wraps(store):
    """Values from before the rotation are under the older key, and do not open without it."""
    partition = independent.partition_of(9, INDEX_SECRETS[9], ALICE)
    assert store.get(ALICE, "key")[4:8] == bytes([0, 0, 0, 1])
    assert store.get(BOB, "key")[4:8] == bytes([0, 0, 0, 2])
    with pytest.raises(independent.Rejected):
        open_items(partition, items_of(store, partition), {2: SECRETS[2]})


@pytest.mark.parametrize("profile_key", [None, b"\x00" * 32], ids=["none", "another"])
def test_protected(store, profile_key):
    """Of a protected profile no more than the email opens without the person's own key."""
    partition = independent.partition_of(9, INDEX_SECRETS[9], CAROL)
    items = items_of(store, partition)
    data_key, owner = open_data_key(partition, items["key"], SECRETS)
    assert owner.email == CAROL
    with pytest.raises(independent.Rejected):
        open_items(partition, items, SECRETS, profile_key)
    sealed = items.keys() - {"key"}
    assert len(sealed) == 1 + len(renditions())
    for name in sealed:
        for role in (independent.DATA_KEY, independent.CONTENT_KEY, independent.PICTURE_KEY):
            with pytest.raises(independent.Rejected):
                independent.open_record(role, data_key, name, items[name])


def test_changed_and_removed_profile_key(store):
    """Another profile key makes another content key; with none, the data key opens everything again."""
    partition = independent.partition_of(9, INDEX_SECRETS[9], CAROL)
    before = items_of(store, partition)
    session = replace(FOREVER, profile_key=PROFILE_KEY)
    store.profiles.set_profile_key(session, CAROL, b"n" * 32)
    changed = items_of(store, partition)
    assert open_items(partition, changed, SECRETS, b"n" * 32).pictures
    assert not before.keys() & changed.keys() - {"key", "profile"}
    with pytest.raises(independent.Rejected):
        open_items(partition, changed | {"profile": before["profile"]}, SECRETS, b"n" * 32)
    session = replace(FOREVER, profile_key=b"n" * 32)
    store.profiles.set_profile_key(session, CAROL, None)
    assert opened(store)[CAROL].profile["claims"] == {"name": "Carol"}


def test_mark_of_an_ended_session(store):
    """The mark of an ended session is milliseconds since 1970, in 8 bytes."""
    profiles = ProfileService(
        store.backend,
        store.homes,
        store.keys,
        ledger=None,
        session_lifetime=3600,
        clock=lambda: 1_800_000_000.5,
    )
    profiles.sign_out(session_of(BOB, signed_out_at=0))
    assert store.get(BOB, "not_before") == (1_800_000_000_500).to_bytes(8)


def test_marks_go_forward(store):
    """A sign-out that arrives late, or is of a clock that is behind, undoes no other one."""
    now = int(time.time())
    followed = 0
    for seconds, expected in ((1, 1000), (3, 3000), (2, 3001)):
        store.homes.end_sessions(BOB, followed, now + seconds)
        store.homes.end_sessions(BOB, 0, now + 9)
        followed = int.from_bytes(store.get(BOB, "not_before"))
        assert followed == 1000 * now + expected


@pytest.mark.parametrize("profile_key", [None, PROFILE_KEY], ids=["plain", "protected"])
def test_a_copy_on_its_way(profile_key):
    """While an index key changes, the copy that a forward leads to opens like the profile it was."""
    store = Store(KEYRING, Dying())
    store.write(ALICE, "Alice")
    store.put_picture(ALICE)
    if profile_key is not None:
        store.profiles.set_profile_key(FOREVER, ALICE, profile_key)
    index_keys = [key(9, KeyState.DECRYPT_ONLY), key(10)]
    store.keys.use(Keyring(KEYRING.keys(KeyKind.ENCRYPTION), index_keys))
    store.backend.batches = 3  # claim, copy, forward
    with pytest.raises(Unavailable):
        Reindexing(store.backend, store.keys, 3600, lambda: None, time.time).run()
    older, newer = (
        independent.partition_of(version, INDEX_SECRETS[version], ALICE) for version in (9, 10)
    )
    [forward] = items_of(store, older).values()
    move_id, destination = independent.split_forward(forward)
    assert destination == newer
    items = items_of(store, newer)
    moving = independent.split_moving(items["key"])
    assert (moving.move_id, moving.origin) == (move_id, older)
    items |= {"key": moving.key_item, "profile": moving.profile}
    assert open_items(newer, items, SECRETS, profile_key).email == ALICE
    with pytest.raises(independent.Rejected):
        open_items(older, items, SECRETS, profile_key)
