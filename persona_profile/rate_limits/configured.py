"""The configured rate limits."""

from __future__ import annotations

from collections.abc import Callable

from persona_profile.rate_limits import Policy, RateLimits
from persona_profile.rate_limits.counters import Counters, MemoryCounters, RedisCounters
from persona_profile.settings import InvalidSettings, Settings


def make_rate_limits(
    settings: Settings, pseudonym: Callable[[str, str], bytes], clock: Callable[[], float]
) -> RateLimits:
    """Return the rate limits of the settings; in development by default none.

    Args:
        settings: the settings.
        pseudonym: see `RateLimits`.
        clock: seconds since 1970.

    Raises:
        InvalidSettings: the URL of Redis is malformed, or its client is not installed.
    """
    url = settings.ratelimit_url or ("off" if settings.development else "memory://")
    own_counters = MemoryCounters(clock=clock)
    if url == "off":
        return RateLimits({}, own_counters, own_counters, pseudonym)
    counters: Counters = own_counters
    if url != "memory://":
        try:
            counters = RedisCounters(url, settings.ratelimit_timeout_ms / 1000, own_counters)
        except ValueError as error:
            raise InvalidSettings(f"ratelimit.url: {error}") from None
    limits = {policy: getattr(settings, f"ratelimit_{policy.replace('-', '_')}") for policy in Policy}
    configured = {policy: limit for policy, limit in limits.items() if limit is not None}
    return RateLimits(configured, counters, own_counters, pseudonym)
