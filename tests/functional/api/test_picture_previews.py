"""Previews over HTTP: permission, limits, charges, and nothing stored."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webtest
from PIL import Image
from support.pictures.pictures import (
    FORMATS_IN,
    GREEN,
    decoded,
    encode,
    exif_orientation,
    heic,
    in_format,
    png,
    png_bomb,
    quadrants,
)
from support.servers.applications import Clock, application, running

EMAIL = "alice@example.com"
PROFILE = f"/v1/profiles/{EMAIL}"
PICTURE = f"{PROFILE}/picture"
PREVIEW = f"{PICTURE}/preview"
ORIGIN = "https://dialog.example"
PHONE = heic(quadrants(2400, 1600), exif=exif_orientation(1))
LIMIT = 100_000


@pytest.fixture
def headers(sign_in) -> dict[str, str]:
    """The headers of Alice's session."""
    return sign_in(EMAIL)


@pytest.fixture
def look(app, headers) -> Callable[..., webtest.TestResponse]:
    """Sends a file for its preview; returns the response of any status."""

    def look(body=PHONE, media_type="image/heic", path=PREVIEW, **more) -> webtest.TestResponse:
        given = {**headers, "Content-Type": media_type, **more}
        return app.post(path, body, headers=given, expect_errors=True)

    return look


def items(app) -> dict[bytes, set[str]]:
    """Return the names of all items, by partition."""
    backend = app.app.backend
    return {owner: {item.name for item in backend.list(owner)} for owner in backend.scan(None, 100)}


@pytest.mark.parametrize("name", FORMATS_IN)
def test_preview(look, name):
    """The answer is the whole picture of each format, safe to open and kept by no cache."""
    answer = look(in_format(name, quadrants(2400, 1600)), "application/octet-stream")
    assert (answer.status_code, answer.content_type) == (200, "image/jpeg")
    found = decoded(answer.body)
    assert (found.format, found.size) == ("JPEG", (1024, 683))
    assert found.getpixel((900, 100)) == pytest.approx(GREEN, abs=12)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "ETag" not in answer.headers


