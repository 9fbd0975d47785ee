"""Answers of the shipped nginx configuration to malformed HTTP, and its own error pages."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.clients.contract import DOCUMENT
from support.clients.raw_http import BROKEN, answers_in, assert_is_known, damaged, many_files
from support.servers.applications import wait_for
from support.servers.fronts import EMAIL, Front, problem
from support.servers.nginx import DIALOG, DOMAIN, Nginx

from persona_profile.settings import MAX_PICTURE_BYTES

ROUNDS = 1000
PER_ADDRESS = 50
"""Connections per address; nginx rejects more than 100 requests of an address."""

MAX_SECONDS = 45
"""The limit until nginx closes a silent connection: 20 s, and slack for a busy machine."""

SECRET = "zanzibar"
HOSTED = f" HTTP/1.1\r\nHost: {DOMAIN}\r\n".encode()
HEAD = f"Host: {DOMAIN}\r\nOrigin: {DIALOG}\r\nAuthorization: Bearer {SECRET}\r\n"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One process of the service behind nginx."""
    with closing(Front(tmp_path_factory.mktemp("front"))) as made:
        made.service.start()
        made.nginx.start()
        yield made


@pytest.fixture(autouse=True)
def enough_files():
    """Enough file descriptors for the connections of a test."""
    with many_files(ROUNDS):
        yield


