"""TXT records from DNS, by dnspython, within a lifetime."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.resolver

from persona_profile.auth.lookups import Lookups

LIFETIME_SECONDS: Final = 3.0
"""The duration of a lookup with all attempts, over UDP and TCP."""

ATTEMPT_SECONDS: Final = 1.0
"""The wait for one answer of one server."""

DNS_PORT: Final = 53

_PAYLOAD_BYTES: Final = 1232
"""The size of answers over UDP that passes every path (DNS flag day 2020)."""

_GRACE_SECONDS: Final = 0.5

Server = tuple[str, int]
"""The IP address and port of a resolver."""


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """The TXT records of a name; none if the name or its records do not exist.

    Attributes:
        records: the records, each with its strings joined.
        ttl: seconds for which they may be kept.
        is_authenticated: whether the resolver has validated them by DNSSEC (the AD flag).
    """

    records: tuple[bytes, ...] = ()
    ttl: int = 0
    is_authenticated: bool = False


class DnsFailed(Exception):
    """No resolver has answered in time, or all have failed."""


class TxtResolver(Protocol):
    """Looks up TXT records."""

    def txt(self, name: str, domain: str) -> TxtAnswer:
        """Return the records of a name; the lookup counts for a domain.

        Raises:
            DnsFailed: there is no answer.
            Overloaded: too many lookups are under way.
        """

    def configure(self) -> None:
        """Read the configuration again."""


class DnsResolver(TxtResolver):
    """Looks up TXT records in the calling thread; threads share the lookup of a name.

    Args:
        servers: the resolvers; without any, the system's.
        is_dnssec_needed: whether resolvers must be on loopback, so that their AD flag can be believed.
        lifetime_seconds: the duration of a lookup with all attempts.

    Raises:
        ValueError: the system has no configuration of resolvers, or one is not on loopback.
    """

    def __init__(
        self,
        servers: Sequence[Server] = (),
        *,
        is_dnssec_needed: bool = False,
        lookups: Lookups | None = None,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        self._servers = tuple(servers)
        self._is_dnssec_needed = is_dnssec_needed
        self._lookups = lookups or Lookups()
        self._lifetime = lifetime_seconds
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[TxtAnswer | None]] = {}
        self.configure()

    def configure(self) -> None:
        """Read the system's configuration again.

        Raises:
            ValueError: it can't be used. The present one stays.
        """
        try:
            resolver = dns.resolver.Resolver(configure=not self._servers)
        except (dns.resolver.NoResolverConfiguration, OSError):
            raise ValueError("the system names no resolver") from None
        if self._servers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in self._servers]
        addresses = [host for host, _ in self._servers] or [str(each) for each in resolver.nameservers]
        if self._is_dnssec_needed and not all(ip_address(each).is_loopback for each in addresses):
            raise ValueError("DNSSEC needs resolvers on loopback that validate")
        resolver.lifetime, resolver.timeout = self._lifetime, min(ATTEMPT_SECONDS, self._lifetime)
        resolver.use_edns(0, 0, _PAYLOAD_BYTES)
        # A resolver sets AD in its answer if the query has it (RFC 6840, 5.7).
        resolver.set_flags(dns.flags.RD | dns.flags.AD)
        self._resolver = resolver

    def txt(self, name: str, domain: str) -> TxtAnswer:
        """Return the records of a name. See `TxtResolver`."""
        with self._lookups.place(domain):
            with self._lock:
                future = self._under_way.get(name)
                is_first = future is None
                if future is None:
                    future = self._under_way[name] = Future()
            if is_first:
                self._carry_out(name, future)
            try:
                answer = future.result(self._lifetime + _GRACE_SECONDS)
            except TimeoutError:
                answer = None
        if answer is None:
            raise DnsFailed
        return answer

    def _carry_out(self, name: str, future: Future[TxtAnswer | None]) -> None:
        answer = None
        try:
            answer = self._look_up(name)
        finally:
            with self._lock:
                del self._under_way[name]
            future.set_result(answer)

    def _look_up(self, name: str) -> TxtAnswer | None:
        """Return the answer, or None without one."""
        try:
            full = dns.name.from_text(name)
        except dns.exception.DNSException:  # too long
            return TxtAnswer()
        try:
            answer = self._resolver.resolve(
                full, dns.rdatatype.TXT, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return TxtAnswer()
        except (dns.exception.DNSException, OSError, ValueError):
            return None
        if answer.response.flags & dns.flags.TC:  # over TCP: records are missing
            return None
        is_authenticated = bool(answer.response.flags & dns.flags.AD)
        found = answer.rrset or ()
        records = [b"".join(each.strings) for each in found if isinstance(each, _TXT)]
        return TxtAnswer(tuple(records), answer.chaining_result.minimum_ttl, is_authenticated)


_TXT: Final = dns.rdtypes.txtbase.TXTBase
