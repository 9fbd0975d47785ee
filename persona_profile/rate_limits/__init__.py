"""Rate limits: how much one client may do in a time, by named policies.

What identifies a client (its address, its email, the URL of its picture) is counted under a keyed hash
and never kept. Answers tell how things stand in the fields of draft-ietf-httpapi-ratelimit-headers-11
(work in progress): `RateLimit-Policy` names quota (q), unit (qu, if not requests) and window in seconds
(w), `RateLimit` what remains (r) and the seconds until more does (t).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Final, Protocol

from limits import RateLimitItem

from persona_profile.encoding import base64url_encode
from persona_profile.errors import RateLimited
from persona_profile.rate_limits.counters import Counters, Window


class Policy(StrEnum):
    """What is limited, by whom."""

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

# They protect the processor time of a process, so each counts for itself, and no read asks Redis.
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

# It would tell how many other people of the same domain sign in.
_CONFIDENTIAL: Final = frozenset({Policy.PROOFS_PER_ISSUER, Policy.PICTURE_MS_PER_ISSUER})


@dataclass(frozen=True, slots=True)
class Quota:
    """How a client stands with one policy.

    Attributes:
        policy: which.
        limit: how much in which time.
        remaining: units that are left now.
        reset: whole seconds until there are more; after a refusal, until what was refused would pass.
    """

    policy: Policy
    limit: RateLimitItem
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the fields that tell a client."""
        unit = f';qu="{_UNITS[self.policy]}"' if self.policy in _UNITS else ""
        quota = f"q={self.limit.amount}{unit};w={self.limit.get_expiry()}"
        return {
            "RateLimit-Policy": f'"{self.policy}";{quota}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset}',
        }


class RateLimits(Protocol):
    """Counts what clients do."""

    @property
    def by_address(self) -> bool:
        """Whether clients are told apart by their addresses."""
        ...

    def hit(self, policy: Policy, costs: Mapping[str, int]) -> Quota | None:
        """Count what clients are about to do.

        Args:
            policy: by which limit.
            costs: units (requests, proofs, pixels), at least 1, by what identifies the client.

        Returns:
            How the client stands, of several the one with the least left; none if there is no limit, or
            it is not the client's to know.

        Raises:
            RateLimited: one goes beyond the limit.
        """
        ...

    def check(self, policy: Policy, clients: Collection[str]) -> None:
        """Count nothing; refuse clients that have nothing left of a limit.

        Raises:
            RateLimited: one has nothing left.
        """
        ...

    def add(self, policy: Policy, costs: Mapping[str, int]) -> None:
        """Count units that were spent already, also beyond the limit, which then holds for longer."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class NoRateLimits:
    """Lets everything pass."""

    by_address = False

    def hit(self, policy: Policy, costs: Mapping[str, int]) -> Quota | None:
        """Count nothing."""

    def check(self, policy: Policy, clients: Collection[str]) -> None:
        """Refuse nobody."""

    def add(self, policy: Policy, costs: Mapping[str, int]) -> None:
        """Count nothing."""

    def close(self) -> None:
        """Do nothing."""


class CountedRateLimits:
    """Holds clients to limits.

    Args:
        limits: by policy; one that is missing does not limit.
        counters: where counts are kept.
        own_counters: where those are kept that each process has for itself.
        pseudonym: returns a keyed hash of a purpose and a text, the same in every process.
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
        """Whether clients are told apart by their addresses."""
        return bool(self._limits.keys() & _BY_ADDRESS)

    def hit(self, policy: Policy, costs: Mapping[str, int]) -> Quota | None:
        """Count what clients are about to do. See `RateLimits`."""
        if policy not in self._limits or not costs:
            return None
        hidden = self._hidden(policy, costs)
        limit = self._limits[policy]
        windows = self._counters[policy].hit(policy, limit, hidden)
        quotas = [
            _quota(policy, limit, window, cost)
            for window, cost in zip(windows, hidden.values(), strict=True)
        ]
        _refuse([quota for quota, window in zip(quotas, windows, strict=True) if not window.accepted])
        if policy in _CONFIDENTIAL:
            return None
        return min(quotas, key=lambda quota: quota.remaining)

    def check(self, policy: Policy, clients: Collection[str]) -> None:
        """Refuse clients that have nothing left. See `RateLimits`."""
        limit = self._limits.get(policy)
        if limit is None or not clients:
            return
        standing = self._hidden(policy, dict.fromkeys(clients, 0))
        windows = self._counters[policy].hit(policy, limit, standing)
        spent = [each._replace(accepted=False) for each in windows if not each.remaining(limit)]
        _refuse([_quota(policy, limit, window, 1) for window in spent])

    def add(self, policy: Policy, costs: Mapping[str, int]) -> None:
        """Count units that were spent already. See `RateLimits`."""
        limit = self._limits.get(policy)
        if limit is not None and costs:
            spent = {client: min(cost, limit.amount) for client, cost in costs.items()}
            self._counters[policy].hit(policy, limit, self._hidden(policy, spent), spent=True)

    def _hidden(self, policy: Policy, costs: Mapping[str, int]) -> dict[str, int]:
        return {
            base64url_encode(self._pseudonym(policy, client)): cost for client, cost in costs.items()
        }

    def close(self) -> None:
        """Let go of connections."""
        self._shared.close()


def _refuse(quotas: list[Quota]) -> None:
    """Raise `RateLimited` if there are quotas, with the one that lasts the longest."""
    if quotas:
        worst = max(quotas, key=lambda quota: quota.reset)
        headers = {} if worst.policy in _CONFIDENTIAL else worst.headers()
        raise RateLimited(worst.policy, worst.reset, headers)


def _quota(policy: Policy, limit: RateLimitItem, window: Window, cost: int) -> Quota:
    reset = max(1, ceil(window.left)) if window.accepted else window.seconds_until(limit, cost)
    return Quota(policy, limit, window.remaining(limit), reset)
