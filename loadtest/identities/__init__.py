"""People who sign in: emails, keys and certificates of an identity provider of the load test's own.

A folder is made once, before any run, and the server trusts what is in it by one setting:

    python -m loadtest.identities make --users 1000000 --folder DIR
    browserid.pinned_issuers = DIR/pinned-issuers.json

Users share a pool of key pairs: making one takes longer than all that a user does in an hour,
and a server does not care, as it remembers certificates, not keys. Of a certificate only its signature
and its time are kept: the rest is written anew from the user's number. One that was not made yet, or
that lapses soon, is made when it is needed; processes that share the folder share these too.

No assertion is made twice, and whoever holds the folder can sign in as any of its users.
"""

from __future__ import annotations

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
DEFAULT_EMAILS: Final = 2
"""Of each user, as in the capacity model."""

KEY_SHARES: Final[Mapping[str, int]] = {"DS128": 80, "RS256": 20}
"""Of users by the algorithm of their keys, in percent. Assumed: Persona's own client made DS128 keys
for everybody, its successors make RS256. A server may refuse DS128 (`browserid.algorithms`)."""

NEW_CERTIFICATE_SHARE: Final = 0.25
"""Of dialog opens that come with certificates never seen before: each of a user's devices opens a
dialog four times a day (the capacity model), and its certificates last for a day at most."""

POOL_KEYS: Final = 100
CERTIFICATE_LIFE: Final = 24 * 3600
"""Seconds; the longest that servers take."""

CERTIFICATE_RESERVE: Final = 3600
"""A certificate that lapses within so many seconds is made anew."""

CERTIFICATE_AGE: Final = 60
"""Seconds by which a certificate is dated back, in favour of servers whose clock is late."""

ASSERTION_LIFE: Final = 2 * 60
"""Seconds, as Persona's."""

_DSA_BITS: Final = 1024
_RECORD: Final = struct.Struct("<Q256s")
"""Of a certificate: when it was issued (milliseconds since 1970, 0: never), and its signature."""

_DOMAIN: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a few emails.

    Attributes:
        number: from 0.
        emails: in the order in which `Identities.assertions` proves them.
    """

    number: int
    emails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """A user who opens the dialog.

    Attributes:
        user: who.
        new_certificates: whether they are to be made for this visit.
    """

    user: User
    new_certificates: bool


class Identities:
    """The users of a folder; see `make` and `open`."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.domain: Final[str] = facts["domain"]
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
            OSError: it can't be read.
            ValueError: it holds something else.
        """
        try:
            return cls(folder, json.loads((folder / "users.json").read_bytes()))
        except (KeyError, TypeError):
            raise ValueError(f"{folder}: not a folder of identities") from None

    def user(self, number: int) -> User:
        """Return a user.

        Raises:
            ValueError: there is none of that number.
        """
        if not 0 <= number < self.users:
            raise ValueError(f"no user {number}: there are {self.users}")
        emails = (f"user-{number:06d}-{index}@{self.domain}" for index in range(self.emails))
        return User(number, tuple(emails))

    def visits(self, seed: int, worker: int = 0, workers: int = 1) -> Iterator[Visit]:
        """Yield who comes, without end: any of a worker's users, each as likely.

        The same seed gives the same visits; no two of the workers have a user in common.

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

        Args:
            user: who signs in.
            audience: the server's origin.
            new_certificates: make them now, so that no server has seen them before.
        """
        key = self._keys[user.number % len(self._keys)]
        expires_at = int((time.time() + ASSERTION_LIFE) * 1000)
        proofs = []
        for index in range(self.emails):
            certificate = self.certificate(user, index, new=new_certificates)
            # Users share keys: what makes each statement another one is random.
            statement = {"aud": audience, "exp": expires_at, "jti": secrets.token_hex(8)}
            proofs.append(f"{certificate}~{key.jws(json.dumps(statement))}")
        return proofs

    def certificate(self, user: User, index: int, *, new: bool = False) -> str:
        """Return a certificate of one of a user's emails; make it if there is none that lasts."""
        at = (user.number * self.emails + index) * _RECORD.size
        issued_at, signature = _RECORD.unpack_from(self._records, at)
        now = time.time()
        oldest = (now - CERTIFICATE_LIFE + CERTIFICATE_RESERVE) * 1000
        if new or not oldest < issued_at <= now * 1000:
            # Another one than before even within a millisecond; dated back, it is valid at once.
            issued_at = max(int((now - CERTIFICATE_AGE) * 1000), issued_at + 1 if new else 0)
            issued_at = min(issued_at, int(now * 1000))
            signature = self._issuer.sign(self._unsigned(user, index, issued_at).encode("ascii"))
            # The time last: a process that dies in between leaves a certificate that is not there.
            struct.pack_into("<Q", self._records, at, 0)
            self._records[at + 8 : at + _RECORD.size] = signature
            struct.pack_into("<Q", self._records, at, issued_at)
        return f"{self._unsigned(user, index, issued_at)}.{encoded(signature)}"

    def _unsigned(self, user: User, index: int, issued_at: int) -> str:
        key = self._keys[user.number % len(self._keys)]
        payload = (
            f'{{"iss":"{self.domain}","iat":{issued_at},"exp":{issued_at + CERTIFICATE_LIFE * 1000},'
            f'"public-key":{key.document},"principal":{{"email":"{user.emails[index]}"}}}}'
        )
        return self._issuer.unsigned_jws(payload)


