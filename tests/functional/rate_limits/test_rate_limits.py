import hashlib
import http.client
import itertools
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import webtest
from support.clients.metrics import Exposition
from support.pictures.pictures import encode, quadrants
from support.servers.applications import Clock, application, limited_applications, running, wait_for
from support.servers.redis import RedisServer
from support.servers.services import Client, Service

from persona_profile.app import make_app
from persona_profile.encoding import base64url_encode
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.serving.server import make_server
from persona_profile.settings import InvalidSettings, parse_settings

AUDIENCE = "http://127.0.0.1:6543"
ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.org"
PROFILE = f"/v1/profiles/{ALICE}"
DIALOG = {"Origin": "https://dialog.example"}
RAW = {"Content-Type": "application/octet-stream"}
SMALL_PICTURES = {
    "pictures__formats": "jpeg",
    "pictures__max_pixels_jpeg": "200000",
    "pictures__max_pixels_other": "200000",
}
PROXY = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"}


@pytest.fixture
def clock() -> Clock:
    """A clock that tests advance."""
    return Clock(time.time())


@pytest.fixture
def limited(development_folder: Path, clock: Clock) -> Iterator[Callable[..., webtest.TestApp]]:
    """Makes applications with limits, counted in memory by default."""
    with limited_applications(development_folder, clock) as make:
        yield make


def sign_in(app, *emails, status=201, **more):
    """Prove emails; return the answer."""
    provider = app.app.development.identity_provider
    proofs = [{"assertion": provider.bundle(email, AUDIENCE)} for email in emails]
    return app.post_json("/v1/sessions", {"proofs": proofs}, status=status, **more)


def session(app, *emails):
    """Return the headers of a new session."""
    return {"Authorization": f"Bearer {sign_in(app, *emails).json['token']}"}


def assert_limited(response, policy):
    """Check a rejection by a policy; return its Retry-After."""
    assert response.status_int == 429
    assert response.content_type == "application/problem+json"
    assert (response.json["code"], response.json["policy"]) == ("rate_limited", policy)
    return int(response.headers["Retry-After"])


class TestSessions:
    def test_per_address(self, limited, clock):
        """Each address has its number of attempts, successful or not; passing time restores it."""
        app = limited(ratelimit__sessions_per_address="3/minute")
        fields = []
        for status in (201, 201, 400):
            answer = sign_in(app, *[ALICE] * (status == 201), status=status)
            fields.append(answer.headers["RateLimit"])
        assert fields == [f'"sessions-per-address";r={left};t=60' for left in (2, 1, 0)]
        response = sign_in(app, ALICE, status=429)
        wait = assert_limited(response, "sessions-per-address")
        assert response.headers["RateLimit"] == f'"sessions-per-address";r=0;t={wait}'
        assert response.headers["RateLimit-Policy"] == '"sessions-per-address";q=3;w=60'
        sign_in(app, ALICE, extra_environ={"REMOTE_ADDR": "192.0.2.2"})
        clock.now += wait
        sign_in(app, ALICE)

    def test_networks(self, limited):
        """The addresses of a /64 share a limit."""
        app = limited(ratelimit__sessions_per_address="1/minute")
        sign_in(app, ALICE, extra_environ={"REMOTE_ADDR": "2001:db8::1"})
        sign_in(app, ALICE, extra_environ={"REMOTE_ADDR": "2001:db8::ffff:1"}, status=429)
        sign_in(app, ALICE, extra_environ={"REMOTE_ADDR": "2001:db8:0:1::1"})

    def test_per_issuer(self, limited, clock):
        """Proofs are limited per issuer; other domains sign in meanwhile."""
        app = limited(ratelimit__proofs_per_issuer="3/minute")
        answer = sign_in(app, ALICE, BOB, CAROL)
        assert "issuer" not in answer.headers["RateLimit-Policy"]
        response = sign_in(app, ALICE, BOB, status=429)
        assert_limited(response, "proofs-per-issuer")
        assert "issuer" not in response.headers["RateLimit"]
        sign_in(app, CAROL)
        sign_in(app, ALICE)
        clock.now += assert_limited(sign_in(app, ALICE, BOB, status=429), "proofs-per-issuer")
        sign_in(app, ALICE, BOB)

    def test_domains_below_a_domain(self, limited):
        """Subdomains share the limit of their registrable domain."""
        app = limited(ratelimit__proofs_per_issuer="1/minute")
        sign_in(app, "mallory@one.evil.example")
        response = sign_in(app, "mallory@two.evil.example", status=429)
        assert_limited(response, "proofs-per-issuer")
        sign_in(app, ALICE)

    def test_forged_proofs_do_not_count(self, limited):
        """Forged proofs do not use up a domain's limit."""
        app = limited(ratelimit__proofs_per_issuer="1/minute")
        provider = app.app.development.identity_provider
        for _ in range(3):
            forged = provider.bundle(ALICE, AUDIENCE)[:-8] + "AAAAAAAA"
            app.post_json("/v1/sessions", {"proofs": [{"assertion": forged}]}, status=401)
        sign_in(app, ALICE)

    def test_refusal_uses_no_proof_up(self, limited, clock):
        """A proof rejected by a limit opens a session later."""
        app = limited(ratelimit__proofs_per_issuer="1/second")
        sign_in(app, BOB)
        proof = app.app.development.identity_provider.bundle(ALICE, AUDIENCE)
        body = {"proofs": [{"assertion": proof}]}
        clock.now += assert_limited(
            app.post_json("/v1/sessions", body, status=429), "proofs-per-issuer"
        )
        app.post_json("/v1/sessions", body, status=201)

    def test_dialog_may_read(self, limited):
        """Pages of the dialog can read the limit's headers on every answer."""
        app = limited(ratelimit__sessions_per_address="1/minute")
        for status in (201, 429):
            exposed = sign_in(app, ALICE, status=status, headers=DIALOG).headers[
                "Access-Control-Expose-Headers"
            ]
            assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed.split(", "))


