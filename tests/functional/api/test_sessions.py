import time

import pytest
import webtest
from support.clients.identities import AUDIENCE
from support.servers.applications import Clock, application

ALICE, BOB = "alice@example.com", "bob@example.org"


def open_session(app, assertion, *emails, headers=None, status=201, **body):
    """Prove emails; return the answer's JSON."""
    proofs = [{"assertion": assertion(email)} for email in emails]
    return app.post_json(
        "/v1/sessions", {"proofs": proofs, **body}, headers=headers, status=status
    ).json


def bearer(answer):
    """Return the headers of an answer's session."""
    return {"Authorization": f"Bearer {answer['token']}"}


@pytest.fixture
def clock():
    """A clock that tests advance."""
    return Clock(time.time())


@pytest.fixture
def timed(development_folder, clock):
    """An application with that clock."""
    return webtest.TestApp(
        application(development_folder, clock), extra_environ={"HTTP_HOST": "localhost"}
    )


class TestOpening:
    def test_one_round_trip(self, app, assertion):
        """A proof gets a token and the profile, which is blank at first."""
        answer = open_session(app, assertion, ALICE)
        assert answer["token_type"] == "Bearer"
        assert answer["expires_at"].endswith("Z")
        [profile] = answer["profiles"]
        assert profile.pop("etag")
        assert profile.pop("protected") is False
        assert {name for name, value in profile.items() if value is not None} == {"email", "version"}
        assert (profile["email"], profile["version"]) == (ALICE, 0)

    def test_several_proofs(self, app, assertion):
        """Several proofs make one session with unique profiles in the order of the proofs."""
        answer = open_session(app, assertion, BOB, ALICE, BOB)
        assert [profile["email"] for profile in answer["profiles"]] == [BOB, ALICE]

    def test_is_not_kept_by_caches(self, app, assertion):
        """Answers with tokens are not cached."""
        proofs = [{"assertion": assertion(ALICE)}]
        response = app.post_json("/v1/sessions", {"proofs": proofs}, status=201)
        assert response.headers["Cache-Control"] == "no-store"

    def test_spelling_of_the_email(self, app, assertion):
        """All spellings of an email in proofs and paths are one email."""
        headers = bearer(open_session(app, assertion, "Alice@EXAMPLE.com"))
        assert app.get("/v1/profiles/ALICE@example.com", headers=headers).json["email"] == ALICE

    def test_replay(self, app, assertion):
        """An assertion opens one session; the second time it is rejected."""
        proof = {"assertion": assertion(ALICE)}
        app.post_json("/v1/sessions", {"proofs": [proof]}, status=201)
        problem = app.post_json("/v1/sessions", {"proofs": [proof]}, status=401).json
        assert problem["code"] == "proof_replayed"

    def test_one_bad_proof_spoils_the_request(self, app, assertion):
        """The problem names the invalid proof, and the valid proof is not used up."""
        good = {"assertion": assertion(ALICE)}
        problem = app.post_json(
            "/v1/sessions", {"proofs": [good, {"assertion": "x~y"}]}, status=401
        ).json
        assert problem["code"] == "malformed_jws"
        assert problem["errors"][0]["name"] == "proofs.1.assertion"
        app.post_json("/v1/sessions", {"proofs": [good]}, status=201)

    def test_challenge(self, app):
        """A 401 has the challenge that HTTP requires."""
        response = app.post_json("/v1/sessions", {"proofs": [{"assertion": "x"}]}, status=401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        ("body", "name"),
        [
            ({}, "proofs"),
            ({"proofs": []}, "proofs"),
            ({"proofs": "x"}, "proofs"),
            ({"proofs": [{}]}, "proofs.0"),
            ({"proofs": [{"assertion": 5}]}, "proofs.0.assertion"),
            ({"proofs": [{"assertion": "x", "id_token": "y"}]}, "proofs.0.id_token"),
            ({"proofs": ["x"]}, "proofs.0"),
            ({"proofs": [{"assertion": "x"}] * 21}, "proofs"),
            ({"proofs": [{"assertion": "x"}], "thumbnails": 100}, "thumbnails"),
            ({"proofs": [{"assertion": "x"}], "thumbnails": "64"}, "thumbnails"),
            ({"proofs": [{"assertion": "x"}], "emails": []}, "emails"),
            ([], ""),
            (None, ""),
        ],
    )
    def test_bodies_that_are_refused(self, app, body, name):
        """The problem names the errors of a body."""
        problem = app.post_json("/v1/sessions", body, status=400).json
        assert problem["code"] == "validation_failed"
        assert [error["name"] for error in problem["errors"]] == [name]

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff", b'{"proofs":[],"proofs":[]}', b"[" * 100_000, b"NaN", b'"\\ud800"']
    )
    def test_bodies_that_are_no_json(self, app, body):
        """A body that can't be parsed is malformed."""
        headers = {"Content-Type": "application/json"}
        assert app.post("/v1/sessions", body, headers, status=400).json["code"] == "malformed_request"

    def test_media_type(self, app):
        """A form is not JSON."""
        problem = app.post("/v1/sessions", {"proofs": "x"}, status=415).json
        assert problem["code"] == "unsupported_media_type"

    def test_size(self, app):
        """A body over the limit is rejected with the limit."""
        problem = app.post_json("/v1/sessions", {"proofs": "x" * 600_000}, status=413).json
        assert problem["limit"] == 336 * 1024


