"""A store while its index key changes, and the writes of people meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from backends import Backend
from backends.engines.memory import MemoryBackend
from persona_profile.keys.keyring import Keyring, KeyState
from persona_profile.store.maintenance.key_use import count_use
from persona_profile.store.maintenance.reindexing import Reindexed, Reindexing
from support.stores.sealed_store import ALICE, FOREVER, Store, key, renditions

Seen = tuple[str | None, bytes | None]
"""Name and picture of a profile."""

OLD = Keyring([key(1)], [key(1)])
PENDING = Keyring([key(1)], [key(1), key(2, KeyState.DECRYPT_ONLY)])
PROMOTED = Keyring([key(1)], [key(1, KeyState.DECRYPT_ONLY), key(2)])
ENDED = Keyring([key(1)], [key(2)])
FORWARD_SECONDS = 1000
PROFILE_KEY = b"p" * 32
WITH_KEY = replace(FOREVER, profile_key=PROFILE_KEY)


PICTURE = next(each.data for each in renditions() if each.format == "jpeg")
OTHER_PICTURE = next(each.data for each in renditions(300) if each.format == "jpeg")


class Interrupted(MemoryBackend):
    """A store that interferes at the n-th call of a mover."""

    def __init__(self) -> None:
        super().__init__(lambda: self.now)
        self.now = 1_000_000.0
        self.calls = 0
        self.at = -1
        self.interfere: Callable[[], None] = lambda: None

    def arm(self, at: int, interfere: Callable[[], None]) -> None:
        self.calls, self.at, self.interfere = 0, at, interfere

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.at = -1
            self.interfere()

    def get_many(self, addresses):
        self._call()
        return super().get_many(addresses)

    def list(self, partition):
        self._call()
        return super().list(partition)

    def apply(self, partition, operations):
        self._call()
        return super().apply(partition, operations)


class World:
    """One store, for processes with the old index key, with both, and with the new one."""

    def __init__(self) -> None:
        self.backend = Interrupted()
        self.old, self.pending, self.promoted, self.ended = (
            Store(keyring, self.backend) for keyring in (OLD, PENDING, PROMOTED, ENDED)
        )

    def move(self) -> Reindexed:
        return mover(self.backend, self.promoted).run()

    def everybody(self) -> list[Store]:
        return [self.pending, self.promoted]

    def check(self, email: str, expected: Seen) -> None:
        """Fail unless all processes read the same name and picture, and verification finds nothing."""
        for store in self.everybody():
            assert seen(store, email) == expected
        findings, verified = self.promoted.verify()
        assert (findings, verified.moving) == ([], 0)

    def check_moved(self) -> None:
        """Fail if an item needs the old index key."""
        use = count_use(self.backend, self.promoted.keys)
        assert (use.profiles[1], use.moving) == (0, 0)


def mover(backend: Backend, store: Store) -> Reindexing:
    """Return what moves the profiles of a store by calls of a backend."""
    clock = store.backend._clock
    return Reindexing(backend, store.keys, FORWARD_SECONDS, lambda: None, clock)


def seen(store: Store, email: str) -> Seen:
    """Return name and the smallest JPEG of a profile, as a session reads them."""
    profile = store.profiles.profile(WITH_KEY, email)
    name = profile.document.claims.get("name")
    if profile.document.picture is None:
        return name, None
    capability, _ = store.pictures_service.open_capability(
        store.pictures_service.capabilities(profile, WITH_KEY)[64]
    )
    return name, store.pictures_service.read(capability, "jpeg")


def writes(store: Store) -> Seen:
    """Change the name."""
    store.write(ALICE, "second")
    return "second", PICTURE


def uploads(store: Store) -> Seen:
    """Replace the picture."""
    store.put_picture(ALICE, 300)
    return "first", OTHER_PICTURE


def erases(store: Store) -> Seen:
    """Erase the profile."""
    store.profiles.erase(FOREVER, ALICE)
    return None, None


def makes_again(store: Store) -> Seen:
    """Erase the profile and make it again."""
    store.profiles.erase(FOREVER, ALICE)
    store.write(ALICE, "again")
    return "again", None


def protects(store: Store) -> Seen:
    """Seal the profile with the person's own key."""
    store.profiles.set_profile_key(WITH_KEY, ALICE, PROFILE_KEY)
    return "first", PICTURE


def removes(store: Store) -> Seen:
    """Remove the picture."""
    store.profiles.delete_picture(FOREVER, ALICE)
    return "first", None


ACTIONS = [writes, uploads, erases, makes_again, protects, removes]
