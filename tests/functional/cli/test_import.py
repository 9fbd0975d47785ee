"""`persona-profile import`: people, their claims and their pictures from a CSV and a folder."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.pictures.faces import face, shows, write_people
from support.pictures.pictures import encode
from support.pictures.workers import fork_server_pids
from support.servers.services import Client, Service

from backends.engines.sqlite import SqliteBackend
from persona_profile.encoding import base64url_encode
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.homes import Homes
from persona_profile.store.items import picture_item
from persona_profile.store.partitions import read_items
from persona_profile.store.profile import StoredProfile

MAX_BYTES = 100_000
MORE = f"pictures.formats = jpeg\npictures.max_bytes = {MAX_BYTES}"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with a store that commands can open too."""
    folder = tmp_path_factory.mktemp("import")
    with closing(Service(folder, more=MORE)) as made:
        made.start()
        yield made


class Moving:
    """A CSV and a folder with the face of number 1, and their import into a service."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.csv = folder / "people.csv"
        self.rejected = folder / "people.rejected.csv"
        self.faces = folder / "faces"
        self.faces.mkdir(exist_ok=True)
        (self.faces / "1.jpg").write_bytes(encode(face(1)))
        self.domain = f"{folder.name.replace('_', '-')}.example.com"

    def write(self, *rows: str, header: str = "email,name,picture_file") -> None:
        """Write the CSV; `@` at the end of a local part becomes an address of this test alone."""
        text = "\n".join([header, *rows]) + "\n"
        self.csv.write_text(text.replace("@,", f"@{self.domain},"))

    def run(self, *options: str, status: int = 0) -> Mapping[str, object]:
        """Run the import; return its document."""
        done = self.service.run("import", str(self.faces), "--csv", str(self.csv), "--json", *options)
        assert (done.returncode, done.stderr) == (status, "")
        return json.loads(done.stdout)

    def fail(self, *options: str, status: int) -> str:
        """Run an import that fails; return its message."""
        done = self.service.run("import", str(self.faces), "--csv", str(self.csv), *options)
        assert (done.returncode, done.stdout) == (status, "")
        return done.stderr

    def reasons(self) -> dict[int, tuple[str, str]]:
        """Return code and reason of the rejected rows by line."""
        with self.rejected.open() as file:
            return {int(row["line"]): (row["code"], row["reason"]) for row in csv.DictReader(file)}

    def client(self, local: str) -> Client:
        """Return a client with a session of a person."""
        client = Client(self.service, f"{local}@{self.domain}")
        client.sign_in()
        return client

    def profile(self, local: str) -> dict[str, object]:
        """Return the profile of a person, as the API has it."""
        client = self.client(local)
        return client.call("GET", client.profile).json


@pytest.fixture
def moving(service, tmp_path):
    """An import into the module's service."""
    return Moving(service, tmp_path)


def test_import(moving):
    """The API shows claims and pictures of the CSV; a second run imports nothing."""
    moving.write(
        'alice@,Alice,"Alice, smiling",1.jpg,Europe/Paris',
        "bob@,Bob,,,",
        "carol@,,,./1.jpg,",
        header="email,name,picture_alt,picture_file,zoneinfo",
    )
    assert moving.run() | {"seconds": 0} == {
        "rows": 3,
        "imported": 3,
        "earlier": 0,
        "rejected": {},
        "seconds": 0,
    }
    alice, bob, carol = map(moving.profile, ("alice", "bob", "carol"))
    assert [alice[name] for name in ("name", "picture_alt", "zoneinfo", "version")] == [
        "Alice",
        "Alice, smiling",
        "Europe/Paris",
        1,
    ]
    assert (bob["name"], bob["picture"], bob["zoneinfo"]) == ("Bob", None, None)
    assert (carol["name"], carol["picture"] is not None) == (None, True)
    assert moving.reasons() == {}
    assert stat.S_IMODE(moving.rejected.stat().st_mode) == 0o600
    again = moving.run()
    assert (again["imported"], again["earlier"]) == (0, 3)
    assert moving.profile("alice")["version"] == 1


