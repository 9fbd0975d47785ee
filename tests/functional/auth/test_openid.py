"""Signing in by ID tokens, at providers behind real TLS."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import webtest
from joserfc.jwt import encode as joserfc_encode
from support.clients.metrics import Exposition
from support.forgeries.oracle import running_jose
from support.servers.applications import Clock, running, wait_for
from support.servers.openid import (
    ACCOUNTS,
    CLIENT,
    EMAIL,
    GONE,
    ISSUERS,
    broker_claims,
    claims,
    edwards,
    elliptic,
    fresh_nonce,
    providers,
    public,
    rsa,
    sign_in,
    token,
    trusting_app,
)

from persona_profile.api.sessions import MAX_BODY_BYTES
from persona_profile.auth import openid_discovery
from persona_profile.auth.openid_issuers import ALGORITHMS
from persona_profile.runtime.waiting import Wait

KEYS = {
    "RS256": rsa,
    "PS256": rsa,
    "ES256": elliptic,
    "ES384": lambda name: elliptic(name, "P-384"),
    "EdDSA": edwards,
    "Ed25519": edwards,
}
JWKS = f"{ACCOUNTS}/jwks"


@pytest.fixture
def provider():
    """Providers with a good key each."""
    with providers() as provider:
        yield provider


@pytest.fixture
def site(tmp_path, provider):
    """An application that trusts them."""
    app = trusting_app(tmp_path, provider)
    yield client(app)
    app.close()


@pytest.fixture(scope="module")
def jose():
    """The npm package of that name."""
    with running_jose() as oracle:
        yield oracle


def client(app):
    """Return what calls an application."""
    return webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})


def proved(answer):
    """Return the emails of a session that was opened."""
    return [profile["email"] for profile in answer.json["profiles"]]


class TestLibraries:
    """Tokens of implementations that are not ours."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
    def test_joserfc(self, site, provider, algorithm):
        """A token that joserfc makes signs in."""
        key = KEYS[algorithm]("joserfc")
        provider.publish(ACCOUNTS, [public(key, "joserfc")])
        header = {"alg": algorithm, "kid": "joserfc"}
        made = joserfc_encode(header, claims(fresh_nonce(site)), key, algorithms=[algorithm])
        assert proved(sign_in(site, made)) == [EMAIL]

    @pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "Ed25519"])
    def test_pyjwt(self, site, provider, algorithm):
        """A token that PyJWT makes signs in."""
        key = KEYS[algorithm]("pyjwt")
        provider.publish(ACCOUNTS, [public(key, "pyjwt")])
        made = jwt.encode(
            claims(fresh_nonce(site)), key.private_key, algorithm=algorithm, headers={"kid": "pyjwt"}
        )
        assert proved(sign_in(site, made)) == [EMAIL]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_npm_jose(self, site, provider, jose, algorithm):
        """A token that the npm package jose makes signs in, with keys that it made."""
        key = jose.ask("key", algorithm=algorithm, kid="jose")
        provider.publish(ACCOUNTS, [key])
        said = claims(fresh_nonce(site))
        made = jose.ask("mint", algorithm=algorithm, kid="jose", claims=said)
        assert proved(sign_in(site, made)) == [EMAIL]


