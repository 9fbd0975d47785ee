"""nginx in front of several service machines: the requests that it repeats, and those it never does."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.servers.nginx import DOMAIN, Nginx
from support.servers.ports import free_port

PROFILE = "/v1/profiles/alice@example.com"
ANSWER = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Machine:
    """A service machine that records requests, and answers or disconnects."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.answers = True
        self.received: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = connection.recv(65536).decode()
                self.received.append(" ".join(head.split(" ", 2)[:2]))
                if self.answers:
                    connection.sendall(ANSWER)


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """Two service machines."""
    made = [Machine(), Machine()]
    yield made
    for machine in made:
        machine.close()


@pytest.fixture
def nginx(tmp_path: Path, machines: list[Machine]) -> Iterator[Nginx]:
    """Nginx in front of both machines, with the configuration of a cluster."""
    made = Nginx(tmp_path / "nginx", free_port())
    made.put_before(*(f"127.0.0.1:{each.port}" for each in machines))
    yield made
    made.close()


def ask(nginx: Nginx, method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Send a request over a new connection; return status and JSON."""
    connection = http.client.HTTPSConnection("127.0.0.1", nginx.port, timeout=30, context=nginx.tls)
    try:
        body = b"{}" if method.startswith("P") else None
        connection.request(method, path, body, {"Host": DOMAIN} | headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())
    finally:
        connection.close()


TWICE = [
    ("GET", PROFILE, {"If-None-Match": '"1"'}),
    ("PUT", PROFILE, {}),
    ("DELETE", PROFILE, {}),
    ("PUT", f"{PROFILE}/picture", {"Authorization": "Bearer x"}),
]
ONCE = [
    ("POST", "/v1/sessions", {}),
    ("PATCH", PROFILE, {}),
    ("PUT", PROFILE, {"If-Match": '"1"'}),
    ("PUT", f"{PROFILE}/picture", {"If-None-Match": "*", "Authorization": "Bearer x"}),
    ("DELETE", PROFILE, {"If-Match": "*"}),
    ("PUT", f"{PROFILE}/profile-key", {}),
    ("PUT", "/v1/profiles/a%2Fb@example.com/profile-key", {}),
    ("POST", f"{PROFILE}/profile-keys", {}),
    ("DELETE", f"{PROFILE}/profile-keys/AAECAwQFBgc", {}),
    ("DELETE", "/v1/sessions", {}),
]


def test_what_is_repeated(nginx, machines):
    """Nginx repeats an unanswered request at another machine only if the request is idempotent."""
    text = nginx.configuration.read_text()
    assert text.count("max_fails=1") == 2
    nginx.configuration.write_text(text.replace("max_fails=1", "max_fails=0"))
    nginx.start()
    for machine in machines:
        machine.answers = False
    for calls, times in ((TWICE, 2), (ONCE, 1)):
        for method, path, headers in calls:
            status, problem = ask(nginx, method, path, headers)
            assert (status, problem["code"]) == (503, "service_unavailable")
            received = [line for machine in machines for line in machine.received]
            assert received == [f"{method} {path}"] * times
            for machine in machines:
                machine.received.clear()


def test_machine_that_is_gone(nginx, machines):
    """Requests succeed while a machine is unreachable: reads and posts at once, then all."""
    machines[0].close()
    nginx.start()
    for method, path, headers in [*TWICE[:1] * 3, ("POST", "/v1/sessions", {}), ("PATCH", PROFILE, {})]:
        assert ask(nginx, method, path, headers)[0] == 200
    for method, path, headers in TWICE + ONCE:
        assert ask(nginx, method, path, headers)[0] == 200
    assert len(machines[1].received) == 5 + len(TWICE + ONCE)
