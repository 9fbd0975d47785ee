"""The issuer of email verification tokens of the development server."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from urllib.parse import quote

import pytest
import webtest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support.forgeries.signed_requests import NOW, signed_request
from support.servers.applications import Clock, application, wait_for
from support.servers.ports import free_port

from persona_profile.auth.fetch import FetchError
from persona_profile.development import chromium
from persona_profile.development.email_verification_application import (
    COOKIE,
    MAX_BODY_BYTES,
    IssuerApplication,
)
from persona_profile.development.email_verification_issuer import (
    HOST,
    ISSUANCE_PATH,
    ISSUER,
    MAX_ACCOUNTS,
    DevelopmentEmailIssuer,
)
from persona_profile.encoding import base64url_decode
from persona_profile.serving.development_issuer import MAX_CONNECTIONS, IssuerServer
from persona_profile.serving.development_provider import SharedProvider, start_providers
from persona_profile.settings import InvalidSettings, parse_settings

ALICE, CAROL = "alice@example.com", "carol@team.example"
KEY = ed25519.Ed25519PrivateKey.generate()
METADATA, ACCOUNTS = "/.well-known/email-verification", "/accounts"


@pytest.fixture
def issuer(tmp_path):
    """An issuer at a time of its own."""
    return DevelopmentEmailIssuer(("127.0.0.1", 6545), tmp_path, Clock(NOW))


@pytest.fixture
def client(issuer):
    """Calls it without a network."""
    environ = {"HTTP_HOST": HOST, "wsgi.url_scheme": "https"}
    return webtest.TestApp(IssuerApplication(issuer), extra_environ=environ)


def issue(client, body=b'{"email":"alice@example.com"}', key=KEY, status=200, **headers):
    """Request a token, signed as a browser does."""
    signed = signed_request(key, path=ISSUANCE_PATH, body=body)
    fields = {**signed.fields, "content-type": "application/json", **headers}
    return client.post(ISSUANCE_PATH, body, headers=fields, status=status)


def signed_in(client):
    """Return the emails of the accounts."""
    return [each["email"] for each in client.get(ACCOUNTS).json["accounts"]]


class TestDocuments:
    def test_metadata(self, client):
        """The metadata names key set and issuance endpoint, both of the issuer's host."""
        document = client.get(METADATA).json
        assert document["issuance_endpoint"] == f"{ISSUER}{ISSUANCE_PATH}"
        [key] = client.get(document["jwks_uri"].removeprefix(ISSUER)).json["keys"]
        assert key.keys() == {"kty", "crv", "x", "use", "alg", "kid"}

    def test_accounts(self, client):
        """The web identity names accounts and page, which list the example emails at first."""
        document = client.get("/.well-known/web-identity").json
        assert document == {"accounts_endpoint": f"{ISSUER}/accounts", "login_url": f"{ISSUER}/"}
        assert signed_in(client) == [ALICE, "bob@example.org"]
        assert ALICE in client.get("/").text

    def test_fetched_without_a_network(self, issuer, client):
        """The service itself reads the same documents, and nothing else."""
        for path in (METADATA, "/email-verification/jwks.json"):
            assert json.loads(issuer.fetch(f"{ISSUER}{path}").body) == client.get(path).json
        for url in (f"{ISSUER}{ACCOUNTS}", f"https://evil.example{METADATA}", METADATA[1:]):
            with pytest.raises(FetchError, match="unreachable"):
                issuer.fetch(url)

    def test_key_stays(self, issuer, tmp_path):
        """The key outlives a restart, in a file for its owner alone."""
        again = DevelopmentEmailIssuer(issuer.address, tmp_path)
        assert again.key_set() == issuer.key_set()
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    def test_key_file_with_another_key(self, issuer, tmp_path):
        """A key file of another kind stops it with the file's name."""
        issuer.key_set()
        [path] = tmp_path.iterdir()
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        path.write_bytes(pem)
        with pytest.raises(ValueError, match=path.name):
            DevelopmentEmailIssuer(issuer.address, tmp_path).key_set()


