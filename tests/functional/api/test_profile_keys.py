"""Profiles that open only with a person's own key."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from PIL import Image
from support.clients.sessions import session_of
from support.pictures.pictures import encode

from persona_profile.encoding import base64url_encode

ALICE, BOB, CAROL = "alice@example.com", "bob@example.org", "carol@example.net"
PROFILE = f"/v1/profiles/{ALICE}"
KEY, OTHER_KEY = (base64url_encode(bytes([number]) * 32) for number in (1, 2))
HOST = {"Host": "127.0.0.1:6543"}


@pytest.fixture
def open_session(app, assertion):
    """Opens a session of Alice and Bob, optionally with a profile key; returns the answer."""

    def open_one(key: str | None = None, **more: object) -> dict[str, object]:
        proofs = [{"assertion": assertion(email)} for email in (ALICE, BOB)]
        body = {"proofs": proofs} | ({"profile_key": key} if key else {}) | more
        return app.post_json("/v1/sessions", body, headers=HOST, status=201).json

    return open_one


def bearer(answer) -> dict[str, str]:
    """Return the headers of an answer's session."""
    return HOST | {"Authorization": f"Bearer {answer['token']}"}


def path_of(url: str) -> str:
    """Return the path of a picture's URL."""
    return "/" + url.split("/", 3)[3]


@pytest.fixture
def picture() -> bytes:
    """A picture in PNG."""
    return encode(Image.linear_gradient("L").convert("RGB"))


@pytest.fixture
def plain(app, open_session, picture) -> dict[str, str]:
    """A session without a key; Alice has a name and a picture."""
    headers = bearer(open_session())
    app.patch_json(PROFILE, {"name": "Alice"}, headers=headers)
    app.put(f"{PROFILE}/picture", picture, headers=headers | {"Content-Type": "image/png"})
    return headers


@pytest.fixture
def protect(app, plain):
    """Protects Alice's profile with a key; returns the answer."""
    return lambda key=KEY, headers=plain, **options: app.put_json(
        f"{PROFILE}/profile-key", {"profile_key": key}, headers=headers, **options
    )


class TestProtecting:
    def test_answer(self, app, protect):
        """The answer has the profile, and a session with the key."""
        answer = protect().json
        assert set(answer) == {"token", "token_type", "expires_at", "profile"}
        assert (answer["profile"]["name"], answer["profile"]["protected"]) == ("Alice", True)
        assert app.get(PROFILE, headers=bearer(answer)).json["name"] == "Alice"

    def test_without_the_key(self, app, protect, plain):
        """Every call of a session without the key is rejected for that reason."""
        protect()
        for method, path, body in [
            ("GET", PROFILE, None),
            ("PUT", PROFILE, {"name": "M"}),
            ("PATCH", PROFILE, {"name": "M"}),
            ("GET", f"{PROFILE}/export", None),
            ("DELETE", f"{PROFILE}/picture", None),
            ("PUT", f"{PROFILE}/profile-key", {"profile_key": None}),
        ]:
            headers = plain | ({"Content-Type": "application/json"} if body else {})
            answer = app.request(
                path,
                method=method,
                body=json.dumps(body).encode() if body else b"",
                headers=headers,
                status=403,
            )
            assert answer.json["code"] == "profile_key_required"
        assert "Alice" not in app.get("/v1/profiles", headers=plain).text

    def test_upload_without_the_key(self, app, protect, plain, picture):
        """An upload without the key is rejected."""
        protect()
        headers = plain | {"Content-Type": "image/png"}
        answer = app.put(f"{PROFILE}/picture", picture, headers=headers, status=403)
        assert answer.json["code"] == "profile_key_required"

    def test_in_a_list(self, app, protect, open_session):
        """A list names the profiles that need a key, and shows the other profiles."""
        protect()
        [alice, bob] = open_session(thumbnails=64)["profiles"]
        assert (alice["error"], alice["protected"]) == ("profile_key_required", True)
        assert (alice["name"], alice["picture"], alice["version"]) == (None, None, 0)
        assert ("error" in bob, bob["protected"]) == (False, False)

    def test_with_another_key(self, app, protect, open_session):
        """Another key opens nothing, with an error of its own."""
        protect()
        answer = open_session(OTHER_KEY)
        assert answer["profiles"][0]["error"] == "profile_key_wrong"
        problem = app.get(PROFILE, headers=bearer(answer), status=403)
        assert problem.json["code"] == "profile_key_wrong"

    def test_with_the_key(self, app, protect, open_session):
        """A session with the key reads and writes everything, thumbnails included."""
        protect()
        answer = open_session(KEY, thumbnails=64)
        [alice, _] = answer["profiles"]
        assert (alice["name"], alice["protected"]) == ("Alice", True)
        assert alice["picture"]["thumbnail"].startswith("data:image/")
        written = app.patch_json(PROFILE, {"label": "Home"}, headers=bearer(answer)).json
        assert (written["name"], written["label"], written["protected"]) == ("Alice", "Home", True)
        export = app.get(f"{PROFILE}/export", headers=bearer(answer)).body
        names = zipfile.ZipFile(io.BytesIO(export)).namelist()
        assert len(names) > 4

    def test_blank(self, app, open_session):
        """A blank profile can be protected."""
        headers = bearer(open_session())
        answer = app.put_json(f"{PROFILE}/profile-key", {"profile_key": KEY}, headers=headers).json
        assert (answer["profile"]["version"], answer["profile"]["protected"]) == (1, True)
        assert app.get(PROFILE, headers=headers, status=403).json["code"] == "profile_key_required"
        assert app.patch_json(PROFILE, {"name": "A"}, headers=bearer(answer)).json["name"] == "A"

    def test_storage_and_keyring_do_not_open_it(self, app, protect):
        """Store and keyring together do not open a protected profile."""
        protect()
        services = app.app.services
        [stored] = services.profiles.profiles(session_of(ALICE))
        assert (stored.document.claims, stored.problem) == ({}, "profile_key_required")


