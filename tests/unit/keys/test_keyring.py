from datetime import UTC, datetime

import pytest
from support.stores.sealed_store import key

from persona_profile.keys.keyring import MAX_VERSION, Key, KeyKind, Keyring, KeyringError, KeyState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KINDS = pytest.mark.parametrize("kind", list(KeyKind))


def states(keyring: Keyring, kind: KeyKind) -> dict[int, str]:
    """Return the state of each key of a kind, by version."""
    return {key.version: key.state for key in keyring.keys(kind)}


class TestRotation:
    @KINDS
    def test_life_of_a_key(self, kind):
        """A key is added, promoted, retired and destroyed; its notes have the times."""
        first = Keyring.generate(NOW)
        added = first.adding(kind, NOW)
        assert states(added, kind) == {1: "primary", 2: "decrypt-only"}
        promoted = added.promoting(kind, NOW)
        assert states(promoted, kind) == {1: "decrypt-only", 2: "primary"}
        assert promoted.find(kind, 1).retired_at == NOW
        destroyed = promoted.destroying(kind, 1, NOW)
        assert states(destroyed, kind) == {1: "destroyed", 2: "primary"}
        gone = destroyed.find(kind, 1)
        assert (gone.secret, gone.notes["destroyed_at"]) == (None, "2026-01-02T03:04:05Z")
        assert gone.notes["created_at"] == "2026-01-02T03:04:05Z"

    @KINDS
    def test_the_other_kind_stays(self, kind):
        """Rotating one kind of key leaves the other as it is."""
        [other] = set(KeyKind) - {kind}
        first = Keyring.generate()
        assert first.adding(kind, NOW).keys(other) == first.keys(other)

    @KINDS
    def test_keys_are_random(self, kind):
        """No two keys are alike."""
        keyring = Keyring.generate().adding(kind, NOW)
        secrets = {key.secret for each in KeyKind for key in keyring.keys(each)}
        assert len(secrets) == 3

    @KINDS
    def test_one_rotation_at_a_time(self, kind):
        """A second key is not added while one waits to be promoted."""
        with pytest.raises(KeyringError, match="2 waits to be promoted"):
            Keyring.generate().adding(kind, NOW).adding(kind, NOW)

    def test_two_index_keys_at_the_most(self):
        """A third index key is not added before the first is destroyed; encryption keys may be many."""
        keyring = Keyring.generate()
        for kind in KeyKind:
            keyring = keyring.adding(kind, NOW).promoting(kind, NOW)
        assert len(keyring.adding(KeyKind.ENCRYPTION, NOW).live(KeyKind.ENCRYPTION)) == 3
        with pytest.raises(KeyringError, match="index key 1 must be destroyed first"):
            keyring.adding(KeyKind.INDEX, NOW)
        with pytest.raises(KeyringError, match="more than 2 index keys"):
            Keyring([key(1)], [key(1), key(2, KeyState.DECRYPT_ONLY), key(3, KeyState.DECRYPT_ONLY)])

    @KINDS
    def test_nothing_to_promote(self, kind):
        """The newest key is promoted once."""
        with pytest.raises(KeyringError, match="1 is the newest, and primary already"):
            Keyring.generate().promoting(kind, NOW)

    @KINDS
    @pytest.mark.parametrize(
        ("version", "message"), [(1, "destroyed already"), (2, "is primary"), (9, "there is no")]
    )
    def test_not_destroyed(self, kind, version, message):
        """The primary key, one that is gone, and one that never was are not destroyed."""
        keyring = Keyring.generate().adding(kind, NOW).promoting(kind, NOW)
        with pytest.raises(KeyringError, match=message):
            keyring.destroying(kind, 1, NOW).destroying(kind, version, NOW)

    def test_versions_end(self):
        """No version is ever given twice, also when there is none left."""
        last = Keyring([key(MAX_VERSION)], [key(1)])
        with pytest.raises(KeyringError, match="no version left"):
            last.adding(KeyKind.ENCRYPTION, NOW)
        gone = Keyring([key(1), Key(2, KeyState.DESTROYED, None)], [key(1)])
        added = gone.adding(KeyKind.ENCRYPTION, NOW)
        assert states(added, KeyKind.ENCRYPTION) == {1: "primary", 2: "destroyed", 3: "decrypt-only"}


class TestContinuing:
    def test_with_more_keys(self):
        """A rotated keyring continues the original one."""
        keyring = Keyring.generate()
        rotated = keyring.adding(KeyKind.INDEX, NOW).promoting(KeyKind.INDEX, NOW)
        rotated.check_continues(keyring)
        rotated.destroying(KeyKind.INDEX, 1, NOW).check_continues(rotated)

    def test_with_fewer_keys(self):
        """A keyring that lost a key does not take the place of one that has it."""
        keyring = Keyring.generate()
        with pytest.raises(KeyringError, match="encryption key 2 is missing"):
            keyring.check_continues(keyring.adding(KeyKind.ENCRYPTION, NOW))

    def test_with_another_key(self):
        """Nor does one that has another key of the same version; the message holds neither."""
        with pytest.raises(KeyringError, match=r"^encryption key 1 is not the one in use$"):
            Keyring.generate().check_continues(Keyring.generate())


class TestTelling:
    def test_fingerprints(self):
        """Different keys have different fingerprints, which do not reveal the keys."""
        assert key(1).fingerprint() == key(1).fingerprint()
        assert key(1).fingerprint() != key(2).fingerprint()
        assert len(key(1).fingerprint()) == 16

    def test_secrets_are_not_shown(self):
        """A key that lands in a log by mistake does not show its secret."""
        assert "\\x01" not in repr(key(1))
        assert repr(b"\x01" * 32) not in repr(key(1))

    @pytest.mark.parametrize("note", [None, 5, "yesterday", "2026-01-01", "2026-01-01T00:00:00"])
    def test_retired_without_an_instant(self, note):
        """A note that is no instant is ignored."""
        assert Key(1, KeyState.DECRYPT_ONLY, b"x" * 32, {"retired_at": note}).retired_at is None
