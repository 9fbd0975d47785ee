"""The fetcher of support documents, against real TLS servers on loopback."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from support.servers.ports import free_port
from support.servers.tls import (
    DEADLINE,
    DOCUMENT,
    DOCUMENT_URL,
    NAME,
    PATH,
    answer,
    answering,
    authority,
    dripping,
    error_code,
    fetch_from,
    fetcher,
    flooding,
    server_context,
    serving,
    silent,
)

from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.auth.documents import DocumentFetcher
from persona_profile.auth.fetch import (
    MAX_DOCUMENT_BYTES,
    Fetched,
    FetchError,
    Url,
    resolve,
)


def test_good_document():
    """One request without data of the client fetches a document; it accepts any media type."""
    server, fetched = fetch_from(answering(answer()))
    assert fetched == Fetched(200, "application/json", DOCUMENT)
    request = server.requests[0].decode().lower()
    assert request.startswith(f"get {PATH} http/1.1\r\n")
    assert f"\r\nhost: {NAME}\r\n" in request
    assert "\r\naccept: application/json, */*;q=0.1\r\n" in request
    assert not {"cookie:", "authorization:", "referer:"} & set(request.split())


def test_discovery_over_tls():
    """Discovery finds the key of a domain that serves its document."""
    with serving(answering(answer()), server_context(NAME)) as server:
        discovery = Discovery(PinnedIssuers({}), DocumentFetcher(fetcher(server.port)).fetch)
        assert len(discovery.keys_of_issuer(NAME, NAME, frozenset())) == 1
        assert len(discovery.keys_of_issuer(NAME, NAME, frozenset())) == 1
        assert server.connections == 1


@pytest.mark.parametrize(
    ("given", "media_type"),
    [
        ("Application/JSON; charset=utf-8", "application/json"),
        ("text/html", "text/html"),
        ("", ""),
        (None, ""),
        ("\xff\xfe", "\xff\xfe"),
    ],
)
def test_media_type(given, media_type):
    """The media type comes without parameters; it may be any bytes."""
    _, fetched = fetch_from(answering(answer(content_type=given)))
    assert fetched.media_type == media_type


def test_chunks_and_no_length():
    """A document may come in chunks, or end with the connection."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
    assert fetch_from(answering(chunks))[1].body == b"{} "
    assert fetch_from(answering(head + b"\r\n{}"))[1].body == b"{}"


def test_size_limit():
    """A document of 64 KiB is accepted, and one byte more is not."""
    limit = MAX_DOCUMENT_BYTES
    assert fetch_from(answering(answer(b" " * limit)))[1].body == b" " * limit
    assert error_code(answering(answer(b" " * (limit + 1)))) == "support_document_too_large"


@pytest.mark.parametrize("length", [None, 100, 10**30])
def test_ten_megabytes(length):
    """Of a document of 10 MB no more than the limit is read, for any Content-Length."""
    big = answering(answer(b" " * 10_000_000, length=length))
    _, result = fetch_from(big)
    if length == 100:
        assert len(result.body) == 100
    else:
        assert result.code == "support_document_too_large"


def test_compressed():
    """A compressed body is never inflated."""
    bomb = bytes.fromhex("1f8b08000000000000ff")
    _, fetched = fetch_from(answering(answer(bomb, Content_Encoding="gzip")))
    assert fetched.body == bomb


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(status):
    """A redirect is returned as it is, and not followed."""
    with serving(answering(answer()), server_context(NAME)) as target:
        location = f"https://{NAME}:{target.port}{PATH}"
        redirect = answer(b"", f"{status} Elsewhere", Url=location)
        _, fetched = fetch_from(answering(redirect))
        assert (fetched.status, target.connections) == (status, 0)


JUNK = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(1000),
    "HTTP/0.9": b"{}",
    "HTTP/9.9": b"HTTP/9.9 200 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 OK\r\n\r\n",
    "a status of 9 digits": b"HTTP/1.1 200000000 OK\r\n\r\n",
    "a negative status": b"HTTP/1.1 -20 OK\r\n\r\n",
    "a status line of 1 MB": b"HTTP/1.1 200 " + b"x" * 1_000_000,
    "a header of 1 MB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    "10,000 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000,
    "chunks of broken size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunks of negative size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    "chunks that end early": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}",
}


