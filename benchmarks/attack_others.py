"""Good people who use the attacked service: what they ask for, how often, and what becomes of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from attack_dns import MAIL, tokens
from attack_providers import good_key
from attack_stage import CACHED, DIALOG, DOMAIN, FRESH, METRICS_PORT, ORIGIN, PINNED, SERVER, Target
from support.clients.identities import assertion_claims, certificate_claims, dsa_key
from support.pictures.pictures import encode, quadrants

from persona_profile.auth.browserid_keys import sign_jws

PEOPLE = 60
"""Of the pinned domain; each has a picture. As many are of the cached domain."""

PATIENCE_SECONDS = 10.0
RATES = {
    "sign-in, pinned": 5.0,
    "sign-in, cached": 5.0,
    "sign-in, fresh": 2.0,
    "sign-in, token": 2.0,
    "profiles": 5.0,
    "picture": 5.0,
    "upload": 1.0,
    "metrics": 1.0,
}
"""Requests a second."""

MIN_SUCCESS = dict.fromkeys(RATES, 0.99) | {
    "sign-in, fresh": 0.9,
    "sign-in, token": 0.9,
    "upload": 0.9,
}
_THREADS = 300


class Sample(NamedTuple):
    """A request: its kind, when it began (`time.monotonic`), seconds, and whether it succeeded."""

    kind: str
    began: float
    seconds: float
    succeeded: bool


@dataclass
class Person:
    """Somebody with an email, and what the service has given them."""

    email: str
    token: str = ""
    pictures: list[str] = field(default_factory=list)

    def proof(self) -> str:
        """Return a new assertion."""
        key = dsa_key("person")
        certificate = _certificate(self.email)
        return f"{certificate}~{sign_jws(assertion_claims(ORIGIN, nonce=time.perf_counter_ns()), key)}"


_certificates: dict[str, str] = {}


def _certificate(email: str) -> str:
    if email not in _certificates:
        claims = certificate_claims(email, dsa_key("person"))
        _certificates[email] = sign_jws(claims, good_key())
    return _certificates[email]


def connect(target: Target, source: str, seconds: float, server: str = SERVER) -> socket.socket:
    """Return a connection from an address, with TLS where the target speaks it."""
    connection = socket.create_connection(
        (server, target.port), timeout=seconds, source_address=(source, 0)
    )
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.tls is None:
        return connection
    try:
        return target.tls.wrap_socket(connection, server_hostname=DOMAIN)
    except BaseException:
        connection.close()
        raise


def ask(
    target: Target,
    source: str,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    token: str = "",
    kind: str = "application/json",
    seconds: float = PATIENCE_SECONDS,
) -> tuple[int, bytes]:
    """Send a request over a connection of its own; return status and body.

    Raises:
        OSError, http.client.HTTPException: there is no answer in time.
    """
    deadline = time.monotonic() + seconds
    with contextlib.closing(connect(target, source, seconds)) as connection:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {DOMAIN}", f"Origin: {DIALOG}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
        connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        answer = response.read()
        if time.monotonic() > deadline:
            raise TimeoutError
        return response.status, answer


def ask_nonce(target: Target, source: str) -> str:
    """Return a nonce of the service.

    Raises:
        OSError, http.client.HTTPException, ValueError: there is none.
    """
    status, answer = ask(target, source, "POST", "/v1/nonces")
    if status != 201:
        raise ValueError(f"status {status}")
    nonce: str = json.loads(answer)["nonce"]
    return nonce


class Community:
    """People of the pinned and of the cached domain."""

    def __init__(self) -> None:
        self.pinned = [Person(f"person{number}@{PINNED}") for number in range(PEOPLE)]
        self.cached = [Person(f"person{number}@{CACHED}") for number in range(PEOPLE)]
        self.picture = encode(quadrants(1600, 1600))


class Others:
    """Good people, each request of another address.

    Args:
        target: where they ask.
        community: who they are.
        office: an address from which all sign in, if they share it with the attacker.
    """

    def __init__(self, target: Target, community: Community, office: str | None = None) -> None:
        self._target, self._community, self._office = target, community, office
        self._addresses = (
            f"82.64.{high}.{low}" for high in itertools.cycle(range(256)) for low in range(1, 255)
        )
        self._lock = threading.Lock()
        self._cached = itertools.cycle(community.cached)
        self._fresh, self._mail = iter(FRESH), iter(MAIL)
        self._pinned = itertools.cycle(community.pinned)
        self._samples: list[Sample] = []
        self._requests: dict[str, Callable[[], bool]] = {
            "sign-in, pinned": lambda: self._sign_in(self._next(self._pinned)),
            "sign-in, cached": lambda: self._sign_in(self._next(self._cached)),
            "sign-in, fresh": lambda: self._sign_in(Person(f"someone@{self._next(self._fresh)}")),
            "sign-in, token": self._sign_in_by_token,
            "profiles": self._read,
            "picture": self._fetch,
            "upload": self._upload,
            "metrics": self._scrape,
        }

    def move_in(self) -> None:
        """Give each person a session, and a picture to those of the pinned domain."""
        for person in (*self._community.pinned, *self._community.cached):
            status, answer = self._open(person)
            assert status == 201, answer
            person.token = json.loads(answer)["token"]
        for person in self._community.pinned:
            status, answer = self._put_picture(person)
            assert status == 200, answer
            urls = json.loads(answer)["picture"]["urls"]
            person.pictures = [url.removeprefix(ORIGIN) for url in urls.values()]

    def warm_up(self) -> None:
        """Have each process look the cached domain up."""
        for _ in range(12):
            assert self._sign_in(self._next(self._cached))
            assert self._sign_in_by_token()

    def run(self, until: float) -> list[Sample]:
        """Ask at fixed rates, whatever becomes of earlier requests; return what became of all."""
        now = time.monotonic()
        due = {
            kind: now + index / len(RATES) / rate for index, (kind, rate) in enumerate(RATES.items())
        }
        with ThreadPoolExecutor(_THREADS) as pool:
            while (now := time.monotonic()) < until:
                for kind, rate in RATES.items():
                    if due[kind] <= now:
                        pool.submit(self._measure, kind)
                        due[kind] += 1 / rate
                time.sleep(max(0.0, min(due.values()) - time.monotonic()))
        return self._samples

    def _measure(self, kind: str) -> None:
        began = time.monotonic()
        try:
            succeeded = self._requests[kind]()
        except (OSError, http.client.HTTPException, ValueError):
            succeeded = False
        self._samples.append(Sample(kind, began, time.monotonic() - began, succeeded))

    def _next(self, iterator: Iterator):
        with self._lock:
            return next(iterator)

    def _open(self, person: Person) -> tuple[int, bytes]:
        body = json.dumps({"proofs": [{"assertion": person.proof()}], "thumbnails": 64}).encode()
        address = self._office or self._next(self._addresses)
        return ask(self._target, address, "POST", "/v1/sessions", body)

    def _sign_in(self, person: Person) -> bool:
        return self._open(person)[0] == 201

    def _sign_in_by_token(self) -> bool:
        address = self._office or self._next(self._addresses)
        nonce = ask_nonce(self._target, address)
        body = tokens([f"someone@{self._next(self._mail)}"], nonce)
        return ask(self._target, address, "POST", "/v1/sessions", body)[0] == 201

    def _read(self) -> bool:
        person = self._next(self._pinned)
        address = self._next(self._addresses)
        return ask(self._target, address, "GET", "/v1/profiles", token=person.token)[0] == 200

    def _fetch(self) -> bool:
        person = self._next(self._pinned)
        return ask(self._target, self._next(self._addresses), "GET", person.pictures[1])[0] == 200

    def _upload(self) -> bool:
        return self._put_picture(self._next(self._cached))[0] == 200

    def _put_picture(self, person: Person) -> tuple[int, bytes]:
        path, kind = f"/v1/profiles/{person.email}/picture", "image/jpeg"
        address, picture = self._next(self._addresses), self._community.picture
        return ask(self._target, address, "PUT", path, picture, token=person.token, kind=kind)

    def _scrape(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().status == 200
