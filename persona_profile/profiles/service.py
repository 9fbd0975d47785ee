"""The profile service: sessions in, profiles out; writes by compare-and-set (see `writer`).

Also without a profile an email may have a `not_before` item until it expires: the instant of the last
sign-out, 8 bytes of milliseconds since 1970 (see `sessions`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from backends import Backend, Conflict
from persona_profile.encoding import timestamp
from persona_profile.errors import (
    NotFound,
    PictureLocked,
    ProfileKeyRequired,
    ProfileNotProtected,
    UnreadableProfile,
)
from persona_profile.images import Rendition
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import EmailProof, Session
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.preconditions import UNCONDITIONAL, Precondition
from persona_profile.profiles.profile_keys import OpenedKeyItem, ProfileKey
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.profiles.repeating import WRITE_PATIENCE_SECONDS, repeated
from persona_profile.profiles.sessions import Vouched, check_not_ended, emails_of, new_session
from persona_profile.profiles.writer import ProfileWriter
from persona_profile.store.homes import Home, Homes
from persona_profile.store.items import PICTURE_ID_BYTES
from persona_profile.store.ledger import Act, Ledger
from persona_profile.store.profile import UNREADABLE, Picture, StoredProfile, open_profile
from persona_profile.store.removals import PictureRemoval, forget_removal, open_removal


class ProfileService:
    """Reads and writes the profiles of emails that a session has proved.

    Every method raises `InvalidSession` if the session was ended. Reads and writes of one profile raise
    `UnreadableProfile` if it does not open, and `ProfileKeyRequired` if it opens only with a key that
    the session does not hold; `erase` needs neither. Writes also raise `PreconditionFailed` if the
    state of the profile is not expected, and `WriteConflict` if others kept writing for
    `write_patience`. Erasures and removals of pictures raise `Unavailable` before they do anything if
    the ledger does not answer.

    Args:
        ledger: records what is removed; None where the ledger itself demands it, after a restore.
        session_lifetime: of a new session, in seconds; at most MAX_SESSION_SECONDS.
        clock: seconds since 1970.
        write_patience: seconds during which a write is repeated while others write to the profile.
    """

    def __init__(
        self,
        backend: Backend,
        homes: Homes,
        keys: KeyWrapper,
        *,
        ledger: Ledger | None,
        session_lifetime: int,
        clock: Callable[[], float] = time.time,
        write_patience: float = WRITE_PATIENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._homes = homes
        self._keys = keys
        self._ledger = ledger
        self._session_lifetime = session_lifetime
        self._clock = clock
        self._writer = ProfileWriter(backend, homes, keys, clock)
        self.write_patience = write_patience

    def open_session(
        self,
        vouched: Sequence[Vouched],
        previous: Session | None = None,
        profile_key: bytes | None = None,
    ) -> tuple[Session, list[StoredProfile]]:
        """Return a session of newly proved and previous emails, and the profiles of all its emails.

        See `new_session`.

        Raises:
            InvalidProof: an email was signed out after its proof was made.
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
        return session, self._open(homes, session.emails, session)

    def profiles(self, session: Session) -> list[StoredProfile]:
        """Return the profiles of all emails of a session, in the order proved, from one read."""
        return self._read(session, session.emails)

    def profile(self, session: Session, email: str) -> StoredProfile:
        """Return the profile of one of the session's emails."""
        [profile] = self._read(session, [email])
        if profile.problem == UNREADABLE:
            raise UnreadableProfile("What is stored for this email can't be read.", retry_after=60)
        if profile.problem is not None:
            raise ProfileKeyRequired(profile.problem)
        return profile

    def check_upload(
        self, session: Session, email: str, precondition: Precondition = UNCONDITIONAL
    ) -> None:
        """Return if a picture would be accepted now; a check before its costly preparation.

        Raises:
            PictureLocked: an operator has locked the address.
        """
        profile = self.profile(session, email)
        precondition.check(profile.state)
        _check_not_locked(profile)

    def sign_out(self, session: Session) -> None:
        """End this session and every earlier session that proved any of its emails.

        After a failure, a repetition goes on with the emails that are left. The session counts as
        ended if all of its emails were signed out before.
        """
        _, signed_out_at = self._homes.find([], session.emails)
        if all(signed_out_at[proof.email] > proof.signed_out_at for proof in session.proofs):
            check_not_ended(session, signed_out_at)
        for proof in session.proofs:
            self._end_sessions(proof)

    @repeated
    def write_claims(
        self,
        session: Session,
        email: str,
        claims: Mapping[str, str | None],
        precondition: Precondition = UNCONDITIONAL,
        *,
        merge: bool = False,
    ) -> StoredProfile:
        """Replace the claims, or `merge` new ones into them; return the new profile.

        A claim that is None is removed.
        """
        before = self._settled(session, email, precondition)
        merged = {**before.document.claims, **claims} if merge else claims
        present = {name: value for name, value in merged.items() if value is not None}
        return self._writer.write(before, replace(before.document, claims=present))

    @repeated
    def write_picture(
        self,
        session: Session,
        email: str,
        renditions: Sequence[Rendition],
        precondition: Precondition = UNCONDITIONAL,
        claims: Mapping[str, str] = MappingProxyType({}),
    ) -> StoredProfile:
        """Replace the picture, all renditions at once, and merge claims; return the new profile.

        Raises:
            PictureLocked: an operator has locked the address.
        """
        before = self._settled(session, email, precondition)
        _check_not_locked(before)
        merged = {**before.document.claims, **claims}
        picture = Picture.of(os.urandom(PICTURE_ID_BYTES), renditions)
        document = replace(before.document, claims=merged, picture=picture)
        written = self._writer.write(before, document, renditions)
        if before.removal is not None:
            self._forget_removal(before)  # its notice ends
        if before.is_blank or len(before.home.partitions) > 1:
            self._check_missed_lock(email)
        return replace(written, removal=None)

    @repeated
    def delete_picture(
        self, session: Session, email: str, precondition: Precondition = UNCONDITIONAL
    ) -> None:
        """Remove the picture, if there is one."""
        before = self._settled(session, email, precondition)
        if before.document.picture is not None:
            with self._recorded(Act.PICTURE_REMOVED, before):
                self._writer.write(before, replace(before.document, picture=None))

    @repeated
    def set_profile_key(
        self,
        session: Session,
        email: str,
        profile_key: bytes | None,
        precondition: Precondition = UNCONDITIONAL,
    ) -> tuple[Session, StoredProfile]:
        """Seal a profile again: it then opens only with the new profile key, or, for None, without one.

        The session holds a previous profile key, if there is one. No earlier key opens the new
        records: the content key is new, and the picture has a new id.

        Returns:
            The session, with the new key if there is one; the profile.
        """
        profile = self._settled(session, email, precondition)
        if profile_key is None and not profile.is_protected:
            return session, profile
        written = self._writer.seal_again(profile, profile_key)
        return replace(session, profile_key=profile_key or session.profile_key), written

    def profile_keys(self, session: Session, email: str) -> Sequence[ProfileKey]:
        """Return the keys that open a profile, the first added first; none if it is not protected."""
        return self.keys_of(self.profile(session, email), session)

    def keys_of(self, profile: StoredProfile, session: Session) -> Sequence[ProfileKey]:
        """Return the keys of a profile that the session has opened."""
        if not profile.is_protected:
            return []
        return OpenedKeyItem.open(profile, self._keys, session.profile_key).profile_keys()

    @repeated
    def add_profile_key(
        self,
        session: Session,
        email: str,
        profile_key: bytes,
        precondition: Precondition = UNCONDITIONAL,
    ) -> tuple[ProfileKey, bool]:
        """Let another key open a protected profile too; see `OpenedKeyItem.with_key`.

        Returns:
            The key; whether it is new.

        Raises:
            ProfileNotProtected: the profile has no key yet.
        """
        before = self._settled(session, email, precondition)
        if not before.is_protected:
            raise ProfileNotProtected("Protect the profile first: set its profile key.")
        opened = OpenedKeyItem.open(before, self._keys, session.profile_key)
        added, key_item = opened.with_key(profile_key, int(1000 * self._clock()))
        if key_item is not None:
            self._writer.write_key_item(before, key_item)
        return added, key_item is not None

    @repeated
    def remove_profile_key(
        self, session: Session, email: str, key_id: bytes, precondition: Precondition = UNCONDITIONAL
    ) -> None:
        """Remove one of several keys of a protected profile; see `OpenedKeyItem.without_key`."""
        before = self._settled(session, email, precondition)
        if not before.is_protected:
            raise NotFound
        opened = OpenedKeyItem.open(before, self._keys, session.profile_key)
        self._writer.write_key_item(before, opened.without_key(key_id))

    @repeated
    def erase(self, session: Session, email: str, precondition: Precondition = UNCONDITIONAL) -> None:
        """Remove everything about an email, readable or not: the profile is blank again.

        The lock of an address stays until it expires.
        """
        [profile] = self._read(session, [email])
        precondition.check(profile.state)
        # Also of a blank profile: an older backup may have another.
        with self._recorded(Act.ERASED, profile):
            # At the versions of the checked state.
            self._homes.erase(profile.home)
        if not profile.is_locked:
            self._forget_removal(profile)

    @repeated
    def _end_sessions(self, proof: EmailProof) -> None:
        self._homes.end_sessions(proof.email, proof.signed_out_at, self._clock())

    def _check_missed_lock(self, email: str) -> None:
        """Remove a new picture whose write has missed a lock.

        The first write of a profile can: others conflict with the removal of a picture. While the index
        key changes every write can, since a lock may move between two reads of different shards. It
        moves once, so a second look finds it. No session is asked: a sign-out since must not make an
        error of what was written.
        """
        [home], _ = self._homes.find([email], [])
        with suppress(Unreadable):
            removal = open_removal(email, home, self._keys)
            if removal is not None and removal.is_locked:
                removals = PictureRemovals(
                    self._backend, self._homes, self._keys, ledger=self._ledger, clock=self._clock
                )
                removals.remove_renditions(email)
                raise _locked(removal)

    def _forget_removal(self, profile: StoredProfile) -> None:
        with suppress(Conflict):  # a removal that has followed stays
            forget_removal(self._backend, profile.home)

    def _read(self, session: Session, emails: Sequence[str]) -> list[StoredProfile]:
        homes, signed_out_at = self._homes.find(emails, session.emails)
        check_not_ended(session, signed_out_at)
        return self._open(homes, emails, session)

    def _open(
        self, homes: Sequence[Home], emails: Sequence[str], session: Session
    ) -> list[StoredProfile]:
        return [
            open_profile(email, home, self._keys, session.profile_key)
            for email, home in zip(emails, homes, strict=True)
        ]

    def _recorded(self, act: Act, profile: StoredProfile) -> AbstractContextManager[None]:
        """Return the entry of an act in the ledger, which is written before the act."""
        if self._ledger is None:
            return nullcontext()
        return self._ledger.recording(act, profile.email, profile.document.updated_at or 0)

    def _settled(self, session: Session, email: str, precondition: Precondition) -> StoredProfile:
        """Return a profile before a write: in an expected state, its items under their usual names."""
        profile = self.profile(session, email)
        if profile.home.move_id is not None:
            self._homes.settle(profile.home.partition, profile.home.move_id)
            profile = self.profile(session, email)
        precondition.check(profile.state)
        return profile


def _check_not_locked(profile: StoredProfile) -> None:
    removal = profile.removal
    if removal is not None and removal.is_locked:
        raise _locked(removal)


def _locked(removal: PictureRemoval) -> PictureLocked:
    return PictureLocked(timestamp(1000 * removal.expires_at), removal.reason or None)