def test_form(look):
    """The file may be the field of a form, as in an upload."""
    head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.heic"\r\n\r\n'
    answer = look(head + PHONE + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert (answer.status_code, decoded(answer.body).size) == (200, (1024, 683))
    assert look(b"--x--\r\n", "multipart/form-data; boundary=x").json["code"] == "validation_failed"


def test_nothing_is_stored(app, look, headers):
    """A preview changes no profile and leaves no item behind."""
    before = items(app), app.get(PROFILE, headers=headers).json
    assert look().status_code == 200
    assert look(b"junk").status_code == 415
    assert (items(app), app.get(PROFILE, headers=headers).json) == before


def test_pages_may_read_it(look):
    """A page of a configured origin reads the answer; another page is rejected before any charge."""
    answer = look(Origin=ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    foreign = look(Origin="https://evil.example")
    assert (foreign.status_code, foreign.json["code"]) == (403, "origin_refused")
    assert "RateLimit" not in foreign.headers


def test_preflight(app):
    """Browsers may send the call from a configured origin."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answer = app.options(PREVIEW, headers=asked, status=204)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_who_may(app, look):
    """Only a session that has proved an email may have previews for it."""
    other = look(path="/v1/profiles/bob@example.com/picture/preview")
    assert (other.status_code, other.json["code"]) == (403, "email_not_proved")
    app.post(PREVIEW, PHONE, status=401)
    assert look(Authorization="Bearer junk").json["code"] == "session_invalid"


def test_after_a_sign_out(app, look, headers):
    """An ended session has no previews, though its token is still good."""
    app.delete("/v1/sessions", headers=headers, status=204)
    assert look().json["code"] == "session_revoked"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(app, headers, method):
    """There is one method."""
    app.request(PREVIEW, method=method, headers=headers, status=405)


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"", "image/heic", 422, "picture_empty"),
        (b"Dear Alice", "image/heic", 415, "unsupported_media_type"),
        (PHONE, "text/plain", 415, "unsupported_media_type"),
        (PHONE[:600], "image/heic", 422, "picture_broken"),
        (png_bomb(12_000, 12_000), "image/png", 422, "picture_too_many_pixels"),
    ],
)
def test_unusable_files(look, body, media_type, status, code):
    """A file that can't be shown has the error of its upload."""
    answer = look(body, media_type)
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_thin_picture_of_many_pixels(look):
    """A line of 49 megapixels is shown, or rejected by its cost, by the real worker."""
    answer = look(png(16_600_000, 3, 1, 0, (b"\0" + b"\xff" * 2_075_000) * 3), "image/png")
    if answer.status_code == 200:
        assert decoded(answer.body).size == (1024, 1)
    else:
        assert answer.json["code"] in ("picture_too_complex", "picture_too_many_pixels")


class TestCharges:
    POLICIES = ("picture_ms_per_email", "picture_ms_per_issuer", "picture_ms_per_address")

    @pytest.fixture
    def limited(self, development_folder: Path) -> Callable[..., Callable[..., webtest.TestResponse]]:
        """Makes an application with some limits; returns what sends a preview or an upload to it."""
        apps = []

        def make(**limits: str) -> Callable[..., webtest.TestResponse]:
            off = {f"ratelimit__{each}": "off" for each in (*self.POLICIES, "writes_per_email")}
            given = off | {f"ratelimit__{name}": value for name, value in limits.items()}
            apps.append(
                application(development_folder, Clock(time.time()), ratelimit__url="memory://", **given)
            )
            app = webtest.TestApp(apps[-1], extra_environ={"HTTP_HOST": "localhost"})
            proof = app.app.development.identity_provider.bundle(EMAIL, "http://localhost")
            token = app.post_json("/v1/sessions", {"proofs": [{"assertion": proof}]}).json["token"]
            given = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}

            def send(body: bytes, *, preview: bool = True) -> webtest.TestResponse:
                call, path = (app.post, PREVIEW) if preview else (app.put, PICTURE)
                return call(path, body, headers=given, expect_errors=True)

            return send

        yield make
        for app in apps:
            app.close()

    def test_writes(self, limited):
        """Previews and uploads share the writes of an email, failed ones included."""
        send = limited(writes_per_email="3/hour")
        good = encode(quadrants(64, 64))
        statuses = [
            send(body, preview=preview).status_code
            for body, preview in ((good, True), (b"junk", True), (good, False), (good, True))
        ]
        assert statuses == [200, 415, 200, 429]

    def test_pixels(self, limited):
        """Previews and uploads share the pixels of an email."""
        send = limited(pixels_per_email="100000000/hour")
        large = png_bomb(7000, 7000)
        assert [send(large).status_code, send(large, preview=False).status_code] == [200, 200]
        answer = send(large)
        assert (answer.status_code, answer.json["policy"]) == (429, "pixels-per-email")

    @pytest.mark.parametrize("policy", POLICIES)
    def test_processor_time(self, limited, policy):
        """Email, issuer and network pay for the processor time of previews."""
        send = limited(**{policy: "50/10minute"})
        for _ in range(100):
            answer = send(encode(quadrants(900, 900)))
            if answer.status_code == 429:
                break
        assert answer.json["policy"] == policy.replace("_", "-")
        assert send(encode(quadrants(64, 64)), preview=False).status_code == 429

    def test_bytes(self, limited):
        """The bytes of previews are charged as those of reads: an answer may exceed its file."""
        send = limited(bytes_per_email="5000/hour")
        assert send(encode(quadrants(64, 64))).status_code == 200
        assert send(encode(quadrants(64, 64))).status_code == 200
        answer = send(encode(quadrants(64, 64)))
        assert (answer.status_code, answer.json["policy"]) == (429, "bytes-per-email")


class TestLoad:
    def test_many_at_once(self, development_folder):
        """Of too many previews and uploads, some get a time to retry; afterwards both succeed."""
        app = application(development_folder, pictures__workers="1")
        proof = app.development.identity_provider.bundle(EMAIL, "http://localhost")
        client = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
        token = client.post_json("/v1/sessions", {"proofs": [{"assertion": proof}]}).json["token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
        large = encode(Image.new("RGB", (8000, 8000)), progressive=True)

        def send(number: int) -> webtest.TestResponse:
            each = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
            call, path = (each.post, PREVIEW) if number % 2 else (each.put, PICTURE)
            return call(path, large, headers=headers, expect_errors=True)

        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(send, range(24)))
        assert {each.status_code for each in answers} == {200, 503}
        for each in answers:
            if each.status_code == 503:
                assert (each.json["code"], int(each.headers["Retry-After"]) > 0) == ("overloaded", True)
        client.post(PREVIEW, encode(quadrants(64, 64)), headers=headers, status=200)
        client.put(PICTURE, encode(quadrants(64, 64)), headers=headers, status=200)
        app.close()

    def test_bombs_take_no_place(self, app, headers, sign_in):
        """The bombs of a client that asks for previews take no place of others."""
        given, good = headers | {"Content-Type": "image/jpeg"}, encode(quadrants(64, 64))
        mallory, bomb = sign_in("mallory@evil.example"), png_bomb(12_000, 12_000)
        path = "/v1/profiles/mallory@evil.example/picture/preview"

        def attack(_: int) -> int:
            each = webtest.TestApp(
                app.app, extra_environ={"REMOTE_ADDR": "192.0.2.66", "HTTP_HOST": "localhost"}
            )
            sent = {**mallory, "Content-Type": "image/png"}
            return each.post(path, bomb, headers=sent, expect_errors=True).status_code

        with ThreadPoolExecutor(8) as threads:
            attacks = threads.map(attack, range(100))
            for _ in range(8):
                app.put(PICTURE, good, headers=given, status=200)
            assert Counter(attacks).keys() <= {422, 429, 503}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Sends a file to a real server that accepts only small files; returns response and content."""
    app = application(tmp_path_factory.mktemp("small"), pictures__max_bytes=str(LIMIT))
    with running(app) as origin:

        def call(path, body, headers, **options):
            connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=30)
            connection.request("POST", path, body, headers, **options)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            return response, content

        proof = app.development.identity_provider.bundle(EMAIL, "http://127.0.0.1:6543")
        body = json.dumps({"proofs": [{"assertion": proof}]})
        _, answer = call("/v1/sessions", body, {"Content-Type": "application/json"})
        session = {"Authorization": f"Bearer {json.loads(answer)['token']}"}
        yield lambda body, **options: call(PREVIEW, body, session, **options)


@pytest.mark.parametrize("chunked", [False, True])
def test_body(small, chunked):
    """A file arrives whole, with Content-Length or in chunks."""
    data = encode(quadrants(900, 600), quality=95)
    body = (data[at : at + 500] for at in range(0, len(data), 500)) if chunked else data
    response, content = small(body, encode_chunked=chunked)
    assert (response.status, decoded(content).size) == (200, (900, 600))


@pytest.mark.parametrize("chunked", [False, True])
def test_endless_body(small, chunked):
    """A file beyond the limit is rejected with the limit, however it is sent."""
    body = (bytes(20_000) for _ in range(1500)) if chunked else bytes(21 * 2**20)
    response, content = small(body, encode_chunked=chunked)
    problem = json.loads(content)
    assert (response.status, problem["code"], problem["limit"]) == (413, "body_too_large", LIMIT)
