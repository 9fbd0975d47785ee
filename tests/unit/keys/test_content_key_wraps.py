"""Wraps of a content key: each opens in its own slot, with its own keys."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from support.forgeries import independent_keys as independent
from support.forgeries.damage import every_damage, every_other_byte

from persona_profile.keys.content_key_wraps import MAX_WRAPS, WRAP, ContentKeyWrap, open_wraps
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.store.items import Owner

DATA_KEY, OTHER = RecordKey(KeyRole.DATA, b"d" * 32), RecordKey(KeyRole.DATA, b"e" * 32)
CONTENT_KEY = RecordKey(KeyRole.CONTENT, b"c" * 32)
PROFILE_KEYS = [bytes([number]) * 32 for number in range(MAX_WRAPS)]
EMAIL = "alice@example.com"
SLOTS = slice(2, 2 + MAX_WRAPS * WRAP.size)


def make_wrap(profile_key: bytes = PROFILE_KEYS[0], added_at: int = 5) -> ContentKeyWrap:
    """Return a wrap of the content key."""
    return ContentKeyWrap.create(DATA_KEY, profile_key, CONTENT_KEY, added_at)


def make_first_wrap(profile_key: bytes = PROFILE_KEYS[0]) -> ContentKeyWrap:
    """Return a wrap of the first format."""
    made = independent.wrap_content_key(
        DATA_KEY.secret, profile_key, CONTENT_KEY.secret, bytes(8), added_at=0
    )
    return ContentKeyWrap.of_first_format(made.wrapped)


@pytest.fixture
def owner() -> Owner:
    """An owner with a wrap in each slot."""
    wraps = (make_wrap(key, 1 + at) for at, key in enumerate(PROFILE_KEYS))
    return Owner(EMAIL, tuple(wraps))


@pytest.mark.parametrize("wrap", [make_wrap(), make_first_wrap()], ids=["", "first format"])
class TestWraps:
    def test_damage(self, wrap):
        """No altered, cut or extended wrap opens."""
        assert wrap.open(DATA_KEY, PROFILE_KEYS[0]) == CONTENT_KEY
        for damaged in every_damage(wrap.wrapped):
            with pytest.raises(Unreadable):
                replace(wrap, wrapped=damaged).open(DATA_KEY, PROFILE_KEYS[0])

    def test_both_keys_are_needed(self, wrap):
        """Neither the data key of another profile nor another profile key opens a wrap."""
        for profile_key in every_damage(PROFILE_KEYS[0]):
            with pytest.raises(Unreadable):
                wrap.open(DATA_KEY, profile_key)
        with pytest.raises(Unreadable):
            wrap.open(OTHER, PROFILE_KEYS[0])

    def test_other_format(self, wrap):
        """A wrap does not open as one of the other format."""
        moved = replace(wrap, added_at=0 if wrap.added_at else 5)
        with pytest.raises(Unreadable):
            moved.open(DATA_KEY, PROFILE_KEYS[0])


def test_id_and_time_are_bound():
    """A wrap with another id or another time does not open."""
    wrap = make_wrap()
    for wrap_id in every_damage(wrap.id):
        if len(wrap_id) == 8:
            with pytest.raises(Unreadable):
                replace(wrap, id=wrap_id).open(DATA_KEY, PROFILE_KEYS[0])
    for added_at in {wrap.added_at ^ 1 << bit for bit in range(64)}:
        with pytest.raises(Unreadable):
            replace(wrap, added_at=added_at).open(DATA_KEY, PROFILE_KEYS[0])


def test_ids_are_random():
    """Wraps of the same keys have different ids and bytes."""
    wraps = {make_wrap() for _ in range(100)}
    assert len({wrap.id for wrap in wraps}) == len({wrap.wrapped for wrap in wraps}) == 100


def test_clock_at_zero():
    """A wrap that is made at the beginning of time is not taken for one of the first format."""
    assert make_wrap(added_at=0).open(DATA_KEY, PROFILE_KEYS[0]) == CONTENT_KEY


def test_content_key_of_another_length():
    """A wrap that opens and holds a key of another length is rejected."""
    short = RecordKey(KeyRole.CONTENT, b"c" * 16)
    wrap = ContentKeyWrap.create(DATA_KEY, PROFILE_KEYS[0], short, 5)
    with pytest.raises(Unreadable):
        wrap.open(DATA_KEY, PROFILE_KEYS[0])


class TestOwners:
    def test_each_key_opens(self, owner):
        """Each profile key opens its own wrap and the same content key; another key opens none."""
        assert Owner.parse(owner.to_bytes()) == owner
        for wrap, profile_key in zip(owner.wraps, PROFILE_KEYS, strict=True):
            assert open_wraps(owner.wraps, DATA_KEY, profile_key) == (wrap, CONTENT_KEY)
        assert open_wraps(owner.wraps, DATA_KEY, b"x" * 32) is None
        assert open_wraps(owner.wraps, OTHER, PROFILE_KEYS[0]) is None

    def test_moved_between_slots(self, owner):
        """A wrapped key that was moved into the slot of another wrap does not open."""
        for one, other in permutations(range(MAX_WRAPS), 2):
            moved = replace(owner.wraps[other], wrapped=owner.wraps[one].wrapped)
            for profile_key in (PROFILE_KEYS[one], PROFILE_KEYS[other]):
                assert open_wraps([moved], DATA_KEY, profile_key) is None

    def test_moved_between_profiles(self, owner):
        """The wraps of one profile do not open in another profile of the same person."""
        moved = replace(owner, email="bob@example.org")
        for profile_key in PROFILE_KEYS:
            assert open_wraps(moved.wraps, OTHER, profile_key) is None

    def test_every_byte_of_the_slots(self, owner):
        """A key with an altered byte in its slot opens nothing; the other keys still do."""
        plaintext = owner.to_bytes()
        for at in range(SLOTS.start, SLOTS.stop):
            altered = plaintext[:at] + bytes([plaintext[at] ^ 0x80]) + plaintext[at + 1 :]
            slot = (at - SLOTS.start) // WRAP.size
            wraps = Owner.parse(altered).wraps
            opening = [open_wraps([each], DATA_KEY, PROFILE_KEYS[n]) for n, each in enumerate(wraps)]
            assert [n for n, opened in enumerate(opening) if opened is None] == [slot]

    @pytest.mark.parametrize("count", [0, 1, 7])
    def test_unused_slots(self, owner, count):
        """A byte in a slot that is not used, or behind the email, is rejected."""
        plaintext = replace(owner, wraps=owner.wraps[:count]).to_bytes()
        unused = [*range(SLOTS.start + count * WRAP.size, SLOTS.stop), len(plaintext) - 1]
        for at in unused:
            with pytest.raises(Unreadable):
                Owner.parse(plaintext[:at] + b"x" + plaintext[at + 1 :])

    @pytest.mark.parametrize("count", [0, 1, 8])
    @pytest.mark.parametrize("position", [0, 1, SLOTS.stop])
    def test_heads(self, owner, count, position):
        """Another version, number of wraps, or length of the email is rejected."""
        plaintext = replace(owner, wraps=owner.wraps[:count]).to_bytes()
        for altered in every_other_byte(plaintext, position):
            with pytest.raises(Unreadable):
                Owner.parse(altered)

    def test_lengths(self, owner):
        """A plaintext that is cut or extended is rejected."""
        plaintext = owner.to_bytes()
        for altered in (*(plaintext[:size] for size in range(len(plaintext))), plaintext + b"\0"):
            with pytest.raises(Unreadable):
                Owner.parse(altered)


class TestFirstFormat:
    @staticmethod
    def plaintext(wrap: ContentKeyWrap | None) -> bytes:
        """Return an owner as earlier builds wrote it."""
        owner = independent.Owner(EMAIL, (independent.first_wrap(wrap.wrapped),) if wrap else ())
        return DATA_KEY.open("key", independent.seal_first_owner(DATA_KEY.secret, owner, bytes(32)))

    def test_opens(self):
        """Owners of earlier builds are read, and written in the present format with the same wrap."""
        wrap = make_first_wrap()
        assert Owner.parse(self.plaintext(None)) == Owner(EMAIL)
        owner = Owner.parse(self.plaintext(wrap))
        assert owner == Owner(EMAIL, (wrap,)) == Owner.parse(owner.to_bytes())
        assert open_wraps(owner.wraps, DATA_KEY, PROFILE_KEYS[0]) == (wrap, CONTENT_KEY)

    @pytest.mark.parametrize("wrap", [None, make_first_wrap()], ids=["plain", "protected"])
    def test_heads(self, wrap):
        """Another version, length of the email, or a byte behind the email is rejected."""
        plaintext = self.plaintext(wrap)
        for position in (0, 41, len(plaintext) - 1):
            for altered in every_other_byte(plaintext, position):
                with pytest.raises(Unreadable):
                    Owner.parse(altered)

    def test_key_of_a_plain_profile(self):
        """A plain profile with a wrapped key is rejected."""
        with pytest.raises(Unreadable):
            Owner.parse(b"\x01" + self.plaintext(make_first_wrap())[1:])