def make(
    folder: Path,
    *,
    users: int,
    domain: str = DEFAULT_DOMAIN,
    emails: int = DEFAULT_EMAILS,
    shares: Mapping[str, int] = KEY_SHARES,
    pool: int = POOL_KEYS,
) -> Identities:
    """Make a folder of users, or change how many it has; keys that are there stay. No run may be on.

    The certificates' file takes 264 bytes of disk for each that was made; see `mint`.

    Args:
        folder: is made if it is missing, closed to others.
        users: how many.
        domain: of their emails, in lower case.
        emails: of each.
        shares: of users by algorithm (`DS128`, `RS256`), in percent.
        pool: key pairs that they share.

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
    elif before["domain"] != domain:
        raise ValueError(f"{folder}: its users are at {before['domain']}")
    certificates = folder / "certificates"
    if before is None or before["emails"] != emails:
        certificates.unlink(missing_ok=True)  # another order of records
    _touch_private(certificates)
    os.truncate(certificates, users * emails * _RECORD.size)
    # Last: a folder with it is complete.
    _write(facts, json.dumps({"domain": domain, "users": users, "emails": emails}))
    return Identities.open(folder)


def mint(folder: Path, processes: int = 1, tell: Callable[[int, int], None] = lambda *_: None) -> None:
    """Make every certificate that is missing or lapses soon.

    It can be stopped and goes on where it was.

    Args:
        folder: see `make`.
        processes: that work at once.
        tell: gets how many users are done, of how many.
    """
    count = Identities.open(folder).users
    blocks = [(folder, start, min(start + 1000, count)) for start in range(0, count, 1000)]
    done = 0
    start_anew = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, start_anew) as workers:
        for users in workers.map(_mint_block, blocks):
            done += users
            tell(done, count)


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
    _write(folder / "pinned-issuers.json", json.dumps({domain: support}, indent=2) + "\n")
    keys: list[PrivateKey] = []
    group = dsa.generate_parameters(_DSA_BITS) if shares.get("DS128") else None
    for index in range(pool):
        # Evenly spread, so that any part of the users has the same shares.
        if group and (index + 1) * shares["DS128"] // 100 > index * shares["DS128"] // 100:
            keys.append(group.generate_private_key())
        else:
            keys.append(new_rsa_key())
    _write(folder / "user-keys.json", json.dumps([to_pem(key) for key in keys]), private=True)


def _touch_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _write(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    new.chmod(0o600 if private else 0o644)
    new.replace(path)
