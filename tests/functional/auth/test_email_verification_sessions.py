"""Sessions by email verification tokens, with real DNS and HTTPS on loopback."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import dns.resolver
import pytest
import webtest
from pyevp.testing import FakeBrowser, FakeIssuer, FixedClock
from support.forgeries import email_tokens
from support.forgeries.email_tokens import DENIED, EMAIL, PAGE, proof
from support.servers.applications import wait_for
from support.servers.dns import DnsServer, chain, dns_server, silent, txt
from support.servers.openid import (
    Provider,
    elliptic,
    fresh_nonce,
    providers,
    public,
    token,
    trusting_app,
)

from persona_profile.app import Application, make_app
from persona_profile.settings import InvalidSettings, parse_settings

ROWS = email_tokens.ROWS
each_forgery = pytest.mark.parametrize("forgery", ROWS, ids=[row.name for row in ROWS])


class Site(NamedTuple):
    """An application, and the parts of the world that it asks."""

    app: Application
    web: Provider
    zones: DnsServer

    def client(self, address="127.0.0.1"):
        """Return a client with an address."""
        extra = {"HTTP_HOST": "localhost", "REMOTE_ADDR": address}
        return webtest.TestApp(self.app, extra_environ=extra)


def sign_in(client, *proofs, status=201, kind="evt"):
    """Open a session by tokens."""
    body = {"proofs": [{kind: each} for each in proofs]}
    return client.post_json("/v1/sessions", body, status=status)


@contextlib.contextmanager
def world(folder, **settings):
    """Yield an application with EVP, and a world in which every issuer of the table is published."""
    with providers(*email_tokens.hosts()) as web, dns_server() as zones:
        email_tokens.publish(web)
        for domain, records in email_tokens.records().items():
            zones.put(domain, txt(*records))
        given = {
            "evp__domains": "*",
            "evp__denied_domains": f"{DENIED} *.{DENIED}",
            "evp__dns": f"127.0.0.1:{zones.port}",
        } | settings
        app = trusting_app(folder, web, **given)
        yield Site(app, web, zones)
        app.close()


@pytest.fixture
def resolv_conf(monkeypatch, tmp_path):
    """Have dnspython read the system's resolvers from another file."""
    path, read = tmp_path / "resolv.conf", dns.resolver.Resolver.read_resolv_conf
    monkeypatch.setattr(
        dns.resolver.Resolver,
        "read_resolv_conf",
        lambda self, _file: read(self, str(path)),
        raising=False,
    )
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An application for the table."""
    with world(tmp_path_factory.mktemp("forgeries")) as site:
        yield site


@pytest.fixture
def site(tmp_path):
    """A fresh application."""
    with world(tmp_path) as found:
        yield found


def test_good_proof(site):
    """A token opens a session of its email, by one DNS query and two fetches."""
    client = site.client()
    opened = sign_in(client, proof(fresh_nonce(client))).json
    assert [each["email"] for each in opened["profiles"]] == [EMAIL]
    assert site.zones.asked_for("mail.test") == ["udp"]
    assert site.web.requests == [email_tokens.METADATA, email_tokens.JWKS]
    assert "evt" in client.get("/v1/").json["proofs"]


@pytest.mark.parametrize("make", [FakeIssuer, FakeIssuer.gmail_like], ids=["draft", "as Gmail"])
def test_proof_of_pyevp(site, make):
    """A token of an independent issuer and browser opens a session."""
    clock = FixedClock(datetime.now(UTC))
    issuer = make(host=email_tokens.HOST, email_domains=("mail.test",), clock=clock)
    for url, document in issuer.http_documents().items():
        site.web.put(url, document)
    for name, records in issuer.dns_records().items():
        site.zones.zones[name] = txt(*map(str.encode, records))
    client, browser = site.client(), FakeBrowser(clock=clock)
    text = browser.present(
        issuer.issue(EMAIL, browser.public_jwk), audience=PAGE, nonce=fresh_nonce(client)
    )
    assert [each["email"] for each in sign_in(client, text).json["profiles"]] == [EMAIL]


@each_forgery
def test_forgeries(shared, forgery):
    """A forgery opens no session: the answer is a problem with the code of its reason."""
    client = shared.client()
    answer = sign_in(client, forgery.mint(fresh_nonce(client)), status="*")
    assert answer.content_type == "application/problem+json"
    assert (answer.status_int, answer.json["code"]) == (401, forgery.code)
    assert [error["name"] for error in answer.json["errors"]] == ["proofs.0.evt"]


class TestReplay:
    """A proof opens one session."""

    def test_same_token(self, site):
        """The same token opens no second session."""
        client = site.client()
        text = proof(fresh_nonce(client))
        sign_in(client, text)
        assert sign_in(client, text, status=401).json["code"] == "proof_replayed"

    def test_other_signature(self, site):
        """The other valid ECDSA signature of the same KB opens none either."""
        client = site.client()
        holder = elliptic("holder")
        changes = {"holder": public(holder, None), "kb_key": holder, "kb_header": {"alg": "ES256"}}
        good = proof(fresh_nonce(client), **changes)
        front, _, signature = good.rpartition(".")
        other = email_tokens.mirrored(email_tokens.base64url_decode(signature))
        sign_in(client, good)
        altered = f"{front}.{email_tokens.base64url_encode(other)}"
        assert sign_in(client, altered, status=401).json["code"] == "proof_replayed"

    def test_nonce_of_another_proof(self, site):
        """A nonce is good for one proof: another token, or an ID token, with it is a replay."""
        client = site.client()
        nonce = fresh_nonce(client)
        sign_in(client, proof(nonce))
        again = proof(nonce, email="bob@mail.test")
        assert sign_in(client, again, status=401).json["code"] == "proof_replayed"
        of_openid = sign_in(client, token(nonce), status=401, kind="id_token")
        assert of_openid.json["code"] == "proof_replayed"

    def test_at_once(self, site):
        """Of requests with one nonce at the same time, one opens a session."""
        nonce = fresh_nonce(site.client())
        same = proof(nonce)
        # The lookups come before, as the places for them are few.
        sign_in(site.client(), proof(fresh_nonce(site.client())))

        def send(number):
            text = same if number % 2 else proof(nonce, email=f"alice{number}@mail.test")
            return sign_in(site.client(f"198.51.100.{number}"), text, status="*")

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(send, range(8)))
        opened = [each for each in answers if each.status_int == 201]
        assert len(opened) == 1
        codes = {each.json["code"] for each in answers if each.status_int != 201}
        assert codes == {"proof_replayed"}

    def test_sign_out(self, site):
        """A sign-out revokes a token whose nonce is older."""
        client, nonces = site.client(), site.app.services.nonces
        nonces._clock = lambda: time.time() - 10
        old = fresh_nonce(client)
        nonces._clock = time.time
        session = sign_in(client, proof(fresh_nonce(client))).json["token"]
        client.delete("/v1/sessions", headers={"Authorization": f"Bearer {session}"}, status=204)
        assert sign_in(client, proof(old), status=401).json["code"] == "proof_revoked"


class TestDns:
    """DNS that does not answer, or answers at length."""

    def test_silence(self, site):
        """Silent DNS is 503 with Retry-After within the lifetime of a lookup."""
        site.zones.put("mail.test", silent)
        client = site.client()
        began = time.monotonic()
        answer = sign_in(client, proof(fresh_nonce(client)), status=503)
        assert 2.5 < time.monotonic() - began < 4
        assert (answer.json["code"], answer.headers["Retry-After"]) == ("dns_unavailable", "10")

    def test_others_do_not_wait(self, site):
        """While one network's domains are silent, another network signs in at once."""
        for number in range(6):
            site.zones.put(f"slow{number}.test", silent)
        attacker, other = site.client("192.0.2.1"), site.client("198.51.100.1")

        def attack(number):
            text = proof(fresh_nonce(attacker), email=f"alice@slow{number}.test")
            return sign_in(attacker, text, status="*").json["code"]

        with ThreadPoolExecutor(6) as threads:
            attacks = [threads.submit(attack, number) for number in range(6)]
            wait_for(lambda: len(site.zones.queries) >= 2)
            began = time.monotonic()
            sign_in(other, proof(fresh_nonce(other)))
            assert time.monotonic() - began < 1.5
            assert {each.result() for each in attacks} <= {"dns_unavailable", "overloaded"}

    @pytest.mark.parametrize("length", [1, 10])
    def test_chain(self, site, length):
        """A record at the end of CNAMEs names the issuer."""
        site.zones.put("mail.test", chain(length, email_tokens.records()["mail.test"][1]))
        client = site.client()
        assert sign_in(client, proof(fresh_nonce(client))).json["profiles"]

    def test_long_answer(self, site):
        """Ten kilobytes of TXT arrive over TCP, and one record of them counts."""
        records = [*email_tokens.records()["mail.test"], *(b"x" * 250 + b"%d" % i for i in range(40))]
        site.zones.put("mail.test", txt(*records))
        client = site.client()
        assert sign_in(client, proof(fresh_nonce(client))).json["profiles"]
        assert site.zones.asked_for("mail.test") == ["udp", "tcp"]


