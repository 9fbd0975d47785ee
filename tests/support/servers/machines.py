"""Machines of a service: they share store and keys, and have separate clocks and settings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import webtest
from cryptography.hazmat.primitives.asymmetric import rsa

from backends import Address, Item, Operation, Unavailable
from backends.engines.memory import MemoryBackend
from persona_profile.auth.browserid_keys import public_key_document, sign_jws
from persona_profile.development.identity_provider import read_or_write_key
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from support.clients.identities import AUDIENCE, rsa_key
from support.servers.applications import Clock, application

_numbers = itertools.count()
_stores: dict[str, SharedStore] = {}


class SharedStore(MemoryBackend):
    """A machine's view of a shared store, with its own clock.

    Attributes:
        hook: called before and after each call; it may use the store itself.
        calls_left: writing calls until the store fails; None for no limit.
    """

    def __init__(self, clock: Callable[[], float], of: SharedStore | None = None) -> None:
        super().__init__(clock)
        self.hook: Callable[[], None] | None = None
        self.calls_left: int | None = None
        if of is not None:
            self._lock, self._partitions, self._expiries = of._lock, of._partitions, of._expiries

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        self._step()
        found = super().get_many(addresses)
        self._step()
        return found

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        self._step()
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Unavailable
        versions = super().apply(partition, operations)
        self._step()
        return versions

    def close(self) -> None:
        """Do nothing: the store is shared."""

    def _step(self) -> None:
        hook, self.hook = self.hook, None
        if hook is not None:
            hook()
            self.hook = hook


def open_shared(url: str) -> SharedStore:
    """Return the view of a machine; the setting `backend` names this function."""
    return _stores[url]


class Machine:
    """A machine of a service.

    Args:
        folder: the folder that all machines share.
        beside: a machine with the same store; by default the store is new.
        seconds: the clock's offset to now.
        settings: its own settings as `name__part`.

    Attributes:
        clock: its clock.
        store: its view of the store.
    """

    def __init__(
        self, folder: Path, beside: Machine | None = None, *, seconds: float = 0, **settings: str
    ) -> None:
        self._folder = folder
        keyring = KeyringFile(folder / "keyring.json")
        if not keyring.path.exists():
            keyring.create(Keyring.generate())
        self.clock = Clock((beside.clock.now if beside else time.time()) + seconds)
        self.store = SharedStore(self.clock, beside.store if beside else None)
        name = f"{len(_stores)}"
        _stores[name] = self.store
        app = application(
            folder,
            self.clock,
            backend="support.servers.machines.open_shared",
            backend__url=name,
            keyring__path=str(keyring.path),
            **settings,
        )
        self.app, self.services = app, app.services
        self.site = webtest.TestApp(app, extra_environ={"HTTP_HOST": "127.0.0.1:6543"})

    def beside(self, seconds: float = 0, **settings: str) -> Machine:
        """Return another machine of the service, with a clock `seconds` ahead of this one's."""
        return Machine(self._folder, self, seconds=seconds, **settings)

    def proof(self, email: str, **assertion: Any) -> str:
        """Return a fresh bundle by this machine's clock, with further members of the assertion."""
        return bundle_at(
            self.clock.now, email, read_or_write_key(self._folder / "development-idp.pem"), **assertion
        )

    def open(
        self,
        *emails: str,
        proofs: Sequence[str] = (),
        token: str | None = None,
        status: int = 201,
        **more: Any,
    ) -> Any:
        """Open a session by given bundles and by fresh ones of emails; return the answer's JSON."""
        bundles = [*proofs, *map(self.proof, emails)]
        body = {"proofs": [{"assertion": bundle} for bundle in bundles], **more}
        return self.site.post_json("/v1/sessions", body, headers=bearer(token), status=status).json

    def token(self, *emails: str, token: str | None = None, **more: Any) -> str:
        """Open a session; return its token."""
        return str(self.open(*emails, token=token, **more)["token"])

    def is_alive(self, token: str) -> bool:
        """Return whether a token's session is alive at this machine."""
        answer = self.site.get("/v1/profiles", headers=bearer(token), status="*")
        assert answer.status_int in (200, 401)
        return bool(answer.status_int == 200)

    def sign_out(self, token: str, status: int = 204) -> None:
        """End the sessions of a token's emails."""
        self.site.delete("/v1/sessions", headers=bearer(token), status=status)


def bearer(token: str | None) -> dict[str, str]:
    """Return the headers of a token; none without a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def bundle_at(now: float, email: str, issuer_key: rsa.RSAPrivateKey, **assertion: Any) -> str:
    """Return a bundle of an email's own domain, issued at an instant in seconds since 1970."""
    instant = int(1000 * now)
    user = rsa_key("user")
    certificate = {
        "iss": email.rpartition("@")[2],
        "iat": instant,
        "exp": instant + 3600 * 1000,
        "public-key": public_key_document(user.public_key()),
        "principal": {"email": email},
    }
    claims = {"aud": AUDIENCE, "exp": instant + 120_000, "number": next(_numbers), **assertion}
    return f"{sign_jws(certificate, issuer_key)}~{sign_jws(claims, user)}"
