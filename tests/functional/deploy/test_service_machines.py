"""Several service machines on a cluster; each request of a person may reach another machine."""

from __future__ import annotations

import io
import json
import shutil
import signal
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.clients.commands import WRITE_SECONDS
from support.servers.applications import wait_for
from support.servers.galera import Galera
from support.servers.redis import RedisServer
from support.servers.services import Answer, Client, Service
from support.stores.writers import coloured, meanwhile, number_of

from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.keys.keyring import KeyKind
from persona_profile.keys.keyring_file import KeyringFile

pytestmark = pytest.mark.alone

PUBLIC = "https://profiles.example.com"
WRITES = 60
MORE = """\
pictures.formats = jpeg
pictures.workers = 1
browserid.pinned_issuers = {issuers}
ratelimit.url = {redis}
ratelimit.writes_per_email = {writes}/minute
ratelimit.sessions_per_address = 1000000/minute
ratelimit.proofs_per_issuer = 1000000/minute
ratelimit.reads_per_picture = 1000000/minute
ratelimit.bytes_per_email = 1000000000000/minute
ratelimit.bytes_per_address = 1000000000000/minute
"""


class Machines:
    """Three service machines on separate addresses; each prefers another node."""

    def __init__(self, folder: Path, galera: Galera, redis: RedisServer) -> None:
        self.identity_provider = DevelopmentIdentityProvider.load(folder)
        issuers = folder / "issuers.json"
        issuers.write_text(json.dumps(self.identity_provider.support_documents()))
        more = MORE.format(issuers=issuers, redis=redis.url, writes=WRITES)
        self._loaded: Counter[Service] = Counter()
        self.all = []
        for number, node in enumerate(galera.nodes):
            others = [each for each in galera.nodes if each is not node]
            self.all.append(
                Service(
                    folder / f"service{number + 1}",
                    "mysql",
                    galera.url_of(node, *others),
                    development=False,
                    more=more,
                    address=f"127.0.0.{number + 1}",
                    public=PUBLIC,
                )
            )
        for machine in self.all[1:]:
            shutil.copy(self.all[0].keyring, machine.keyring)

    def start(self) -> None:
        """Start all machines in parallel."""
        assert self.all[0].run("storage", "init").returncode == 0
        with ThreadPoolExecutor(len(self.all)) as pool:
            list(pool.map(Service.start, self.all))

    def run(self, *arguments: str) -> None:
        """Run a command on the first machine, which has the master copy of the keyring."""
        done = self.all[0].run(*arguments)
        assert done.returncode == 0, done.stderr

    def load_keyring(self, machine: Service) -> None:
        """Copy the first machine's changed keyring to a machine; wait until it is loaded.

        A machine may load the file between two changes, so the primary keys must match as well.
        """
        self._loaded[machine] += 1
        keyring = KeyringFile(self.all[0].keyring).load()
        encryption, index = (keyring.primary(kind).version for kind in KeyKind)
        newest = f"primary are encryption key {encryption} and index key {index}"

        def is_loaded() -> bool:
            times = machine.log.split("keyring: reloaded; ")
            return len(times) > self._loaded[machine] and times[-1].startswith(newest)

        if machine is not self.all[0]:
            copy = machine.keyring.with_suffix(".copy")
            shutil.copy(self.all[0].keyring, copy)
            copy.replace(machine.keyring)
        machine.signal(signal.SIGHUP)
        wait_for(is_loaded)

    def close(self) -> None:
        """Stop all machines in parallel."""
        with ThreadPoolExecutor(len(self.all)) as pool:
            list(pool.map(Service.close, self.all))


class Person:
    """A person with a session and a connection to each machine."""

    def __init__(self, machines: Machines, email: str) -> None:
        self._machines = machines
        self.email = email
        self.at = [Client(machine, email) for machine in machines.all]

    def proof(self) -> bytes:
        """Return a body that opens one session."""
        proof = self._machines.identity_provider.bundle(self.email, PUBLIC)
        return json.dumps({"proofs": [{"assertion": proof}]}).encode()

    def open_session(self, machine: int, proof: bytes | None = None) -> Answer:
        """Open a session at a machine; use it for all further requests."""
        body = proof or self.proof()
        self.at[machine].token = ""
        answer = self.at[machine].call("POST", "/v1/sessions", body, "application/json")
        if answer.status == 201:
            for client in self.at:
                client.token = answer.json["token"]
        return answer

    def read(self, machine: int) -> Answer:
        """Fetch the profile."""
        return self.at[machine].call("GET", self.at[machine].profile)

    def set_name(self, machine: int, name: str, **headers: str) -> Answer:
        """Change the name."""
        client, body = self.at[machine], json.dumps({"name": name}).encode()
        return client.call("PATCH", client.profile, body, "application/merge-patch+json", **headers)

    def picture(self, machine: int, url: str) -> Answer:
        """Fetch a picture by its URL."""
        return self.at[machine].call("GET", url.removeprefix(PUBLIC))


