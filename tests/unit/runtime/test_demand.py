"""Demand: what it says before, during and after requests."""

from __future__ import annotations

import time

from persona_profile.runtime.demand import Demand


def test_quiet_until_the_first_request():
    """A service that nobody has asked is quiet; a request ends that for a while."""
    demand = Demand()
    assert demand.is_quiet
    demand.note()
    assert not demand.is_quiet


def test_quiet_again():
    """Demand ends some time after the last request."""
    demand = Demand()
    demand.note()
    while not demand.is_quiet:
        time.sleep(0.05)
