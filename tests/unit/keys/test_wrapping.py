import os

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from support.forgeries.damage import every_damage

from persona_profile.encoding import base64url_encode
from persona_profile.keys.keyring import Key, Keyring, KeyState
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper

ALICE, BOB = "alice@example.com", "bob@example.org"


def key(version: int, state: KeyState = KeyState.PRIMARY) -> Key:
    """Return a key whose bytes are its version."""
    return Key(version, state, bytes([version]) * 32)


@pytest.fixture
def wrapper() -> KeyWrapper:
    """Wrap under a keyring of known keys."""
    return KeyWrapper(Keyring([key(1)], [key(9)]))


class TestPartition:
    def test_is_the_same_for_an_email(self, wrapper):
        """An email is always found again, in 33 bytes that begin with the index version."""
        assert wrapper.partition(ALICE) == wrapper.partition(ALICE)
        assert len(wrapper.partition(ALICE)) == 33
        assert wrapper.partition(ALICE)[0] == 9

    def test_depends_on_the_key(self, wrapper):
        """Without the index key a partition does not show its email."""
        other = KeyWrapper(Keyring([key(1)], [Key(9, KeyState.PRIMARY, b"x" * 32)]))
        assert other.partition(ALICE) != wrapper.partition(ALICE)
        assert wrapper.partition(BOB) != wrapper.partition(ALICE)


class TestWrap:
    def test_format(self, wrapper):
        """A wrapped key has the documented layout and is AES-KWP under the derived key."""
        partition, data_key = wrapper.partition(ALICE), b"d" * 32
        info = b"persona-profile/wrap/v1" + partition
        derived = HKDF(SHA256(), 32, None, info).derive(b"\x01" * 32)
        expected = b"PPK\x01\x00\x00\x00\x01" + aes_key_wrap_with_padding(derived, data_key)
        assert wrapper.wrap(partition, data_key) == expected

    def test_round_trip(self, wrapper):
        """A data key is unwrapped for its owner."""
        partition, data_key = wrapper.partition(ALICE), os.urandom(32)
        assert wrapper.unwrap(partition, wrapper.wrap(partition, data_key)) == data_key

    def test_is_bound_to_its_owner(self, wrapper):
        """A wrap that was moved to another partition does not open."""
        wrapped = wrapper.wrap(wrapper.partition(ALICE), os.urandom(32))
        with pytest.raises(Unreadable):
            wrapper.unwrap(wrapper.partition(BOB), wrapped)

    def test_damage(self, wrapper):
        """No altered, cut or extended wrap opens."""
        partition = wrapper.partition(ALICE)
        for damaged in every_damage(wrapper.wrap(partition, os.urandom(32))):
            with pytest.raises(Unreadable):
                wrapper.unwrap(partition, damaged)

    def test_rotation(self):
        """Old wraps open while their key is there and are known as stale; new ones use the primary."""
        old = KeyWrapper(Keyring([key(1)], [key(9)]))
        partition = old.partition(ALICE)
        wrapped = old.wrap(partition, b"d" * 32)
        new = KeyWrapper(Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)]))
        assert new.unwrap(partition, wrapped) == b"d" * 32
        assert new.needs_rewrap(wrapped)
        assert not old.needs_rewrap(wrapped)
        assert not new.needs_rewrap(new.wrap(partition, b"d" * 32))
        destroyed = Keyring([Key(1, KeyState.DESTROYED, None), key(2)], [key(9)])
        with pytest.raises(Unreadable):
            KeyWrapper(destroyed).unwrap(partition, wrapped)


class TestTokens:
    def test_round_trip(self, wrapper):
        """A token gives its payload back, and the same payload gives the same token."""
        token = wrapper.seal_token("session", b"payload")
        assert wrapper.open_token("session", token) == b"payload"
        assert wrapper.seal_token("session", b"payload") == token

    def test_bound_to_purpose(self, wrapper):
        """A picture's capability is no session."""
        with pytest.raises(Unreadable):
            wrapper.open_token("session", wrapper.seal_token("picture", b"payload"))

    def test_damage(self, wrapper):
        """No altered, cut or extended token opens, nor one in another spelling."""
        token = wrapper.seal_token("session", b"payload")
        damaged = [text.decode("latin-1") for text in every_damage(token.encode())]
        for text in [*damaged, token + "=", "", ".", "ä", " " + token, token + "\n"]:
            with pytest.raises(Unreadable):
                wrapper.open_token("session", text)

    def test_of_another_server(self, wrapper):
        """A token under another keyring does not open."""
        other = KeyWrapper(Keyring.generate())
        with pytest.raises(Unreadable):
            wrapper.open_token("session", other.seal_token("session", b"payload"))

    def test_of_an_unknown_key_version(self, wrapper):
        """A token that names a version that never was does not open."""
        with pytest.raises(Unreadable):
            wrapper.open_token("session", base64url_encode(b"\x01\x00\x00\x00\x63" + bytes(30)))