class TestSessions:
    def test_kinds_together(self, site):
        """Proofs of several kinds make one session, in their order."""
        bundle = site.app.development.identity_provider.bundle("bob@example.com", "http://localhost")
        broker = token(fresh_nonce(site), **broker_claims(email="carol@any.test"))
        proofs = [
            {"id_token": token(fresh_nonce(site))},
            {"assertion": bundle},
            {"id_token": broker},
        ]
        opened = site.post_json("/v1/sessions", {"proofs": proofs}, status=201)
        assert proved(opened) == [EMAIL, "bob@example.com", "carol@any.test"]
        assert site.get("/v1/").json["proofs"] == ["assertion", "id_token", "evt"]

    def test_as_many_as_there_may_be(self, site):
        """Twenty ID tokens of some length fit into one request."""
        tokens = [
            token(fresh_nonce(site), email=f"a{n}@mail.test", groups="x" * 8000) for n in range(20)
        ]
        assert sum(map(len, tokens)) < MAX_BODY_BYTES
        assert len(proved(sign_in(site, *tokens))) == 20

    def test_one_bad_proof_spoils_the_request(self, site):
        """The problem names the token that does not hold, and the good one's nonce is not used up."""
        good = token(fresh_nonce(site))
        problem = sign_in(site, good, token(fresh_nonce(site), exp=0), status=401).json
        assert problem["errors"][0]["name"] == "proofs.1.id_token"
        sign_in(site, good)

    @pytest.mark.parametrize("again", [{}, {"email": "bob@mail.test"}, {"aud": "persona-app"}])
    def test_nonce_is_used_once(self, site, again):
        """A nonce opens one session, with any second token."""
        nonce = fresh_nonce(site)
        sign_in(site, token(nonce))
        assert sign_in(site, token(nonce, **again), status=401).json["code"] == "proof_replayed"

    def test_nonce_is_used_once_within_a_request(self, site):
        """Two tokens of one request need two nonces."""
        nonce = fresh_nonce(site)
        tokens = (token(nonce), token(nonce, email="bob@mail.test"))
        assert sign_in(site, *tokens, status=401).json["code"] == "proof_replayed"

    def test_nonce_is_used_once_everywhere(self, tmp_path, provider):
        """Of several processes with one storage, one takes a nonce, which another may have issued."""
        settings = {"backend": "sqlite", "backend__url": f"sqlite:///{tmp_path}/items.sqlite"}
        apps = [trusting_app(tmp_path, provider, **settings) for _ in range(3)]
        sites = [client(app) for app in apps]
        once = token(fresh_nonce(sites[0]))
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda site: sign_in(site, once, status="*"), sites * 2))
        assert sorted(answer.status_int for answer in answers) == [201, 401, 401, 401, 401, 401]
        assert {each.json["code"] for each in answers if each.status_int == 401} == {"proof_replayed"}
        for app in apps:
            app.close()

    def test_a_sign_in_before_a_sign_out(self, tmp_path, provider):
        """A token whose nonce is older than a sign-out of its email is revoked; a newer one is not."""
        clock = Clock(time.time())
        site = client(trusting_app(tmp_path, provider, clock=clock))
        times = {"iat": int(clock.now), "exp": int(clock.now) + 600}
        stolen = token(fresh_nonce(site), **times)
        clock.now += 3
        session = sign_in(site, token(fresh_nonce(site), **times)).json["token"]
        site.delete("/v1/sessions", headers={"Authorization": f"Bearer {session}"})
        problem = sign_in(site, stolen, status=401).json
        assert problem["code"] == "proof_revoked"
        assert problem["errors"][0]["name"] == "proofs.0.id_token"
        sign_in(site, token(fresh_nonce(site), **times))

    @pytest.mark.parametrize("skew", ["0", "300"])
    def test_used_nonces_stay_used(self, tmp_path, provider, skew):
        """A nonce is used once, until it is too old under any allowance for clocks."""
        clock = Clock(time.time())
        site = client(trusting_app(tmp_path, provider, clock=clock, openid__clock_skew_seconds=skew))
        now = int(clock.now)
        used = token(fresh_nonce(site), iat=now, exp=now + 3600)
        sign_in(site, used)
        codes = []
        while not codes or codes[-1] == "proof_replayed":
            codes.append(sign_in(site, used, status=401).json["code"])
            clock.now += 50
        assert codes[-1] == "nonce_expired"

    def test_nonces(self, site):
        """Nonces differ, are not cached, and have an expiry."""
        answers = [site.post("/v1/nonces", status=201) for _ in range(3)]
        assert len({answer.json["nonce"] for answer in answers}) == 3
        assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
        expiry = time.strptime(answers[0].json["expires_at"], "%Y-%m-%dT%H:%M:%S.000Z")
        assert 590 < time.mktime(expiry) - time.mktime(time.gmtime()) <= 600

    def test_nonces_are_limited(self, tmp_path, provider):
        """An address with too many requests for nonces must wait."""
        limits = {"ratelimit__url": "memory://", "ratelimit__sessions_per_address": "3/hour"}
        app = trusting_app(tmp_path, provider, **limits)
        for _ in range(3):
            client(app).post("/v1/nonces", status=201)
        problem = client(app).post("/v1/nonces", status=429)
        assert problem.json["policy"] == "sessions-per-address"
        assert int(problem.headers["Retry-After"]) > 0
        app.close()

    def test_figures(self, site):
        """Proofs are counted by kind, outcome and algorithm, each replay beside its proof."""
        once = token(fresh_nonce(site))
        sign_in(site, once)
        for text in (once, token(fresh_nonce(site), exp=0), "x"):
            sign_in(site, text, status=401)
        bundle = site.app.development.identity_provider.bundle("bob@example.com", "http://localhost")
        site.post_json("/v1/sessions", {"proofs": [{"assertion": bundle}]}, status=201)
        found = Exposition(site.app.services.metrics.exposition())
        for kind, outcome, algorithm, count in (
            ("id_token", "proved", "RS256", 2),
            ("id_token", "proof_replayed", "RS256", 1),
            ("id_token", "token_expired", "unknown", 1),
            ("id_token", "malformed_jws", "unknown", 1),
            ("assertion", "proved", "RS256", 1),
        ):
            labels = {"kind": kind, "outcome": outcome, "algorithm": algorithm}
            assert found.value("persona_proofs_total", **labels) == count
        assert found.value("persona_proofs_total") == 6
        lookups = {"kind": "id_token", "outcome": "found"}
        assert found.value("persona_provider_lookups_total", **lookups) == 1
        assert EMAIL not in str(found.families)


