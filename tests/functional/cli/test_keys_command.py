"""The `keys` command, as an operator uses it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from support.clients.commands import WRITE_SECONDS, run_command
from support.servers.applications import wait_for
from support.servers.mariadb import MariaDB
from support.servers.services import Client, Service

from backends import Put
from backends.copying.transfer import read_partition
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import MOVE_ID_BYTES, Moving
from persona_profile.store.maintenance.key_use import write_seconds

EMAIL = "alice@example.com"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not yet started, on SQLite."""
    with closing(Service(tmp_path / "service")) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Client:
    """A person with a profile, at the running service."""
    service.start()
    client = Client(service, EMAIL)
    client.sign_in()
    assert client.set_name("Alice").status == 200
    return client


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes end soon, so that `destroy` waits three seconds instead of the bound of a database.

    `TestWriteInFlight.test_is_waited_for` waits for the whole bound.
    """
    monkeypatch.setenv(WRITE_SECONDS, "0")


def run(service: Service, *arguments: str, status: int = 0) -> str:
    """Run a `keys` command, which never shows a key; return its output."""
    result = service.run("keys", *arguments)
    assert result.returncode == status, result
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    if service.keyring.exists():
        document = json.loads(service.keyring.read_text())
        for key in document["encryption_keys"] + document["index_keys"]:
            assert (key.get("secret") or "-" * 43) not in output
    return output


class TestInit:
    def test_makes_a_keyring(self, service):
        """The first keyring is made, readable by its owner only."""
        service.keyring.unlink()
        output = run(service, "init")
        assert str(service.keyring) in output
        assert stat.S_IMODE(service.keyring.stat().st_mode) == 0o600
        assert KeyringFile(service.keyring).load()

    def test_leaves_one(self, service):
        """An existing keyring stays."""
        before = service.keyring.read_bytes()
        assert "was not changed" in run(service, "init", status=1)
        assert service.keyring.read_bytes() == before

    def test_no_folder(self, service):
        """The message names a missing folder."""
        ini = service.folder / "test.ini"
        ini.write_text(ini.read_text().replace("/keyring.json", "/absent/keyring.json"))
        assert "absent/keyring.json" in run(service, "init", status=1)

    def test_in_memory(self, service):
        """In development, in memory, there is no keyring file to manage."""
        ini = service.folder / "test.ini"
        text = re.sub("backend = .*\nbackend.url = .*\n", "backend = memory\n", ini.read_text())
        ini.write_text(re.sub("keyring.path = .*\n", "", text))
        for job in (["init"], ["rotate"], ["status"], ["rewrap"], ["destroy", "1"]):
            assert "keyring.path: none is set" in run(service, *job, status=2)


class TestStatus:
    def test_for_people(self, service, client):
        """The list has the keys, their fingerprints and the number of items that need each."""
        output = run(service, "status")
        assert re.search(r"encryption +1 +primary .* [0-9a-f]{16} +1\n", output)
        assert re.search(r"index +1 +primary .* [0-9a-f]{16} +1\n", output)
        assert "0 data keys are stale" in output
        assert EMAIL not in output

    def test_for_programs(self, service, client):
        """The same as one JSON object."""
        run(service, "rotate")
        document = json.loads(run(service, "status", "--json"))
        assert [
            (key["kind"], key["version"], key["state"], key["needed_by"]) for key in document["keys"]
        ] == [
            ("encryption", 1, "primary", 1),
            ("encryption", 2, "decrypt-only", 0),
            ("index", 1, "primary", 1),
        ]
        assert (document["stale"], document["wraps"], document["problems"]) == (0, {"1": 1}, [])

    def test_of_a_lost_keyring(self, service, client):
        """Items under missing keys are a problem: exit status 1."""
        run(service, "rotate")
        run(service, "rotate", "--promote")
        document = json.loads(service.keyring.read_text())
        document["encryption_keys"][0] |= {"state": "destroyed", "secret": None}
        service.keyring.write_text(json.dumps(document))
        output = run(service, "status", status=1)
        assert "PROBLEM: 1 data keys are under encryption key 1, which the keyring lacks." in output

    def test_without_a_keyring(self, service, client):
        """The message names a missing keyring."""
        service.keyring.unlink()
        assert "No such file" in run(service, "status", status=1)


class TestRotation:
    @pytest.mark.usefixtures("brief")
    @pytest.mark.parametrize("flag", [[], ["--index"]], ids=["encryption", "index"])
    def test_each_step_names_the_next(self, service, client, flag):
        """Each step names the next one, and the last destroys the old key."""
        output = run(service, "rotate", *flag)
        for _ in range(3):
            commands = re.findall(r"persona-profile -c \S+ keys (.*)", output)
            output = "".join(run(service, *command.split(), *_options(command)) for command in commands)
        status = json.loads(run(service, "status", "--json"))
        kind = "index" if flag else "encryption"
        states = {key["version"]: key["state"] for key in status["keys"] if key["kind"] == kind}
        assert states == {1: "destroyed", 2: "primary"}
        wait_for(lambda: f"{kind} key 2" in service.log)
        client.sign_in()
        assert client.call("GET", client.profile).json["name"] == "Alice"
        assert service.run("storage", "verify").returncode == 0

    def test_out_of_order(self, service, client):
        """Steps in another order are rejected, and the keyring stays."""
        before = service.keyring.read_bytes()
        for flag in ([], ["--index"]):
            assert "primary already" in run(service, "rotate", *flag, "--promote", status=1)
            assert "is primary" in run(service, "destroy", *flag, "1", status=1)
            assert "there is no" in run(service, "destroy", *flag, "7", status=1)
        assert "nothing to move" in run(service, "rewrap", "--index")
        assert service.keyring.read_bytes() == before
        run(service, "rotate", "--index")
        assert "--promote` first" in run(service, "rewrap", "--index", status=1)
        assert "waits to be promoted" in run(service, "rotate", "--index", status=1)

    @pytest.mark.usefixtures("brief")
    def test_destroying_what_is_needed(self, service, client):
        """A key that items, sessions or picture URLs still need is not destroyed."""
        run(service, "rotate")
        run(service, "rotate", "--promote")
        assert "work until" in run(service, "destroy", "1", status=1)
        assert "1 data keys are under it" in run(service, "destroy", "1", "--revoke", "--yes", status=1)
        run(service, "rewrap")
        run(service, "destroy", "1", "--revoke", "--yes")
        assert "destroyed already" in run(service, "destroy", "1", "--revoke", status=1)

    def test_archives_that_need_the_key(self, service, client, tmp_path):
        """Before a key is destroyed, the command names the archives that need it, and asks."""
        old, new = tmp_path / "old.archive", tmp_path / "new.archive"
        document = json.loads(service.keyring.read_text())
        document["encryption_keys"][0]["created_at"] = "2026-01-02T03:04:05Z"
        service.keyring.write_text(json.dumps(document))
        assert service.run("storage", "backup", str(old)).returncode == 0
        run(service, "rotate")
        run(service, "rotate", "--promote")
        run(service, "rewrap")
        assert service.run("storage", "backup", str(new)).returncode == 0
        before = service.keyring.read_bytes()
        destroy = ["destroy", "1", "--revoke", "--archives", str(old), str(new)]
        rejected = run(service, *destroy, status=1)
        assert "Archives since 2026-01-02 03:04 UTC may need encryption key 1; without" in rejected
        assert f"{old} NEEDS THIS KEY (encryption key 1 and index key 1)\n" in rejected
        assert f"{new} does not need this key (encryption key 2 and index key 1)\n" in rejected
        assert "--yes is required without a terminal" in rejected
        damaged = tmp_path / "damaged.archive"
        damaged.write_bytes(old.read_bytes()[:-1])
        output = run(service, *destroy, str(damaged), "--yes", status=1)
        assert f"{damaged}: the archive is damaged" in output
        assert "no.archive: No such file" in run(service, *destroy, "no.archive", "--yes", status=1)
        assert service.keyring.read_bytes() == before
        document = json.loads(before)
        document["encryption_keys"][0] |= {"state": "destroyed", "secret": None}
        service.keyring.write_text(json.dumps(document))
        empty = service.folder / "empty.ini"
        text = (service.folder / "test.ini").read_text()
        empty.write_text(text.replace(service.url, f"sqlite:///{tmp_path}/empty.sqlite"))
        for archive, status in ((old, 1), (new, 0)):
            assert run_command("-c", empty, "storage", "init").returncode == 0
            restored = run_command("-c", empty, "storage", "restore", archive, "--without-ledger")
            assert restored.returncode == status
            missing = "1 data keys are under encryption key 1, which the keyring lacks"
            assert (f"{missing}: nothing was written" in restored.stderr) == bool(status)
        forced = run_command(
            "-c",
            empty,
            "storage",
            "restore",
            old,
            "--without-keys",
            "--overwrite",
            "--json",
            "--without-ledger",
        )
        assert (forced.returncode, forced.stderr) == (0, f"persona-profile: {missing}\n")
        assert json.loads(forced.stdout)["keys"] == {"encryption": {"1": 1}, "index": {"1": 1}}
        verified = run_command("-c", empty, "storage", "verify")
        assert (verified.returncode, verified.stderr) == (1, f"persona-profile: {missing}\n")

    def test_destroying_at_a_terminal(self, service):
        """At a terminal the command asks, and destroys nothing without the whole word."""
        run(service, "rotate")
        run(service, "rotate", "--promote")
        before = service.keyring.read_bytes()
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "wb", buffering=0) as terminal:
            process = service.spawn("keys", "destroy", "1", "--revoke", stdin=theirs)
            os.close(theirs)
            terminal.write(b"y\n")
            output, errors = process.communicate(timeout=110)
        assert process.returncode == 1
        assert output.endswith("This destroys encryption key 1 for good. Type yes: ")
        assert "nothing was destroyed" in errors
        assert service.keyring.read_bytes() == before

    def test_data_key_that_does_not_open(self, service, client):
        """A damaged data key is counted by `rewrap`, and stays."""
        partition = KeyWrapper(KeyringFile(service.keyring).load()).partition(EMAIL)
        with closing(SqliteBackend.from_url(service.url)) as backend:
            backend.apply(partition, [Put("key", b"PPK\x01" + bytes(150))])
        run(service, "rotate")
        run(service, "rotate", "--promote")
        assert "1 data keys do not open: `storage verify` lists them" in run(
            service, "rewrap", status=1
        )

    @pytest.mark.usefixtures("brief")
    def test_destroying_a_key_without_a_date(self, service, client):
        """A keyring that was edited by hand may have no date of a retirement: `--revoke` is needed."""
        run(service, "rotate")
        run(service, "rotate", "--promote")
        run(service, "rewrap")
        document = json.loads(service.keyring.read_text())
        for key in document["encryption_keys"]:
            key.pop("retired_at", None)
        service.keyring.write_text(json.dumps(document))
        assert "no date of its retirement" in run(service, "destroy", "1", status=1)
        run(service, "destroy", "1", "--revoke", "--yes")

    def test_destroying_an_index_key_with_marks(self, service, client):
        """A mark of a sign-out keeps its index key: without the mark, tokens would be valid again."""
        assert client.call("DELETE", "/v1/sessions").status == 204
        run(service, "rotate", "--index")
        run(service, "rotate", "--index", "--promote")
        run(service, "rewrap", "--index")
        output = run(service, "destroy", "--index", "1", "--yes", status=1)
        assert "1 marks of sign-outs are under it, and expire" in output

    @pytest.mark.usefixtures("brief")
    def test_destroying_an_index_key_while_a_copy_is_left(self, service, client, tmp_path):
        """While the copy of a killed run is left, its key stays; `rewrap` removes the copy."""
        run(service, "rotate", "--index")
        run(service, "rotate", "--index", "--promote")
        run(service, "rewrap", "--index")
        older, newer = KeyWrapper(KeyringFile(service.keyring).load()).partitions("gone@example.com")
        copy = Moving(bytes(MOVE_ID_BYTES), older, b"key", b"profile")
        with closing(SqliteBackend.from_url(service.url)) as backend:
            backend.apply(newer, [Put("key", copy.to_bytes())])
        assert json.loads(run(service, "status", "--json"))["moving"] == 1
        assert ", 1 moves have not ended." in run(service, "status")
        assert re.search(
            r"moves that have not ended +1$", service.run("storage", "verify").stdout, re.MULTILINE
        )
        output = run(service, "destroy", "--index", "1", "--yes", status=1)
        assert "1 moves to another index key have not ended" in output
        assert "removed 1 copies" in run(service, "rewrap", "--index")
        run(service, "destroy", "--index", "1", "--yes")

    def test_profiles_under_both_index_keys(self, service, client):
        """Two profiles of an email stay and are reported; an erasure removes both."""
        run(service, "rotate", "--index")
        run(service, "rotate", "--index", "--promote")
        older, _ = KeyWrapper(KeyringFile(service.keyring).load()).partitions(EMAIL)
        with closing(SqliteBackend.from_url(service.url)) as backend:
            before = read_partition(backend, older)
            run(service, "rewrap", "--index")
            backend.apply(older, [Put(name, item.value) for name, item in before.items()])
        output = run(service, "rewrap", "--index", status=1)
        assert "1 emails have a profile under both index keys" in output
        verified = service.run("storage", "verify")
        assert (verified.returncode, verified.stdout.count("two_homes")) == (1, 3)
        assert client.call("DELETE", client.profile).status == 204
        assert client.call("GET", client.profile).json["name"] is None
        run(service, "rewrap", "--index")
        assert service.run("storage", "verify").returncode == 0

    def test_taking_back(self, service, client):
        """A new key can be destroyed before its promotion."""
        for flag in ([], ["--index"]):
            run(service, "rotate", *flag)
            run(service, "destroy", *flag, "2")
        assert client.call("GET", client.profile).status == 200


class HeldUp:
    """A service on MariaDB, and a person's first write, which waits for a row lock of the test."""

    def __init__(self, folder: Path, mariadb: MariaDB) -> None:
        self._mariadb = mariadb
        # Whoever waits for a lock is not given up while the test goes on.
        self.service = Service(folder / "service", "mysql", f"{mariadb.url}?read_timeout=300")
        # The bound of a command comes from its own time limits.
        self.operator = Service(
            folder / "operator", "mysql", f"{mariadb.url}?read_timeout=1&connect_timeout=1"
        )
        self.operator.keyring.unlink()
        self.operator.keyring.symlink_to(self.service.keyring)
        self.service.start()
        self.client = Client(self.service, EMAIL)
        self.client.sign_in()
        partition = KeyWrapper(KeyringFile(self.service.keyring).load()).partition(EMAIL)
        self._lock = mariadb.connect("persona")
        with self._lock.cursor() as cursor:
            cursor.execute("BEGIN")
            row = "(`partition`, name, version, value) VALUES (%s, 'key', 1, '')"
            cursor.execute(f"INSERT INTO items {row}", [partition])
        self._pool = ThreadPoolExecutor(1)
        self.answer = self._pool.submit(self.client.set_name, "Alice")
        wait_for(self._waits)

    def release(self) -> None:
        """Release the lock."""
        self._lock.rollback()

    def close(self) -> None:
        """Stop all processes and release connections."""
        self._lock.close()
        self._pool.shutdown()
        self.service.close()

    def _waits(self) -> bool:
        [[count]] = self._mariadb.query("SELECT COUNT(*) FROM information_schema.innodb_lock_waits")
        return count > 0


