"""`persona-profile export` and `erase`, for the requests of people."""

from __future__ import annotations

import io
import json
import os
import pty
import sqlite3
import stat
import subprocess
import zipfile
from contextlib import closing

import pytest
from support.clients.commands import run_command
from support.pictures.pictures import encode, quadrants
from support.servers.disks import leave_free, small_disk
from support.servers.services import Client, Service

from backends import Put
from backends.engines.sqlite import SqliteBackend
from persona_profile.encoding import base64url_encode
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper

EMAIL = "alice@example.com"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with a store that commands can open too."""
    folder = tmp_path_factory.mktemp("people")
    with closing(Service(folder)) as made:
        made.start()
        yield made


@pytest.fixture
def alice(service):
    """A person with a name and a picture."""
    client = Client(service, EMAIL)
    client.sign_in()
    assert client.set_name("Alice").status == 200
    assert client.upload(encode(quadrants())).status == 200
    return client


def contents(archive: bytes) -> dict[str, bytes]:
    """Return the files of a zip."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return {name: files.read(name) for name in files.namelist()}


def test_export(service, alice, tmp_path):
    """The file equals the export of the API, only its owner can read it, and no file is overwritten."""
    out = tmp_path / "alice.zip"
    done = service.run("export", "Alice@Example.com", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(out.read_bytes()) == contents(alice.call("GET", f"{alice.profile}/export").body)
    assert json.loads(contents(out.read_bytes())["profile.json"])["name"] == "Alice"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = service.run("export", EMAIL, "--out", str(out))
    assert (again.returncode, "File exists" in again.stderr) == (1, True)


def test_export_to_a_full_disk(service, alice, tmp_path):
    """On a full disk the command reports it, and leaves no part of an archive."""
    with small_disk(tmp_path / "disk", 1) as folder:
        leave_free(folder, 4096)
        rejected = service.run("export", EMAIL, "--out", str(folder / "alice.zip"))
        assert (rejected.returncode, "No space left" in rejected.stderr) == (1, True)
        assert [each.name for each in folder.iterdir()] == ["ballast"]


def test_export_after_signing_out(service, alice, tmp_path):
    """An export also works after the person has signed out."""
    assert alice.call("DELETE", "/v1/sessions").status == 204
    assert service.run("export", EMAIL, "--out", str(tmp_path / "a.zip")).returncode == 0


def test_erase(service, alice, tmp_path):
    """The command erases everything and reports it; a second run finds nothing."""
    assert "--yes" in service.run("erase", EMAIL).stderr
    assert alice.call("GET", alice.profile).json["name"] == "Alice"
    assert service.run("erase", EMAIL, "--yes").stdout == "Erased.\n"
    left = alice.call("GET", alice.profile).json
    assert (left["name"], left["picture"], left["version"]) == (None, None, 0)
    assert service.run("erase", EMAIL, "--yes").stdout == "Nothing was stored for this email.\n"
    nothing = service.run("export", "nobody@example.org", "--out", str(tmp_path / "a.zip"))
    assert (nothing.returncode, "nothing is stored" in nothing.stderr) == (1, True)


@pytest.mark.parametrize(
    ("answer", "status", "is_erased"), [("yes", 0, True), ("y", 1, False), ("", 1, False)]
)
def test_erase_at_a_terminal(service, alice, answer, status, is_erased):
    """At a terminal the command asks, and erases only after the whole word."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        process = service.spawn("erase", EMAIL, stdin=theirs)
        os.close(theirs)
        terminal.write(f"{answer}\n".encode())
        output, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert output.startswith("This erases all data of this email for good. Type yes: ")
    assert ("nothing was erased" in errors) != is_erased
    assert (alice.call("GET", alice.profile).json["name"] is None) == is_erased


def test_damaged(service, alice, tmp_path):
    """A profile that does not open is not exported, with a reason; it can be erased."""
    partition = KeyWrapper(KeyringFile(service.keyring).load()).partition(EMAIL)
    with closing(SqliteBackend.from_url(service.url)) as backend:
        backend.apply(partition, [Put("profile", b"junk")])
    out = tmp_path / "a.zip"
    rejected = service.run("export", EMAIL, "--out", str(out))
    assert (rejected.returncode, out.exists()) == (1, False)
    assert "does not open: see `storage verify`; erase works nevertheless" in rejected.stderr
    assert service.run("erase", EMAIL, "--yes").stdout == "Erased.\n"
    assert alice.call("GET", alice.profile).json["name"] is None


def test_protected(service, alice, tmp_path):
    """A protected profile is not exported, with a reason; it can be erased."""
    assert alice.protect(base64url_encode(os.urandom(32))).status == 200
    out = tmp_path / "a.zip"
    rejected = service.run("export", EMAIL, "--out", str(out))
    assert (rejected.returncode, out.exists()) == (1, False)
    assert "protected by the person's own key" in rejected.stderr
    assert service.run("erase", EMAIL, "--yes").stdout == "Erased.\n"


def test_remove_picture(service, alice):
    """The picture goes, the email is locked, and the owner sees both; `unlock` ends it."""
    assert "--yes" in service.run("pictures", "remove", EMAIL).stderr
    assert alice.call("GET", alice.profile).json["picture"] is not None
    removed = service.run("pictures", "remove", EMAIL, "--lock", "30d", "--reason", "No.", "--yes")
    assert (removed.returncode, removed.stderr) == (0, "")
    found = alice.call("GET", alice.profile).json
    until = found["picture_removal"]["locked_until"]
    assert removed.stdout == f"Removed. Locked until {until}.\n"
    assert (found["name"], found["picture"]) == ("Alice", None)
    assert alice.upload(encode(quadrants())).json["reason"] == "No."
    assert service.run("storage", "verify").returncode == 0
    assert service.run("erase", EMAIL, "--yes").stdout == "Erased.\n"
    assert alice.upload(encode(quadrants())).status == 403
    assert service.run("pictures", "unlock", EMAIL).stdout == "Unlocked.\n"
    assert service.run("pictures", "unlock", EMAIL).stdout == "This email was not locked.\n"
    assert alice.upload(encode(quadrants())).status == 200


def test_remove_several_pictures(service, alice):
    """Each line of the standard input is done and reported by its number, without the email."""
    lines = f"{EMAIL}\nnobody@example.com\n"
    removed = give(service, lines, "pictures", "remove", "-", "--yes")
    assert removed.stdout == "line 1: Removed.\nline 2: There was no picture.\n"
    unlocked = give(service, lines, "pictures", "unlock", "-")
    assert unlocked.stdout.count("This email was not locked.") == 2


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--lock", "30", "must be hours or days"),
        ("--lock", "0d", "must be hours or days"),
        ("--lock", "3651d", "must be hours or days"),
        ("--reason", "a" * 201, "at most 200 characters"),
        ("--reason", "a\u202eb", "U+202E"),
        ("--reason", "a\udcffb", "U+DCFF"),
    ],
)
def test_wrong_lock_or_reason(service, alice, option, value, message):
    """A lock or reason that can't be used is rejected before anything is done."""
    rejected = service.run("pictures", "remove", EMAIL, option, value, "--yes")
    assert (rejected.returncode, message in rejected.stderr) == (2, True)
    assert alice.call("GET", alice.profile).json["picture"] is not None


def test_record_of_acts(service, tmp_path):
    """The person's export has each act with its reason, also after an erasure."""
    email = "dave@example.com"
    dave = Client(service, email)
    dave.sign_in()
    assert dave.set_name("Dave").status == 200
    for number, command in enumerate(
        (
            ("export", email, "--out", str(tmp_path / "a.zip"), "--reason", "They asked."),
            ("pictures", "remove", email, "--lock", "12h", "--reason", "No.", "--yes"),
            ("pictures", "unlock", email),
            ("pictures", "unlock", email),
            ("erase", email, "--yes", "--reason", "They asked again."),
            ("erase", email, "--yes"),
        )
    ):
        done = service.run(*command)
        assert (number, done.returncode, done.stderr) == (number, 0, "")
    exported = contents(dave.call("GET", f"{dave.profile}/export").body)
    acts = json.loads(exported["profile.json"])["operator_acts"]
    assert [(each["act"], each["reason"]) for each in acts] == [
        ("exported", "They asked."),
        ("picture_removed", "No."),
        ("picture_locked", "No."),
        ("picture_unlocked", None),
        ("erased", "They asked again."),
    ]
    assert [each["at"] for each in acts] == sorted(each["at"] for each in acts)
    out = tmp_path / "b.zip"
    assert service.run("export", email, "--out", str(out)).returncode == 0
    assert contents(out.read_bytes()) == contents(dave.call("GET", f"{dave.profile}/export").body)


def test_without_the_record(service, alice, tmp_path):
    """If the record can't be written, nothing is done, and the command reports the cause."""
    ledger = service.keyring.with_name("ledger.sqlite")
    kept = ledger.rename(tmp_path / "ledger.sqlite")
    ledger.mkdir()
    try:
        for command in (
            ("export", EMAIL, "--out", str(tmp_path / "a.zip")),
            ("pictures", "remove", EMAIL, "--yes"),
            ("pictures", "unlock", EMAIL),
            ("erase", EMAIL, "--yes"),
        ):
            failed = service.run(*command)
            assert (failed.returncode, "ledger" in failed.stderr) == (1, True), failed.stderr
    finally:
        ledger.rmdir()
        kept.rename(ledger)
    assert not (tmp_path / "a.zip").exists()
    found = alice.call("GET", alice.profile).json
    assert (found["name"], found["picture"] is None) == ("Alice", False)


def test_wrong_use(service, tmp_path):
    """An argument that is no email is rejected with status 2, and not repeated."""
    rejected = service.run("export", "secret-name", "--out", str(tmp_path / "a.zip"))
    assert (rejected.returncode, "no @" in rejected.stderr) == (2, True)
    assert "secret-name" not in rejected.stderr


def give(service: Service, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that reads emails from its standard input."""
    return run_command("-c", service.folder / "test.ini", *arguments, stdin=text.encode())


def test_several_emails(service, alice, tmp_path):
    """Each line of the standard input is exported, then erased, and reported by its number."""
    lines = f"{EMAIL}\n\nnobody@example.org\n  Alice@Example.com  "
    done = give(service, lines, "export", "-", "--out", str(tmp_path))
    assert done.returncode == 1
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        f"line 1: Written: {tmp_path}/1.zip",
        f"line 4: Written: {tmp_path}/4.zip",
    ]
    assert done.stderr == "persona-profile: line 3: nothing is stored for this email\n"
    names = {path.name: contents(path.read_bytes()) for path in tmp_path.iterdir()}
    first, second = (json.loads(names[name]["profile.json"]) for name in ("1.zip", "4.zip"))
    assert second.pop("operator_acts")[:-1] == first.pop("operator_acts")
    assert (first, first["name"]) == (second, "Alice")
    erased = give(service, lines, "erase", "-", "--yes")
    assert (erased.returncode, erased.stderr) == (0, "")
    assert erased.stdout.splitlines() == [
        "line 1: Erased.",
        "line 3: Nothing was stored for this email.",
        "line 4: Nothing was stored for this email.",
    ]
    assert "@" not in done.stdout + done.stderr + erased.stdout


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (f"{EMAIL}\nsecret-name\n", "line 2: not an accepted address: no @"),
        (f"{EMAIL}\n\udcff@example.com\n", "line 2: not UTF-8"),
        ("\n \n", "there is no email in the standard input"),
    ],
)
def test_line_that_is_no_email(service, alice, tmp_path, lines, message):
    """A wrong line is reported by its number before anything is done."""
    given = lines.encode("utf-8", "surrogateescape")
    for more in (("erase", "-", "--yes"), ("export", "-", "--out", tmp_path)):
        rejected = run_command("-c", service.folder / "test.ini", *more, stdin=given)
        assert (rejected.returncode, rejected.stdout) == (2, "")
        assert rejected.stderr == f"persona-profile: {message}\n"
    assert not list(tmp_path.iterdir())
    assert alice.call("GET", alice.profile).json["name"] == "Alice"


def test_files_for_several_emails(service, alice, tmp_path):
    """Several emails need a folder, and no file of it is overwritten."""
    lines = f"{EMAIL}\n{EMAIL}\n"
    rejected = give(service, lines, "export", "-", "--out", str(tmp_path / "one.zip"))
    assert (rejected.returncode, "must be a folder" in rejected.stderr) == (2, True)
    (tmp_path / "2.zip").write_bytes(b"older")
    rejected = give(service, lines, "export", "-", "--out", str(tmp_path))
    assert (rejected.returncode, "2.zip: File exists" in rejected.stderr) == (1, True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_store_that_fails_at_a_line(service, alice, tmp_path):
    """A failure of the store ends the command and names the line; the lines before it are done."""
    bob = Client(service, "bob@example.com")
    bob.sign_in()
    assert bob.set_name("Bob").status == 200
    with closing(sqlite3.connect(service.url.removeprefix("sqlite:///"))) as database:
        partition = KeyWrapper(KeyringFile(service.keyring).load()).partition("bob@example.com")
        database.execute(
            f"CREATE TRIGGER full BEFORE DELETE ON items WHEN OLD.partition = x'{partition.hex()}' "
            "BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
        try:
            lines = f"{EMAIL}\nbob@example.com\ncarol@example.com\n"
            failed = give(service, lines, "erase", "-", "--yes")
        finally:
            database.execute("DROP TRIGGER full")
    assert (failed.returncode, failed.stdout) == (1, "line 1: Erased.\n")
    assert "line 2: failed, and nothing was done for later lines\n" in failed.stderr


def test_export_to_the_standard_output(service, alice):
    """An export goes into a pipe, and its report elsewhere."""
    with service.spawn("export", EMAIL, "--out", "-", is_text=False) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(contents(output)["profile.json"])["name"] == "Alice"
    assert errors.decode() == f"Written: /dev/stdout, {len(output):,} bytes.\n"
