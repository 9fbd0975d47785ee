"""A sign-out ends the sessions opened before it, and no later ones.

Machines have separate clocks; hooks at every call of the storage create races.
"""

from __future__ import annotations

import itertools

import pytest
from support.servers.machines import Machine, bearer

ALICE, BOB, EVE = "alice@example.com", "bob@example.net", "eve@example.org"
CLOCKS = [-1200.0, -0.9, 0.0, 0.9, 1200.0]
"""Another machine's clock offset in seconds; the documentation permits one second."""


@pytest.fixture
def home(tmp_path) -> Machine:
    """A machine with an empty store."""
    return Machine(tmp_path)


class TestOrder:
    @pytest.mark.parametrize("seconds", CLOCKS)
    def test_sessions_before_it_end(self, home, seconds):
        """A sign-out at any machine ends sessions that any machine opened."""
        other = home.beside(seconds)
        for opener, ender in ((home, other), (other, home)):
            own, stolen = ender.token(ALICE), opener.token(ALICE, BOB)
            ender.sign_out(own)
            assert not any(
                machine.is_alive(token) for machine in (home, other) for token in (own, stolen)
            )

    @pytest.mark.parametrize("seconds", CLOCKS)
    def test_sessions_after_it_live(self, home, seconds):
        """After a sign-out at one machine a person signs in at another at once."""
        other = home.beside(seconds)
        for opener, ender in ((home, other), (other, home)):
            ender.sign_out(ender.token(ALICE))
            token = opener.token(ALICE)
            assert opener.is_alive(token)
            assert ender.is_alive(token)

    def test_again_and_again(self, home):
        """Each of several sign-outs in the same instant ends the earlier sessions, by any clock."""
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
        """A sign-out also ends a stolen session that was merged with another email."""
        other = home.beside(seconds)
        stolen = other.token(ALICE)
        merged = other.token(EVE, token=stolen)
        home.sign_out(home.token(ALICE))
        assert not any(map(other.is_alive, (stolen, merged)))
        other.open(EVE, token=merged, status=401)

    @pytest.mark.parametrize("seconds", [-0.9, 0.9])
    def test_at_every_step(self, home, seconds):
        """Merges at every step of a sign-out leave the thief no session of the email."""
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
        """A session with a renewed proof of one email ends by a sign-out of the other."""
        both = home.token(ALICE, BOB)
        bob = home.token(BOB)
        merged = home.token(ALICE, token=both)
        home.sign_out(bob)
        assert not home.is_alive(merged)
        assert home.is_alive(home.token(ALICE, BOB))

    def test_proved_again(self, home):
        """A new proof beside an ended token does not revive the token."""
        old = home.token(ALICE)
        home.sign_out(old)
        home.open(ALICE, token=old, status=401)
        assert home.is_alive(home.token(ALICE))


class TestSettings:
    """The lifetime of sessions changes while the service runs."""

    HOUR = 3600

    @pytest.mark.parametrize("lifetimes", [("86400", "60"), ("60", "86400"), ("86400", "86400")])
    def test_signed_out_for_good(self, home, lifetimes):
        """An ended token stays ended for its whole lifetime, whichever machine ended it."""
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
        """Marks of a sign-out are deleted once no ended token could be valid."""
        home.sign_out(home.token(ALICE))
        assert home.store.scan(None, 10)
        home.clock.now += 27 * self.HOUR
        home.store.purge_expired(10)
        assert home.store.scan(None, 10) == []

    def test_old_proofs(self, home):
        """A session ends when its oldest proof is a day old, whatever its token's expiry."""
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
        """A failed sign-out can be repeated with the same token, and then ends all sessions."""
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
        """A repeated sign-out ends no session opened since."""
        own = home.token(ALICE, BOB)
        home.sign_out(home.token(ALICE))
        since = home.token(ALICE)
        home.sign_out(own)
        assert home.is_alive(since)
        home.sign_out(own, 401)
