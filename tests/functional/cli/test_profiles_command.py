"""`persona-profile export` and `erase`, for the requests of people."""

from __future__ import annotations

import io
import json
import os
import pty
import stat
import zipfile
from contextlib import closing

import pytest
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
    made = Service(folder, "sqlite", f"sqlite:///{folder}/items.sqlite")
    made.start()
    yield made
    made.close()


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
    nothing = service.run("export", EMAIL, "--out", str(tmp_path / "a.zip"))
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


def test_wrong_use(service, tmp_path):
    """An argument that is no email is rejected with status 2, and not repeated."""
    rejected = service.run("export", "secret-name", "--out", str(tmp_path / "a.zip"))
    assert (rejected.returncode, "no @" in rejected.stderr) == (2, True)
    assert "secret-name" not in rejected.stderr
