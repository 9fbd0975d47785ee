import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from support.forgeries.damage import every_damage

from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable

KEY = RecordKey(KeyRole.DATA, b"d" * 32)


class TestRecords:
    def test_format(self):
        """A record has the documented layout: another implementation opens it."""
        record = KEY.seal("profile", b"plain")
        magic, salt, commitment = record[:4], record[4:36], record[36:68]
        derived = HKDF(SHA512(), 64, salt, b"persona-profile/record/v1").derive(b"d" * 32)
        assert magic == b"PPR\x02"
        assert commitment == derived[32:]
        associated = b"PPR\x02\x00\x00\x00\x01profile"
        opened = AESGCM(derived[:32]).decrypt(bytes(12), record[68:], associated)
        assert opened == b"plain"

    @pytest.mark.parametrize(
        "plaintext", [b"", b"x", os.urandom(100_000)], ids=["empty", "one", "large"]
    )
    def test_round_trip(self, plaintext):
        """A record opens under its key and name."""
        record = KEY.seal("profile", plaintext)
        assert KEY.open("profile", record) == plaintext

    def test_never_twice_the_same(self):
        """Records do not show equal values."""
        records = {KEY.seal("profile", b"same") for _ in range(100)}
        assert len(records) == 100

    def test_bound_to_key_and_name(self):
        """A record that was moved to another owner, item or size does not open."""
        record = KEY.seal("picture/abc/64.webp", b"plain")
        for data_key, name in [(b"e" * 32, "picture/abc/64.webp"), (b"d" * 32, "picture/abc/128.webp")]:
            with pytest.raises(Unreadable):
                RecordKey(KeyRole.DATA, data_key).open(name, record)

    def test_damage(self):
        """No altered, cut or extended record opens."""
        for damaged in every_damage(KEY.seal("profile", b"plaintext")):
            with pytest.raises(Unreadable):
                KEY.open("profile", damaged)
