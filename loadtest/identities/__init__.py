"""The users of the load test: emails, keys and certificates of its own identity provider.

A folder is made once, before any run; the server trusts it by one setting:

    python -m loadtest.identities make --users 1000000 --folder DIR
    browserid.pinned_issuers = DIR/pinned-issuers.json

Users share a pool of key pairs: making a pair takes longer than an hour of a user's requests, and
servers cache certificates, not keys. The folder has only the time and signature of a certificate: the
rest follows from the user's number. Missing or expiring certificates are made on demand, for all
processes that share the folder.

No assertion is made twice. Anybody with the folder can sign in as any of its users.
"""

from __future__ import annotations

import ipaddress
import json
import mmap
import multiprocessing
import os
import random
import re
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import dsa

from loadtest.identities.keys import (
    ALGORITHMS,
    PrivateKey,
    UserKey,
    encoded,
    from_pem,
    new_rsa_key,
    public_key_document,
    to_pem,
)

DEFAULT_DOMAIN: Final = "loadtest.example"
ISSUERS: Final = 10
"""Identity providers of a folder, each with a domain of its own, all with one key. Servers share
picture workers fairly between providers: one alone would never get the last worker. Assumed: equally
many emails of each."""

NETWORKS: Final = ipaddress.IPv4Network("198.18.0.0/15")
"""The addresses of users: for benchmarks (RFC 2544)."""

DEFAULT_EMAILS: Final = 2
"""Of each user, as in the capacity model."""

KEY_SHARES: Final[Mapping[str, int]] = {"DS128": 80, "RS256": 20}
"""Users by the algorithm of their keys, in percent. Assumed: Persona's client made DS128 keys, its
successors make RS256. A server may reject DS128 (`browserid.algorithms`)."""

NEW_CERTIFICATE_SHARE: Final = 0.25
"""Share of dialogs with new certificates: each device opens a dialog four times a day (the capacity
model), and its certificates last for a day at most."""

POOL_KEYS: Final = 100
CERTIFICATE_LIFE: Final = 24 * 3600
"""Seconds; the longest that servers accept."""

CERTIFICATE_RESERVE: Final = 3600
"""A certificate that expires within so many seconds is replaced."""

CERTIFICATE_AGE: Final = 60
"""Seconds by which a certificate is dated back, for servers whose clock is late."""

ASSERTION_LIFE: Final = 2 * 60
"""Seconds, as Persona's."""

_DSA_BITS: Final = 1024
_RECORD: Final = struct.Struct("<Q256s")
"""A certificate's time of issue (milliseconds since 1970, 0: never) and signature."""

_DOMAIN: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")


@dataclass(frozen=True, slots=True)
class User:
    """A user and the emails, in the order in which `Identities.assertions` proves them."""

    number: int
    emails: tuple[str, ...]

    @property
    def address(self) -> str:
        """The IP address, for a server that trusts the generator as its proxy."""
        return str(NETWORKS[self.number % NETWORKS.num_addresses])


@dataclass(frozen=True, slots=True)
class Visit:
    """A user's opening of the dialog, and whether certificates are made for it."""

    user: User
    new_certificates: bool


