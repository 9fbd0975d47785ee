"""Signing out ends the sessions that people saw opened before it, and no other ones.

Machines have clocks of their own; races are driven by hooks at every call of the storage.
"""

from __future__ import annotations

import itertools

import pytest
from support.machines import Machine, bearer

ALICE, BOB, EVE = "alice@example.com", "bob@example.net", "eve@example.org"
CLOCKS = [-1200.0, -0.9, 0.0, 0.9, 1200.0]
"""How far another machine's clock is ahead in seconds; the documentation allows one."""


@pytest.fixture
def home(tmp_path) -> Machine:
    """A machine with an empty store."""
    return Machine(tmp_path)


class TestOrder:
    @pytest.mark.parametrize("seconds", CLOCKS)
    def test_sessions_before_it_end(self, home, seconds):
        """Whichever machine opened a session, a sign-out at any machine ends it."""
        other = home.beside(seconds)
        for opener, ender in ((home, other), (other, home)):
            own, stolen = ender.token(ALICE), opener.token(ALICE, BOB)
            ender.sign_out(own)
            assert not any(
                machine.is_alive(token) for machine in (home, other) for token in (own, stolen)
            )

    @pytest.mark.parametrize("seconds", CLOCKS)
    def test_sessions_after_it_live(self, home, seconds):
        """A person who has signed out at one machine signs in again at another at once."""
        other = home.beside(seconds)
        for opener, ender in ((home, other), (other, home)):
            ender.sign_out(ender.token(ALICE))
            token = opener.token(ALICE)
            assert opener.is_alive(token)
            assert ender.is_alive(token)

    def test_again_and_again(self, home):
        """Sign-outs within one instant each end what came before, also by clocks that are behind."""
        machines = itertools.cycle([home.beside(0.9), home.beside(-0.9), home])
        previous = []
        for machine, _ in zip(machines, range(12), strict=False):
            token = machine.token(ALICE)
            assert machine.is_alive(token)
            assert not any(map(machine.is_alive, previous))
            machine.sign_out(token)
            previous.append(token)


class TestMerging:
    @pytest.mark.parametrize("seconds", CLOCKS)
    def test_a_merge_outlives_nothing(self, home, seconds):
        """A thief who has added an email of their own to a stolen session loses it all the same."""
        other = home.beside(seconds)
        stolen = other.token(ALICE)
        merged = other.token(EVE, token=stolen)
        home.sign_out(home.token(ALICE))
        assert not any(map(other.is_alive, (stolen, merged)))
        other.open(EVE, token=merged, status=401)

    @pytest.mark.parametrize("seconds", [-0.9, 0.9])
    def test_at_every_step(self, home, seconds):
        """A thief who merges at every step of a sign-out has no session of the email afterwards."""
        thief = home.beside(seconds)
        tokens = [thief.token(ALICE)]
        own = home.token(ALICE, BOB)
        proofs = [thief.proof(EVE) for _ in range(60)]

        def merge():
            answer = thief.site.post_json(
                "/v1/sessions",
                {"proofs": [{"assertion": proofs.pop()}]},
                headers=bearer(tokens[-1]),
                status="*",
            )
            if answer.status_int == 201:
                tokens.append(answer.json["token"])

        home.store.hook = merge
        home.sign_out(own)
        home.store.hook = None
        assert len(tokens) > 3
        assert not any(map(thief.is_alive, tokens))
        assert not any(map(home.is_alive, tokens))

    def test_only_what_is_proved_again_is_new(self, home):
        """A session in which one email was proved again ends by a sign-out of the other one."""
        both = home.token(ALICE, BOB)
        bob = home.token(BOB)
        merged = home.token(ALICE, token=both)
        home.sign_out(bob)
        assert not home.is_alive(merged)
        assert home.is_alive(home.token(ALICE, BOB))

    def test_proved_again(self, home):
        """An email that is proved again beside an older token does not bring the older one back."""
        old = home.token(ALICE)
        home.sign_out(old)
        home.open(ALICE, token=old, status=401)
        assert home.is_alive(home.token(ALICE))


class TestSettings:
    """The lifetime of sessions is lowered and raised while the service runs."""

    HOUR = 3600

    @pytest.mark.parametrize("lifetimes", [("86400", "60"), ("60", "86400"), ("86400", "86400")])
    def test_signed_out_for_good(self, home, lifetimes):
        """A token that was ended stays so for as long as it would have lived, whoever ended it."""
        first, second = (home.beside(sessions__lifetime=each) for each in lifetimes)
        stolen, own = first.token(ALICE), second.token(ALICE)
        second.sign_out(own)
        for _ in range(25):
            assert not first.is_alive(stolen)
            assert not second.is_alive(stolen)
            for machine in (first, second):
                machine.clock.now += self.HOUR
            purge = home.beside(2 * self.HOUR)
            purge.clock.now = first.clock.now + self.HOUR
            purge.store.purge_expired(1000)

    def test_marks_are_removed_in_the_end(self, home):
        """Of a sign-out nothing is left once no token that it ended could live."""
        home.sign_out(home.token(ALICE))
        assert home.store.scan(None, 10)
        home.clock.now += 27 * self.HOUR
        home.store.purge_expired(10)
        assert home.store.scan(None, 10) == []

    def test_old_proofs(self, home):
        """A session whose oldest proof is a day old is over, whatever its token says."""
        session = home.services.tokens.open(home.token(ALICE))
        forever = type(session)(session.proofs, session.expires_at + 10**9)
        token = home.services.tokens.seal(forever)
        home.clock.now += 24 * self.HOUR - 1
        assert home.is_alive(token)
        home.clock.now += 1
        assert not home.is_alive(token)


class TestFailures:
    EMAILS = (ALICE, BOB, EVE)

    @pytest.mark.parametrize("writes", range(4))
    def test_repeated_until_done(self, home, writes):
        """A sign-out that failed midway is repeated by the same token, and then ends everything."""
        own = home.token(*self.EMAILS)
        others = [home.token(email) for email in self.EMAILS]
        home.store.calls_left = writes
        home.sign_out(own, 204 if writes >= 3 else 503)
        home.store.calls_left = None
        assert [home.is_alive(token) for token in others] == [index >= writes for index in range(3)]
        home.sign_out(own, 401 if writes >= 3 else 204)
        assert not any(map(home.is_alive, others))
        home.sign_out(own, 401)

    def test_a_repetition_ends_nothing_new(self, home):
        """The token of an ended session ends no session that was opened since."""
        own = home.token(ALICE, BOB)
        home.sign_out(home.token(ALICE))
        since = home.token(ALICE)
        home.sign_out(own)
        assert home.is_alive(since)
        home.sign_out(own, 401)
