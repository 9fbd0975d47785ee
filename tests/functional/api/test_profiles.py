import io
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import webtest
from support import ROOT

from backends import Put
from persona_profile.characters import nfc

ALICE, BOB = "alice@example.com", "bob@example.org"
URL = f"/v1/profiles/{ALICE}"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}

ALL_CLAIMS = {
    "name": "Alice Example",
    "given_name": "Alice",
    "family_name": "Example",
    "nickname": "Al",
    "pronouns": "she/her",
    "website": "https://alice.example/",
    "locale": "en-GB",
    "zoneinfo": "Europe/Paris",
    "label": "Work",
    "picture_alt": "Alice, smiling",
}


@pytest.fixture
def alice(sign_in):
    """The headers of Alice's session."""
    return sign_in(ALICE)


class TestWriting:
    def test_put_replaces_all(self, app, alice):
        """PUT sets the given claims and removes all others."""
        assert app.put_json(URL, ALL_CLAIMS, headers=alice).json.items() >= ALL_CLAIMS.items()
        profile = app.put_json(URL, {"name": "A"}, headers=alice).json
        assert {name for name in ALL_CLAIMS if profile[name] is not None} == {"name"}

    def test_patch_merges(self, app, alice):
        """PATCH changes the given claims; null and empty text remove them."""
        app.put_json(URL, ALL_CLAIMS, headers=alice)
        body = json.dumps({"name": "B", "label": None, "nickname": " "})
        profile = app.patch(URL, body, headers=alice | MERGE_PATCH).json
        expected = ALL_CLAIMS | {"name": "B", "label": None, "nickname": None}
        assert profile.items() >= expected.items()

    def test_version_counts_writes(self, app, alice):
        """The version counts writes; `updated_at` is the time of the last."""
        for number in range(1, 4):
            profile = app.patch_json(URL, {"name": f"N{number}"}, headers=alice).json
            assert profile["version"] == number
        assert profile["updated_at"].endswith("Z")
        assert app.get(URL, headers=alice).json == profile

    def test_emails_are_apart(self, app, sign_in):
        """Profiles of a session's emails are independent."""
        headers = sign_in(ALICE, BOB)
        app.patch_json(URL, {"name": "A"}, headers=headers)
        names = [
            profile["name"] for profile in app.get("/v1/profiles", headers=headers).json["profiles"]
        ]
        assert names == ["A", None]

    @pytest.mark.parametrize(
        ("body", "name", "description"),
        [
            ({"name": "x" * 101}, "name", "at most 100"),
            ({"name": "a\u202eb"}, "name", "U+202E"),
            ({"name": "a\nb"}, "name", "U+000A"),
            ({"picture_alt": " ab\u200dc"}, "picture_alt", "U+200D at position 3"),
            ({"name": 5}, "name", "string or null"),
            ({"name": ["a"]}, "name", "string or null"),
            ({"name": True}, "name", "string or null"),
            ({"shoe_size": "44"}, "shoe_size", "not a known member"),
            ({"email": BOB}, "email", "read-only"),
            ({"picture": None}, "picture", "read-only"),
            ({"website": "http://alice.example"}, "website", "https"),
            ({"locale": "english!"}, "locale", "language tag"),
            ({"zoneinfo": "Mars"}, "zoneinfo", "time zone"),
            ([], "", "object"),
            ("x", "", "object"),
        ],
    )
    @pytest.mark.parametrize("method", ["put_json", "patch_json"])
    def test_refused(self, app, alice, method, body, name, description):
        """An invalid body is rejected with the error's place, and nothing is stored."""
        app.put_json(URL, {"name": "Before"}, headers=alice)
        problem = getattr(app, method)(URL, body, headers=alice, status=400).json
        assert problem["code"] == "validation_failed"
        [error] = problem["errors"]
        assert (error["location"], error["name"]) == ("body", name)
        assert description in error["description"]
        assert app.get(URL, headers=alice).json["name"] == "Before"

    def test_names_as_people_write_them(self, app, alice):
        """Names of all scripts, and emoji, come back as they are."""
        known = json.loads((ROOT / "tests/support/names.json").read_text())
        names = [
            nfc(name)
            for group in ("scripts", "others")
            for kind in known[group].values()
            for name in kind
        ]
        texts = [claim for claim in ALL_CLAIMS if claim not in ("website", "locale", "zoneinfo")]
        for start in range(0, len(names), len(texts)):
            claims = dict(zip(texts, names[start:], strict=False))
            assert app.put_json(URL, claims, headers=alice).json.items() >= claims.items()
            assert app.get(URL, headers=alice).json.items() >= claims.items()

    def test_all_errors_at_once(self, app, alice):
        """All errors are reported together and quote no values."""
        body = {"name": "SECRET" * 20, "label": "SECRET\nSECRET", "foo": "SECRET"}
        response = app.put_json(URL, body, headers=alice, status=400)
        assert {error["name"] for error in response.json["errors"]} == {"name", "label", "foo"}
        assert "SECRET" not in response.text

    def test_too_large(self, app, alice):
        """A body over the limit is rejected."""
        problem = app.put_json(URL, {"name": "x" * 70_000}, headers=alice, status=413).json
        assert problem["limit"] == 32 * 1024

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json"])
    def test_media_type(self, app, alice, kind):
        """Only JSON is accepted."""
        app.put(URL, b"{}", headers=alice | {"Content-Type": kind}, status=415)
        app.put(URL, b"{}", headers=alice | MERGE_PATCH, status=415)


