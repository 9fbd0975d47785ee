"""DNS of the attacked machine's network, and email verification tokens of domains in it.

The resolver of the service knows good domains, and domains of an attacker, whose servers fail in each
way there is, or answer at length.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from functools import cache

import dns.flags
import dns.message
import dns.rcode
from attack_stage import ATTACKER, CACHED, DIALOG, be_apart
from support.forgeries.email_tokens import proof
from support.servers.dns import (
    Answer,
    DnsServer,
    chain,
    code,
    dns_server,
    garbage,
    of_another_question,
    over_tcp_alone,
    silent,
    truncated,
    txt,
)
from support.servers.openid import edwards, public

ADDRESS = "127.0.0.1"
PORT = 53
MAIL = tuple(f"mail{number}.org" for number in range(4000))
"""Domains of good people; CACHED is the issuer of all."""

METADATA_PATH, KEYS_PATH = "/.well-known/email-verification", "/jwks"

_PREFIX = "_email-verification."
_RECORD = f"iss={ATTACKER}".encode()
_LONG = (_RECORD, *(b"%03d" % number + b"x" * 250 for number in range(40)))

_changes = itertools.count()


def _changing(query: dns.message.Message, transport: str) -> bytes | None:
    """Answer with another record each time, to be kept for no time."""
    records = (b"iss=other%d.net" % next(_changes), _RECORD)
    return txt(records[next(_changes) % 2], ttl=0)(query, transport)


def _own_issuer(query: dns.message.Message, transport: str) -> bytes | None:
    """Name the domain itself as issuer, whose host is looked up then."""
    name = str(query.question[0].name)
    return txt(f"iss={name.removeprefix(_PREFIX).rstrip('.')}".encode())(query, transport)


_HOSTLESS = "hostless"
_FAILURES: dict[str, Answer] = {
    _HOSTLESS: _own_issuer,
    "silent": silent,
    "servfail": code(dns.rcode.SERVFAIL),
    "tcpsilent": over_tcp_alone(silent),
    "truncated": truncated,
    "loop": chain(3, is_loop=True),
    "endless": chain(100, _RECORD),
    "garbage": garbage,
    "question": of_another_question(_RECORD),
    "liar": txt(_RECORD, name=f"{_PREFIX}{CACHED}."),
}
_ANSWERS: dict[str, Answer] = {"long": txt(*_LONG), "chain": chain(10, _RECORD), "changing": _changing}
_KIND = re.compile(rf"({'|'.join((*_FAILURES, *_ANSWERS))})[0-9]+\.net")


def _domains(kinds: Iterable[str], count: int) -> tuple[str, ...]:
    """Return registrable domains of the attacker, of one kind after the other."""
    return tuple(f"{kind}{number}.net" for number in range(count) for kind in kinds)


FAILING = _domains(_FAILURES, 100)
ANSWERING = _domains(_ANSWERS, 2000)


class _Zones(DnsServer):
    """All zones. Answers are made once for each name, except those that change."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[tuple[str, str], bytes | None] = {}

    def zone(self, name: str) -> Answer:
        """Return the answer of a name by its form."""
        domain = name.removeprefix(_PREFIX)
        if domain in _GOOD:
            return txt(f"iss={CACHED}".encode())
        match = _KIND.fullmatch(domain)
        if not match:
            return super().zone(name)
        return (_FAILURES | _ANSWERS)[match[1]] if domain != name else silent

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the answer to a query, which differs from others of its name by its id alone."""
        key = wire[2:].hex(), transport
        if key not in self._made:
            made = super().answer(wire, transport)
            if b"changing" in wire:
                return made
            self._made[key] = made
        known = self._made[key]
        return known and wire[:2] + known[2:]


_GOOD = frozenset(MAIL)


def serve_dns() -> None:
    """Serve DNS until this process is ended."""
    be_apart()
    with dns_server(_Zones(), PORT) as server:
        server.stopping.wait()


def good_signer():
    """Return the key of the good domains' issuer."""
    return edwards("good issuer")


def attackers_signer():
    """Return the key of the attacker's issuer."""
    return edwards("attacker's issuer")


@cache
def documents(host: str) -> dict[str, bytes]:
    """Return the documents of an issuer of tokens by path."""
    key = attackers_signer() if host == ATTACKER else good_signer()
    metadata = {"jwks_uri": f"https://{host}{KEYS_PATH}"}
    keys = {"keys": [public(key, None)]}
    return {METADATA_PATH: json.dumps(metadata).encode(), KEYS_PATH: json.dumps(keys).encode()}


def _token(email: str, nonce: str) -> str:
    """Return a token of the issuer of an email's domain."""
    domain = email.rpartition("@")[2]
    issuer, key = (CACHED, good_signer()) if domain in _GOOD else (ATTACKER, attackers_signer())
    if domain.startswith(_HOSTLESS):
        issuer = domain
    return proof(nonce, email=email, iss=issuer, key=key, header={"kid": ""}, kb_aud=DIALOG)


def tokens(emails: Iterable[str], nonce: str) -> bytes:
    """Return the body of a sign-in by tokens that have one nonce."""
    return json.dumps({"proofs": [{"evt": _token(each, nonce)} for each in emails]}).encode()
