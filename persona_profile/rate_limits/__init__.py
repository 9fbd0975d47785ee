"""Rate limits by named policies.

Counters store a keyed hash of the client (its network, email, issuer or picture), never the client.
Responses report quotas in the fields of draft-ietf-httpapi-ratelimit-headers-11 (work in progress):
`RateLimit-Policy` holds quota (q), unit (qu, if not requests) and window in seconds (w). `RateLimit`
holds the remaining units (r) and the seconds until more are available (t).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final

from limits import RateLimitItem

from persona_profile.encoding import base64url_encode
from persona_profile.errors import RateLimited
from persona_profile.rate_limits.counters import Counters, Window


class Policy(StrEnum):
    """The name of a limit: the counted units, and the kind of client."""

    SESSIONS_PER_ADDRESS = "sessions-per-address"
    FAILURES_PER_ADDRESS = "failures-per-address"
    PROOFS_PER_ISSUER = "proofs-per-issuer"
    BYTES_PER_ADDRESS = "bytes-per-address"
    BYTES_PER_EMAIL = "bytes-per-email"
    WRITES_PER_EMAIL = "writes-per-email"
    PIXELS_PER_EMAIL = "pixels-per-email"
    PICTURE_MS_PER_EMAIL = "picture-ms-per-email"
    PICTURE_MS_PER_ISSUER = "picture-ms-per-issuer"
    PICTURE_MS_PER_ADDRESS = "picture-ms-per-address"
    READS_PER_PICTURE = "reads-per-picture"


_UNITS: Final = {
    Policy.FAILURES_PER_ADDRESS: "milliseconds",
    Policy.BYTES_PER_ADDRESS: "bytes",
    Policy.BYTES_PER_EMAIL: "bytes",
    Policy.PIXELS_PER_EMAIL: "pixels",
    Policy.PICTURE_MS_PER_EMAIL: "milliseconds",
    Policy.PICTURE_MS_PER_ISSUER: "milliseconds",
    Policy.PICTURE_MS_PER_ADDRESS: "milliseconds",
}

# They protect the processor time of one process, so that no read needs Redis.
_OF_A_PROCESS: Final = frozenset(
    {Policy.FAILURES_PER_ADDRESS, Policy.BYTES_PER_ADDRESS, Policy.BYTES_PER_EMAIL}
)
_BY_ADDRESS: Final = frozenset(
    {
        Policy.SESSIONS_PER_ADDRESS,
        Policy.FAILURES_PER_ADDRESS,
        Policy.BYTES_PER_ADDRESS,
        Policy.PICTURE_MS_PER_ADDRESS,
    }
)

# Their quotas would reveal how many other people of a domain sign in.
_CONFIDENTIAL: Final = frozenset({Policy.PROOFS_PER_ISSUER, Policy.PICTURE_MS_PER_ISSUER})


@dataclass(frozen=True, slots=True)
class Quota:
    """The state of a client under one policy.

    Attributes:
        policy: the policy.
        limit: units in a window of time.
        remaining: units left now.
        reset: whole seconds until more units are available; after a rejection, until a retry succeeds.
    """

    policy: Policy
    limit: RateLimitItem
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the response headers that report the quota."""
        unit = f';qu="{_UNITS[self.policy]}"' if self.policy in _UNITS else ""
        quota = f"q={self.limit.amount}{unit};w={self.limit.get_expiry()}"
        return {
            "RateLimit-Policy": f'"{self.policy}";{quota}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset}',
        }


class Account:
    """A client under a policy without a limit."""

    def check(self) -> None:
        """Reject the client if it has no units left; count nothing.

        Raises:
            RateLimited: it has none.
        """

    def add(self, units: int) -> None:
        """Count units that were spent already, beyond the limit too, which then lasts longer."""


@dataclass(frozen=True, slots=True)
class LimitedAccount(Account):
    """A client under a policy with a limit; `key` is its name in the counters."""

    policy: Policy
    limit: RateLimitItem
    counters: Counters
    key: str

    def check(self) -> None:
        """Reject the client if it has no units left. See `Account`."""
        [window] = self.counters.hit(self.policy, self.limit, {self.key: 0})
        if not window.remaining(self.limit):
            _reject([_quota(self.policy, self.limit, window._replace(accepted=False), 1)])

    def add(self, units: int) -> None:
        """Count units that were spent already. See `Account`."""
        spent = {self.key: min(units, self.limit.amount)}
        self.counters.hit(self.policy, self.limit, spent, spent=True)


class RateLimits:
    """Counts the requests, bytes, pixels and processor time of clients against limits.

    Args:
        limits: by policy; a policy without a limit accepts everything.
        counters: the counters of all processes.
        own_counters: the counters of this process.
        pseudonym: returns a keyed hash of a purpose and a text, equal in every process.
    """

    def __init__(
        self,
        limits: Mapping[Policy, RateLimitItem],
        counters: Counters,
        own_counters: Counters,
        pseudonym: Callable[[str, str], bytes],
    ) -> None:
        self._limits = dict(limits)
        self._counters = {
            policy: own_counters if policy in _OF_A_PROCESS else counters for policy in limits
        }
        self._shared = counters
        self._pseudonym = pseudonym

    @property
    def by_address(self) -> bool:
        """Whether a limit counts by network address."""
        return bool(self._limits.keys() & _BY_ADDRESS)

    @property
    def is_uncoordinated(self) -> bool:
        """Whether this process counts for itself, as Redis does not answer."""
        return self._shared.is_out

    def hit(self, policy: Policy, costs: Mapping[str, int]) -> Quota | None:
        """Count units before they are spent, and return the quota with the fewest units left.

        Args:
            policy: the policy.
            costs: units (requests, proofs, pixels), at least 1, by client.

        Returns:
            None if the policy has no limit, or is confidential.

        Raises:
            RateLimited: a client exceeds the limit; nothing is counted for that client.
        """
        if policy not in self._limits or not costs:
            return None
        hidden = {self._key(policy, client): cost for client, cost in costs.items()}
        limit = self._limits[policy]
        windows = self._counters[policy].hit(policy, limit, hidden)
        quotas = [
            _quota(policy, limit, window, cost)
            for window, cost in zip(windows, hidden.values(), strict=True)
        ]
        _reject([quota for quota, window in zip(quotas, windows, strict=True) if not window.accepted])
        if policy in _CONFIDENTIAL:
            return None
        return min(quotas, key=lambda quota: quota.remaining)

    def account(self, policy: Policy, client: str) -> Account:
        """Return the account of a client, for units that are counted once they are spent."""
        limit = self._limits.get(policy)
        if limit is None:
            return Account()
        return LimitedAccount(policy, limit, self._counters[policy], self._key(policy, client))

    def _key(self, policy: Policy, client: str) -> str:
        return base64url_encode(self._pseudonym(policy, client))

    def close(self) -> None:
        """Close the connections of the counters."""
        self._shared.close()


def _reject(quotas: list[Quota]) -> None:
    """Raise `RateLimited` with the quota that resets last, if there are quotas."""
    if quotas:
        worst = max(quotas, key=lambda quota: quota.reset)
        headers = {} if worst.policy in _CONFIDENTIAL else worst.headers()
        raise RateLimited(worst.policy, worst.reset, headers)


def _quota(policy: Policy, limit: RateLimitItem, window: Window, cost: int) -> Quota:
    reset = max(1, ceil(window.left)) if window.accepted else window.seconds_until(limit, cost)
    return Quota(policy, limit, window.remaining(limit), reset)
