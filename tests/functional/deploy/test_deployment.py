"""The service behind nginx with the shipped configuration."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.client import HTTPSConnection

import pytest
from support.pictures.pictures import encode, quadrants
from support.servers.applications import wait_for
from support.servers.fronts import EMAIL, Front, problem
from support.servers.nginx import DIALOG, DOMAIN, Nginx
from support.stores.writers import meanwhile

_HEAD = f"Host: {DOMAIN}\r\nContent-Type: application/json\r\nContent-Length: 30000\r\n\r\nslow"
PROFILE = f"/v1/profiles/{EMAIL}"
BEGUN = f"PATCH /v1/profiles/{EMAIL} HTTP/1.1\r\n{_HEAD}".encode()
HEADER_BEGUN = b"GET /v1/ HTTP/1.1\r\nX-Header: "
CHUNK_BEGUN = BEGUN.replace(b"Content-Length: 30000", b"Transfer-Encoding: chunked")
UPLOAD_BEGUN = (
    f"PUT /v1/profiles/{EMAIL}/picture HTTP/1.1\r\nAuthorization: Bearer x\r\n{_HEAD}".encode()
)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Two processes of the service behind nginx."""
    with contextlib.closing(Front(tmp_path_factory.mktemp("front"))) as made:
        made.service.start("--processes", "2")
        made.nginx.start()
        # Two starting processes create the identity provider; one of them is ready earlier.
        wait_for(lambda: made.call("GET", "/v1/")[0] == 200)
        yield made


def test_shipped_configuration_is_sound(front):
    """Nginx accepts the shipped configuration without warnings."""
    checked = subprocess.run(front.nginx.command("-t"), capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    # Newer releases prefer another spelling, which Debian 12's release does not know.
    warnings = [line for line in checked.stderr.splitlines() if '"listen ... http2"' not in line]
    assert not any("[warn]" in line for line in warnings), warnings


def test_upload(front):
    """A photo of 8 MB is accepted, and the dialog's pages can load its picture."""
    status, token = front.sign_in()
    assert status == 201
    body = encode(quadrants(), quality=95) + bytes(8_000_000)
    path = f"/v1/profiles/{EMAIL}/picture"
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "image/jpeg"}
    status, fields, answer = front.call("PUT", path, body, **headers)
    assert (status, fields.get_all("Access-Control-Allow-Origin")) == (200, [DIALOG])
    assert fields["Strict-Transport-Security"]
    capability = json.loads(answer)["picture"]["urls"]["64"].partition("/v1/")[2]
    status, fields, _ = front.call("GET", f"/v1/{capability}")
    assert (status, fields["Content-Type"]) == (200, "image/jpeg")
    wait_for(lambda: '"route":"picture","status":200' in front.nginx.logs, 10)
    logs = front.nginx.logs + front.service.log
    assert '"route":"profile_picture","status":200' in logs
    for secret in (EMAIL, EMAIL.partition("@")[0], token, capability, capability[-20:], "127.0.0.1"):
        assert secret not in logs.replace(f"http://127.0.0.1:{front.service.port}/", "")


def test_headers_of_a_long_session(front):
    """Nginx forwards a token of the maximum length."""
    answer = front.call("GET", "/v1/profiles", Authorization=f"Bearer {'x' * 12_000}")
    assert (answer[0], problem(answer)["code"]) == (401, "session_invalid")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/__heartbeat__",
        "/__lbheartbeat__",
        "/__version__",
        "/",
        "/v1/../__heartbeat__",
        "/v1/%2e%2e/metrics",
        "/v1/..%2f__heartbeat__",
        "/__heartbeat__/../v1/",
        "//__heartbeat__",
    ],
)
def test_what_is_not_public(front, path):
    """The public gets 404 for heartbeats and metrics."""
    answer = front.call("GET", path)
    assert (answer[0], problem(answer)["code"]) == (404, "not_found")


