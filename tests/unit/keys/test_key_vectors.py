"""The service and an implementation of docs/reference/key-formats.md seal and open alike."""

import json
from hashlib import sha256
from random import Random

import pytest
from support import ROOT
from support.forgeries import independent_keys as independent
from support.forgeries.damage import every_damage
from support.forgeries.independent_store import open_data_key

from persona_profile.keys.content_key_wraps import ContentKeyWrap
from persona_profile.keys.keyring import Key, Keyring, KeyState
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import (
    EmailProof,
    Nonce,
    Nonces,
    PictureCapabilities,
    PictureCapability,
    Protection,
    Session,
    SessionTokens,
    SuggestedPicture,
    SuggestedPictureTokens,
)
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import Forward, KeyItem, Moving, Owner

VECTORS = json.loads((ROOT / "docs/reference/key-vectors.json").read_text())
ENCRYPTION_KEY = bytes.fromhex(VECTORS["encryption_key"]["key"])
VERSION = VECTORS["encryption_key"]["version"]
KEYS = {VERSION: ENCRYPTION_KEY}
EMAIL = VECTORS["partition"]["email"]
PARTITION = bytes.fromhex(VECTORS["partition"]["partition"])
DATA_KEY = bytes.fromhex(VECTORS["wrapped_key"]["data_key"])
NAMES = ("key", "profile", f"picture/{'A' * 22}/64.avif", f"picture/{'_' * 22}/512.jpeg")
WINDOW = 86400


def unhex(vector, *names):
    """Return members of a vector as bytes."""
    return [bytes.fromhex(vector[name]) for name in names]


def of_purpose(purpose):
    """Return the vectors of tokens of a purpose: plain, then protected."""
    return [vector for vector in VECTORS["tokens"] if vector["purpose"] == purpose]


def slot_of(vector):
    """Return the content of a slot of an owner record."""
    wrap_id, wrapped = unhex(vector, "id", "wrapped")
    return independent.ContentKeyWrap(wrap_id, vector["added_at"], wrapped)


def wrap_of(vector):
    """Return the profile key of a wrap, and the wrap."""
    return bytes.fromhex(vector["profile_key"]), slot_of(vector)


FIRST_WRAP = VECTORS["content_key_of_first_format"]
WRAPS = VECTORS["content_key_wraps"]["wraps"]
CONTENT_KEY = bytes.fromhex(VECTORS["content_key_wraps"]["content_key"])
NAMES_OF_KEY_ITEMS = [vector["name"] for vector in VECTORS["key_items"]]
KEY_OF_WRAP = {
    wrap: profile_key for profile_key, wrap in map(wrap_of, [FIRST_WRAP | {"added_at": 0}, *WRAPS])
}


