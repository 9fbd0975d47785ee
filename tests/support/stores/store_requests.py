"""The work of people: sign-ins, sign-outs and writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from backends import Backend
from persona_profile.errors import (
    InvalidSession,
    PictureLocked,
    PreconditionFailed,
    WriteConflict,
)
from persona_profile.keys.tokens import Session
from persona_profile.profiles.preconditions import UNCONDITIONAL, Precondition
from persona_profile.profiles.sessions import Vouched
from support.stores.store_work import Work
from support.stores.store_world import BLANK, ISSUER, PROFILE_KEY, Seen, View, renditions_of


@dataclass
class Token:
    """A session as the model knows it.

    Attributes:
        text: the bearer token.
        session: which it is.
        epochs: for each email, how many sign-outs of it had been seen when it was proved.
    """

    text: str
    session: Session
    epochs: dict[str, int]


@dataclass
class Write(Work):
    """A write of one profile, perhaps with `If-Match`."""

    errors = PreconditionFailed, InvalidSession, WriteConflict

    email: str
    token: Token
    tag: str | None
    value: str
    undoes: Seen | None = field(default=None, init=False)

    def run(self, backend: Backend) -> object:
        session = replace(self.machine.tokens.open(self.token.text), profile_key=PROFILE_KEY)
        return self.write(backend, session)

    def write(self, backend: Backend, session: Session) -> object:
        raise NotImplementedError

    def expected(self, before: Seen) -> Seen:
        """Return the profile after the write, without its new state and number."""
        raise NotImplementedError

    @property
    def precondition(self) -> Precondition:
        return UNCONDITIONAL if self.tag is None else Precondition(if_match=frozenset({self.tag}))

    def may_change(self, email: str, before: View, after: View) -> bool:
        if email != self.email or before.mark != after.mark:
            return False
        if before[2:] != after[2:]:
            return self.may_forget_removal(before, after)
        is_rotated = self.ring is not self.world.keyring
        if self.commits == 1 and is_rotated and after.profile == self.undoes:
            self.commits = 0  # it was made under a key that was replaced meanwhile
            return True
        self.commits += 1
        self.undoes = before.profile
        return (
            self.tag in (None, before.profile.state)
            and (self.commits == 1 or is_rotated)
            and is_made(self.expected(before.profile), before.profile, after.profile)
        )

    def may_forget_removal(self, before: View, after: View) -> bool:
        """Return whether the write may end the notice of a removal."""
        return False

    def acknowledged(self, result: object) -> None:
        if self.commits == 0:
            # Nothing was to be done at some instant.
            assert any(
                self.is_done(view.profile) and self.tag in (None, view.profile.state)
                for view in self.window(self.email)
            )

    def rejected(self, error: BaseException) -> None:
        super().rejected(error)
        assert self.commits == 0 or self.ring is not self.world.keyring
        if isinstance(error, PreconditionFailed):
            assert self.tag is not None
            assert any(view.profile.state != self.tag for view in self.window(self.email))

    def is_done(self, profile: Seen) -> bool:
        """Return whether the write would not change a profile."""
        return False


class Edit(Write):
    """Changes one claim."""

    def write(self, backend, session):
        claims = {self.claim: self.value}
        return self.machine.profiles(backend).write_claims(
            session, self.email, claims, self.precondition, merge=True
        )

    @property
    def claim(self) -> str:
        return "name" if len(self.value) % 2 else "nickname"

    def expected(self, before):
        claims = {**dict(before.claims), self.claim: self.value}
        return before._replace(claims=tuple(sorted(claims.items())))


class Upload(Write):
    """Replaces the picture, unless the email is locked."""

    errors = (*Write.errors, PictureLocked)

    def write(self, backend, session):
        renditions = renditions_of(self.value.encode())
        return self.machine.profiles(backend).write_picture(
            session, self.email, renditions, self.precondition
        )

    def expected(self, before):
        return before._replace(picture=self.value.encode())

    def may_change(self, email, before, after):
        mine = before.profile._replace(picture=None)
        if before.is_locked and before.profile.picture == self.value.encode():
            return after == before._replace(profile=mine)  # the first upload has missed the lock
        is_settled = before.is_locked and email not in self.world.half_removed
        if is_settled and before.profile != BLANK:
            return False
        return super().may_change(email, before, after)

    def may_forget_removal(self, before, after):
        ends = not before.is_locked and before.profile.picture == self.value.encode()
        return ends and after == before._replace(removal="")

    def rejected(self, error):
        if isinstance(error, PictureLocked):
            assert any(view.is_locked for view in self.window(self.email))
        else:
            super().rejected(error)


class Remove(Write):
    """Removes the picture."""

    def write(self, backend, session):
        return self.machine.profiles(backend).delete_picture(session, self.email, self.precondition)

    def expected(self, before):
        return before._replace(picture=None)

    def is_done(self, profile):
        return profile.picture is None


class Erase(Write):
    """Erases the profile."""

    def write(self, backend, session):
        return self.machine.profiles(backend).erase(session, self.email, self.precondition)

    def expected(self, before):
        return BLANK

    def may_forget_removal(self, before, after):
        return not before.is_locked and after == before._replace(removal="")

    def is_done(self, profile):
        return profile == BLANK


class Protect(Write):
    """Seals the profile with a profile key."""

    def write(self, backend, session):
        return self.machine.profiles(backend).set_profile_key(
            session, self.email, PROFILE_KEY, self.precondition
        )

    def expected(self, before):
        return before._replace(is_protected=True)


class Unprotect(Write):
    """Seals the profile without one again."""

    def write(self, backend, session):
        return self.machine.profiles(backend).set_profile_key(
            session, self.email, None, self.precondition
        )

    def expected(self, before):
        return before._replace(is_protected=False)

    def is_done(self, profile):
        return not profile.is_protected


WRITES: Sequence[type[Write]] = Edit, Upload, Remove, Erase, Protect, Unprotect


def is_made(expected: Seen, before: Seen, after: Seen) -> bool:
    """Return whether a profile is the expected one, whose state and number are new."""
    if expected == BLANK:
        return after == BLANK
    numbered = expected._replace(version=before.version + 1, state=after.state)
    return after == numbered and after.state not in (BLANK.state, before.state)


@dataclass
class SignIn(Work):
    """Opens a session of emails, and of those of an older session."""

    errors = (InvalidSession,)

    emails: Sequence[str]
    older: Token | None
    keep: Callable[[Token], None]

    def run(self, backend: Backend) -> object:
        older = self.machine.tokens.open(self.older.text) if self.older else None
        return self.machine.profiles(backend).open_session(self.vouched(), older)

    def vouched(self) -> list[Vouched]:
        """Return the emails as authenticators vouch for them."""
        return [Vouched(email, ISSUER) for email in self.emails]

    def acknowledged(self, result: object) -> None:
        session, profiles = result
        epochs = {}
        for proof in session.proofs:
            marks = {view.mark for view in self.window(proof.email)}
            if proof.email in self.emails:
                assert proof.signed_out_at in marks
                epochs[proof.email] = self.world.epoch(proof.email, proof.signed_out_at)
            else:
                epochs[proof.email] = self.older.epochs[proof.email]
        for profile in profiles:
            if profile.problem is None:
                states = {view.profile.state for view in self.window(profile.email)}
                assert profile.state in states
        self.keep(Token(self.machine.tokens.seal(session), session, epochs))


@dataclass
class SignOut(Work):
    """Ends the sessions of a session's emails."""

    errors = InvalidSession, WriteConflict

    token: Token

    def run(self, backend: Backend) -> object:
        session = self.machine.tokens.open(self.token.text)
        return self.machine.profiles(backend).sign_out(session)

    def may_change(self, email: str, before: View, after: View) -> bool:
        return (
            email in self.token.session.emails
            and after.profile == before.profile
            and after.mark > before.mark
        )

    def acknowledged(self, result: object) -> None:
        for proof in self.token.session.proofs:
            assert self.world.epoch(proof.email) > self.token.epochs[proof.email]
