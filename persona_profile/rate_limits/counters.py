"""Counters of rate limits: in this process, or in Redis for all processes.

Both are the sliding window counter of the library `limits`. A key has the counts of the present window
and of the previous one, whose weight falls during the present one. So each key takes the same memory,
and no client has twice the limit around the end of a window. Rejected hits are not counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from math import floor
from typing import Any, Final, NamedTuple, Protocol

from cachetools import LRUCache
from limits import RateLimitItem
from limits.errors import ConfigurationError
from limits.storage import RedisStorage

from backends.breaker import CircuitBreaker, CircuitOpen

MEMORY_KEYS: Final = 20_000
"""Keys of each policy in the memory of a process, the most recently used; some 6 MB."""

PAUSE_SECONDS: Final = 2.0
"""The pause after a failure of Redis. Then one request at a time asks Redis."""

_CLOCK_NOISE: Final = 0.005
"""The resolution of instants in seconds: Redis has milliseconds."""

_UNLIMITED: Final = 2**53
"""Above all limits; the largest exact number of Lua."""

_KEY_PREFIX: Final = "persona-profile"

# ARGV: amount, seconds, cost of each key; KEYS: previous and current window of each.
_SCRIPT: Final = b"""
local function acquire(KEYS, ARGV)
%(acquire)s
end
local function standing(KEYS, ARGV)
%(standing)s
end
local answers = {}
for i = 1, #KEYS / 2 do
    local keys = {KEYS[2 * i - 1], KEYS[2 * i]}
    local accepted = acquire(keys, {ARGV[1], ARGV[2], ARGV[2 + i]})
    answers[i] = {accepted, standing(keys, {ARGV[2]})}
end
return answers
"""

logger = logging.getLogger(__name__)


class Window(NamedTuple):
    """The counts of a key after a hit.

    Attributes:
        accepted: whether the hit was within the limit, and so counted.
        previous: the count of the previous window.
        current: the count of the present window.
        left: seconds until the present window ends.
    """

    accepted: bool
    previous: int
    current: int
    left: float

    def remaining(self, limit: RateLimitItem) -> int:
        """Return the units left within the limit now."""
        carried = floor(self.previous * self.left / limit.get_expiry())
        return max(0, limit.amount - carried - self.current)

    def seconds_until(self, limit: RateLimitItem, cost: int) -> int:
        """Return the whole seconds without a hit until a rejected cost is accepted."""
        length = limit.get_expiry()
        room = limit.amount - self.current - cost
        if room >= 0:
            # In this window, once the previous one carries less than one unit too many.
            carried = min(1.0, (room + 1) / self.previous) if self.previous else 1.0
            seconds = self.left - carried * length
        else:
            # In the next window, for which this one is the previous.
            carried = max(0, limit.amount - cost + 1) / self.current if self.current else 1.0
            seconds = self.left + (1 - min(1.0, carried)) * length
        return floor(max(0.0, seconds) + _CLOCK_NOISE) + 1


class CountersOut(Exception):
    """Redis can't count; the message says why."""