class TestDns:
    @pytest.mark.parametrize(
        ("name", "records"),
        [
            ("_email-verification.example.com", (f"iss={HOST}",)),
            ("_EMAIL-verification.Team.Example.", (f"iss={HOST}",)),
            ("_email-verification.a.example.net", (f"iss={HOST}",)),
            ("example.com", ()),
            ("_email-verification.evil.test", ()),
            ("_email-verification.notexample.com", ()),
            ("_email-verification.", ()),
            ("_email-verification.a_b.example", ()),
            ("", ()),
        ],
    )
    def test_records(self, issuer, name, records):
        """Each example domain delegates to the issuer; other names have no record."""
        assert issuer.txt_records(name) == records

    def test_over_http(self, tmp_path):
        """Chromium's resolver gets JSON while the issuer is served."""
        app = application(tmp_path, development__issuer_listen=f"127.0.0.1:{free_port()}")
        site = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
        name = "_email-verification.example.com"
        site.get(chromium.RESOLVER_PATH, {"name": name}, status=404)
        close = start_providers(app.development, is_one_of_several=False)
        answer = site.get(chromium.RESOLVER_PATH, {"name": name}).json
        [record] = answer["Answer"]
        assert (answer["Status"], record["type"], record["data"]) == (0, 16, f"iss={HOST}")
        assert site.get(chromium.RESOLVER_PATH, {"name": "evil.test"}).json["Status"] == 3
        site.get(f"{chromium.RESOLVER_PATH}?name=%ff", status=200)
        close()
        app.close()


class TestIssuance:
    @pytest.mark.parametrize("key", [KEY, ec.generate_private_key(ec.SECP256R1())])
    def test_token(self, issuer, client, key):
        """The token names the email and the key that has signed the request."""
        token = issue(client, key=key).json["issuance_token"]
        header, payload = decoded(token)
        assert header == {"alg": "Ed25519", "typ": "evt+jwt", "kid": issuer.key_set()["keys"][0]["kid"]}
        assert payload["email"] == ALICE
        assert payload["email_verified"] is True
        assert (payload["iss"], payload["iat"]) == (ISSUER, NOW)
        assert payload["cnf"]["jwk"]["alg"] == ("Ed25519" if key is KEY else "ES256")

    @pytest.mark.parametrize(
        ("body", "status", "error"),
        [
            (b"{}", 400, "invalid_request"),
            (b"[]", 400, "invalid_request"),
            (b"not JSON", 400, "invalid_request"),
            (b'{"email": 1}', 400, "invalid_request"),
            (b'{"email": "no address"}', 401, "authentication_required"),
            (b'{"email": "carol@team.example"}', 401, "authentication_required"),
            (b"x" * (MAX_BODY_BYTES + 1), 413, "invalid_request"),
        ],
    )
    def test_rejected(self, client, body, status, error):
        """A malformed request, and an email that is not signed in, get no token."""
        assert issue(client, body, status=status).json["error"] == error

    def test_bad_signature(self, client):
        """A request with a broken signature gets no token; the answer says why."""
        answer = issue(client, status=401, signature="sig=:YQ==:").json
        assert answer["error"] == "invalid_signature"
        assert "does not fit" in answer["error_description"]


def decoded(token):
    """Return header and payload of a token."""
    assert token.endswith("~")
    return [json.loads(base64url_decode(part)) for part in token.split(".")[:2]]