class TestIssuers:
    def test_are_kept_for_each_email(self, app, assertion):
        """A session has the issuer of each email, as a stable pseudonym."""
        first = open_session(app, assertion, ALICE)
        second = open_session(
            app, assertion, BOB, f"b@{ALICE.rpartition('@')[2]}", headers=bearer(first)
        )
        session = app.app.services.tokens.open(second["token"])
        issuers = [session.issuer_of(email) for email in session.emails]
        assert issuers[0] == issuers[2] != issuers[1]
        assert {len(issuer) for issuer in issuers} == {22}


class TestAdding:
    def test_adds_an_email(self, app, assertion):
        """A new proof with an old token makes a session of both emails, the older first."""
        first = open_session(app, assertion, ALICE)
        second = open_session(app, assertion, BOB, headers=bearer(first))
        assert [profile["email"] for profile in second["profiles"]] == [ALICE, BOB]
        app.get(f"/v1/profiles/{ALICE}", headers=bearer(second))

    def test_makes_no_session_longer(self, timed, clock):
        """A session expires with its oldest proof; a repeated proof extends it."""
        provider = timed.app.development.identity_provider
        assertion = lambda email: provider.bundle(email, AUDIENCE)  # noqa: E731
        first = open_session(timed, assertion, ALICE)
        clock.now += 30
        second = open_session(timed, assertion, BOB, headers=bearer(first))
        assert second["expires_at"] == first["expires_at"]
        again = open_session(timed, assertion, ALICE, BOB, headers=bearer(second))
        assert again["expires_at"] > first["expires_at"]

    def test_with_a_bad_token(self, app, assertion):
        """An invalid token is an error, also beside new proofs."""
        headers = {"Authorization": "Bearer nonsense"}
        problem = open_session(app, assertion, ALICE, headers=headers, status=401)
        assert problem["code"] == "session_invalid"

    def test_limit(self, app, assertion):
        """A session has at most 20 emails."""
        headers = None
        for number in range(20):
            headers = bearer(open_session(app, assertion, f"u{number}@example.com", headers=headers))
        problem = open_session(app, assertion, ALICE, headers=headers, status=400)
        assert problem["errors"][0]["name"] == "proofs"
        assert len(app.get("/v1/profiles", headers=headers).json["profiles"]) == 20


