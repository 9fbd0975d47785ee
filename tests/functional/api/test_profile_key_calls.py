"""The calls that list, add and remove the keys of a protected profile."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from support.pictures.pictures import encode, quadrants

from persona_profile.encoding import base64url_encode

ALICE, BOB = "alice@example.com", "bob@example.org"
PROFILE = f"/v1/profiles/{ALICE}"
KEYS = f"{PROFILE}/profile-keys"
FIRST, SECOND, THIRD = (base64url_encode(bytes([number]) * 32) for number in (1, 2, 3))
HOST = {"Host": "127.0.0.1:6543"}


@pytest.fixture
def holding(app, assertion):
    """Opens a session of Alice with a profile key; returns its headers."""

    def open_session(key: str | None) -> dict[str, str]:
        body = {"proofs": [{"assertion": assertion(ALICE)}], "profile_key": key}
        token = app.post_json("/v1/sessions", body, headers=HOST, status=201).json["token"]
        return HOST | {"Authorization": f"Bearer {token}"}

    return open_session


@pytest.fixture
def first(app, holding) -> dict[str, str]:
    """A session that holds the key of Alice's protected profile."""
    headers = holding(FIRST)
    app.patch_json(PROFILE, {"name": "Alice"}, headers=headers)
    app.put_json(f"{PROFILE}/profile-key", {"profile_key": FIRST}, headers=headers)
    return headers


@pytest.fixture
def add(app, first):
    """Adds a key by the first session; returns the answer."""
    return lambda key, status=201, headers=first, **more: (
        app.post_json(KEYS, {"profile_key": key} | more, headers=headers, status=status).json
    )


def listed(app, headers):
    """Return the keys of the profile."""
    answer = app.get(KEYS, headers=headers)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json["profile_keys"]


def test_from_two_keys_to_another_one(app, first, add, holding):
    """A second key opens the profile, removes the first one, and is then the only one."""
    [own] = listed(app, first)
    assert own["current"] is True
    added = add(SECOND)
    assert listed(app, first) == [own, added]
    second = holding(SECOND)
    assert [each["current"] for each in listed(app, second)] == [False, True]
    assert app.get(PROFILE, headers=second).json["name"] == "Alice"
    app.delete(f"{KEYS}/{own['id']}", headers=second, status=204)
    assert listed(app, second) == [added | {"current": True}]
    assert app.get(PROFILE, headers=first, status=403).json["code"] == "profile_key_wrong"
    answer = app.delete(f"{KEYS}/{added['id']}", headers=second, status=409)
    assert answer.json["code"] == "last_profile_key"


def test_profile_stays(app, first, add):
    """Adding and removing leave the profile, its entity tag and its picture URLs as they are."""
    picture = first | {"Content-Type": "image/jpeg"}
    before = app.put(f"{PROFILE}/picture", encode(quadrants(64, 64)), headers=picture).json
    added = add(SECOND)
    assert app.get(PROFILE, headers=first).json == before
    app.delete(f"{KEYS}/{added['id']}", headers=first, status=204)
    assert app.get(PROFILE, headers=first).json == before


def test_repetition(app, first, add):
    """The same key again is 200 with the same entry; a removed key again is 404."""
    added = add(SECOND)
    assert add(SECOND, status=200) == added
    assert add(FIRST, status=200)["current"] is True
    app.delete(f"{KEYS}/{added['id']}", headers=first, status=204)
    answer = app.delete(f"{KEYS}/{added['id']}", headers=first, status=404)
    assert answer.json["code"] == "not_found"


def test_ninth(app, first, add):
    """A ninth key is rejected; the limit is in the problem and in the description of the server."""
    for number in range(7):
        add(base64url_encode(bytes([100 + number]) * 32))
    problem = add(SECOND, status=409)
    assert (problem["code"], problem["limit"]) == ("too_many_profile_keys", 8)
    assert app.get("/v1/").json["limits"]["profile_keys"] == len(listed(app, first)) == 8