def test_plain_http(front):
    """Plain HTTP is redirected to TLS at the server's own name, whatever the Host field."""
    for host in (DOMAIN, "evil.example", f"{DOMAIN}:80", f"{DOMAIN}.evil.example", "127.0.0.1"):
        connection = http.client.HTTPConnection("127.0.0.1", front.nginx.plain_port, timeout=10)
        connection.request("GET", "/v1/?a", headers={"Host": host})
        with connection.getresponse() as response:
            assert (response.status, response.headers["Location"]) == (308, f"https://{DOMAIN}/v1/?a")
        connection.close()


def test_service_down(tmp_path):
    """While the service is down, pages get a readable 503 with Retry-After; preflights succeed."""
    with contextlib.closing(Front(tmp_path / "front")) as front:
        front.nginx.start()
        answer = front.call("POST", "/v1/sessions", b"{}", Content_Type="application/json")
        assert (answer[0], problem(answer)["code"]) == (503, "service_unavailable")
        assert int(answer[1]["Retry-After"]) > 0
        assert "Retry-After" in answer[1]["Access-Control-Expose-Headers"]
        preflight = {"Access_Control_Request_Method": "POST"}
        status, headers, body = front.call("OPTIONS", "/v1/sessions", **preflight)
        assert (status, headers["Access-Control-Allow-Origin"], body) == (204, DIALOG, b"")
        assert "Authorization" in headers["Access-Control-Allow-Headers"]
        assert "PUT" in headers["Access-Control-Allow-Methods"]
        foreign = front.call("POST", "/v1/sessions", b"{}", Origin="https://evil.example")
        assert (foreign[0], foreign[1]["Access-Control-Allow-Origin"]) == (403, None)
        wait_for(lambda: '"status":503,"upstream_status":"502"' in front.nginx.logs, 10)