class TestChanging:
    def test_key(self, app, protect):
        """A changed key replaces the old one, also for sessions with the old key."""
        first = bearer(protect().json)
        second = protect(OTHER_KEY, first).json
        assert second["profile"]["name"] == "Alice"
        assert app.get(PROFILE, headers=first, status=403).json["code"] == "profile_key_wrong"
        assert app.get(PROFILE, headers=bearer(second)).json["name"] == "Alice"

    def test_removed(self, app, protect, plain, picture):
        """A profile without a key opens for every session of the email again, with its picture."""
        answer = protect(None, bearer(protect().json)).json
        assert answer["profile"]["protected"] is False
        profile = app.get(PROFILE, headers=plain).json
        assert profile["name"] == "Alice"
        url = profile["picture"]["urls"]["512"]
        assert app.get(path_of(url), headers=HOST).content_type == "image/jpeg"

    def test_removing_none(self, app, protect, plain):
        """The removal of no key changes nothing."""
        before = app.get(PROFILE, headers=plain).json
        assert protect(None).json["profile"] == before

    def test_everything_is_sealed_anew(self, app, protect, plain):
        """Every change of the key gives the picture a new id, so that old URLs are 404."""
        urls = [app.get(PROFILE, headers=plain).json["picture"]["urls"]["64"]]
        headers = plain
        for key in (KEY, KEY, OTHER_KEY, None):
            answer = protect(key, headers).json
            headers = bearer(answer)
            app.get(path_of(urls[-1]), headers=HOST, status=404)
            urls.append(answer["profile"]["picture"]["urls"]["64"])
            app.get(path_of(urls[-1]), headers=HOST)

    def test_two_at_once(self, app, protect, plain):
        """Of two changes from the same state the second is rejected."""
        etag = app.get(PROFILE, headers=plain).json["etag"]
        protect(headers=plain | {"If-Match": etag})
        answer = protect(OTHER_KEY, plain | {"If-Match": etag}, status=403)
        assert answer.json["code"] == "profile_key_required"

    def test_stale_if_match(self, app, protect, plain):
        """A stale If-Match rejects the change of the key."""
        etag = app.get(PROFILE, headers=plain).json["etag"]
        app.patch_json(PROFILE, {"name": "B"}, headers=plain)
        assert protect(headers=plain | {"If-Match": etag}, status=412)

    def test_adding_an_email_keeps_the_key(self, app, protect, assertion, open_session):
        """A session with an added email keeps the key; a new key replaces it."""
        protect()
        older = bearer(open_session(KEY))
        proofs = [{"assertion": assertion("carol@example.net")}]
        answer = app.post_json("/v1/sessions", {"proofs": proofs}, headers=older).json
        assert answer["profiles"][0]["name"] == "Alice"
        body = {"proofs": [{"assertion": assertion("carol@example.net")}], "profile_key": OTHER_KEY}
        answer = app.post_json("/v1/sessions", body, headers=older).json
        assert answer["profiles"][0]["error"] == "profile_key_wrong"


class TestErasing:
    @pytest.mark.parametrize("key", [None, OTHER_KEY])
    def test_without_the_key(self, app, protect, open_session, key):
        """A person without the key can erase the profile and start again."""
        protect()
        headers = bearer(open_session(key))
        app.delete(PROFILE, headers=headers, status=204)
        blank = app.get(PROFILE, headers=headers).json
        assert (blank["version"], blank["protected"]) == (0, False)
        assert app.patch_json(PROFILE, {"name": "New"}, headers=headers).json["name"] == "New"


