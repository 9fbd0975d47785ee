"""Damaged sealed bytes do not open, and raise nothing but `Unreadable`."""

import os
from dataclasses import replace
from itertools import product

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from salamander import opens_under_both
from support.clients.sessions import session_of
from support.forgeries import independent_keys as independent
from support.forgeries.damage import every_damage, every_other_byte
from support.stores.sealed_store import ALICE, BOB, FOREVER, Store, key

from persona_profile.encoding import base64url_decode, base64url_encode
from persona_profile.keys.content_key_wraps import ContentKeyWrap
from persona_profile.keys.keyring import Key, Keyring, KeyState
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import (
    MAX_TOKEN_CHARACTERS,
    PictureCapabilities,
    PictureCapability,
    Protection,
    SessionTokens,
    SuggestedPicture,
    SuggestedPictureTokens,
)
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KeyItem, Owner

OLDER, PRIMARY, DESTROYED, UNKNOWN = 1, 2, 3, 4
VERSIONS = (OLDER, DESTROYED, UNKNOWN, 0, 255, 256 + PRIMARY, 2**32 - 1)
PROFILE_KEY = b"p" * 32
NOW = 1_800_000_000
KEYS = KeyWrapper(
    Keyring(
        [key(OLDER, KeyState.DECRYPT_ONLY), key(PRIMARY), Key(DESTROYED, KeyState.DESTROYED, None)],
        [key(9)],
    )
)
HOME = KEYS.partition(ALICE)
PICTURES = [
    f"picture/{base64url_encode(bytes([picture]) * 16)}/{size}.{name}"
    for picture, size, name in product((1, 2), (64, 512), ("avif", "webp", "jpeg"))
]


def with_version(data: bytes, start: int, version: int) -> bytes:
    """Return a sealed value that names another version of its key."""
    return data[:start] + version.to_bytes(4) + data[start + 4 :]


class TestRecords:
    @pytest.mark.parametrize("size", [0, 1, 40])
    @pytest.mark.parametrize("role", KeyRole)
    def test_damage(self, role, size):
        """No altered, cut or extended record opens."""
        sealing = RecordKey(role, os.urandom(32))
        record = sealing.seal("profile", os.urandom(size))
        for damaged in every_damage(record):
            with pytest.raises(Unreadable):
                sealing.open("profile", damaged)
        assert len(sealing.open("profile", record)) == size

    @pytest.mark.parametrize("position", range(4))
    def test_header(self, position):
        """No other magic or format is accepted, by the key of any role."""
        secret = os.urandom(32)
        record = RecordKey(KeyRole.DATA, secret).seal("profile", b"plain")
        for damaged, role in product(every_other_byte(record, position), KeyRole):
            with pytest.raises(Unreadable):
                RecordKey(role, secret).open("profile", damaged)

    def test_swaps(self):
        """Each record opens in one place: of its owner, role, item, picture, size and format."""
        secrets = os.urandom(32), os.urandom(32)
        names = ("key", "profile", "not_before", *PICTURES)
        places = list(product(secrets, KeyRole, names))
        records = [RecordKey(role, secret).seal(name, b"plain") for secret, role, name in places]
        for at, (secret, role, name) in enumerate(places):
            opening = RecordKey(role, secret)
            for other, record in enumerate(records):
                if other != at:
                    with pytest.raises(Unreadable):
                        opening.open(name, record)
            assert opening.open(name, records[at]) == b"plain"

    def test_pictures_of_a_protected_profile(self):
        """The key of one picture opens no other picture, nor the profile."""
        content_key = RecordKey.generate(KeyRole.CONTENT)
        picture_keys = [content_key.for_picture(bytes([picture]) * 16) for picture in (1, 2)]
        sealed = picture_keys[0].seal(PICTURES[0], b"plain")
        profile = content_key.seal("profile", b"plain")
        for name, record in ((PICTURES[0], profile), ("profile", profile), ("profile", sealed)):
            with pytest.raises(Unreadable):
                picture_keys[0].open(name, record)
        for other in (picture_keys[1], content_key):
            with pytest.raises(Unreadable):
                other.open(PICTURES[0], sealed)
        assert picture_keys[0].open(PICTURES[0], sealed) == b"plain"


