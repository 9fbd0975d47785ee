"""The lengths and first bytes of stored values show neither their owner nor their protection."""

from __future__ import annotations

import json

import pytest
from support.stores.sealed_store import ALICE, BOB, CAROL, FOREVER, Store, key

from persona_profile.emails import MAX_BYTES, canonical_email
from persona_profile.keys.content_key_wraps import ContentKeyWrap
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.profiles.claims import CLAIMS
from persona_profile.store.items import Owner
from persona_profile.store.profile import ProfileDocument

DATA_KEY = RecordKey(KeyRole.DATA, b"d" * 32)
LONGEST = canonical_email(f"{'é' * 32}@{'.'.join(['a' * 47] * 3)}.{'b' * 45}")


@pytest.fixture
def store() -> Store:
    """An empty store."""
    return Store(Keyring([key(1)], [key(9)]))


class TestOwners:
    @pytest.mark.parametrize("email", ["a@b.c", ALICE, LONGEST])
    @pytest.mark.parametrize("keys", [0, 1, 8])
    def test_one_length(self, email, keys):
        """All owner records have the same length, for each owner and number of keys."""
        wraps = tuple(ContentKeyWrap(bytes([at]) * 8, 1 + at, b"w" * 40) for at in range(keys))
        assert len(Owner(email, wraps).seal(DATA_KEY)) == 84 + 705

    def test_longest(self):
        """The longest email there is fits."""
        assert len(LONGEST.encode()) == MAX_BYTES


class TestProfiles:
    @pytest.mark.parametrize(
        ("text", "length"), [("", 1024), ("x" * 100, 1024), ("\U0001f600" * 100, 4096)]
    )
    def test_classes(self, text, length):
        """Profiles have one of few lengths: most the first."""
        claims = dict.fromkeys(set(CLAIMS) - {"website", "picture_alt"}, text) if text else {}
        assert len(ProfileDocument(claims).to_bytes()) == length

    def test_what_is_padded_is_read(self):
        """The padding is not read, and a read value is written as before."""
        document = ProfileDocument({"name": "Alice"}, updated_at=5, version=7)
        text = document.to_bytes()
        assert json.loads(text)["claims"] == {"name": "Alice"}
        assert ProfileDocument.parse(text) == document


def shape(store: Store, email: str) -> list[tuple[str, bytes, int]]:
    """Return names, first bytes and lengths of an email's items, without ids of pictures."""
    partition = store.keys.partition(email)
    names = [info.name for info in store.backend.list(partition)]
    values = [store.get(email, name) for name in names]
    return sorted(
        (name[:8] + name[30:], value[: 8 if name == "key" else 4], len(value))
        for name, value in zip(names, values, strict=True)
    )


def test_who_is_protected(store):
    """A protected profile looks like one that is not, with its pictures and its `key` item."""
    for email in (ALICE, BOB):
        store.write(email, email)
        store.put_picture(email)
    protected, _ = store.profiles.set_profile_key(FOREVER, ALICE, b"p" * 32)
    assert shape(store, ALICE) == shape(store, BOB)
    for number in range(7):
        store.profiles.add_profile_key(protected, ALICE, bytes([number]) * 32)
        assert shape(store, ALICE) == shape(store, BOB)


def test_who_was_protected(store):
    """The same after the protection was removed, and of a profile that was made by protecting it."""
    store.write(BOB, "Bob")
    store.profiles.set_profile_key(FOREVER, CAROL, b"p" * 32)
    protected, _ = store.profiles.set_profile_key(FOREVER, ALICE, b"p" * 32)
    store.profiles.set_profile_key(protected, ALICE, None)
    assert shape(store, ALICE) == shape(store, BOB) == shape(store, CAROL)
    assert not store.profiles.profile(FOREVER, ALICE).is_protected