class TestTheIndependentImplementation:
    @pytest.mark.parametrize("name", ["encryption_key", "index_key"])
    def test_shows_the_fingerprints(self, name):
        """A key's fingerprint is the one of the vectors."""
        assert independent.fingerprint(*unhex(VECTORS[name], "key")) == VECTORS[name]["fingerprint"]

    def test_finds_the_partition(self):
        """An email's partition is the one of the vectors."""
        index = VECTORS["index_key"]
        assert independent.partition_of(index["version"], *unhex(index, "key"), EMAIL) == PARTITION

    def test_names_the_account(self):
        """An email's account identifier is the one of the vectors."""
        (index_key,) = unhex(VECTORS["index_key"], "key")
        account = VECTORS["account"]
        assert independent.account_id_of(index_key, account["email"]) == account["id"]

    def test_names_the_issuer(self):
        """An issuer's pseudonym in sessions is the one of the vectors."""
        issuer = VECTORS["issuer"]
        assert independent.issuer_pseudonym(ENCRYPTION_KEY, issuer["issuer"]) == issuer["pseudonym"]

    def test_wraps_and_opens_the_data_key(self):
        """The wrapped data key is made and opened."""
        data_key, wrapped = unhex(VECTORS["wrapped_key"], "data_key", "wrapped")
        assert independent.wrap_data_key(VERSION, ENCRYPTION_KEY, PARTITION, data_key) == wrapped
        assert independent.unwrap_data_key(KEYS, PARTITION, wrapped) == data_key

    @pytest.mark.parametrize("vector", WRAPS)
    def test_wraps_and_opens_the_content_key(self, vector):
        """Each wrap of the content key is made for its slot and opened."""
        profile_key, wrap = wrap_of(vector)
        made = independent.wrap_content_key(DATA_KEY, profile_key, CONTENT_KEY, wrap.id, wrap.added_at)
        assert made == wrap
        assert independent.unwrap_content_key(DATA_KEY, profile_key, wrap) == CONTENT_KEY

    def test_opens_the_wrap_of_the_first_format(self):
        """The wrap of the first format gets its id, is made, and is opened."""
        wrap_id, profile_key, wrapped = unhex(FIRST_WRAP, "id", "profile_key", "wrapped")
        wrap = independent.first_wrap(wrapped)
        assert wrap == independent.wrap_content_key(DATA_KEY, profile_key, CONTENT_KEY, wrap_id, 0)
        assert independent.unwrap_content_key(DATA_KEY, profile_key, wrap) == CONTENT_KEY

    def test_derives_the_picture_key(self):
        """A picture's key is derived from the content key."""
        content_key, picture_id, key = unhex(
            VECTORS["picture_key"], "content_key", "picture_id", "picture_key"
        )
        assert independent.picture_key_of(content_key, picture_id) == key

    @pytest.mark.parametrize(
        "vector", VECTORS["records"], ids=lambda vector: f"{vector['role']}-{vector['name']}"
    )
    def test_seals_and_opens_the_records(self, vector):
        """Each record is made from its salt and opened."""
        key, plaintext, salt, record = unhex(vector, "key", "plaintext", "salt", "record")
        role, name = vector["role"], vector["name"]
        assert independent.seal_record(role, key, name, plaintext, salt) == record
        assert independent.open_record(role, key, name, record) == plaintext

    @pytest.mark.parametrize("vector", VECTORS["key_items"], ids=NAMES_OF_KEY_ITEMS)
    def test_makes_and_opens_the_key_items(self, vector):
        """Key items are made of their parts and opened down to the email and the content key."""
        salt, item = unhex(vector, "owner_salt", "item")
        parts = independent.split_key_item(item)
        data_key = independent.unwrap_data_key(KEYS, PARTITION, parts.wrapped_key)
        owner = independent.Owner(EMAIL, tuple(slot_of(each) for each in vector["wraps"]))
        assert independent.open_owner(data_key, parts.owner_record) == owner
        for wrap in owner.wraps:
            assert independent.unwrap_content_key(data_key, KEY_OF_WRAP[wrap], wrap) == CONTENT_KEY
        seal = independent.seal_owner if vector["format"] == 3 else independent.seal_first_owner
        made = independent.KeyItem(
            independent.wrap_data_key(VERSION, ENCRYPTION_KEY, PARTITION, data_key),
            seal(data_key, owner, salt),
        )
        assert independent.pack_key_item(made) == item

    def test_makes_and_reads_the_forward(self):
        """A forward is made and read."""
        move_id, partition, item = unhex(VECTORS["forward"], "move_id", "partition", "item")
        assert independent.pack_forward(move_id, partition) == item
        assert independent.split_forward(item) == (move_id, partition)

    def test_makes_and_reads_the_moving_item(self):
        """A moving item is made and read."""
        *parts, item = unhex(VECTORS["moving"], "move_id", "origin", "key_item", "profile", "item")
        moving = independent.Moving(*parts)
        assert independent.pack_moving(moving) == item
        assert independent.split_moving(item) == moving

    @pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: vector["purpose"])
    def test_seals_and_opens_the_tokens(self, vector):
        """A token is made of its payload and opened, and the payload is written alike again."""
        (payload,), purpose = unhex(vector, "payload"), vector["purpose"]
        assert independent.seal_token(purpose, VERSION, ENCRYPTION_KEY, payload) == vector["token"]
        assert independent.open_token(purpose, KEYS, vector["token"]) == payload
        pack, split = {
            "session": (independent.pack_session, independent.split_session),
            "picture": (independent.pack_picture, independent.split_picture),
            "nonce": (lambda held: independent.pack_nonce(*held), independent.split_nonce),
            "suggestion": (
                lambda held: independent.pack_suggestion(*held),
                independent.split_suggestion,
            ),
        }[purpose]
        assert pack(split(payload)) == payload

    def test_reads_the_profile(self):
        """The sealed profile has the members that the page names, and the picture of the vectors."""
        first = VECTORS["records"][0]
        profile = independent.open_profile(independent.DATA_KEY, *unhex(first, "key", "record"))
        picture_id = independent.from_base64url(profile["picture"]["id"])
        assert profile["claims"] == {"name": "Käthe"}
        assert [picture_id] == unhex(VECTORS["picture_key"], "picture_id")