@pytest.fixture
def held_up(tmp_path: Path, mariadb: MariaDB) -> Iterator[HeldUp]:
    """A write that waits while its key is replaced."""
    mariadb.create_database()
    held_up = HeldUp(tmp_path, mariadb)
    try:
        for job in (["rotate"], ["rotate", "--promote"], ["rewrap"]):
            run(held_up.operator, *job)
        yield held_up
    finally:
        held_up.close()


class TestWriteInFlight:
    def test_is_waited_for(self, held_up):
        """The command waits before it destroys a key, and a write that ends meanwhile stays."""
        with held_up.operator.spawn("keys", "destroy", "1", "--revoke", "--yes") as command:
            line = command.stderr.readline()
            with closing(MysqlBackend.from_url(held_up.operator.url)) as backend:
                bound = write_seconds(backend)
            assert line.startswith(f"persona-profile: waiting {bound} s for writes that may ")
            assert json.loads(held_up.service.keyring.read_text())["encryption_keys"][0]["secret"]
            held_up.release()
            assert held_up.answer.result().status == 200
            assert command.wait() == 0
            command.communicate()
        self.expect_readable(held_up)

    @pytest.mark.usefixtures("brief")
    def test_that_takes_longer(self, held_up):
        """A write that is stored after its key was destroyed is repeated under the next key."""
        run(held_up.operator, "destroy", "1", "--revoke", "--yes")
        held_up.release()
        assert held_up.answer.result().status == 200
        self.expect_readable(held_up)

    @staticmethod
    def expect_readable(held_up: HeldUp) -> None:
        """Fail unless the remaining keys open the profile, and there is nothing else."""
        client = Client(held_up.service, EMAIL)
        client.sign_in()
        assert client.call("GET", client.profile).json["name"] == "Alice"
        document = json.loads(run(held_up.operator, "status", "--json"))
        assert (document["wraps"], document["problems"]) == ({"2": 1}, [])
        assert held_up.service.run("storage", "verify").returncode == 0