class TestAccess:
    @pytest.mark.parametrize("method", ["get", "put_json", "patch_json", "delete"])
    def test_of_others(self, app, alice, sign_in, method):
        """An email without a proof in the session is 403, whether or not a profile exists."""
        app.put_json(f"/v1/profiles/{BOB}", {"name": "Bob"}, headers=sign_in(BOB))
        for email in (BOB, "nobody@example.net"):
            arguments = [{}] if "json" in method else []
            problem = getattr(app, method)(
                f"/v1/profiles/{email}", *arguments, headers=alice, status=403
            ).json
            assert problem["code"] == "email_not_proved"

    @pytest.mark.parametrize(
        "path", ["x", "a@b@c", "@", "a@", "@b", "a@localhost", "a@1.2.3.4", "%00@b.c"]
    )
    def test_no_email(self, app, alice, path):
        """A path without an email is 404."""
        assert app.get(f"/v1/profiles/{path}", headers=alice, status=404).json["code"] == "not_found"

    def test_escapes_in_the_path(self, app, sign_in):
        """Every provable email has a path."""
        email = "o'b/r+i%en#?@example.com"
        headers = sign_in(email)
        path = "/v1/profiles/o'b%2Fr+i%25en%23%3F%40example.com"
        assert app.get(path, headers=headers).json["email"] == email
        app.patch_json(path, {"name": "O"}, headers=headers)
        app.get(f"{path}/export", headers=headers, status=200)

    @pytest.mark.parametrize("path", [URL, "/v1/profiles", f"{URL}/export"])
    def test_without_session(self, app, path):
        """A request without a session is 401."""
        assert app.get(path, status=401).json["code"] == "session_missing"


class TestConditions:
    def test_not_modified(self, app, alice):
        """An unchanged profile is 304; a changed one is sent."""
        etag = app.get(URL, headers=alice).headers["ETag"]
        response = app.get(URL, headers=alice | {"If-None-Match": f'"x", W/{etag}'}, status=304)
        assert not response.body
        assert response.headers["ETag"] == etag
        app.patch_json(URL, {"name": "A"}, headers=alice)
        app.get(URL, headers=alice | {"If-None-Match": etag}, status=200)

    def test_list_not_modified(self, app, alice):
        """The list of profiles has an entity tag as well."""
        etag = app.get("/v1/profiles", headers=alice).headers["ETag"]
        app.get("/v1/profiles", headers=alice | {"If-None-Match": etag}, status=304)
        app.patch_json(URL, {"name": "A"}, headers=alice)
        app.get("/v1/profiles", headers=alice | {"If-None-Match": etag}, status=200)

    def test_if_match(self, app, alice):
        """A write succeeds if its If-Match has the current state, and fails otherwise."""
        blank = app.get(URL, headers=alice).headers["ETag"]
        first = app.patch_json(URL, {"name": "A"}, headers=alice | {"If-Match": blank})
        assert first.headers["ETag"] == first.json["etag"]
        for etag in (blank, '"nonsense"', "nonsense", "*x", ""):
            problem = app.patch_json(
                URL, {"name": "B"}, headers=alice | {"If-Match": etag}, status=412
            ).json
            assert problem["code"] == "precondition_failed"
        headers = alice | {"If-Match": f'"other", W/{first.headers["ETag"]}'}
        assert app.patch_json(URL, {"name": "C"}, headers=headers).json["name"] == "C"

    def test_if_match_of_an_erased_profile(self, app, alice):
        """An erased profile's entity tag never matches again."""
        etag = app.patch_json(URL, {"name": "A"}, headers=alice).headers["ETag"]
        app.delete(URL, headers=alice, status=204)
        app.patch_json(URL, {"name": "A"}, headers=alice | {"If-Match": etag}, status=412)
        app.patch_json(URL, {"name": "A"}, headers=alice)
        app.patch_json(URL, {"name": "B"}, headers=alice | {"If-Match": etag}, status=412)

    def test_star(self, app, alice):
        """`*` matches a written profile."""
        star = alice | {"If-Match": "*"}
        none = alice | {"If-None-Match": "*"}
        app.put_json(URL, {"name": "A"}, headers=star, status=412)
        app.put_json(URL, {"name": "A"}, headers=none, status=200)
        app.put_json(URL, {"name": "B"}, headers=none, status=412)
        app.put_json(URL, {"name": "B"}, headers=star, status=200)

    def test_delete(self, app, alice):
        """Erasure honours If-Match."""
        app.patch_json(URL, {"name": "A"}, headers=alice)
        app.delete(URL, headers=alice | {"If-Match": '"1.0"'}, status=412)
        assert app.get(URL, headers=alice).json["name"] == "A"