@pytest.fixture(scope="module")
def machines(
    tmp_path_factory: pytest.TempPathFactory, galera: Galera, redis_server: RedisServer
) -> Iterator[Machines]:
    """Three machines with an empty database."""
    galera.create_database()
    made = Machines(tmp_path_factory.mktemp("machines"), galera, redis_server)
    try:
        made.start()
        yield made
    finally:
        made.close()


def at_once(call: Callable[[int], Answer]) -> list[int]:
    """Call each machine at the same time; return the sorted statuses."""
    with ThreadPoolExecutor(3) as pool:
        return sorted(answer.status for answer in pool.map(call, range(3)))


def test_read_your_writes(machines):
    """A write that one machine acknowledged is visible at all machines at once, with its entity tag."""
    person = Person(machines, "reader@example.com")
    assert person.open_session(0).status == 201
    for number in range(30):
        written = person.set_name((number + 1) % 3, str(number))
        assert written.status == 200
        for machine in ((number + 2) % 3, number % 3):
            read = person.read(machine)
            assert (read.json["name"], read.headers["ETag"]) == (str(number), written.headers["ETag"])
    known = person.at[2].call("GET", person.at[2].profile, If_None_Match=written.headers["ETag"])
    assert known.status == 304


def test_writers_at_once(machines):
    """Of concurrent writes with the same entity tag one succeeds; the other machines answer 412."""
    person = Person(machines, "writer@example.com")
    person.open_session(1)
    tag = person.set_name(0, "first").headers["ETag"]
    for _ in range(5):

        def write(machine: int, tag: str = tag) -> Answer:
            return person.set_name(machine, f"machine {machine}", If_Match=tag)

        assert at_once(write) == [200, 412, 412]
        tag = person.read(1).headers["ETag"]
    # Concurrent changes of different claims without a tag all succeed.
    claims = ("name", "label", "nickname")

    def change(machine: int) -> Answer:
        client, body = person.at[machine], json.dumps({claims[machine]: "changed"}).encode()
        return client.call("PATCH", client.profile, body, "application/merge-patch+json")

    assert at_once(change) == [200] * 3
    assert [person.read(2).json[claim] for claim in claims] == ["changed"] * 3


def test_picture(machines):
    """An uploaded picture has the same URL at all machines, and disappears from all at once."""
    person = Person(machines, "pictured@example.com")
    person.open_session(2)
    assert person.at[0].upload(coloured(7)).status == 200
    urls = [person.read(machine).json["picture"]["urls"]["64"] for machine in range(3)]
    assert len(set(urls)) == 1
    served = [person.picture(machine, urls[0]) for machine in range(3)]
    assert {(each.status, each.headers["ETag"], number_of(each.body)) for each in served} == {
        (200, served[0].headers["ETag"], 7)
    }
    assert person.at[1].upload(coloured(9)).status == 200
    assert [person.picture(machine, urls[0]).status for machine in range(3)] == [404] * 3
    new = person.read(2).json["picture"]["urls"]["64"]
    assert number_of(person.picture(0, new).body) == 9

    exported = person.at[2].call("GET", f"{person.at[2].profile}/export")
    with zipfile.ZipFile(io.BytesIO(exported.body)) as files:
        assert number_of(files.read("picture/512.jpeg")) == 9
    assert person.at[0].call("DELETE", person.at[0].profile).status == 204
    for machine in (1, 2):
        assert (person.read(machine).json["version"], person.picture(machine, new).status) == (0, 404)


def test_proof_at_several_machines(machines):
    """A proof opens a single session, even if it is sent to all machines at once."""
    person = Person(machines, "prover@example.com")
    proof = person.proof()
    assert person.open_session(0, proof).status == 201
    for machine in range(3):
        answer = person.open_session(machine, proof)
        assert (answer.status, answer.json["code"]) == (401, "proof_replayed")
    for _ in range(5):
        people = [Person(machines, person.email) for _ in range(3)]

        def prove(
            machine: int, people: Sequence[Person] = people, proof: bytes = person.proof()
        ) -> Answer:
            return people[machine].open_session(machine, proof)

        assert at_once(prove) == [201, 401, 401]