class Counters(Protocol):
    """The counts of keys by policy."""

    @property
    def is_out(self) -> bool:
        """Whether the other processes' counts can't be reached."""
        ...

    def hit(
        self, policy: str, limit: RateLimitItem, costs: Mapping[str, int], *, spent: bool = False
    ) -> list[Window]:
        """Count each cost within the limit; return the window of each key, in the order of `costs`.

        Args:
            policy: the name of the limit; each policy has its own keys.
            limit: the units in a window of time.
            costs: units by key; 0 units change nothing.
            spent: count the costs beyond the limit too.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class MemoryCounters:
    """The counts of one process, in limited memory.

    Beyond `max_keys` the least recently used keys are dropped. Each policy has its own keys, so an
    attacker who wants to drop a key pays the policy's price for thousands of keys. (The storage of
    `limits` keeps all keys, and walks over them up to a hundred times a second.)

    Args:
        max_keys: the number of keys of each policy.
        clock: seconds.
    """

    is_out = False

    def __init__(
        self, max_keys: int = MEMORY_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: defaultdict[str, LRUCache[str, tuple[float, int, int]]] = defaultdict(
            lambda: LRUCache(max_keys)
        )

    def hit(
        self, policy: str, limit: RateLimitItem, costs: Mapping[str, int], *, spent: bool = False
    ) -> list[Window]:
        """Count costs. See `Counters`."""
        allowed = _UNLIMITED if spent else limit.amount
        length = limit.get_expiry()
        found = []
        with self._lock:
            windows, now = self._windows[policy], self._clock()
            for key, cost in costs.items():
                began, previous, current = _present(windows.get(key, (now, 0, 0)), length, now)
                left = began + length - now
                accepted = floor(previous * left / length) + current + cost <= allowed
                current += cost if accepted else 0
                windows[key] = began, previous, current
                found.append(Window(accepted, previous, current, left))
        return found

    def close(self) -> None:
        """Do nothing."""


def _present(window: tuple[float, int, int], length: int, now: float) -> tuple[float, int, int]:
    """Return the window at an instant: its begin, the previous count and its count."""
    began, _, current = window
    # A clock that was set back must not lengthen a window.
    past = (now - began) // length if now >= began else 2
    if past >= 2:
        return now, 0, 0
    return (began + length, current, 0) if past == 1 else window


class RedisCounters:
    """The counts of all processes, with one round trip to Redis for each hit.

    While Redis does not answer, each process counts for itself. Every `pause` seconds one request
    waits for Redis, for `timeout` at most. The outage is logged once.

    Args:
        url: `redis://`, `rediss://` or `redis+unix://`.
        timeout: seconds for a connection, and for a response.
        fallback: counts while Redis does not answer.
        pause: see PAUSE_SECONDS.
        clock: seconds.

    Raises:
        ValueError: the URL is malformed, or the client of Redis is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        fallback: Counters,
        *,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = _storage(url, timeout)
        self._fallback = fallback
        self._lock = threading.Lock()
        self._is_out = False
        self._breaker = CircuitBreaker(pause=pause, clock=clock)

    @property
    def is_out(self) -> bool:
        """Whether Redis did not answer the last request."""
        return self._is_out

    def hit(
        self, policy: str, limit: RateLimitItem, costs: Mapping[str, int], *, spent: bool = False
    ) -> list[Window]:
        """Count costs. See `Counters`."""
        try:
            with self._breaker.call():
                found = self._ask(policy, limit, costs, _UNLIMITED if spent else limit.amount)
        except CircuitOpen:
            pass
        except Exception as error:  # noqa: BLE001 - the client lets others' exceptions pass
            self._log_change(error)
        else:
            self._log_change(None)
            return found
        return self._fallback.hit(policy, limit, costs, spent=spent)

    def check(self) -> None:
        """Check that Redis runs our script and accepts writes; write nothing.

        Raises:
            CountersOut: it does not; with the reason.
        """
        try:
            self._storage.script([], [0, 1])
            role = self._storage.role()
        except Exception as error:  # noqa: BLE001 - as in `hit`
            raise CountersOut(_reason(error)) from None
        if role not in ("", "master"):
            raise CountersOut("it is a replica, which accepts no writes")

    def close(self) -> None:
        """Close the connections."""
        self._storage.storage.close()
        self._fallback.close()

    def _ask(
        self, policy: str, limit: RateLimitItem, costs: Mapping[str, int], allowed: int
    ) -> list[Window]:
        length = limit.get_expiry()
        keys = [part for key in costs for part in self._storage.window_keys(limit.key_for(policy, key))]
        answers = self._storage.script(keys, [allowed, length, *costs.values()])
        return [_window(answer, length) for answer in answers]

    def _log_change(self, failure: Exception | None) -> None:
        """Log when Redis stops answering, and when it answers again."""
        with self._lock:
            is_news = self._is_out != (failure is not None)
            self._is_out = failure is not None
        if is_news and failure is not None:
            logger.warning(
                "rate limits: Redis does not answer (%s); each process counts for itself until it does",
                type(failure).__name__,
            )
        elif is_news:
            logger.warning("rate limits: Redis answers again")


class _Storage(RedisStorage):
    """The storage of `limits`, with a script that calls its scripts for several keys at once."""

    def initialize_storage(self, uri: str) -> None:
        """Prepare the scripts without a connection."""
        super().initialize_storage(uri)
        acquire, standing = self.SCRIPT_ACQUIRE_SLIDING_WINDOW, self.SCRIPT_SLIDING_WINDOW
        self.script = self.storage.register_script(
            _SCRIPT % {b"acquire": acquire, b"standing": standing}
        )

    def role(self) -> str:
        """Return the role of the server; empty if the user may not ask for it."""
        from redis.exceptions import ResponseError  # noqa: PLC0415 - an extra

        try:
            return str(self.storage.info("replication").get("role", ""))
        except ResponseError:
            return ""

    def window_keys(self, key: str) -> tuple[str, str]:
        """Return the keys of the previous window and of the current one."""
        previous, current = self._previous_window_key(key), self._current_window_key(key)
        return self.prefixed_key(previous), self.prefixed_key(current)


def _storage(url: str, timeout: float) -> _Storage:
    try:
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError:
        raise ValueError('needs the extra "redis"') from None
    # By default the client retries for up to ten seconds.
    options: dict[str, Any] = {"socket_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith("redis+unix:"):
        options["socket_connect_timeout"] = timeout
    try:
        storage = _Storage(url, key_prefix=_KEY_PREFIX, **options)
    except (ConfigurationError, ValueError, TypeError):
        raise ValueError("can't be read as the URL of a Redis server") from None
    try:
        # Not connected: only a connection knows its options.
        storage.storage.connection_pool.make_connection()
    except Exception:  # noqa: BLE001 - messages quote values
        raise ValueError("has an option that the client of Redis does not know") from None
    return storage


def _reason(error: Exception) -> str:
    """Return why Redis does not count, in words of ours: the client's messages may quote values."""
    from redis import exceptions  # noqa: PLC0415 - an extra

    match error:
        case exceptions.AuthenticationError():
            return "it rejects the user or the password"
        case exceptions.NoPermissionError():
            return "its user may not run scripts (EVALSHA, SCRIPT LOAD)"
        case exceptions.TimeoutError():
            return "it does not answer in time"
        case exceptions.ConnectionError():
            return "it can't be reached"
    return f"it fails ({type(error).__name__})"


def _window(answer: list[Any], length: int) -> Window:
    """Parse a result of `_SCRIPT`; a count expires one window after its window's end."""
    accepted, (previous, _, current, expires) = answer
    left = max(0.0, int(expires) / 1000 - length)
    return Window(bool(accepted), int(previous or 0), int(current or 0), left)