class TestCommitment:
    def test_refuses_what_gcm_opens_under_two_keys(self):
        """A ciphertext that AES-GCM opens under the keys of two records is no record of both."""
        salt, associated = os.urandom(32), b"PPR\x02\x00\x00\x00\x01profile"
        owners = [RecordKey.generate(KeyRole.DATA) for _ in range(2)]
        derived = [
            independent.hkdf(owner.secret, b"persona-profile/record/v1", 64, salt, "sha512")
            for owner in owners
        ]
        keys = (derived[0][:32], derived[1][:32])
        ciphertext = opens_under_both(keys, associated, os.urandom(16))
        plaintexts = [AESGCM(each).decrypt(bytes(12), ciphertext, associated) for each in keys]
        assert plaintexts[0] != plaintexts[1]

        commitments = [derived[0][32:], derived[1][32:]]
        both = zip(*commitments, strict=True)
        mixed = [commitments[0][:16] + commitments[1][16:], bytes(one ^ other for one, other in both)]
        for commitment in (*commitments, *mixed, bytes(32), os.urandom(32)):
            record = associated[:4] + salt + commitment + ciphertext
            for owner, own, plaintext in zip(owners, commitments, plaintexts, strict=True):
                if commitment == own:
                    assert owner.open("profile", record) == plaintext
                else:
                    with pytest.raises(Unreadable):
                        owner.open("profile", record)


class TestWrappedKeys:
    def test_damage(self):
        """No altered, cut or extended wrap opens."""
        wrapped = KEYS.wrap(HOME, os.urandom(32))
        for damaged in every_damage(wrapped):
            with pytest.raises(Unreadable):
                KEYS.unwrap(HOME, damaged)

    @pytest.mark.parametrize("position", range(8))
    def test_header(self, position):
        """No other magic, format or version is accepted."""
        for damaged in every_other_byte(KEYS.wrap(HOME, os.urandom(32)), position):
            with pytest.raises(Unreadable):
                KEYS.unwrap(HOME, damaged)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_versions(self, version):
        """A wrap that names another key than its own does not open, whether that is here or not."""
        wrapped = KEYS.wrap(HOME, os.urandom(32))
        assert wrapped[4:8] == PRIMARY.to_bytes(4)
        with pytest.raises(Unreadable):
            KEYS.unwrap(HOME, with_version(wrapped, 4, version))

    @pytest.mark.parametrize("version", [DESTROYED, UNKNOWN])
    def test_without_its_key(self, version):
        """A wrap does not open once its key is destroyed, nor where its key never was."""
        wrapped = KeyWrapper(Keyring([key(version)], [key(9)])).wrap(HOME, os.urandom(32))
        with pytest.raises(Unreadable):
            KEYS.unwrap(HOME, wrapped)

    def test_owners(self):
        """A wrap opens for no other partition, however like its own."""
        wrapped = KEYS.wrap(HOME, os.urandom(32))
        for partition in (KEYS.partition(BOB), *every_damage(HOME)):
            with pytest.raises(Unreadable):
                KEYS.unwrap(partition, wrapped)

    @pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 40])
    def test_lengths(self, size):
        """Wrapped bytes that are no key of 32 bytes are rejected."""
        wrapping_key = independent.hkdf(b"\x02" * 32, b"persona-profile/wrap/v1" + HOME, 32)
        inner = independent.kwp_wrap(wrapping_key, bytes(size))
        with pytest.raises(Unreadable):
            KEYS.unwrap(HOME, b"PPK\x01" + PRIMARY.to_bytes(4) + inner)


def make_key_item(email: str, *, is_protected: bool) -> KeyItem:
    """Return the key item of a new data key."""
    item, data_key = KeyItem.create(KEYS, KEYS.partition(email), email)
    content_key = RecordKey.generate(KeyRole.CONTENT)
    keys = (PROFILE_KEY, b"r" * 32) if is_protected else ()
    wraps = tuple(ContentKeyWrap.create(data_key, each, content_key, NOW) for each in keys)
    return KeyItem(item.wrapped, Owner(email, wraps).seal(data_key))