@pytest.fixture
def wrapper() -> KeyWrapper:
    """Wrap under the keys of the vectors."""
    index = VECTORS["index_key"]
    return KeyWrapper(
        Keyring(
            [Key(VERSION, KeyState.PRIMARY, ENCRYPTION_KEY)],
            [Key(index["version"], KeyState.PRIMARY, bytes.fromhex(index["key"]))],
        )
    )


class TestTheService:
    @pytest.mark.parametrize("name", ["encryption_key", "index_key"])
    def test_shows_the_fingerprints(self, name):
        """A key's fingerprint is the one of the vectors."""
        key = Key(VECTORS[name]["version"], KeyState.PRIMARY, *unhex(VECTORS[name], "key"))
        assert key.fingerprint() == VECTORS[name]["fingerprint"]

    def test_finds_the_partition(self, wrapper):
        """An email's partition is the one of the vectors."""
        assert wrapper.partition(EMAIL) == PARTITION

    def test_names_the_account(self, wrapper):
        """An email's account identifier is the one of the vectors."""
        assert wrapper.account_id(VECTORS["account"]["email"]) == VECTORS["account"]["id"]

    def test_names_the_issuer(self, wrapper):
        """An issuer's pseudonym in sessions is the one of the vectors."""
        issuer = VECTORS["issuer"]["issuer"]
        pseudonym = independent.base64url(wrapper.pseudonym("issuer", issuer))
        assert pseudonym == VECTORS["issuer"]["pseudonym"]

    def test_wraps_and_opens_the_data_key(self, wrapper):
        """The wrapped data key is made and opened."""
        data_key, wrapped = unhex(VECTORS["wrapped_key"], "data_key", "wrapped")
        assert wrapper.wrap(PARTITION, data_key) == wrapped
        assert wrapper.unwrap(PARTITION, wrapped) == data_key

    @pytest.mark.parametrize("wrap", KEY_OF_WRAP, ids=lambda wrap: wrap.id.hex())
    def test_opens_the_wraps(self, wrap):
        """Each wrap of the content key is opened; ids are drawn, so that none is made twice."""
        opened = ContentKeyWrap(*wrap).open(RecordKey(KeyRole.DATA, DATA_KEY), KEY_OF_WRAP[wrap])
        assert opened == RecordKey(KeyRole.CONTENT, CONTENT_KEY)

    def test_names_the_wrap_of_the_first_format(self):
        """The wrap of the first format gets its id."""
        wrap_id, wrapped = unhex(FIRST_WRAP, "id", "wrapped")
        wrap = ContentKeyWrap.of_first_format(wrapped)
        assert wrap == ContentKeyWrap(wrap_id, 0, wrapped)

    def test_derives_the_picture_key(self):
        """A picture's key is derived from the content key."""
        content_key, picture_id, key = unhex(
            VECTORS["picture_key"], "content_key", "picture_id", "picture_key"
        )
        derived = RecordKey(KeyRole.CONTENT, content_key).for_picture(picture_id)
        assert derived == RecordKey(KeyRole.PICTURE, key)

    @pytest.mark.parametrize(
        "vector", VECTORS["records"], ids=lambda vector: f"{vector['role']}-{vector['name']}"
    )
    def test_opens_the_records(self, vector):
        """Each record is opened; its salt is drawn, so that none is made twice."""
        key, plaintext, record = unhex(vector, "key", "plaintext", "record")
        assert RecordKey(KeyRole(vector["role"]), key).open(vector["name"], record) == plaintext

    @pytest.mark.parametrize("vector", VECTORS["key_items"], ids=NAMES_OF_KEY_ITEMS)
    def test_takes_the_key_items_apart(self, wrapper, vector):
        """Key items are opened down to the email and the wraps; the present format is written alike."""
        (item,) = unhex(vector, "item")
        parsed = KeyItem.parse(item, wrapper)
        data_key = parsed.data_key(wrapper, PARTITION)
        owner = parsed.open_owner(data_key)
        assert owner.email == EMAIL
        assert owner.wraps == tuple(ContentKeyWrap(*slot_of(each)) for each in vector["wraps"])
        assert parsed.to_bytes() == item
        assert parsed.has_current_format == (vector["format"] == 3)
        sealed = data_key.open("key", parsed.owner)
        assert (owner.to_bytes() == sealed) == parsed.has_current_format
        assert Owner.parse(owner.to_bytes()) == owner

    def test_makes_and_reads_the_forward(self):
        """A forward is made and read."""
        move_id, partition, item = unhex(VECTORS["forward"], "move_id", "partition", "item")
        assert Forward(move_id, partition).to_bytes() == item
        assert Forward.parse(item) == Forward(move_id, partition)

    def test_makes_and_reads_the_moving_item(self):
        """A moving item is made and read."""
        *parts, item = unhex(VECTORS["moving"], "move_id", "origin", "key_item", "profile", "item")
        assert Moving(*parts).to_bytes() == item
        assert Moving.parse(item) == Moving(*parts)

    @pytest.mark.parametrize("vector", of_purpose("session"), ids=["plain", "protected"])
    def test_seals_and_opens_the_sessions(self, wrapper, vector):
        """A session gives the token of the vectors, and the token the session."""
        tokens = SessionTokens(wrapper)
        held = independent.split_session(*unhex(vector, "payload"))
        proofs = tuple(EmailProof(*proof) for proof in held.proofs)
        session = Session(proofs, held.expires_at, held.profile_key)
        assert tokens.seal(session) == vector["token"]
        assert tokens.open(vector["token"]) == session

    @pytest.mark.parametrize("vector", of_purpose("picture"), ids=["plain", "protected"])
    def test_seals_and_opens_the_picture_urls(self, wrapper, vector):
        """A permission gives the token of the vectors at its time, and the token the permission."""
        held = independent.split_picture(*unhex(vector, "payload"))
        protection = None
        if held.picture_key is not None:
            key = RecordKey(KeyRole.PICTURE, held.picture_key)
            protection = Protection(key, held.sign_outs, 1000 * held.expires_at)
        names = tuple(
            name for bit, name in enumerate(("avif", "webp", "jpeg")) if held.formats >> bit & 1
        )
        permission = PictureCapability(held.partition, held.picture_id, held.size, names, protection)
        # In the window before the last one that such a URL works in.
        capabilities = PictureCapabilities(wrapper, WINDOW, lambda: held.expires_at - 1.5 * WINDOW)
        assert capabilities.seal(permission) == vector["token"]
        assert capabilities.open(vector["token"])[0] == permission

    def test_opens_the_nonce(self, wrapper):
        """The nonce of the vectors is opened, and has the digest that the page says."""
        [vector] = of_purpose("nonce")
        payload = bytes.fromhex(vector["payload"])
        _, *times = independent.split_nonce(payload)
        nonce = Nonces(wrapper, 600).open(vector["token"])
        assert nonce == Nonce(sha256(b"nonce" + payload).digest(), *times)

    def test_seals_and_opens_the_suggestion(self, wrapper):
        """A picture gives the token of the vectors, and the token the picture, until its end."""
        [vector] = of_purpose("suggestion")
        expires_at, *texts = independent.split_suggestion(*unhex(vector, "payload"))
        picture = SuggestedPicture(*texts, expires_at)
        tokens = SuggestedPictureTokens(wrapper, lambda: expires_at / 1000 - 1)
        assert tokens.seal(picture) == vector["token"]
        assert tokens.open(vector["token"]) == picture
        with pytest.raises(Unreadable):
            SuggestedPictureTokens(wrapper, lambda: expires_at / 1000).open(vector["token"])

    def test_makes_nonces(self, wrapper):
        """A new nonce is sealed as the page says, and lives for its time."""
        token, expires_at = Nonces(wrapper, 600, lambda: 1767225600.9).issue()
        _, *times = independent.split_nonce(independent.open_token("nonce", KEYS, token))
        assert [*times, expires_at] == [1767225600, 1767226200, 1767226200]


