"""Bodies are rejected by the request's headers before they are sent and stored."""

import contextlib
import json
import socket
import time

import pytest
from support.clients.contract import STATUS_OF
from support.clients.raw_http import answers_in
from support.pictures.pictures import encode, quadrants
from support.servers.applications import Clock, application, serving

from persona_profile.api.bodies import FORM_OVERHEAD_BYTES
from persona_profile.settings import MAX_PICTURE_BYTES

ALICE, BOB = "alice@example.com", "bob@example.com"
PROFILE = f"/v1/profiles/{ALICE}"
PICTURE = f"{PROFILE}/picture"
LENGTH = "Content-Length: 10000000"
CHUNKED = "Transfer-Encoding: chunked"
EXPECTS = "Expect: 100-continue"
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=x"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def clock():
    """A clock that tests advance."""
    return Clock(time.time())


@pytest.fixture(scope="module")
def app(tmp_path_factory, clock):
    """An application with few picture formats."""
    folder = tmp_path_factory.mktemp("development")
    app = application(folder, clock, pictures__formats="jpeg", public_origins="http://a")
    yield app
    app.close()


@pytest.fixture(scope="module")
def connect(app):
    """Opens connections to a server."""
    with serving(app) as server, contextlib.ExitStack() as stack:

        def open_connection():
            address = ("127.0.0.1", server.effective_port)
            return stack.enter_context(socket.create_connection(address, 30))

        yield open_connection


def session(connect, app, email):
    """Return the header of a new session."""
    proof = app.development.identity_provider.bundle(email, "http://a")
    body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
    lines = [JSON, f"Content-Length: {len(body)}", "Connection: close"]
    [answer] = exchange(connect(), "POST /v1/sessions", lines, body)
    return f"Authorization: Bearer {json.loads(answer.body)['token']}"


def head(call, lines):
    """Return the head of a request."""
    return "\r\n".join([f"{call} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def received(connection):
    """Return all bytes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def exchange(connection, call, lines, body=b""):
    """Send a request; return the answers once the server closes the connection."""
    connection.sendall(head(call, lines) + body)
    return answers_in(received(connection))


@pytest.fixture(scope="module")
def alice(connect, app):
    """The header of Alice's session."""
    return session(connect, app, ALICE)


@pytest.mark.parametrize("expects", [[], [EXPECTS]], ids=["", "expects"])
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED])
@pytest.mark.parametrize(
    ("call", "token", "code"),
    [
        (f"PUT {PICTURE}", "", "session_missing"),
        (f"PUT {PICTURE}", "Authorization: Bearer x", "session_invalid"),
        (f"PUT {PICTURE}", "Authorization: Basic eDp5", "session_invalid"),
        (f"PUT {PICTURE}", "of Bob", "email_not_proved"),
        (f"PUT {PICTURE}", "expired", "session_expired"),
        (f"PUT //{PICTURE}", "", "session_missing"),
        (f"POST {PICTURE}/preview", "", "session_missing"),
        (f"POST {PICTURE}/preview", "of Bob", "email_not_proved"),
        (f"POST {PICTURE}/preview", "expired", "session_expired"),
        ("PUT /v1/profiles/x@@example.com/picture", "of Bob", "not_found"),
        ("PUT /v1/profiles/@/picture", "of Bob", "not_found"),
        ("PUT /nothing", "", "not_found"),
        ("PUT /v1/profiles/%ff@example.com/picture", "", "malformed_request"),
        (f"PUT {PROFILE}", "", "session_missing"),
        (f"PATCH {PROFILE}", "of Bob", "email_not_proved"),
        (f"PUT {PROFILE}/profile-key", "", "session_missing"),
        (f"POST {PROFILE}/profile-keys", "of Bob", "email_not_proved"),
        (f"DELETE {PROFILE}/profile-keys/AAECAwQFBgc", "of Bob", "email_not_proved"),
    ],
)
def test_refused_by_headers(connect, app, clock, call, token, code, framing, expects):
    """A body that would be rejected is neither requested nor stored; the answer comes at once."""
    lines = [framing, *expects, "Content-Type: image/jpeg"]
    if token in ("of Bob", "expired"):
        lines.append(session(connect, app, BOB))
    elif token:
        lines.append(token)
    with later(clock, 4000 if token == "expired" else 0):
        [answer] = exchange(connect(), call, lines)
    assert (answer.status, json.loads(answer.body)["code"]) == (STATUS_OF[code], code)
    assert answer.headers["Connection"] == "close"
    assert ("Www-Authenticate" in answer.headers) == (answer.status == 401)


@contextlib.contextmanager
def later(clock, seconds):
    """Advance a clock for a while."""
    clock.now += seconds
    yield
    clock.now -= seconds


@pytest.mark.parametrize("expects", [[], [EXPECTS]], ids=["", "expects"])
@pytest.mark.parametrize(
    ("call", "kind", "length", "limit"),
    [
        (f"PUT {PICTURE}", "Content-Type: image/jpeg", MAX_PICTURE_BYTES + 1, MAX_PICTURE_BYTES),
        (f"PUT {PICTURE}", FORM, MAX_PICTURE_BYTES + FORM_OVERHEAD_BYTES + 1, MAX_PICTURE_BYTES),
        (f"PUT {PROFILE}", JSON, 70_000, 32 * 1024),
        (f"PATCH {PROFILE}", JSON, 10_000_000, 32 * 1024),
        (f"PUT {PROFILE}/profile-key", JSON, 70_000, 1024),
        (f"POST {PROFILE}/profile-keys", JSON, 70_000, 1024),
        (f"DELETE {PROFILE}/profile-keys/AAECAwQFBgc", JSON, 70_000, 4096),
        ("POST /v1/sessions", JSON, 336 * 1024 + 1, 336 * 1024),
        ("POST /v1/nonces", JSON, 70_000, 4096),
        ("DELETE /v1/sessions", JSON, 70_000, 4096),
        ("GET /v1/", JSON, 70_000, 4096),
    ],
)
def test_too_long(connect, app, call, kind, length, limit, expects):
    """Each call has a limit, which applies before a longer body is sent."""
    lines = [kind, f"Content-Length: {length}", session(connect, app, ALICE), *expects]
    [answer] = exchange(connect(), call, lines)
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"], problem["limit"]) == (413, "body_too_large", limit)