class TestSettings:
    """When there is such a kind of proof."""

    def test_off_by_default(self, tmp_path):
        """Without `evp.domains` the kind is unknown, in the API and its description."""
        off = {"evp__domains": "", "evp__denied_domains": "", "development__issuer_listen": "off"}
        with world(tmp_path, **off) as site:
            client = site.client()
            assert "evt" not in client.get("/v1/").json["proofs"]
            answer = sign_in(client, proof(fresh_nonce(client)), status=400)
            assert answer.json["code"] == "validation_failed"
            assert site.zones.queries == []

    def test_list(self, tmp_path):
        """Domains outside of the list cause no lookup."""
        with world(tmp_path, evp__domains="corp.test *.mail.test") as site:
            client = site.client()
            answer = sign_in(client, proof(fresh_nonce(client)), status=401)
            assert answer.json["code"] == "domain_not_accepted"
            assert site.zones.queries == []

    @pytest.mark.parametrize("is_signed", [True, False])
    def test_dnssec(self, tmp_path, is_signed):
        """With `evp.dnssec` records need the AD flag."""
        with world(tmp_path, evp__dnssec="true") as site:
            site.zones.put("mail.test", txt(b"iss=issuer.mail.test", is_signed=is_signed))
            client = site.client()
            answer = sign_in(client, proof(fresh_nonce(client)), status="*")
            assert answer.json.get("code") == (None if is_signed else "issuer_record_unsigned")

    def test_all_off(self):
        """A server without any kind of proof does not start."""
        given = {
            "development": "true",
            "development.issuer_listen": "off",
            "public_origins": "http://localhost",
            "authenticators": "evp",
        }
        with pytest.raises(InvalidSettings, match="all of them off"):
            make_app(parse_settings(given, {}))

    @pytest.mark.parametrize(
        ("configuration", "reason"),
        [
            ("", "the system names no resolver"),
            ("nameserver 192.0.2.53\n", "needs resolvers on loopback"),
        ],
    )
    def test_resolvers_of_the_system(self, resolv_conf, configuration, reason):
        """A system whose resolvers do not do stops the start, by the name of the setting."""
        resolv_conf.write_text(configuration)
        given = {"development": "true", "public_origins": "http://localhost", "evp.domains": "*"}
        given |= {"evp.dnssec": "true"}
        with pytest.raises(InvalidSettings, match=f"evp.dns: .*{reason}"):
            make_app(parse_settings(given, {}))

    def test_reload_that_fails(self, tmp_path, resolv_conf, caplog):
        """If the system has no resolvers any more, a reload logs that and keeps the known ones."""
        resolv_conf.write_text("nameserver 192.0.2.53\n")
        with world(tmp_path, evp__dns="") as site:
            resolv_conf.write_text("")
            site.app.services.authenticators.reload()
        assert "evp.dns: not reloaded: the system names no resolver" in caplog.text

    def test_reload(self, site):
        """A reload keeps the service working."""
        site.app.services.authenticators.reload()
        client = site.client()
        assert sign_in(client, proof(fresh_nonce(client))).json["profiles"]


def test_metrics(site):
    """Proofs are counted by kind, outcome and algorithm."""
    client = site.client()
    sign_in(client, proof(fresh_nonce(client)))
    sign_in(client, proof(fresh_nonce(client), email="alice@none.test"), status=401)
    counted = dict(site.app.services.authenticators.outcomes.counts())
    assert counted["evt", "proved", "EdDSA"] == 1
    assert counted["evt", "issuer_record_missing", "unknown"] == 1
    lookups = site.app.services.authenticators.lookups.counts()
    assert lookups == {("evt", "found"): 2, ("evt", "issuer_record_missing"): 1}


def test_personal_data(site, caplog):
    """Neither the address nor its domain is in an answer to a rejected proof, or in the log."""
    client = site.client()
    site.zones.put("secret.test", silent)
    for domain in ("none", "two", "secret"):
        text = proof(fresh_nonce(client), email=f"confidential@{domain}.test")
        answer = sign_in(client, text, status="*")
        assert answer.status_int in (401, 503)
        assert "confidential" not in answer.text
        assert f"{domain}.test" not in answer.text
    assert "confidential" not in caplog.text
    assert "secret.test" not in caplog.text
