"""Pictures that an operator has removed, and locked emails, as their owners see them."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import webtest
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application

from persona_profile.encoding import base64url_encode
from persona_profile.profiles.removals import PictureRemovals

EMAIL = "alice@example.com"
PROFILE = f"/v1/profiles/{EMAIL}"
PICTURE = f"{PROFILE}/picture"
RAW = {"Content-Type": "application/octet-stream"}
FILE = encode(quadrants())
REASON = "This picture shows someone else."
DAY = 24 * 3600


@pytest.fixture(scope="module")
def served(development_folder):
    """A development application for the module."""
    app = application(development_folder)
    yield app
    app.close()


@pytest.fixture
def app(served) -> webtest.TestApp:
    """A client of the application, whose store is that of the other tests here."""
    return webtest.TestApp(served, extra_environ={"HTTP_HOST": "localhost"})


@pytest.fixture
def operator(served) -> PictureRemovals:
    """The operator's commands on the store of the application; at the end nothing is locked."""
    profiles = served.services.profiles
    removals = PictureRemovals(served.backend, profiles._homes, profiles._keys, ledger=served.ledger)
    removals.unlock(EMAIL)
    yield removals
    removals.unlock(EMAIL)


@pytest.fixture
def headers(app, operator, sign_in) -> dict[str, str]:
    """The headers of Alice's session; she has a name and a picture."""
    headers = sign_in(EMAIL)
    app.delete(PROFILE, headers=headers)
    app.patch_json(PROFILE, {"name": "Alice"}, headers=headers)
    app.put(PICTURE, FILE, headers=headers | RAW)
    return headers


def test_removed(app, headers, operator):
    """The owner sees that the picture was removed, and why; the next upload ends this."""
    operator.remove(EMAIL, None, REASON)
    found = app.get(PROFILE, headers=headers).json
    assert (found["name"], found["picture"]) == ("Alice", None)
    assert found["picture_removal"]["reason"] == REASON
    assert found["picture_removal"]["locked_until"] is None
    written = app.put(PICTURE, FILE, headers=headers | RAW).json
    assert (written["picture"] is None, written["picture_removal"]) == (False, None)


def test_locked(app, headers, operator):
    """Uploads and previews are rejected with the end and the reason; everything else works."""
    operator.remove(EMAIL, DAY, REASON)
    expected = app.get(PROFILE, headers=headers).json["picture_removal"]
    for call, path in ((app.put, PICTURE), (app.post, f"{PICTURE}/preview")):
        problem = call(path, FILE, headers=headers | RAW, status=403)
        assert problem.json["code"] == "picture_locked"
        assert problem.json["locked_until"] == expected["locked_until"]
        assert problem.json["reason"] == REASON
        assert "Retry-After" not in problem.headers
    assert app.patch_json(PROFILE, {"label": "Work"}, headers=headers).json["label"] == "Work"
    app.delete(PICTURE, headers=headers)
    archive = zipfile.ZipFile(io.BytesIO(app.get(f"{PROFILE}/export", headers=headers).body))
    assert json.loads(archive.read("profile.json"))["picture_removal"] == expected


def test_erased(app, headers, operator):
    """Erasing lifts no lock: the blank profile has it, and rejects the next picture."""
    operator.remove(EMAIL, DAY, REASON)
    app.delete(PROFILE, headers=headers)
    found = app.get(PROFILE, headers=headers).json
    assert (found["version"], found["picture_removal"]["reason"]) == (0, REASON)
    assert app.put(PICTURE, FILE, headers=headers | RAW, status=403).json["code"] == "picture_locked"


def test_entity_tags(app, headers, operator):
    """A removal and an unlock give an answer another entity tag; writes go on from either one."""
    tags = []
    for step in (lambda: operator.remove(EMAIL, DAY, REASON), lambda: operator.unlock(EMAIL)):
        tags.append(app.get(PROFILE, headers=headers).headers["ETag"])
        step()
    tags.append(app.get(PROFILE, headers=headers | {"If-None-Match": ", ".join(tags)}).headers["ETag"])
    assert len(set(tags)) == 3
    app.patch_json(PROFILE, {"name": "A"}, headers=headers | {"If-Match": tags[0]})
    app.patch_json(PROFILE, {"name": "B"}, headers=headers | {"If-Match": tags[0]}, status=412)


def test_protected(app, headers, operator):
    """The owner of a protected profile sees the reason, even without the key."""
    key = base64url_encode(b"k" * 32)
    answer = app.put_json(f"{PROFILE}/profile-key", {"profile_key": key}, headers=headers).json
    operator.remove(EMAIL, DAY, REASON)
    [found] = app.get("/v1/profiles", headers=headers).json["profiles"]
    assert (found["error"], found["picture_removal"]["reason"]) == ("profile_key_required", REASON)
    unlocked = headers | {"Authorization": f"Bearer {answer['token']}"}
    found = app.get(PROFILE, headers=unlocked).json
    assert (found["name"], found["picture"], found["protected"]) == ("Alice", None, True)
    problem = app.put(PICTURE, FILE, headers=unlocked | RAW, status=403)
    assert problem.json["code"] == "picture_locked"
