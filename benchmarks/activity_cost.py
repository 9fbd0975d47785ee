"""What each activity of the capacity model costs a real server: processor time, bytes, statements.

`persona-profile serve` on a MariaDB of its own, asked over a few connections; the processor time of
the server's process, of its picture workers and of the database, each over the number of requests.
The median of the rounds, as JSON for `persona-profile model --costs FILE`.

    python benchmarks/activity_cost.py > costs.json
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from camera_pictures import kinds, use
from support.clients.identities import (
    assertion_claims,
    certificate_claims,
    dsa_key,
    rsa_key,
    support_document,
)
from support.pictures.workers import fork_server_pids, processor_seconds
from support.servers.mariadb import MariaDB
from support.servers.services import Service

from backends import Put
from backends.engines.mysql import MysqlBackend
from persona_profile.auth.browserid_keys import sign_jws

COPIES = 500
MORE = "browserid.pinned_issuers = {issuers}\npictures.max_queued = 4"
ACCEPT = {"Accept": "image/avif,image/webp,*/*"}
JSON = {"Content-Type": "application/json"}
PATCH = {"Content-Type": "application/merge-patch+json"}


class Request(NamedTuple):
    """What a connection sends."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class Person:
    """One who owns two emails, with a key of the browser's for each and a session of both."""

    def __init__(self, number: int) -> None:
        self.emails = (f"home{number}@example.com", f"work{number}@example.com")
        self._keys = [dsa_key(email) for email in self.emails]
        self._count = 0
        self.authorization: dict[str, str] = {}

    def dialog_open(self, origin: str) -> Request:
        """Return the dialog's one round trip, proofs and certificates never seen before."""
        proofs = []
        for email, key in zip(self.emails, self._keys, strict=True):
            self._count += 1
            claims = certificate_claims(email, key, nonce=self._count)
            certificate = sign_jws(claims, rsa_key("issuer"))
            assertion = sign_jws(assertion_claims(origin, nonce=self._count), key)
            proofs.append({"assertion": f"{certificate}~{assertion}"})
        body = json.dumps({"proofs": proofs, "thumbnails": 128}).encode()
        return Request("POST", "/v1/sessions", body, JSON)

    def of_profile(self, method: str, more: str = "", body: bytes = b"", **headers: str) -> Request:
        """Return a request about the first of the emails."""
        kind = {name.replace("_", "-"): value for name, value in headers.items()}
        return Request(method, f"/v1/profiles/{self.emails[0]}{more}", body, self.authorization | kind)


