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
from support.servers.disks import leave_free, small_disk

from persona_profile.encoding import base64url_encode
from persona_profile.keys.keyring import KeyKind, Keyring, KeyringError
from persona_profile.keys.keyring_file import MAX_FILE_BYTES, KeyringFile, KeyringWatch

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# Changes the keyring of its argument for ever; prints a line for each change.
CHANGE_FOR_EVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from persona_profile.keys.keyring import KeyKind
from persona_profile.keys.keyring_file import KeyringFile

file = KeyringFile(Path(sys.argv[1]))
while True:
    with file.lock():
        keyring, now = file.load(), datetime.now(UTC)
        kind = KeyKind.INDEX
        if keyring.pending(kind):
            keyring = keyring.promoting(kind, now)
        elif len(keyring.live(kind)) == 2:
            # The same version again, as there are only 255.
            keyring = type(keyring)(keyring.keys(KeyKind.ENCRYPTION), keyring.live(kind)[1:])
        else:
            keyring = keyring.adding(kind, now)
        if keyring.primary(kind).version > 200:
            keyring = keyring.generate()
        file.replace(keyring)
    print(flush=True)
"""

# Makes keyrings in the folder of its argument for ever; prints a line for each.
CREATE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile

keyring = Keyring.generate()
for number in itertools.count():
    KeyringFile(Path(sys.argv[1]) / f"{number}.json").create(keyring)
    print(flush=True)
"""

HOLD_LOCK = """
import sys, time
from pathlib import Path
from persona_profile.keys.keyring_file import KeyringFile

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
        """A file that others can read is rejected; the message says what to do."""
        path = self.write(tmp_path, self.document(), mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with pytest.raises(KeyringError, match="chmod 600"):
            load(path)

    def test_open_to_its_group(self, tmp_path):
        """A mounted secret of mode 0440 is accepted only if that is configured."""
        path = self.write(tmp_path, self.document(), 0o440)
        with pytest.raises(KeyringError, match="chmod 600"):
            load(path)
        configured = KeyringFile(path, group_readable=True)
        assert configured.load().primary(KeyKind.ENCRYPTION).version == 1
        with configured.lock() as locked:
            assert locked.holds(configured.load())

    @pytest.mark.parametrize("mode", [0o444, 0o441, 0o460, 0o450])
    def test_open_to_more_than_its_group(self, tmp_path, mode):
        """A group that can write, or others that can read, are never accepted."""
        path = self.write(tmp_path, self.document(), mode)
        with pytest.raises(KeyringError, match="chmod 600"):
            KeyringFile(path, group_readable=True).load()

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
                {"encryption_keys": [{"version": 1, "state": "primary", "secret": "+/=" * 15}]},
                "base64url of 32",
            ),
            (
                {"encryption_keys": [{"version": 1, "state": "destroyed", "secret": "c2hvcnQ"}]},
                "destroyed key has no secret",
            ),
        ],
    )
    def test_wrong(self, tmp_path, changes, message):
        """The message names the mistake in a file without its secrets."""
        path = self.write(tmp_path, self.document(**changes))
        with pytest.raises(KeyringError, match=message) as caught:
            load(path)
        assert "c2hvcnQ" not in str(caught.value)

    def test_too_large(self, tmp_path):
        """A file larger than any keyring is rejected, and not parsed."""
        path = tmp_path / "keyring.json"
        path.write_bytes(b" " * (MAX_FILE_BYTES + 1))
        path.chmod(0o600)
        with pytest.raises(KeyringError, match="too large"):
            load(path)

    def test_version_twice(self, tmp_path):
        """Two keys of one version are rejected."""
        document = self.document()
        document["encryption_keys"] *= 2
        with pytest.raises(KeyringError, match="twice"):
            load(self.write(tmp_path, document))

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1', "\x00"])
    def test_not_json(self, tmp_path, text):
        """A truncated file, or another file, is rejected."""
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
        """Only the owner can read a created or replaced keyring, with any umask."""
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
        """Keys, states and notes come back, also notes of operators."""
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
        """An operator as root keeps the service's user as the owner of the file."""
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

    def test_killed_while_it_is_made(self, tmp_path, request):
        """A process that is killed while it makes keyrings leaves whole ones and nothing else."""
        for number in range(request.config.getoption("--crashes")):
            folder = tmp_path / str(number)
            folder.mkdir()
            with subprocess.Popen(
                [sys.executable, "-c", CREATE_FOR_EVER, folder], stdout=subprocess.PIPE
            ) as process:
                for _ in range(1 + number % 7):
                    process.stdout.readline()
                process.kill()
            for path in folder.iterdir():
                assert path.suffix == ".json"
                assert load(path)
                assert path.stat().st_nlink == 1

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


