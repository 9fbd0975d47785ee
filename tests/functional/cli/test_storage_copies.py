"""`persona-profile storage copy`, `backup` and `restore`, as an operator runs them."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import webtest
from support.clients.commands import run_command
from support.clients.identities import AUDIENCE
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application

from backends import Address, Backend, Put
from backends.copying.transfer import read_partition, walk
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend

# Whatever started the tests may have Ctrl-C ignored.
PROGRAM = """
import signal, sys
from persona_profile.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
COMMAND = [sys.executable, "-c", PROGRAM]
INI = """
[app:main]
use = egg:persona-profile-server
keyring.path = %(here)s/keyring.json
public_origins = http://127.0.0.1:6543
{settings}
"""
EMAIL = "alice.secret@example.com"
NAME = "Alice Hidden"
NAMES = ("key", "profile", "picture/1/64.jpeg", "picture/1/512.jpeg")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    return run_command(*arguments, **environment)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a job."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def everything(backend: Backend) -> dict[bytes, dict[str, bytes]]:
    """Return all items of a store, without their versions."""
    return {
        partition: {name: item.value for name, item in read_partition(backend, partition).items()}
        for partition in walk(backend)
    }


class Stores:
    """SQLite files with a settings file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Backend] = []

    def url(self, name: str) -> str:
        return f"sqlite:///{self.folder}/{name}.sqlite"

    def ini(self, name: str, settings: str = "") -> Path:
        path = self.folder / f"{name}.ini"
        path.write_text(
            INI.format(settings=settings or f"backend = sqlite\nbackend.url = {self.url(name)}")
        )
        return path

    def open(self, name: str) -> SqliteBackend:
        backend = SqliteBackend.from_url(self.url(name))
        backend.initialize()
        self.opened.append(backend)
        return backend


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Stores in the current folder."""
    monkeypatch.chdir(tmp_path)
    stores = Stores(tmp_path)
    yield stores
    for backend in stores.opened:
        backend.close()


def fill(backend: Backend, partitions: int) -> None:
    """Write some items into each of many partitions."""
    randomness = random.Random(3)
    for _ in range(partitions):
        partition = b"\x01" + randomness.randbytes(32)
        backend.apply(partition, [Put(name, randomness.randbytes(300)) for name in NAMES])


@pytest.fixture(scope="module")
def full_store(tmp_path_factory):
    """The URL of a store of some thousand items."""
    url = f"sqlite:///{tmp_path_factory.mktemp('full')}/full.sqlite"
    backend = SqliteBackend.from_url(url)
    backend.initialize()
    fill(backend, 1000)
    yield url
    backend.close()