class Stranger:
    """A connection with sent bytes, and its received bytes until it closes or is answered."""

    def __init__(self, nginx: Nginx, number: int, raw: bytes) -> None:
        self.raw, self.received, self.has_ended = raw, b"", False
        high, low = divmod(number // PER_ADDRESS, 250)
        self._connection = nginx.connect(f"127.2.{high}.{low + 1}")
        try:
            self._connection.sendall(raw)
        except OSError:
            pass  # nginx rejected the request before all was sent
        self._connection.setblocking(False)

    def listen(self) -> bool:
        """Read the available bytes; return whether an answer or the end has come."""
        try:
            while piece := self._connection.recv(65536):
                self.received += piece
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except OSError:
            self.has_ended = True
        return self.has_ended or bool(self.received)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def passed_on(nginx: Nginx) -> list[str]:
    """Return the upstream statuses of forwarded requests in the access log."""
    lines = [json.loads(line) for line in (nginx.folder / "access.log").read_text().splitlines()]
    return [line["upstream_status"] for line in lines if line["upstream_status"]]


def test_broken_requests(front):
    """Malformed requests get a problem or a closed connection; nginx logs all forwarded requests."""
    bare = [raw.replace(b"Host: a\r\n", b"") for raw in BROKEN]
    hosted = [raw.replace(b" HTTP/1.1\r\n", HOSTED, 1) for raw in bare]
    whole = f"GET /v1/{HOSTED.decode()}X: {'a' * 200}\r\n\r\n".encode()
    attacks = [*BROKEN, *hosted, *damaged(2, hosted, ROUNDS), *damaged(3, [whole], ROUNDS // 5)]
    before, seen = front.metrics().value("persona_http_requests_total"), len(passed_on(front.nginx))
    strangers = []
    try:
        for number, raw in enumerate(attacks):
            strangers.append(Stranger(front.nginx, number, raw))
        waiting, deadline = strangers, time.monotonic() + MAX_SECONDS
        while waiting := [each for each in waiting if not each.listen()]:
            assert front.sign_in()[0] == 201
            assert time.monotonic() < deadline, [each.raw for each in waiting]
            time.sleep(0.5)
    finally:
        for each in strangers:
            each.close()
    for each in strangers:
        if each.received.startswith(b"{"):  # the answer to HTTP/0.9 is the body alone
            assert json.loads(each.received)["code"] == "malformed_request"
            continue
        for answer in answers_in(each.received):
            assert_is_known(answer)
    statuses: list[str] = []

    def agree() -> bool:
        statuses[:] = passed_on(front.nginx)[seen:]
        return front.metrics().value("persona_http_requests_total") - before == len(statuses)

    wait_for(agree, 10)
    assert all(re.fullmatch("[2-4]..", status) for status in statuses)
    assert statuses.count("200") > ROUNDS / 50  # some damaged requests are still valid


ANSWERED = {
    "two hosts": (f"GET /v1/ HTTP/1.1\r\nHost: a\r\n{HEAD}\r\n", 400, "malformed_request"),
    "the same host twice": (
        f"GET /v1/ HTTP/1.1\r\nHost: {DOMAIN}\r\n{HEAD}\r\n",
        400,
        "malformed_request",
    ),
    "no host": (f"GET /v1/ HTTP/1.1\r\nOrigin: {DIALOG}\r\n\r\n", 400, "malformed_request"),
    "another host": (
        f"GET /v1/{SECRET} HTTP/1.1\r\nOrigin: {DIALOG}\r\nHost: evil.example\r\n\r\n",
        421,
        "misdirected_request",
    ),
    "another host in the request line": (
        f"GET https://evil.example/v1/{SECRET} HTTP/1.1\r\n{HEAD}\r\n",
        421,
        "misdirected_request",
    ),
    "another host, and a body whose framing is broken": (
        (
            f"POST /v1/sessions HTTP/1.1\r\nOrigin: {DIALOG}\r\nHost: evil.example\r\n"
            "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        421,
        "misdirected_request",
    ),
    "a picture without a session": (
        (
            f"PUT /v1/profiles/{SECRET}/picture HTTP/1.1\r\nHost: {DOMAIN}\r\nOrigin: {DIALOG}\r\n"
            "Content-Length: 30000000\r\n\r\n"
        ),
        401,
        "session_missing",
    ),
    "two lengths": (
        f"PUT / HTTP/1.1\r\n{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        400,
        "malformed_request",
    ),
    "a version to come": (f"GET /{SECRET} HTTP/2.9\r\n{HEAD}\r\n", 400, "malformed_request"),
    "a method that reflects": (f"TRACE /v1/{SECRET} HTTP/1.1\r\n{HEAD}\r\n", 405, "method_not_allowed"),
    "a body that is too large": (
        f"PUT /v1/profiles/{SECRET}/picture HTTP/1.1\r\n{HEAD}Content-Length: 30000000\r\n\r\n",
        413,
        "body_too_large",
    ),
    "a path that is too long": (
        f"GET /v1/{SECRET}{'a' * 20_000} HTTP/1.1\r\n{HEAD}\r\n",
        431,
        "request_headers_too_large",
    ),
    "a header that is too long": (
        f"GET /v1/ HTTP/1.1\r\n{HEAD}X: {'a' * 20_000}\r\n\r\n",
        431,
        "request_headers_too_large",
    ),
    "headers that are too many": (
        f"GET /v1/ HTTP/1.1\r\n{HEAD}" + f"X: {SECRET}\r\n" * 5000 + "\r\n",
        431,
        "request_headers_too_large",
    ),
    "a coding that nobody uses": (
        f"PUT / HTTP/1.1\r\n{HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n",
        501,
        "not_implemented",
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_own_answers(front, name):
    """Nginx's own errors are problem documents as docs/reference/api.md defines."""
    raw, status, code = ANSWERED[name]
    with front.nginx.connect() as connection:
        connection.sendall(raw.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    assert response.status == status
    # The origin of a partly read request is unknown.
    known = response.headers["Access-Control-Allow-Origin"] is not None
    document = problem((status, response.headers, body), origin=DIALOG if known else None)
    assert document["code"] == code
    assert known or status in (400, 431)
    if status == 413:
        assert document["limit"] == MAX_PICTURE_BYTES


def test_plain_http_where_tls_is_spoken(front):
    """Plain HTTP on the TLS port gets a problem document."""
    connection = http.client.HTTPConnection("127.0.0.1", front.nginx.port, timeout=30)
    try:
        connection.request("GET", f"/v1/{SECRET}")
        with connection.getresponse() as response:
            answer = response.status, response.headers, response.read()
    finally:
        connection.close()
    assert (answer[0], problem(answer, origin=None)["code"]) == (400, "malformed_request")


def test_who_never_ends(front):
    """Nginx closes a connection without an answer if its header, body or chunk stalls."""
    starts = [
        f"GET /v1/{SECRET} HTTP/1.1\r\n{HEAD}X",
        f"PUT /v1/{SECRET} HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n\r\nx",
        f"PUT /v1/{SECRET} HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nx",
        f"GET /v1/{SECRET}\r\n",  # HTTP/0.9: answers have no status line
    ]
    strangers = [Stranger(front.nginx, number, raw.encode()) for number, raw in enumerate(starts)]
    try:
        wait_for(lambda: all(each.listen() for each in strangers), MAX_SECONDS)
    finally:
        for each in strangers:
            each.close()
    assert [(each.received, each.has_ended) for each in strangers] == [(b"", True)] * len(starts)


def test_frozen_service(tmp_path):
    """While the service hangs, pages get a readable 503 with Retry-After."""
    with closing(
        Front(tmp_path / "front", {"proxy_read_timeout 60s;": "proxy_read_timeout 1s;"})
    ) as front:
        front.service.start()
        front.nginx.start()
        status, token = front.sign_in()
        assert status == 201
        front.service.signal(signal.SIGSTOP)
        try:
            answer = front.call("GET", f"/v1/profiles/{EMAIL}", Authorization=f"Bearer {token}")
        finally:
            front.service.signal(signal.SIGCONT)
        assert (answer[0], problem(answer)["code"]) == (503, "service_unavailable")
        assert int(answer[1]["Retry-After"]) > 0
        wait_for(lambda: '"status":503,"upstream_status":"504"' in front.nginx.logs, 10)
        assert token not in front.nginx.logs
        wait_for(lambda: front.sign_in()[0] == 201, 30)


def test_http_2(front):
    """HTTP/2 clients get answers, and problem documents for rejected requests."""
    context = ssl.create_default_context(cafile=front.nginx.folder / "ca.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", front.nginx.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"
    expected = {
        "/v1/": (200, None),
        f"/{SECRET}": (404, "not_found"),
        f"/v1/profiles?{SECRET}": (401, "session_missing"),
    }
    for path, (status, code) in expected.items():
        status_line, body = _by_curl(front, path)
        assert status_line == f"2 {status}"
        assert json.loads(body).get("code") == code
    assert _by_curl(front, "/v1/", "--request", "TRACE")[0] == "2 405"
    fields = [argument for name in "ABC" for argument in ("--header", f"{name}: {'~' * 12_000}")]
    status_line, body = _by_curl(front, "/v1/", *fields)
    assert (status_line, json.loads(body)["code"]) == ("2 431", "request_headers_too_large")


def _by_curl(front: Front, path: str, *arguments: str) -> tuple[str, str]:
    """Send a request over HTTP/2; return version and status, and the body."""
    where = f"{DOMAIN}:{front.nginx.port}"
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--http2",
            *("--cacert", f"{front.nginx.folder}/ca.pem"),
            *("--resolve", f"{where}:127.0.0.1"),
            *("--write-out", "\n%{http_version} %{http_code}"),
            *arguments,
            f"https://{where}{path}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, _, status_line = done.stdout.rpartition("\n")
    return status_line, body


def test_route_of_every_call(front):
    """The access log has a route name for each call, never the path; a preview is an upload."""
    paths = {path for path in DOCUMENT["paths"] if path.startswith("/v1")} - {"/v1"}
    seen, names = len(routes(front.nginx)), {}
    for count, path in enumerate(sorted(paths), 1):
        asked = path.replace("{email}", "a%2Fb@example.com").replace("{capability}", SECRET)
        front.call("GET", asked)
        wait_for(lambda count=count: len(routes(front.nginx)) == seen + count, 10)
        names[path] = routes(front.nginx)[-1]
    assert "other" not in names.values()
    upload = "/v1/profiles/{email}/picture"
    assert names.pop(f"{upload}/preview") == names[upload]
    keys = "/v1/profiles/{email}/profile-keys"
    assert names.pop(f"{keys}/{{id}}") == names[keys]
    assert len(set(names.values())) == len(names) > 9


def routes(nginx: Nginx) -> list[str]:
    """Return the routes in the access log."""
    return re.findall('"route":"([a-z_]+)"', (nginx.folder / "access.log").read_text())


def test_logs(front):
    """Nginx's logs contain no secrets and no addresses."""
    front.call("GET", f"/v1/pictures/{SECRET}?{SECRET}", Authorization=f"Bearer {SECRET}")
    wait_for(lambda: '"route":"picture"' in front.nginx.logs, 10)
    text = front.nginx.logs + (front.nginx.folder / "output").read_text()
    for leak in (SECRET, EMAIL, DIALOG, "127.", "/v1"):
        assert leak not in text