@pytest.mark.parametrize("name", JUNK)
def test_junk(name):
    """An invalid HTTP response is a failed lookup, and raises nothing else."""
    assert error_code(answering(JUNK[name])) == "issuer_unreachable"


HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "headers": dripping(HEAD, b"X: y\r\n"),
    "one endless header": dripping(HEAD + b"X: ", b"y"),
    "a status line": dripping(b"HTTP/1.1 200 ", b"y"),
    "interim answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": dripping(answer(DOCUMENT, length=60_000), b" "),
    "a body without length": dripping(HEAD + b"Content-Type: application/json\r\n\r\n{}", b" "),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "trailers": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "nothing": silent,
}


@pytest.mark.parametrize("name", DRIPS)
def test_drip(name):
    """A server that drips without end, or says nothing, is left at the deadline."""
    assert error_code(DRIPS[name], deadline=DEADLINE) == "issuer_unreachable"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim answers with headers": (b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
    "a body": (answer(DOCUMENT, length=10**9), b" "),
    "a body without length": (HEAD + b"Content-Type: application/json\r\n\r\n{}", b" "),
    "chunks of a byte": (CHUNKED, b"1\r\n \r\n"),
    "chunks with extensions": (CHUNKED, b"1;" + b"x" * 60_000 + b"\r\n \r\n"),
    "short trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "long trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: " + b"y" * 60_000 + b"\r\n"),
}
COUNTED = {"interim answers", "interim answers with headers", "short trailers"}
"""Floods in which recent releases of Python accept a hundred parts."""
NO_DEADLINE = 600.0
"""Seconds that no test takes: only a bound of the bytes ends a fetch before."""


@pytest.mark.parametrize("name", FLOODS)
def test_flood(name):
    """A server that sends without end is disconnected after a limited number of bytes."""
    code = error_code(flooding(*FLOODS[name]), deadline=NO_DEADLINE)
    assert code == "support_document_too_large" or (name in COUNTED and code == "issuer_unreachable")


@pytest.mark.parametrize("name", ["headers", "one endless header"])
def test_flood_of_headers(name):
    """A server whose headers have no end is left as well."""
    drop = {"headers": b"X: y\r\n", "one endless header": b"y"}[name]
    assert error_code(flooding(HEAD + b"X: ", drop), deadline=NO_DEADLINE) == "issuer_unreachable"


def test_flood_within_tls():
    """All bytes of TLS count, with or without data."""
    context = server_context(NAME)
    context.num_tickets = 2
    assert isinstance(fetch_from(answering(answer()), context)[1], Fetched)
    context = server_context(NAME)
    context.num_tickets = 5000
    code = error_code(answering(answer()), context, deadline=NO_DEADLINE)
    assert code == "support_document_too_large"


@pytest.mark.parametrize("handler", [silent, dripping(b"\x16\x03\x03\x40\x00", b"\0")])
def test_drip_in_handshake(handler):
    """A server that never ends the handshake costs the deadline at most."""
    start = time.monotonic()
    with serving(handler) as server, pytest.raises(FetchError, match="issuer_unreachable"):
        fetcher(server.port, deadline=DEADLINE).fetch(DOCUMENT_URL)
    assert time.monotonic() - start > DEADLINE - 0.1


def test_slow_but_good():
    """A slow server is accepted within the deadline."""

    def handle(connection, stop):
        stop.wait(2.3)
        connection.sendall(answer())

    assert fetch_from(handle)[1].status == 200


@pytest.mark.parametrize(
    "name", ["other.test", f"sub.{NAME}", "*.test.test", f"{NAME}.evil.test", "127.0.0.1"]
)
def test_certificate_of_another_name(name):
    """A certificate of any other name is rejected."""
    server, error = fetch_from(answering(answer()), server_context(name))
    assert (error.code, server.requests) == ("issuer_unreachable", [])