class Identities:
    """The users of a folder; see `make` and `open`."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.domain: Final[str] = facts["domain"]
        if facts["issuers"] != ISSUERS:
            raise KeyError("issuers")
        self.users: Final[int] = facts["users"]
        self.emails: Final[int] = facts["emails"]
        self._issuer = UserKey(from_pem((folder / "identity-provider.pem").read_text("ascii")))
        pems = json.loads((folder / "user-keys.json").read_bytes())
        self._keys = [UserKey(from_pem(pem)) for pem in pems]
        with (folder / "certificates").open("r+b") as file:
            self._records = mmap.mmap(file.fileno(), self.users * self.emails * _RECORD.size)

    @classmethod
    def open(cls, folder: Path) -> Identities:
        """Return the users of a folder that `make` has made.

        Raises:
            OSError: the folder can't be read.
            ValueError: it is no folder of identities.
        """
        try:
            return cls(folder, json.loads((folder / "users.json").read_bytes()))
        except (KeyError, TypeError):
            raise ValueError(
                f"{folder}: not a folder of identities of this version; remove it"
            ) from None

    def user(self, number: int) -> User:
        """Return a user.

        Raises:
            ValueError: there is no user of that number.
        """
        if not 0 <= number < self.users:
            raise ValueError(f"no user {number}: there are {self.users}")
        emails = (
            f"user-{number:06d}-{index}@{issuer_of(number, index, self.domain)}"
            for index in range(self.emails)
        )
        return User(number, tuple(emails))

    def visits(self, seed: int, worker: int = 0, workers: int = 1) -> Iterator[Visit]:
        """Yield visits without end, of a worker's users with equal probability.

        The same seed gives the same visits; no two workers have a user in common.

        Raises:
            ValueError: there is no such worker, or no user for it.
        """
        if not 0 <= worker < min(workers, self.users):
            raise ValueError(f"no worker {worker} of {workers} for {self.users} users")
        own = range(worker, self.users, workers)
        draws = random.Random(f"{seed} {worker} {workers}")  # noqa: S311 - no secret

        def endless() -> Iterator[Visit]:
            while True:
                user = self.user(own[draws.randrange(len(own))])
                yield Visit(user, draws.random() < NEW_CERTIFICATE_SHARE)

        return endless()

    def newcomers(self, worker: int = 0, workers: int = 1) -> Iterator[User]:
        """Yield each of a worker's users once, in order."""
        return (self.user(number) for number in range(worker, self.users, workers))

    def assertions(self, user: User, audience: str, *, new_certificates: bool = False) -> list[str]:
        """Return a proof for each of a user's emails, good for two minutes and for one use.

        No server has seen new certificates.
        """
        key = self._keys[user.number % len(self._keys)]
        expires_at = int((time.time() + ASSERTION_LIFE) * 1000)
        proofs = []
        for index in range(self.emails):
            certificate = self.certificate(user, index, new=new_certificates)
            # Users share keys: a random value makes each assertion unique.
            statement = {"aud": audience, "exp": expires_at, "jti": secrets.token_hex(8)}
            proofs.append(f"{certificate}~{key.jws(json.dumps(statement))}")
        return proofs

    def certificate(self, user: User, index: int, *, new: bool = False) -> str:
        """Return a certificate of a user's email; make it if there is none that lasts."""
        at = (user.number * self.emails + index) * _RECORD.size
        issued_at, signature = _RECORD.unpack_from(self._records, at)
        now = time.time()
        oldest = (now - CERTIFICATE_LIFE + CERTIFICATE_RESERVE) * 1000
        if new or not oldest < issued_at <= now * 1000:
            # It differs from the last one even within a millisecond; dated back, it is valid at once.
            issued_at = max(int((now - CERTIFICATE_AGE) * 1000), issued_at + 1 if new else 0)
            issued_at = min(issued_at, int(now * 1000))
            signature = self._issuer.sign(self._unsigned(user, index, issued_at).encode("ascii"))
            # The time is written last: if the process dies before, there is no certificate.
            struct.pack_into("<Q", self._records, at, 0)
            self._records[at + 8 : at + _RECORD.size] = signature
            struct.pack_into("<Q", self._records, at, issued_at)
        return f"{self._unsigned(user, index, issued_at)}.{encoded(signature)}"

    def _unsigned(self, user: User, index: int, issued_at: int) -> str:
        key = self._keys[user.number % len(self._keys)]
        issuer = issuer_of(user.number, index, self.domain)
        payload = (
            f'{{"iss":"{issuer}","iat":{issued_at},"exp":{issued_at + CERTIFICATE_LIFE * 1000},'
            f'"public-key":{key.document},"principal":{{"email":"{user.emails[index]}"}}}}'
        )
        return self._issuer.unsigned_jws(payload)


