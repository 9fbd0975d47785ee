"""Keys are rotated under a running service, by commands that are killed half-way."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.clients.commands import WRITE_SECONDS
from support.servers.applications import wait_for
from support.servers.services import Client, Service
from support.stores.sealed_store import fill
from support.stores.writers import COLOURS, coloured, meanwhile, number_of

from backends import Backend
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.maintenance.key_use import KeyUse, count_use

CLIENTS = 20
PROFILES = 200
"""How many there are besides those of the clients."""

SLOW = "20"
"""Keys or profiles a second: so slow that a command can be killed half-way often."""

PAUSE_SECONDS = 1.5
"""How long people rest between their rounds: what they cost would be most of the test's time."""

PATIENT = "pictures.formats = jpeg\npictures.max_wait_seconds = 60"
"""Uploads wait for workers, however slow the machine is."""

LOOK_SECONDS = 0.15
"""How often the store is asked what a command has done; to ask takes processor time."""


class Site:
    """Two machines with a service each, before one database; and one operator."""

    def __init__(self, folder: Path, url: str) -> None:
        kind = url.partition(":")[0]
        self.backend: Backend = (
            MysqlBackend.from_url(url) if kind == "mysql" else SqliteBackend.from_url(url)
        )
        self.backend.initialize()
        self.machines = [
            Service(folder / name, kind, url, more=PATIENT) for name in ("first", "second")
        ]
        self.keyring = self.machines[0].keyring
        shutil.copy(self.keyring, self.machines[1].keyring)
        keys = self.keys()
        fill(self.backend, keys, PROFILES)
        for machine in self.machines:
            machine.start()

    def keys(self) -> KeyWrapper:
        """Return what the keyring gives now."""
        return KeyWrapper(KeyringFile(self.keyring).load())

    def use(self) -> KeyUse:
        """Count what the store needs."""
        return count_use(self.backend, self.keys())

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command on the first machine; return its output."""
        before, reloads = self.keyring.read_bytes(), self.machines[0].log.count("keyring: reloaded")
        result = self.machines[0].run(*arguments)
        assert result.returncode == status, result
        if self.keyring.read_bytes() != before:
            self.reloads_before_change = reloads
        return result.stdout + result.stderr

    def hand_out_keyring(self) -> None:
        """Copy the keyring to the second machine, and wait until both services use it."""
        before = self.machines[1].log.count("keyring: reloaded")
        copy = self.machines[1].keyring.with_suffix(".copy")
        shutil.copy(self.keyring, copy)
        copy.replace(self.machines[1].keyring)
        wait_for(lambda: self.machines[1].log.count("keyring: reloaded") > before)
        wait_for(lambda: self.machines[0].log.count("keyring: reloaded") > self.reloads_before_change)

    def kill_half_way(self, times: int, left: Callable[[KeyUse], int], *arguments: str) -> None:
        """Start a command and kill it when it has done some of its work, again and again."""
        for _ in range(times):
            before = left(self.use())
            assert before > 0
            with self.machines[0].spawn(*arguments) as command:
                try:
                    wait_for(lambda: left(self.use()) <= before - 4, every=LOOK_SECONDS)  # noqa: B023
                finally:
                    command.kill()

    def close(self) -> None:
        """End everything."""
        for machine in self.machines:
            machine.close()
        self.backend.close()


class Person:
    """Writes by one machine and reads by the other, all the time; each answer must be right."""

    def __init__(self, site: Site, number: int) -> None:
        # Neither one network nor one issuer may have all picture workers.
        email, address = f"alice@person{number}.example", f"127.0.0.{number + 2}"
        self.clients = [Client(machine, email, address=address) for machine in site.machines]
        self.uploads = number % 5 == 0
        self.rounds = 0
        self.wrong: list[object] = []
        for client in self.clients:
            client.sign_in()

    def live_until(self, stop: threading.Event) -> None:
        """Write and read; remember what was wrong."""
        urls: list[str] = []
        while not stop.is_set() and not self.wrong:
            self.rounds += 1
            writer, reader = self.clients[:: 1 if self.rounds % 2 else -1]
            answers = [writer.set_name(str(self.rounds))]
            if self.uploads and self.rounds % 10 == 1:
                answers.append(writer.upload(coloured(self.rounds % COLOURS)))
                urls = []
            answers.append(reader.call("GET", reader.profile))
            self.wrong += (answer for answer in answers if answer.status != 200)
            if self.wrong:
                return
            profile = answers[-1].json
            if profile["name"] != str(self.rounds):
                self.wrong.append(profile)
            if profile["picture"] and not urls:
                urls = list(profile["picture"]["urls"].values())
                colour = self.rounds % COLOURS
            # By URLs that were made some rounds, and so some index keys, ago.
            for url in urls[:1]:
                answer = reader.call("GET", "/" + url.split("/", 3)[3])
                if answer.status != 200 or number_of(answer.body) != colour:
                    self.wrong.append(answer)
            stop.wait(PAUSE_SECONDS)


@contextlib.contextmanager
def living(people: list[Person]) -> Iterator[None]:
    """Let people use the site meanwhile, some rounds at least; fail if an answer was wrong."""
    with meanwhile([person.live_until for person in people]):
        yield
        wait_for(lambda: all(person.rounds > 5 or person.wrong for person in people))
    assert [wrong for person in people for wrong in person.wrong] == []


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """Two machines before one database, where `keys destroy` waits for three seconds."""
    monkeypatch.setenv(WRITE_SECONDS, "0")
    url = f"sqlite:///{tmp_path}/items.sqlite"
    if request.param == "mysql":
        mariadb = request.getfixturevalue("mariadb")
        mariadb.create_database()
        url = mariadb.url
    site = Site(tmp_path, url)
    yield site
    site.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    # Together they are killed about as often as asked for: a kill costs up to ten seconds.
    ("site", "kind", "share"),
    [("mysql", "encryption", 4), ("mysql", "index", 4), ("sqlite", "index", 3)],
    indirect=["site"],
    ids=["mysql-encryption", "mysql-index", "sqlite-index"],
)
def test_rotation_under_load(site, kind, share, request):
    """No request fails and no write is lost while a key is replaced by commands that are killed."""
    flag = ["--index"] if kind == "index" else []

    def left(use: KeyUse) -> int:
        return use.profiles[1] + use.moving if flag else use.stale

    people = [Person(site, number) for number in range(CLIENTS)]
    with living(people):
        site.run("keys", "rotate", *flag)
        site.hand_out_keyring()
        site.run("keys", "rotate", *flag, "--promote")
        site.hand_out_keyring()
        assert left(site.use()) > PROFILES
        rejected = site.run("keys", "destroy", *flag, "1", "--revoke", "--yes", status=1)
        assert "is needed" in rejected
        times = -(-request.config.getoption("--crashes") // share)
        site.kill_half_way(times, left, "keys", "rewrap", *flag, "--rate", SLOW)
        site.run("keys", "rewrap", *flag, "--rate", "100000")
        assert left(site.use()) == 0
        status = json.loads(site.run("keys", "status", "--json"))
        assert (status["stale"], status["moving"], status["problems"]) == (0, 0, [])
        if flag:
            site.run("keys", "destroy", *flag, "1", "--yes")
            site.hand_out_keyring()
    site.run("storage", "verify")
    if not flag:
        site.run("keys", "destroy", "1", "--revoke", "--yes")
        site.hand_out_keyring()
        for person in people:
            assert person.clients[0].call("GET", person.clients[0].profile).status == 401
            person.clients[0].sign_in()
    for person in people:
        client = person.clients[0]
        assert client.call("GET", client.profile).json["name"] == str(person.rounds)
    site.run("storage", "verify")


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_one_operator_at_a_time(site):
    """While one command works on the keyring, other changes are rejected."""
    site.run("keys", "rotate")
    site.run("keys", "rotate", "--promote")
    with site.machines[0].spawn("keys", "rewrap", "--rate", "1") as slow:
        try:
            wait_for(lambda: site.use().stale < PROFILES)
            before = site.keyring.read_bytes()
            for arguments in (["rotate"], ["destroy", "1", "--revoke"], ["rewrap"], ["init"]):
                assert "another `keys` command" in site.run("keys", *arguments, status=1)
            site.run("keys", "status")
            assert site.keyring.read_bytes() == before
        finally:
            slow.send_signal(signal.SIGINT)
        _, reported = slow.communicate(timeout=30)
    assert (slow.returncode, "start it again to go on" in reported) == (130, True)


@pytest.fixture
def promoted(site: Site) -> Site:
    """The two machines, where a second index key is primary."""
    site.run("keys", "rotate", "--index")
    site.hand_out_keyring()
    site.run("keys", "rotate", "--index", "--promote")
    site.hand_out_keyring()
    return site


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_one_mover_at_a_time(promoted):
    """A second machine moves no profiles meanwhile; after a kill it continues by itself."""
    first, second = promoted.machines
    with first.spawn("keys", "rewrap", "--index", "--rate", "1") as slow:
        try:
            wait_for(lambda: promoted.use().profiles[1] < PROFILES)
            for job in (["rewrap"], ["destroy", "1", "--yes"]):
                rejected = second.run("keys", *job, "--index")
                assert rejected.returncode == 1
                assert "`keys rewrap --index` is at work" in rejected.stderr
        finally:
            slow.kill()
    assert second.run("keys", "rewrap", "--index", "--rate", "100000").returncode == 0
    assert (promoted.use().profiles[1], promoted.use().moving) == (0, 0)
    promoted.run("storage", "verify")


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_backups_while_profiles_move(promoted, tmp_path):
    """Each backup that is made meanwhile restores every email once, with no findings."""
    target = Service(tmp_path / "target")
    shutil.copy(promoted.keyring, target.keyring)
    archive = str(tmp_path / "archive")
    assert target.run("storage", "init").returncode == 0
    with promoted.machines[0].spawn("keys", "rewrap", "--index", "--rate", "4") as moving:
        try:
            for flags in (["--without-ledger"], ["--without-ledger", "--overwrite"]):
                before = promoted.use().profiles[1]
                wait_for(lambda: promoted.use().profiles[1] < before)  # noqa: B023
                promoted.run("storage", "backup", archive)
                assert target.run("storage", "restore", archive, *flags).returncode == 0
                verified = target.run("storage", "verify", "--json")
                assert (verified.returncode, json.loads(verified.stdout)["profiles"]) == (0, PROFILES)
        finally:
            moving.kill()
