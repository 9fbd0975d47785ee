"""The configured authenticators, and third parties' authenticators."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from contextlib import ExitStack
from typing import ClassVar

import pytest
import webtest
from support import ROOT
from support.clients.metrics import Exposition
from support.servers.applications import application

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.runtime.waiting import Wait
from persona_profile.settings import InvalidSettings, parse_settings

PAGE = (ROOT / "docs/how-to/sign-in.md").read_text()
SECRET = b"a secret that both have"


def client(folder, **settings):
    """Return what calls an application with these settings."""
    app = application(folder, **settings)
    return webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})


def blocks(language):
    """Return the blocks of the page in some language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def company(tmp_path, monkeypatch):
    """An application with the authenticator of the page, configured as the page says."""
    [source] = blocks("python")
    (tmp_path / "company_tickets.py").write_text(source)
    (tmp_path / "secret").write_bytes(SECRET)
    monkeypatch.syspath_prepend(tmp_path)
    given = dict(line.split(" = ") for line in blocks("ini")[-1].splitlines())
    given["authenticator.ticket.secret_file"] = str(tmp_path / "secret")
    site = client(tmp_path, **{name.replace(".", "__"): value for name, value in given.items()})
    yield site
    site.app.close()


def ticket(site, email="Alice@example.com", seconds=60, secret=SECRET):
    """Return a ticket with a nonce of the server."""
    nonce = site.post("/v1/nonces").json["nonce"]
    said = f"{email} {nonce} {int(time.time()) + seconds}"
    return f"{said} {hmac.new(secret, said.encode(), hashlib.sha256).hexdigest()}"


def sign_in(site, text, status=201):
    """Send a ticket."""
    return site.post_json("/v1/sessions", {"proofs": [{"ticket": text}]}, status=status).json


FETCHING = """
from persona_profile.auth import Authenticator

class FetchingAuthenticator(Authenticator):
    member = "page"
    description = "A page that identifies a person."

    def __init__(self, context):
        self._context = context

    def verify(self, proof):
        self._context.fetch(proof)
"""


def test_lookups_are_shared_fairly(tmp_path, monkeypatch):
    """A fetch of a third party's authenticator holds a place for the client."""
    (tmp_path / "fetching.py").write_text(FETCHING)
    monkeypatch.syspath_prepend(tmp_path)
    site = client(tmp_path, authenticators="fetching.FetchingAuthenticator")
    waiting = site.app.services.waiting
    body = {"proofs": [{"page": "https://localhost.test/"}]}
    with ExitStack() as held:
        for _ in range(waiting.limit(Wait.LOOKUP)):
            held.enter_context(waiting.place(Wait.LOOKUP))
        assert site.post_json("/v1/sessions", body, status=503).json["code"] == "overloaded"
    site.app.close()


def test_kinds_of_proof(tmp_path):
    """Root and OpenAPI document list every configured kind of proof, and what each of them is."""
    site = client(tmp_path, evp__domains="*", evp__dns="127.0.0.1")
    kinds = site.get("/v1/").json["proofs"]
    assert kinds == ["assertion", "id_token", "evt"]
    schemas = site.get("/v1/openapi.json").json["components"]["schemas"]
    proof = schemas["SessionRequest"]["properties"]["proofs"]["items"]
    assert proof["oneOf"] == [{"required": [kind]} for kind in kinds]
    assert all(proof["properties"][kind]["description"] for kind in kinds)
    named = schemas["Service"]["properties"]["proofs"]["description"]
    assert re.findall(r"`(\w+)`", named) == kinds
    site.app.close()


class TestOfThePage:
    def test_signs_in_once(self, company):
        """A ticket opens one session."""
        once = ticket(company)
        assert sign_in(company, once)["profiles"][0]["email"] == "alice@example.com"
        assert sign_in(company, once, status=401)["code"] == "proof_replayed"
        found = Exposition(company.app.services.metrics.exposition())
        assert found.value("persona_proofs_total", kind="ticket", outcome="proved") == 2
        assert found.value("persona_proofs_total", kind="ticket", outcome="proof_replayed") == 1

    def test_refusals(self, company):
        """An invalid ticket is rejected with a code of the authenticator."""
        good = ticket(company)
        bad = [
            good[:-1],
            good + "x",
            ticket(company, secret=b"x"),
            ticket(company, "alice"),
            "",
            "a b c d",
        ]
        for text in bad:
            problem = sign_in(company, text, status=401)
            assert problem["code"] == "ticket_invalid"
            assert problem["errors"][0]["name"] == "proofs.0.ticket"
        assert sign_in(company, ticket(company, seconds=-1), status=401)["code"] == "ticket_expired"

    def test_is_described(self, company):
        """The server lists the configured proofs, for people and programs."""
        assert company.get("/v1/").json["proofs"] == ["id_token", "ticket"]
        document = company.get("/v1/openapi.json").json
        call = document["paths"]["/v1/sessions"]["post"]
        schemas = document["components"]["schemas"]
        proof = schemas["SessionRequest"]["properties"]["proofs"]["items"]
        assert proof["properties"].keys() == {"id_token", "access_token", "ticket"}
        assert proof["dependentSchemas"] == {"access_token": {"anyOf": [{"required": ["id_token"]}]}}
        assert proof["properties"]["ticket"]["description"] == "A ticket of our sign-on server."
        codes = call["responses"]["401"]["content"]["application/problem+json"]["schema"]
        assert {"ticket_invalid", "ticket_expired"} <= set(codes["properties"]["code"]["enum"])
        assert "ticket_expired" in schemas["Problem"]["properties"]["code"]["enum"]

    def test_others_are_not_taken(self, company):
        """A proof that is not configured is no member."""
        body = {"proofs": [{"assertion": "x~y"}]}
        problem = company.post_json("/v1/sessions", body, status=400).json
        assert [error["name"] for error in problem["errors"]] == ["proofs.0.assertion"]

    def test_a_missing_setting(self, tmp_path, company):
        """A missing setting of an authenticator stops the start."""
        name = "company_tickets.TicketAuthenticator"
        with pytest.raises(InvalidSettings, match=r"authenticator\.ticket\.secret_file: needed"):
            application(tmp_path, authenticators=name)
        with pytest.raises(InvalidSettings, match=rf"authenticators: {name}: No such file"):
            application(
                tmp_path, authenticators=name, authenticator__ticket__secret_file=str(tmp_path / "x")
            )


