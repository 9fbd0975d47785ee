"""Fetch small documents over HTTPS from hosts that strangers name, and from nowhere else.

The rules against server-side request forgery: a name with two labels or more, never an address;
port 443, unless the configuration states another; the address that is connected to must be public, and
it is the one that was checked, as the name is resolved once; a valid certificate for the name; no
redirects; a bounded answer; one deadline over everything, name resolution included; few at once.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Final

from persona_profile.emails import is_canonical_domain
from persona_profile.errors import Overloaded

MAX_DOCUMENT_BYTES: Final = 64 * 1024
DEADLINE_SECONDS: Final = 5.0
MAX_LOOKUPS: Final = 4
HTTPS_PORT: Final = 443
MAX_URL_CHARACTERS: Final = 1024

# No user information, no fragment; the host is looked at apart.
_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)"
    r"((?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)

# Anything else at a pinch: some call their JSON by another name, and would answer 406.
_HEADERS: Final = {
    "Accept": "application/json, */*;q=0.1",
    "Connection": "close",
    "User-Agent": "persona-profile",
}

# What IANA gives out of IPv6: no site-local, IPv4-compatible or translated (RFC 6052) addresses.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Within it RFC 3056, RFC 4380: a gateway makes an IPv4 address of the sender's choice of these.
_TUNNELLED = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32")))


class FetchError(Exception):
    """The document can't be had; `code` is the reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: HTTP status, media type without parameters in lower case, body."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Location:
    """Where a document is, as a URL tells it: `host` in lower case; `target` is its path and query."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def parse(cls, url: str) -> Location:
        """Read an absolute URL, as configurations and documents hold it.

        Raises:
            ValueError: it is none, or has user information, a fragment or an address for a host.
        """
        match = _URL.fullmatch(url) if len(url) <= MAX_URL_CHARACTERS else None
        if match is None:
            raise ValueError("not a URL such as https://accounts.example.com/path")
        scheme, host, port, path, query = match.groups()
        number = int(port or (HTTPS_PORT if scheme == "https" else 80))
        if number > 65535:
            raise ValueError("no such port")
        return cls(scheme, host.lower(), number, path, query)

    @property
    def origin(self) -> str:
        """Return scheme, host and port, which is left away where it is the scheme's own."""
        default = HTTPS_PORT if self.scheme == "https" else 80
        port = "" if self.port == default else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def target(self) -> str:
        """Return what a request line names."""
        return (self.path or "/") + self.query


def is_public_address(address: str) -> bool:
    """Tell whether an IP address is globally reachable (IANA special-purpose registries)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public_address(str(parsed.ipv4_mapped))
        if parsed not in _GLOBAL_UNICAST or any(parsed in network for network in _TUNNELLED):
            return False
    return parsed.is_global and not parsed.is_multicast


def resolve(name: str) -> Sequence[str]:
    """Return the addresses of a name, as the system's resolver orders them."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def exchange(connection: http.client.HTTPConnection, target: str) -> Fetched:
    """Ask for a document over a connection; a redirect is an answer like any other.

    Raises:
        FetchError: `support_document_too_large`.
        OSError, http.client.HTTPException: there is no answer.
    """
    connection.request("GET", target, headers=_HEADERS)
    with connection.getresponse() as response:
        body = response.read(MAX_DOCUMENT_BYTES + 1)
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchError("support_document_too_large")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Fetched(response.status, media_type, body)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Trust the system's certificate authorities, which take some time to read."""
    return ssl.create_default_context()


