import json
import stat
from pathlib import Path

import pytest

from persona_profile.encoding import base64url_encode
from persona_profile.keyring import Key, KeyKind, Keyring, KeyringError, KeyState
from persona_profile.keyring_file import KeyringFile


def key(version: int, state: KeyState = KeyState.PRIMARY) -> Key:
    """Return a key whose bytes are its version."""
    return Key(version, state, bytes([version]) * 32)


def load(path: Path) -> Keyring:
    """Read a keyring file."""
    return KeyringFile(path).load()


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
        keyring = load(self.write(tmp_path, self.document()))
        assert keyring.primary(KeyKind.ENCRYPTION).version == 1
        assert keyring.primary(KeyKind.INDEX).secret == b"k" * 32

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
    def test_open_to_others(self, tmp_path, mode):
        """A file that others can read is refused, and the message says what to do."""
        path = self.write(tmp_path, self.document(), mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with pytest.raises(KeyringError, match="chmod 600"):
            load(path)

    def test_absent(self, tmp_path):
        """A file that is not there is an error that names it."""
        with pytest.raises(KeyringError, match=r"absent\.json: No such file"):
            load(tmp_path / "absent.json")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": 2}, "no keyring"),
            ({"encryption_keys": None}, "list of keys is missing"),
            ({"encryption_keys": []}, "exactly one must be primary"),
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
            load(path)
        assert "c2hvcnQ" not in str(caught.value)

    def test_version_twice(self, tmp_path):
        """Two keys of one version are refused."""
        document = self.document()
        document["encryption_keys"] *= 2
        with pytest.raises(KeyringError, match="twice"):
            load(self.write(tmp_path, document))

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1', "\x00"])
    def test_not_json(self, tmp_path, text):
        """A file that is cut or something else is refused."""
        path = tmp_path / "keyring.json"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(KeyringError):
            load(path)

    def test_secrets_are_not_shown(self):
        """A key that lands in a log by mistake does not show its secret."""
        assert "\\x01" not in repr(key(1))
        assert repr(b"\x01" * 32) not in repr(key(1))
