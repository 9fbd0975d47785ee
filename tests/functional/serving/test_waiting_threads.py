"""Attacks on the threads of a real server by slow identity providers and uploads."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from support.clients.contract import hold_to_contract
from support.clients.identities import AUDIENCE, bundle
from support.clients.metrics import Exposition
from support.clients.recording import recorded
from support.pictures.pictures import encode, quadrants
from support.servers.applications import serving, wait_for
from support.servers.tls import answer, answering, authority, fetcher
from support.servers.tls import serving as serving_tls

from persona_profile.app import make_app
from persona_profile.runtime.waiting import Claim, Wait
from persona_profile.serving.server import make_server
from persona_profile.settings import InvalidSettings, parse_settings

ATTACKER = "198.51.100.7"
CACHED, FRESH, CROWD = "cached.example.co.uk", "fresh.test", "crowd.test"
PICTURE = encode(quadrants(64, 64))


class World:
    """A server of eight threads behind a proxy, and identity providers, of which some never answer.

    Attributes:
        go_on: lets lookups of names under `slow.*` end, and those of CROWD.
        resolved: the names that were looked up.
        pool: threads of clients.
    """

    def __init__(self, folder, providers_port):
        self.go_on = threading.Event()
        self.resolved = []
        self.pool = ThreadPoolExecutor(64)
        given = {
            "development": "true",
            "development.folder": str(folder),
            "public_origins": AUDIENCE,
        }
        self.app = recorded(
            hold_to_contract(
                make_app(
                    parse_settings(given, {}),
                    new_fetcher=lambda: fetcher(providers_port, resolve=self.resolve, deadline=60.0),
                )
            )
        )
        self.services = self.app.services
        self.port = 0

    def resolve(self, name):
        """Find every name at the providers; slow ones when they may."""
        self.resolved.append(name)
        if "slow" in name:
            self.go_on.wait(60)
            raise socket.gaierror
        if name == CROWD:
            self.go_on.wait(60)
        return ["127.0.0.1"]

    def ask(self, method, path, body=None, client="192.0.2.1", **headers):
        """Return status, headers and body of a request that a proxy passes on for a client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Host": "127.0.0.1:6543", "X-Forwarded-For": client} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        try:
            connection.request(method, path, body, given)
            with connection.getresponse() as response:
                return response.status, response.headers, response.read()
        finally:
            connection.close()

    def sign_in(self, email, client="192.0.2.1"):
        """Return status, headers and body of a sign-in from a domain that is looked up."""
        return self.prove(bundle(email), client)

    def sign_in_pinned(self, client="192.0.2.1"):
        """Return the same of a domain that is pinned."""
        return self.prove(
            self.app.development.identity_provider.bundle("alice@example.com", AUDIENCE), client
        )

    def prove(self, assertion, client):
        """Return status, headers and body of a sign-in."""
        body = json.dumps({"proofs": [{"assertion": assertion}]})
        return self.ask("POST", "/v1/sessions", body, client, Content_Type="application/json")

    def attack(self, sign_ins):
        """Begin sign-ins by (email, client); return the rejected ones once all others wait."""
        begun = [self.pool.submit(self.sign_in, *each) for each in sign_ins]
        wait_for(
            lambda: sum(each.done() for each in begun) + self.waiting("lookup") == len(begun),
            every=0.01,
        )
        return [each.result() for each in begun if each.done()]

    def waiting(self, kind):
        """Return how many threads wait, as the metrics say."""
        return self.metrics().value("persona_waiting_threads", kind=kind)

    def metrics(self):
        """Return the metrics."""
        return Exposition(self.services.metrics.exposition())

    def check_all_others(self, client="192.0.2.1"):
        """Make sure that whatever needs no lookup is served."""
        assert self.sign_in_pinned(client)[0] == 201
        assert self.sign_in(f"bob@{CACHED}", client)[0] == 201
        _, _, body = self.sign_in_pinned(client)
        token = f"Bearer {json.loads(body)['token']}"
        assert self.ask("GET", "/v1/profiles", client=client, Authorization=token)[0] == 200
        assert self.ask("GET", "/__lbheartbeat__")[0] == 200
        assert self.ask("GET", "/__version__")[0] == 200