class HttpsFetcher:
    """Fetches documents under the rules of this module, several threads at once.

    The arguments are there for tests, which serve documents on loopback.

    Args:
        resolve: returns the addresses of a name.
        is_allowed: tells whether an address may be connected to.
        port: TCP port where nothing else is stated.
        context: TLS settings; by default the system's certificate authorities.
        deadline: seconds for one document from start to end.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[str], Sequence[str]] = resolve,
        is_allowed: Callable[[str], bool] = is_public_address,
        port: int = HTTPS_PORT,
        context: ssl.SSLContext | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._port = port
        self._context = context or _authorities()
        self._deadline = deadline
        self._places = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._executor = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="fetch")

    def fetch(self, domain: str, path: str, port: int | None = None) -> Fetched:
        """Fetch `https://<domain>[:<port>]<path>`.

        Raises:
            FetchError: `issuer_address_forbidden`, `issuer_unreachable`, `support_document_too_large`.
            Overloaded: too many lookups are under way.
        """
        if not is_canonical_domain(domain):
            raise FetchError("issuer_address_forbidden")
        if not self._places.acquire(blocking=False):
            raise Overloaded("Too many identity providers are being looked up.", retry_after=1)
        try:
            future = self._executor.submit(self._fetch_and_leave, domain, path, port)
        except RuntimeError:  # the system gives no more threads
            self._places.release()
            raise Overloaded("No identity provider can be looked up.", retry_after=1) from None
        try:
            return future.result(self._deadline + 0.5)
        except FutureTimeoutError:
            # The thread is stuck in name resolution, the one thing that can't be interrupted; it
            # keeps its place until the resolver gives up, so the others are never crowded out.
            raise FetchError("issuer_unreachable") from None

    def close(self) -> None:
        """Wait for no more answers."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _fetch_and_leave(self, domain: str, path: str, port: int | None) -> Fetched:
        try:
            return self._fetch(domain, path, port, time.monotonic() + self._deadline)
        except (OSError, http.client.HTTPException, ValueError, RuntimeError):
            raise FetchError("issuer_unreachable") from None
        finally:
            self._places.release()

    def _fetch(self, domain: str, path: str, port: int | None, deadline: float) -> Fetched:
        addresses = self._resolve(domain)
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise FetchError("issuer_address_forbidden")
        with (
            self._connect(addresses, port or self._port, deadline) as plain,
            self._context.wrap_socket(
                plain, server_hostname=domain, do_handshake_on_connect=False
            ) as secure,
            _ended_at(deadline, secure),
        ):
            secure.do_handshake()
            connection = http.client.HTTPConnection(f"{domain}:{port}" if port else domain)
            connection.sock = secure
            fetched = exchange(connection, path)
        if time.monotonic() >= deadline:
            raise TimeoutError  # what was cut may look like a whole answer
        return fetched

    def _connect(self, addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
        failure: OSError = TimeoutError()
        for address in addresses[:4]:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            try:
                return socket.create_connection((address, port), timeout=min(remaining, 2.0))
            except OSError as error:
                failure = error
        raise failure


class DocumentFetcher:
    """Fetches documents by their URLs.

    Args:
        https: fetches them, unless
        own: has a fetch for their origin.
    """

    def __init__(
        self, https: HttpsFetcher, own: Mapping[str, Callable[[str], Fetched]] | None = None
    ) -> None:
        self._https = https
        self._own = dict(own or {})

    def fetch(self, url: str) -> Fetched:
        """Fetch what is at a URL.

        Raises:
            FetchError, Overloaded: as `HttpsFetcher.fetch`.
        """
        try:
            location = Location.parse(url)
        except ValueError:
            raise FetchError("issuer_address_forbidden") from None
        own = self._own.get(location.origin)
        if own is not None:
            return own(url)
        if location.scheme != "https":
            raise FetchError("issuer_address_forbidden")
        port = None if location.port == HTTPS_PORT else location.port
        return self._https.fetch(location.host, location.target, port)

    def close(self) -> None:
        """Wait for no more answers."""
        self._https.close()


@contextlib.contextmanager
def _ended_at(deadline: float, secure: ssl.SSLSocket) -> Iterator[None]:
    """Cut a connection at a deadline: time-outs of a socket count from byte to byte, a drip goes on."""
    remaining = max(0.0, deadline - time.monotonic())
    secure.settimeout(remaining + 1.0)
    watchdog = threading.Timer(remaining, _cut, (secure,))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        watchdog.join()  # or it might cut whatever gets the number of this socket next


def _cut(secure: ssl.SSLSocket) -> None:
    try:
        socket.socket.shutdown(secure, socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed first
