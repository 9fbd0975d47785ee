"""What benchmarks of requests share: servers to compare, signed-in people, and who asks all the time.

Whoever asks is one thread that sends what was encoded before and reads no more than it must, so that it
takes little of the processor that it may have to share with the server.
"""

from __future__ import annotations

import http.client
import json
import logging
import multiprocessing
import os
import re
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cornice import Service
from pyramid.config import Configurator
from waitress import create_server

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from production import Served
from support.clients.identities import (
    AUDIENCE,
    assertion_claims,
    certificate_claims,
    dsa_key,
    support_document,
)
from support.pictures.workers import processor_seconds

from persona_profile.auth.browserid_keys import sign_jws
from persona_profile.runtime.waiting import DEFAULT_THREADS

FIRST_CORE = {0}
"""Of a server; clients have the others."""

SECONDS = 3.0
CONNECTIONS = 4
EMAILS = ("alice@example.com", "bob@example.com")
PREPARED = 1500
"""Openings of sessions for each connection: more than can be answered in one run."""

Request = tuple[str, str, bytes, dict[str, str]]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def hello_app():
    """Return an application on the same frameworks that answers a constant."""
    hello = Service(name="hello", path="/hello")
    hello.add_view("GET", lambda _request: {"hello": "world"}, renderer="json")
    config = Configurator()
    config.include("cornice")
    config.add_cornice_service(hello)
    return config.make_wsgi_app()


HELLO: Request = ("GET", "/hello", b"", {})


def _serve_hello(ports: multiprocessing.Queue) -> None:
    os.sched_setaffinity(0, FIRST_CORE)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of each request that waits
    server = create_server(hello_app(), listen="127.0.0.1:0", threads=DEFAULT_THREADS)
    ports.put(server.effective_port)
    server.run()