def test_unprotected(app, holding):
    """An unprotected profile has no keys, and gets its first one by another call."""
    headers = holding(FIRST)
    assert listed(app, headers) == []
    answer = app.post_json(KEYS, {"profile_key": FIRST}, headers=headers, status=409)
    assert answer.json["code"] == "profile_not_protected"
    app.delete(f"{KEYS}/AAECAwQFBgc", headers=headers, status=404)


def test_without_a_key_of_the_profile(app, first, holding):
    """A session without one of the keys can do nothing about them."""
    [own] = listed(app, first)
    for key, code in ((None, "profile_key_required"), (THIRD, "profile_key_wrong")):
        headers = holding(key)
        for answer in (
            app.get(KEYS, headers=headers, status=403),
            app.post_json(KEYS, {"profile_key": THIRD}, headers=headers, status=403),
            app.delete(f"{KEYS}/{own['id']}", headers=headers, status=403),
        ):
            assert answer.json["code"] == code


def test_of_another_email(app, first):
    """The keys of an email without a proof are closed."""
    path = f"/v1/profiles/{BOB}/profile-keys"
    for answer in (
        app.get(path, headers=first, status=403),
        app.post_json(path, {"profile_key": SECOND}, headers=first, status=403),
        app.delete(f"{path}/AAECAwQFBgc", headers=first, status=403),
    ):
        assert answer.json["code"] == "email_not_proved"


def test_preconditions(app, first, add):
    """If-Match names the profile's state: the present one permits, an older one rejects."""
    present = first | {"If-Match": app.get(PROFILE, headers=first).json["etag"]}
    added = add(SECOND, headers=present)
    app.patch_json(PROFILE, {"name": "Changed"}, headers=present)
    problem = add(THIRD, status=412, headers=present)
    assert problem["code"] == "precondition_failed"
    app.delete(f"{KEYS}/{added['id']}", headers=present, status=412)
    app.delete(f"{KEYS}/{added['id']}", headers=first | {"If-Match": "*"}, status=204)
    add(THIRD, status=412, headers=first | {"If-None-Match": "*"})


def test_unknown_ids(app, first):
    """An unknown or malformed id is 404."""
    for key_id in ("x", "AAECAwQFBgc", "AAECAwQFBgd", "%C3%A9", "%ff", "a b", "A" * 900):
        answer = app.delete(f"{KEYS}/{key_id}", headers=first, status="4*")
        assert answer.status_int == (400 if key_id == "%ff" else 404)


def test_bad_bodies(app, first):
    """The body has exactly one key, in base64url of 32 bytes; errors do not quote it."""
    for body in ({}, {"profile_key": None}, {"profile_key": "short"}, {"profile_key": 1}, []):
        answer = app.post_json(KEYS, body, headers=first, status=400)
        assert answer.json["code"] == "validation_failed"
        assert "short" not in answer.text
    more = {"profile_key": SECOND, "name": "Phone"}
    answer = app.post_json(KEYS, more, headers=first, status=400)
    assert [each["name"] for each in answer.json["errors"]] == ["name"]


def test_export(app, first, add):
    """The export lists ids and times of the keys, and no key."""
    added = add(SECOND)
    archive = app.get(f"{PROFILE}/export", headers=first).body
    text = zipfile.ZipFile(io.BytesIO(archive)).read("profile.json").decode()
    keys = json.loads(text)["profile_keys"]
    assert [each["id"] for each in keys] == [each["id"] for each in listed(app, first)]
    assert keys[1] == {"id": added["id"], "added_at": added["added_at"]}
    assert FIRST not in text
    assert SECOND not in text


def test_new_key_replaces_all(app, first, add, holding):
    """PUT profile-key replaces every key by a new one, null removes every key."""
    add(SECOND)
    token = app.put_json(f"{PROFILE}/profile-key", {"profile_key": THIRD}, headers=first).json["token"]
    third = first | {"Authorization": f"Bearer {token}"}
    assert len(listed(app, third)) == 1
    assert app.get(PROFILE, headers=holding(SECOND), status=403).json["code"] == "profile_key_wrong"
    app.put_json(f"{PROFILE}/profile-key", {"profile_key": None}, headers=third)
    assert listed(app, third) == []
    assert app.get(PROFILE, headers=holding(None)).json["protected"] is False
