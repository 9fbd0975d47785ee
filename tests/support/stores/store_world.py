"""A service for a model checker: two machines, one store, keyrings, clocks, and views of emails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from backends import Address, Backend, ItemInfo
from backends.copying.transfer import walk
from persona_profile.images import Rendition
from persona_profile.keys.keyring import Key, KeyKind, Keyring, KeyState
from persona_profile.keys.tokens import Session, SessionTokens
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import MAX_SESSION_SECONDS
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.homes import Homes, is_profile
from persona_profile.store.items import KEY_ITEM, NOT_BEFORE_ITEM, REMOVAL_ITEM, Moving
from persona_profile.store.maintenance.partition_check import Finding, FindingKind
from persona_profile.store.maintenance.verification import Verification
from persona_profile.store.partitions import USED_PROOF_PREFIX
from persona_profile.store.profile import BLANK_STATE, StoredProfile
from support.servers.applications import Clock

ALICE, BOB = EMAILS = "alice@example.com", "bob@example.org"
PROFILE_KEY = b"p" * 32
ISSUER = "issuer.example"
START = 1_800_000_000.0
SESSION_SECONDS = MAX_SESSION_SECONDS
FORWARD_SECONDS = 2 * 24 * 3600
"""By default: longer than a backup may stand still, which finds moved profiles by their forwards."""
LOCK_SECONDS = 2 * 24 * 3600
PURGE_SECONDS = 3600
"""How far the clock of a machine that purges may be ahead."""
JPEG = b"\xff\xd8\xff\xe0"
WEBP = b"RIFF\x00\x00\x00\x00WEBP"


class Seen(NamedTuple):
    """A profile as people see it.

    Attributes:
        claims: names and values.
        picture: the bytes of its rendition in JPEG.
        is_protected: whether it opens only with a profile key.
        version: its number.
        state: what an entity tag holds.
    """

    claims: tuple[tuple[str, str], ...] = ()
    picture: bytes | None = None
    is_protected: bool = False
    version: int = 0
    state: str = BLANK_STATE


BLANK = Seen()


class View(NamedTuple):
    """An email as people see it.

    Attributes:
        profile: the profile.
        mark: the last sign-out in milliseconds since 1970.
        removal: the reason of an operator's removal of the picture; empty without one.
        is_locked: whether no picture is accepted.
    """

    profile: Seen = BLANK
    mark: int = 0
    removal: str = ""
    is_locked: bool = False


Views = Mapping[str, View]


@dataclass
class Machine:
    """A machine of the service: a keyring of its own, and a clock that is ahead by some seconds."""

    keyring: Keyring
    clock: Callable[[], float]
    keys: KeyWrapper = field(init=False)

    def __post_init__(self) -> None:
        self.keys = KeyWrapper(self.keyring)
        self.tokens = SessionTokens(self.keys)

    def use(self, keyring: Keyring) -> None:
        """Go on with another keyring."""
        self.keyring = keyring
        self.keys.use(keyring)

    def homes(self, backend: Backend) -> Homes:
        """Return the homes behind a backend."""
        return Homes(backend, self.keys, FORWARD_SECONDS)

    def profiles(self, backend: Backend) -> ProfileService:
        """Return the profile service on a backend."""
        homes = self.homes(backend)
        return ProfileService(
            backend, homes, self.keys, ledger=None, session_lifetime=SESSION_SECONDS, clock=self.clock
        )

    def removals(self, backend: Backend) -> PictureRemovals:
        """Return the operators' removals of pictures on a backend."""
        homes = self.homes(backend)
        return PictureRemovals(backend, homes, self.keys, ledger=None, clock=self.clock)

    def pictures(self, backend: Backend) -> PictureService:
        """Return the picture service on a backend."""
        homes = self.homes(backend)
        return PictureService(backend, homes, self.keys, url_window=10**8, clock=self.clock)

    def observe(self, backend: Backend) -> Views:
        """Return all emails as a person with the profile key sees them."""
        session, profiles = self.read(backend)
        marks = {proof.email: proof.signed_out_at for proof in session.proofs}
        return {
            profile.email: View(
                _seen(self.pictures(backend), profile),
                marks[profile.email],
                profile.removal.reason if profile.removal else "",
                profile.is_locked,
            )
            for profile in profiles
        }

    def read(self, backend: Backend) -> tuple[Session, list[StoredProfile]]:
        """Return a new session of all emails, and their profiles."""
        vouched = [Vouched(email, ISSUER) for email in EMAILS]
        return self.profiles(backend).open_session(vouched, None, PROFILE_KEY)

    def findings(self, backend: Backend) -> list[Finding]:
        """Return the findings of verification, without marks and removals under an older keyring."""
        findings: list[Finding] = []
        Verification(backend, self.keys, findings.append).run()
        return [each for each in findings if not self._is_late_mark(backend, each)]

    def _is_late_mark(self, backend: Backend, finding: Finding) -> bool:
        return (
            finding.kind is FindingKind.UNKNOWN_PARTITION
            and finding.partition[0] < self.keys.index_versions[0]
            and {info.name for info in backend.list(finding.partition)}
            <= {NOT_BEFORE_ITEM, REMOVAL_ITEM}
        )