def open_key_item(value: bytes) -> str:
    """Open everything in the key item of ALICE's partition."""
    item = KeyItem.parse(value, KEYS)
    data_key = item.data_key(KEYS, HOME)
    owner = item.open_owner(data_key)
    for wrap, profile_key in zip(owner.wraps, (PROFILE_KEY, b"r" * 32), strict=False):
        wrap.open(data_key, profile_key)
    return owner.email


@pytest.mark.parametrize("is_protected", [False, True], ids=["plain", "protected"])
class TestKeyItems:
    def test_damage(self, is_protected):
        """No altered, cut or extended key item opens as a whole."""
        value = make_key_item(ALICE, is_protected=is_protected).to_bytes()
        for damaged in every_damage(value):
            with pytest.raises(Unreadable):
                open_key_item(damaged)
        assert open_key_item(value) == ALICE

    def test_kinds(self, is_protected):
        """A part of another kind is rejected."""
        value = make_key_item(ALICE, is_protected=is_protected).to_bytes()
        for start, kind in product((0, 48), "KRCFX"):
            damaged = value[:start] + b"PP" + kind.encode() + value[start + 3 :]
            if damaged != value:
                with pytest.raises(Unreadable):
                    open_key_item(damaged)

    def test_parts_of_others(self, is_protected):
        """No part of another email's key item fits, nor of the same email's before an erasure."""
        own = make_key_item(ALICE, is_protected=is_protected)
        for other in (
            make_key_item(BOB, is_protected=is_protected),
            make_key_item(ALICE, is_protected=is_protected),
        ):
            for mixed in (KeyItem(own.wrapped, other.owner), KeyItem(other.wrapped, own.owner)):
                with pytest.raises(Unreadable):
                    open_key_item(mixed.to_bytes())
        assert open_key_item(own.to_bytes()) == ALICE
        with pytest.raises(Unreadable):
            open_key_item(make_key_item(BOB, is_protected=is_protected).to_bytes())


SESSIONS = SessionTokens(KEYS)
CAPABILITIES = PictureCapabilities(KEYS, 86400, lambda: NOW)
PROTECTION = Protection(RecordKey(KeyRole.PICTURE, b"r" * 32), ((HOME, 7),), 1000 * NOW + 3_600_000)
SUGGESTIONS = SuggestedPictureTokens(KEYS, lambda: NOW)
SUGGESTION = SuggestedPicture(ALICE, "id_token", "https://a.test", "https://b.test/c", 1001 * NOW)
PERMISSION = PictureCapability(HOME, b"i" * 16, 64, ("webp", "jpeg"))
TOKENS = {
    "session": (SESSIONS, SESSIONS.seal(session_of(ALICE, BOB))),
    "protected session": (SESSIONS, SESSIONS.seal(session_of(ALICE, profile_key=PROFILE_KEY))),
    "suggestion": (SUGGESTIONS, SUGGESTIONS.seal(SUGGESTION)),
    "picture": (CAPABILITIES, CAPABILITIES.seal(PERMISSION)),
    "protected picture": (
        CAPABILITIES,
        CAPABILITIES.seal(PictureCapability(HOME, b"i" * 16, 64, ("jpeg",), PROTECTION)),
    ),
}


