"""Limits of the shipped nginx configuration: by network, body, upload and rate."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import random
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.clients.contract import contract
from support.pictures.pictures import encode, quadrants
from support.servers.fronts import EMAIL, Front, problem
from support.servers.nginx import DIALOG, DOMAIN, SHIPPED, Nginx

from persona_profile.api import profiles, sessions
from persona_profile.api.bodies import FORM_OVERHEAD_BYTES
from persona_profile.settings import MAX_PICTURE_BYTES

ADDRESS = "X-Test-Address"
FROM_A_HEADER = {
    "server_tokens off;": f"server_tokens off; set_real_ip_from 127.0.0.0/8; real_ip_header {ADDRESS};"
}
"""Takes the client's address from a header, so that tests can choose it."""

SLOW = "PATCH /v1/profiles/a@example.com HTTP/1.1"
PICTURE = f"PUT /v1/profiles/{EMAIL}/picture HTTP/1.1"
PREVIEW = f"POST /v1/profiles/{EMAIL}/picture/preview HTTP/1.1"
TOKEN = "Authorization: Bearer x"
ASKED = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One process of the service behind nginx, which takes addresses from a header."""
    with closing(Front(tmp_path_factory.mktemp("front"), FROM_A_HEADER)) as made:
        made.service.start()
        made.nginx.start()
        yield made


def send(nginx: Nginx, line: str, *headers: str, body: bytes = b"") -> ssl.SSLSocket:
    """Open a connection; send a request's head and the start of its body."""
    connection = nginx.connect()
    head = "\r\n".join([line, f"Host: {DOMAIN}", *headers])
    connection.sendall(f"{head}\r\n\r\n".encode() + body)
    return connection


def answer(connection: ssl.SSLSocket) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return the answer to a request."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.headers, response.read()


def hold(nginx: Nginx, line: str, *headers: str) -> ssl.SSLSocket:
    """Open a connection with a pending request: nginx awaits its body."""
    connection = send(nginx, line, *headers, "Content-Length: 9", "Expect: 100-continue")
    assert connection.recv(len(ASKED)) == ASKED
    return connection


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """Return an IPv4 address, or the first half of an IPv6 address."""
    mapped = getattr(address, "ipv4_mapped", None)
    whole: bytes = (mapped or address).packed
    return whole if len(whole) == 4 else whole[:8]


def addresses() -> Iterator[str]:
    """Yield addresses in many spellings: compressed, exploded, mapped, with zeros and LF bytes."""
    yield from ("192.0.2.1", "10.0.0.10", "10.10.10.10", "::", "::1", "::ffff:192.0.2.1")
    yield from ("::192.0.2.1", "::ffff:0:1", "64:ff9b::192.0.2.1", "2001:db8::a", "2001:DB8::A:0a0a")
    yield from ("fe80::1", "2001:db8:0:0:1::", "2001:db8:0:1::a0a", "2001:db8:a0a:a0a:a0a:a0a:a0a:a0a")
    source = random.Random(4)
    for _ in range(300):
        groups = [source.choice((0, 0, 10, 0xA0A, source.randrange(65536))) for _ in range(8)]
        packed = b"".join(group.to_bytes(2, "big") for group in groups)
        address = ipaddress.IPv6Address(packed)
        yield source.choice((address.compressed, address.exploded, address.exploded.upper()))
        yield str(ipaddress.IPv4Address(packed[:4]))


def test_network_of_an_address(tmp_path):
    """The network of an address is the IPv4 address or the /64, whatever its bytes."""
    probe = 'location /.well-known/acme-challenge/ { return 200 "$network"; } location /unused/ {'
    nginx = Nginx(
        tmp_path / "nginx",
        1,
        changed=FROM_A_HEADER | {"location /.well-known/acme-challenge/ {": probe},
    )
    try:
        nginx.start()
        connection = http.client.HTTPConnection("127.0.0.1", nginx.plain_port, timeout=30)
        for address in addresses():
            connection.request("GET", "/.well-known/acme-challenge/", headers={ADDRESS: address})
            with connection.getresponse() as response:
                assert response.read() == network_of(ipaddress.ip_address(address)), address
        connection.close()
    finally:
        nginx.close()