class World:
    """A store with two machines before it, of which the second may have an older keyring.

    Args:
        make_store: makes an empty store that takes the time from a clock.

    Attributes:
        clock: of the first machine and of the store; the second machine's is 0.9 s ahead.
        store: the store.
        monotonic: seconds for leases.
        history: the views since the beginning, one for each change.
        removed_at: the earliest begin of operators' removals, by their reasons.
        half_removed: emails whose picture may outlive a lock, until a removal of it has ended.
        unlocked: the index in the history at the last begin of an unlock, by email.
    """

    def __init__(self, make_store: Callable[[Clock], Backend]) -> None:
        self.clock = Clock(START)
        self.store = make_store(self.clock)
        self.monotonic = 0.0
        ring = _fixed(Keyring.generate(self.now()))
        self.first = Machine(ring, self.clock)
        self.second = Machine(ring, lambda: self.clock.now + 0.9)
        self.history: list[Views] = [dict.fromkeys(EMAILS, View())]
        self.marks: dict[str, list[int]] = {email: [] for email in EMAILS}
        self.expired = dict.fromkeys(EMAILS, 0)
        self.index_versions = {1}
        self.removed_at: dict[str, float] = {}
        self.half_removed: set[str] = set()
        self.unlocked = dict.fromkeys(EMAILS, -1)

    @property
    def machines(self) -> tuple[Machine, Machine]:
        """Both machines."""
        return self.first, self.second

    @property
    def views(self) -> Views:
        """The emails as they were seen last."""
        return self.history[-1]

    @property
    def keyring(self) -> Keyring:
        """The newest keyring."""
        return self.first.keyring

    @property
    def in_step(self) -> bool:
        """Whether both machines have the same keyring."""
        return self.first.keyring is self.second.keyring

    def now(self) -> datetime:
        """Return the time as keyrings note it."""
        return datetime.fromtimestamp(self.clock.now, UTC)

    def retired_kinds(self) -> list[KeyKind]:
        """Return the kinds of keys of which an older one is left beside the primary one."""
        ring = self.keyring
        return [kind for kind in KeyKind if len(ring.live(kind)) > 1 and not ring.pending(kind)]

    def share_keyring(self) -> None:
        """Give the newest keyring to the second machine."""
        self.second.use(self.keyring)

    def sleep(self, seconds: float) -> None:
        """Let time pass for leases."""
        self.monotonic += seconds

    def use(self, keyring: Keyring) -> None:
        """Give a keyring to the first machine, where operators work."""
        fixed = _fixed(keyring)
        self.first.use(fixed)
        self.index_versions |= {key.version for key in fixed.live(KeyKind.INDEX)}

    def observe(self) -> Views:
        """Return the views of both machines; fail if they differ."""
        views = self.first.observe(self.store)
        assert self.second.observe(self.store) == views
        return views

    def see(self, views: Views) -> None:
        """Take notice of a change."""
        for email, view in views.items():
            if view.mark != self.views[email].mark:
                self.marks[email].append(view.mark)
        self.history.append(views)

    def wait(self, seconds: int) -> None:
        """Let time pass; it only expires marks, whose sessions have expired before, and removals."""
        self.clock.now += seconds
        views = self.observe()
        for email, (profile, mark, removal, is_locked) in views.items():
            before = self.views[email]
            assert profile == before.profile
            if (removal, is_locked) != before[2:]:
                assert (removal, is_locked) == ("", False)
                assert self.removed_at[before.removal] + LOCK_SECONDS <= self.clock.now + PURGE_SECONDS
            if mark != before.mark:
                assert mark == 0
                assert before.mark / 1000 + MAX_SESSION_SECONDS < self.clock.now
                self.expired[email] = len(self.marks[email])
        self.history.append(views)

    def epoch(self, email: str, mark: int | None = None) -> int:
        """Return how many sign-outs of an email were seen, or were when a mark was the last one."""
        if mark is None:
            return len(self.marks[email])
        return self.marks[email].index(mark) + 1 if mark else self.expired[email]

    def partitions(self, email: str) -> list[bytes]:
        """Return all partitions that an email ever had."""
        return [_partition(email, version) for version in sorted(self.index_versions)]

    def listing(self, backend: Backend, email: str) -> dict[bytes, list[ItemInfo]]:
        """Return the listings of an email's partitions."""
        return {each: list(backend.list(each)) for each in self.partitions(email)}

    def data_of(self, backend: Backend, email: str) -> dict[tuple[bytes, str], bytes]:
        """Return all items with data of a profile, without marks, forwards and claims."""
        found = {}
        for partition, infos in self.listing(backend, email).items():
            addresses = [
                Address(partition, each.name)
                for each in infos
                if each.name not in (NOT_BEFORE_ITEM, REMOVAL_ITEM)
            ]
            for address, item in backend.get_many(addresses).items():
                moving = Moving.parse(item.value) if address.name == KEY_ITEM else None
                holds_copy = moving is not None and bool(moving.key_item)
                if address.name != KEY_ITEM or holds_copy or is_profile({KEY_ITEM: item}):
                    found[tuple(address)] = item.value
        return found

    def strangers(self, backend: Backend) -> list[bytes]:
        """Return partitions of no email."""
        known = {each for email in EMAILS for each in self.partitions(email)}
        return [
            each
            for each in walk(backend)
            if each not in known and not each.startswith(USED_PROOF_PREFIX)
        ]


