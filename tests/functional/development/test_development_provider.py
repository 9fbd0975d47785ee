"""The OpenID provider of the development server, by the rules of its specifications."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import webtest
from joserfc import jwt
from joserfc.jwk import KeySet
from support.pictures.pictures import decoded
from support.servers.applications import Clock, application, wait_for
from support.servers.ports import free_port
from support.servers.tls import flooding
from support.servers.tls import serving as serving_bytes

from persona_profile.auth.fetch import FetchError
from persona_profile.development import openid_people
from persona_profile.development.openid_application import ProviderApplication
from persona_profile.development.openid_provider import DevelopmentOpenIDProvider
from persona_profile.encoding import base64url_encode
from persona_profile.serving.development_provider import ProviderServer, SharedProvider
from persona_profile.settings import InvalidSettings, parse_settings

ALICE = "alice@example.com"
ISSUER = "http://127.0.0.1:6544"
DIALOG = "http://127.0.0.1:6543/"
VERIFIER = "v" * 43
ASKED = {
    "client_id": "development-dialog",
    "redirect_uri": DIALOG,
    "response_type": "id_token",
    "scope": "openid email",
    "state": "s&t=#",
    "nonce": "n-0S6",
}
CODE = ASKED | {
    "response_type": "code",
    "code_challenge": base64url_encode(hashlib.sha256(VERIFIER.encode()).digest()),
    "code_challenge_method": "S256",
}
SILENT = {"prompt": "none", "login_hint": ALICE}


@pytest.fixture
def clock():
    """What the provider goes by."""
    return Clock(1_800_000_000)


@pytest.fixture
def provider(development_folder, clock):
    """A provider of one dialog."""
    return DevelopmentOpenIDProvider(ISSUER, [DIALOG], development_folder, clock)


@pytest.fixture
def client(provider):
    """Calls it without a network."""
    return webtest.TestApp(ProviderApplication(provider), extra_environ={"HTTP_HOST": "127.0.0.1:6544"})


def answer_of(response, mark="#"):
    """Return the parameters of an answer, which must go to the dialog and nowhere else."""
    assert response.status_int == 303
    location = response.headers["Location"]
    assert location.startswith(DIALOG + mark)
    sent = parse_qsl(location.removeprefix(DIALOG + mark), strict_parsing=True)
    assert len(dict(sent)) == len(sent)
    found = dict(sent)
    assert found.pop("iss") == ISSUER
    return found


def ask(client, parameters=ASKED, **more):
    """Send an authorization request."""
    return client.get("/authorize", params=parameters | more, status="*")


def claims_of(client, token):
    """Return what a token says, once another library has verified it by the published keys."""
    keys = KeySet.import_key_set(client.get("/jwks.json").json)
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


class TestPublishing:
    def test_discovery(self, client):
        """The discovery document has what is demanded, all of it on the issuer's origin."""
        response = client.get("/.well-known/openid-configuration")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        document = response.json
        assert document["issuer"] == ISSUER
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            assert document[name].startswith(f"{ISSUER}/")
        assert document["id_token_signing_alg_values_supported"] == ["RS256"]
        required = {"response_types_supported", "subject_types_supported"}
        assert required <= document.keys()

    def test_keys(self, client):
        """Public keys alone are published, each under its thumbprint."""
        for key in client.get("/jwks.json").json["keys"]:
            assert key.keys() == {"kty", "use", "alg", "kid", "e", "n"}
            [imported] = KeySet.import_key_set({"keys": [key]}).keys
            assert imported.thumbprint() == key["kid"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nothing", 404),
            ("PUT", "/authorize", 405),
            ("GET", "/token", 405),
            ("HEAD", "/jwks.json", 200),
            ("GET", "/%ff", 400),
        ],
    )
    def test_paths(self, client, method, path, status):
        """Unknown paths and methods get the answers of HTTP."""
        response = client.request(ISSUER + path, method=method, status=status)
        assert status != 405 or response.headers["Allow"]

    def test_another_name(self, client):
        """It answers by its own origin alone, not by a name that somebody binds to its address."""
        client.get("/jwks.json", headers={"Host": "evil.test:6544"}, status=421)