def issuer_of(number: int, index: int, domain: str) -> str:
    """Return the identity provider of a user's email: the domain of the email."""
    return f"provider-{(number + index) % ISSUERS}.{domain}"


def make(
    folder: Path,
    *,
    users: int,
    domain: str = DEFAULT_DOMAIN,
    emails: int = DEFAULT_EMAILS,
    shares: Mapping[str, int] = KEY_SHARES,
    pool: int = POOL_KEYS,
) -> Identities:
    """Make a folder of users, or change their number and keep the keys; not during a run.

    A certificate uses 264 bytes on disk; see `mint`. Only its owner can read a new folder. Shares are
    percent of users by algorithm; the pool is the number of key pairs.

    Raises:
        ValueError: an argument is wrong, or the folder has another domain.
        OSError: the folder can't be used.
    """
    if users < 1 or not 1 <= emails <= 20 or not _DOMAIN.fullmatch(domain):
        raise ValueError(
            "users and emails (at most 20) are whole numbers from 1, a domain is lower case"
        )
    if sum(shares.values()) != 100 or not shares.keys() <= set(ALGORITHMS) or pool < 1:
        raise ValueError("the shares of DS128 and RS256 add up to 100 percent")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder / "users.json"
    before = json.loads(facts.read_bytes()) if facts.exists() else None
    if before is None:
        _make_keys(folder, domain, shares, pool)
    elif before.get("issuers") != ISSUERS:
        raise ValueError(f"{folder}: its users are of another version; remove it")
    elif before["domain"] != domain:
        raise ValueError(f"{folder}: its users are at {before['domain']}")
    certificates = folder / "certificates"
    if before is None or before["emails"] != emails:
        certificates.unlink(missing_ok=True)  # another order of records
    certificates.touch(0o600)
    os.truncate(certificates, users * emails * _RECORD.size)
    # Last: a folder with it is complete.
    document = {"domain": domain, "issuers": ISSUERS, "users": users, "emails": emails}
    _write(facts, json.dumps(document))
    return Identities.open(folder)


def mint(
    folder: Path, processes: int = 1, report: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Make all certificates that are missing or expire soon.

    An interrupted call can be repeated and continues. `report` is called with the number of finished
    and of all users.
    """
    count = Identities.open(folder).users
    blocks = [(folder, start, min(start + 1000, count)) for start in range(0, count, 1000)]
    done = 0
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawned) as workers:
        for users in workers.map(_mint_block, blocks):
            done += users
            report(done, count)


_opened: dict[Path, Identities] = {}


def _mint_block(block: tuple[Path, int, int]) -> int:
    folder, start, end = block
    if folder not in _opened:
        _opened[folder] = Identities.open(folder)
    identities = _opened[folder]
    for number in range(start, end):
        user = identities.user(number)
        for index in range(identities.emails):
            identities.certificate(user, index)
    return end - start


def _make_keys(folder: Path, domain: str, shares: Mapping[str, int], pool: int) -> None:
    issuer = new_rsa_key()
    _write(folder / "identity-provider.pem", to_pem(issuer), private=True)
    support = {"public-key": public_key_document(issuer)}
    pinned = {issuer_of(number, 0, domain): support for number in range(ISSUERS)}
    _write(folder / "pinned-issuers.json", json.dumps(pinned, indent=2) + "\n")
    keys: list[PrivateKey] = []
    group = dsa.generate_parameters(_DSA_BITS) if shares.get("DS128") else None
    for index in range(pool):
        # Evenly spread, so that any part of the users has the same shares.
        if group and (index + 1) * shares["DS128"] // 100 > index * shares["DS128"] // 100:
            keys.append(group.generate_private_key())
        else:
            keys.append(new_rsa_key())
    _write(folder / "user-keys.json", json.dumps([to_pem(key) for key in keys]), private=True)


def _write(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    new.chmod(0o600 if private else 0o644)
    new.replace(path)