class TestEnding:
    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic YTpi",
            "Bearer " + "A" * 100,
            "Bearer " + "A" * 20_000,
        ],
    )
    def test_no_session(self, app, authorization):
        """An invalid token gets 401 with a reason."""
        headers = {"Authorization": authorization} if authorization else {}
        problem = app.get("/v1/profiles", headers=headers, status=401).json
        assert problem["code"] == ("session_invalid" if authorization else "session_missing")

    def test_every_altered_token(self, app, sign_in):
        """Every altered character makes a token invalid."""
        token = sign_in(ALICE)["Authorization"].removeprefix("Bearer ")
        for position in range(len(token)):
            other = "B" if token[position] != "B" else "C"
            altered = token[:position] + other + token[position + 1 :]
            app.get("/v1/profiles", headers={"Authorization": f"Bearer {altered}"}, status=401)

    def test_expiry(self, timed, clock):
        """A session ends after its lifetime."""
        provider = timed.app.development.identity_provider
        headers = bearer(open_session(timed, lambda email: provider.bundle(email, AUDIENCE), ALICE))
        clock.now += 3599
        timed.get("/v1/profiles", headers=headers, status=200)
        clock.now += 1
        problem = timed.get("/v1/profiles", headers=headers, status=401).json
        assert problem["code"] == "session_expired"

    @pytest.mark.parametrize("stored", [True, False], ids=["with a profile", "blank"])
    def test_sign_out_everywhere(self, app, sign_in, stored):
        """A sign-out ends every session of the email, with or without a stored profile."""
        here, there = sign_in(ALICE), sign_in(ALICE, BOB)
        if stored:
            app.patch_json(f"/v1/profiles/{ALICE}", {"name": "A"}, headers=here)
        app.delete("/v1/sessions", headers=here, status=204)
        for headers in (here, there):
            problem = app.get("/v1/profiles", headers=headers, status=401).json
            assert problem["code"] == "session_revoked"
        app.put_json(f"/v1/profiles/{ALICE}", {}, headers=here, status=401)
        app.get("/v1/profiles", headers=sign_in(ALICE, BOB), status=200)

    def test_sign_out_leaves_others(self, app, sign_in):
        """A sign-out does not affect sessions of other emails."""
        alice, bob = sign_in(ALICE), sign_in(BOB)
        app.delete("/v1/sessions", headers=alice, status=204)
        app.get("/v1/profiles", headers=bob, status=200)

    def test_a_dead_session_adds_nothing(self, app, sign_in, assertion):
        """A new proof can't continue a session that was signed out."""
        headers = sign_in(ALICE)
        app.delete("/v1/sessions", headers=headers, status=204)
        problem = open_session(app, assertion, BOB, headers=headers, status=401)
        assert problem["code"] == "session_revoked"

    def test_sign_in_after_a_clock_jumped(self, timed, clock):
        """A new session works at once even after a sign-out by a clock that was ahead."""
        provider = timed.app.development.identity_provider
        assertion = lambda email: provider.bundle(email, AUDIENCE)  # noqa: E731
        clock.now += 20
        headers = bearer(open_session(timed, assertion, ALICE))
        timed.delete("/v1/sessions", headers=headers, status=204)
        clock.now -= 20
        timed.get("/v1/profiles", headers=bearer(open_session(timed, assertion, ALICE)), status=200)

    def test_sign_out_after_a_clock_jumped(self, timed, clock):
        """A session from a clock that was ahead is ended, and every earlier session too."""
        provider = timed.app.development.identity_provider
        assertion = lambda email: provider.bundle(email, AUDIENCE)  # noqa: E731
        earlier = bearer(open_session(timed, assertion, ALICE))
        clock.now += 20
        ahead = bearer(open_session(timed, assertion, ALICE))
        clock.now -= 20
        timed.delete("/v1/sessions", headers=ahead, status=204)
        for headers in (earlier, ahead):
            timed.get("/v1/profiles", headers=headers, status=401)
