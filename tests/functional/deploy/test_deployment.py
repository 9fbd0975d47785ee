"""The service behind nginx, with the configuration that is shipped."""

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
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.applications import wait_for
from support.fronts import EMAIL, Front, problem
from support.nginx import DIALOG, DOMAIN, Nginx
from support.pictures import encode, quadrants

_HEAD = f"Host: {DOMAIN}\r\nContent-Type: application/json\r\nContent-Length: 30000\r\n\r\nslow"
BEGUN = f"PATCH /v1/profiles/{EMAIL} HTTP/1.1\r\n{_HEAD}".encode()
HEADER_BEGUN = b"GET /v1/ HTTP/1.1\r\nX-Header: "
CHUNK_BEGUN = BEGUN.replace(b"Content-Length: 30000", b"Transfer-Encoding: chunked")
UPLOAD_BEGUN = (
    f"PUT /v1/profiles/{EMAIL}/picture HTTP/1.1\r\nAuthorization: Bearer x\r\n{_HEAD}".encode()
)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Two processes of the service behind nginx."""
    made = Front(tmp_path_factory.mktemp("front"))
    try:
        made.service.start("--processes", "2")
        made.nginx.start()
        # Two processes that begin make the identity provider; one of them is well.
        wait_for(lambda: made.call("GET", "/v1/")[0] == 200)
        yield made
    finally:
        made.close()


def test_shipped_configuration_is_sound(front):
    """The server finds nothing to warn of."""
    checked = subprocess.run(front.nginx.command("-t"), capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    # Later releases have another spelling for it, which that of Debian 12 does not know.
    said = [line for line in checked.stderr.splitlines() if '"listen ... http2"' not in line]
    assert not any("[warn]" in line for line in said), said


def test_upload(front):
    """A photo of 8 MB is taken, and its picture served to the dialog's pages."""
    status, token = front.sign_in()
    assert status == 201
    body = encode(quadrants(), quality=95) + bytes(8_000_000)
    path = f"/v1/profiles/{EMAIL}/picture"
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "image/jpeg"}
    status, told, answer = front.call("PUT", path, body, **headers)
    assert (status, told.get_all("Access-Control-Allow-Origin")) == (200, [DIALOG])
    assert told["Strict-Transport-Security"]
    capability = json.loads(answer)["picture"]["urls"]["64"].partition("/v1/")[2]
    status, told, _ = front.call("GET", f"/v1/{capability}")
    assert (status, told["Content-Type"]) == (200, "image/jpeg")
    wait_for(lambda: '"route":"picture","status":200' in front.nginx.logs, 10)
    logs = front.nginx.logs + front.service.log
    assert '"route":"profile_picture","status":200' in logs
    for secret in (EMAIL, EMAIL.partition("@")[0], token, capability, capability[-20:], "127.0.0.1"):
        assert secret not in logs.replace(f"http://127.0.0.1:{front.service.port}/", "")


def test_headers_of_a_long_session(front):
    """A token as long as they get is passed on."""
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
    """Heartbeats and metrics are not there for the public."""
    answer = front.call("GET", path)
    assert (answer[0], problem(answer)["code"]) == (404, "not_found")


def test_plain_http(front):
    """Plain HTTP is redirected to TLS at the server's own name, whatever Host a client names."""
    for host in (DOMAIN, "evil.example", f"{DOMAIN}:80", f"{DOMAIN}.evil.example", "127.0.0.1"):
        connection = http.client.HTTPConnection("127.0.0.1", front.nginx.plain_port, timeout=10)
        connection.request("GET", "/v1/?a", headers={"Host": host})
        with connection.getresponse() as response:
            assert (response.status, response.headers["Location"]) == (308, f"https://{DOMAIN}/v1/?a")
        connection.close()


def test_service_down(tmp_path):
    """While the service is down, pages read a 503 that says when to come back, preflights included."""
    front = Front(tmp_path / "front")
    try:
        front.nginx.start()
        answer = front.call("POST", "/v1/sessions", b"{}", Content_Type="application/json")
        assert (answer[0], problem(answer)["code"]) == (503, "service_unavailable")
        assert int(answer[1]["Retry-After"]) > 0
        assert "Retry-After" in answer[1]["Access-Control-Expose-Headers"]
        asked = {"Access_Control_Request_Method": "POST"}
        status, headers, body = front.call("OPTIONS", "/v1/sessions", **asked)
        assert (status, headers["Access-Control-Allow-Origin"], body) == (204, DIALOG, b"")
        assert "Authorization" in headers["Access-Control-Allow-Headers"]
        assert "PUT" in headers["Access-Control-Allow-Methods"]
        foreign = front.call("POST", "/v1/sessions", b"{}", Origin="https://evil.example")
        assert (foreign[0], foreign[1]["Access-Control-Allow-Origin"]) == (403, None)
        wait_for(lambda: '"status":503,"upstream_status":"502"' in front.nginx.logs, 10)
    finally:
        front.close()


