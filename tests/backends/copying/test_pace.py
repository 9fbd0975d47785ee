"""The pace of jobs."""

import time

from backends.copying.pace import UNLIMITED, Pace


class TestPace:
    def test_holds_back(self):
        """Steps keep the rate, also after a pause."""
        began = time.monotonic()
        pace = Pace(100)
        for _ in range(11):
            pace()
        assert time.monotonic() - began >= 0.1
        time.sleep(0.1)
        began = time.monotonic()
        for _ in range(3):
            pace()
        assert time.monotonic() - began >= 0.02

    def test_bytes(self):
        """After many units the next ones wait as long as these may take."""
        now, slept = [0.0], []
        pace = Pace(1000, lambda: now[0], slept.append)
        pace(500)
        now[0] = 0.1
        pace(100)
        assert slept == [0.4]
        now[0] = 0.6
        pace(1)
        assert slept == [0.4]

    def test_portions(self):
        """Portions last a part of a second, and have at least one unit."""
        assert [Pace(rate).portion(1000) for rate in (1, 800, 80_000)] == [1, 100, 1000]
        assert UNLIMITED.portion(1000) == 1000