class TestErasing:
    def test_is_blank_again(self, app, alice):
        """An erased profile is blank and leaves no items."""
        app.put_json(URL, ALL_CLAIMS, headers=alice)
        partitions = [p for p in app.app.backend.scan(None, 100) if p[0] != 0]
        assert len(partitions) == 1
        app.delete(URL, headers=alice, status=204)
        assert list(app.app.backend.list(partitions[0])) == []
        profile = app.get(URL, headers=alice).json
        assert (profile["name"], profile["version"], profile["updated_at"]) == (None, 0, None)

    def test_twice(self, app, alice):
        """Erasing a blank profile succeeds."""
        app.delete(URL, headers=alice, status=204)
        app.delete(URL, headers=alice, status=204)

    def test_export(self, app, alice):
        """The export contains everything stored for an email."""
        app.put_json(URL, ALL_CLAIMS, headers=alice)
        response = app.get(f"{URL}/export", headers=alice)
        assert response.content_type == "application/zip"
        with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
            assert archive.testzip() is None
            assert json.loads(archive.read("profile.json")).items() >= ALL_CLAIMS.items()


class TestStorage:
    def test_holds_nothing_in_the_clear(self, app, alice):
        """Stored items contain no email and no claim in clear text."""
        app.put_json(URL, ALL_CLAIMS, headers=alice)
        backend = app.app.backend
        stored = b""
        for partition in backend.scan(None, 100):
            for info in backend.list(partition):
                address = (partition, info.name)
                stored += partition + info.name.encode() + backend.get_many([address])[address].value
        for secret in (ALICE, "alice", "example.com", *ALL_CLAIMS.values()):
            assert secret.encode() not in stored

    @pytest.mark.parametrize("item", ["key", "profile"])
    def test_damage(self, app, sign_in, item):
        """A damaged profile is reported and can be erased; other profiles are served."""
        headers = sign_in(ALICE, BOB)
        app.put_json(URL, {"name": "A"}, headers=headers)
        backend = app.app.backend
        [partition] = [p for p in backend.scan(None, 100) if p[0] != 0]
        app.put_json(f"/v1/profiles/{BOB}", {"name": "B"}, headers=headers)
        value = bytearray(backend.get_many([(partition, item)])[(partition, item)].value)
        value[20] ^= 1
        backend.apply(partition, [Put(item, bytes(value))])
        damaged, whole = app.get("/v1/profiles", headers=headers).json["profiles"]
        assert (damaged["error"], damaged["name"], whole["name"]) == ("profile_unreadable", None, "B")
        problem = app.get(URL, headers=headers, status=503)
        assert problem.json["code"] == "profile_unreadable"
        assert problem.headers["Retry-After"]
        app.patch_json(URL, {"name": "C"}, headers=headers, status=503)
        app.delete(URL, headers=headers, status=204)
        app.patch_json(URL, {"name": "C"}, headers=headers, status=200)


class TestConcurrency:
    THREADS = 50

    def test_writers_with_if_match(self, app, alice):
        """Of fifty writers with If-Match, exactly the acknowledged writes count in the version."""
        app.put_json(URL, {"name": "0"}, headers=alice)
        barrier = threading.Barrier(self.THREADS)

        def write(number: int) -> int:
            client = webtest.TestApp(app.app)
            barrier.wait(30)
            acknowledged = 0
            for _ in range(10):
                etag = client.get(URL, headers=alice).headers["ETag"]
                answer = client.patch_json(
                    URL, {"name": str(number)}, headers=alice | {"If-Match": etag}, status="*"
                )
                assert answer.status_int in (200, 412)
                acknowledged += answer.status_int == 200
            return acknowledged

        with ThreadPoolExecutor(self.THREADS) as pool:
            total = sum(pool.map(write, range(self.THREADS)))
        assert app.get(URL, headers=alice).json["version"] == total + 1
        assert total >= 10

    def test_patches_of_different_claims(self, app, alice):
        """Writers of different claims without If-Match lose no change."""
        barrier = threading.Barrier(len(ALL_CLAIMS))

        def write(claim: tuple[str, str]) -> None:
            barrier.wait(30)
            webtest.TestApp(app.app).patch_json(URL, dict([claim]), headers=alice)

        with ThreadPoolExecutor(len(ALL_CLAIMS)) as pool:
            list(pool.map(write, ALL_CLAIMS.items()))
        profile = app.get(URL, headers=alice).json
        assert profile.items() >= ALL_CLAIMS.items()
        assert profile["version"] == len(ALL_CLAIMS)

    def test_erase_while_others_write(self, app, alice):
        """Erasing beside writers leaves a whole or a blank profile, never an unreadable one."""
        stop = threading.Event()

        def write() -> None:
            client = webtest.TestApp(app.app)
            while not stop.is_set():
                client.patch_json(URL, {"name": "A"}, headers=alice)

        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write) for _ in range(3)]
            try:
                for _ in range(40):
                    app.delete(URL, headers=alice, status=204)
                    assert app.get(URL, headers=alice).json["name"] in (None, "A")
            finally:
                stop.set()
            for writer in writers:
                writer.result(30)