def test_requests_of_a_network(front):
    """The addresses of a /64 share 100 concurrent requests; other networks are served meanwhile."""
    with ExitStack() as stack:
        for number in range(100):
            address = f"{ADDRESS}: 2001:db8:5::{number:x}:{number:x}"
            stack.enter_context(hold(front.nginx, SLOW, address))
        other = send(front.nginx, "GET /v1/ HTTP/1.1", f"{ADDRESS}: 2001:db8:5:1::1")
        assert answer(stack.enter_context(other))[0] == 200
        again = send(front.nginx, "GET /v1/ HTTP/1.1", f"{ADDRESS}: 2001:db8:5::ffff")
        got = answer(stack.enter_context(again))
    assert problem(got, origin=None)["policy"] == "requests-at-once"
    assert int(got[1]["Retry-After"]) > 0


class TestUploads:
    """Limits on concurrent picture bodies."""

    def test_of_a_network(self, front):
        """A network has at most 8 concurrent uploads; its reads and other networks are unaffected."""
        headers = ["Content-Length: 9", TOKEN, f"{ADDRESS}: 2001:db8:6::1"]
        with ExitStack() as stack:
            for call in (PICTURE, PREVIEW) * 4:
                stack.enter_context(hold(front.nginx, call, *headers[1:]))
            headers[2] = f"{ADDRESS}: 2001:db8:6::2"
            got = answer(stack.enter_context(send(front.nginx, PICTURE, *headers)))
            assert problem(got, origin=None)["policy"] == "uploads-at-once"
            conditional = send(front.nginx, PICTURE, *headers, "If-None-Match: *")
            assert answer(stack.enter_context(conditional))[0] == 429
            read = stack.enter_context(send(front.nginx, "GET /v1/ HTTP/1.1", headers[2]))
            assert answer(read)[0] == 200
            headers[2] = f"{ADDRESS}: 2001:db8:7::1"
            other = send(front.nginx, PICTURE, *headers, body=b"123456789")
            assert answer(stack.enter_context(other))[0] == 401

    def test_of_all_networks(self, tmp_path):
        """All networks share a limit of concurrent uploads, for which the disk has room."""
        fewer = {"limit_conn uploads 100;": "limit_conn uploads 3;"}
        with closing(Front(tmp_path / "front", FROM_A_HEADER | fewer)) as front:
            front.nginx.start()
            with ExitStack() as stack:
                for number in range(3):
                    address = f"{ADDRESS}: 192.0.2.{number}"
                    stack.enter_context(hold(front.nginx, PICTURE, TOKEN, address))
                headers = ["Content-Length: 9", TOKEN, f"{ADDRESS}: 192.0.2.4"]
                got = answer(stack.enter_context(send(front.nginx, PICTURE, *headers)))
                assert problem(got, origin=None)["policy"] == "uploads-at-once"

    @pytest.mark.parametrize(
        "headers",
        [
            ["Content-Length: 8000000"],
            ["Content-Length: 8000000", "Expect: 100-continue"],
            ["Transfer-Encoding: chunked"],
        ],
    )
    @pytest.mark.parametrize("call", [PICTURE, PREVIEW], ids=["upload", "preview"])
    def test_without_a_session(self, front, call, headers):
        """An upload without a token gets 401 before its body is requested."""
        with send(front.nginx, call, *headers) as connection:
            got = connection.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b'\r\nWWW-Authenticate: Bearer realm="persona-profile"\r\n' in head
        assert (b"\r\nConnection: close\r\n" in head) == (headers[0][0] == "C")
        document = json.loads(body)
        contract().validate("Problem", document)
        assert document["code"] == "session_missing"

    def test_preflight(self, front):
        """The service answers preflights without a token; a preflight with a body gets 401."""
        asked, path = {"Access_Control_Request_Method": "PUT"}, f"/v1/profiles/{EMAIL}/picture"
        for empty in ({}, {"Content_Length": "0"}):
            status, headers, _ = front.call("OPTIONS", path, **asked, **empty)
            assert status == 204
            assert "PUT" in headers["Access-Control-Allow-Methods"]
        assert front.call("OPTIONS", path, bytes(100_000), **asked)[0] == 401

    @pytest.mark.parametrize("condition", [{}, {"If-None-Match": "*"}])
    def test_chunked(self, front, condition):
        """A chunked upload is accepted, with and without a precondition."""
        email = "bob@example.com" if condition else "carol@example.com"
        status, token = front.sign_in(email)
        assert status == 201
        body = encode(quadrants(), quality=95) + bytes(8_000_000)
        pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", front.nginx.port, timeout=60, context=front.nginx.tls
        )
        headers = {"Host": DOMAIN, "Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
        with contextlib.closing(connection):
            connection.request(
                "PUT",
                f"/v1/profiles/{email}/picture",
                pieces,
                headers | condition,
                encode_chunked=True,
            )
            assert connection.getresponse().status == 200


LIMITS = {
    "POST /v1/sessions": sessions.MAX_BODY_BYTES,
    "POST /v1/nonces": profiles.MAX_BODY_BYTES,
    f"PUT /v1/profiles/{EMAIL}": profiles.MAX_BODY_BYTES,
    f"PUT /v1/profiles/{EMAIL}/profile-key": profiles.MAX_BODY_BYTES,
    f"POST /v1/profiles/{EMAIL}/profile-keys": profiles.MAX_BODY_BYTES,
    f"DELETE /v1/profiles/{EMAIL}": profiles.MAX_BODY_BYTES,
    f"PUT /v1/profiles/{EMAIL}/picture": MAX_PICTURE_BYTES,
    "PUT /v1/profiles/a%2Fb@example.com/picture": MAX_PICTURE_BYTES,
    f"POST /v1/profiles/{EMAIL}/picture/preview": MAX_PICTURE_BYTES,
}


@pytest.mark.parametrize("call", LIMITS)
def test_size_of_bodies(front, call):
    """A body above the service's limit for the call is rejected by its Content-Length."""
    room = FORM_OVERHEAD_BYTES if "/picture" in call else 0
    lengths = [LIMITS[call] + room, LIMITS[call] + room + 1]
    within, beyond = (
        send(
            front.nginx, f"{call} HTTP/1.1", TOKEN, f"Content-Length: {length}", "Expect: 100-continue"
        )
        for length in lengths
    )
    with within, beyond:
        assert within.recv(12) == b"HTTP/1.1 100"
        document = problem(answer(beyond), origin=None)
    assert (document["code"], document["limit"]) == ("body_too_large", LIMITS[call])


@pytest.mark.parametrize("call", ["POST /v1/sessions", f"DELETE /v1/profiles/{EMAIL}"])
@pytest.mark.parametrize("condition", ["X: y", "If-Match: *"])
def test_size_of_chunked_bodies(front, call, condition):
    """A chunked body is rejected once it exceeds the service's limit."""
    headers = [TOKEN, condition, "Transfer-Encoding: chunked"]
    body = b"".join(b"%x\r\n%b\r\n" % (16384, bytes(16384)) for _ in range(LIMITS[call] // 16384))
    with send(front.nginx, f"{call} HTTP/1.1", *headers) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(body + b"1\r\nx\r\n")
        document = problem(answer(connection), origin=None)
    assert (document["code"], document["limit"]) == ("body_too_large", LIMITS[call])


def test_rate_of_a_network(tmp_path):
    """A network above its rate is rejected on every path; other networks are served."""
    slower = {"rate=100r/s": "rate=1r/m"}
    front = Front(tmp_path / "front", FROM_A_HEADER | slower)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", front.nginx.port, timeout=30, context=front.nginx.tls
    )

    def ask(address: str) -> tuple[int, bytes]:
        connection.request("GET", "/v1/", headers={"Host": DOMAIN, ADDRESS: address})
        with connection.getresponse() as response:
            return response.status, response.read()

    try:
        front.service.start()
        front.nginx.start()
        statuses = [ask(f"2001:db8::{number:x}")[0] for number in range(201)]
        assert set(statuses) == {200}
        status, body = ask("2001:db8::ffff:1")
        assert (status, json.loads(body)["policy"]) == (429, "requests-per-network")
        assert ask("2001:db8:0:1::1")[0] == 200
    finally:
        connection.close()
        front.close()


def test_rate_of_sign_ins(tmp_path):
    """A network above its sign-in rate may still make all other requests."""
    front = Front(
        tmp_path / "front", FROM_A_HEADER | {"rate=10r/s": "rate=1r/m", "delay=15": "nodelay"}
    )

    def ask(method: str, path: str, address: str) -> int:
        headers = [f"{ADDRESS}: {address}", "Content-Type: application/json", "Content-Length: 0"]
        with send(front.nginx, f"{method} {path} HTTP/1.1", *headers) as connection:
            return answer(connection)[0]

    try:
        front.service.start()
        front.nginx.start()
        statuses = [ask("POST", "/v1/sessions", f"2001:db8::{number:x}") for number in range(52)]
        assert statuses == [400] * 51 + [429]
        assert ask("GET", "/v1/", "2001:db8::1") == 200
        assert ask("POST", "/v1/sessions", "2001:db8:0:1::1") == 400
    finally:
        front.close()


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": f"{DIALOG}.evil.example", "Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Referer": f"{DIALOG}/"},
    {"Referer": "https://evil.example/login.example.com", "Sec-Fetch-Site": "cross-site"},
    {"Referer": f"https://evil.example/{DIALOG}/"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
]
OWN = [
    {},
    {"Origin": DIALOG, "Sec-Fetch-Site": "cross-site"},
    {"Origin": DIALOG.upper()},
    {"Referer": f"{DIALOG}/cards?a", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"},
    {"Referer": DIALOG},
    {"Origin": f"https://{DOMAIN}", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "webidentity"},
]
LINK = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Dest": "document",
    "Referer": "https://evil.example/",
}


def test_pages_of_other_sites(tmp_path):
    """Requests from foreign pages get 403 and use up no limit; all other requests do."""
    front = Front(tmp_path / "front", {"rate=100r/s": "rate=1r/m", "burst=200": f"burst={len(OWN)}"})
    connection = http.client.HTTPSConnection(
        "127.0.0.1", front.nginx.port, timeout=30, context=front.nginx.tls
    )

    def ask(method: str, headers: dict[str, str], path: str = "/v1/nonces") -> tuple[int, bytes]:
        connection.request(method, path, headers={"Host": DOMAIN, **headers})
        with connection.getresponse() as response:
            return response.status, response.read()

    try:
        front.service.start()
        front.nginx.start()
        for method in ("POST", "GET", "OPTIONS", "DELETE"):
            for headers in FOREIGN * 3:
                status, body = ask(method, headers)
                assert (status, json.loads(body)["code"]) == (403, "origin_refused"), headers
        assert [ask("POST", headers)[0] for headers in OWN] == [201] * len(OWN)
        assert ask("GET", LINK, "/v1/openapi.json")[0] == 200
        assert ask("POST", {})[0] == 429
    finally:
        connection.close()
        front.close()


def test_size_of_pictures():
    """The limits that operators raise for larger pictures equal the service's defaults."""
    text = SHIPPED.read_text()
    kibibytes = set(re.findall(r"client_max_body_size (\d+)k;  # yours", text))
    assert {int(each) * 1024 for each in kibibytes} == {MAX_PICTURE_BYTES + FORM_OVERHEAD_BYTES}
    assert f"profile_picture  {MAX_PICTURE_BYTES};   # yours" in text


@pytest.mark.parametrize("path", sorted(Path(SHIPPED.parent).rglob("*.conf")))
def test_keys_of_maps(path):
    """No key of a map begins with `=`: such a key would never match."""
    for block in re.findall(r"map [^{]+\{(.*?)\}\n", path.read_text(), re.DOTALL):
        keys = [line.split()[0].strip("\"'") for line in block.splitlines() if line.strip()]
        assert [key for key in keys if key.startswith("=")] == []