def test_picture(moving):
    """The picture is the one that the row names, from the same renditions as an upload."""
    moving.write("alice@,Alice,1.jpg")
    moving.run()
    uploaded = moving.client("bob")
    assert uploaded.upload((moving.faces / "1.jpg").read_bytes()).status == 200
    found = []
    for client in (moving.client("alice"), uploaded):
        picture = client.call("GET", client.profile).json["picture"]
        url = max(picture["urls"].items(), key=lambda each: int(each[0]))[1]
        found.append(client.call("GET", url[url.index("/v1") :]).body)
    assert found[0] == found[1]
    assert shows(found[0], 1)


def test_rejected_rows(moving):
    """Each bad row has its code and a reason without personal data; all others are imported."""
    (moving.faces / "empty.jpg").touch()
    (moving.faces / "text.jpg").write_text("secret")
    (moving.faces / "link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(moving.faces / "fifo.jpg")
    moving.write(
        "nobody,Secret,1.jpg",
        ",Secret,1.jpg",
        'a@,"Sec\nret",',
        f"b@,{'Secret' * 20},secret/none.jpg",
        "c@,Secret,secret/none.jpg",
        "d@,,",
        "e@,Secret,empty.jpg",
        "f@,Secret,text.jpg",
        "g@,Secret,../secret.jpg",
        "h@,Secret,link.jpg",
        "i@,Secret,fifo.jpg",
        "ok@,Secret,1.jpg",
        "OK@,Secret,1.jpg",
    )
    done = moving.service.run("import", str(moving.faces), "--csv", str(moving.csv))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Imported 1 of 13 rows in ")
    assert f"Rejected 12 rows; lines and reasons are in {moving.rejected}:\n" in done.stdout
    reasons = moving.reasons()
    assert {line: code for line, (code, _) in reasons.items()} == {
        2: "email_invalid",
        3: "email_invalid",
        4: "claim_invalid",
        6: "claim_invalid",
        7: "file_missing",
        8: "row_empty",
        9: "picture_empty",
        10: "unsupported_media_type",
        11: "file_outside_folder",
        12: "file_outside_folder",
        13: "file_not_regular",
        15: "email_repeated",
    }
    assert reasons[6][1] == "name: must have at most 100 characters"
    assert reasons[15][1] == "email: is that of line 14 too"
    assert "secret" not in (done.stdout + moving.rejected.read_text()).lower()
    assert moving.profile("a")["version"] == 0
    # Mended rows are imported by another run.
    (moving.faces / "empty.jpg").write_bytes((moving.faces / "1.jpg").read_bytes())
    again = moving.run(status=1)
    assert (again["imported"], again["earlier"], moving.profile("e")["name"]) == (1, 1, "Secret")


def test_existing_profiles(moving):
    """A profile stays as it is unless --overwrite; then cells replace, and empty cells keep."""
    alice, bob = moving.client("alice"), moving.client("bob")
    claims = json.dumps({"name": "Old", "nickname": "Al"}).encode()
    assert alice.call("PUT", alice.profile, claims, "application/json").status == 200
    bob.set_name("Bob")
    assert bob.protect(base64url_encode(os.urandom(32))).status == 200
    moving.write("alice@,New,1.jpg", "bob@,New,")
    assert moving.run(status=1)["rejected"] == {"profile_exists": 2}
    assert moving.profile("alice")["name"] == "Old"
    assert moving.run("--overwrite", status=1)["rejected"] == {"profile_key_required": 1}
    found = moving.profile("alice")
    assert (found["name"], found["nickname"], found["picture"] is not None) == ("New", "Al", True)
    assert moving.run("--overwrite", status=1)["earlier"] == 1
    alice.set_name("Mine")
    assert moving.run("--overwrite", status=1)["earlier"] == 1
    assert moving.profile("alice")["name"] == "Mine"


def test_erased_people(moving):
    """A person who has erased an imported profile does not come back, whatever the progress file."""
    moving.write("alice@,Alice,")
    moving.run()
    alice = moving.client("alice")
    assert alice.call("DELETE", alice.profile).status == 204
    assert moving.run()["earlier"] == 1
    (moving.folder / "people.progress").unlink()
    assert moving.run(status=1)["rejected"] == {"profile_erased": 1}
    assert moving.profile("alice")["version"] == 0
    assert moving.run("--with-erased")["imported"] == 1


def test_locked_pictures(moving):
    """A row with a picture for an email that is locked for pictures is rejected; names are not."""
    moving.write("alice@,Alice,1.jpg", "bob@,Bob,")
    for local in ("alice", "bob"):
        email = f"{local}@{moving.domain}"
        locked = moving.service.run("pictures", "remove", email, "--lock", "30d", "--yes")
        assert locked.returncode == 0, locked.stderr
    assert moving.run(status=1)["rejected"] == {"picture_locked": 1}
    assert (moving.profile("alice")["version"], moving.profile("bob")["name"]) == (0, "Bob")


def test_dry_run(moving):
    """A dry run finds what an import finds, and leaves nothing but the report."""
    (moving.faces / "broken.jpg").write_bytes((moving.faces / "1.jpg").read_bytes()[:300])
    moving.write("alice@,Alice,1.jpg", "bob@,Bob,broken.jpg")
    done = moving.run("--dry-run", status=1)
    assert (done["imported"], done["rejected"]) == (1, {"picture_broken": 1})
    assert moving.profile("alice")["version"] == 0
    assert {each.name for each in moving.folder.iterdir()} == {
        "faces",
        "people.csv",
        "people.rejected.csv",
    }
    assert moving.run(status=1)["imported"] == 1


def test_unusable_csv(moving):
    """Of a CSV that can't be read nothing is imported: status 2, lines, no value."""
    moving.csv.write_bytes("email,name\na@b.example,José\nb@b.example\n".encode("latin-1"))
    message = moving.fail(status=2)
    assert message.splitlines() == [
        f"persona-profile: {moving.csv}: nothing was imported, as this file can't be read:",
        "  line 2: not UTF-8: save the file as UTF-8",
        "  line 3: number of cells: 1, of the header: 2",
    ]
    assert not moving.rejected.exists()


def test_wrong_use(moving):
    """Wrong names of files end with status 2, before the store is opened."""
    assert "No such file" in moving.fail(status=2)
    moving.write("alice@,Alice,")
    fifo = moving.folder / "fifo"
    os.mkfifo(fifo)
    for options, reason in (
        (("--csv", str(fifo)), "must be a regular file"),
        (("--csv", str(moving.folder)), "must be a regular file"),
        (("--csv", "."), "--csv: must be a file"),
        (("--csv", ""), "--csv: must be a file"),
        (("--rejected", str(moving.csv)), "must be three files"),
        (("--rejected", str(moving.folder)), "must be a file"),
        (("--workers", "0"), "must be a whole number from 1 to 256"),
    ):
        assert reason in moving.fail(*options, status=2)
    moving.faces = moving.folder / "none"
    assert f"{moving.faces}: No such file" in moving.fail(status=2)
    assert moving.profile("alice")["version"] == 0


def test_progress_of_something_else(moving):
    """A progress file with other content ends the import before anything is written."""
    moving.write("alice@,Alice,")
    other = moving.folder / "people.progress"
    other.write_text("my notes" * 1000)
    assert "is not the progress of an import" in moving.fail(status=1)
    assert (moving.profile("alice")["version"], other.stat().st_size) == (0, 8000)


def test_report_on_standard_output(moving):
    """The rejected rows can be the standard output; then the summary is on the standard error."""
    moving.write("alice@,Alice,", "nobody,,")
    arguments = ("import", str(moving.faces), "--csv", str(moving.csv), "--rejected", "-")
    done = moving.service.run(*arguments)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        ["line,code,reason", "3,email_invalid,email: no @"],
    )
    assert done.stderr.startswith("Imported 1 of 2 rows in ")