class TestUserInfo:
    """Providers whose ID tokens have no email."""

    USERINFO = f"{ACCOUNTS}/me"

    @pytest.fixture
    def site(self, tmp_path, provider):
        """An application that may ask a provider's UserInfo."""
        provider.publish(ACCOUNTS, [public(rsa("rsa"), "rsa")], userinfo_endpoint=self.USERINFO)
        said = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
        provider.put(self.USERINFO, said)
        app = trusting_app(tmp_path, provider, [ISSUERS[0] | {"userinfo": True}])
        yield client(app)
        app.close()

    def bare(self, site, **beside):
        """Return a proof whose token has no email."""
        return {"id_token": token(fresh_nonce(site), email=GONE, email_verified=GONE), **beside}

    def test_sign_in(self, site, provider):
        """An access token beside the ID token signs in; the provider receives it over TLS."""
        proofs = [self.bare(site, access_token="opaque.token")]
        opened = site.post_json("/v1/sessions", {"proofs": proofs}, status=201)
        assert proved(opened) == [EMAIL]
        asked = zip(provider.requests, provider.bearers, strict=True)
        assert [url for url, bearer in asked if bearer == "opaque.token"] == [self.USERINFO]

    def test_proofs_of_two_people(self, site, provider):
        """Concurrent requests share no response of UserInfo."""
        provider.delay = 0.2
        proofs = [self.bare(site, access_token=f"t{number}") for number in range(3)]
        with ThreadPoolExecutor(3) as pool:
            bodies = [{"proofs": [proof]} for proof in proofs]
            list(pool.map(lambda body: site.post_json("/v1/sessions", body, status=201), bodies))
        assert {"t0", "t1", "t2"} <= set(provider.bearers)

    def test_rejections(self, site, caplog):
        """The problem names the proof; no log has the access token or the email."""
        for beside, code in (({}, "email_missing"), ({"access_token": "\n"}, "access_token_invalid")):
            body = {"proofs": [self.bare(site, **beside)]}
            problem = site.post_json("/v1/sessions", body, status=401).json
            assert problem["code"] == code
            assert problem["errors"][0]["name"] == "proofs.0.id_token"
        assert EMAIL not in caplog.text

    @pytest.mark.parametrize(
        ("proof", "reason"),
        [
            ({"access_token": "a"}, "must have one of these members: assertion, id_token, evt"),
            ({"assertion": "a", "access_token": "a"}, "does not belong to `assertion`"),
            ({"assertion": "a", "id_token": "a", "access_token": "a"}, "is beside another proof"),
            ({"id_token": "a", "access_token": 5}, "must be a string"),
        ],
    )
    def test_members(self, site, proof, reason):
        """An access token stands beside an ID token alone."""
        problem = site.post_json("/v1/sessions", {"proofs": [proof]}, status=400).json
        assert reason in [error["description"] for error in problem["errors"]]


