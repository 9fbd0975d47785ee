"""What storage jobs cost, over `mariadb-dump` of the same data, and what a running service feels.

A private MariaDB server and a SQLite file get the profiles of many emails; a tenth have a picture.
Each job runs as its command, in a process of its own: seconds, processor time, the largest memory.
The row `start` is that of a command with nothing to do, which counts in small stores.
Seconds on a machine that has other work are rough; ratios of one run compare.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from driving import ask
from production import Served, production
from support.servers.mariadb import MariaDB

from backends import Backend, Operation, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.sql import SqlBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.capacity.units import byte_count
from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.images import Rendition
from persona_profile.images.formats import SIZES
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, KeyItem
from persona_profile.store.profile import Picture, ProfileDocument

WITH_PICTURE: Final = 10
"""One email of so many has a picture."""

PICTURE_BYTES: Final = 125_000
"""The bytes of all renditions of a picture."""

STARTS: Final = {
    "avif": b"\x00\x00\x00\x1cftypavif",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
    "jpeg": b"\xff\xd8\xff\xe0",
}
GROUP: Final = 200
POLL: Final = 0.02
REQUESTS_PER_SECOND: Final = 40
CALM_SECONDS: Final = 15.0
BUSY_SECONDS: Final = 60.0
COMMAND: Final = [sys.executable, "-m", "persona_profile.cli"]
NICE: Final = ["nice", "-n", "10"]
"""As in the unit of the nightly backup."""

BACKUP: Final = ["storage", "backup", "-"]
AIMS: Final = {"backup": 4, "restore": 8, "stats": 2, "verify": 6, "copy": 10}
"""The seconds of jobs over those of the dump; twice that is the limit."""

INI: Final = """[app:main]
use = egg:persona-profile-server
keyring.path = {folder}/keyring.json
public_origins = http://127.0.0.1:6543
backend = {kind}
backend.url = {url}
"""


@dataclass(frozen=True)
class Cost:
    """The cost of a command."""

    seconds: float
    processor_seconds: float
    memory_bytes: int


def email_of(number: int) -> str:
    """Return the email of a number."""
    return f"person{number}@example.com"


def profile_of(keys: KeyWrapper, number: int) -> tuple[bytes, list[Operation]]:
    """Return partition and items of an email's profile."""
    email = email_of(number)
    partition = keys.partition(email)
    key_item, data_key = KeyItem.create(keys, partition, email)
    kinds = [(size, name) for size in SIZES for name in STARTS]
    total = sum(size for size, _ in kinds)
    images = [
        Rendition(size, name, STARTS[name] + os.urandom(PICTURE_BYTES * size // total))
        for size, name in (kinds if number % WITH_PICTURE == 0 else ())
    ]
    picture = Picture.of(os.urandom(16), images) if images else None
    document = ProfileDocument({"name": f"Person {number}"}, picture, 1_700_000_000_000, 1)
    puts: list[Operation] = [
        Put(KEY_ITEM, key_item.to_bytes()),
        Put(PROFILE_ITEM, data_key.seal(PROFILE_ITEM, document.to_bytes())),
    ]
    if picture:
        by_kind = {(each.size, each.format): each.data for each in images}
        for name in picture.item_names():
            size, _, kind = name.rpartition("/")[2].partition(".")
            puts.append(Put(name, data_key.seal(name, by_kind[int(size), kind])))
    return partition, puts


def fill(backend: Backend, keys: KeyWrapper, emails: int) -> None:
    """Write profiles."""
    for start in range(0, emails, GROUP):
        numbers = range(start, min(emails, start + GROUP))
        backend.apply_many(dict(profile_of(keys, number) for number in numbers))


def measured(command: Sequence[str], output: Path = Path(os.devnull)) -> Cost:
    """Run a command to its end; return its cost."""
    began = time.monotonic()
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        memory = 0
        # Not the memory in `getrusage`: that has the one of this process before its `exec`.
        while process.returncode is None:
            with suppress(OSError, StopIteration):
                memory = max(memory, _peak_memory(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(POLL)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode} of {command[-3:]}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, memory)


def _peak_memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(each.split()[1]) for each in lines if each.startswith("VmHWM"))


class Databases:
    """Two databases of one engine: `full` and `empty`."""

    def __init__(self, folder: Path, server: MariaDB | None) -> None:
        self.folder = folder
        self.server = server
        self.kind = "mysql" if server else "sqlite"
        for name in ("full", "empty"):
            ini = INI.format(folder=folder, kind=self.kind, url=self.url(name))
            (folder / f"{name}.ini").write_text(ini)

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        if self.server is None:
            return f"sqlite:///{self.folder}/{name}.sqlite"
        return self.server.url.removesuffix("persona") + name

    def make(self, name: str) -> SqlBackend:
        """Make an empty database in the place of another one; open it."""
        if self.server is not None:
            self.server.query(f"CREATE OR REPLACE DATABASE {name} CHARACTER SET binary")
            self.server.query(f"GRANT ALL ON {name}.* TO persona@'127.0.0.1'")
        for file in self.folder.glob(f"{name}.sqlite*"):
            file.unlink()
        backend = (MysqlBackend if self.server else SqliteBackend).from_url(self.url(name))
        backend.initialize()
        return backend

    def dump(self) -> Cost:
        """Write the full database by the database's own program."""
        if self.server is None:
            command = ["sqlite3", f"{self.folder}/full.sqlite", ".dump"]
        else:
            socket = f"--socket={self.server.folder}/s"
            options = ["--no-defaults", "--single-transaction", "--user=root", socket]
            command = ["mariadb-dump", *options, "full"]
        return measured(command, self.folder / "dump.sql")

    def run(self, job: str) -> Cost:
        """Run a job by its command."""
        if job in ("start", "restore", "copy"):
            self.make("empty").close()
            (self.folder / "copy.state").unlink(missing_ok=True)
        store, archive = f"-c {self.folder}/full.ini storage", f"{self.folder}/archive"
        arguments = {
            "backup": f"{store} backup {archive}",
            "verify": f"{store} verify",
            "stats": f"{store} stats",
            "start": f"-c {self.folder}/empty.ini storage stats",
            "restore": f"-c {self.folder}/empty.ini storage restore {archive} --without-ledger",
            "copy": f"storage copy {self.folder}/full.ini {self.folder}/empty.ini"
            f" --state {self.folder}/copy.state",
        }
        return measured([*COMMAND, *arguments[job].split()])


def compare(databases: Databases, emails: int) -> None:
    """Run each job, and print its row of the table."""
    dump = min((databases.dump() for _ in range(3)), key=lambda cost: cost.seconds)
    size = (databases.folder / "dump.sql").stat().st_size
    print(f"\n{databases.kind}, {emails:,} emails, dump of {byte_count(size)}")
    print(f"{'job':<9}{'seconds':>9}{'x dump':>8}{'processor':>11}{'x dump':>8}{'memory':>9}")
    for job in ("dump", "start", *AIMS):
        cost = dump if job == "dump" else databases.run(job)
        ratio = cost.seconds / dump.seconds
        processor = cost.processor_seconds / dump.processor_seconds
        aim = f"  aim {AIMS[job]}" if job in AIMS else ""
        print(
            f"{job:<9}{cost.seconds:>9.1f}{ratio:>8.1f}{cost.processor_seconds:>11.1f}{processor:>8.1f}"
            f"{byte_count(cost.memory_bytes):>9}{aim}",
            flush=True,
        )


class Reader:
    """A person who reads a profile, over one connection."""

    def __init__(self, service: Served, email: str, proof: str) -> None:
        self._path = f"/v1/profiles/{email}"
        body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
        kind = {"Content-Type": "application/json"}
        token = json.loads(ask(service.port, "POST", "/v1/sessions", body, kind))["token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def latencies(self, seconds: float, is_over: Callable[[], bool]) -> list[float]:
        """Read at a constant rate; return latencies, counted from the planned instants."""
        found = []
        began = due = time.monotonic()
        while time.monotonic() < began + seconds and not is_over():
            time.sleep(max(0.0, due - time.monotonic()))
            self._connection.request("GET", self._path, headers=self._headers)
            with self._connection.getresponse() as answer:
                answer.read()
            if answer.status != HTTPStatus.OK:
                raise RuntimeError(f"status {answer.status}")
            found.append(time.monotonic() - due)
            due += 1 / REQUESTS_PER_SECOND
        return found


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[-(-99 * len(values) // 100) - 1]


def feel(databases: Databases, rates: Sequence[float | None]) -> None:
    """Print the p99 of a running service during backups over the one before and after."""
    folder, email = databases.folder, email_of(0)
    provider = DevelopmentIdentityProvider.load(folder)
    (folder / "issuers.json").write_text(json.dumps(provider.support_documents()))
    settings = {
        "backend": "mysql",
        "backend.url": databases.url("full"),
        "keyring.path": f"{folder}/keyring.json",
        "browserid.pinned_issuers": f"{folder}/issuers.json",
    }
    with production(folder / "service", settings) as service:
        reader = Reader(service, email, provider.bundle(email, service.origin))
        reader.latencies(2, lambda: False)
        for rate in rates:
            calm = reader.latencies(CALM_SECONDS, lambda: False)
            option = [] if rate is None else ["--rate", str(rate)]
            job = subprocess.Popen(
                [*NICE, *COMMAND, "-c", f"{databases.folder}/full.ini", *BACKUP, *option],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            during = reader.latencies(BUSY_SECONDS, lambda job=job: job.poll() is not None)
            job.kill()
            job.wait()
            calm += reader.latencies(CALM_SECONDS, lambda: False)
            ratio = p99(during) / p99(calm)
            text = "without --rate" if rate is None else f"--rate {rate:g}"
            print(
                f"p99 of GET /v1/profiles/EMAIL: {1000 * p99(calm):.1f} ms before and after, "
                f"{1000 * p99(during):.1f} ms during a backup {text}, {ratio:.1f} times, "
                f"{len(during)} requests",
                flush=True,
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--emails", type=int, default=2000, metavar="N")
    parser.add_argument("--engines", nargs="+", default=["mysql", "sqlite"], metavar="ENGINE")
    parser.add_argument("--rates", nargs="+", type=float, default=[16.0, 4.0], metavar="MIB")
    options = parser.parse_args()
    for engine in options.engines:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            keyring = Keyring.generate(datetime.now(UTC))
            KeyringFile(folder / "keyring.json").create(keyring)
            with running(folder / "server", engine) as server:
                databases = Databases(folder, server)
                with closing(databases.make("full")) as backend:
                    fill(backend, KeyWrapper(keyring), options.emails)
                compare(databases, options.emails)
                if server is not None:
                    feel(databases, [None, *options.rates])


@contextmanager
def running(folder: Path, engine: str) -> Iterator[MariaDB | None]:
    """Run a MariaDB server, unless the engine is SQLite."""
    if engine == "sqlite":
        yield None
        return
    folder.mkdir()
    database = MariaDB(folder, innodb_buffer_pool_size="1G", innodb_log_file_size="512M")
    with database.running() as server:
        server.create_database()
        yield server


if __name__ == "__main__":
    main()