class Bench:
    """A server with its database, and what is measured of both.

    Args:
        service: it runs.
        database: it runs.
        folder: of the database.
        connections: over how many requests are sent.
    """

    def __init__(self, service: Service, database: MariaDB, folder: Path, connections: int) -> None:
        self.service = service
        self._database = database
        self._database_pid = int((folder / "pid").read_text())
        self._connections = connections
        self._folder = folder

    def measure(self, requests: list[Request]) -> dict[str, float]:
        """Send requests; return what each cost."""
        before = self._counters()
        sizes = self.send(requests)
        after = self._counters()
        found = {name: (after[name] - before[name]) / len(requests) for name in after}
        # What asks for the counters is a statement itself.
        found["statements"] -= 1 / len(requests)
        found["request_bytes"] = statistics.mean(len(request.body) for request in requests)
        found["answer_bytes"] = statistics.mean(map(len, sizes))
        return found

    def send(self, requests: list[Request]) -> list[bytes]:
        """Send requests over all connections; return the bodies of the answers, in that order."""
        with ThreadPoolExecutor(self._connections) as pool:
            parts = pool.map(
                self._send_over_one,
                (requests[start :: self._connections] for start in range(self._connections)),
            )
            answers: list[bytes] = [b""] * len(requests)
            for start, part in enumerate(parts):
                answers[start :: self._connections] = part
        return answers

    def _send_over_one(self, requests: list[Request]) -> list[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        answers = []
        for each in requests:
            connection.request(each.method, each.path, each.body or None, each.headers)
            with connection.getresponse() as response:
                answers.append(response.read())
                assert response.status < 300, (each.method, response.status, answers[-1][:300])
        connection.close()
        return answers

    def database_bytes(self) -> int:
        """Return the size of the database's files of tables."""
        return sum(path.stat().st_size for path in self._folder.rglob("data/persona/*.ibd"))

    def _counters(self) -> dict[str, float]:
        [(_, questions)] = self._database.query("SHOW GLOBAL STATUS LIKE 'Questions'")
        return {
            "service_seconds": processor_seconds(self.service.pid),
            "worker_seconds": sum(
                processor_seconds(each, with_ended_children=True)
                for each in fork_server_pids(self.service.pid)
            ),
            "database_seconds": processor_seconds(self._database_pid),
            "statements": float(str(questions)),
        }


@contextmanager
def bench(connections: int) -> Iterator[Bench]:
    """Start a database and a server; end both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = MariaDB(folder)
        database.install()
        database.start()
        issuers = folder / "issuers.json"
        issuers.write_text(json.dumps({"example.com": support_document(rsa_key("issuer"))}))
        service = Service(folder / "service", "mysql", database.url, more=MORE.format(issuers=issuers))
        try:
            database.create_database()
            service.start()
            yield Bench(service, database, folder, connections)
        finally:
            service.close()
            database.stop()


def open_sessions(bench: Bench, people: list[Person]) -> list[Any]:
    """Open a session for each person; return what the server answered."""
    answers = bench.send([person.dialog_open(bench.service.origin) for person in people])
    opened = [json.loads(answer) for answer in answers]
    for person, answer in zip(people, opened, strict=True):
        person.authorization = {"Authorization": f"Bearer {answer['token']}"}
    return opened


def one_round(bench: Bench, people: list[Person], files: dict[str, bytes]) -> dict[str, Any]:
    """Measure every activity once, with pictures in place; return the costs by name."""
    uploads = {
        name: bench.measure([_upload(person, data) for person in people[: _uploads_of(name)]])
        for name, data in files.items()
    }
    opened = open_sessions(bench, people)
    urls = [each["profiles"][0]["picture"]["urls"]["128"] for each in opened[:12]]
    paths = [url.removeprefix(bench.service.origin) for url in urls]
    origin = bench.service.origin
    name = b'{"name": "Alice Example"}'
    made: dict[str, Callable[[Person], Request]] = {
        "dialog_open": lambda person: person.dialog_open(origin),
        "edit": lambda person: person.of_profile("PATCH", "", name, **PATCH),
        "export": lambda person: person.of_profile("GET", "/export"),
    }
    times = {"dialog_open": 12, "edit": 12, "export": 3}
    activities = {
        activity: bench.measure([make(person) for _ in range(times[activity]) for person in people])
        for activity, make in made.items()
    }
    reads = [Request("GET", path, b"", ACCEPT) for path in paths] * 60
    activities["picture_read"] = bench.measure(reads)
    # Each needs what is erased; the pictures come back in the next round.
    activities["erase"] = bench.measure([person.of_profile("DELETE") for person in people])
    open_sessions(bench, people)
    return {"activities": activities, "uploads": uploads}


def _upload(person: Person, data: bytes) -> Request:
    return person.of_profile("PUT", "/picture", data, Content_Type="application/octet-stream")


def _uploads_of(kind: str) -> int:
    """Return how many are measured: every person gets a picture of the usual kind."""
    return 1000 if kind == "jpeg_12mp" else 16


def typical(rounds: list[Any]) -> Any:
    """Return the median of documents of the same form, three significant digits."""
    if isinstance(rounds[0], dict):
        return {name: typical([each[name] for each in rounds]) for name in rounds[0]}
    return float(f"{statistics.median(rounds):.3g}")


def stored(bench: Bench, people: list[Person], data: bytes) -> dict[str, float]:
    """Give everybody a picture; return the bytes that this takes, sealed and in the database."""
    bench.send([_upload(person, data) for person in people])
    counted = json.loads(bench.service.run("storage", "stats", "--json").stdout)
    of_pictures = sum(each["count"] * each["average"] for each in counted["renditions"])
    of_profiles = counted["profile_bytes"]["count"] * counted["profile_bytes"]["average"]
    found = {
        "picture_set": of_pictures / counted["with_picture"],
        "profile": (of_profiles - of_pictures) / counted["profile_bytes"]["count"],
        "database_factor": database_factor(bench),
    }
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def database_factor(bench: Bench) -> float:
    """Return by how much the database's files grow for each byte of profiles with pictures.

    Many are written directly, with random bytes as values, of the names and sizes of one that is there:
    the files of a few would be mostly what is reserved.
    """
    backend = MysqlBackend.from_url(bench.service.url)
    with closing(backend):
        model = max((backend.list(each) for each in backend.scan(None, 1000)), key=len)
        before = bench.database_bytes()
        for _ in range(COPIES):
            items = [Put(each.name, os.urandom(each.size)) for each in model]
            backend.apply(b"\x01" + os.urandom(32), items)
        return (bench.database_bytes() - before) / (COPIES * sum(each.size for each in model))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--connections", type=int, default=4, help="requests under way at a time")
    parser.add_argument("--photo", type=Path, help="of 12 megapixels; default: one that is made")
    options = parser.parse_args()
    use(options.photo)
    files = kinds()
    with bench(options.connections) as found:
        people = [Person(number) for number in range(options.people)]
        open_sessions(found, people)
        # The first of each kind fills caches and is not measured.
        for data in files.values():
            found.send([_upload(person, data) for person in people[:4]])
        rounds = [one_round(found, people, files) for _ in range(options.rounds)]
        # Last, as it fills the database.
        open_sessions(found, people)
        sizes = stored(found, people, files["jpeg_12mp"])
    document = {
        "measured_on": f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        **typical(rounds),
        "stored_bytes": sizes,
    }
    print(json.dumps(document, indent=1))


def processor() -> str:
    """Return the name of the machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


if __name__ == "__main__":
    main()
