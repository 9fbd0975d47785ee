from __future__ import annotations

import json
import re
from zoneinfo import available_timezones

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from pyramid.response import Response
from support import ROOT
from support.clients.contract import DOCUMENT, Broken, contract, document_path
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application

from persona_profile import emails
from persona_profile.api import profiles, sessions
from persona_profile.api.bodies import CROP_PATTERN, OF_PATTERN
from persona_profile.api.openapi import openapi_source
from persona_profile.api.schemas import (
    ADDED_KEY_BODY,
    CLAIMS_BODY,
    PROFILE_KEY_BODY,
    session_body,
    validate,
)
from persona_profile.auth import suggestions
from persona_profile.encoding import base64url_encode
from persona_profile.errors import ValidationFailed
from persona_profile.images.formats import ACCEPTED_MEDIA_TYPES, MEDIA_TYPES, SIZES, THUMBNAIL_SIZES
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.profiles.claims import CLAIMS, LANGUAGE_TAG
from persona_profile.rate_limits import Policy

PATHS = DOCUMENT["paths"]
COMPONENTS = DOCUMENT["components"]
CALLS = [(method, path) for path, methods in PATHS.items() for method in methods]
PROFILE = "/v1/profiles/{email}"
ALICE = "alice@example.com"
URL = f"/v1/profiles/{ALICE}"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


class TestServing:
    def test_document(self, app):
        """The document is public and cacheable."""
        response = app.get("/v1/openapi.json", headers={"Origin": "https://dialog.example"})
        assert response.json == json.loads(json.dumps(DOCUMENT))
        assert response.headers["Cache-Control"] == "public, max-age=300"
        assert response.headers["Access-Control-Allow-Origin"] == "https://dialog.example"

    def test_not_modified(self, app):
        """An unchanged document is 304."""
        etag = app.get("/v1/openapi.json").headers["ETag"]
        response = app.get("/v1/openapi.json", headers={"If-None-Match": etag}, status=304)
        assert not response.body
        assert response.headers["ETag"] == etag

    def test_is_valid(self):
        """The document is OpenAPI 3.1 with schemas in JSON Schema 2020-12; so is its source."""
        OpenAPIV31SpecValidator(DOCUMENT).validate()
        OpenAPIV31SpecValidator(openapi_source()).validate()


class TestCalls:
    def test_are_those_of_the_service(self, tmp_path):
        """The document lists exactly the routes and methods of production."""
        keyring = tmp_path / "keyring.json"
        KeyringFile(keyring).create(Keyring.generate())
        app = application(tmp_path, development="false", keyring__path=str(keyring))
        patterns = {
            route.name: document_path(route.pattern) for route in app.router.routes_mapper.get_routes()
        }
        views = [
            view["introspectable"] for view in app.router.registry.introspector.get_category("views")
        ]
        served = {
            (view["request_methods"].lower(), patterns[view["route_name"]])
            for view in views
            if view["route_name"] and view["request_methods"]
        }
        assert {(method, path) for method, path in served if method != "head"} == set(CALLS)
        assert {path for method, path in served if method == "head"} == {
            path for method, path in CALLS if method == "get"
        }

    def test_no_other_methods(self, app):
        """An undocumented method gets 405, with the documented ones in `Allow`."""
        for path, methods in PATHS.items():
            allowed = {method.upper() for method in methods}
            allowed |= {"HEAD"} if "GET" in allowed else set()
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - allowed:
                response = app.request(address(path), method=method, status=405)
                assert set(response.headers["Allow"].split(", ")) == allowed

    def test_security(self, app):
        """Exactly the calls with documented security need a session."""
        for method, path in CALLS:
            response = app.request(address(path), method=method.upper(), status="*")
            needs_session = PATHS[path][method].get("security") == [{"session": []}]
            assert (response.status_int == 401) == needs_session


def address(path):
    """Return the address of a profile or picture."""
    return path.replace("{email}", ALICE).replace("{capability}", "x")


