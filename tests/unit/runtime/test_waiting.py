"""The budget of threads that wait for other servers."""

from __future__ import annotations

import contextlib

import pytest

from persona_profile.errors import Overloaded
from persona_profile.runtime.waiting import MIN_THREADS, Claim, Wait, WaitingBudget


class Counted:
    """A budget and its rejections."""

    def __init__(self, threads=8):
        self.budget = WaitingBudget(threads)
        self.held = contextlib.ExitStack()

    @property
    def rejections(self):
        """The number of rejections by kind and reason."""
        return self.budget.rejections.counts()

    def take(self, kind, claims=(), times=1, spare=0):
        """Take places; return the number of granted places."""
        taken = 0
        try:
            for _ in range(times):
                self.held.enter_context(self.budget.place(kind, claims, spare=spare))
                taken += 1
        except Overloaded:
            pass
        return taken


def network(party, share):
    """Return a network's claim."""
    return Claim("network", party, share)


@pytest.mark.parametrize("threads", range(MIN_THREADS, 65))
def test_below_threads(threads):
    """A thread stays free whatever waits; lookups and uploads always have a place."""
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
    """A spare place admits one more upload briefly, at no other kind's cost."""
    counted = Counted(threads)
    most = counted.budget.limit(Wait.UPLOAD)
    assert counted.take(Wait.UPLOAD, times=1000, spare=1) == most + 1
    lookups = counted.take(Wait.LOOKUP, times=1000)
    assert lookups == counted.budget.places - most
    assert counted.take(Wait.UPLOAD, spare=1) == counted.take(Wait.KEY_SERVICE) == 0
    assert sum(counted.budget.in_use().values()) == counted.budget.places + 1 < threads


def test_of_eight_threads():
    """Of eight threads two never wait; each kind has a reserved third of the other six."""
    budget = WaitingBudget()
    assert budget.places == 6
    assert {kind: budget.limit(kind) for kind in Wait} == {
        Wait.LOOKUP: 4,
        Wait.UPLOAD: 4,
        Wait.KEY_SERVICE: 2,
    }


@pytest.mark.parametrize("threads", [0, 1, MIN_THREADS - 1])
def test_too_few_threads(threads):
    """Too few threads for a budget raise an error."""
    with pytest.raises(ValueError, match="at least 5"):
        WaitingBudget().fit(threads)


def test_given_back():
    """A place is returned however its wait ends."""
    counted = Counted()
    budget = counted.budget
    for _ in range(20):
        with contextlib.suppress(KeyError), budget.place(Wait.UPLOAD, [network("a", 1)]):
            assert budget.in_use() == {"lookup": 0, "upload": 1, "key_service": 0}
            raise KeyError
    assert set(budget.in_use().values()) == {0}
    assert counted.rejections == {}


def test_rejection():
    """A wait without a free place is rejected with Retry-After, and counted."""
    counted = Counted()
    counted.take(Wait.UPLOAD, times=4)
    with pytest.raises(Overloaded) as rejected, counted.budget.place(Wait.UPLOAD, retry_after=7):
        pass
    assert rejected.value.headers["Retry-After"] == "7"
    assert counted.rejections == {("upload", "budget"): 1}


def test_share():
    """A party holds at most its share, and may take returned places again."""
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
    """A party never takes the last free place besides one it holds, whatever its share."""
    counted = Counted()
    assert (
        counted.take(Wait.LOOKUP, [network("a", 99)], times=9) == counted.budget.limit(Wait.LOOKUP) - 1
    )
    assert counted.take(Wait.LOOKUP, [network("b", 99)], times=9) == 1


def test_last_place_while_others_upload():
    """The last place stays free even while uploads use spare places of lookups."""
    counted = Counted()
    assert counted.take(Wait.UPLOAD, times=9) == 4
    assert counted.take(Wait.LOOKUP, [network("a", 99)], times=9) == 1
    assert counted.take(Wait.LOOKUP, [network("b", 99)], times=9) == 1


def test_several_parties():
    """A place counts for all its parties; a party without a remaining share rejects it."""
    counted = Counted(16)
    domain = Claim("domain", "a", 3)
    assert counted.take(Wait.LOOKUP, [network("a", 2), domain], times=9) == 2
    assert counted.take(Wait.LOOKUP, [network("b", 2), domain], times=9) == 1
    assert counted.take(Wait.LOOKUP, [network("b", 2), Claim("domain", "b", 3)], times=9) == 1
    assert counted.rejections == {("lookup", "network"): 2, ("lookup", "domain"): 1}
