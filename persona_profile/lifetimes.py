"""Upper bounds of lifetimes, and how long marks about sessions and proofs are kept.

A mark must outlive the session or the proof that it is about, under every setting that a process may
have or get. So it is kept for the upper bound of the setting, not for the present value.
"""

from __future__ import annotations

from typing import Final

MAX_SESSION_SECONDS: Final = 24 * 3600
"""Upper bound of `sessions.lifetime`; a session whose oldest proof is older than this is refused."""

MAX_BROWSERID_SKEW_SECONDS: Final = 600
"""Upper bound of `browserid.clock_skew`."""

MAX_OPENID_SKEW_SECONDS: Final = 300
"""Upper bound of `openid.clock_skew`."""

MIN_FORWARD_SECONDS: Final = 24 * 3600
"""Lower bound of the life of the forward of a moved profile. A backup finds the profile by its
forward, and takes less time."""

CLOCK_DIFFERENCE_SECONDS: Final = 1
"""How far the clocks of this service's own machines may be apart (docs/how-to/scale-out.md)."""

MARK_MARGIN_SECONDS: Final = 75 * 60
"""How much longer a mark is kept than its session or proof lives: an hour for a clock that is wrong by
a time zone, a quarter for the longest request. Until then no process reads or purges it as expired."""