class TestKeys:
    def test_rotation(self, site, provider):
        """When a provider changes its keys, no sign-in fails, before or after."""
        for number in range(3):
            sign_in(site, token(fresh_nonce(site), key=rsa("rsa"), header={"kid": "rsa"}))
            if number == 1:
                keys = [public(rsa("rsa"), "rsa"), public(rsa("next"), "next")]
                provider.publish(ACCOUNTS, keys)
        sign_in(site, token(fresh_nonce(site), key=rsa("next"), header={"kid": "next"}))
        sign_in(site, token(fresh_nonce(site), key=rsa("rsa"), header={"kid": "rsa"}))
        assert provider.asked_for(JWKS) == 2

    def test_rotation_at_once(self, site, provider):
        """Keys that are replaced without any warning are found by the first token of the new ones."""
        sign_in(site, token(fresh_nonce(site)))
        provider.publish(ACCOUNTS, [public(elliptic("next"), "next")])
        header = {"alg": "ES256", "kid": "next"}
        for _ in range(3):
            sign_in(site, token(fresh_nonce(site), key=elliptic("next"), header=header))
        gone = sign_in(site, token(fresh_nonce(site)), status=401).json
        assert gone["code"] == "key_unknown"
        assert provider.asked_for(JWKS) == 3

    def test_same_kid_for_another_key(self, site, provider):
        """A key that was replaced under its old name is found by the first token of the new one."""
        sign_in(site, token(fresh_nonce(site)))
        provider.publish(ACCOUNTS, [public(rsa("next"), "rsa")])
        sign_in(site, token(fresh_nonce(site), key=rsa("next")))
        problem = sign_in(site, token(fresh_nonce(site)), status=401).json
        assert problem["code"] == "token_signature_invalid"

    def test_flood_of_unknown_keys(self, site, provider):
        """However many tokens name keys that are not known, the provider is asked a few times."""
        sign_in(site, token(fresh_nonce(site)))
        before = provider.asked_for(JWKS)
        tokens = [token(fresh_nonce(site), header={"kid": f"k{n}"}) for n in range(100)]
        provider.delay, began = 0.05, time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda text: sign_in(site, text, status="*"), tokens))
        assert {answer.status_int for answer in answers} <= {401, 503}
        # Some wait for the lookup, others must retry; retries are rejected at once.
        assert {answer.json["code"] for answer in answers} <= {"key_unknown", "overloaded"}
        again = sign_in(site, tokens[0], status=401).json
        assert again["code"] == "key_unknown"
        seconds = time.monotonic() - began
        most = openid_discovery.MISFIT_LOOKUPS + seconds / openid_discovery.MISFIT_SECONDS
        assert 1 <= provider.asked_for(JWKS) - before <= most
        sign_in(site, token(fresh_nonce(site)))

    def test_first_requests_share_one_lookup(self, site, provider):
        """Requests during a lookup of keys wait for it; there is one lookup."""
        tokens = [token(fresh_nonce(site)) for _ in range(3)]
        provider.delay = 0.3
        with ThreadPoolExecutor(len(tokens)) as pool:
            answers = list(pool.map(lambda text: sign_in(site, text, status="*"), tokens))
        assert {answer.status_int for answer in answers} == {201}
        assert len(provider.requests) == 2

    def test_too_many_waiting(self, site, provider):
        """A slow provider blocks few threads of the server; other requests must retry."""
        most = site.app.services.waiting.limit(Wait.LOOKUP) - 1  # one is left for other networks
        tokens = [token(fresh_nonce(site)) for _ in range(most + 2)]
        provider.answering.clear()
        with ThreadPoolExecutor(len(tokens)) as pool:
            answers = [pool.submit(sign_in, site, text, status="*") for text in tokens]
            wait_for(lambda: sum(answer.done() for answer in answers) == 2, 8)
            shed = [answer.result() for answer in answers if answer.done()]
            provider.answering.set()
        assert [answer.json["code"] for answer in shed] == ["overloaded"] * 2
        assert {answer.headers["Retry-After"] for answer in shed} == {"1"}
        taken = [answer.result().status_int for answer in answers]
        assert taken.count(201) == most


