"""A restore of yesterday's archive brings nobody back who was erased, with the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.clients.commands import WRITE_SECONDS, run_command
from support.pictures.pictures import encode, quadrants
from support.servers.services import Client, Service

from backends.copying.transfer import read_partition, walk
from backends.engines.sqlite import SqliteBackend
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, KeyItem

ALICE, BOB, CAROL, DAVE = (f"{name}@example.com" for name in ("alice", "bob", "carol", "dave"))
LEDGER = "ledger.sqlite"


class Site:
    """A service, an archive of four people with pictures, and a place to restore it into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service = Service(folder)
        self.service.start()
        self.archive = folder / "archive"
        self.people = {email: self.person(email) for email in (ALICE, BOB, CAROL, DAVE)}
        assert self.service.run("storage", "backup", str(self.archive)).returncode == 0

    def person(self, email: str) -> Client:
        """Return a person with a name and a picture."""
        client = Client(self.service, email)
        client.sign_in()
        assert client.set_name(f"Name of {email}").status == 200
        assert client.upload(encode(quadrants())).status == 200
        return client

    def target(self, name: str, more: str = "") -> tuple[Path, Path]:
        """Make an empty store for the same keyring; return its settings and its file."""
        file, ini = self.folder / f"{name}.sqlite", self.folder / f"{name}.ini"
        text = (self.folder / "test.ini").read_text()
        assert self.service.url in text
        text = text.replace(self.service.url, f"sqlite:///{file}\n{more}")
        ini.write_text(text)
        assert run_command("-c", ini, "storage", "init").returncode == 0
        return ini, file


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    """A site with its archive."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.service.close()


def contents(file: Path, keys: KeyWrapper) -> tuple[dict[str, int], bytes]:
    """Search a whole store: the pictures' items of each email with data, and all that opens."""
    found, opened = {}, []
    with closing(SqliteBackend.from_url(f"sqlite:///{file}")) as backend:
        for partition in walk(backend):
            items = read_partition(backend, partition)
            if KEY_ITEM not in items:
                assert not any(name == PROFILE_ITEM or "/" in name for name in items)
                continue
            try:
                key_item = KeyItem.parse(items[KEY_ITEM].value, keys)
            except Unreadable:
                continue  # a forward
            data_key = key_item.data_key(keys, partition)
            email = key_item.open_owner(data_key).email
            assert email not in found
            found[email] = sum("/" in name for name in items)
            opened.append(data_key.open(PROFILE_ITEM, items[PROFILE_ITEM].value))
    return found, b"".join(opened)


def test_nobody_is_back(site):
    """After erasures by people and operators, a removal and a rotation, everybody stays erased."""
    service = site.service
    assert site.people[ALICE].call("DELETE", site.people[ALICE].profile).status == 204
    assert site.people[BOB].call("DELETE", site.people[BOB].picture).status == 204
    for arguments in (["--index"], ["--index", "--promote"]):
        assert service.run("keys", "rotate", *arguments).returncode == 0
    assert service.run("keys", "rewrap", "--index", "--rate", "10000").returncode == 0
    both = service.keyring.read_bytes()
    destroy = ("keys", "destroy", "--index", "1", "--yes")
    ini = site.folder / "test.ini"
    assert run_command("-c", ini, *destroy, **{WRITE_SECONDS: "0"}).returncode == 0
    assert service.run("erase", CAROL, "--yes").stdout == "Erased.\n"

    service.keyring.write_bytes(both)  # the archive's profiles are under the old index key
    target, file = site.target("restored")
    done = run_command("-c", target, "storage", "restore", site.archive, "--json")
    assert done.returncode == 0, done.stderr
    ledger = json.loads(done.stdout)["ledger"]
    assert (ledger["erased"], ledger["pictures"], ledger["unreadable"]) == (2, 1, 0)
    pictures, opened = contents(file, KeyWrapper(KeyringFile(service.keyring).load()))
    assert (set(pictures), pictures[BOB]) == ({BOB, DAVE}, 0)
    assert pictures[DAVE] > 0
    assert f"Name of {DAVE}".encode() in opened
    assert f"Name of {ALICE}".encode() not in opened
    assert run_command("-c", target, "storage", "verify").returncode == 0

    forced = ("storage", "restore", site.archive, "--overwrite")
    assert run_command("-c", target, *forced, "--without-ledger").returncode == 0
    for since, problem in (
        ("2020-01-01T00:00:00Z", "ledger: it began at"),
        ("2999-01-01T00:00:00Z", "the backup's start, 2999-01-01T00:00:00Z, is in the future"),
    ):
        rejected = run_command("-c", target, "storage", "erase-again", "--since", since)
        assert rejected.returncode == 1
        assert problem in rejected.stderr
    done = run_command("-c", target, *forced)
    assert "The ledger: 2 erased and 1 pictures removed again, 0 locks renewed.\n" in done.stdout


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("ledger.backend = sqlite\nledger.url = sqlite:///%(here)s/no.sqlite", "there is no database"),
        ("ledger.keep_days = 1", None),
    ],
)
def test_without_a_ledger(site, settings, problem):
    """Without a ledger nothing is restored, and none is made; with it the restore goes on."""
    name = "none" if problem else "found"
    target, file = site.target(name, settings)
    done = run_command("-c", target, "storage", "restore", site.archive)
    assert done.returncode == (1 if problem else 0), done.stderr
    if problem:
        assert f"ledger: {problem}" in done.stderr
        assert "--without-ledger" in done.stderr
        assert not (site.folder / "no.sqlite").exists()
        with closing(SqliteBackend.from_url(f"sqlite:///{file}")) as backend:
            assert list(walk(backend)) == []


def test_copy_of_the_ledger(site):
    """An archive of the ledger fills an empty ledger, which demands the same."""
    copy = site.folder / "ledger.archive"
    assert site.service.run("storage", "backup", "--ledger", str(copy)).returncode == 0
    other = "ledger.backend = sqlite\nledger.url = sqlite:///%(here)s/other.sqlite"
    target, _ = site.target("moved", other)
    for archive, *options, problem in (
        (copy, "--without-ledger", "this archive is of a ledger"),
        (site.archive, "--ledger", "this archive is of no ledger"),
    ):
        done = run_command("-c", target, "storage", "restore", archive, *options)
        assert (done.returncode, problem in done.stderr) == (1, True), done.stderr
    done = run_command("-c", target, "storage", "restore", "--ledger", copy)
    assert done.returncode == 0, done.stderr
    assert "needs an index key" in done.stdout
    done = run_command("-c", target, "storage", "restore", site.archive, "--json")
    ledger = json.loads(done.stdout)["ledger"]
    first, _ = site.target("first")
    done = run_command("-c", first, "storage", "restore", site.archive, "--json")
    assert json.loads(done.stdout)["ledger"] == ledger


def test_ledger_is_away(site):
    """Erasures get 503 with Retry-After and erase nothing; everything else goes on."""
    erin = site.person("erin@example.com")
    ledger = site.folder / LEDGER
    ledger.rename(site.folder / "away")
    try:
        for path in (erin.profile, erin.picture):
            assert erin.call("DELETE", path).says_when_to_retry
        card = erin.call("GET", erin.profile).json
        assert card["name"] == f"Name of {erin.email}"
        assert card["picture"]
        assert erin.set_name("Erin").status == 200
        health = erin.call("GET", "/__heartbeat__")
        assert (health.status, health.json["checks"]["ledger"]) == (200, "error")
    finally:
        (site.folder / "away").rename(ledger)
    assert erin.call("DELETE", erin.profile).status == 204