class TestNames:
    @pytest.mark.usefixtures("brief")
    def test_symbolic_link(self, service, client):
        """A key that is destroyed through a symbolic link is in no file any more."""
        real = service.folder / "secrets" / "keyring.json"
        real.parent.mkdir()
        service.keyring.rename(real)
        service.keyring.symlink_to("secrets/keyring.json")
        secret = json.loads(real.read_text())["encryption_keys"][0]["secret"].encode()
        for job in (
            ["rotate"],
            ["rotate", "--promote"],
            ["rewrap"],
            ["destroy", "1", "--revoke", "--yes"],
        ):
            run(service, *job)
        files = [path for path in service.folder.rglob("*") if path.is_file()]
        assert real in files
        assert [path for path in files if secret in path.read_bytes()] == []
        assert service.keyring.is_symlink()

    def test_hard_link(self, service, client):
        """With a hard link, which would keep the key, the keyring is not changed."""
        (service.folder / "copy.json").hardlink_to(service.keyring)
        before = service.keyring.read_bytes()
        assert "other names (hard links)" in run(service, "rotate", status=1)
        assert service.keyring.read_bytes() == before


class TestReload:
    @pytest.mark.parametrize("signals", [True, False])
    def test_without_a_restart(self, service, client, signals):
        """A running service reloads a changed keyring, by itself or at SIGHUP, and goes on."""
        run(service, "rotate")
        run(service, "rotate", "--promote")
        if signals:
            service.signal(signal.SIGHUP)
        wait_for(lambda: "keyring: reloaded" in service.log)
        assert client.call("GET", client.profile).status == 200
        wait_for(lambda: self.makes_keys_of_version_2(service))

    @staticmethod
    def makes_keys_of_version_2(service: Service) -> bool:
        """Return whether new items are under the new key."""
        client = Client(service, f"new{len(service.clients)}@example.com")
        client.sign_in()
        assert client.set_name("New").status == 200
        return "2" in json.loads(run(service, "status", "--json"))["wraps"]

    def test_of_a_broken_file(self, service, client):
        """An invalid file is logged, and changes nothing else."""
        good = service.keyring.read_bytes()
        service.keyring.write_bytes(good[:-20])
        wait_for(lambda: "keyring: not reloaded" in service.log)
        assert client.set_name("Still here").status == 200
        service.keyring.write_bytes(good)

    def test_hangups_end_nothing(self, service, client):
        """SIGHUP by itself, however often, changes nothing."""
        for _ in range(5):
            service.signal(signal.SIGHUP)
            assert client.call("GET", client.profile).status == 200


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["destroy"],
            ["destroy", "one"],
            ["rewrap", "--rate", "0"],
            ["rewrap", "--rate", "fast"],
            ["rewrap", "--rate", "nan"],
            ["rotate", "--what"],
        ],
    )
    def test_wrong(self, service, arguments):
        """Wrong usage is reported, with status 2."""
        assert "usage:" in run(service, *arguments, status=2)


def _options(command: str) -> list[str]:
    if not command.startswith("destroy "):
        return []
    return ["--yes"] if "--index" in command else ["--yes", "--revoke"]
