"""What docs/keys.md says is sealed and opened alike by the service and by who read that page alone."""

import json
from pathlib import Path

import pytest
from support import independent_keys as independent

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "key-vectors.json").read_text())
ENCRYPTION_KEY = bytes.fromhex(VECTORS["encryption_key"]["key"])
VERSION = VECTORS["encryption_key"]["version"]
KEYS = {VERSION: ENCRYPTION_KEY}
EMAIL = VECTORS["partition"]["email"]
PARTITION = bytes.fromhex(VECTORS["partition"]["partition"])
DATA_KEY = bytes.fromhex(VECTORS["wrapped_key"]["data_key"])


def unhex(vector, *names):
    """Return members of a vector as bytes."""
    return [bytes.fromhex(vector[name]) for name in names]


class TestTheIndependentImplementation:
    @pytest.mark.parametrize("name", ["encryption_key", "index_key"])
    def test_shows_the_fingerprints(self, name):
        """A key's fingerprint is the one of the vectors."""
        assert independent.fingerprint(*unhex(VECTORS[name], "key")) == VECTORS[name]["fingerprint"]

    def test_finds_the_partition(self):
        """An email's partition is the one of the vectors."""
        index = VECTORS["index_key"]
        assert independent.partition_of(index["version"], *unhex(index, "key"), EMAIL) == PARTITION

    def test_wraps_and_opens_the_data_key(self):
        """The wrapped data key is made and opened."""
        data_key, wrapped = unhex(VECTORS["wrapped_key"], "data_key", "wrapped")
        assert independent.wrap_data_key(VERSION, ENCRYPTION_KEY, PARTITION, data_key) == wrapped
        assert independent.unwrap_data_key(KEYS, PARTITION, wrapped) == data_key

    def test_wraps_and_opens_the_content_key(self):
        """The wrapped content key is made and opened."""
        data_key, profile_key, content_key, wrapped = unhex(
            VECTORS["content_key"], "data_key", "profile_key", "content_key", "wrapped"
        )
        assert independent.wrap_content_key(data_key, profile_key, content_key) == wrapped
        assert independent.unwrap_content_key(data_key, profile_key, wrapped) == content_key

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

    @pytest.mark.parametrize("vector", VECTORS["key_items"], ids=["plain", "protected"])
    def test_makes_and_opens_the_key_items(self, vector):
        """Key items are made of their parts and opened down to the email and the content key."""
        salt, item = unhex(vector, "owner_salt", "item")
        parts = independent.split_key_item(item)
        data_key = independent.unwrap_data_key(KEYS, PARTITION, parts.wrapped_key)
        assert independent.open_owner(data_key, parts.owner_record) == EMAIL
        wrapped = None
        if "profile_key" in vector:
            profile_key, content_key = unhex(VECTORS["content_key"], "profile_key", "content_key")
            wrapped = independent.wrap_content_key(data_key, profile_key, content_key)
            assert (
                independent.unwrap_content_key(data_key, profile_key, parts.wrapped_content_key)
                == content_key
            )
        made = independent.KeyItem(
            independent.wrap_data_key(VERSION, ENCRYPTION_KEY, PARTITION, data_key),
            wrapped,
            independent.seal_owner(data_key, EMAIL, salt),
        )
        assert independent.pack_key_item(made) == item

    def test_makes_and_reads_the_forward(self):
        """A forward is made and read."""
        move_id, partition, item = unhex(VECTORS["forward"], "move_id", "partition", "item")
        assert independent.pack_forward(move_id, partition) == item
        assert independent.split_forward(item) == (move_id, partition)

    def test_makes_and_reads_the_moved_item(self):
        """A moved item is made and read."""
        key_item, profile, item = unhex(VECTORS["moved"], "key_item", "profile", "item")
        moved = independent.Moved(tuple(VECTORS["moved"]["pictures"]), key_item, profile)
        assert independent.pack_moved(moved) == item
        assert independent.split_moved(item) == moved

    @pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: vector["purpose"])
    def test_seals_and_opens_the_tokens(self, vector):
        """A token is made of its payload and opened, and the payload is written alike again."""
        (payload,), purpose = unhex(vector, "payload"), vector["purpose"]
        assert independent.seal_token(purpose, VERSION, ENCRYPTION_KEY, payload) == vector["token"]
        assert independent.open_token(purpose, KEYS, vector["token"]) == payload
        if purpose == "session":
            assert independent.pack_session(independent.split_session(payload)) == payload
        else:
            assert independent.pack_picture(independent.split_picture(payload)) == payload

    def test_reads_the_profile(self):
        """The sealed profile has the members that the page names, and the picture of the vectors."""
        first = VECTORS["records"][0]
        profile = independent.open_profile(independent.DATA_KEY, *unhex(first, "key", "record"))
        picture_id = independent.from_base64url(profile["picture"]["id"])
        assert profile["claims"] == {"name": "Käthe"}
        assert [picture_id] == unhex(VECTORS["picture_key"], "picture_id")