class TestWrites:
    def test_each_kind_counts(self, limited, clock):
        """All changes of a profile, and its export, share a limit per email."""
        app = limited(ratelimit__writes_per_email="1/minute")
        headers = session(app, ALICE, CAROL)
        calls = [
            ("PATCH", PROFILE, b'{"name": "A"}', "application/json"),
            ("PUT", PROFILE, b'{"name": "A"}', "application/json"),
            ("PUT", f"{PROFILE}/profile-key", b'{"profile_key": null}', "application/json"),
            ("POST", f"{PROFILE}/profile-keys", b"{}", "application/json"),
            ("DELETE", f"{PROFILE}/profile-keys/AAECAwQFBgc", b"", ""),
            ("PUT", f"{PROFILE}/picture", b"no picture", "image/png"),
            ("DELETE", f"{PROFILE}/picture", b"", ""),
            ("GET", f"{PROFILE}/export", b"", ""),
            ("DELETE", PROFILE, b"", ""),
        ]
        for method, path, body, kind in calls:
            clock.now += 120
            app.patch_json(PROFILE, {"name": "B"}, headers=headers, status=200)
            response = app.request(
                path,
                method=method,
                body=body,
                headers=headers | ({"Content-Type": kind} if kind else {}),
                status=429,
            )
            assert_limited(response, "writes-per-email")
        app.patch_json(PROFILE.replace(ALICE, CAROL), {"name": "C"}, headers=headers, status=200)

    def test_reads_and_sign_out_do_not(self, limited):
        """Reads and sign-outs succeed when the limit of writes is used up."""
        app = limited(ratelimit__writes_per_email="1/minute")
        headers = session(app, ALICE)
        for status in (200, 429):
            app.patch_json(PROFILE, {"name": "A"}, headers=headers, status=status)
        assert app.get(PROFILE, headers=headers).json["name"] == "A"
        assert "RateLimit" not in app.get("/v1/profiles", headers=headers).headers
        app.delete("/v1/sessions", headers=headers, status=204)

    def test_strangers_do_not_count(self, limited):
        """Requests of strangers do not use up the owner's limit."""
        app = limited(ratelimit__writes_per_email="1/minute")
        stranger = session(app, BOB)
        for _ in range(2):
            app.patch_json(PROFILE, {"name": "B"}, headers=stranger, status=403)
        app.patch_json(PROFILE, {"name": "A"}, headers=session(app, ALICE), status=200)