class TestSigningIn:
    def test_in_and_out(self, client):
        """An added email is signed in beside the others, until all are signed out."""
        answer = client.post("/sign-in", {"email": "Carol@Team.example"}, status=303)
        assert "SameSite=none" in answer.headers["Set-Cookie"]
        assert signed_in(client) == [CAROL, ALICE, "bob@example.org"]
        assert issue(client, json.dumps({"email": CAROL}).encode()).json["issuance_token"]
        client.post("/sign-out", status=303)
        assert signed_in(client) == []
        issue(client, status=401)

    def test_bounded(self, client):
        """At most so many emails are signed in."""
        for number in range(MAX_ACCOUNTS + 2):
            client.post("/sign-in", {"email": f"p{number}@team.example"}, status=303)
        assert len(signed_in(client)) == MAX_ACCOUNTS

    @pytest.mark.parametrize("email", ['"><script>@evil.test', "eve@evil.test", ""])
    def test_rejected(self, client, email):
        """An email of another domain is reported at its field, which keeps the text."""
        page = client.post("/sign-in", {"email": email}, status=200)
        assert page.forms[0]["email"].value == email
        assert 'id="problem"' in page.text
        assert "<script" not in page.text

    def test_other_origins(self, client):
        """Another page can't sign anybody in or out."""
        for path in ("/sign-in", "/sign-out"):
            client.post(path, headers={"Origin": "https://evil.example"}, status=403)

    @pytest.mark.parametrize("cookie", ["%ff", quote("a" * 5000), quote("<b> x@y")])
    def test_cookies_of_strangers(self, client, cookie):
        """Any cookie is read without an error and shown as text."""
        page = client.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}, status=200)
        assert "<b>" not in page.text

    def test_other_names(self, client):
        """A request for another host is rejected."""
        client.get(METADATA, extra_environ={"HTTP_HOST": "localhost"}, status=421)


class TestServed:
    @staticmethod
    @contextlib.contextmanager
    def call(port, path=METADATA, timeout=5):
        """Request a document over TLS."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)
        try:
            connection.request("GET", path, headers={"Host": HOST})
            yield connection.getresponse()
        finally:
            connection.close()

    def is_served(self, port):
        """Return whether anything answers there."""
        try:
            with self.call(port) as answer:
                return answer.status == 200
        except OSError:
            return False

    def test_idle_clients(self, tmp_path):
        """Idle connections up to the limit delay nobody; further ones are closed."""
        issuer = DevelopmentEmailIssuer(("127.0.0.1", free_port()), tmp_path)
        server = IssuerServer(issuer)
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_CONNECTIONS - 1):
                stack.enter_context(socket.create_connection(issuer.address))
            assert self.is_served(issuer.address[1])
            for _ in range(2):
                last = stack.enter_context(socket.create_connection(issuer.address, 5))
            assert last.recv(1) == b""
        wait_for(lambda: self.is_served(issuer.address[1]))
        server.close()
        assert not self.is_served(issuer.address[1])
        assert not issuer.is_served

    def test_by_one_of_several_processes(self, tmp_path):
        """Of several that would, one serves it; when that ends, another does."""
        port = free_port()
        first, second = (
            SharedProvider(DevelopmentEmailIssuer(("127.0.0.1", port), tmp_path), IssuerServer)
            for _ in range(2)
        )
        wait_for(lambda: self.is_served(port))
        first.close()
        wait_for(lambda: self.is_served(port))
        second.close()
        assert not self.is_served(port)

    def test_port_that_is_taken(self, tmp_path, caplog):
        """A port in use is logged with its setting, and the server starts without the issuer."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            app = application(
                tmp_path,
                development__issuer_listen=f"127.0.0.1:{port}",
                development__provider_listen="off",
            )
            start_providers(app.development, is_one_of_several=False)()
        assert f"127.0.0.1:{port}: Address already in use" in caplog.text
        assert "development.issuer_listen" in caplog.text
        app.close()

    @pytest.mark.parametrize("value", ["0.0.0.0:6545", "[::]:6545"])
    def test_loopback_alone(self, value):
        """No other machine can reach it."""
        with pytest.raises(InvalidSettings, match="issuer_listen"):
            parse_settings({"development": "true", "development.issuer_listen": value}, {})

    def test_never_in_production(self):
        """Outside development it can't be switched on, and is not there by itself."""
        production = {"keyring.path": "/nowhere", "public_origins": "https://profiles.example"}
        assert parse_settings(production, {}).development_issuer_listen is None
        with pytest.raises(InvalidSettings, match="it vouches for anybody"):
            parse_settings(production | {"development.issuer_listen": "127.0.0.1:6545"}, {})