def test_keys_before_the_first_token(tmp_path, provider):
    """A server that starts asks its providers for their keys, so that no sign-in waits for them."""
    app = trusting_app(tmp_path, provider)
    with running(app):
        wait_for(lambda: provider.asked_for(JWKS))
        site = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
        sign_in(site, token(fresh_nonce(site)))
        assert provider.asked_for(JWKS) == 1
    app.close()


class TestReload:
    def trusted(self, tmp_path, issuers):
        """Write the file of providers."""
        text = issuers if isinstance(issuers, str) else json.dumps(issuers)
        (tmp_path / "openid-issuers.json").write_text(text)

    def test_another_provider(self, tmp_path, site, provider):
        """A changed file is in force after a reload, and not before."""
        sign_in(site, token(fresh_nonce(site)))
        narrowed = [issuer | {"domains": ["else.test"]} for issuer in ISSUERS]
        self.trusted(tmp_path, narrowed)
        sign_in(site, token(fresh_nonce(site)))
        site.app.services.authenticators.reload()
        problem = sign_in(site, token(fresh_nonce(site)), status=401).json
        assert problem["code"] == "issuer_not_authoritative"
        self.trusted(tmp_path, [])
        site.app.services.authenticators.reload()
        problem = sign_in(site, token(fresh_nonce(site)), status=401).json
        assert problem["code"] == "issuer_unknown"

    @pytest.mark.parametrize("text", ["nonsense", "{}", '[{"issuer": "https://accounts.test"}]'])
    def test_bad_file(self, tmp_path, site, caplog, text):
        """A file that can't be used changes nothing, and the log says why."""
        self.trusted(tmp_path, text)
        site.app.services.authenticators.reload()
        sign_in(site, token(fresh_nonce(site)))
        assert "not reloaded: openid.issuers: " in caplog.text
        found = Exposition(site.app.services.metrics.exposition())
        name = "persona_reloads_total"
        assert found.value(name, file="openid_issuers", outcome="rejected") == 1

    def test_while_in_use(self, tmp_path, site):
        """Sign-ins that are under way while the file is reloaded do not fail."""
        stopped = threading.Event()

        def reload() -> None:
            while not stopped.is_set():
                site.app.services.authenticators.reload()

        thread = threading.Thread(target=reload)
        thread.start()
        try:
            for _ in range(20):
                sign_in(site, token(fresh_nonce(site)))
        finally:
            stopped.set()
            thread.join()


def test_client_of_another_provider(site, provider):
    """A client id counts at the provider that has given it, and at no other."""
    other = {"iss": "https://accounts.test/strict", "aud": "persona-app"}
    assert (
        sign_in(site, token(fresh_nonce(site), **other), status=401).json["code"] == "audience_mismatch"
    )
    sign_in(site, token(fresh_nonce(site), **other | {"aud": CLIENT}))
