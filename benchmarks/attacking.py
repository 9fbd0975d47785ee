"""One address that attacks: its connections, what it sends, and what it is answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from attack_others import ask, connect
from attack_providers import NICE, attackers_key
from attack_stage import ATTACKER, DOMAIN, ORIGIN, SERVER, Target, be_apart
from support.clients.identities import assertion_claims, certificate_claims, dsa_key

from persona_profile.auth.browserid_keys import sign_jws

CONNECTIONS = 100
EMAILS = tuple(f"mallory{number}@{ATTACKER}" for number in range(20))
ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 0.05


class Attacker:
    """One address (or network) that attacks, over many connections, until it is stopped.

    Args:
        target: what it attacks.
        number: makes its address.
    """

    def __init__(self, target: Target, number: int) -> None:
        self.target, self.number = target, number
        self.address = f"185.12.{number}.1"
        self.network = f"2a01:4f8:c0c::{number:x}"
        self.answers: Counter[str] = Counter()
        self.until = 0.0
        self.token = ""
        self.file = b""
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether it is time to stop."""
        return time.monotonic() >= self.until

    def sign_in(self) -> None:
        """Open a session of all emails of the attacker."""
        body = proofs(EMAILS)
        status, answer = ask(self.target, self.address, "POST", "/v1/sessions", body)
        assert status == 201, answer
        self.token = json.loads(answer)["token"]

    def count(self, answer: str) -> None:
        """Count an answer: a status, or how a connection ended."""
        with self._lock:
            self.answers[answer] += 1

    def repeat(self, requests: Iterator[bytes], source: str = "", server: str = SERVER) -> None:
        """Send requests one after the other, over one connection while it lasts."""
        while not self.is_over:
            try:
                with connect(self.target, source or self.address, ANSWER_SECONDS, server) as wire:
                    while not self.is_over:
                        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                            wire.sendall(next(requests))
                        if not self.answer(wire):
                            break
            except (OSError, http.client.HTTPException) as error:
                self.count(type(error).__name__)
                time.sleep(PAUSE_SECONDS)

    def answer(self, wire: socket.socket) -> bool:
        """Read an answer; return whether the connection goes on."""
        response = http.client.HTTPResponse(wire)
        response.begin()
        response.read()
        self.count(str(response.status))
        return not response.will_close


class Attack(NamedTuple):
    """The actions of one connection, and its row of the table.

    Attributes:
        text: what is sent.
        run: does it until it is over.
        prepare: what is done before, without being measured.
        only: the one target that it concerns, if not both.
        shares_office: others sign in from the same address.
        connections: at once.
    """

    text: str
    run: Callable[[Attacker, int], None]
    prepare: Callable[[Attacker], None] = lambda _attacker: None
    only: str = ""
    shares_office: bool = False
    connections: int = CONNECTIONS


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {DOMAIN}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def proofs(emails: Iterable[str]) -> bytes:
    """Return the body of a sign-in; the proofs hold for domains that publish the attacker's key."""
    key, user = attackers_key(), dsa_key("mallory")
    made = []
    for email in emails:
        certificate = sign_jws(certificate_claims(email, user), key)
        nonce = time.perf_counter_ns()
        assertion = sign_jws(assertion_claims(ORIGIN, nonce=nonce), user)
        made.append({"assertion": f"{certificate}~{assertion}"})
    return json.dumps({"proofs": made}).encode()


def perform(attack: Attack, target: Target, number: int, until, ready, go) -> Counter[str]:
    """Prepare an attack, wait for `go`, attack until the instant `until`; return what was answered.

    It runs at low priority: an attacker's own work belongs to another machine.
    """
    be_apart(NICE)
    attacker = Attacker(target, number)
    attack.prepare(attacker)
    ready.set()
    go.wait()
    attacker.until = until.value
    threads = [
        threading.Thread(target=attack.run, args=(attacker, index), daemon=True)
        for index in range(attack.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, attacker.until - time.monotonic()) + 0.1)
    return attacker.answers