def destroy(file: KeyringFile) -> bytes:
    """Destroy the first index key by an operator's steps; return the text of its secret."""
    secret = base64url_encode(file.load().primary(KeyKind.INDEX).secret).encode()
    with file.lock() as locked:
        kind = KeyKind.INDEX
        keyring = locked.load().adding(kind, NOW).promoting(kind, NOW)
        locked.replace(keyring.destroying(kind, 1, NOW))
    return secret


def files_with(folder: Path, text: bytes) -> list[Path]:
    """Return the files below a folder that have a text in them."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


class TestNames:
    @pytest.mark.parametrize("kind", ["absolute", "relative", "chain", "folder"])
    def test_symbolic_link(self, tmp_path, kind):
        """A key that is destroyed through a symbolic link is in no file any more; the link stays."""
        real = tmp_path / "real" / "keyring.json"
        real.parent.mkdir()
        KeyringFile(real).create(Keyring.generate(NOW))
        link = tmp_path / "links" / "keyring.json"
        match kind:
            case "absolute":
                link.parent.mkdir()
                link.symlink_to(real)
            case "relative":
                link.parent.mkdir()
                link.symlink_to("../real/keyring.json")
            case "chain":
                link.parent.mkdir()
                (tmp_path / "links" / "other").symlink_to(real)
                link.symlink_to("other")
            case "folder":
                link.parent.symlink_to("real")
        assert files_with(tmp_path, base64url_encode(load(real).primary(KeyKind.INDEX).secret).encode())
        secret = destroy(KeyringFile(link))
        assert files_with(tmp_path, secret) == []
        assert os.path.realpath(link) == str(real)
        assert not real.is_symlink()
        assert load(link).primary(KeyKind.INDEX).version == 2

    def test_link_that_is_changed_meanwhile(self, tmp_path):
        """A link that leads elsewhere while a command is at work makes it change no other keyring."""
        one, other = (KeyringFile(tmp_path / f"{name}.json") for name in ("one", "other"))
        for each in (one, other):
            each.create(Keyring.generate(NOW))
        text = other.path.read_bytes()
        link = tmp_path / "keyring.json"
        link.symlink_to(one.path)
        with KeyringFile(link).lock() as locked:
            keyring = locked.load()
            link.unlink()
            link.symlink_to(other.path)
            locked.replace(keyring.adding(KeyKind.INDEX, NOW))
        assert other.path.read_bytes() == text
        assert len(one.load().keys(KeyKind.INDEX)) == 2

    def test_one_lock_for_all_names(self, file, tmp_path):
        """Who names the keyring by a symbolic link locks the same one."""
        link = tmp_path / "link"
        link.symlink_to(file.path)
        message = "another `keys` command"
        with file.lock(), pytest.raises(KeyringError, match=message), KeyringFile(link).lock():
            pass

    def test_link_to_nothing_yet(self, tmp_path):
        """A keyring is made where a symbolic link leads, and is not replaced by another."""
        link = tmp_path / "keyring.json"
        link.symlink_to(tmp_path / "real.json")
        KeyringFile(link).create(Keyring.generate())
        assert link.is_symlink()
        assert load(tmp_path / "real.json")
        with pytest.raises(FileExistsError):
            KeyringFile(link).create(Keyring.generate())

    def test_hard_link(self, file, tmp_path):
        """A keyring with a second name is left as it is, as that name would keep the old keys."""
        other = tmp_path / "other.json"
        other.hardlink_to(file.path)
        text = file.path.read_bytes()
        with pytest.raises(KeyringError, match=r"other names \(hard links\)"):
            destroy(file)
        assert file.path.read_bytes() == text
        other.unlink()
        assert files_with(tmp_path, destroy(file)) == []

    def test_left_by_a_crash(self, file, tmp_path):
        """The destruction of a key removes what a crash has left of an earlier change."""
        Path(f"{file.path}.new").write_bytes(file.path.read_bytes())
        assert files_with(tmp_path, destroy(file)) == []


class TestLock:
    def test_one_at_a_time(self, file):
        """The second operator gets an error at once."""
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
        """A changed keyring is used once."""
        watch.check()
        assert used == []
        file.replace(file.load().adding(KeyKind.INDEX, NOW))
        watch.check()
        watch.check()
        assert [len(keyring.keys(KeyKind.INDEX)) for keyring in used] == [2]

    @pytest.mark.parametrize("damage", ["absent", "half", "open", "older", "other"])
    def test_leaves_what_is_wrong(self, file, watch, used, damage, caplog):
        """An invalid keyring is logged once, without a key; a repaired keyring is reloaded."""
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