def test_sign_out(machines):
    """A sign-out at one machine ends all sessions of the email at all machines at once."""
    people = [Person(machines, "leaver@example.com") for _ in range(3)]
    for number, person in enumerate(people):
        assert person.open_session(number).status == 201
    people[0].set_name(0, "leaver")
    assert people[1].at[2].call("DELETE", "/v1/sessions").status == 204
    for number, person in enumerate(people):
        for machine in range(3):
            answer = person.read((machine + number) % 3)
            assert (answer.status, answer.json["code"]) == (401, "session_revoked")
    assert people[2].open_session(1).status == 201
    assert people[2].read(0).json["name"] == "leaver"


def test_rate_limit(machines):
    """All machines share the counters of rate limits."""
    person = Person(machines, "busy@example.com")
    person.open_session(0)
    answers = [person.set_name(number % 3, str(number)) for number in range(WRITES + 9)]
    assert sum(answer.status == 200 for answer in answers) == WRITES
    assert [answer.status for answer in answers[WRITES:]] == [429] * 9
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers[WRITES:])


class Living:
    """A person who constantly writes at one machine, reads at the next and fetches at the third."""

    def __init__(self, machines: Machines, number: int) -> None:
        self.person = Person(machines, f"living{number}@example.com")
        self.wrong: list[object] = []
        self.rounds = 0
        self._number = number
        self.person.open_session(number % 3)
        assert self.person.at[0].upload(coloured(number)).status == 200

    def live_until(self, stop: threading.Event) -> None:
        """Run rounds; record wrong answers."""
        while not stop.is_set() and not self.wrong:
            self.rounds += 1
            # Every order of machines, and sometimes a new session at any of them.
            turn = [(self.rounds + self._number + each) % 3 for each in range(3)]
            if self.rounds % 4 == 0:
                self._expect(self.person.open_session(turn[0]), 201)
            if self.rounds % 8 == 1:
                self._expect(self.person.set_name(turn[0], str(self.rounds)), 200)
                name = str(self.rounds)
            read = self.person.read(turn[1])
            if self._expect(read, 200):
                self._expect_equal(read.json["name"], name)
                picture = self.person.picture(turn[2], read.json["picture"]["urls"]["64"])
                if self._expect(picture, 200):
                    self._expect_equal(number_of(picture.body), self._number)
            stop.wait(0.2)  # stays below the rate limit of writes

    def _expect(self, answer: Answer, status: int) -> bool:
        if answer.status != status:
            self.wrong.append((answer.status, answer.body))
        return answer.status == status

    def _expect_equal(self, found: object, expected: object) -> None:
        if found != expected:
            self.wrong.append((found, expected))


def test_keyring_walks_over_machines(machines, monkeypatch):
    """A key is added, promoted and destroyed machine by machine without a failing request."""
    monkeypatch.setenv(WRITE_SECONDS, "0")
    people = [Living(machines, number) for number in range(3)]

    def walk() -> None:
        for machine in machines.all:
            machines.load_keyring(machine)
            # Lets everybody meet machines with the old and the new keyring.
            before = [each.rounds for each in people]
            wait_for(
                lambda before=before: (
                    any(each.wrong for each in people)
                    or all(each.rounds > past + 3 for each, past in zip(people, before, strict=True))
                )
            )

    with meanwhile([each.live_until for each in people]):
        machines.run("keys", "rotate")
        walk()
        machines.run("keys", "rotate", "--promote")
        walk()
        machines.run("keys", "rewrap", "--rate", "100000")
        machines.run("keys", "destroy", "1", "--revoke", "--yes")
        walk()
    assert [wrong for each in people for wrong in each.wrong] == []
    machines.run("storage", "verify")


def test_keyring_in_the_wrong_order(machines):
    """A key promoted before all machines have it fails requests there and loses no data."""
    first, second = machines.all[:2]
    people = [Person(machines, f"early{number}@example.com") for number in range(2)]
    for number, person in enumerate(people):
        assert person.open_session(number).status == 201
    machines.run("keys", "rotate")
    machines.run("keys", "rotate", "--promote")
    machines.load_keyring(first)
    assert people[0].set_name(0, "early").status == 200
    response = people[0].read(1)
    assert (response.status, response.json["code"]) == (503, "profile_unreadable")
    assert int(response.headers["Retry-After"]) > 0
    people[1].open_session(0)
    response = people[1].read(1)
    assert (response.status, response.json["code"]) == (401, "session_invalid")
    for machine in (second, machines.all[2]):
        machines.load_keyring(machine)
    assert people[0].read(1).json["name"] == "early"
    assert people[1].read(1).status == 200