@contextmanager
def hello_server() -> Iterator[Served]:
    """Serve "hello" on waitress with its own defaults, in a process of its own on the first core."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=_serve_hello, args=(ports,), daemon=True)
    process.start()
    try:
        yield Served(process.pid, ports.get(timeout=30))
    finally:
        process.terminate()
        process.join(10)


class _Connection:
    """One connection, over which requests are sent one after the other."""

    def __init__(self, port: int, requests: list[Request]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = iter(requests) if len(requests) > 1 else iter(lambda: requests[0], None)
        self._received = b""

    def send(self) -> None:
        """Send the next request."""
        method, path, body, headers = next(self._requests)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:6543", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)

    def receive(self) -> bool:
        """Take what has come; return whether the answer is complete, which must be a good one."""
        self._received += self.socket.recv(65536)
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        length = _LENGTH.search(head + b"\r\n")
        assert length is not None, head
        if len(body) < int(length[1]):
            return False
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), self._received
        self._received = b""
        return True


def requests_per_second(port: int, prepared: list[list[Request]]) -> float:
    """Send requests for SECONDS, a connection for each list; return how many a second were answered.

    A list of one request is sent again and again.

    Raises:
        AssertionError: an answer was an error.
        StopIteration: too few were prepared.
    """
    answered = 0
    start = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for requests in prepared:
            connection = _Connection(port, requests)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.receive():
                    continue
                answered += 1
                if time.perf_counter() - start < SECONDS:
                    key.data.send()
                else:
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
    return answered / (time.perf_counter() - start)


class Cost(NamedTuple):
    """Requests a second, and processor seconds of one request: in the server, in who asks."""

    rate: float
    server: float
    client: float


def cost(pids: Iterable[int], port: int, prepared: list[list[Request]]) -> Cost:
    """Send requests as `requests_per_second` does; return their processor time too."""
    pids = tuple(pids)
    used, own = sum(map(processor_seconds, pids)), time.process_time()
    began = time.perf_counter()
    rate = requests_per_second(port, prepared)
    answered = rate * (time.perf_counter() - began)
    server = sum(map(processor_seconds, pids)) - used
    return Cost(rate, server / answered, (time.process_time() - own) / answered)


def summary(ratios: Iterable[float]) -> str:
    """Return the median of the ratios of all rounds, and all of them."""
    ordered = sorted(ratios)
    return f"{statistics.median(ordered):5.2f}  ({', '.join(f'{each:.2f}' for each in ordered)})"


class Clients:
    """Makes the requests of signed-in people with a DS128 key each.

    Args:
        folder: for `issuers.json`, the pinned issuer that vouches for them.
    """

    def __init__(self, folder: str) -> None:
        self._issuer = dsa_key("issuer")
        documents = {"example.com": support_document(self._issuer)}
        Path(folder, "issuers.json").write_text(json.dumps(documents))
        self._keys = {email: dsa_key(email) for email in EMAILS}
        self._certificates = {
            email: sign_jws(certificate_claims(email, key), self._issuer)
            for email, key in self._keys.items()
        }
        self._count = 0

    def session(
        self,
        audience: str = AUDIENCE,
        *,
        fresh_certificates: bool = False,
        thumbnails: int | None = None,
    ) -> Request:
        """Return a POST that proves both emails to an origin, and asks for thumbnails of a size."""
        proofs = self.proofs(audience, fresh_certificates=fresh_certificates)
        more = {} if thumbnails is None else {"thumbnails": thumbnails}
        body = json.dumps({"proofs": [{"assertion": each} for each in proofs], **more}).encode()
        return "POST", "/v1/sessions", body, {"Content-Type": "application/json"}

    def proofs(self, audience: str = AUDIENCE, *, fresh_certificates: bool = False) -> list[str]:
        """Return a BrowserID assertion for each of both emails to an origin."""
        proofs = []
        for email, key in self._keys.items():
            self._count += 1
            certificate = self._certificates[email]
            if fresh_certificates:
                claims = certificate_claims(email, key, nonce=self._count)
                certificate = sign_jws(claims, self._issuer)
            claims = assertion_claims(audience, nonce=self._count)
            proofs.append(f"{certificate}~{sign_jws(claims, key)}")
        return proofs

    def sessions(
        self,
        audience: str = AUDIENCE,
        *,
        fresh_certificates: bool = False,
        thumbnails: int | None = None,
        connections: int = CONNECTIONS,
    ) -> list[list[Request]]:
        """Return more such POSTs for each connection than can be answered in one run."""
        return [
            [
                self.session(audience, fresh_certificates=fresh_certificates, thumbnails=thumbnails)
                for _ in range(PREPARED * CONNECTIONS // connections)
            ]
            for _ in range(connections)
        ]

    def token(self, port: int, audience: str = AUDIENCE) -> str:
        """Open a session of both emails with a profile each; return its token."""
        token = json.loads(ask(port, *self.session(audience)))["token"]
        for email in EMAILS:
            claims = json.dumps({"name": "Alice Example", "label": "Work"}).encode()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            ask(port, "PUT", f"/v1/profiles/{email}", claims, headers)
        return token


def ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Send a request over a connection of its own; return the body of its good answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    assert response.status < 300, answer
    return answer


def set_pictures(port: int, token: str, picture: bytes) -> None:
    """Give both emails of a session a picture."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/jpeg"}
    for email in EMAILS:
        ask(port, "PUT", f"/v1/profiles/{email}/picture", picture, headers)


def picture(port: int, token: str, size: int) -> Request:
    """Return a reading of the picture of a session's first email, so many pixels wide."""
    _, path, body, headers = all_profiles(token)
    [first, *_] = json.loads(ask(port, "GET", path, body, headers))["profiles"]
    return "GET", urlsplit(first["picture"]["urls"][str(size)]).path, b"", {}


def edit(token: str) -> Request:
    """Return a change of one claim."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return "PATCH", f"/v1/profiles/{EMAILS[0]}", b'{"name": "Alice"}', headers


def all_profiles(token: str) -> Request:
    """Return a reading of all profiles of a session."""
    return "GET", "/v1/profiles", b"", {"Authorization": f"Bearer {token}"}
