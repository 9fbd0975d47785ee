"""A store of sealed profiles in memory, and ways to damage it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from backends import Address, Backend, Delete, Put
from backends.engines.memory import MemoryBackend
from persona_profile.images import Rendition
from persona_profile.keys.keyring import Key, Keyring, KeyState
from persona_profile.keys.records import RecordKey
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.profiles.service import ProfileService
from persona_profile.store.homes import Homes
from persona_profile.store.items import KEY_ITEM, KeyItem
from persona_profile.store.ledger import Ledger
from persona_profile.store.maintenance.partition_check import Finding
from persona_profile.store.maintenance.verification import Verification, Verified
from persona_profile.store.profile import StoredProfile
from support.clients.sessions import session_of

ALICE, BOB, CAROL = "alice@example.com", "bob@example.org", "carol@example.net"
FOREVER = session_of(ALICE, BOB, CAROL)
FORMATS = {
    "avif": b"\x00\x00\x00\x1cftypavif",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
    "jpeg": b"\xff\xd8\xff\xe0",
}


def key(version: int, state: KeyState = KeyState.PRIMARY) -> Key:
    """Return a key whose bytes are its version."""
    return Key(version, state, bytes([version]) * 32)


def renditions(bulk: int = 200) -> list[Rendition]:
    """Return renditions of about `bulk` bytes each, of which only the first bytes are real."""
    return [
        Rendition(size, name, start + bytes(bulk))
        for size in (64, 512)
        for name, start in FORMATS.items()
    ]


@dataclass
class Store:
    """A store in memory, and ways to damage it."""

    keyring: Keyring
    backend: Backend = field(default_factory=MemoryBackend)

    def __post_init__(self) -> None:
        self.keys = KeyWrapper(self.keyring)
        self.homes = Homes(self.backend, self.keys, 3600)
        clock = getattr(self.backend, "_clock", time.time)
        self.ledger = Ledger(MemoryBackend(clock), self.keys, 35 * 24 * 3600, clock=clock)
        self.profiles = ProfileService(
            self.backend, self.homes, self.keys, ledger=self.ledger, session_lifetime=3600, clock=clock
        )
        self.removals = PictureRemovals(self.backend, self.homes, self.keys, ledger=None, clock=clock)
        self.pictures_service = PictureService(
            self.backend, self.homes, self.keys, url_window=3600, clock=clock
        )

    def write(self, email: str, name: str = "N") -> StoredProfile:
        """Write a profile."""
        return self.profiles.write_claims(FOREVER, email, {"name": name})

    def put_picture(self, email: str, bulk: int = 200) -> StoredProfile:
        """Write a picture."""
        return self.profiles.write_picture(FOREVER, email, renditions(bulk))

    def get(self, email: str, name: str) -> bytes:
        """Return the value of an item."""
        address = Address(self.keys.partition(email), name)
        return self.backend.get_many([address])[address].value

    def put(self, email: str, name: str, value: bytes) -> None:
        """Write an item past the service."""
        self.backend.apply(self.keys.partition(email), [Put(name, value)])

    def delete(self, email: str, *names: str) -> None:
        """Remove items past the service."""
        self.backend.apply(self.keys.partition(email), [Delete(name) for name in names])

    def seal(self, email: str, name: str, plaintext: bytes) -> None:
        """Write an item that opens, past the service."""
        self.put(email, name, self.data_key(email).seal(name, plaintext))

    def data_key(self, email: str) -> RecordKey:
        """Return an email's data key."""
        return self.key_item(email).data_key(self.keys, self.keys.partition(email))

    def key_item(self, email: str) -> KeyItem:
        """Return the `key` item of an email."""
        return KeyItem.parse(self.get(email, KEY_ITEM), self.keys)

    def pictures(self, email: str) -> list[str]:
        """Return the names of the stored renditions."""
        partition = self.keys.partition(email)
        return [info.name for info in self.backend.list(partition) if "/" in info.name]

    def verify(self) -> tuple[list[Finding], Verified]:
        """Return the findings and the result of verification."""
        findings: list[Finding] = []
        return findings, Verification(self.backend, self.keys, findings.append).run()

    def only_finding(self) -> tuple[str, str, str]:
        """Return kind, email and item of the only finding."""
        [finding], verified = self.verify()
        assert verified.findings == {finding.kind: 1}
        emails = {self.keys.partition(email): email for email in (ALICE, BOB, CAROL)}
        return finding.kind, emails.get(finding.partition, finding.partition), finding.item


def fill(backend: Backend, keys: KeyWrapper, profiles: int) -> None:
    """Write the profiles of other people."""
    service = ProfileService(
        backend, Homes(backend, keys, 3600), keys, ledger=None, session_lifetime=3600
    )
    for number in range(profiles):
        email = f"absent{number}@example.com"
        session = session_of(email)
        service.write_claims(session, email, {"name": "absent"})