class TestExamples:
    def test_answers_are_as_their_schemas_say(self):
        """Every example of an answer matches the schema of its place."""
        seen = set()
        for method, path in CALLS:
            for status, described in PATHS[path][method]["responses"].items():
                place = ("paths", path, method, "responses", status)
                response, place = contract().resolve(described, place)
                for kind, media in response.get("content", {}).items():
                    for name in media.get("examples", {}):
                        example = COMPONENTS["examples"][name]["value"]
                        contract().validate_at((*place, "content", kind, "schema"), example)
                        seen.add(name)
        elsewhere = {"method_not_allowed", "misdirected_request", "service_unavailable"}
        assert seen | elsewhere == set(COMPONENTS["examples"])

    def test_requests(self, app, assertion, sign_in):
        """The example requests get the example answers."""
        body = example_body("post", "/v1/sessions")
        [proof] = body["proofs"]
        assert proof.keys() == {"assertion"}
        body["proofs"] = [{"assertion": assertion(ALICE)}]
        opened = app.post_json("/v1/sessions", body, status=201).json
        same_but_for_chance(opened, "Session")
        headers = {"Authorization": f"Bearer {opened['token']}"}
        claims = json.dumps(example_body("patch", PROFILE))
        same_but_for_chance(app.patch(URL, claims, headers=headers | MERGE_PATCH).json, "Profile")
        same_but_for_chance(app.get("/v1/profiles", headers=headers).json, "Profiles")
        same_but_for_chance(app.get("/v1/fedcm/accounts", headers=headers).json, "Accounts")
        picture = encode(quadrants(600, 600))
        crop, of = (COMPONENTS["parameters"][name]["example"] for name in ("crop", "of"))
        answer = app.put(
            f"{URL}/picture?crop={crop}&of={of}",
            picture,
            headers=headers | {"Content-Type": "image/jpeg"},
        )
        same_but_for_chance(answer.json, "ProfileWithPicture")
        app.delete(f"{URL}/picture", headers=headers)
        app.delete(URL, headers=headers)
        app.put_json(URL, example_body("put", PROFILE), headers=headers)
        key = example_body("put", f"{PROFILE}/profile-key")
        changed = app.put_json(f"{URL}/profile-key", key, headers=headers).json
        same_but_for_chance(changed, "ProfileKeySession")
        headers = {"Authorization": f"Bearer {changed['token']}"}
        key = example_body("post", f"{PROFILE}/profile-keys")
        added = app.post_json(f"{URL}/profile-keys", key, headers=headers, status=201).json
        same_but_for_chance(added, "ProfileKey")
        listed = app.get(f"{URL}/profile-keys", headers=headers).json
        same_but_for_chance(listed, "ProfileKeys")
        for path, name in (
            ("/v1/", "Service"),
            ("/__lbheartbeat__", "Up"),
            ("/__heartbeat__", "Health"),
            ("/__version__", "Build"),
        ):
            assert app.get(path).json == COMPONENTS["examples"][name]["value"]


def example_body(method, path):
    """Return the first example body of a call."""
    return dict(next(iter(PATHS[path][method]["requestBody"]["content"].values()))["example"])


def same_but_for_chance(answer, name):
    """Check that an answer equals an example except for random values."""
    assert without_chance(answer) == without_chance(COMPONENTS["examples"][name]["value"])


def without_chance(value):
    """Return JSON with the kind of each value in place of those that differ each time."""
    by_chance = {"token", "expires_at", "updated_at", "added_at", "etag", "id", *map(str, SIZES)}
    match value:
        case dict():
            return {
                name: type(each) if name in by_chance else without_chance(each)
                for name, each in value.items()
            }
        case list():
            return [without_chance(each) for each in value]
    return value


def is_accepted(schema, body):
    """Return whether the service accepts a body."""
    try:
        validate(schema, body)
    except ValidationFailed:
        return False
    return True


def is_promised(name, body):
    """Return whether a body matches the document."""
    try:
        contract().validate(name, body)
    except Broken:
        return False
    return True


PROOFS = st.dictionaries(
    st.sampled_from(["assertion", "id_token", "access_token", "x"]), st.just("x") | st.none()
)


TEXTS = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=300)
CLAIM_VALUES = {
    "name": TEXTS,
    "picture_alt": TEXTS,
    "website": st.from_regex(r"https://[a-z]{1,60}\.[a-z]{2,60}(/[a-z%.?#]{0,300})?", fullmatch=True),
    "locale": st.from_regex(r"[a-z]{2}(-[A-Z]{2})?", fullmatch=True),
    "zoneinfo": st.sampled_from(sorted(available_timezones())),
}


