"""The ledger: erasures and removals of pictures, in a store of its own that no backup contains.

After a restore the ledger shows what was erased since the archive. Its store is opened by the interface
`backends.Backend`, so that several machines can share it. Its partitions, integers big-endian:

    0x00 "ledger"           item `begun`: the ledger's beginning (8)
                            item `seen`: the last time at which a server used it (8)
                            item `key.N`: the ledger key, wrapped under index key N
    0x01 | pseudonym (32)   item `erased` or `picture`: the time of the last such act (8)

Times are milliseconds since 1970. A pseudonym is HMAC-SHA256 of the first byte and the email under the
ledger key, 256 random bits. AES-KWP wraps the ledger key once for each index key, so a rotation carries
all entries by one more wrap. Without an index key nothing shows whose entries these are.

An entry is written before the act, so a crash between both leaves an entry too many, never one too few.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final, NamedTuple

from backends import (
    ABSENT,
    Address,
    Backend,
    BackendError,
    Conflict,
    Delete,
    Item,
    Operation,
    Put,
    Unavailable,
)
from persona_profile.keys.records import KeyRole, RecordKey, hkdf_sha256
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.partitions import read_items, walk_items

HEAD_PARTITION: Final = b"\x00ledger"
ENTRIES: Final = b"\x01"
"""First byte of the partitions of entries."""

_BEGUN: Final = "begun"
_SEEN: Final = "seen"
_KEY_BYTES: Final = 32


class LedgerUnusable(Unavailable):
    """The ledger has no beginning, or its key is under index keys that the keyring lacks."""


class Act(StrEnum):
    """A kind of entry, and the name of its item."""

    ERASED = "erased"
    PICTURE_REMOVED = "picture"


class Span(NamedTuple):
    """The time that a ledger covers, in milliseconds since 1970."""

    begun_at: int
    seen_at: int


class Ledger:
    """Records acts on the data of emails, and finds them again.

    Every method raises `Unavailable` if the ledger does not answer.

    Args:
        backend: the store of the ledger, never the store of the profiles.
        keys: wrap the ledger key.
        keep_seconds: the life of an entry: as long as any older backup is kept.
        makes_schema: whether `begin` initializes the store.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        keep_seconds: int,
        *,
        makes_schema: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._keep_seconds = keep_seconds
        self._makes_schema = makes_schema
        self._clock = clock
        self._is_failing = False

    def begin(self) -> None:
        """Make the ledger key if there is none, wrap it for each index key, and note the time.

        Raises:
            WrongSchema: the store has another schema, or none.
        """
        with self._judged():
            if self._makes_schema:
                self._backend.initialize()
                self._makes_schema = False
            self._backend.check_schema()
            self._open_key()
            put = Put(_SEEN, self._now().to_bytes(8))
            self._backend.apply(HEAD_PARTITION, [put])

    def span(self) -> Span | None:
        """Return the time that the ledger covers; None if it has not begun."""
        items = read_items(self._backend, HEAD_PARTITION, [_BEGUN, _SEEN])
        if _BEGUN not in items:
            return None
        begun = _instant(items[_BEGUN])
        return Span(begun, max(begun, _instant(items.get(_SEEN))))

    @contextmanager
    def recording(self, act: Act, email: str, after: int = 0) -> Iterator[None]:
        """Write an entry, then let the body act. A `Conflict` in the body withdraws the entry.

        Args:
            act: the kind of the entry.
            email: the canonical address.
            after: the time of the last write of what is removed; the entry is no older.

        Raises:
            Conflict: another process records the same act; nothing was done.
        """
        with self._judged():
            partition = self.partition(ENTRIES, email)
            before = read_items(self._backend, partition, [act]).get(act)
            at = max(self._now(), after, _instant(before))
            expiry = -(-at // 1000) + self._keep_seconds
            put = Put(act, at.to_bytes(8), before.version if before else ABSENT, expiry)
            version = self._backend.apply(partition, [put])[act]
        try:
            yield
        except Conflict:
            undo: Operation = Delete(act, version)
            if before is not None:
                undo = Put(act, before.value, version, before.expires_at)
            with suppress(BackendError):  # an entry too many does less harm than a lost error
                self._backend.apply(partition, [undo])
            raise

    def find(self, emails: Sequence[str]) -> Mapping[str, Mapping[Act, int]]:
        """Return the times of acts on emails, in one trip; emails without any are missing."""
        secret = self._open_key(is_new_allowed=False)
        owners = {_pseudonym(secret, ENTRIES, email): email for email in emails}
        addresses = [Address(partition, act) for partition in owners for act in Act]
        found: dict[str, dict[Act, int]] = {}
        for address, item in self._backend.get_many(addresses).items():
            times = found.setdefault(owners[address.partition], {})
            times[Act(address.name)] = _instant(item)
        return found

    def has_since(self, instant: int) -> bool:
        """Return whether there is an entry of this time or later."""
        for partition, items in walk_items(self._backend, list(Act), after=ENTRIES):
            if not partition.startswith(ENTRIES):
                break
            if any(_instant(item) >= instant for item in items.values()):
                return True
        return False

    def partition(self, prefix: bytes, email: str) -> bytes:
        """Return the partition of an email in the ledger; `prefix` is its first byte."""
        return _pseudonym(self._open_key(), prefix, email)

    @property
    def keep_seconds(self) -> int:
        """The life of an entry."""
        return self._keep_seconds

    @property
    def backend(self) -> Backend:
        """The store, in which other records about emails may have partitions of their own."""
        return self._backend

    def record_key(self, info: bytes) -> RecordKey:
        """Return a key for records beside the ledger, derived from the ledger key."""
        return RecordKey(KeyRole.LEDGER, hkdf_sha256(self._open_key(), None, info))

    def carry(self) -> None:
        """Wrap the ledger key for each index key of the keyring."""
        self._open_key()

    def retire(self, version: int) -> None:
        """Let the ledger key under a destroyed index key expire with the archives that need it."""
        name = _key_name(version)
        item = read_items(self._backend, HEAD_PARTITION, [name]).get(name)
        if item is not None and item.expires_at is None:
            expiry = int(self._clock()) + self._keep_seconds
            with suppress(Conflict):  # another process does it
                put = Put(name, item.value, item.version, expiry)
                self._backend.apply(HEAD_PARTITION, [put])

    def purge(self, limit: int) -> int:
        """Delete up to `limit` expired items; return the number of deleted items."""
        return self._backend.purge_expired(limit)

    def ping(self) -> None:
        """Check that the ledger answers; after a failed write, try one."""
        self._backend.ping()
        if self._is_failing:
            self.begin()

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed, without asking the store."""
        return self._is_failing

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Note whether the body, a write, succeeds. `begin` does so every minute."""
        try:
            yield
        except Conflict:
            raise  # the store answered
        except BackendError:
            self._is_failing = True
            raise
        self._is_failing = False

    def close(self) -> None:
        """Close the store of the ledger."""
        self._backend.close()

    def _open_key(self, *, is_new_allowed: bool = True) -> bytes:
        """Return the ledger key, wrapped for each index key of the keyring."""
        names = {version: _key_name(version) for version in self._keys.index_versions}
        while True:
            items = read_items(self._backend, HEAD_PARTITION, [_BEGUN, *names.values()])
            if _BEGUN not in items and not is_new_allowed:
                raise LedgerUnusable("the ledger is empty")
            secret = self._unwrapped(names, items) if _BEGUN in items else os.urandom(_KEY_BYTES)
            puts: list[Operation] = [
                Put(name, self._keys.wrap_by_index(version, secret), ABSENT)
                for version, name in names.items()
                if name not in items
            ]
            if _BEGUN not in items:
                puts.append(Put(_BEGUN, self._now().to_bytes(8), ABSENT))
            try:
                if puts:
                    self._backend.apply(HEAD_PARTITION, puts)
            except Conflict:
                continue  # another process was faster
            return secret

    def _unwrapped(self, names: Mapping[int, str], items: Mapping[str, Item]) -> bytes:
        for version, name in names.items():
            with suppress(Unreadable):
                if name in items:
                    return self._keys.unwrap_by_index(version, items[name].value)
        raise LedgerUnusable("the ledger's key is under index keys that the keyring lacks")

    def _now(self) -> int:
        return int(1000 * self._clock())


def _pseudonym(secret: bytes, prefix: bytes, email: str) -> bytes:
    return prefix + hmac.digest(secret, prefix + email.encode(), "sha256")


def _key_name(version: int) -> str:
    return f"key.{version}"


def _instant(item: Item | None) -> int:
    return int.from_bytes(item.value) if item else 0
