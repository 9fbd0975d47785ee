"""Every forgery that is known of, against the verifier itself and over HTTP."""

from __future__ import annotations

import json

import pytest
import webtest
from support.clients.identities import AUDIENCE, dsa_key, rsa_key
from support.forgeries import claims, forms, keys
from support.forgeries.minting import support_documents
from support.servers.applications import application

from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.auth.browserid_keys import parse_public_key, public_key_document, sign_jws
from persona_profile.auth.jws import parse_jws
from persona_profile.errors import InvalidProof
from persona_profile.settings import BROWSERID_ALGORITHMS

ROWS = (*claims.ROWS, *forms.ROWS, *keys.ROWS)
each_forgery = pytest.mark.parametrize("forgery", ROWS, ids=[row.name for row in ROWS])


@pytest.fixture(scope="module")
def verifier():
    """A verifier that looks nothing up."""

    def fetch(url):
        raise AssertionError("a forgery caused a lookup")

    discovery = Discovery(PinnedIssuers.parse(support_documents()), fetch)
    return BrowserIDVerifier([AUDIENCE, "http://localhost"], discovery, algorithms=BROWSERID_ALGORITHMS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An application that trusts the same issuers."""
    folder = tmp_path_factory.mktemp("forgeries")
    path = folder / "issuers.json"
    path.write_text(json.dumps(support_documents()))
    return webtest.TestApp(application(folder, browserid__pinned_issuers=str(path)))


def test_names():
    """No two forgeries of the table have the same name, or one could hide behind the other."""
    assert len({row.name for row in ROWS}) == len(ROWS) > 300


@pytest.mark.parametrize("key", [rsa_key("user"), dsa_key("user"), dsa_key("user", 2048)])
def test_own_signatures(key):
    """What is signed here is accepted, so that rows of this table are rejected for their own reason."""
    jws = parse_jws(sign_jws({"a": 1}, key))
    assert parse_public_key(public_key_document(key.public_key())).has_signed(jws)


@each_forgery
def test_verifier_refuses(verifier, forgery):
    """A forgery is rejected with the code of its reason, and raises nothing else."""
    with pytest.raises(InvalidProof) as rejection:
        verifier.verify(forgery.mint())
    assert rejection.value.code == forgery.code


@each_forgery
def test_server_refuses(site, forgery):
    """A forgery opens no session: the answer is a problem with the code of its reason."""
    body = json.dumps({"proofs": [{"assertion": forgery.mint()}]})
    answer = site.post("/v1/sessions", body, content_type="application/json", expect_errors=True)
    assert answer.content_type == "application/problem+json"
    assert (answer.status_int, answer.json["code"]) == (forgery.over_http or (401, forgery.code))
    if answer.status_int == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert [error["name"] for error in answer.json["errors"]] == ["proofs.0.assertion"]