class TestPictures:
    @pytest.fixture
    def urls(self, protect) -> dict[str, str]:
        """The URLs of a protected picture."""
        return protect().json["profile"]["picture"]["urls"]

    def test_work_without_a_token(self, app, urls):
        """A picture's URL needs no token; browsers revalidate it each time."""
        answer = app.get(path_of(urls["64"]), headers=HOST)
        assert answer.content_type == "image/jpeg"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        known = HOST | {"If-None-Match": answer.headers["ETag"]}
        app.get(path_of(urls["64"]), headers=known, status=304)

    def test_are_of_their_session(self, app, urls, open_session, assertion):
        """A session's URLs are stable; a session of other emails has different URLs."""
        first = open_session(KEY, proofs=[{"assertion": assertion(ALICE)}])
        other = first["profiles"][0]["picture"]["urls"]
        assert other["64"] != urls["64"]
        again = app.get(PROFILE, headers=bearer(first)).json["picture"]["urls"]
        assert again == other

    def test_end_with_the_session(self, app, urls, open_session):
        """A sign-out ends the URLs at once."""
        headers = bearer(open_session(KEY))
        known = HOST | {"If-None-Match": app.get(path_of(urls["64"]), headers=HOST).headers["ETag"]}
        app.delete("/v1/sessions", headers=headers)
        app.get(path_of(urls["64"]), headers=HOST, status=404)
        app.get(path_of(urls["64"]), headers=known, status=404)

    def test_end_by_another_email(self, app, urls, sign_in):
        """URLs end with a sign-out of any email of their session, but of no other email."""
        app.delete("/v1/sessions", headers=sign_in(CAROL))
        app.get(path_of(urls["64"]), headers=HOST, status=200)
        app.delete("/v1/sessions", headers=sign_in(BOB))
        app.get(path_of(urls["64"]), headers=HOST, status=404)

    def test_of_a_merged_session(self, app, protect, open_session, assertion, sign_in):
        """A merged session has its own URLs and entity tags."""
        protect()
        first = open_session(KEY)
        body = {"proofs": [{"assertion": assertion(CAROL)}]}
        merged = app.post_json("/v1/sessions", body, headers=bearer(first)).json
        assert merged["expires_at"] == first["expires_at"]
        before, after = first["profiles"][0], merged["profiles"][0]
        assert before["etag"].partition(".")[0] == after["etag"].partition(".")[0]
        known = bearer(merged) | {"If-None-Match": before["etag"]}
        assert app.get(PROFILE, headers=known, status=200).json["picture"] == after["picture"]
        app.delete("/v1/sessions", headers=sign_in(CAROL))
        app.get(path_of(after["picture"]["urls"]["64"]), headers=HOST, status=404)
        app.get(path_of(before["picture"]["urls"]["64"]), headers=HOST, status=200)

    def test_expire_with_the_session(self, development_folder, urls, app):
        """A URL expires with its session at the latest."""
        _, seconds = app.app.services.pictures.open_capability(urls["64"].rpartition("/")[2])
        assert 0 < seconds <= 3600


class TestBadKeys:
    @pytest.mark.parametrize(
        "key", ["", "short", KEY + "=", KEY[:-1], KEY + "A", "é" * 43, 5, [KEY], {"k": KEY}, True]
    )
    def test_refused(self, app, plain, assertion, key):
        """An invalid key is a validation error that does not quote it."""
        answer = app.put_json(f"{PROFILE}/profile-key", {"profile_key": key}, headers=plain, status=400)
        [error] = answer.json["errors"]
        assert (error["name"], error["location"]) == ("profile_key", "body")
        body = {"proofs": [{"assertion": assertion(ALICE)}], "profile_key": key}
        answer = app.post_json("/v1/sessions", body, headers=HOST, status=400)
        assert answer.json["errors"] == [error]

    @pytest.mark.parametrize("body", [{}, [], {"profile_key": KEY, "more": 1}, {"key": KEY}])
    def test_other_bodies(self, app, plain, body):
        """The body has exactly one member."""
        app.put_json(f"{PROFILE}/profile-key", body, headers=plain, status=400)

    def test_of_another_email(self, app, plain):
        """A profile of an email without a proof can't be protected."""
        path = "/v1/profiles/carol@example.net/profile-key"
        answer = app.put_json(path, {"profile_key": KEY}, headers=plain, status=403)
        assert answer.json["code"] == "email_not_proved"