class Careless(Authenticator):
    """An authenticator that breaks the rules."""

    member = "careless"
    description = "Anything."

    def __init__(self, _context):
        self._proofs = {
            "spelling": ProvedEmail("Alice@example.com", "x", b"x" * 32, 2**40),
            "digest": ProvedEmail("alice@example.com", "x", b"x", 2**40),
        }

    def verify(self, proof):
        """Return what must not get any further."""
        return self._proofs[proof]


@pytest.mark.parametrize("proof", ["spelling", "digest"])
def test_broken_rules(tmp_path, caplog, proof):
    """An email in another spelling, or a proof that can't be remembered, opens no session."""
    site = client(tmp_path, authenticators=f"{__name__}:Careless")
    problem = site.post_json("/v1/sessions", {"proofs": [{"careless": proof}]}, status=500).json
    assert problem["code"] == "internal_error"
    assert "alice" not in caplog.text.lower()
    site.app.close()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"authenticators": "saml"},
            "authenticators: saml: neither one of browserid, evp, openid nor a dotted",
        ),
        ({"authenticators": "persona_profile.Nobody"}, "nor a dotted name that can be imported"),
        ({"authenticators": "browserid browserid:x"}, "nor a dotted name that can be imported"),
        (
            {"authenticators": "openid persona_profile.auth.openid:from_context"},
            "another takes `id_token` too",
        ),
        ({"openid.issuers": "/nowhere/issuers.json"}, "openid.issuers: .*No such file"),
    ],
)
def test_bad_settings(tmp_path, settings, reason):
    """Settings that name nothing to be had stop the start, by name."""
    given = {name.replace(".", "__"): value for name, value in settings.items()}
    with pytest.raises(InvalidSettings, match=reason):
        application(tmp_path, **given)


def test_a_bad_issuer_stops_the_start(tmp_path):
    """The message names the file, the issuer and the reason."""
    path = tmp_path / "issuers.json"
    path.write_text(json.dumps([{"issuer": "https://a.example", "client_ids": ["a"]}]))
    reason = rf"^openid.issuers: {path}: issuer 0 \(https://a.example\): domains: must be a list"
    with pytest.raises(InvalidSettings, match=reason):
        application(tmp_path, openid__issuers=str(path))


def test_one_alone(tmp_path):
    """A server that takes ID tokens alone knows no other proofs, and says so."""
    site = client(tmp_path, authenticators="openid")
    assert site.get("/v1/").json["proofs"] == ["id_token"]
    example = site.get("/v1/openapi.json").json["paths"]["/v1/sessions"]["post"]["requestBody"]
    assert list(example["content"]["application/json"]["example"]["proofs"][0]) == ["id_token"]
    site.app.close()


def test_options_from_the_environment():
    """The environment overrides options of authenticators that the file names, and adds none."""
    given = {"development": "true", "public_origins": "http://a.example", "authenticator.a.b": "1"}
    parsed = parse_settings(given, {"PERSONA_AUTHENTICATOR_A_B": "2"})
    assert parsed.authenticator_options == {"authenticator.a.b": "2"}
    with pytest.raises(InvalidSettings, match="PERSONA_AUTHENTICATOR_C: there is no such setting"):
        parse_settings(given, {"PERSONA_AUTHENTICATOR_C": "2"})


def test_page_names_what_there_is(tmp_path):
    """The configurations of the page can be used."""
    for number, text in enumerate(blocks("json")):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        application(tmp_path, openid__issuers=str(path)).close()
    assert number == 3


class Demanding(Careless):
    """An authenticator with a companion that is a kind of proof."""

    companions: ClassVar = {"id_token": "A second proof."}


def test_companion_that_is_a_proof(tmp_path):
    """No companion has the name of a kind of proof."""
    with pytest.raises(InvalidSettings, match="`id_token` beside `careless` is a kind of proof"):
        application(tmp_path, authenticators=f"openid {__name__}:Demanding")