def test_what_clients_say_of_their_address(tmp_path):
    """The service is told the address that nginx sees, whatever a client says of itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        nginx = Nginx(tmp_path / "nginx", listener.getsockname()[1])
        try:
            nginx.start()
            with nginx.connect() as client:
                client.sendall(
                    f"GET /v1/ HTTP/1.1\r\nHost: {DOMAIN}\r\nX-Forwarded-For: 192.0.2.1\r\n"
                    "X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n"
                    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n\r\n".encode()
                )
                service, _ = listener.accept()
                with service:
                    told = service.recv(65536).decode().lower()
        finally:
            nginx.close()
    assert "\r\nx-forwarded-for: 127.0.0.1\r\n" in told
    assert "\r\nx-forwarded-proto: https\r\n" in told
    assert "192.0.2.1" not in told
    assert "evil.example" not in told


class SlowClients:
    """Connections from many addresses of loopback that go on sending, a byte now and then.

    Args:
        nginx: where to.
        count: how many.
        begun: what each sends at once, in turns.
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
        """Send a byte over each; return over how many that works."""
        alive = 0
        for each in self._connections:
            try:
                each.sendall(b".")
            except OSError:
                continue
            alive += 1
        return alive

    def closed(self) -> int:
        """Return how many were hung up or answered."""
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
        """Hang up."""
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
    """Hundreds of connections that hold a slow body, a header, or nothing, don't stop a sign-in."""
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
    """Slow requests of one address are refused beyond a number; others are served."""

    class One(SlowClients):
        PER_ADDRESS = 10_000

    clients = One(front.nginx, 120, BEGUN)
    try:
        wait_for(lambda: clients.closed() == 20, 10)
        assert front.sign_in()[0] == 201
    finally:
        clients.close()


def test_rolling_restart(front):
    """Under a steady load, and an upload of 8 MB, all processes are replaced and no request fails."""
    _, token = front.sign_in()
    failures: list[object] = []
    counts = [0, 0, 0]
    stopped = threading.Event()
    calls = [
        lambda: front.sign_in()[0] == 201,
        lambda: front.call("GET", "/v1/profiles", Authorization=f"Bearer {token}")[0] == 200,
        lambda: (
            front.call(
                "PATCH",
                f"/v1/profiles/{EMAIL}",
                b'{"name": "A"}',
                Authorization=f"Bearer {token}",
                Content_Type="application/merge-patch+json",
            )[0]
            == 200
        ),
    ]

    def load(number: int) -> None:
        while not stopped.wait(0.15):  # within what nginx lets a network do in a second
            try:
                well = calls[number]()
            except (OSError, http.client.HTTPException) as error:
                well = False
                failures.append(error)
            if not well:
                failures.append(number)
            counts[number] += 1

    def serving() -> set[str]:
        pid = front.service.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    threads = [threading.Thread(target=load, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    picture = encode(quadrants(), quality=95) + bytes(8_000_000)
    upload = http.client.HTTPSConnection(
        "127.0.0.1", front.nginx.port, timeout=60, context=front.nginx.tls
    )
    try:
        upload.putrequest("PUT", f"/v1/profiles/{EMAIL}/picture", skip_host=True)
        upload.putheader("Host", DOMAIN)
        upload.putheader("Authorization", f"Bearer {token}")
        upload.putheader("Content-Type", "image/jpeg")
        upload.putheader("Content-Length", str(len(picture)))
        upload.endheaders(picture[:4_000_000])
        rest = (picture[at : at + 1000] for at in range(4_000_000, len(picture), 1000))
        before = serving()

        def replaced() -> bool:
            upload.send(next(rest))  # so that nginx goes on waiting, however long it takes
            return not serving() & before

        front.service.signal(signal.SIGHUP)
        front.service.signal(signal.SIGUSR2)
        wait_for(replaced)
        upload.send(b"".join(rest))
        with upload.getresponse() as response:
            assert response.status == 200
    finally:
        upload.close()
        stopped.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert min(counts) > 10
