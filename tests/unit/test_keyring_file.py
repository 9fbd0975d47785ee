import json
import logging
import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.disks import leave_free, small_disk

from persona_profile.encoding import base64url_encode
from persona_profile.keyring import KeyKind, Keyring, KeyringError
from persona_profile.keyring_file import KeyringFile, KeyringWatch

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# Changes the keyring of its argument for ever; prints a line for each change.
CHANGE_FOR_EVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from persona_profile.keyring import KeyKind
from persona_profile.keyring_file import KeyringFile

file = KeyringFile(Path(sys.argv[1]))
while True:
    with file.lock():
        keyring, now = file.load(), datetime.now(UTC)
        kind = KeyKind.INDEX
        if keyring.pending(kind):
            keyring = keyring.promoting(kind, now)
        elif len(keyring.live(kind)) == 2:
            # The same version anew, as there are only 255.
            keyring = type(keyring)(keyring.keys(KeyKind.ENCRYPTION), keyring.live(kind)[1:])
        else:
            keyring = keyring.adding(kind, now)
        if keyring.primary(kind).version > 200:
            keyring = keyring.generate()
        file.replace(keyring)
    print(flush=True)
"""

HOLD_LOCK = """
import sys, time
from pathlib import Path
from persona_profile.keyring_file import KeyringFile

with KeyringFile(Path(sys.argv[1])).lock():
    print(flush=True)
    time.sleep(99)
"""


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


@pytest.fixture
def file(tmp_path: Path) -> KeyringFile:
    """A keyring in a file."""
    file = KeyringFile(tmp_path / "keyring.json")
    file.create(Keyring.generate(NOW))
    return file


class TestWriting:
    def test_mode(self, file):
        """A keyring is its owner's alone, made and replaced, whatever the umask."""
        before = os.umask(0)
        try:
            file.replace(file.load())
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600

    def test_not_over_another(self, file):
        """A keyring that is there is not replaced by a new one."""
        text = file.path.read_bytes()
        with pytest.raises(FileExistsError):
            file.create(Keyring.generate())
        assert file.path.read_bytes() == text

    def test_what_is_written_is_read(self, file):
        """Keys, states and notes come back, also notes that others wrote."""
        document = json.loads(file.path.read_text())
        document["index_keys"][0]["remark"] = {"in the safe": [1]}
        file.path.write_text(json.dumps(document))
        for kind in KeyKind:
            changed = file.load().adding(kind, NOW).promoting(kind, NOW).destroying(kind, 1, NOW)
            file.replace(changed)
            assert file.load().keys(kind) == changed.keys(kind)
        assert file.load().find(KeyKind.INDEX, 1).notes["remark"] == {"in the safe": [1]}

    @pytest.mark.skipif(
        os.geteuid() != 0, reason="only root can give a file away: run the tests as root"
    )
    def test_keeps_its_owner(self, file):
        """An operator who is root leaves the file to the service's user."""
        os.chown(file.path, 12345, 54321)
        file.replace(file.load())
        status = file.path.stat()
        assert (status.st_uid, status.st_gid) == (12345, 54321)

    def test_nothing_is_left_behind(self, file):
        """Beside the keyring there is only the lock."""
        Path(f"{file.path}.new").write_text("left by a crash")
        with file.lock():
            file.replace(file.load())
        assert {each.name for each in file.path.parent.iterdir()} == {
            "keyring.json",
            "keyring.json.lock",
        }

    def test_a_full_disk(self, tmp_path):
        """A keyring that can't be written leaves the old one."""
        with small_disk(tmp_path / "disk", 1) as disk:
            file = KeyringFile(disk / "keyring.json")
            file.create(Keyring.generate())
            text = file.path.read_bytes()
            leave_free(disk, 0)
            with pytest.raises(OSError, match="No space"):
                file.replace(file.load().adding(KeyKind.INDEX, NOW))
            assert file.path.read_bytes() == text
            assert not Path(f"{file.path}.new").exists()

    def test_killed_at_any_instant(self, file, request):
        """A process that is killed while it writes leaves a whole keyring, old or new."""
        for number in range(request.config.getoption("--crashes")):
            with subprocess.Popen(
                [sys.executable, "-c", CHANGE_FOR_EVER, file.path], stdout=subprocess.PIPE
            ) as process:
                process.stdout.readline()
                time.sleep(0.003 * (number % 7))
                process.kill()
            file.load()
        with file.lock():
            file.replace(file.load())


class TestLock:
    def test_one_at_a_time(self, file):
        """Who comes second is told so at once."""
        with file.lock(), pytest.raises(KeyringError, match="another `keys` command"), file.lock():
            pass
        with file.lock():
            pass

    def test_ends_with_the_process(self, file):
        """A lock whose holder was killed is none."""
        with subprocess.Popen(
            [sys.executable, "-c", HOLD_LOCK, file.path], stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            with pytest.raises(KeyringError), file.lock():
                pass
            process.kill()
        with file.lock():
            pass


class TestWatch:
    @pytest.fixture
    def used(self) -> list[Keyring]:
        """The keyrings that were taken, one after the other."""
        return []

    @pytest.fixture
    def watch(self, file: KeyringFile, used: list[Keyring]) -> KeyringWatch:
        """Watches the file."""
        return KeyringWatch(file, file.load(), used.append)

    def test_takes_a_change(self, file, watch, used):
        """A keyring that was changed is taken once."""
        watch.check()
        assert used == []
        file.replace(file.load().adding(KeyKind.INDEX, NOW))
        watch.check()
        watch.check()
        assert [len(keyring.keys(KeyKind.INDEX)) for keyring in used] == [2]

    @pytest.mark.parametrize("damage", ["absent", "half", "open", "older", "other"])
    def test_leaves_what_is_wrong(self, file, watch, used, damage, caplog):
        """What can't be used is told once, without a key; what mends it is taken."""
        older = file.path.read_bytes()
        good = file.load().adding(KeyKind.INDEX, NOW)
        file.replace(good)
        watch.check()
        text = file.path.read_bytes()
        match damage:
            case "absent":
                file.path.unlink()
            case "half":
                file.path.write_bytes(text[: len(text) // 2])
            case "open":
                file.path.chmod(0o644)
            case "older":
                file.path.write_bytes(older)
            case "other":
                file.replace(Keyring.generate())
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            watch.check()
            watch.check()
        assert len(used) == 1
        assert len(caplog.records) == 1
        for kind in KeyKind:
            for key in good.keys(kind):
                assert base64url_encode(key.secret) not in caplog.text
        file.path.touch(0o600)
        file.path.chmod(0o600)
        file.replace(good.promoting(KeyKind.INDEX, NOW))
        watch.check()
        assert used[-1].primary(KeyKind.INDEX).version == 2