def stored(store: Path) -> int:
    """Return the number of stored profiles, while another process writes them."""
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(
            "SELECT count(*) FROM items WHERE name = CAST('profile' AS BLOB)"
        ).fetchone()[0]


@contextmanager
def reader(service: Service) -> Iterator[tuple[SqliteBackend, ProfileService]]:
    """Open a store as an operator's command does."""
    keys = KeyWrapper(KeyringFile(service.keyring).load())
    with closing(SqliteBackend.from_url(service.url)) as backend, closing(keys):
        homes = Homes(backend, keys, 3600)
        yield backend, ProfileService(backend, homes, keys, ledger=None, session_lifetime=60)


def smallest(backend: SqliteBackend, found: StoredProfile) -> bytes:
    """Return the smallest rendition of a profile's picture."""
    picture = found.document.picture
    name = picture_item(picture.id, min(picture.formats), "jpeg")
    return found.picture_key().open(name, read_items(backend, found.home.partition, [name])[name].value)


def finished(service: Service, *arguments: str) -> Mapping[str, int]:
    """Run an import to its end; return its document."""
    importing = service.spawn(*arguments)
    output, errors = importing.communicate()
    assert importing.returncode == 1, errors
    return json.loads(output)


def test_kills(tmp_path, pytestconfig):
    """Killed at any instant and started again, an import has each face once, of the right person."""
    # With `--faces 10000 --timeout 3600` it takes some ten minutes on two cores.
    count = pytestconfig.getoption("--faces")
    kills = max(2, count // 1000)
    service = Service(tmp_path, more=MORE)
    assert service.run("storage", "init").returncode == 0
    expected = write_people(tmp_path, count, MAX_BYTES)
    good = count - len(expected)
    arguments = ("import", str(tmp_path / "faces"), "--csv", str(tmp_path / "people.csv"), "--json")
    cores = frozenset(os.sched_getaffinity(0))
    randomness = random.Random(count)
    points = sorted(randomness.sample(range(good * 9 // 10), kills))
    for point in points:
        number = signal.SIGINT if point == points[0] else signal.SIGKILL
        importing = service.spawn(*arguments)
        while importing.poll() is None and stored(tmp_path / "items.sqlite") <= point:
            time.sleep(0.005)
        assert importing.poll() is None, importing.communicate()
        servers = fork_server_pids(importing.pid)
        assert servers
        assert {frozenset(os.sched_getaffinity(each)) for each in servers} == {cores}
        time.sleep(randomness.uniform(0, 0.02))
        importing.send_signal(number)
        _, errors = importing.communicate()
        if number == signal.SIGINT:
            goes_on = "persona-profile: stopped; start it again, and it goes on\n"
            assert (importing.returncode, errors[-len(goes_on) :]) == (130, goes_on)
    before = stored(tmp_path / "items.sqlite")
    document = finished(service, *arguments)
    assert (document["imported"] + document["earlier"], document["rows"]) == (good, count)
    assert document["earlier"] >= before - 200  # two batches, whose profiles count as imported now
    with (tmp_path / "people.rejected.csv").open() as file:
        assert {int(row["line"]): row["code"] for row in csv.DictReader(file)} == expected
    with reader(service) as (backend, profiles):
        for number in range(count):
            _, [found] = profiles.open_session([Vouched(f"p{number}@example.com", "operator")])
            if number + 2 in expected:
                assert found.is_blank
                continue
            assert (found.document.claims["name"], found.document.version) == (f"Person {number}", 1)
            assert shows(smallest(backend, found), number), number
    again = finished(service, *arguments)
    assert (again["imported"], again["earlier"]) == (0, good)
    assert service.run("storage", "verify").returncode == 0
