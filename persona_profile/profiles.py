"""The profile service: with `pictures`, the only place where plaintext, keys and storage meet.

An email's partition holds, once something was written for it:

- `key`: its wrapped data key, then a record with the email itself, so that it can be indexed anew;
- `profile`: a record with the claims, the current picture's description and the times;
- `picture/<id>/<size>.<format>`: one record for each rendition of the current picture.

A key exists if and only if a profile does: both are first written and erased in one batch, and every
later batch names the version of the profile that it replaces. So nothing is ever sealed under a key
that is not stored, and no rendition is left behind.

Whether or not there is a profile, `not_before` may stand there until it expires: the instant at which
sessions of the email were ended, 8 bytes of milliseconds since 1970.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from backends import ABSENT, Address, Backend, Conflict, Delete, Item, Operation, Put
from persona_profile.encoding import json_encode
from persona_profile.errors import InvalidSession, UnreadableProfile, WriteConflict
from persona_profile.images import Rendition
from persona_profile.keywrap import WRAPPED_KEY_BYTES, KeyWrapper, Unreadable
from persona_profile.model import (
    KEY_ITEM,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    Picture,
    Profile,
    picture_item,
)
from persona_profile.tokens import Session

WRITE_PATIENCE_SECONDS: Final = 5.0
PICTURE_ID_BYTES: Final = 16

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

Precondition = Callable[[Profile], None]
"""Raises PreconditionFailed if a profile is not as the client expects."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A profile with the data key that opens it; no key while the profile is blank."""

    profile: Profile
    data_key: bytes | None


