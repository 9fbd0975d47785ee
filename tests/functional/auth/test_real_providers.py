"""Signing in at OpenID providers of other authors, as they are by default."""

from __future__ import annotations

import json

import pytest
import webtest
from joserfc.jws import extract_compact
from support.servers.applications import application
from support.servers.glewlwyd import glewlwyd, on_demand
from support.servers.lemonldap import (
    IN_ID_TOKEN,
    IN_USERINFO,
    SIGNED_BY_SECRET,
    WITHOUT_EMAIL,
    lemonldap,
)
from support.servers.openid import fresh_nonce
from support.servers.provider_pages import entries
from support.servers.real_providers import CLIENT, mock_person, mock_provider, npm_provider

EMAIL = "alice@mail.test"
DWHO = "dwho@badwolf.org"
CLAIMS = {"id_token": {"email": None, "email_verified": None}}


@pytest.fixture(scope="module")
def npm():
    """The npm package `oidc-provider`."""
    with npm_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def mock():
    """The PyPI package `oidc-provider-mock`."""
    with mock_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """Debian's package glewlwyd."""
    with glewlwyd(tmp_path_factory.mktemp("glewlwyd")) as provider:
        yield provider


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    """Debian's package LemonLDAP::NG."""
    with lemonldap(tmp_path_factory.mktemp("lemonldap")) as provider:
        yield provider


@pytest.fixture
def trusting(tmp_path):
    """Return a client of a development server that trusts a provider."""
    sites = []

    def make(provider, **trust):
        entry = {"issuer": provider.issuer, "client_ids": [CLIENT], "domains": ["mail.test"]} | trust
        path = tmp_path / "issuers.json"
        path.write_text(json.dumps([entry]))
        app = application(tmp_path, openid__issuers=str(path))
        sites.append(webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"}))
        return sites[-1]

    yield make
    for site in sites:
        site.app.close()


def open_session(site, tokens, *members, status=201):
    """Open a session by these members of a token response."""
    proof = {name: tokens[name] for name in ("id_token", *members)}
    return site.post_json("/v1/sessions", {"proofs": [proof]}, status=status).json


def claims_of(tokens):
    """Return the claims of a token response's ID token."""
    return json.loads(extract_compact(tokens["id_token"].encode()).payload)


def documented(entry, provider):
    """Return the entry of a page for a provider whose issuer has the same path."""
    path = entry["issuer"].removeprefix("https://").partition("/")[1:]
    assert provider.issuer.removeprefix("http://").partition("/")[1:] == path
    return entry | {"issuer": provider.issuer}


class TestNpmOidcProvider:
    def test_email_missing(self, npm, trusting):
        """By default the ID token of the code flow has no email, and the answer says so."""
        site = trusting(npm)
        tokens = npm.tokens(fresh_nonce(site))
        assert "email" not in claims_of(tokens)
        assert open_session(site, tokens, status=401)["code"] == "email_missing"
        assert open_session(site, tokens, "access_token", status=401)["code"] == "email_missing"

    def test_userinfo(self, npm, trusting):
        """The access token beside it signs in, where that is configured as on its page."""
        entry, _mock = entries("oidc-provider.md", "mail.test")
        site = trusting(npm, **documented(entry, npm))
        tokens = npm.tokens(fresh_nonce(site))
        opened = open_session(site, tokens, "access_token")
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]

    def test_access_tokens_of_others(self, npm, trusting):
        """The access token of another person, or an invented one, signs nobody in."""
        site = trusting(npm, userinfo=True)
        tokens, others = (npm.tokens(fresh_nonce(site), name) for name in ("alice", "bob"))
        mixed = tokens | {"access_token": others["access_token"]}
        codes = ("userinfo_invalid", "access_token_invalid")
        assert open_session(site, mixed, "access_token", status=401)["code"] in codes
        invented = tokens | {"access_token": "invented"}
        rejected = open_session(site, invented, "access_token", status=401)
        assert rejected["code"] == "access_token_invalid"

    def test_claims_parameter(self, trusting):
        """With the `claims` parameter the ID token has the email."""
        with npm_provider("claims") as provider:
            assert provider.discovery["claims_parameter_supported"]
            site = trusting(provider)
            tokens = provider.tokens(fresh_nonce(site), claims=json.dumps(CLAIMS))
            opened = open_session(site, tokens)
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]


class TestOidcProviderMock:
    def test_word_of_the_provider(self, mock, trusting):
        """By default it never says `email_verified`: its word is enough where that is configured."""
        site = trusting(mock)
        tokens = mock.tokens(fresh_nonce(site), EMAIL)
        assert "email_verified" not in claims_of(tokens)
        assert open_session(site, tokens, status=401)["code"] == "email_not_verified"
        _npm, entry = entries("oidc-provider.md", "mail.test")
        site = trusting(mock, **entry | {"issuer": mock.issuer})
        opened = open_session(site, mock.tokens(fresh_nonce(site), EMAIL))
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]

    def test_verified_email(self, mock, trusting):
        """The ID token of a person with a verified email signs in."""
        mock_person(mock, "alice", email=EMAIL, email_verified=True)
        site = trusting(mock)
        opened = open_session(site, mock.tokens(fresh_nonce(site)))
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]

    def test_person_without_email(self, mock, trusting):
        """A person without email is rejected, by the ID token and by UserInfo."""
        mock_person(mock, "nobody")
        site = trusting(mock, userinfo=True)
        tokens = mock.tokens(fresh_nonce(site), "nobody")
        assert open_session(site, tokens, status=401)["code"] == "email_missing"
        assert open_session(site, tokens, "access_token", status=401)["code"] == "email_missing"


