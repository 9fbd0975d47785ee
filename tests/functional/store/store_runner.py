"""Runs work on a store, whole or in parts, and checks each visible change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from support.stores.stepping import Actor, Call, Killed, Stepped
from support.stores.store_jobs import Move, RemovePicture
from support.stores.store_requests import Erase, SignIn, Token, Upload, Write
from support.stores.store_work import Work, changed
from support.stores.store_world import EMAILS, World

from persona_profile.store.items import parse_picture_item

MAX_PAUSED = 3
MAX_TOKENS = 6


class Until(NamedTuple):
    """A stopping point: before the n-th call of the store, or the n-th writing call, from here on."""

    number: int
    writes: bool

    def counter(self) -> Callable[[Call], bool]:
        """Return a function that decides for each call whether work stops before it."""
        left = self.number

        def stops(call: Call) -> bool:
            nonlocal left
            if not self.writes or call.method == "apply":
                left -= 1
            return left < 0

        return stops


class How(NamedTuple):
    """The fate of work: it ends, or is paused or killed at a point."""

    kind: str
    until: Until = Until(0, writes=False)


TO_END = How("end")


class Runner:
    """Work on one store, some of it paused between two calls.

    Attributes:
        paused: unfinished work.
        tokens: the latest sessions.
        stale: former states of profiles.
        unclean: emails whose killed writes may have left items behind.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.paused: list[tuple[Work, Actor]] = []
        self.tokens: list[Token] = []
        self.stale: list[str] = ["0" * 16]
        self.unclean: set[str] = set()

    def start(self, work: Work, how: How) -> None:
        """Run work, wholly or partly."""
        if how.kind == "pause":
            while len(self.paused) >= MAX_PAUSED:
                self.go(0)
            self.paused.append((work, Actor(self.world.store, partial(self._watched, work))))
            self.go(-1, how.until)
            return
        backend = Stepped(self.world.store)
        if how.kind == "kill":
            _kill_at(backend, how.until.counter())
        self._end(work, lambda: self._watched(work, backend))

    def go(self, number: int, until: Until | None = None) -> None:
        """Continue paused work up to a point, or to its end."""
        work, actor = self.paused[number]
        stops = until.counter() if until else lambda _call: False
        while not actor.is_done and not stops(actor.call):
            actor.step()
        if actor.is_done:
            del self.paused[number]
            self._end(work, lambda: _result_of(actor))

    def kill(self, number: int) -> None:
        """Kill paused work, so that it gives no answer."""
        work, actor = self.paused.pop(number)
        actor.kill()
        self._leave(work)

    def kill_all(self) -> None:
        """Kill all paused work."""
        for _, actor in self.paused:
            actor.kill()

    def of_kind(self, *kinds: type[Work]) -> list[int]:
        """Return the paused work of some kinds."""
        return [number for number, (work, _) in enumerate(self.paused) if isinstance(work, kinds)]

    def token_of(self, email: str, number: int) -> Token:
        """Return a session of an email, sometimes an ended one; a new one if necessary."""
        found = [
            token
            for token in self.tokens
            if email in token.session.emails and (number % 4 == 0 or self._is_live(token))
        ]
        if not found:
            self.start(SignIn(self.world, self.world.first, [email], None, self.keep), TO_END)
            found = self.tokens[-1:]
        return found[number % len(found)]

    def _is_live(self, token: Token) -> bool:
        is_fresh = token.session.expires_at > 1000 * (self.world.clock.now + 1)
        return is_fresh and all(
            self.world.epoch(email) == epoch for email, epoch in token.epochs.items()
        )

    def keep(self, token: Token) -> None:
        """Remember a session."""
        self.tokens = [*self.tokens, token][-MAX_TOKENS:]

    def is_settled(self, email: str) -> bool:
        """Return whether every write of an email has ended without a kill."""
        writes = [work for work, _ in self.paused if isinstance(work, Write)]
        return email not in self.unclean and all(work.email != email for work in writes)

    def is_removed(self, email: str) -> bool:
        """Return whether no removal and no upload of an email is unfinished."""
        work = [work for work, _ in self.paused if isinstance(work, RemovePicture | Upload)]
        return email not in self.world.half_removed and all(each.email != email for each in work)

    def _watched(self, work: Work, backend: Stepped) -> object:
        """Run work; check the store after each call that may have changed it."""
        backend.after = partial(self._look, work)
        return work.run(backend)

    def _look(self, work: Work, call: Call) -> None:
        """Fail unless the work may make the observed changes."""
        if call.method != "apply":
            return
        before, after = self.world.views, self.world.observe()
        for email in changed(before, after):
            assert work.may_change(email, before[email], after[email])
            self.stale.append(before[email].profile.state)
        if before != after:
            self.world.see(after)

    def _end(self, work: Work, answer: Callable[[], object]) -> None:
        """Check the answer of work."""
        try:
            result = answer()
        except Killed:
            self._leave(work)
        except Exception as error:  # noqa: BLE001 - the work looks at it
            work.rejected(error)
            self._leave(work)
        else:
            work.acknowledged(result)
            if isinstance(work, Erase):
                self.unclean.discard(work.email)
            if isinstance(work, RemovePicture):
                self.world.half_removed.discard(work.email)
            if isinstance(work, Move) and not self.paused:
                self.unclean.clear()
                self._check_tidy()

    def _leave(self, work: Work) -> None:
        if isinstance(work, Write):
            self.unclean.add(work.email)
        if isinstance(work, RemovePicture | Upload):
            self.world.half_removed.add(work.email)

    def _check_tidy(self) -> None:
        """Fail if a finished mover left more than profiles and current pictures."""
        for email in EMAILS:
            found = self.world.data_of(self.world.store, email)
            assert len({partition for partition, _ in found}) <= 1
            pictures = [name for _, name in found if parse_picture_item(name)]
            has_picture = self.world.views[email].profile.picture is not None
            assert len(pictures) == 2 * has_picture


def _kill_at(backend: Stepped, stops: Callable[[Call], bool]) -> None:
    def check(call: Call) -> None:
        if stops(call):
            raise Killed

    backend.before = check


def _result_of(actor: Actor) -> object:
    if actor.error is not None:
        raise actor.error
    return actor.result
