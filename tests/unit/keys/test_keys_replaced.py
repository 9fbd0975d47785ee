"""Keys are replaced and destroyed between the steps of a write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.stores.sealed_store import ALICE, BOB, FOREVER, Store, renditions
from support.stores.stores import Watched, everything

from backends import Address
from persona_profile.errors import UnreadableProfile, WriteConflict
from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.keyring_file import KeyringFile, KeyringWatch
from persona_profile.store.items import PROFILE_ITEM
from persona_profile.store.maintenance.key_use import count_use
from persona_profile.store.maintenance.rewrapping import Rewrapping

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROFILE_KEY = b"p" * 32


class Machine:
    """A service with its keyring in a file, and its store in memory."""

    def __init__(self, folder: Path) -> None:
        self.file = KeyringFile(folder / "keyring.json")
        keyring = Keyring.generate(NOW)
        self.file.create(keyring)
        self.backend = Watched()
        self.store = Store(keyring, self.backend)
        self.store.keys.follow(KeyringWatch(self.file, keyring, self.store.keys.use).check)

    def replace(self, kind: KeyKind) -> None:
        """Replace the primary key by a new one, and destroy it without a look at the store."""
        before = self.file.load()
        after = before.adding(kind, NOW).promoting(kind, NOW)
        self.file.replace(after.destroying(kind, before.primary(kind).version, NOW))

    def once_before_write(self, action: Callable[[], None]) -> None:
        """Do something before the next batch is written."""

        def act() -> None:
            self.backend.before_write = lambda: None
            action()

        self.backend.before_write = act

    def restarted(self) -> Store:
        """Return the store as a service sees it that was started now."""
        return Store(self.file.load(), self.backend)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing is stored yet."""
    return Machine(tmp_path)


@pytest.mark.parametrize("kind", KeyKind)
class TestNewProfile:
    def test_claims(self, machine, kind):
        """An acknowledged write is read, although its key was destroyed before it was stored."""
        machine.once_before_write(lambda: machine.replace(kind))
        machine.store.write(ALICE, "Alice")
        assert machine.restarted().profiles.profile(FOREVER, ALICE).document.claims == {"name": "Alice"}
        assert machine.restarted().verify()[0] == []

    def test_profile_key(self, machine, kind):
        """The same of a profile that is made by protecting it."""
        machine.once_before_write(lambda: machine.replace(kind))
        session, _ = machine.store.profiles.set_profile_key(FOREVER, ALICE, PROFILE_KEY)
        assert machine.restarted().profiles.profile(session, ALICE).is_protected

    def test_no_time_left(self, machine, kind):
        """A write that can't be made again in time is a conflict, and nothing is left of it."""
        machine.store.profiles.write_patience = -1
        machine.once_before_write(lambda: machine.replace(kind))
        with pytest.raises(WriteConflict):
            machine.store.write(ALICE, "Alice")
        assert everything(machine.backend) == {}


class TestRewrapping:
    def test_key_that_is_replaced_meanwhile(self, machine):
        """A data key under a key that was replaced before it is stored is wrapped again."""
        machine.store.write(ALICE, "Alice")
        keyring = machine.file.load()
        kind = KeyKind.ENCRYPTION
        machine.file.replace(keyring.adding(kind, NOW).promoting(kind, NOW))
        machine.once_before_write(lambda: machine.replace(kind))
        done = Rewrapping(machine.backend, machine.store.keys, lambda: None).run()
        assert done.is_complete
        assert count_use(machine.backend, machine.store.keys).wraps == {"3": 1}
        assert machine.restarted().profiles.profile(FOREVER, ALICE).document.claims == {"name": "Alice"}


class TestPictureThatIsReplaced:
    """A picture is replaced between the read of a profile and that of its renditions."""

    @pytest.fixture
    def store(self, machine: Machine) -> Store:
        """A store with a picture, which is replaced before it is read."""
        store = machine.store
        store.write(BOB, "Bob")
        store.put_picture(BOB)

        def replace_picture() -> None:
            # At the second read: that of the profile comes first.
            machine.backend.before_read = replace_now

        def replace_now() -> None:
            machine.backend.before_read = lambda: None
            store.profiles.write_picture(FOREVER, BOB, renditions(300))

        machine.backend.before_read = replace_picture
        return store

    def test_profile_key(self, store):
        """The profile is protected with the newer picture."""
        session, profile = store.profiles.set_profile_key(FOREVER, BOB, PROFILE_KEY)
        assert profile.is_protected
        kept = store.pictures_service.all_renditions(store.profiles.profile(session, BOB))
        assert {len(data) for data in kept.values()} == {len(each.data) for each in renditions(300)}

    def test_no_time_left(self, store):
        """If there is no time left it is a conflict."""
        store.profiles.write_patience = -1
        with pytest.raises(WriteConflict):
            store.profiles.set_profile_key(FOREVER, BOB, PROFILE_KEY)

    def test_damaged(self, machine):
        """A missing picture is unreadable, without any writer too."""
        store = machine.store
        store.write(BOB, "Bob")
        store.put_picture(BOB)
        profile = store.profiles.profile(FOREVER, BOB)
        store.delete(BOB, profile.document.picture.item_names()[0])
        with pytest.raises(UnreadableProfile):
            store.profiles.set_profile_key(FOREVER, BOB, PROFILE_KEY)
        address = Address(profile.home.partition, PROFILE_ITEM)
        assert machine.backend.get_many([address])[address].version == profile.home.profile.version
