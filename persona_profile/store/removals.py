"""The item of an operator's removal of a picture, in every partition of the email.

It holds the reason for the owner, and may lock the address: no picture is accepted until the item
expires. It belongs to the address: it needs no profile, stays when the profile is erased, and opens by
a key of its own, never by the person's. Integers are big-endian:

    removal     wrapped removal key | removal record
    plaintext   0x01 | 0x01 of a lock, else 0x00 (1) | removed at, in milliseconds since 1970 (8)
                | expires at, in seconds since 1970 (8) | length of the email (1) | email in UTF-8, then
                zeros (254) | length of the reason (2) | reason in UTF-8, then zeros (800)

Every plaintext has the same length. The email is there as a new index key needs it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from backends import Backend, Delete, Put
from persona_profile.emails import MAX_BYTES
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.homes import Home
from persona_profile.store.items import REMOVAL_ITEM

MAX_REASON_CHARACTERS: Final = 200

_FORMAT = 1
_REMOVAL = struct.Struct(f">BBQQB{MAX_BYTES}sH{4 * MAX_REASON_CHARACTERS}s")


@dataclass(frozen=True, slots=True)
class PictureRemoval:
    """A removal of an email's picture by an operator.

    Attributes:
        email: the canonical address.
        removed_at: milliseconds since 1970.
        expires_at: seconds since 1970; the end of the lock, or of the notice to the owner.
        is_locked: whether no picture is accepted until then.
        reason: for the owner; may be empty.
    """

    email: str
    removed_at: int
    expires_at: int
    is_locked: bool
    reason: str = ""

    @classmethod
    def open(cls, value: bytes, keys: KeyWrapper, partition: bytes) -> PictureRemoval:
        """Return the removal in the value of an item.

        Raises:
            Unreadable: the item is of another partition or altered, or its KEK was destroyed.
        """
        wrapped, record = keys.split(value)
        key = RecordKey(KeyRole.REMOVAL, keys.unwrap(partition, wrapped))
        plaintext = key.open(REMOVAL_ITEM, record)
        try:
            _, locked, removed_at, expires_at, length, email, reason_length, reason = _REMOVAL.unpack(
                plaintext
            )
            removal = cls(
                email[:length].decode("utf-8"),
                removed_at,
                expires_at,
                bool(locked),
                reason[:reason_length].decode("utf-8"),
            )
        except (struct.error, UnicodeDecodeError):
            raise Unreadable from None
        if removal._to_bytes() != plaintext:
            raise Unreadable
        return removal

    def seal(self, keys: KeyWrapper, partition: bytes) -> bytes:
        """Return the value of the item in a partition, under a new key."""
        key = RecordKey.generate(KeyRole.REMOVAL)
        return keys.wrap(partition, key.secret) + key.seal(REMOVAL_ITEM, self._to_bytes())

    def put(self, keys: KeyWrapper, partition: bytes) -> Put:
        """Return the operation that writes the item, over an earlier removal."""
        return Put(REMOVAL_ITEM, self.seal(keys, partition), expires_at=self.expires_at)

    def _to_bytes(self) -> bytes:
        email, reason = self.email.encode("utf-8"), self.reason.encode("utf-8")
        return _REMOVAL.pack(
            _FORMAT,
            self.is_locked,
            self.removed_at,
            self.expires_at,
            len(email),
            email,
            len(reason),
            reason,
        )


def open_removal(email: str, home: Home, keys: KeyWrapper) -> PictureRemoval | None:
    """Return the removal of an email's picture; None if there is none.

    Raises:
        Unreadable: it does not open, or is of another email.
    """
    if not home.removals:
        return None
    partition, item = home.removals[0]
    removal = PictureRemoval.open(item.value, keys, partition)
    if removal.email != email:
        raise Unreadable
    return removal


def forget_removal(backend: Backend, home: Home) -> None:
    """Delete the removal of an email's picture that was found with its home; a lock ends with it.

    Raises:
        Conflict: another removal has followed it.
    """
    # The newest last: it is read first, so a repetition after a failure finds what is left.
    for partition, item in reversed(home.removals):
        backend.apply(partition, [Delete(REMOVAL_ITEM, item.version)])
