"""The budget of threads that wait for others."""

from __future__ import annotations

import contextlib

import pytest

from persona_profile.errors import Overloaded
from persona_profile.runtime.waiting import MIN_THREADS, Claim, Wait, WaitingBudget


class Counted:
    """A budget, and the rejections that it counts."""

    def __init__(self, threads=8):
        self.budget = WaitingBudget(threads)
        self.held = contextlib.ExitStack()

    @property
    def rejections(self):
        """The number of rejections by kind and reason."""
        return self.budget.rejections.counts()

    def take(self, kind, claims=(), times=1, spare=0):
        """Take places; return how many there were."""
        taken = 0
        try:
            for _ in range(times):
                self.held.enter_context(self.budget.place(kind, claims, spare=spare))
                taken += 1
        except Overloaded:
            pass
        return taken


def network(party, share):
    """Return a claim of a network."""
    return Claim("network", party, share)


@pytest.mark.parametrize("threads", range(MIN_THREADS, 65))
def test_below_threads(threads):
    """Whatever waits, a thread is left; whatever else waits, lookups and uploads have a place."""
    for hog in Wait:
        counted = Counted(threads)
        most = counted.take(hog, times=1000)
        assert most == counted.budget.limit(hog) > 0
        for other in {Wait.LOOKUP, Wait.UPLOAD} - {hog}:
            assert counted.take(other) == 1
        for each in Wait:
            counted.take(each, times=1000)
        assert sum(counted.budget.in_use().values()) == counted.budget.places < threads - 1


@pytest.mark.parametrize("threads", range(MIN_THREADS, 65))
def test_spare_place(threads):
    """One upload more may enter for a moment: at nobody's cost, and a thread is left all the same."""
    counted = Counted(threads)
    most = counted.budget.limit(Wait.UPLOAD)
    assert counted.take(Wait.UPLOAD, times=1000, spare=1) == most + 1
    lookups = counted.take(Wait.LOOKUP, times=1000)
    assert lookups == counted.budget.places - most
    assert counted.take(Wait.UPLOAD, spare=1) == counted.take(Wait.KEY_SERVICE) == 0
    assert sum(counted.budget.in_use().values()) == counted.budget.places + 1 < threads


def test_of_eight_threads():
    """Of the default number of threads two never wait; a third of the others is for each kind."""
    budget = WaitingBudget()
    assert budget.places == 6
    assert {kind: budget.limit(kind) for kind in Wait} == {
        Wait.LOOKUP: 4,
        Wait.UPLOAD: 4,
        Wait.KEY_SERVICE: 2,
    }


@pytest.mark.parametrize("threads", [0, 1, MIN_THREADS - 1])
def test_too_few_threads(threads):
    """Of too few threads none can be left."""
    with pytest.raises(ValueError, match="at least 5"):
        WaitingBudget().fit(threads)


def test_given_back():
    """However a wait ends, its place is free again."""
    counted = Counted()
    budget = counted.budget
    for _ in range(20):
        with contextlib.suppress(KeyError), budget.place(Wait.UPLOAD, [network("a", 1)]):
            assert budget.in_use() == {"lookup": 0, "upload": 1, "key_service": 0}
            raise KeyError
    assert set(budget.in_use().values()) == {0}
    assert counted.rejections == {}


def test_rejection():
    """A wait without a place is refused at once, says when to come back, and is counted."""
    counted = Counted()
    counted.take(Wait.UPLOAD, times=4)
    with pytest.raises(Overloaded) as refused, counted.budget.place(Wait.UPLOAD, retry_after=7):
        pass
    assert refused.value.headers["Retry-After"] == "7"
    assert counted.rejections == {("upload", "budget"): 1}


def test_share():
    """A party holds no more than its share; what it gives back it may take again."""
    counted = Counted()
    claims = [network("a", 2)]
    assert counted.take(Wait.LOOKUP, claims, times=9) == 2
    assert counted.rejections == {("lookup", "network"): 1}
    assert counted.take(Wait.LOOKUP, [network("b", 2)], times=9) == 1
    assert counted.take(Wait.LOOKUP, [network("c", 2)], times=9) == 1
    counted.held.close()
    assert counted.take(Wait.LOOKUP, claims, times=9) == 2
    assert counted.take(Wait.LOOKUP, [network("c", 0)]) == 0


def test_last_place():
    """No party takes the last place that is free beside another of its own, whatever its share."""
    counted = Counted()
    assert (
        counted.take(Wait.LOOKUP, [network("a", 99)], times=9) == counted.budget.limit(Wait.LOOKUP) - 1
    )
    assert counted.take(Wait.LOOKUP, [network("b", 99)], times=9) == 1


def test_last_place_while_others_upload():
    """It is left also while uploads take what lookups would have otherwise."""
    counted = Counted()
    assert counted.take(Wait.UPLOAD, times=9) == 4
    assert counted.take(Wait.LOOKUP, [network("a", 99)], times=9) == 1
    assert counted.take(Wait.LOOKUP, [network("b", 99)], times=9) == 1


def test_several_parties():
    """A place counts for all of its parties, and for none if one has no share left."""
    counted = Counted(16)
    domain = Claim("domain", "a", 3)
    assert counted.take(Wait.LOOKUP, [network("a", 2), domain], times=9) == 2
    assert counted.take(Wait.LOOKUP, [network("b", 2), domain], times=9) == 1
    assert counted.take(Wait.LOOKUP, [network("b", 2), Claim("domain", "b", 3)], times=9) == 1
    assert counted.rejections == {("lookup", "network"): 2, ("lookup", "domain"): 1}