class TestAuthorization:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_page(self, client, method):
        """The person is asked by a page without scripts, that nobody can frame or post elsewhere."""
        send = client.get if method == "GET" else client.post
        page = send("/authorize", ASKED | {"login_hint": '"><script>alert(1)</script>'}, status=200)
        policy = page.headers["Content-Security-Policy"]
        assert "form-action 'self' http://127.0.0.1:6543;" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in page.text
        assert page.headers["Cache-Control"] == "no-store"
        assert len(page.forms) == 3

    def test_choice(self, client, clock):
        """The form leads back to the dialog with a token for it, its nonce and its state."""
        found = answer_of(ask(client).forms[0].submit("email", value=ALICE))
        assert found["state"] == ASKED["state"]
        claims = claims_of(client, found["id_token"])
        subject = claims.pop("sub")
        assert 0 < len(subject) <= 255
        assert claims == {
            "iss": ISSUER,
            "aud": "development-dialog",
            "iat": clock.now,
            "exp": clock.now + 300,
            "auth_time": clock.now,
            "nonce": ASKED["nonce"],
            "email": ALICE,
            "email_verified": True,
        }

    def test_profile(self, client):
        """The scope `profile` adds a name, and a picture that the provider serves."""
        found = answer_of(
            ask(client, scope="openid profile email").forms[0].submit("email", value=ALICE)
        )
        claims = claims_of(client, found["id_token"])
        assert claims["name"] == "Alice Example"
        assert set(openid_people.CLAIMS) < claims.keys()
        assert claims["picture"].startswith(f"{ISSUER}/picture?of=")
        picture = client.get(claims["picture"].removeprefix(ISSUER))
        assert (picture.content_type, decoded(picture.body).size) == ("image/jpeg", (256, 256))
        for query in ("", "?of=x", f"?of={'g' * 32}", "?of=%00"):
            client.get(f"/picture{query}", status=404)
        client.get("/picture?of=%ff", status=400)

    def test_refusal(self, client):
        """A person who denies goes back with that, and the state."""
        found = answer_of(ask(client).forms[2].submit("decision"))
        assert found.pop("error_description")
        assert found == {"error": "access_denied", "state": ASKED["state"]}

    @pytest.mark.parametrize("email", ["", "nonsense", "eve@evil.test", "eve@notexample.com", "a@b@c"])
    def test_address_that_it_does_not_vouch_for(self, client, email):
        """The page says so at the field, and asks again."""
        form = ask(client).forms[1]
        form["email"] = email
        page = form.submit(status=200)
        assert 'id="problem"' in page.text
        assert len(page.forms) == 3

    def test_form_of_another_page(self, client):
        """A page of another origin can't decide in the person's place, nor rotate keys."""
        for path in ("/decision", "/development/rotate"):
            sent = ASKED | {"email": ALICE}
            client.post(path, sent, headers={"Origin": "http://evil.test"}, status=403)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"response_type": None}, "invalid_request"),
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": "id_token token"}, "unsupported_response_type"),
            ({"response_mode": "query"}, "invalid_request"),
            ({"response_mode": "form_post"}, "invalid_request"),
            ({"scope": None}, "invalid_scope"),
            ({"scope": "email"}, "invalid_scope"),
            ({"nonce": None}, "invalid_request"),
            ({"nonce": ""}, "invalid_request"),
            ({"prompt": "none login"}, "invalid_request"),
            ({"prompt": "none"}, "login_required"),
            ({"prompt": "none", "login_hint": "eve@evil.test"}, "login_required"),
            ({"request": "a.b.c"}, "request_not_supported"),
            ({"request_uri": "https://evil.test/"}, "request_uri_not_supported"),
            ({"registration": "{}"}, "registration_not_supported"),
        ],
    )
    def test_rejected_requests(self, client, change, error):
        """The client gets each error by its name in the specifications."""
        sent = {name: value for name, value in (ASKED | change).items() if value is not None}
        mark = "#" if "response_type" in sent else "?"
        found = answer_of(ask(client, sent), mark)
        assert found.pop("error_description").isascii()
        assert found == {"error": error, "state": ASKED["state"]}

    def test_repeated_parameters(self, client):
        """A repeated parameter is rejected; a repeated state is not sent back."""
        for name in ("scope", "nonce", "state"):
            query = urlencode([*ASKED.items(), (name, "another")])
            found = answer_of(client.get(f"/authorize?{query}", status="*"))
            assert found["error"] == "invalid_request"
            assert ("state" in found) == (name != "state")

    @pytest.mark.parametrize(
        "change",
        [
            {"client_id": None},
            {"client_id": "another<script>"},
            {"redirect_uri": None},
            {"redirect_uri": "http://127.0.0.1:6543"},
            {"redirect_uri": "http://127.0.0.1:6543/?"},
            {"redirect_uri": "http://127.0.0.1:6543/#"},
            {"redirect_uri": "http://127.0.0.1:6543/callback"},
            {"redirect_uri": "http://127.0.0.1:6543/.evil.test/"},
            {"redirect_uri": "http://127.0.0.1:6543@evil.test/"},
            {"redirect_uri": "HTTP://127.0.0.1:6543/"},
            {"redirect_uri": "http://localhost:6543/"},
            {"redirect_uri": "//evil.test/"},
            {"redirect_uri": "javascript:alert(1)"},
        ],
    )
    def test_nobody_to_answer_to(self, client, change):
        """The person sees that client or redirect URI is unknown; the page repeats no parameter."""
        sent = {name: value for name, value in (ASKED | change).items() if value is not None}
        for extra in ({}, {"scope": "email"}, SILENT):
            page = ask(client, sent | extra)
            assert page.status_int == 400
            assert "Location" not in page.headers
            assert "evil" not in page.text
            assert "script" not in page.text.replace(DIALOG, "")

    def test_twice_named(self, client):
        """A client or place that is named twice is unknown."""
        for name in ("client_id", "redirect_uri"):
            query = urlencode([*ASKED.items(), (name, ASKED[name])])
            assert client.get(f"/authorize?{query}", status=400).content_type == "text/html"

    def test_what_is_not_text(self, client):
        """Bytes that are no UTF-8, and forms of other kinds, get an answer."""
        client.get("/authorize?client_id=%ff%fe", status=400)
        for sent in (b"\xff=\xff", b"code=%ff", b"=&=&"):
            assert client.post("/token", sent, status=[400, 401]).json["error"]
        assert client.post("/token", upload_files=[("code", "x", b"x")], status=401).json["error"]

    def test_silence(self, client):
        """Whom a client names counts as signed in, so that nobody is asked."""
        found = answer_of(ask(client, **SILENT))
        assert claims_of(client, found["id_token"])["email"] == ALICE


