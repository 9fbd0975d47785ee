"""The access of one fetch: the way to the host, and the token that it sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Route:
    """The way to the hosts that an operator named; all other hosts are on the public Internet.

    Attributes:
        hosts: names in lower case, or addresses.
        allows_private_addresses: whether they may be in private networks or on this machine, and have
            names of one label or none.
        authorities: certificates in PEM of the only authorities for them; empty for the system's.
        proxy: host and port of the HTTP proxy to them, which resolves their names.
        is_plain: whether http on this machine is allowed, in development.
    """

    hosts: frozenset[str] = frozenset()
    allows_private_addresses: bool = False
    authorities: str = ""
    proxy: tuple[str, int] | None = None
    is_plain: bool = False

    def to(self, host: str) -> Route:
        """Return the way to a host."""
        return self if host in self.hosts else PUBLIC


PUBLIC: Final = Route()
"""The way to the public Internet."""


@dataclass(frozen=True, slots=True)
class Access:
    """The way to a host, and the access token that a fetch sends (RFC 6750); empty for none."""

    bearer: str = ""
    route: Route = PUBLIC


ANONYMOUS: Final = Access()