class TestBothWays:
    @pytest.mark.parametrize("role", KeyRole)
    def test_records(self, role):
        """Records of any size that one seals the other opens."""
        random = Random(role)
        sizes = [0, 1, 15, 16, 17, 100_000, *(int(10 ** random.uniform(0, 5)) for _ in range(100))]
        for size in sizes:
            secret, salt = random.randbytes(32), random.randbytes(32)
            name, plaintext = random.choice(NAMES), random.randbytes(size)
            key = RecordKey(role, secret)
            assert independent.open_record(role, secret, name, key.seal(name, plaintext)) == plaintext
            sealed = independent.seal_record(role, secret, name, plaintext, salt)
            assert key.open(name, sealed) == plaintext

    def test_wrapped_keys(self, wrapper):
        """Both wrap data keys and content keys alike, for all partitions."""
        random = Random(1)
        for _ in range(200):
            data_key, content_key, profile_key = (random.randbytes(32) for _ in range(3))
            partition = wrapper.partition(
                f"{random.randbytes(random.randint(1, 50)).hex()}@example.com"
            )
            wrapped = independent.wrap_data_key(VERSION, ENCRYPTION_KEY, partition, data_key)
            assert wrapper.wrap(partition, data_key) == wrapped
            inner = RecordKey(KeyRole.CONTENT, content_key)
            outer, added_at = RecordKey(KeyRole.DATA, data_key), random.getrandbits(41)
            wrap = ContentKeyWrap.create(outer, profile_key, inner, added_at)
            made = independent.wrap_content_key(
                data_key, profile_key, content_key, wrap.id, wrap.added_at
            )
            assert made == (wrap.id, wrap.added_at, wrap.wrapped)

    def test_key_items(self, wrapper):
        """Both open each other's key items of every number of keys."""
        random = Random(3)
        data_key = RecordKey(KeyRole.DATA, DATA_KEY)
        wrapped = independent.wrap_data_key(VERSION, ENCRYPTION_KEY, PARTITION, DATA_KEY)
        for count in range(9):
            wraps = tuple(
                independent.ContentKeyWrap(random.randbytes(8), 1 + at, random.randbytes(40))
                for at in range(count)
            )
            owner = independent.Owner(EMAIL, wraps)
            item = KeyItem(wrapped, independent.seal_owner(DATA_KEY, owner, random.randbytes(32)))
            opened = KeyItem.parse(item.to_bytes(), wrapper).open_owner(data_key)
            assert opened == Owner(EMAIL, tuple(ContentKeyWrap(*each) for each in wraps))
            assert independent.open_owner(DATA_KEY, opened.seal(data_key)) == owner

    def test_sessions(self, wrapper):
        """Both seal sessions of many emails alike, with all kinds of emails."""
        random = Random(2)
        for count in range(1, 21):
            emails = tuple(f'"{random.randbytes(8).hex()}\\ä\u2028"@example.com' for _ in range(count))
            issuer = independent.base64url(random.randbytes(16))
            proofs = [(email, issuer, random.getrandbits(41), count) for email in emails]
            key = random.choice([None, random.randbytes(32)])
            session = Session(tuple(EmailProof(*proof) for proof in proofs), 10**12 + count, key)
            held = [independent.Proof(*proof) for proof in proofs]
            payload = independent.pack_session(
                independent.SessionToken(10**12 + count, key, tuple(held))
            )
            token = independent.seal_token("session", VERSION, ENCRYPTION_KEY, payload)
            assert SessionTokens(wrapper).seal(session) == token

    @pytest.mark.parametrize("sealed", ["record", "wrapped key", "key item", "token"])
    def test_refuses_alike(self, wrapper, sealed):
        """Both reject the same damage."""
        key = RecordKey(KeyRole.DATA, DATA_KEY)
        value, opening, independently = {
            "record": (
                key.seal("profile", b"plaintext"),
                lambda data: key.open("profile", data),
                lambda data: independent.open_record(independent.DATA_KEY, DATA_KEY, "profile", data),
            ),
            "wrapped key": (
                wrapper.wrap(PARTITION, DATA_KEY),
                lambda data: wrapper.unwrap(PARTITION, data),
                lambda data: independent.unwrap_data_key(KEYS, PARTITION, data),
            ),
            "key item": (
                *unhex(VECTORS["key_items"][1], "item"),
                lambda data: KeyItem.parse(data, wrapper).open_owner(
                    KeyItem.parse(data, wrapper).data_key(wrapper, PARTITION)
                ),
                lambda data: open_data_key(PARTITION, data, KEYS),
            ),
            "token": (
                VECTORS["tokens"][0]["token"].encode(),
                lambda data: wrapper.open_token("session", data.decode("latin-1")),
                lambda data: independent.open_token("session", KEYS, data.decode("latin-1")),
            ),
        }[sealed]
        assert opening(value)
        assert independently(value)
        for damaged in every_damage(value):
            with pytest.raises(Unreadable):
                opening(damaged)
            with pytest.raises(independent.Rejected):
                independently(damaged)
