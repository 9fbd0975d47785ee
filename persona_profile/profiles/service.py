"""The profile service: with `pictures`, the only place where plaintext, keys and storage meet.

An email's home partition (see `homes`) holds, once something was written for it:

- `key`: its wrapped data key, then a record with the email itself, so that it can be indexed anew, and,
  if the profile is protected, its content key (see `key_items`);
- `profile`: a record with the claims, the current picture's description and the times;
- `picture/<id>/<size>.<format>`: one record for each rendition of the current picture.

A key exists if and only if a profile does: both are first written and erased in one batch, and every
later batch names the version of the profile that it replaces. So nothing is ever sealed under a key
that is not stored, and no rendition is left behind.

Whether or not there is a profile, `not_before` may stand there until it expires: the instant of the
last sign-out of the email, 8 bytes of milliseconds since 1970. Each proof of a session names the last
sign-out that it followed, and a later one ends the session: their order depends on no clock.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from backends import ABSENT, Backend, Conflict, Delete, Operation, Put
from persona_profile.errors import ProfileKeyRequired, UnreadableProfile, WriteConflict
from persona_profile.images import Rendition
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.tokens import Session
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.pictures import read_renditions
from persona_profile.profiles.sessions import Vouched, check_not_ended, emails_of, new_session
from persona_profile.store.homes import Home, Homes
from persona_profile.store.items import (
    KEY_ITEM,
    PROFILE_ITEM,
    KeyItem,
    Owner,
    parse_picture_item,
    picture_item,
)
from persona_profile.store.profile import UNREADABLE, Picture, Profile, Stored, open_profile, state_of

WRITE_PATIENCE_SECONDS: Final = 5.0
PICTURE_ID_BYTES: Final = 16

_T = TypeVar("_T")


Precondition = Callable[[Profile], None]
"""Raises PreconditionFailed if a profile is not as the client expects."""


class ProfileService:
    """Reads and writes the profiles of emails that a session has proved.

    Args:
        backend: where sealed items are kept.
        homes: finds them.
        keys: what wraps their keys.
        session_lifetime: seconds for which a new session lasts, at most MAX_SESSION_SECONDS.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        homes: Homes,
        keys: KeyWrapper,
        *,
        session_lifetime: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._homes = homes
        self._keys = keys
        self._session_lifetime = session_lifetime
        self._clock = clock

    def open_session(
        self,
        vouched: Sequence[Vouched],
        previous: Session | None = None,
        profile_key: bytes | None = None,
    ) -> tuple[Session, list[Profile]]:
        """Return a session of emails that were proved just now, and the profiles of all its emails.

        It takes in the emails of a `previous` session with their own proofs, and then ends with that
        one unless all of them were proved again: a proof makes no other email's session longer, and
        protects none from a sign-out. It holds the person's `profile_key`, by default that of the
        previous one.

        Args:
            vouched: the emails; of several for one email the last one counts.
            previous: a session that has not expired.
            profile_key: KEY_BYTES.

        Raises:
            InvalidProof: the email was signed out since the proof was made.
            InvalidSession, Unavailable, KeysUnavailable: see `profiles`.
        """
        emails = emails_of(vouched, previous)
        homes, signed_out_at = self._homes.find(emails, emails)
        session = new_session(
            vouched,
            previous,
            signed_out_at,
            self._clock(),
            lifetime=self._session_lifetime,
            profile_key=profile_key,
            pseudonym=partial(self._keys.pseudonym, "issuer"),
        )
        opened = self._open(homes, session.emails, session)
        return session, [stored.profile for stored in opened]

    def profiles(self, session: Session) -> list[Profile]:
        """Return the profiles of all emails of a session, in its order, from one read.

        Raises:
            InvalidSession: the session was ended.
            Unavailable: the storage does not answer.
            KeysUnavailable: the key service does not answer.
        """
        return [stored.profile for stored in self._read(session, session.emails)]

    def profile(self, session: Session, email: str) -> Profile:
        """Return the profile of one of the session's emails.

        Raises:
            InvalidSession, Unavailable, KeysUnavailable: see `profiles`.
            UnreadableProfile: what is stored does not open.
            ProfileKeyRequired: it opens only with a profile key that the session does not hold.
        """
        return self._readable(session, email).profile

    def sign_out(self, session: Session) -> None:
        """End this and every earlier session that proved any of the session's emails.

        One that failed midway may be repeated: it goes on with the emails that are left.

        Raises:
            InvalidSession: the session was ended, for each of its emails.
            Unavailable: the storage does not answer.
            WriteConflict: others kept signing out for WRITE_PATIENCE_SECONDS.
        """
        _, signed_out_at = self._homes.find([], session.emails)
        if all(signed_out_at[proof.email] > proof.signed_out_at for proof in session.proofs):
            check_not_ended(session, signed_out_at)
        for proof in session.proofs:
            end = partial(self._homes.end_sessions, proof.email, proof.signed_out_at, self._clock())
            self._until_no_conflict(end)

    def write_claims(
        self,
        session: Session,
        email: str,
        change: Callable[[Mapping[str, str]], Mapping[str, str]],
        precondition: Precondition,
    ) -> Profile:
        """Replace the claims by what `change` makes of them; return the new profile.

        Raises:
            InvalidSession, Unavailable, KeysUnavailable, UnreadableProfile, ProfileKeyRequired: see
                `profile`.
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

        def write(profile: Profile) -> tuple[Profile, list[Operation]]:
            operations = [*_picture_deletes(profile), *_picture_puts(picture, renditions)]
            return replace(profile, picture=picture), operations

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

    def set_profile_key(
        self, session: Session, email: str, profile_key: bytes | None, precondition: Precondition
    ) -> tuple[Session, Profile]:
        """Seal a profile anew, so that it opens only with a profile key, or, with none, without.

        The session holds the key that it opens with until now, if any. Nothing that was sealed before
        opens what is sealed now: there is a new content key, and the picture has a new id.

        Returns:
            A session like the given one that holds the new key, if there is one; the profile.

        Raises:
            See `write_claims`.
        """

        def attempt() -> Profile:
            stored = self._settled(session, email)
            precondition(stored.profile)
            if profile_key is None and not stored.profile.is_protected:
                return stored.profile
            return self._protect(stored, profile_key)

        profile = self._until_no_conflict(attempt)
        if profile_key is not None:
            session = replace(session, profile_key=profile_key)
        return session, replace(profile, session=session)

    def erase(self, session: Session, email: str, precondition: Precondition) -> None:
        """Remove everything about an email, readable or not: the profile is blank again.

        Raises:
            See `write_claims`, less UnreadableProfile and ProfileKeyRequired.
        """

        def attempt() -> None:
            [stored] = self._read(session, [email])
            precondition(stored.profile)
            # At the versions that the precondition was checked against.
            self._homes.erase(stored.home)

        self._until_no_conflict(attempt)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _read(self, session: Session, emails: Sequence[str]) -> list[Stored]:
        homes, signed_out_at = self._homes.find(emails, session.emails)
        check_not_ended(session, signed_out_at)
        return self._open(homes, emails, session)

    def _open(self, homes: Iterable[Home], emails: Iterable[str], session: Session) -> list[Stored]:
        owned = zip(homes, emails, strict=True)
        return [open_profile(home, email, session, self._keys) for home, email in owned]

    def _readable(self, session: Session, email: str) -> Stored:
        [stored] = self._read(session, [email])
        if stored.profile.problem == UNREADABLE:
            raise UnreadableProfile("What is stored for this email can't be read.", retry_after=60)
        if stored.profile.problem is not None:
            raise ProfileKeyRequired(stored.profile.problem)
        return stored

    def _settled(self, session: Session, email: str) -> Stored:
        """Return a profile that is to be written, under the usual names."""
        stored = self._readable(session, email)
        if stored.home.move_id is None:
            return stored
        self._homes.settle(stored.home.partition, stored.home.move_id)
        return self._readable(session, email)

    def _write(
        self,
        session: Session,
        email: str,
        change: Callable[[Profile], tuple[Profile, list[Operation]]],
        precondition: Precondition,
    ) -> Profile:
        """Write what `change` makes of the profile as it is, again until nobody was faster."""

        def attempt() -> Profile:
            stored = self._settled(session, email)
            precondition(stored.profile)
            changed, operations = change(stored.profile)
            if stored.key_item is not None:
                return self._store(changed, operations)
            self._homes.reserve(stored.home, self._clock())
            key_item, data_key = KeyItem.create(self._keys, changed.partition, email)
            created = Put(KEY_ITEM, key_item.to_bytes(), ABSENT)
            changed = replace(changed, content_key=data_key)
            return self._store(changed, [created, *operations], key_item)

        return self._until_no_conflict(attempt)

    def _protect(self, stored: Stored, profile_key: bytes | None) -> Profile:
        """Seal a profile under a new content key; without a profile key, under its data key."""
        profile, key_item, home = stored.profile, stored.key_item, stored.home
        created = None
        if key_item is None or home.key is None:
            self._homes.reserve(home, self._clock())
            key_item, data_key = KeyItem.create(self._keys, home.partition, profile.email)
            created = key_item
        else:
            data_key = key_item.data_key(self._keys, home.partition)
        content_key, wrapped = data_key, None
        if profile_key is not None:
            content_key = RecordKey.generate(KeyRole.CONTENT)
            wrapped = data_key.wrap_content_key(profile_key, content_key)
        renditions = [
            Rendition(*described, data)
            for name, data in read_renditions(self._backend, profile).items()
            if (described := parse_picture_item(name)) is not None
        ]
        picture = Picture.of(os.urandom(PICTURE_ID_BYTES), renditions) if renditions else None
        changed = replace(
            profile, picture=picture, content_key=content_key, is_protected=profile_key is not None
        )
        owner = Owner(profile.email, wrapped).seal(data_key)
        put = Put(
            KEY_ITEM,
            replace(key_item, owner=owner).to_bytes(),
            home.key.version if home.key else ABSENT,
        )
        operations = [put, *_picture_deletes(profile), *_picture_puts(picture, renditions)]
        return self._store(changed, operations, created)

    def _store(
        self, changed: Profile, operations: Sequence[Operation], created: KeyItem | None = None
    ) -> Profile:
        """Seal and write a changed profile over the one that was read, in one batch.

        Renditions among the operations are sealed; the `key` item is as it is written.

        Args:
            changed: the profile.
            operations: what else is written.
            created: the `key` item, if it is a new one.

        Raises:
            Conflict: somebody else wrote; or a key under which the profile was made is not primary any
                more, and so may be destroyed by somebody who has not seen it. Nothing is left of it.
        """
        content_key = changed.content_key
        assert content_key is not None
        changed = replace(changed, version=changed.version + 1, updated_at=self._now())
        record = content_key.seal(PROFILE_ITEM, changed.to_bytes())
        batch: list[Operation] = [Put(PROFILE_ITEM, record, changed.stored_version or ABSENT)]
        for operation in operations:
            if isinstance(operation, Put) and operation.name != KEY_ITEM and changed.picture:
                key = content_key.for_picture(changed.picture.id)
                batch.append(replace(operation, value=key.seal(operation.name, operation.value)))
            else:
                batch.append(operation)
        versions = self._backend.apply(changed.partition, batch)
        if created and not self._keys.is_lasting(changed.partition, created.wrapped):
            undo = [Delete(name, version) for name, version in versions.items()]
            self._backend.apply(changed.partition, undo)
            raise Conflict("the keys were replaced meanwhile")
        return replace(changed, stored_version=versions[PROFILE_ITEM], state=state_of(record))

    def _until_no_conflict(self, attempt: Callable[[], _T]) -> _T:
        deadline = None  # from the first conflict on: an attempt that was held up has a second one
        pause = 0.001
        while True:
            try:
                return attempt()
            except Conflict:
                deadline = deadline or time.monotonic() + WRITE_PATIENCE_SECONDS
                if time.monotonic() > deadline:
                    raise WriteConflict("Others are writing to this profile; try again.") from None
                time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, hides nothing
                pause = min(2 * pause, 0.1)


def _picture_deletes(profile: Profile) -> list[Operation]:
    return [Delete(name) for name in profile.picture.item_names()] if profile.picture else []


def _picture_puts(picture: Picture | None, renditions: Iterable[Rendition]) -> list[Operation]:
    if picture is None:
        return []
    return [Put(picture_item(picture.id, each.size, each.format), each.data) for each in renditions]