def renditions_of(picture: bytes) -> list[Rendition]:
    """Return renditions that consist of their first bytes and some bytes of a name."""
    return [Rendition(64, "jpeg", JPEG + picture), Rendition(512, "webp", WEBP + picture)]


def _seen(pictures: PictureService, profile: StoredProfile) -> Seen:
    """Return a profile as it is seen; fail if anything of it does not open."""
    assert profile.problem is None
    picture = None
    if profile.document.picture is not None:
        found = pictures.all_renditions(profile)
        picture = found["64.jpeg"].removeprefix(JPEG)
        assert found == {f"{each.size}.{each.format}": each.data for each in renditions_of(picture)}
    claims = tuple(sorted(profile.document.claims.items()))
    return Seen(claims, picture, profile.is_protected, profile.document.version, profile.state)


@cache
def _partition(email: str, version: int) -> bytes:
    ring = Keyring([_key(KeyKind.ENCRYPTION, 1)], [_key(KeyKind.INDEX, version)])
    return KeyWrapper(ring).partition(email)


@cache
def _key(kind: KeyKind, version: int) -> Key:
    return Key(version, KeyState.PRIMARY, f"{kind[0]}{version:031}".encode())


def _fixed(keyring: Keyring) -> Keyring:
    """Return a keyring with the same secrets in every run, so that partitions have the same order."""
    return Keyring(
        *(
            [
                Key(key.version, key.state, key.secret and _key(kind, key.version).secret, key.notes)
                for key in keyring.keys(kind)
            ]
            for kind in KeyKind
        )
    )