class TestGlewlwyd:
    def test_documented_settings(self, provider, trusting):
        """The settings of its page lead to a session, by the ID token alone."""
        [entry] = entries("glewlwyd.md", "mail.test")
        site = trusting(provider, **documented(entry, provider))
        opened = open_session(site, provider.tokens(fresh_nonce(site)))
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]

    def test_email_missing(self, provider, trusting):
        """Without scope and `claims` parameter neither the ID token nor UserInfo has an email."""
        asked = on_demand(provider)
        site = trusting(asked, userinfo=True, assume_verified=["mail.test"])
        tokens = asked.tokens(fresh_nonce(site))
        assert open_session(site, tokens, status=401)["code"] == "email_missing"
        assert open_session(site, tokens, "access_token", status=401)["code"] == "email_missing"

    @pytest.mark.parametrize("members", [(), ("access_token",)])
    def test_claims_parameter(self, provider, trusting, members):
        """With the parameter the ID token has the email, which nobody calls verified."""
        asked = on_demand(provider)
        site = trusting(asked)
        tokens = asked.tokens(fresh_nonce(site), claims=json.dumps(CLAIMS))
        assert open_session(site, tokens, *members, status=401)["code"] == "email_not_verified"
        site = trusting(asked, userinfo=True, assume_verified=["mail.test"])
        tokens = asked.tokens(fresh_nonce(site), claims=json.dumps(CLAIMS))
        opened = open_session(site, tokens, *members)
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]

    def test_userinfo(self, provider, trusting):
        """UserInfo has it if that was asked for; `at_hash` of the ID token holds."""
        asked = on_demand(provider)
        site = trusting(asked, userinfo=True, assume_verified=["mail.test"])
        tokens = asked.tokens(fresh_nonce(site), claims=json.dumps({"userinfo": {"email": None}}))
        assert "at_hash" in claims_of(tokens)
        opened = open_session(site, tokens, "access_token")
        assert [each["email"] for each in opened["profiles"]] == [EMAIL]


class TestLemonldap:
    """A person of its demonstration accounts."""

    def sign_in(self, portal, site, client, **parameters):
        """Return the token response for a client."""
        return portal.tokens(fresh_nonce(site), "dwho", client=client, **parameters)

    def trust(self, trusting, portal, client, entry):
        """Return a client of a server with an entry of the page."""
        return trusting(portal, **documented(entry, portal) | {"client_ids": [client]})

    def test_email_missing(self, portal, trusting):
        """By default a relying party gets no email, also if it asks for the claims."""
        assert portal.discovery["response_types_supported"] == ["code"]
        in_userinfo, _in_id_token = entries("lemonldap-ng.md", "badwolf.org")
        site = self.trust(trusting, portal, WITHOUT_EMAIL, in_userinfo)
        tokens = self.sign_in(portal, site, WITHOUT_EMAIL, claims=json.dumps(CLAIMS))
        assert open_session(site, tokens, status=401)["code"] == "email_missing"
        assert open_session(site, tokens, "access_token", status=401)["code"] == "email_missing"

    def test_userinfo(self, portal, trusting):
        """An exported variable puts the email into UserInfo, which nobody calls verified."""
        entry, _in_id_token = entries("lemonldap-ng.md", "badwolf.org")
        strict = {name: value for name, value in entry.items() if name != "assume_verified"}
        site = self.trust(trusting, portal, IN_USERINFO, strict)
        tokens = self.sign_in(portal, site, IN_USERINFO)
        assert open_session(site, tokens, status=401)["code"] == "email_missing"
        rejected = open_session(site, tokens, "access_token", status=401)
        assert rejected["code"] == "email_not_verified"
        site = self.trust(trusting, portal, IN_USERINFO, entry)
        tokens = self.sign_in(portal, site, IN_USERINFO)
        assert "at_hash" in claims_of(tokens)
        opened = open_session(site, tokens, "access_token")
        assert [each["email"] for each in opened["profiles"]] == [DWHO]

    def test_id_token(self, portal, trusting):
        """Its options put the email into the ID token, and a macro calls it verified."""
        _in_userinfo, entry = entries("lemonldap-ng.md", "badwolf.org")
        site = self.trust(trusting, portal, IN_ID_TOKEN, entry)
        opened = open_session(site, self.sign_in(portal, site, IN_ID_TOKEN))
        assert [each["email"] for each in opened["profiles"]] == [DWHO]

    def test_signature_by_default(self, portal, trusting):
        """The default signature, by the client's secret, proves nothing to this server."""
        entry, _in_id_token = entries("lemonldap-ng.md", "badwolf.org")
        site = self.trust(trusting, portal, SIGNED_BY_SECRET, entry)
        tokens = self.sign_in(portal, site, SIGNED_BY_SECRET)
        rejected = open_session(site, tokens, "access_token", status=401)
        assert rejected["code"] == "algorithm_not_allowed"

    def test_final_slash(self, portal, trusting):
        """The issuer without its final slash is another one."""
        entry, _in_id_token = entries("lemonldap-ng.md", "badwolf.org")
        own = {"issuer": portal.issuer.removesuffix("/"), "client_ids": [IN_USERINFO]}
        site = trusting(portal, **entry | own)
        tokens = self.sign_in(portal, site, IN_USERINFO)
        assert open_session(site, tokens, status=401)["code"] == "issuer_unknown"