@pytest.mark.parametrize(("tokens", "token"), TOKENS.values(), ids=TOKENS)
class TestTokens:
    def test_damage(self, tokens, token):
        """No token opens whose bytes are altered, cut or extended, nor one whose text is."""
        texts = [base64url_encode(damaged) for damaged in every_damage(base64url_decode(token))]
        texts += [damaged.decode("latin-1") for damaged in every_damage(token.encode())]
        for text in [*texts, "A" * (MAX_TOKEN_CHARACTERS + 1)]:
            with pytest.raises(Unreadable):
                tokens.open(text)
        assert tokens.open(token)

    @pytest.mark.parametrize("position", range(5))
    def test_header(self, tokens, token, position):
        """No other format or version is accepted."""
        for damaged in every_other_byte(base64url_decode(token), position):
            with pytest.raises(Unreadable):
                tokens.open(base64url_encode(damaged))

    @pytest.mark.parametrize("version", VERSIONS)
    def test_versions(self, tokens, token, version):
        """A token that names another key than its own does not open, whether that is here or not."""
        with pytest.raises(Unreadable):
            tokens.open(base64url_encode(with_version(base64url_decode(token), 1, version)))

    def test_purposes(self, tokens, token):
        """A session is no permission for a picture, and the other way round."""
        for other, _ in TOKENS.values():
            if other is not tokens:
                with pytest.raises(Unreadable):
                    other.open(token)


def test_tokens_without_their_key():
    """Tokens end with the key that sealed them."""
    before = KeyWrapper(Keyring([key(DESTROYED)], [key(9)]))
    session = SessionTokens(before).seal(session_of(ALICE))
    picture = PictureCapabilities(before, 86400, lambda: NOW).seal(PERMISSION)
    suggestion = SuggestedPictureTokens(before, lambda: NOW).seal(SUGGESTION)
    sealed = ((SESSIONS, session), (CAPABILITIES, picture), (SUGGESTIONS, suggestion))
    for tokens, token in sealed:
        with pytest.raises(Unreadable):
            tokens.open(token)


@pytest.mark.parametrize("was_protected", [False, True])
@pytest.mark.parametrize("is_protected", [False, True])
def test_altered_protection_is_noticed(was_protected, is_protected):
    """An owner record from when it was protected otherwise, or of another data key, is unreadable."""
    store = Store(Keyring([key(1)], [key(9)]))
    store.write(ALICE)
    session = replace(FOREVER, profile_key=PROFILE_KEY)
    if was_protected:
        store.profiles.set_profile_key(session, ALICE, PROFILE_KEY)
    assert store.profiles.profile(session, ALICE).document.claims == {"name": "N"}
    other = make_key_item(ALICE, is_protected=is_protected)
    store.put(ALICE, "key", store.key_item(ALICE).wrapped + other.owner)
    assert store.only_finding() == ("unreadable_key", ALICE, "key")
    [profile] = store.profiles.profiles(session_of(ALICE, profile_key=PROFILE_KEY))
    # A plain profile opens without its item of protection.
    assert profile.problem == ("profile_unreadable" if was_protected else None)
    assert profile.is_protected is False


def test_a_plain_profile_that_does_not_open():
    """A plain profile that the data key does not open is unreadable, not a protected one."""
    store = Store(Keyring([key(1)], [key(9)]))
    store.write(ALICE)
    store.put(ALICE, "profile", RecordKey.generate(KeyRole.CONTENT).seal("profile", b"plain"))
    session = session_of(ALICE, profile_key=PROFILE_KEY)
    assert store.profiles.profiles(session)[0].problem == "profile_unreadable"
    assert store.only_finding() == ("unreadable_profile", ALICE, "profile")


@pytest.mark.parametrize("item", ["profile", "picture"])
@pytest.mark.parametrize("damage", ["cut", "empty", "plain"])
def test_protected_items_that_are_none(item, damage):
    """Values that are no records of a protected profile are found without its key."""
    store = Store(Keyring([key(1)], [key(9)]))
    store.put_picture(ALICE)
    session = replace(FOREVER, profile_key=PROFILE_KEY)
    store.profiles.set_profile_key(session, ALICE, PROFILE_KEY)
    assert store.verify()[0] == []
    name = "profile" if item == "profile" else store.pictures(ALICE)[0]
    sealed = {"cut": store.get(ALICE, name)[:83], "empty": b"", "plain": b""}[damage]
    if damage == "plain":
        sealed = store.data_key(ALICE).seal(name, b"plain")
    store.put(ALICE, name, sealed)
    assert store.only_finding() == (f"unreadable_{item}", ALICE, name)
