"""Requests per second of this service over those of a bare Pyramid + Cornice "hello".

Both run on the same waitress settings in a process of their own, pinned to one core, in turns; the
client has the other core. Prints the ratio of each pair of runs and their median.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from cornice import Service
from pyramid.config import Configurator
from waitress import create_server

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.applications import application
from support.identities import (
    AUDIENCE,
    assertion_claims,
    certificate_claims,
    dsa_key,
    support_document,
)

from persona_profile.auth.jws import sign_jws

ROUNDS = 5
SECONDS = 3.0
CONNECTIONS = 4
EMAILS = ("alice@example.com", "bob@example.com")

Request = tuple[str, str, bytes, dict[str, str]]


def hello_app():
    """Return an application that answers a constant."""
    hello = Service(name="hello", path="/hello")
    hello.add_view("GET", lambda _request: {"hello": "world"}, renderer="json")
    config = Configurator()
    config.include("cornice")
    config.add_cornice_service(hello)
    return config.make_wsgi_app()


def serve(kind: str, folder: str, ports: multiprocessing.Queue) -> None:
    """Serve one of the applications until the process is ended."""
    os.sched_setaffinity(0, {0})
    if kind == "hello":
        app = hello_app()
    else:
        app = application(Path(folder), browserid__pinned_issuers=f"{folder}/issuers.json")
    server = create_server(app, listen="127.0.0.1:0", threads=8)
    ports.put(server.effective_port)
    server.run()


@contextmanager
def running(kind: str, folder: str):
    """Run one of the applications in a process of its own; yield its port."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=serve, args=(kind, folder, ports), daemon=True)
    process.start()
    try:
        yield ports.get(timeout=30)
    finally:
        process.terminate()
        process.join(10)


def requests_per_second(port: int, prepared: list[list[Request]]) -> float:
    """Send requests over several connections for SECONDS; return how many were answered each second."""
    answered = [0] * len(prepared)
    start = time.perf_counter()

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        requests = prepared[number]
        for request in requests if len(requests) > 1 else iter(lambda: requests[0], None):
            connection.request(request[0], request[1], request[2] or None, request[3])
            response = connection.getresponse()
            body = response.read()
            assert response.status in (200, 201), (response.status, body)
            answered[number] += 1
            if time.perf_counter() - start > SECONDS:
                break
        else:
            raise AssertionError("too few requests were prepared")
        connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(prepared))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / (time.perf_counter() - start)


class Clients:
    """Makes the requests of signed-in people with a DS128 key each."""

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

    def session(self, *, fresh_certificates: bool) -> Request:
        """Return a POST that proves both emails."""
        proofs = []
        for email, key in self._keys.items():
            self._count += 1
            certificate = self._certificates[email]
            if fresh_certificates:
                claims = certificate_claims(email, key, nonce=self._count)
                certificate = sign_jws(claims, self._issuer)
            claims = assertion_claims(AUDIENCE, nonce=self._count)
            proofs.append({"assertion": f"{certificate}~{sign_jws(claims, key)}"})
        body = json.dumps({"proofs": proofs}).encode()
        return "POST", "/v1/sessions", body, {"Content-Type": "application/json"}

    def sessions(self, *, fresh_certificates: bool) -> list[list[Request]]:
        """Return more such POSTs for each connection than can be answered in one run."""
        return [
            [self.session(fresh_certificates=fresh_certificates) for _ in range(1500)]
            for _ in range(CONNECTIONS)
        ]

    def token(self, port: int) -> str:
        """Open a session of both emails with a profile each; return its token."""
        method, path, body, headers = self.session(fresh_certificates=False)
        token = json.loads(ask(port, method, path, body, headers))["token"]
        for email in EMAILS:
            claims = json.dumps({"name": "Alice Example", "label": "Work"}).encode()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            ask(port, "PUT", f"/v1/profiles/{email}", claims, headers)
        return token


def ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Send one request; return the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    assert response.status < 300, answer
    return answer


def compare(name: str, ours: int, hello: int, prepare: Callable[[], list[list[Request]]]) -> None:
    """Run both in turns and print the ratios."""
    constant = [[("GET", "/hello", b"", {})]] * CONNECTIONS
    ratios, rates = [], []
    for _ in range(ROUNDS):
        prepared = prepare()
        base = requests_per_second(hello, constant)
        rate = requests_per_second(ours, prepared)
        rates.append(rate)
        ratios.append(rate / base)
    spread = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    median = statistics.median(ratios)
    print(f"{name:<58} {median:5.2f}  ({spread}; {statistics.median(rates):.0f}/s)", flush=True)


def main() -> None:
    """Measure and print."""
    print("requests/s over those of hello, median of rounds (all rounds; requests/s)")
    with tempfile.TemporaryDirectory() as folder:
        clients = Clients(folder)
        with running("ours", folder) as ours, running("hello", folder) as hello:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            get = [("GET", "/v1/profiles", b"", {"Authorization": f"Bearer {clients.token(ours)}"})]
            compare("GET /v1/profiles, two emails", ours, hello, lambda: [get] * CONNECTIONS)
            for fresh in (False, True):
                certificates = "certificates never seen" if fresh else "certificates seen before"
                compare(
                    f"POST /v1/sessions, two DS128 proofs, {certificates}",
                    ours,
                    hello,
                    lambda fresh=fresh: [
                        [clients.session(fresh_certificates=fresh) for _ in range(1500)]
                        for _ in range(CONNECTIONS)
                    ],
                )


if __name__ == "__main__":
    main()