class TestCodes:
    @staticmethod
    def code(client, **more):
        """Return a code, which goes into the query unless that is asked otherwise."""
        mark = "#" if more.get("response_mode") == "fragment" else "?"
        return answer_of(ask(client, CODE, **SILENT, **more), mark)["code"]

    @staticmethod
    def exchange(client, code, status=200, **change):
        """Send a code to the token endpoint, as a page of the dialog does."""
        sent = {
            "grant_type": "authorization_code",
            "client_id": "development-dialog",
            "redirect_uri": DIALOG,
            "code": code,
            "code_verifier": VERIFIER,
        } | {name.rstrip("_"): value for name, value in change.items()}
        headers = {"Origin": "http://127.0.0.1:6543"}
        return client.post("/token", sent, headers=headers, status=status)

    @pytest.mark.parametrize("mode", ["query", "fragment"])
    def test_exchange(self, client, mode):
        """A code and its verifier bring a token, to the dialog's page, once."""
        code = self.code(client, response_mode=mode)
        response = self.exchange(client, code)
        assert response.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:6543"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.json["token_type"] == "Bearer"
        assert claims_of(client, response.json["id_token"])["nonce"] == ASKED["nonce"]
        assert self.exchange(client, code, 400).json == {"error": "invalid_grant"}

    @pytest.mark.parametrize(
        ("change", "status", "error"),
        [
            ({"code_verifier": "w" * 43}, 400, "invalid_grant"),
            ({"redirect_uri": "http://127.0.0.1:6543/other"}, 400, "invalid_grant"),
            ({"code_": "another"}, 400, "invalid_grant"),
            ({"code_verifier": "short"}, 400, "invalid_request"),
            ({"grant_type": "password"}, 400, "unsupported_grant_type"),
            ({"client_id": "another"}, 401, "invalid_client"),
        ],
    )
    def test_rejected_exchanges(self, client, change, status, error):
        """Whoever has the code alone gets nothing for it."""
        assert self.exchange(client, self.code(client), status, **change).json == {"error": error}

    def test_expired(self, client, clock):
        """A code lasts a minute."""
        code = self.code(client)
        clock.now += 61
        assert self.exchange(client, code, 400).json == {"error": "invalid_grant"}

    @pytest.mark.parametrize("change", [{"code_challenge": "x"}, {"code_challenge_method": "plain"}])
    def test_without_challenge(self, client, change):
        """Codes are given with PKCE alone, as the client has no secret."""
        assert answer_of(ask(client, CODE | change), "?")["error"] == "invalid_request"


