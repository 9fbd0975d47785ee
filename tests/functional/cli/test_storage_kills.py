"""Storage jobs that are killed at random instants, and whose database is killed: they go on."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.clients.commands import run_command
from support.servers.mariadb import MariaDB
from support.servers.spider import Shards
from support.stores.sealed_store import FOREVER, Store, fill
from support.stores.stores import Everything, everything

from backends import Backend
from backends.engines.mysql import MysqlBackend
from backends.engines.spider import SpiderBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile

INI = """
[app:main]
use = egg:persona-profile-server
keyring.path = %(here)s/keyring.json
public_origins = http://127.0.0.1:6543
backend = {kind}
backend.url = {url}
"""
OPENERS: dict[str, Callable[[str], Backend]] = {
    "mysql": MysqlBackend.from_url,
    "spider": SpiderBackend.from_url,
    "sqlite": SqliteBackend.from_url,
}
EMAILS = 250
RATE = 2
"""MiB a second: so the jobs take about a second."""

BULK = 60_000


class Stores:
    """A full store and an empty one, with a settings file each.

    Args:
        folder: of settings, keyring and files.
        mariadb: the server of the stores; None for SQLite.
        shards: the servers of the empty store instead.
    """

    def __init__(self, folder: Path, mariadb: MariaDB | None, shards: Shards | None = None) -> None:
        self.folder = folder
        self._mariadb, self._shards = mariadb, shards
        if shards is not None:
            shards.make_databases()
        self._number = 0
        keyring = Keyring.generate(datetime.now(UTC))
        KeyringFile(folder / "keyring.json").create(keyring)
        self.urls: dict[str, str] = {}
        self.make("full")
        with closing(self.open("full")) as backend:
            store = Store(keyring, backend)
            fill(backend, store.keys, EMAILS)
            for email in FOREVER.emails:
                store.put_picture(email, BULK)

    def make(self, name: str) -> None:
        """Make an empty store in the place of another one."""
        if self._shards is not None and name == "empty":
            self._shards.empty()
            kind, url = "spider", self._shards.admin_url
        elif self._mariadb is None:
            for file in self.folder.glob(f"{name}.sqlite*"):
                file.unlink()
            kind, url = "sqlite", f"sqlite:///{self.folder}/{name}.sqlite"
        else:
            self._mariadb.query(f"CREATE OR REPLACE DATABASE {name} CHARACTER SET binary")
            self._mariadb.query(f"GRANT ALL ON {name}.* TO persona@'127.0.0.1'")
            kind, url = "mysql", self._mariadb.url.removesuffix("persona") + name
        (self.folder / f"{name}.ini").write_text(INI.format(kind=kind, url=url))
        assert self.run("-c", f"{name}.ini", "storage", "init") == 0
        self.urls[name] = url

    def open(self, name: str) -> Backend:
        """Open a store."""
        url = self.urls[name]
        return OPENERS[url.partition(":")[0]](url)

    @property
    def server(self) -> MariaDB:
        """A database server that jobs need."""
        server = self._shards.servers[-1] if self._shards is not None else self._mariadb
        assert server is not None
        return server

    def everything(self, name: str) -> Everything:
        """Return all items of a store."""
        with closing(self.open(name)) as backend:
            return everything(backend)

    def run(self, *arguments: str, during: Callable[[int], None] = lambda _: None) -> int:
        """Run the command; return its status."""
        done = run_command(*arguments, folder=self.folder, during=during)
        assert "Traceback" not in done.stderr
        return done.returncode


@pytest.fixture(scope="module")
def stores(tmp_path_factory, request) -> Stores:
    """A full store and an empty one."""
    folder = tmp_path_factory.mktemp("killed")
    if request.param == "spider":
        return Stores(folder, None, request.getfixturevalue("shards"))
    server = None
    if request.param == "mysql":
        server = request.getfixturevalue("mariadb")
        server.create_database()
    return Stores(folder, server)


JOBS = {
    "backup": ["-c", "full.ini", "storage", "backup", "archive"],
    "verify": ["-c", "full.ini", "storage", "verify"],
    "stats": ["-c", "full.ini", "storage", "stats"],
    "restore": ["-c", "empty.ini", "storage", "restore", "archive", "--without-ledger", "--overwrite"],
    "copy": ["storage", "copy", "full.ini", "empty.ini"],
}


def start_over(stores: Stores) -> None:
    """Forget an earlier copy or restore."""
    (stores.folder / "storage-copy.state").unlink(missing_ok=True)
    stores.make("empty")


def disturbed(
    stores: Stores, job: str, kills: int, kill: Callable[[int], None], again: Callable[[], None]
) -> None:
    """Kill something during a job at random instants, each time after a start of the job."""
    arguments = (*JOBS[job], "--rate", str(RATE))
    if job == "restore":
        assert stores.run(*JOBS["backup"]) == 0
    start_over(stores)
    began = time.monotonic()
    assert stores.run(*arguments) == 0
    seconds = time.monotonic() - began
    for _ in range(kills):
        start_over(stores)

        def at_random(process: int) -> None:
            time.sleep(random.uniform(0, seconds))
            kill(process)

        stores.run(*arguments, during=at_random)
        again()
        for left in stores.folder.glob(".archive.*.partial"):
            left.unlink()
        if job == "backup" and (stores.folder / "archive").exists():
            assert stores.run("storage", "restore", "archive", "--check") == 0
        assert stores.run(*JOBS[job]) == 0
        if job in ("restore", "copy"):
            assert stores.everything("empty") == stores.everything("full")
            assert stores.run("-c", "empty.ini", "storage", "verify") == 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("stores", "job"),
    [
        *itertools.product(("sqlite", "mysql"), JOBS),
        pytest.param("spider", "copy", marks=pytest.mark.alone),
    ],
    indirect=["stores"],
)
def test_job_killed(stores, job, pytestconfig):
    """A job that is killed at any instant goes on when it is started again, and ends equal."""

    def kill(process: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(process, signal.SIGKILL)

    disturbed(stores, job, pytestconfig.getoption("--job-kills"), kill, lambda: None)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("stores", "job"),
    [
        *(("mysql", job) for job in ("backup", "restore", "copy")),
        pytest.param("spider", "restore", marks=pytest.mark.alone),
    ],
    indirect=["stores"],
)
def test_database_killed(stores, job, pytestconfig):
    """A job whose database is killed at any instant goes on after the start of both."""
    server = stores.server
    kills = pytestconfig.getoption("--job-kills")
    disturbed(stores, job, kills, lambda _: server.signal(signal.SIGKILL), server.start)
