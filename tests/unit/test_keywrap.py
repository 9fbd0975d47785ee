import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from persona_profile.encoding import base64url_encode
from persona_profile.keywrap import Key, Keyring, KeyringError, KeyState, KeyWrapper, Unreadable

ALICE, BOB = "alice@example.com", "bob@example.org"


def key(version: int, state: KeyState = KeyState.PRIMARY) -> Key:
    """Return a key whose bytes are its version."""
    return Key(version, state, bytes([version]) * 32)


@pytest.fixture
def wrapper() -> KeyWrapper:
    """Wrap under a keyring of known keys."""
    return KeyWrapper(Keyring([key(1)], [key(9)]))


def every_damage(data: bytes) -> list[bytes]:
    """Return the data with each byte altered, cut at each length, and extended."""
    flipped = [
        data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        for position in range(len(data))
    ]
    return [*flipped, *(data[:length] for length in range(len(data))), data + b"\x00"]


class TestPartition:
    def test_is_the_same_for_an_email(self, wrapper):
        """An email is always found again, in 33 bytes that begin with the index version."""
        assert wrapper.partition(ALICE) == wrapper.partition(ALICE)
        assert len(wrapper.partition(ALICE)) == 33
        assert wrapper.partition(ALICE)[0] == 9

    def test_depends_on_the_key(self, wrapper):
        """Without the index key nobody can tell whose partition it is."""
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
        """What was wrapped for an owner is unwrapped for that owner."""
        partition, data_key = wrapper.partition(ALICE), wrapper.new_data_key()
        assert wrapper.unwrap(partition, wrapper.wrap(partition, data_key)) == data_key

    def test_is_bound_to_its_owner(self, wrapper):
        """A wrap that was moved to another partition does not open."""
        wrapped = wrapper.wrap(wrapper.partition(ALICE), wrapper.new_data_key())
        with pytest.raises(Unreadable):
            wrapper.unwrap(wrapper.partition(BOB), wrapped)

    def test_damage(self, wrapper):
        """No altered, cut or extended wrap opens."""
        partition = wrapper.partition(ALICE)
        for damaged in every_damage(wrapper.wrap(partition, wrapper.new_data_key())):
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


class TestRecords:
    def test_format(self, wrapper):
        """A record has the documented layout: another implementation opens it."""
        record = wrapper.seal(b"d" * 32, "profile", b"plain")
        header, salt, commitment = record[:8], record[8:40], record[40:72]
        derived = HKDF(SHA512(), 64, salt, b"persona-profile/record/v1").derive(b"d" * 32)
        assert header == b"PPR\x01\x00\x00\x00\x01"
        assert commitment == derived[32:]
        opened = AESGCM(derived[:32]).decrypt(bytes(12), record[72:], header + b"profile")
        assert opened == b"plain"

    @pytest.mark.parametrize(
        "plaintext", [b"", b"x", os.urandom(100_000)], ids=["empty", "one", "large"]
    )
    def test_round_trip(self, wrapper, plaintext):
        """What was sealed opens under the same key and name."""
        record = wrapper.seal(b"d" * 32, "profile", plaintext)
        assert wrapper.open(b"d" * 32, "profile", record) == plaintext

    def test_never_twice_the_same(self, wrapper):
        """Equal values can't be told by their records."""
        records = {wrapper.seal(b"d" * 32, "profile", b"same") for _ in range(100)}
        assert len(records) == 100

    def test_bound_to_key_and_name(self, wrapper):
        """A record that was moved to another owner, item or size does not open."""
        record = wrapper.seal(b"d" * 32, "picture/abc/64.webp", b"plain")
        for data_key, name in [(b"e" * 32, "picture/abc/64.webp"), (b"d" * 32, "picture/abc/128.webp")]:
            with pytest.raises(Unreadable):
                wrapper.open(data_key, name, record)

    def test_damage(self, wrapper):
        """No altered, cut or extended record opens."""
        for damaged in every_damage(wrapper.seal(b"d" * 32, "profile", b"plaintext")):
            with pytest.raises(Unreadable):
                wrapper.open(b"d" * 32, "profile", damaged)


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


class TestKeyringFile:
    @staticmethod
    def document(**changes: object) -> dict[str, object]:
        secret = base64url_encode(b"k" * 32)
        entry = {"version": 1, "state": "primary", "secret": secret, "created": "2026-01-01"}
        return {"format": 1, "encryption_keys": [entry], "index_keys": [entry]} | changes

    @staticmethod
    def write(folder: Path, document: object, mode: int = 0o600) -> Path:
        path = folder / "keyring.json"
        path.write_text(json.dumps(document))
        path.chmod(mode)
        return path

    def test_load(self, tmp_path):
        """A keyring file gives the keys that stand in it."""
        keyring = Keyring.load(self.write(tmp_path, self.document()))
        assert keyring.primary_version == 1
        assert keyring.index_key.secret == b"k" * 32

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
    def test_open_to_others(self, tmp_path, mode):
        """A file that others can read is refused, and the message says what to do."""
        path = self.write(tmp_path, self.document(), mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with pytest.raises(KeyringError, match="chmod 600"):
            Keyring.load(path)

    def test_absent(self, tmp_path):
        """A file that is not there is an error that names it."""
        with pytest.raises(KeyringError, match=r"absent\.json: No such file"):
            Keyring.load(tmp_path / "absent.json")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": 2}, "no keyring"),
            ({"encryption_keys": None}, "list of keys is missing"),
            ({"encryption_keys": []}, "exactly one key must be primary"),
            ({"index_keys": [5]}, "list of keys is missing"),
            ({"encryption_keys": [{"version": 1, "state": "secondary"}]}, "state is one of"),
            ({"encryption_keys": [{"version": 0, "state": "primary"}]}, "number from 1 to 255"),
            ({"encryption_keys": [{"version": True, "state": "primary"}]}, "number from 1 to 255"),
            ({"encryption_keys": [{"version": 1, "state": "primary"}]}, "base64url of 32"),
            (
                {"encryption_keys": [{"version": 1, "state": "primary", "secret": "c2hvcnQ"}]},
                "base64url of 32",
            ),
            (
                {"encryption_keys": [{"version": 1, "state": "destroyed", "secret": "c2hvcnQ"}]},
                "destroyed key has no secret",
            ),
        ],
    )
    def test_wrong(self, tmp_path, changes, message):
        """What is wrong with a file is told, without any of its secrets."""
        path = self.write(tmp_path, self.document(**changes))
        with pytest.raises(KeyringError, match=message) as caught:
            Keyring.load(path)
        assert "c2hvcnQ" not in str(caught.value)

    def test_version_twice(self, tmp_path):
        """Two keys of one version are refused."""
        document = self.document()
        document["encryption_keys"] *= 2
        with pytest.raises(KeyringError, match="twice"):
            Keyring.load(self.write(tmp_path, document))

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1', "\x00"])
    def test_not_json(self, tmp_path, text):
        """A file that is cut or something else is refused."""
        path = tmp_path / "keyring.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(KeyringError):
            Keyring.load(path)

    def test_secrets_are_not_shown(self):
        """A key that lands in a log by mistake does not show its secret."""
        assert "\\x01" not in repr(key(1))
        assert repr(b"\x01" * 32) not in repr(key(1))