class ProfileService:
    """Reads and writes the profiles of emails that a session has proved.

    Args:
        backend: where sealed items are kept.
        keys: what seals them.
        session_lifetime: seconds after which any session has expired.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        *,
        session_lifetime: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._session_lifetime = session_lifetime
        self._clock = clock

    def open_session(
        self, emails: Iterable[str], previous: Session | None
    ) -> tuple[Session, list[Profile]]:
        """Return a session of emails that were proved just now, and the profiles of all its emails.

        It takes in the emails of a `previous` session, and then ends with that one unless all of
        them were proved again: a proof makes no other email's session longer.

        Raises:
            InvalidSession, Unavailable: see `profiles`.
        """
        now = self._now()
        proved = list(emails)
        older = previous.emails if previous else ()
        session = Session(
            emails=tuple(dict.fromkeys([*older, *proved])),
            issued_at=now,
            expires_at=now + 1000 * self._session_lifetime,
        )
        items, partitions = self._fetch(session, session.emails)
        signed_out_at = [_sign_out_instant(items, partition) for partition in partitions.values()]
        if previous is not None:
            _check_not_ended(previous, items, partitions)
            if not set(previous.emails) <= set(proved):
                session = replace(session, expires_at=previous.expires_at)
        # Another machine's clock may be ahead: a new session is younger than the last sign-out.
        session = replace(session, issued_at=max(now, 1 + max(signed_out_at)))
        opened = (self._open_profile(items, *owner) for owner in partitions.items())
        return session, [stored.profile for stored in opened]

    def profiles(self, session: Session) -> list[Profile]:
        """Return the profiles of all emails of a session, in its order, from one read.

        Raises:
            InvalidSession: the session was ended.
            Unavailable: the storage does not answer.
        """
        return [stored.profile for stored in self._read(session, session.emails)]

    def profile(self, session: Session, email: str) -> Profile:
        """Return the profile of one of the session's emails.

        Raises:
            InvalidSession, Unavailable: see `profiles`.
            UnreadableProfile: what is stored does not open.
        """
        return self._readable(session, email).profile

    def sign_out(self, session: Session) -> None:
        """End this and every earlier session that proved any of the session's emails.

        Raises:
            InvalidSession, Unavailable: see `profiles`.
        """
        self._read(session, session.emails)
        now = self._now()
        mark = Put(
            NOT_BEFORE_ITEM,
            now.to_bytes(8),
            expires_at=now // 1000 + self._session_lifetime + 1,
        )
        for email in session.emails:
            self._backend.apply(self._keys.partition(email), [mark])

    def write_claims(
        self,
        session: Session,
        email: str,
        change: Callable[[Mapping[str, str]], Mapping[str, str]],
        precondition: Precondition,
    ) -> Profile:
        """Replace the claims by what `change` makes of them; return the new profile.

        Raises:
            InvalidSession, Unavailable, UnreadableProfile: see `profile`.
            PreconditionFailed: by the precondition.
            WriteConflict: others kept writing for WRITE_PATIENCE_SECONDS.
        """

        def write(profile: Profile) -> tuple[Profile, list[Operation]]:
            return replace(profile, claims=change(profile.claims)), []

        return self._write(session, email, write, precondition)

    def write_picture(
        self,
        session: Session,
        email: str,
        renditions: Sequence[Rendition],
        precondition: Precondition,
    ) -> Profile:
        """Replace the picture, all renditions at once; return the new profile.

        Raises:
            See `write_claims`.
        """
        picture = Picture.of(os.urandom(PICTURE_ID_BYTES), renditions)
        puts = [Put(picture_item(picture.id, each.size, each.format), each.data) for each in renditions]

        def write(profile: Profile) -> tuple[Profile, list[Operation]]:
            return replace(profile, picture=picture), [*_picture_deletes(profile), *puts]

        return self._write(session, email, write, precondition)

    def delete_picture(self, session: Session, email: str, precondition: Precondition) -> None:
        """Remove the picture; that there is none is no error.

        Raises:
            See `write_claims`.
        """
        profile = self.profile(session, email)
        precondition(profile)
        if profile.picture is not None:

            def write(current: Profile) -> tuple[Profile, list[Operation]]:
                return replace(current, picture=None), _picture_deletes(current)

            self._write(session, email, write, precondition)

    def erase(self, session: Session, email: str, precondition: Precondition) -> None:
        """Remove everything about an email, readable or not: the profile is blank again.

        Raises:
            See `write_claims`, less UnreadableProfile.
        """
        partition = self._keys.partition(email)

        def attempt() -> None:
            [stored] = self._read(session, [email])
            precondition(stored.profile)
            # Expecting each version, so that a picture that comes at this instant is not left over.
            deletes = [
                Delete(info.name, info.version)
                for info in self._backend.list(partition)
                if info.name != NOT_BEFORE_ITEM
            ]
            if deletes:
                self._backend.apply(partition, deletes)

        self._until_no_conflict(attempt)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _fetch(
        self, session: Session, emails: Sequence[str]
    ) -> tuple[Mapping[Address, Item], dict[str, bytes]]:
        """Fetch profiles, and when sessions of any of the session's emails were ended, in one trip."""
        partitions = {email: self._keys.partition(email) for email in session.emails}
        addresses = [Address(partition, NOT_BEFORE_ITEM) for partition in partitions.values()]
        for email in emails:
            addresses += (
                Address(partitions[email], KEY_ITEM),
                Address(partitions[email], PROFILE_ITEM),
            )
        return self._backend.get_many(addresses), partitions

    def _read(self, session: Session, emails: Sequence[str]) -> list[_Stored]:
        items, partitions = self._fetch(session, emails)
        _check_not_ended(session, items, partitions)
        return [self._open_profile(items, email, partitions[email]) for email in emails]

    def _readable(self, session: Session, email: str) -> _Stored:
        [stored] = self._read(session, [email])
        if not stored.profile.readable:
            raise UnreadableProfile("What is stored for this email can't be read.", retry_after=60)
        return stored

    def _open_profile(self, items: Mapping[Address, Item], email: str, partition: bytes) -> _Stored:
        key_item = items.get(Address(partition, KEY_ITEM))
        profile_item = items.get(Address(partition, PROFILE_ITEM))
        if key_item is None and profile_item is None:
            return _Stored(Profile(email), None)
        try:
            if key_item is None or profile_item is None:
                raise Unreadable  # noqa: TRY301 - half a profile is as good as a damaged one
            data_key = self._keys.unwrap(partition, key_item.value[:WRAPPED_KEY_BYTES])
            plaintext = self._keys.open(data_key, PROFILE_ITEM, profile_item.value)
        except Unreadable:
            logger.error("unreadable profile in partition %s", partition.hex())  # noqa: TRY400
            version = profile_item.version if profile_item else None
            return _Stored(Profile(email, stored_version=version, readable=False), None)
        return _Stored(Profile.from_bytes(plaintext, email, profile_item.version), data_key)

    def _write(
        self,
        session: Session,
        email: str,
        change: Callable[[Profile], tuple[Profile, list[Operation]]],
        precondition: Precondition,
    ) -> Profile:
        """Write what `change` makes of the profile as it is, again until nobody was faster."""
        partition = self._keys.partition(email)

        def attempt() -> Profile:
            stored = self._readable(session, email)
            precondition(stored.profile)
            changed, operations = change(stored.profile)
            changed = replace(changed, version=changed.version + 1, updated_at=self._now())
            return self._store(partition, stored, changed, operations)

        return self._until_no_conflict(attempt)

    def _store(
        self, partition: bytes, stored: _Stored, changed: Profile, operations: list[Operation]
    ) -> Profile:
        """Seal and write a changed profile over the one that was read, in one batch."""
        batch: list[Operation] = []
        data_key = stored.data_key
        if data_key is None:
            data_key = self._keys.new_data_key()
            owner = self._keys.seal(data_key, KEY_ITEM, json_encode({"email": changed.email}))
            batch.append(Put(KEY_ITEM, self._keys.wrap(partition, data_key) + owner, ABSENT))
        record = self._keys.seal(data_key, PROFILE_ITEM, changed.to_bytes())
        batch.append(Put(PROFILE_ITEM, record, stored.profile.stored_version or ABSENT))
        for operation in operations:
            if isinstance(operation, Put):
                sealed = self._keys.seal(data_key, operation.name, operation.value)
                batch.append(replace(operation, value=sealed))
            else:
                batch.append(operation)
        versions = self._backend.apply(partition, batch)
        return replace(changed, stored_version=versions[PROFILE_ITEM])

    def _until_no_conflict(self, attempt: Callable[[], _T]) -> _T:
        deadline = time.monotonic() + WRITE_PATIENCE_SECONDS
        pause = 0.001
        while True:
            try:
                return attempt()
            except Conflict:
                if time.monotonic() > deadline:
                    raise WriteConflict("Others are writing to this profile; try again.") from None
                time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, hides nothing
                pause = min(2 * pause, 0.1)


def _picture_deletes(profile: Profile) -> list[Operation]:
    return [Delete(name) for name in profile.picture.item_names()] if profile.picture else []


def _sign_out_instant(items: Mapping[Address, Item], partition: bytes) -> int:
    """Return when the sessions of an email were last ended, in milliseconds since 1970, or 0."""
    mark = items.get(Address(partition, NOT_BEFORE_ITEM))
    return int.from_bytes(mark.value) if mark else 0


def _check_not_ended(
    session: Session, items: Mapping[Address, Item], partitions: Mapping[str, bytes]
) -> None:
    if any(
        session.issued_at <= _sign_out_instant(items, partitions[email]) for email in session.emails
    ):
        raise InvalidSession("session_revoked", "This session was signed out.")
