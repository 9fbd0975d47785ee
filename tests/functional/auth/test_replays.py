"""Each proof opens one session, for all clocks, settings and other proofs of the request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers.machines import Machine

ALICE, BOB, CAROL = "alice@example.com", "bob@example.net", "carol@example.org"
HOUR = 3600


@pytest.fixture
def home(tmp_path) -> Machine:
    """A machine with an empty store."""
    return Machine(tmp_path)


def codes(problem) -> list[tuple[str, str]]:
    """Return the members that a problem names, with the reason of each."""
    return [(error["name"], error["description"]) for error in problem["errors"]]


class TestTogether:
    @pytest.mark.parametrize("position", range(3))
    def test_a_used_proof_uses_up_no_other(self, home, position):
        """A used proof leaves the other proofs of its request unused, in any order."""
        used = home.proof(ALICE)
        home.open(proofs=[used])
        proofs = [home.proof(BOB), home.proof(CAROL)]
        proofs.insert(position, used)
        problem = home.open(proofs=proofs, status=401)
        assert problem["code"] == "proof_replayed"
        assert codes(problem) == [(f"proofs.{position}.assertion", "proof_replayed")]
        proofs.remove(used)
        home.open(proofs=proofs)

    def test_the_same_twice(self, home):
        """A proof that comes twice in one request is not used up by it."""
        proof = home.proof(ALICE)
        problem = home.open(proofs=[proof, home.proof(BOB), proof], status=401)
        assert codes(problem) == [("proofs.2.assertion", "proof_replayed")]
        home.open(proofs=[proof])

    def test_other_refusals_use_up_nothing(self, home):
        """Neither a session that was ended nor one that is full costs a proof."""
        ended = home.token(ALICE)
        home.sign_out(ended)
        proof = home.proof(BOB)
        assert home.open(proofs=[proof], token=ended, status=401)["code"] == "session_revoked"
        full = home.token(*(f"u{number}@example.com" for number in range(20)))
        home.open(proofs=[proof], token=full, status=400)
        home.open(proofs=[proof])


class TestRaces:
    def test_the_faster_request_wins(self, home):
        """If another request uses one of the proofs meanwhile, the slower one uses up none."""
        proofs = [home.proof(email) for email in (ALICE, BOB, CAROL)]
        calls = self.calls_of_a_sign_in(home)
        for contested in range(3):
            for step in range(calls):
                fresh = [home.proof(email) for email in (ALICE, BOB, CAROL)]
                self.race(home, fresh, contested, step)
        home.open(proofs=proofs)

    def calls_of_a_sign_in(self, home: Machine) -> int:
        """Return how many steps of the storage a sign-in of three proofs has."""
        steps = []
        home.store.hook = lambda: steps.append(1)
        home.open(ALICE, BOB, CAROL)
        home.store.hook = None
        return len(steps)

    def race(self, home: Machine, proofs: list[str], contested: int, step: int) -> None:
        """Present one of the proofs alone at a step of the request that presents them all."""
        rest = [proof for number, proof in enumerate(proofs) if number != contested]
        steps = iter(range(1000))
        won = []

        def compete() -> None:
            if next(steps) == step:
                answer = home.open(proofs=[proofs[contested]], status="*")
                won.append("token" in answer)

        home.store.hook = compete
        answer = home.open(proofs=proofs, status="*")
        home.store.hook = None
        assert won == ["token" not in answer]
        home.open(proofs=[proofs[contested]], status=401)
        for proof in rest:
            home.open(proofs=[proof], status=201 if won == [True] else 401)

    def test_one_of_many_wins_all(self, home):
        """Of requests with the same proofs in different orders, just one opens a session."""
        proofs = [home.proof(email) for email in (ALICE, BOB, CAROL)]
        orders = [proofs, proofs[::-1], [*proofs[1:], proofs[0]]] * 2
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda order: home.open(proofs=order, status="*"), orders))
        assert sum("token" in answer for answer in answers) == 1


class TestAges:
    @pytest.mark.parametrize("skews", [("0", "600"), ("600", "0"), ("60", "600")])
    def test_settings_revive_nothing(self, home, skews):
        """A used assertion stays rejected after an increase of the clock skew."""
        first, second = (home.beside(browserid__clock_skew_seconds=skew) for skew in skews)
        proof = first.proof(ALICE)
        first.open(proofs=[proof])
        seen = set()
        for _ in range(100):
            for machine in (first, second):
                seen.add(machine.open(proofs=[proof], status=401)["code"])
                machine.clock.now += 10
            self.purge(home, first.clock.now + HOUR)
        assert seen == {"proof_replayed", "assertion_expired"}

    @pytest.mark.parametrize("ahead", [0, HOUR])
    def test_purges_revive_nothing(self, home, ahead):
        """Nothing that can still be presented is purged, by a clock that is an hour ahead either."""
        proof = home.proof(ALICE)
        home.open(proofs=[proof])
        while home.open(proofs=[proof], status=401)["code"] == "proof_replayed":
            home.clock.now += 20
            self.purge(home, home.clock.now + ahead)
        assert home.store.scan(None, 10)
        self.purge(home, home.clock.now + 4 * HOUR)
        assert home.store.scan(None, 10) == []

    def test_slow_requests_revive_nothing(self, home):
        """A proof that expires while its request is under way is not presented a second time by it."""
        proof = home.proof(ALICE)
        home.open(proofs=[proof])
        home.clock.now += 179  # with the allowance of a minute it is good for another second
        home.store.hook = self.once(lambda: setattr(home.clock, "now", home.clock.now + 30))
        assert home.open(proofs=[proof], status=401)["code"] == "proof_replayed"

    def once(self, action):
        """Return a hook that acts at its first call alone."""
        left = [action]
        return lambda: left and left.pop()()

    def purge(self, home: Machine, now: float) -> None:
        """Purge what has expired by a clock of its own."""
        machine = home.store.__class__(lambda: now, home.store)
        machine.purge_expired(1000)


class TestSignOut:
    """Proofs that were made before a sign-out of their email, and are presented after it."""

    def test_revoked(self, home):
        """An assertion that says when it was made does not outlive a sign-out by a minute."""
        stolen = home.proof(ALICE, iat=int(1000 * home.clock.now))
        home.clock.now += 61
        home.sign_out(home.token(ALICE))
        problem = home.open(proofs=[home.proof(BOB), stolen], status=401)
        assert problem["code"] == "proof_revoked"
        assert codes(problem) == [("proofs.1.assertion", "proof_revoked")]

    def test_others_hold(self, home):
        """Later assertions are accepted, and assertions without `iat` too."""
        silent = home.proof(ALICE)
        home.clock.now += 61
        home.sign_out(home.token(ALICE))
        home.open(proofs=[home.proof(ALICE, iat=int(1000 * home.clock.now))])
        home.open(proofs=[silent])

    def test_a_mark_of_the_future_keeps_nobody_out(self, home):
        """A sign-out by a clock that is far ahead revokes no proof."""
        wrong = home.beside(1200)
        wrong.sign_out(wrong.token(ALICE))
        home.open(proofs=[home.proof(ALICE, iat=int(1000 * home.clock.now))])