class TestSchemas:
    @pytest.mark.parametrize("name", CLAIM_VALUES)
    @given(data=st.data())
    def test_what_is_stored(self, name, data):
        """Claims as the service stores them match the document."""
        body = {name: data.draw(CLAIM_VALUES[name])}
        assume(is_accepted(CLAIMS_BODY, body))
        contract().validate("Claims", validate(CLAIMS_BODY, body))

    @pytest.mark.parametrize("name", [name for name in CLAIMS if name not in ("locale", "zoneinfo")])
    def test_limits(self, name):
        """The document and the service have the same limits."""
        limit = COMPONENTS["schemas"]["Claims"]["properties"][name]["maxLength"]
        text = "https://a.example/".ljust(limit, "x")
        contract().validate("Claims", validate(CLAIMS_BODY, {name: text}))
        with pytest.raises(ValidationFailed):
            validate(CLAIMS_BODY, {name: text + "x"})
        with pytest.raises(Broken):
            contract().validate("Claims", {name: text + "x"})

    @given(
        body=st.fixed_dictionaries(
            {},
            optional={
                "proofs": st.lists(PROOFS) | st.integers(0, 21).map([{"assertion": "x"}].__mul__),
                "thumbnails": st.sampled_from([*SIZES, "64", True, None]),
                "profile_key": st.sampled_from(["A" * 43, "A" * 42 + "B", "A" * 44, 1, None]),
                "x": st.none(),
            },
        )
    )
    def test_sessions(self, body):
        """The document's schema accepts exactly the bodies that the service accepts."""
        schema = session_body(THUMBNAIL_SIZES, {"assertion": (), "id_token": ("access_token",)})
        assert is_accepted(schema, body) == is_promised("SessionRequest", body)

    def test_names_and_limits(self):
        """The document has the claims, sizes, formats, limits and patterns of the service."""
        schemas, parameters = COMPONENTS["schemas"], COMPONENTS["parameters"]
        service = COMPONENTS["examples"]["Service"]["value"]
        claims = schemas["Claims"]["properties"]
        assert service["claims"] == list(claims) == list(CLAIMS)
        assert {*claims} <= schemas["Profile"]["properties"].keys()
        optional = {"error", "suggestions"}
        assert {*schemas["Profile"]["required"], *optional} == schemas["Profile"]["properties"].keys()
        offered = schemas["Suggestions"]["properties"]["claims"]["propertyNames"]["enum"]
        assert sorted(offered) == sorted(suggestions.CLAIMS)
        assert claims["locale"]["pattern"] == f"^({LANGUAGE_TAG})?$"
        assert parameters["crop"]["schema"]["pattern"] == f"^{CROP_PATTERN}$"
        assert parameters["of"]["schema"]["pattern"] == f"^{OF_PATTERN}$"
        assert parameters["email"]["schema"]["maxLength"] == emails.MAX_BYTES
        pictures = schemas["Service"]["properties"]["pictures"]["properties"]
        assert {name: each["items"]["enum"] for name, each in pictures.items()} == {
            "sizes": list(SIZES),
            "thumbnails": list(THUMBNAIL_SIZES),
            "formats": list(MEDIA_TYPES.values()),
            "accepted": list(ACCEPTED_MEDIA_TYPES),
        }
        assert list(schemas["Picture"]["properties"]["urls"]["properties"]) == [*map(str, SIZES)]
        answers = PATHS["/v1/pictures/{capability}"]["get"]["responses"]
        assert list(answers["200"]["content"]) == list(MEDIA_TYPES.values())
        for name in ("Session", "Profiles"):
            assert schemas[name]["properties"]["profiles"]["maxItems"] == sessions.MAX_EMAILS
        assert schemas["Accounts"]["properties"]["accounts"]["maxItems"] == sessions.MAX_EMAILS
        nginx = (ROOT / "deploy" / "nginx.conf").read_text()
        by_nginx = re.search(r"\$exceeded \{(.*?)\}", nginx, re.DOTALL)[1]
        assert set(schemas["Problem"]["properties"]["policy"]["enum"]) == {
            *Policy,
            *re.findall(r"\b[a-z-]+(?=;)", by_nginx),
        }

    @pytest.mark.parametrize(
        ("method", "path", "limit"),
        [
            ("post", "/v1/sessions", f"{sessions.MAX_BODY_BYTES // 1024} KiB"),
            ("put", PROFILE, f"{profiles.MAX_BODY_BYTES // 1024} KiB"),
            ("patch", PROFILE, f"{profiles.MAX_BODY_BYTES // 1024} KiB"),
            ("put", f"{PROFILE}/profile-key", f"{profiles.MAX_PROFILE_KEY_BODY_BYTES} bytes"),
            ("post", f"{PROFILE}/profile-keys", f"{profiles.MAX_PROFILE_KEY_BODY_BYTES} bytes"),
        ],
    )
    def test_limits_of_bodies(self, method, path, limit):
        """The document describes the limits of bodies."""
        assert PATHS[path][method]["description"].endswith(f"At most {limit}.")

    @given(key=st.binary(min_size=31, max_size=33), end=st.sampled_from("ABCQgw0489_-"))
    def test_profile_keys(self, key, end):
        """The document's pattern accepts exactly the profile keys that the service accepts."""
        assert COMPONENTS["schemas"]["ProfileKeyRequest"]["required"] == ["profile_key"]
        text = base64url_encode(key)
        for body in ({"profile_key": text}, {"profile_key": text[:-1] + end}, {"profile_key": None}):
            assert is_accepted(PROFILE_KEY_BODY, body) == is_promised("ProfileKeyRequest", body)
            assert is_accepted(ADDED_KEY_BODY, body) == is_promised("ProfileKeyAddition", body)