def test_what_clients_say_of_their_address(tmp_path):
    """Nginx forwards the address of the connection and drops the client's own claims."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        nginx = Nginx(tmp_path / "nginx", listener.getsockname()[1])
        try:
            nginx.start()
            with nginx.connect() as client:
                client.sendall(
                    f"GET /v1/ HTTP/1.1\r\nHost: {DOMAIN}\r\nX-Forwarded-For: 192.0.2.1\r\n"
                    "X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n"
                    f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01\r\n"
                    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n\r\n".encode()
                )
                service, _ = listener.accept()
                with service:
                    forwarded = service.recv(65536).decode().lower()
        finally:
            nginx.close()
    assert "\r\nx-forwarded-for: 127.0.0.1\r\n" in forwarded
    assert "\r\nx-forwarded-proto: https\r\n" in forwarded
    assert "192.0.2.1" not in forwarded
    assert "evil.example" not in forwarded
    assert "traceparent" not in forwarded


class SlowClients:
    """Connections from many addresses of loopback that send a byte now and then.

    Args:
        nginx: the server.
        count: the number of connections.
        begun: first bytes of the connections, in rotation.
    """

    PER_ADDRESS = 50

    def __init__(self, nginx: Nginx, count: int, *begun: bytes) -> None:
        self._connections = []
        for number in range(count):
            high, low = divmod(number // self.PER_ADDRESS, 250)
            connection = nginx.connect(f"127.1.{high}.{low + 1}")
            self._connections.append(connection)
            connection.sendall(begun[number % len(begun)])

    def send(self) -> int:
        """Send a byte over each connection; return the number of successes."""
        alive = 0
        for each in self._connections:
            try:
                each.sendall(b".")
            except OSError:
                continue
            alive += 1
        return alive

    def closed(self) -> int:
        """Return the number of closed or answered connections."""
        count = 0
        for each in self._connections:
            each.setblocking(False)
            try:
                each.recv(1)
            except (ssl.SSLWantReadError, BlockingIOError):
                continue
            except OSError:
                pass
            finally:
                with contextlib.suppress(OSError):
                    each.settimeout(30)
            count += 1
        return count

    def close(self) -> None:
        """Close all connections."""
        for each in self._connections:
            each.close()


def _let_many_be_open(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + 500
    assert hard >= needed, f"this many connections need `ulimit -n {needed}`"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


@pytest.mark.alone
@pytest.mark.parametrize(
    "begun", [[BEGUN], [b"", HEADER_BEGUN, CHUNK_BEGUN, UPLOAD_BEGUN]], ids=["bodies", "others"]
)
def test_slow_clients(front, pytestconfig, begun):
    """Sign-ins succeed beside hundreds of connections that hold a slow body, a header, or nothing."""
    is_body = begun == [BEGUN]
    count = pytestconfig.getoption("slow_connections") if is_body else 1000
    _let_many_be_open(count)
    clients = SlowClients(front.nginx, count, *begun)
    try:
        if is_body:
            assert clients.send() == count
            assert clients.closed() == 0
        began = time.monotonic()
        for _ in range(5):
            assert front.sign_in()[0] == 201
        seconds = (time.monotonic() - began) / 5
        print(f"{count} connections, a sign-in took {seconds * 1000:.0f} ms")
    finally:
        clients.close()


@pytest.mark.alone
def test_one_address_with_many_requests(front):
    """Slow requests of one address are rejected beyond a limit; other addresses are served."""

    class One(SlowClients):
        PER_ADDRESS = 10_000

    clients = One(front.nginx, 120, BEGUN)
    try:
        wait_for(lambda: clients.closed() == 20, 10)
        assert front.sign_in()[0] == 201
    finally:
        clients.close()


@contextlib.contextmanager
def begun_upload(front: Front, token: str, picture: bytes, sent: int) -> Iterator[HTTPSConnection]:
    """Begin an upload through nginx; yield its connection after so many bytes."""
    upload = HTTPSConnection("127.0.0.1", front.nginx.port, timeout=60, context=front.nginx.tls)
    with contextlib.closing(upload):
        upload.putrequest("PUT", f"/v1/profiles/{EMAIL}/picture", skip_host=True)
        upload.putheader("Host", DOMAIN)
        upload.putheader("Authorization", f"Bearer {token}")
        upload.putheader("Content-Type", "image/jpeg")
        upload.putheader("Content-Length", str(len(picture)))
        upload.endheaders(picture[:sent])
        yield upload


def test_rolling_restart(front):
    """A rolling restart of all processes, under load and with an upload of 8 MB, fails no request."""
    session = {"Authorization": f"Bearer {front.sign_in()[1]}"}
    edit = {**session, "Content_Type": "application/merge-patch+json"}
    calls = {
        "sign in": lambda: front.sign_in()[0] == 201,
        "read": lambda: front.call("GET", "/v1/profiles", **session)[0] == 200,
        "edit": lambda: front.call("PATCH", PROFILE, b'{"name": "A"}', **edit)[0] == 200,
    }
    outcomes: Counter[tuple[str, object]] = Counter()

    def repeat(name: str, stop: threading.Event) -> None:
        while not stop.wait(0.15):  # within nginx's rate limit for a network
            try:
                outcomes[name, calls[name]()] += 1
            except (OSError, http.client.HTTPException) as error:
                outcomes[name, repr(error)] += 1

    picture, sent = encode(quadrants(), quality=95) + bytes(8_000_000), 4_000_000
    rest = (picture[at : at + 1000] for at in range(sent, len(picture), 1000))
    before = front.service.processes()
    with (
        meanwhile([partial(repeat, name) for name in calls]),
        begun_upload(front, front.sign_in()[1], picture, sent) as upload,
    ):

        def replaced() -> bool:
            upload.send(next(rest))  # keeps nginx waiting, however long the restart takes
            return not front.service.processes() & before

        front.service.signal(signal.SIGHUP)
        front.service.signal(signal.SIGUSR2)
        wait_for(replaced)
        upload.send(b"".join(rest))
        with upload.getresponse() as response:
            assert response.status == 200
    assert outcomes.keys() == {(name, True) for name in calls}
    assert min(outcomes.values()) > 10