class TestCopy:
    def test_between_files(self, stores):
        """A copy between settings files and URLs prints its result; a second run finds nothing."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 20)
        result = run("storage", "copy", stores.ini("a"), stores.url("b"))
        assert (result.returncode, result.stderr) == (0, "")
        assert re.match(r"Wrote 20 partitions \([\d.]+ kB\) in 2 passes", result.stdout)
        assert "The stores are equal: 20 partitions." in result.stdout
        said = re.search(r"A pass took ([\d.]+) s\. .* for about ([\d.]+) s\.\n$", result.stdout)
        assert said
        assert float(said[2]) == pytest.approx(2 * float(said[1]), abs=0.11)
        assert everything(destination) == everything(source)
        again = run("storage", "copy", stores.url("a"), stores.ini("b"), "--json")
        document = json.loads(again.stdout)
        assert document.pop("seconds") >= document.pop("last_pass_seconds") > 0
        assert document == {
            "equal": True,
            "passes": 1,
            "partitions": 20,
            "differing": 0,
            "written": 0,
            "bytes": 0,
        }
        assert (stores.folder / "storage-copy.state").is_file()

    def test_environment_names_neither(self, stores):
        """Environment variables of the service's store don't make source and destination the same."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 3)
        other = {"PERSONA_BACKEND": "sqlite", "PERSONA_BACKEND_URL": stores.url("c")}
        result = run("storage", "copy", stores.ini("a"), stores.ini("b"), **other)
        assert result.returncode == 0
        assert everything(destination) == everything(source)

    def test_to_mariadb_and_back(self, stores, mariadb):
        """A copy goes to a database and back, and its password is in no output."""
        mariadb.create_database()
        source, back = stores.open("a"), stores.open("b")
        fill(source, 20)
        unprepared = run("storage", "copy", stores.url("a"), mariadb.url)
        assert unprepared.returncode == 1
        assert "DEST: the database has no tables yet: run `persona-profile storage init`" in (
            unprepared.stderr
        )
        database = MysqlBackend.from_url(mariadb.url)
        database.initialize()
        there = run("storage", "copy", stores.url("a"), mariadb.url)
        assert everything(database) == everything(source)
        returned = run("storage", "copy", mariadb.url, stores.url("b"), "--state", "back.state")
        assert everything(back) == everything(source)
        database.close()
        wrong = mariadb.url.replace("secret", "wr0ng-secret")
        rejected = run("storage", "copy", wrong, stores.url("b"))
        assert (there.returncode, returned.returncode, rejected.returncode) == (0, 0, 1)
        assert "persona-profile: SOURCE: the database can't be used" in rejected.stderr
        for result in (unprepared, there, returned, rejected):
            assert "secret" not in result.stdout + result.stderr

    def test_stopped_by_hand(self, stores, full_store):
        """Ctrl-C ends a copy with status 130 and one line; started again it goes on."""
        destination = stores.open("b")
        process = start("storage", "copy", full_store, stores.url("b"), "--rate", 1)
        while not destination.scan(None, 1):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert not output
        assert said == "persona-profile: stopped; start it again to go on\n"
        assert 0 < len(everything(destination)) < 1000
        result = run("storage", "copy", full_store, stores.url("b"), "--json")
        assert json.loads(result.stdout)["written"] < 1000
        assert len(everything(destination)) == 1000

    def test_while_the_source_is_in_use(self, stores):
        """While the source is in use, the status is 1 and no partition is half; then all is equal."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 300)
        partitions = list(walk(source))
        for partition in partitions:
            source.apply(partition, [Put(name, b"0") for name in NAMES])
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.wait(0.005):
                number += 1
                partition = partitions[number * 7 % len(partitions)]
                source.apply(partition, [Put(name, b"%d" % number) for name in NAMES])

        writer = threading.Thread(target=write)
        writer.start()
        arguments = ("storage", "copy", stores.url("a"), stores.url("b"), "--passes", 2)
        process = start(*arguments)
        try:
            while process.poll() is None:
                page = random.sample(partitions, 20)
                for partition in page:
                    found = destination.get_many([Address(partition, name) for name in NAMES])
                    assert len(found) in (0, 4)
                    assert len({item.value for item in found.values()}) <= 1
        finally:
            stop.set()
            writer.join()
            output, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "the source is being written to" in output
        assert run(*arguments).returncode == 0
        assert everything(destination) == everything(source)

    def test_destination_that_is_not_empty(self, stores):
        """A destination with other items is rejected, except with --overwrite."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 3)
        destination.apply(b"\x01other", [Put("key", b"k")])
        arguments = ("storage", "copy", stores.url("a"), stores.url("b"))
        rejected = run(*arguments)
        assert rejected.returncode == 1
        assert rejected.stderr == "persona-profile: the destination is not empty; nothing was written\n"
        assert len(everything(destination)) == 1
        assert run(*arguments, "--overwrite").returncode == 0
        assert everything(destination) == everything(source)
        assert run(*arguments, "--restart").returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent.ini", "sqlite:///b.sqlite"], "SOURCE: there is no such settings file"),
            (["sqlite:///a.sqlite", "b.sqlite"], "DEST: must be a settings file (.ini) or a URL"),
            (["sqlite:///a.sqlite", "mongo://u:p4ss@h/d"], "DEST: the scheme of a URL must be one of"),
            (["mysql://u:p4ss@/d", "sqlite:///b.sqlite"], "SOURCE: must be mysql://"),
            (["memory.ini", "sqlite:///b.sqlite"], "SOURCE: backend: a store in memory"),
            (["sqlite:///a.sqlite"], "usage:"),
            (["a.ini", "b.ini", "--passes", "1"], "--passes: must be a whole number from 2 to"),
        ],
    )
    def test_wrong_usage(self, stores, arguments, message):
        """Wrong usage has status 2 and a message without passwords or a traceback."""
        stores.ini("memory", "backend = memory")
        result = run("storage", "copy", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "p4ss" not in result.stderr
        assert "Traceback" not in result.stderr

    def test_state_of_something_else(self, stores):
        """A file that is no state file is rejected, and stays as it is."""
        stores.open("a")
        stores.open("b")
        other = stores.folder / "notes"
        other.write_text("notes")
        result = run("storage", "copy", stores.url("a"), stores.url("b"), "--state", other)
        assert result.returncode == 1
        assert "the state file is not the state of a copy" in result.stderr
        assert other.read_text() == "notes"


class TestBackup:
    def test_there_and_back(self, stores):
        """A backup is restored into an empty store, and both print their results."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 20)
        made = run("-c", stores.ini("a"), "storage", "backup", "today.archive")
        assert (made.returncode, made.stderr) == (0, "")
        assert re.match(r"Wrote 20 partitions, 80 items, [\d.]+ kB into", made.stdout)
        checked = run("storage", "restore", "today.archive", "--check", "--json")
        assert json.loads(checked.stdout)["items"] == 80
        made = run("-c", stores.ini("a"), "storage", "backup", "second.archive", "--json")
        document = json.loads(made.stdout)
        assert (document["partitions"], document["items"]) == (20, 80)
        assert document["file_bytes"] == (stores.folder / "second.archive").stat().st_size
        restored = run("-c", stores.ini("b"), "storage", "restore", "today.archive", "--without-ledger")
        assert (restored.returncode, restored.stderr) == (0, "")
        assert "The archive is whole: 20 partitions, 80 items" in restored.stdout
        assert "by persona-profile-server" in restored.stdout
        assert "Wrote 20 partitions" in restored.stdout
        assert everything(destination) == everything(source)
        again = run("-c", stores.ini("b"), "storage", "restore", "today.archive", "--without-ledger")
        assert again.returncode == 1
        assert "the store is not empty; nothing was written" in again.stderr
        forced = run(
            "-c",
            stores.ini("b"),
            "storage",
            "restore",
            "today.archive",
            "--without-ledger",
            "--overwrite",
            "--json",
        )
        document = json.loads(forced.stdout)
        assert (document["written"], document["bytes"]) == (0, 24000)

    def test_through_pipes(self, stores):
        """A backup into a pipe is restored at its other end; both report elsewhere or there."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 20)
        config = stores.ini("a"), stores.ini("b")
        with (
            subprocess.Popen(
                [*COMMAND, "-c", config[0], "storage", "backup", "-", "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as made,
            subprocess.Popen(
                [*COMMAND, "-c", config[1], "storage", "restore", "-", "--without-ledger"],
                stdin=made.stdout,
                stdout=subprocess.PIPE,
                text=True,
            ) as restored,
        ):
            output, _ = restored.communicate(timeout=60)
            assert made.stderr
            report = json.loads(made.stderr.read())
        assert (made.returncode, restored.returncode) == (0, 0)
        assert (report["items"], report["keys"]) == (80, {"encryption": {}, "index": {}})
        assert "The archive is whole: 20 partitions" in output
        assert everything(destination) == everything(source)
        assert report["file_bytes"] > 24000

    def test_onto_a_fifo(self, stores):
        """A backup onto a FIFO leaves the FIFO, and reports a reader that leaves."""
        fill(stores.open("a"), 100)
        config, fifo = stores.ini("a"), stores.folder / "fifo"
        os.mkfifo(fifo)
        process = start("-c", config, "storage", "backup", fifo)
        data = fifo.read_bytes()
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
        (stores.folder / "archive").write_bytes(data)
        checked = run("storage", "restore", "archive", "--check")
        assert "The archive is whole: 100 partitions" in checked.stdout
        process = start("-c", config, "storage", "backup", fifo)
        with fifo.open("rb") as file:
            file.read(1)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (1, f"persona-profile: {fifo}: Broken pipe\n")
        assert fifo.is_fifo()

    def test_onto_a_device(self, stores):
        """A backup onto a device that is full is reported with the name of the device."""
        fill(stores.open("a"), 100)
        for name, status in (("/dev/null", 0), ("/dev/full", 1)):
            done = run("-c", stores.ini("a"), "storage", "backup", name)
            assert done.returncode == status
            assert ("/dev/full: No space left" in done.stderr) == bool(status)
            assert Path(name).is_char_device()

    def test_onto_a_terminal(self, stores):
        """An archive is not written to a terminal."""
        stores.open("a")
        ours, theirs = pty.openpty()
        command = [*COMMAND, "-c", stores.ini("a"), "storage", "backup", "-"]
        done = subprocess.run(
            command, stdout=theirs, stderr=subprocess.PIPE, check=False, text=True, timeout=60
        )
        for each in (ours, theirs):
            os.close(each)
        assert (done.returncode, "can't be written to a terminal" in done.stderr) == (2, True)

    def test_damaged(self, stores):
        """A damaged archive is reported with the place of the damage, and nothing of it is restored."""
        source, destination = stores.open("a"), stores.open("b")
        fill(source, 20)
        run("-c", stores.ini("a"), "storage", "backup", "archive")
        path = stores.folder / "archive"
        data = bytearray(path.read_bytes())
        data[-500] ^= 1
        path.write_bytes(data)
        for more in ([], ["--check"]):
            result = run(
                "-c", stores.ini("b"), "storage", "restore", "archive", "--without-ledger", *more
            )
            assert result.returncode == 1
            assert "the archive is damaged in the record at byte" in result.stderr
        assert not everything(destination)

    def test_stopped_by_hand(self, stores, full_store):
        """Ctrl-C ends a backup with status 130 and leaves no file at all."""
        ini = stores.ini("full", f"backend = sqlite\nbackend.url = {full_store}")
        process = start("-c", ini, "storage", "backup", "archive", "--rate", 1)
        while not any(path.stat().st_size for path in stores.folder.glob(".archive.*.partial")):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert said == "persona-profile: stopped; there is no archive; start it again\n"
        assert not list(stores.folder.glob("*archive*"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["backup", "absent/archive"], "must be a file in a folder that exists"),
            (["backup", "."], "must be a file in a folder that exists"),
            (["restore", "absent"], "absent: there is no such file"),
            (["restore", "."], ".: this is a folder"),
            (["restore", "a.ini", "--check", "--overwrite"], "not allowed with"),
            (["-c", "memory.ini", "backup", "x"], "a store in memory belongs to the server"),
        ],
    )
    def test_wrong_usage(self, stores, arguments, message):
        """Wrong usage has status 2 and a hint."""
        stores.ini("memory", "backend = memory")
        config = ["-c", stores.ini("a")]
        if arguments[0] == "-c":
            config, arguments = arguments[:2], arguments[2:]
        result = run(*config, "storage", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr


BACKUP_MODULES = """
import sys
from persona_profile.cli import main
assert main(sys.argv[1:]) == 0
print({"pyramid", "cornice", "webob"} & sys.modules.keys())
"""


def test_backup_loads_no_view(stores):
    """A backup does not load the views."""
    stores.open("a")
    arguments = ["-c", str(stores.ini("a")), "storage", "backup", "today.archive"]
    done = subprocess.run(
        [sys.executable, "-c", BACKUP_MODULES, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


def open_app(folder: Path, url: str) -> tuple[webtest.TestApp, dict[str, str]]:
    """Start the service on a store; return it with the headers of a session."""
    app = webtest.TestApp(
        application(folder, backend="sqlite", backend__url=url),
        extra_environ={"HTTP_HOST": "127.0.0.1:6543"},
    )
    proof = {"assertion": app.app.development.identity_provider.bundle(EMAIL, AUDIENCE)}
    token = app.post_json("/v1/sessions", {"proofs": [proof]}, status=201).json["token"]
    return app, {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("way", ["copy", "archive"])
def test_service_on_the_copy(stores, way):
    """A service with the same keyring serves the same profiles and pictures from the copy."""
    source, destination = stores.url("a"), stores.url("b")
    app, headers = open_app(stores.folder, source)
    app.patch_json(f"/v1/profiles/{EMAIL}", {"name": NAME}, headers=headers)
    photo = headers | {"Content-Type": "image/jpeg"}
    app.put(f"/v1/profiles/{EMAIL}/picture", encode(quadrants()), headers=photo)
    profile = app.get(f"/v1/profiles/{EMAIL}", headers=headers).json
    paths = [url.removeprefix(AUDIENCE) for url in profile["picture"]["urls"].values()]
    pictures = [app.get(path).body for path in paths]
    app.app.close()
    stores.open("b")
    if way == "copy":
        results = [run("storage", "copy", source, destination)]
    else:
        results = [
            run("-c", stores.ini("a"), "storage", "backup", "archive"),
            run("-c", stores.ini("b"), "storage", "restore", "archive", "--without-ledger"),
        ]
        stored = (stores.folder / "archive").read_bytes()
        assert EMAIL.encode() not in stored
        assert NAME.encode() not in stored
    for result in results:
        assert result.returncode == 0
        assert EMAIL not in result.stdout + result.stderr
        assert NAME not in result.stdout + result.stderr
    app, again = open_app(stores.folder, destination)
    for session in (headers, again):
        served = app.get(f"/v1/profiles/{EMAIL}", headers=session).json
        # Entity tags come from versions, and each store has its own.
        assert served | {"etag": profile["etag"]} == profile
    assert [app.get(path).body for path in paths] == pictures
    app.app.close()


def test_copy_over_a_service_that_has_moved(stores):
    """A copy that is run once more after the service has moved undoes no sign-out there."""
    source, destination = stores.url("a"), stores.url("b")
    app, headers = open_app(stores.folder, source)
    app.patch_json(f"/v1/profiles/{EMAIL}", {"name": NAME}, headers=headers)
    app.app.close()
    stores.open("b")
    assert run("storage", "copy", source, destination).returncode == 0
    app, again = open_app(stores.folder, destination)
    app.delete("/v1/sessions", headers=again, status=204)
    for _ in range(2):
        rejected = run("storage", "copy", source, destination)
        assert (rejected.returncode, rejected.stdout) == (1, "")
        assert "somebody else has written to the destination" in rejected.stderr
        app.get(f"/v1/profiles/{EMAIL}", headers=again, status=401)
    app.app.close()