@pytest.fixture
def world(development_folder):
    """A server that knows CACHED already."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(CACHED, FRESH, CROWD).configure_cert(context)
    with serving_tls(answering(answer()), context) as providers:
        made = World(development_folder, providers.port)
        proxy = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"}
        with serving(made.app, **proxy) as server:
            made.port = server.effective_port
            assert made.sign_in(f"bob@{CACHED}")[0] == 201
            yield made
            made.go_on.set()
            made.pool.shutdown()
        made.app.close()


def test_one_address_with_slow_domains(world):
    """Slow domains of one address leave a place: fresh domains of others are still looked up."""
    rejected = world.attack([(f"a@slow{i}.test", ATTACKER) for i in range(20)])
    assert len(rejected) == 17
    for status, headers, body in rejected:
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        assert int(headers["Retry-After"]) >= 1
    world.check_all_others()
    world.check_all_others(ATTACKER)
    assert world.sign_in(f"carol@{FRESH}")[0] == 201
    found = world.metrics()
    assert found.value("persona_waiting_rejections_total", kind="lookup", reason="network") == 17
    assert found.value("persona_waiting_threads_limit") == 6


def test_wildcard_zone_with_many_addresses(world):
    """Slow names of one zone leave a place too, from however many addresses they come."""
    rejected = world.attack([(f"a@n{i}.slow.co.uk", f"198.51.100.{i}") for i in range(20)])
    assert len(rejected) == 17
    world.check_all_others()
    assert world.sign_in(f"carol@{FRESH}")[0] == 201


def test_many_addresses_with_many_domains(world):
    """If all lookups are slow and uploads hold all that they may, the rest goes on."""
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(world.services.waiting.place(Wait.UPLOAD))
        rejected = world.attack([(f"a@slow{i}.test", f"198.51.100.{i}") for i in range(20)])
        assert len(rejected) == 18
        assert world.waiting("upload") + world.waiting("lookup") == 6
        world.check_all_others()


def test_uploads(world):
    """An upload beyond the budget gets 503 with Retry-After; lookups keep their places."""
    _, _, body = world.sign_in_pinned()
    headers = {"Authorization": f"Bearer {json.loads(body)['token']}", "Content_Type": "image/jpeg"}
    path = "/v1/profiles/alice@example.com/picture"
    with ExitStack() as held:
        for _ in range(world.services.waiting.limit(Wait.UPLOAD)):
            held.enter_context(world.services.waiting.place(Wait.UPLOAD))
        # One may enter, as it may displace another.
        assert world.ask("PUT", path, PICTURE, **headers)[0] == 200
        held.enter_context(world.services.waiting.place(Wait.UPLOAD, spare=1))
        status, reported, body = world.ask("PUT", path, PICTURE, **headers)
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        assert int(reported["Retry-After"]) >= 1
        assert world.sign_in(f"carol@{FRESH}")[0] == 201
    assert world.ask("PUT", path, PICTURE, **headers)[0] == 200
    assert world.waiting("upload") == 0


def test_uploads_of_a_network(world):
    """A network whose uploads hold all places leaves the spare one to others."""
    _, _, body = world.sign_in_pinned()
    headers = {"Authorization": f"Bearer {json.loads(body)['token']}", "Content_Type": "image/jpeg"}
    path = "/v1/profiles/alice@example.com/picture"
    places = world.services.waiting.limit(Wait.UPLOAD)
    with ExitStack() as held:
        for _ in range(places):
            claim = Claim("network", ATTACKER, places)
            held.enter_context(world.services.waiting.place(Wait.UPLOAD, [claim], spare=1))
        status, _, body = world.ask("PUT", path, PICTURE, ATTACKER, **headers)
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        assert world.ask("PUT", path, PICTURE, **headers)[0] == 200
    found = world.metrics()
    assert found.value("persona_waiting_rejections_total", kind="upload", reason="network") == 1


def test_crowd(world):
    """Many people of one domain, which nobody knows yet, share one lookup; none waits for another's."""
    rejected = world.attack([(f"a{i}@{CROWD}", f"192.0.2.{i}") for i in range(20)])
    assert {status for status, _, _ in rejected} == {503}
    assert len(rejected) == 17
    world.check_all_others()
    assert world.resolved.count(CROWD) == 1
    world.go_on.set()
    world.pool.shutdown()
    assert world.sign_in(f"a@{CROWD}")[0] == 201
    assert world.resolved.count(CROWD) == 1


def test_too_few_threads(world):
    """A server whose threads would all wait does not start."""
    with pytest.raises(InvalidSettings, match="threads: must be a whole number of at least 5"):
        make_server(world.app, listen="127.0.0.1:0", threads=4)
