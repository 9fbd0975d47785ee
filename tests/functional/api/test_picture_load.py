from __future__ import annotations

import gc
import http.client
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import webtest
from PIL import Image
from support.pictures.pictures import encode, photo, png_bomb, quadrants
from support.servers.applications import application, running
from support.servers.disks import leave_free, small_disk

EMAIL = "alice@example.com"
PICTURE = f"/v1/profiles/{EMAIL}/picture"
AUDIENCE = "http://127.0.0.1:6543"
LIMIT = 100_000


class Client:
    """A client of a real server on loopback, with a session of Alice's."""

    def __init__(self, origin, app) -> None:
        self.address = origin.removeprefix("http://")
        proof = app.development.identity_provider.bundle(EMAIL, AUDIENCE)
        body = json.dumps({"proofs": [{"assertion": proof}]})
        _, answer = self.call("POST", "/v1/sessions", body, {"Content-Type": "application/json"})
        self.headers = {"Authorization": f"Bearer {answer['token']}", "Content-Type": "image/jpeg"}

    def call(self, method, path, body, headers, **options):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request(method, path, body, headers, **options)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, json.loads(content) if content else None

    def upload(self, body, **options):
        return self.call("PUT", PICTURE, body, self.headers, **options)


@pytest.fixture(scope="module")
def small(development_folder):
    """A server that accepts only small bodies."""
    app = application(development_folder, pictures__max_bytes=str(LIMIT))
    with running(app) as origin:
        yield Client(origin, app)


def pieces(body, size=20_000):
    """Return a body in pieces, for chunked coding."""
    return iter([body[at : at + size] for at in range(0, len(body), size)])


@pytest.mark.parametrize("side", [64, 900])
@pytest.mark.parametrize("chunked", [False, True])
def test_upload(small, side, chunked):
    """A picture arrives whole, with Content-Length or in chunks."""
    body = encode(quadrants(side, side), quality=95)
    response, profile = small.upload(pieces(body, 500) if chunked else body, encode_chunked=chunked)
    assert (response.status, set(profile["picture"]["urls"])) == (200, {"64", "128", "256", "512"})


def test_upload_spooled_to_disk(development_folder):
    """A body that the server keeps in a file is read from that file."""
    app = application(development_folder)
    body = photo(1600, 1200) + bytes(3_000_000)
    with running(app) as origin:
        client = Client(origin, app)
        for sent in (body, pieces(body)):
            response, _ = client.upload(sent, encode_chunked=sent is not body)
            assert response.status == 200


# waitress leaves a file that it could not fill to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("room", "is_form"),
    [(0, False), (700_000, False), (1_600_000, True)],
    ids=["no room", "for a part", "for no copy of a form's file"],
)
def test_no_room_to_spool(development_folder, tmp_path, monkeypatch, room, is_form):
    """A body for which the disk has no room gets a time to retry; later it is accepted."""
    app = application(development_folder)
    body, kind = photo(1600, 1200) + bytes(1_000_000), "image/jpeg"
    if is_form:
        head = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        body, kind = head + body + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"
    with small_disk(tmp_path / "disk", 8) as disk, running(app) as origin:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        client = Client(origin, app)
        client.headers["Content-Type"] = kind
        ballast = leave_free(disk, room)
        for sent in (body, pieces(body)):
            response, problem = client.upload(sent, encode_chunked=sent is not body)
            assert (response.status, problem["code"]) == (503, "overloaded")
            assert int(response.headers["Retry-After"]) > 0
        ballast.unlink()
        assert client.upload(body)[0].status == 200
    gc.collect()  # here, not in a later test


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 70_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_too_large(small, size, chunked):
    """A client that sends too much reads that, and the limit."""
    body = bytes(size)
    for _ in range(5):
        response, problem = small.upload(pieces(body) if chunked else body, encode_chunked=chunked)
        assert (response.status, problem["code"]) == (413, "body_too_large")
        assert problem["limit"] == LIMIT
        assert response.headers["Content-Type"] == "application/problem+json"
    assert small.upload(encode(quadrants(64, 64)))[0].status == 200


@pytest.fixture
def slow(development_folder):
    """An application that renders one picture at a time, and a session's headers."""
    app = webtest.TestApp(application(development_folder, pictures__workers="1"))
    proof = app.app.development.identity_provider.bundle(EMAIL, AUDIENCE)
    token = app.post_json("/v1/sessions", {"proofs": [{"assertion": proof}]}).json["token"]
    return app.app, {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}


def test_many_uploads_at_once(slow):
    """Of too many uploads, some get a time to retry; afterwards uploads succeed."""
    app, headers = slow
    large = encode(Image.new("RGB", (8000, 8000)), progressive=True)

    def upload(_) -> webtest.TestResponse:
        return webtest.TestApp(app).put(PICTURE, large, headers=headers, expect_errors=True)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(upload, range(32)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json["code"] == "overloaded"
            assert int(answer.headers["Retry-After"]) > 0
    after = webtest.TestApp(app)
    after.put(PICTURE, encode(quadrants(64, 64)), headers=headers, status=200)
    after.get("/__heartbeat__", status=200)


def test_bombs_delay_nobody(development_folder):
    """The bombs of a client take no place of others: all good uploads succeed."""
    # The default limit of a wait is a matter of the machine: a busy one needs more for one picture.
    app = application(development_folder, pictures__max_wait_seconds="60")
    good, bomb = encode(quadrants(64, 64)), png_bomb(12_000, 12_000)

    def uploader(email: str, address: str) -> Callable[[bytes], int]:
        proof = app.development.identity_provider.bundle(email, AUDIENCE)
        body = {"proofs": [{"assertion": proof}]}
        token = webtest.TestApp(app).post_json("/v1/sessions", body).json["token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}

        def upload(picture: bytes) -> int:
            client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": address})
            path = f"/v1/profiles/{email}/picture"
            return client.put(path, picture, headers=headers, expect_errors=True).status_code

        return upload

    alice = uploader(EMAIL, "192.0.2.1")
    mallory = uploader("mallory@evil.example", "192.0.2.66")
    with ThreadPoolExecutor(8) as pool:
        attacks = pool.map(mallory, [bomb] * 200)
        assert [alice(good) for _ in range(16)] == [200] * 16
        assert {422} <= set(attacks) <= {422, 503}
    app.close()