class TestKeys:
    def test_rotation(self, tmp_path):
        """A new key signs, the one before stays published, older ones go; a restart finds the same."""
        provider = DevelopmentOpenIDProvider(ISSUER, [DIALOG], tmp_path)
        first = provider.key_set()["keys"][0]["kid"]
        second, third = provider.rotate(), provider.rotate()
        assert [key["kid"] for key in provider.key_set()["keys"]] == [third, second]
        assert len({first, second, third}) == 3
        again = DevelopmentOpenIDProvider(ISSUER, [DIALOG], tmp_path)
        assert again.key_set() == provider.key_set()
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    def test_rotated_during_a_run(self, tmp_path):
        """While people sign in the provider's key changes, and no sign-in fails."""
        port = free_port()
        app = application(tmp_path, development__provider_listen=f"127.0.0.1:{port}")
        server = ProviderServer(app.development.openid_provider)
        signed_in, failed, key_ids = [], [], set()
        rotated = threading.Event()

        def sign_in(_number):
            client = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
            nonce = client.post("/v1/nonces").json["nonce"]
            token = self.token(port, nonce)
            key_ids.add(token.partition(".")[0])
            answer = client.post_json("/v1/sessions", {"proofs": [{"id_token": token}]}, status="*")
            (signed_in if answer.status_int == 201 else failed).append(answer.json.get("code"))
            if len(signed_in) == 20 and not rotated.is_set():
                rotated.set()
                self.call(port, "POST", "/development/rotate")

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(sign_in, range(60)))
        server.close()
        app.close()
        assert not failed
        assert len(signed_in) == 60
        assert len(key_ids) == 2

    @staticmethod
    def call(port, method, path):
        """Call the provider over the network; return the answer's headers."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(method, path)
        with connection.getresponse() as response:
            assert response.status < 400
            response.read()
            found = response.headers
        connection.close()
        return found

    def token(self, port, nonce):
        """Get a token as a silent client does."""
        asked = ASKED | SILENT | {"nonce": nonce}
        location = self.call(port, "GET", f"/authorize?{urlencode(asked)}")["Location"]
        return dict(parse_qsl(urlsplit(location).fragment))["id_token"]


class TestBeingServed:
    def test_by_one_of_several_processes(self, tmp_path):
        """Of several that would, one serves it; when that ends, another does."""
        issuer = f"http://127.0.0.1:{free_port()}"
        first, second = (
            SharedProvider(DevelopmentOpenIDProvider(issuer, [DIALOG], tmp_path), ProviderServer)
            for _ in range(2)
        )

        def keys():
            try:
                with urllib.request.urlopen(f"{issuer}/jwks.json", timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                return None

        wait_for(keys)
        before = keys()
        first.close()
        wait_for(keys)
        assert keys() == before
        second.close()
        assert keys() is None

    def test_not_served(self, tmp_path):
        """While it is not served, nothing that listens on its port is trusted in its place."""
        port = free_port()
        issuer = f"http://127.0.0.1:{port}"
        app = application(tmp_path, development__provider_listen=f"127.0.0.1:{port}")
        impostor = ProviderServer(DevelopmentOpenIDProvider(issuer, [DIALOG], tmp_path / "other"))
        client = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
        token = TestKeys().token(port, client.post("/v1/nonces").json["nonce"])
        rejected = client.post_json("/v1/sessions", {"proofs": [{"id_token": token}]}, status=401)
        assert rejected.json["code"] == "issuer_unreachable"
        client.get("/development/openid", status=204)
        impostor.close()
        app.close()

    def test_another_process_that_sends_without_end(self, tmp_path):
        """What listens on its port instead, after it has ended in another process, is left soon."""
        with serving_bytes(flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n")) as server:
            issuer = f"http://127.0.0.1:{server.port}"
            provider = DevelopmentOpenIDProvider(issuer, [DIALOG], tmp_path)
            provider.is_served = True
            with pytest.raises(FetchError, match="too_large"):
                provider.fetch(f"{issuer}/jwks.json")

    @pytest.mark.parametrize("value", ["0.0.0.0:6544", "192.0.2.1:6544", "[::]:6544", "example.com:1"])
    def test_loopback_alone(self, value):
        """No other machine can reach it."""
        with pytest.raises(InvalidSettings, match="provider_listen"):
            parse_settings({"development": "true", "development.provider_listen": value}, {})

    def test_never_in_production(self):
        """Outside development it can't be switched on, and is not there by itself."""
        production = {"keyring.path": "/nowhere", "public_origins": "https://profiles.example"}
        assert parse_settings(production, {}).development_provider_listen is None
        with pytest.raises(InvalidSettings, match="it vouches for anybody"):
            parse_settings(production | {"development.provider_listen": "127.0.0.1:6544"}, {})
