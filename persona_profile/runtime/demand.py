"""Whether requests need the processor that work in the background could use meanwhile."""

from __future__ import annotations

import math
import time
from typing import Final

QUIET_SECONDS: Final = 1.0
"""Time without requests after which the processor is free for other work. Requests come in groups: a
sign-in is several, and a steady few in a second are demand all the time."""


class Demand:
    """The time of the last request."""

    def __init__(self) -> None:
        self._last = -math.inf

    def note(self) -> None:
        """Note a request."""
        self._last = time.monotonic()

    @property
    def is_quiet(self) -> bool:
        """Whether there was no request for `QUIET_SECONDS`."""
        return time.monotonic() - self._last >= QUIET_SECONDS
