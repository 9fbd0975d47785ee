"""The pace of a job, so that a service beside it stays fast."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

_PORTIONS_PER_SECOND: Final = 8


class Pace:
    """Limits work to a number of units per second: steps, or bytes."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def __call__(self, units: float = 1) -> None:
        """Wait until the next units may begin; then these may take their time."""
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + units / self._per_second

    def portion(self, most: int) -> int:
        """Return how many units to do at once: at most `most`, several times a second."""
        return int(max(1, min(most, self._per_second / _PORTIONS_PER_SECOND)))


UNLIMITED: Final = Pace(math.inf)