@pytest.mark.parametrize(
    ("call", "kind", "limit"),
    [
        (f"PUT {PICTURE}", "Content-Type: image/jpeg", MAX_PICTURE_BYTES),
        (f"PATCH {PROFILE}", JSON, 32 * 1024),
        ("POST /v1/sessions", JSON, 336 * 1024),
        ("GET /v1/", JSON, 4096),
    ],
)
def test_chunks_beyond_the_limit(connect, app, call, kind, limit):
    """A chunked body is rejected at its call's limit."""
    chunks = b"%x\r\n%s\r\n" % (limit + 1, bytes(limit + 1))
    [answer] = exchange(connect(), call, [kind, CHUNKED, session(connect, app, ALICE)], chunks)
    assert (answer.status, json.loads(answer.body)["limit"]) == (413, limit)


@pytest.mark.parametrize("call", ["POST /v1/nonces", "POST /v1/sessions", f"PUT {PICTURE}"])
@pytest.mark.parametrize(
    "framing",
    [
        b"1" * 50_000,
        b"1;x=" + b"y" * 50_000,
        b"1\r\nx\r\n" * 2_000,
        b"0\r\n" + b"A: b\r\n" * 2_000,
    ],
    ids=["size", "extension", "chunks", "trailer"],
)
def test_framing_beyond_the_content(connect, app, call, framing):
    """The framing of chunks is limited."""
    connection = connect()
    [answer] = exchange(connection, call, [CHUNKED, session(connect, app, ALICE)], framing)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "body_too_large")


def test_small_chunks(connect, app):
    """Chunks of a hundred bytes are accepted."""
    body = b'{"name":"A"}'.ljust(100) + b" " * 15_000
    chunks = b"".join(b"64\r\n%s\r\n" % body[at : at + 100] for at in range(0, len(body), 100))
    lines = [CHUNKED, JSON, session(connect, app, ALICE), "Connection: close"]
    [answer] = exchange(connect(), f"PATCH {PROFILE}", lines, chunks + b"0\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize("expects", [[], [EXPECTS]], ids=["", "expects"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["", "chunked"])
def test_wanted(connect, app, expects, is_chunked):
    """An acceptable body is requested and received, and the connection stays open."""
    picture = encode(quadrants(100, 100)) + bytes(200_000)
    framing = CHUNKED if is_chunked else f"Content-Length: {len(picture)}"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture) if is_chunked else picture
    connection = connect()
    lines = ["Content-Type: image/jpeg", session(connect, app, ALICE), framing, *expects]
    connection.sendall(head(f"PUT {PICTURE}", lines))
    if expects:
        assert connection.recv(65536) == CONTINUE
    connection.sendall(body + head("GET /v1/", ["Connection: close"]))
    answers = answers_in(received(connection))
    assert [answer.status for answer in answers] == [200, 200]


def test_client_that_sends_on(connect):
    """A client that sends a rejected body anyway gets a single answer."""
    body = bytes(10_000_000)
    [answer] = exchange(connect(), f"PUT {PICTURE}", [LENGTH], body)
    assert answer.status == 401


def test_body_is_no_request(connect):
    """The body of a rejected request is never parsed as requests."""
    body = head("GET /v1/", []) * 100
    [answer] = exchange(connect(), f"PUT {PICTURE}", [f"Content-Length: {10**6}"], body)
    assert answer.status == 401


def test_pipelined(connect):
    """A rejected body behind pipelined requests ends the connection after their answers."""
    raw = head("GET /v1/", []) * 3 + head(f"PUT {PICTURE}", [LENGTH, EXPECTS]) + head("GET /v1/", [])
    connection = connect()
    connection.sendall(raw)
    assert [answer.status for answer in answers_in(received(connection))] == [200] * 3 + [401]


def test_small_body_keeps_the_connection(connect):
    """The connection stays open after the rejection of a small body."""
    connection = connect()
    raw = head(f"PATCH {PROFILE}", [JSON, "Content-Length: 2"]) + b"{}"
    connection.sendall(raw + raw + head("GET /v1/", ["Connection: close"]))
    answers = answers_in(received(connection))
    assert [answer.status for answer in answers] == [401, 401, 200]


def test_readable_by_the_dialog(connect):
    """A dialog can read the reason of a rejected upload."""
    [answer] = exchange(connect(), f"PUT {PICTURE}", [LENGTH, "Origin: https://dialog.example"])
    assert answer.headers["Access-Control-Allow-Origin"] == "https://dialog.example"
    assert "WWW-Authenticate" in answer.headers["Access-Control-Expose-Headers"]


def test_client_that_sends_for_ever(connect):
    """The rest of a rejected body is discarded up to a limit; then the connection is reset."""
    connection = connect()
    connection.sendall(head(f"PUT {PICTURE}", [LENGTH]))
    with pytest.raises(ConnectionError):
        send_endlessly(connection)


def send_endlessly(connection):
    """Send until the connection breaks."""
    while True:
        connection.sendall(bytes(1_000_000))
