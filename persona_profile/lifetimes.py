"""Bounds of lifetimes, in seconds, and how long marks about sessions and proofs are kept.

A mark must outlive its session or proof under every setting of any process. So it is kept for
the upper bound of the setting, not for the present value.
"""

from __future__ import annotations

from typing import Final

MAX_SESSION_SECONDS: Final = 24 * 3600
"""Upper bound of `sessions.lifetime`; a session with an older proof is rejected."""

MAX_BROWSERID_SKEW_SECONDS: Final = 600
"""Upper bound of `browserid.clock_skew_seconds`."""

MAX_OPENID_SKEW_SECONDS: Final = 300
"""Upper bound of `openid.clock_skew_seconds`."""

MIN_FORWARD_SECONDS: Final = 24 * 3600
"""Lower bound of the life of a moved profile's forward. A backup finds the profile by its forward, and
takes less time."""

CLOCK_DIFFERENCE_SECONDS: Final = 1
"""Largest difference between the clocks of this service's own machines."""

MARK_MARGIN_SECONDS: Final = 75 * 60
"""Extra life of a mark beyond its session or proof: an hour for a clock that is wrong by a time zone, a
quarter of an hour for the longest request."""
