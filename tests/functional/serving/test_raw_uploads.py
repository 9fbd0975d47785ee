"""Uploads as bytes on a connection: headers that no client library would send."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest
from support.clients.raw_http import answers_in
from support.pictures.pictures import encode, quadrants
from support.servers.services import Client, Service

ALICE = "alice@example.com"
JPEG = encode(quadrants(64, 64))
CHUNK_BYTES = 700


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The session of a person on a server in a process of its own."""
    service = Service(tmp_path_factory.mktemp("service"), "memory", "")
    service.start()
    client = Client(service, ALICE)
    client.sign_in()
    with contextlib.closing(service):
        yield service, client


@pytest.fixture
def put(client):
    """Sends a body with lines of headers; returns status and document."""
    service, session = client

    def send(body, *lines):
        head = [b"PUT %s HTTP/1.1" % session.picture.encode(), b"Host: 127.0.0.1:%d" % service.port]
        head += [b"Authorization: Bearer " + session.token.encode(), b"Connection: close", *lines]
        with socket.create_connection(("127.0.0.1", service.port), 30) as connection:
            connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        [answer] = answers_in(received)
        return answer.status, json.loads(answer.body)

    return send


def form(disposition: bytes, content: bytes = JPEG) -> bytes:
    """Return a form with one field."""
    head = b"--xyz\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n"
    return head + content + b"\r\n--xyz--\r\n"


def lines_of(body: bytes) -> tuple[bytes, bytes]:
    """Return the headers of a form."""
    return b"Content-Type: multipart/form-data; boundary=xyz", b"Content-Length: %d" % len(body)


NAMES = [
    b'name="picture"; filename="Zo\xeb.jpg"',
    b'name="picture"; filename="\xff\xfe\x00Z\x00o\x00.jpg"',
    b"name=picture; filename*=UTF-8''Zo%C3%AB.jpg",
    b'filename="C:\\\x95\\"; name="picture"',
    b'name="picture"; filename="' + b"\xe9" * 20_000 + b'"',
    b'name="picture"',
]


@pytest.mark.parametrize("disposition", NAMES, ids=range(len(NAMES)))
def test_names_of_files(put, disposition):
    """A form is accepted whatever bytes name its file."""
    body = form(disposition)
    status, document = put(body, *lines_of(body))
    assert (status, document["email"]) == (200, ALICE)


def test_form_in_chunks(put):
    """Chunks of a body may end within the name of a file."""
    body = form(b'name="picture"; filename="' + b"\xe9" * 3000 + b'"')
    pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert put(chunked, lines_of(body)[0], b"Transfer-Encoding: chunked")[0] == 200


@pytest.mark.parametrize(
    "line",
    [
        b'Content-Disposition: attachment; filename="Zo\xeb.jpg"',
        b"Content-Disposition: attachment; filename*=UTF-8''%FF%ZZ",
        b'Content-Type: image/jpeg; name="Zo\xeb"; filename*=x\'y',
        b"Content-Type: image/heic; \xff",
    ],
)
def test_names_in_the_head(put, line):
    """A name beside a raw picture is no more read than one in a form."""
    assert put(JPEG, b"Content-Length: %d" % len(JPEG), line)[0] == 200


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", (b"Content-Length: 0", b"Content-Type: image/jpeg")),
        (b"", (b"Content-Length: 0",)),
        (b"0\r\n\r\n", (b"Transfer-Encoding: chunked", b"Content-Type: image/heic")),
        (form(b'name="picture"; filename="\xe9"', b""), None),
    ],
    ids=["type", "no type", "chunked", "form"],
)
def test_empty(put, body, lines):
    """A body or a file without a byte is reported as empty."""
    status, document = put(body, *(lines or lines_of(body)))
    assert (status, document["code"]) == (422, "picture_empty")