class TestPictures:
    def put(self, app, headers, picture, status=200):
        """Upload a picture."""
        return app.put(f"{PROFILE}/picture", picture, headers=headers | RAW, status=status)

    def test_cost_is_pixels(self, limited, clock):
        """An upload costs its number of pixels; a smaller upload may still pass."""
        app = limited(ratelimit__pixels_per_email="400000/minute", **SMALL_PICTURES)
        headers = session(app, ALICE)
        large, small = encode(quadrants(400, 400)), encode(quadrants(200, 200), "PNG")
        answer = self.put(app, headers, large)
        assert answer.headers.getall("RateLimit") == [
            '"writes-per-email";r=59;t=60',
            '"pixels-per-email";r=240000;t=60',
        ]
        assert '"pixels-per-email";q=400000;qu="pixels";w=60' in answer.headers.getall(
            "RateLimit-Policy"
        )
        self.put(app, headers, large)
        response = self.put(app, headers, large, status=429)
        wait = assert_limited(response, "pixels-per-email")
        assert f'"pixels-per-email";r=80000;t={wait}' in response.headers.getall("RateLimit")
        self.put(app, headers, small)
        clock.now += wait + 60
        self.put(app, headers, large)

    def test_told_before_decoding(self, limited):
        """A picture over the limit is not decoded; a picture rejected by its header costs nothing."""
        app = limited(ratelimit__pixels_per_email="400000/minute", **SMALL_PICTURES)
        headers = session(app, ALICE)
        broken = encode(quadrants(400, 400))[:-300]
        response = self.put(app, headers, encode(quadrants(500, 500)), status=422)
        assert response.json["code"] == "picture_too_many_pixels"
        for _ in range(2):
            assert self.put(app, headers, broken, status=422).json["code"] == "picture_broken"
        assert_limited(self.put(app, headers, broken, status=429), "pixels-per-email")

    def test_reads_per_picture(self, limited, clock):
        """Fetches of a picture's URL are limited, 304 included; each URL has its own limit."""
        app = limited(ratelimit__reads_per_picture="2/minute", **SMALL_PICTURES)
        urls = self.put(app, session(app, ALICE), encode(quadrants(200, 200))).json["picture"]["urls"]
        path = urls["64"].removeprefix(AUDIENCE)
        answer = app.get(path, status=200)
        assert answer.headers["RateLimit"] == '"reads-per-picture";r=1;t=60'
        app.get(path, headers={"If-None-Match": answer.headers["ETag"]}, status=304)
        wait = assert_limited(app.get(path, status=429), "reads-per-picture")
        app.get(urls["128"].removeprefix(AUDIENCE), status=200)
        clock.now += wait
        app.get(path, status=200)