class TestContract:
    """The contract, which checks every answer in the tests, detects violations."""

    GOOD = COMPONENTS["examples"]["Profile"]["value"]
    PROBLEM = COMPONENTS["examples"]["not_found"]["value"]

    @staticmethod
    def answer(body, status=200, kind="application/json", **headers):
        """Return an answer with the headers of a profile."""
        response = Response(json.dumps(body).encode(), status=status, content_type=kind)
        usual = {"ETag": '"a"', "Cache-Control": "no-store"}
        response.headers.update(
            {name: value for name, value in (usual | headers).items() if value is not None}
        )
        return response

    def test_kept(self):
        """Good answers pass."""
        contract().check("GET", PROFILE, self.answer(self.GOOD))
        contract().check("GET", PROFILE, self.answer(self.PROBLEM, 404, "application/problem+json"))

    @pytest.mark.parametrize(
        ("body", "status", "kind", "headers", "reason"),
        [
            (GOOD | {"version": "1"}, 200, "application/json", {}, "integer"),
            (GOOD | {"shoe_size": 44}, 200, "application/json", {}, "shoe_size"),
            ({"email": "a@b.example"}, 200, "application/json", {}, "required"),
            (GOOD | {"locale": "english!"}, 200, "application/json", {}, "match"),
            (GOOD, 200, "text/json", {}, "as text/json"),
            (GOOD, 200, "application/json", {"ETag": "a"}, "match"),
            (GOOD, 200, "application/json", {"ETag": None}, "without ETag"),
            (GOOD, 201, "application/json", {}, "not documented"),
            (GOOD, 204, "application/json", {}, "not documented"),
            (PROBLEM, 409, "application/problem+json", {}, "not documented"),
            (
                PROBLEM | {"code": "conflict"},
                404,
                "application/problem+json",
                {},
                "not one of|not_found",
            ),
            (PROBLEM, 503, "application/problem+json", {}, "without Retry-After"),
            (PROBLEM, 503, "application/problem+json", {"Retry-After": "soon"}, "integer"),
        ],
    )
    def test_broken(self, body, status, kind, headers, reason):
        """A wrong status, type, header, code, value or member is detected."""
        with pytest.raises(Broken, match=reason):
            contract().check("GET", PROFILE, self.answer(body, status, kind, **headers))

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("POST", PROFILE, 200), ("GET", None, 200), ("GET", PROFILE, 405), ("GET", None, 405)],
    )
    def test_not_listed(self, method, path, status):
        """An undocumented call is detected."""
        with pytest.raises(Broken, match="not documented"):
            contract().check(method, path, self.answer({}, status))

    def test_of_an_application(self, app, monkeypatch):
        """An application under test raises `Broken` for an answer that violates the document."""
        monkeypatch.setattr("persona_profile.api.operations.NAME", "another")
        with pytest.raises(Broken, match="GET /v1/"):
            app.get("/v1/")
