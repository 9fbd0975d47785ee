"""The record of operators' acts on people's data, in the store of the ledger.

    0x02 | pseudonym (32)   item `act.<time, 15 digits>.<random, 16 digits>`: a record of that name

An entry is appended before the act, only if its item is absent, and is never changed; it expires after
its retention. The pseudonym is the ledger's. The record is under HKDF-SHA256 of the ledger key, info =
`"persona-profile/acts/v1"` | partition. Its plaintext is `{"act": ..., "reason": ..., "until": ...}`,
padded with spaces to 1,024 bytes. So the store alone shows times, but not of whom, which act, or why.

                            item `lock`: the state of the lock after the last act on it

It is a record of that name under the same key, written in one batch with the act, for restores: the
store of the profiles may lack the lock, or have one that was ended. Its plaintext is `{"email": ...,
"at": ..., "until": ..., "reason": ...}`, padded to 1,536 bytes; `until` is null once the lock was
ended. It lives as long as an entry of the ledger, and as the lock.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from backends import ABSENT, Address, Put, chunks
from persona_profile.encoding import json_encode
from persona_profile.keys.records import RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.store.ledger import Ledger
from persona_profile.store.partitions import walk_items

ACTS: Final = b"\x02"
"""First byte of the partitions of acts."""

UNREADABLE: Final = "unreadable"

_LOCK: Final = "lock"
_PLAINTEXT_BYTES: Final = 1024
_LOCK_BYTES: Final = 1536
_PAGE: Final = 100
_ITEM: Final = re.compile(r"act\.([0-9]{15})\.[0-9a-f]{16}")


class OperatorAct(StrEnum):
    """A kind of act."""

    EXPORTED = "exported"
    ERASED = "erased"
    PICTURE_REMOVED = "picture_removed"
    LOCKED = "picture_locked"
    UNLOCKED = "picture_unlocked"


@dataclass(frozen=True, slots=True)
class RecordedAct:
    """An act on the data of an email.

    Attributes:
        at: milliseconds since 1970.
        act: the kind; UNREADABLE if the entry was altered, or is of another email.
        reason: may be empty.
        until: the end of a lock, in seconds since 1970.
    """

    at: int
    act: str
    reason: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedLock:
    """The state of an email's lock.

    Attributes:
        email: the canonical address.
        at: the time of the last act on the lock, in milliseconds since 1970.
        until: the end of the lock, in seconds since 1970; None if an operator has ended it.
        reason: may be empty.
    """

    email: str
    at: int
    until: int | None
    reason: str


class OperatorActs:
    """Appends acts, and lists those on an email.

    Both methods raise `Unavailable` if the store does not answer.

    Args:
        ledger: has the store, the pseudonyms and the keys.
        keep_seconds: the life of an entry.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        ledger: Ledger,
        keep_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._keep_seconds = keep_seconds
        self._clock = clock

    def append(self, email: str, act: OperatorAct, reason: str = "", until: int | None = None) -> None:
        """Record an act before it is done; `until` is the end of a lock, in seconds since 1970."""
        now = self._clock()
        at = int(1000 * now)
        partition, key = _place(self._ledger, email)
        name = f"act.{at:015}.{secrets.token_hex(8)}"
        plaintext = json_encode({"act": act, "reason": reason, "until": until}).ljust(_PLAINTEXT_BYTES)
        record = key.seal(name, plaintext)
        puts = [Put(name, record, ABSENT, expires_at=int(now) + self._keep_seconds)]
        if act in (OperatorAct.LOCKED, OperatorAct.UNLOCKED):
            state = RecordedLock(email, at, until, reason if until else "")
            record = key.seal(_LOCK, json_encode(asdict(state)).ljust(_LOCK_BYTES))
            expires_at = max(until or 0, int(now) + self._ledger.keep_seconds)
            puts.append(Put(_LOCK, record, expires_at=expires_at))
        self._ledger.backend.apply(partition, puts)

    def of(self, email: str) -> list[RecordedAct]:
        """Return the acts on the data of an email, the oldest first."""
        return acts_on(self._ledger, email)


def acts_on(ledger: Ledger, email: str) -> list[RecordedAct]:
    """Return the acts on the data of an email, the oldest first.

    Raises:
        Unavailable: the store does not answer.
    """
    partition, key = _place(ledger, email)
    names = (info.name for info in ledger.backend.list(partition) if _ITEM.fullmatch(info.name))
    acts = []
    for page in chunks(names, lambda _: 1, _PAGE):
        items = ledger.backend.get_many([Address(partition, name) for name in page])
        acts += [_opened(key, address.name, item.value) for address, item in sorted(items.items())]
    return acts


def locks_since(ledger: Ledger, instant: int) -> Iterator[RecordedLock | None]:
    """Generate the locks that were made or ended at a time or later; None for what does not open.

    Raises:
        Unavailable: the store does not answer.
    """
    for partition, items in walk_items(ledger.backend, [_LOCK], after=ACTS):
        if not partition.startswith(ACTS):
            break
        if _LOCK in items:
            key = _key(ledger, partition)
            try:
                lock = RecordedLock(**json.loads(key.open(_LOCK, items[_LOCK].value)))
            except (Unreadable, ValueError, TypeError):
                yield None
            else:
                if lock.at >= instant:
                    yield lock


def _place(ledger: Ledger, email: str) -> tuple[bytes, RecordKey]:
    partition = ledger.partition(ACTS, email)
    return partition, _key(ledger, partition)


def _key(ledger: Ledger, partition: bytes) -> RecordKey:
    return ledger.record_key(b"persona-profile/acts/v1" + partition)


def _opened(key: RecordKey, name: str, record: bytes) -> RecordedAct:
    at = int(name.split(".")[1])
    try:
        document = json.loads(key.open(name, record))
        return RecordedAct(at, document["act"], document["reason"], document.get("until"))
    except (Unreadable, ValueError, LookupError, TypeError, AttributeError):
        return RecordedAct(at, UNREADABLE, "")