class TestAddresses:
    def statuses(self, origin: str, *hops: dict[str, str]) -> list[int]:
        """Return the statuses of POSTs with headers, each on a new connection."""
        found = []
        for headers in hops:
            connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=30)
            connection.request(
                "POST",
                "/v1/sessions",
                b'{"proofs": []}',
                {"Content-Type": "application/json"} | headers,
            )
            found.append(connection.getresponse().status)
            connection.close()
        return found

    @pytest.fixture
    def app(self, limited):
        """An application with one sign-in attempt per address and minute; 400 is within the limit."""
        return limited(ratelimit__sessions_per_address="1/minute").app

    def test_forged_headers(self, app):
        """Without a trusted proxy, headers do not change the client's address."""
        spoofed = [
            {"X-Forwarded-For": "203.0.113.7"},
            {"Forwarded": "for=203.0.113.8"},
            {"X-Real-IP": "203.0.113.9"},
        ]
        with running(app) as origin:
            assert self.statuses(origin, {}, *spoofed) == [400, 429, 429, 429]

    def test_behind_a_proxy(self, app):
        """Behind a trusted proxy the last address of X-Forwarded-For counts."""
        hops = ["203.0.113.7", "203.0.113.8", "9.9.9.9, 203.0.113.7", "203.0.113.9:4711", "203.0.113.9"]
        with running(app, **PROXY) as origin:
            found = self.statuses(origin, *({"X-Forwarded-For": hop} for hop in hops))
            assert found == [400, 400, 429, 400, 429]
            # Only the configured header counts.
            assert self.statuses(origin, {"Forwarded": "for=203.0.113.20"}) == [400]
            assert self.statuses(origin, {"Forwarded": "for=203.0.113.21"}) == [429]

    def test_forwarded(self, app):
        """A trusted proxy may send Forwarded (RFC 7239) instead."""
        hops = ["for=203.0.113.7", 'for="[2001:db8::7]:4711"', "for=1.1.1.1, for=203.0.113.7"]
        trusted = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "forwarded"}
        with running(app, **trusted) as origin:
            found = self.statuses(origin, *({"Forwarded": hop} for hop in hops))
        assert found == [400, 400, 429]

    def test_ipv6_behind_a_proxy(self, app):
        """A /64 is a client; a mapped IPv4 address equals its plain form."""
        hops = ["2001:db8::1", "2001:db8::2", "[2001:db8::3]", "2001:db8:0:1::1"]
        mapped = ["::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.8"]
        with running(app, **PROXY) as origin:
            found = self.statuses(origin, *({"X-Forwarded-For": hop} for hop in hops + mapped))
        assert found == [400, 429, 429, 400, 400, 429, 400]

    def test_ports_of_ipv6(self, app):
        """Ports do not distinguish clients, in any spelling."""
        hops = ["[2001:db8::1]:4711", "[2001:db8::1]:4712", "[2001:db8::2]", '"[2001:db8::3]:1"']
        mapped = ["[::ffff:203.0.113.7]:4711", "203.0.113.7:4712", "::ffff:203.0.113.7"]
        with running(app, **PROXY) as origin:
            found = self.statuses(origin, *({"X-Forwarded-For": hop} for hop in hops + mapped))
        assert found == [400, 429, 429, 429, 400, 429, 429]

    @pytest.mark.parametrize(
        ("name", "junk"),
        [
            ("X-Forwarded-For", ["unknown", "a", ":1", ":2", "[", "]:80", "1.2.3.4.5", "%", '"']),
            ("Forwarded", ["for=unknown", "for=:80", "for=_a", "x", "=", "for=[", "for"]),
        ],
    )
    def test_no_address(self, app, name, junk, caplog):
        """Entries without an address count for the proxy's own address, and are not logged."""
        trusted = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": name.lower()}
        with running(app, **trusted) as origin:
            found = self.statuses(origin, *({name: each} for each in junk))
        assert found == [400] + [429] * (len(junk) - 1)
        assert not [each for each in caplog.records if each.name == "waitress"]

    def test_network_of_proxies(self, app):
        """A network of proxies may be trusted; headers from other addresses are ignored."""
        hops = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in (1, 2, 1)]
        with running(app, **PROXY | {"trusted_proxy": "10.0.0.1 127.0.0.0/8"}) as origin:
            assert self.statuses(origin, *hops) == [400, 400, 429]
        with running(app, **PROXY | {"trusted_proxy": "10.0.0.0/8"}) as origin:
            assert self.statuses(origin, *hops) == [400, 429, 429]

    @pytest.mark.parametrize("proxies", ["10.0.0.1/8", "nginx", "127.0.0.1:80"])
    def test_proxies_that_cannot_be_read(self, app, proxies):
        """Malformed proxies abort the start; the message has the setting's name, not its value."""
        with (
            pytest.raises(InvalidSettings, match="trusted_proxy: must be IP addresses") as caught,
            running(app, **PROXY | {"trusted_proxy": proxies}),
        ):
            pass
        assert proxies not in str(caught.value)

    def test_another_proxy_is_not_trusted(self, app):
        """Headers from other addresses than the trusted proxy are ignored."""
        settings = PROXY | {"trusted_proxy": "192.0.2.1"}
        hops = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in (1, 2)]
        with running(app, **settings) as origin:
            assert self.statuses(origin, *hops) == [400, 429]

    @pytest.mark.parametrize(
        ("settings", "warns"),
        [({}, True), (PROXY | {"trusted_proxy_headers": "x-forwarded-proto"}, True), (PROXY, False)],
    )
    def test_proxy_that_is_not_set_up(self, app, settings, warns, caplog):
        """The log warns if all clients behind a proxy share an address."""
        with running(app, **settings):
            assert ("count all clients as one" in caplog.text) is warns

    def test_one_of_several_behind_a_proxy(self, app, caplog):
        """Processes with inherited sockets log the same warning."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = make_server(app, sockets=[listening])
            server.close()
            server.task_dispatcher.shutdown()
        assert "count all clients as one" in caplog.text


class TestRedis:
    @pytest.fixture
    def limits(self, redis_server: RedisServer) -> dict[str, str]:
        """Settings that count in an empty Redis, with a long timeout."""
        redis_server.client().flushall()
        return {"ratelimit__url": redis_server.url, "ratelimit__timeout_ms": "10000"}

    def test_processes_share(self, tmp_path):
        """Processes share limits by Redis; without Redis each process counts by itself."""
        redis = RedisServer(tmp_path)
        redis.start()
        settings = {
            "pictures.formats": "jpeg",
            "ratelimit.url": redis.url,
            "ratelimit.timeout_ms": "10000",
            "ratelimit.writes_per_email": "4/hour",
        }
        more = "\n".join(f"{name} = {value}" for name, value in settings.items())
        services = []
        try:
            for _ in range(2):
                services.append(Service(tmp_path, "sqlite", f"sqlite:///{tmp_path}/items", more=more))
                services[-1].start()
            assert self.writes(services, ALICE, 6) == [200] * 4 + [429] * 2
            redis.signal(signal.SIGKILL)
            assert self.writes(services, BOB, 10) == [200] * 8 + [429] * 2
            redis.start()
            wait_for(lambda: services[0].log.count("Redis answers again") == 2 or self.probe(services))
            assert self.writes(services, CAROL, 6) == [200] * 4 + [429] * 2
            assert services[0].log.count("Redis does not answer") == 2  # once per process
        finally:
            for service in services:
                service.close()
            redis.stop()

    def writes(self, services, email, number):
        """Write `number` times, alternating between the services; return the statuses."""
        clients = [Client(service, email) for service in services]
        for client in clients:
            client.sign_in()
        alternating = itertools.cycle(clients)
        return [next(alternating).set_name("A").status for _ in range(number)]

    def probe(self, services):
        """Make each service probe Redis."""
        self.writes(services, "dave@example.com", 0)

    def test_nothing_personal(self, limited, limits, redis_server, caplog):
        """Redis and the log contain no email, domain, address, URL, or hash of them."""
        caplog.set_level("DEBUG")
        app = limited(**limits, **SMALL_PICTURES, ratelimit__writes_per_email="2/minute")
        headers = session(app, ALICE)
        capability = (
            app.put(f"{PROFILE}/picture", encode(quadrants(100, 100)), headers=headers | RAW)
            .json["picture"]["urls"]["64"]
            .rpartition("/")[2]
        )
        app.get(f"/v1/pictures/{capability}", status=200)
        for status in (200, 429):
            app.patch_json(PROFILE, {"name": "A"}, headers=headers, status=status)
        client = redis_server.client()
        keys = [key.decode() for key in client.scan_iter()]
        policies = {key.split("/")[1] for key in keys}
        assert len(policies) == 8
        form = r"persona-profile:\{LIMITER/[a-z-]+/[A-Za-z0-9_-]{22}/\d+/\d+/(minute|hour)\}(/-1)?"
        assert all(re.fullmatch(form, key) for key in keys)
        assert all(re.fullmatch(rb"\d+", client.get(key)) for key in keys)
        secrets = [ALICE, "example.com", "192.0.2.1", capability]
        hashes = [
            base64url_encode(make(secret.encode()).digest())[:16]
            for secret in secrets
            for make in (hashlib.sha256, hashlib.sha1, hashlib.md5)
        ]
        assert not any(each in text for each in secrets + hashes for text in [*keys, caplog.text])

    def test_silent_redis_refuses_nobody(self, limited, redis_server, caplog):
        """Without Redis people sign in and write, within limits per process."""
        app = limited(ratelimit__url="redis://127.0.0.1:1", ratelimit__writes_per_email="2/minute")
        headers = session(app, ALICE)
        statuses = [
            app.patch_json(PROFILE, {"name": "A"}, headers=headers, expect_errors=True).status_int
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert caplog.text.count("Redis does not answer") == 1
        found = Exposition(app.app.services.metrics.exposition())
        assert found.value("persona_ratelimit_uncoordinated_processes") == 1

    def test_client_is_an_extra(self, limited, monkeypatch):
        """Without the client of Redis the error names the extra to install."""
        monkeypatch.setitem(sys.modules, "redis.backoff", None)
        with pytest.raises(InvalidSettings, match=r'ratelimit\.url: needs the extra "redis"'):
            limited(ratelimit__url="redis://127.0.0.1:1")


class TestDefaults:
    def test_off_in_development(self, development_folder):
        """In development limits are off unless a counter is configured."""
        app = application(development_folder, ratelimit__writes_per_email="1/minute")
        test_app = webtest.TestApp(app)
        headers = session(test_app, ALICE)
        for _ in range(3):
            answer = test_app.patch_json(PROFILE, {"name": "A"}, headers=headers, status=200)
        assert "RateLimit" not in answer.headers
        app.close()

    def test_on_in_production(self, tmp_path):
        """Outside development limits are on by default, counted per process."""
        keyring = tmp_path / "keyring.json"
        KeyringFile(keyring).create(Keyring.generate())
        given = {"public_origins": "https://profiles.example", "keyring.path": str(keyring)}
        app = make_app(parse_settings(given, {}))
        answer = webtest.TestApp(app).post_json("/v1/sessions", {"proofs": []}, status=400)
        assert answer.headers["RateLimit"] == '"sessions-per-address";r=299;t=60'
        app.close()