def test_untrusted_authority():
    """A certificate of an untrusted authority is rejected."""
    of_stranger = server_context(NAME, trustme.CA())
    assert error_code(answering(answer()), of_stranger) == "issuer_unreachable"
    of_system = ssl.create_default_context()
    assert error_code(answering(answer()), context=of_system) == "issuer_unreachable"


def test_expired_certificate():
    """An expired certificate is rejected."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.now(UTC) - timedelta(days=1)
    authority().issue_cert(NAME, not_after=past).configure_cert(context)
    assert error_code(answering(answer()), context) == "issuer_unreachable"


def test_plain_http():
    """A server with plain HTTP on the port is rejected."""
    with serving(answering(answer())) as server, pytest.raises(FetchError, match="unreachable"):
        fetcher(server.port).fetch(DOCUMENT_URL)


def test_reset_connection():
    """A connection that is reset at once is a failed lookup."""

    def reset(connection, _stop):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(reset) as server, pytest.raises(FetchError, match="issuer_unreachable"):
        fetcher(server.port).fetch(DOCUMENT_URL)


def test_refused_connection():
    """A closed port is a failed lookup."""
    with pytest.raises(FetchError, match="issuer_unreachable"):
        fetcher(free_port()).fetch(DOCUMENT_URL)


def test_second_address():
    """After an address without an answer the next address of the name is tried."""
    with serving(answering(answer()), server_context(NAME)) as server:
        subject = fetcher(server.port, resolve=lambda _name: ["127.0.0.99", "127.0.0.1"])
        assert subject.fetch(DOCUMENT_URL).status == 200


def test_stated_port():
    """A URL with a port and a query is requested with both, in `Host` and request target."""
    with serving(answering(answer()), server_context(NAME)) as server:
        subject = DocumentFetcher(fetcher(1))
        assert subject.fetch(f"https://{NAME}:{server.port}/keys?p=a%20b").status == 200
        request = server.requests[0].decode().lower()
    assert request.startswith("get /keys?p=a%20b http/1.1\r\n")
    assert f"\r\nhost: {NAME}:{server.port}\r\n" in request


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.test/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://issuer/",
        "https://issuer.test./",
        "https://a@issuer.test/",
        "https://issuer.test/#a",
        "https://issuer.test/a b",
        "https://issuer.test/\r\nX: y",
        "https://issuer.test\\@evil.test/",
        "https://issuer.test:0/",
        "https://issuer.test:99999/",
        "https://[::1]/",
        "ftp://issuer.test/",
        "//issuer.test/",
        "",
    ],
)
def test_urls_that_are_refused(url):
    """A URL that is not https with a domain name is rejected."""
    subject = DocumentFetcher(fetcher(1))
    with pytest.raises(FetchError, match="issuer_address_forbidden"):
        subject.fetch(url)


def test_own_origin():
    """The server's own origin has its own fetch, and no other origin has it."""
    own = Fetched(200, "application/json", b"{}")
    subject = DocumentFetcher(fetcher(1), {"http://127.0.0.1:6543": lambda _url: own})
    assert subject.fetch("http://127.0.0.1:6543/idp/jwks") is own
    for url in ("http://127.0.0.1:6544/", "http://localhost:6543/", "https://127.0.0.1:6543/"):
        with pytest.raises(FetchError, match="issuer_address_forbidden"):
            subject.fetch(url)


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://a.test", "https://a.test", "/"),
        ("https://a.test:443/x?y=z", "https://a.test", "/x?y=z"),
        ("https://a.test:8443/", "https://a.test:8443", "/"),
        ("http://a.test:80?y", "http://a.test", "/?y"),
        ("https://SSO.a.test/X", "https://sso.a.test", "/X"),
        ("http://127.0.0.1:6543/a", "http://127.0.0.1:6543", "/a"),
    ],
)
def test_locations(url, origin, target):
    """A URL has an origin, without the default port, and a request target."""
    location = Url.parse(url)
    assert (location.origin, location.target) == (origin, target)


def test_system_resolver():
    """The system's resolver returns each address once."""
    assert resolve("127.0.0.1") == ["127.0.0.1"]
    assert set(resolve("localhost")) <= {"127.0.0.1", "::1"}
