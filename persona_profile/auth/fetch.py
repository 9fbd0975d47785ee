"""Documents of limited size over HTTPS from hosts that strangers name.

The rules against server-side request forgery:

- The host is a domain name of at least two labels, never an address.
- The port is 443, except where the configuration states another.
- The name is resolved once. All of its addresses must be public.
- The certificate must be valid for the name. Redirects are not followed.
- All received bytes are limited, and one deadline holds for the whole fetch.

An operator may name hosts with other rules on addresses, certificates and proxies (`Route`).

`lookups` limits the number of concurrent fetches.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from persona_profile.auth.access import ANONYMOUS, Access, Route
from persona_profile.auth.public_addresses import (
    is_loopback_address,
    is_private_address,
    is_public_address,
)
from persona_profile.bounded_http import MeteredSocket, MeteredTls, ResponseTooLong
from persona_profile.emails import is_canonical_domain

MAX_DOCUMENT_BYTES: Final = 64 * 1024
MAX_RESPONSE_BYTES: Final = 256 * 1024
"""Of a connection; see `Limits`."""

MAX_PROXY_BYTES: Final = 16 * 1024
"""Of a proxy's answer to the request for a tunnel."""

DEADLINE_SECONDS: Final = 5.0
HTTPS_PORT: Final = 443
MAX_URL_CHARACTERS: Final = 1024

# Without user information and fragment; HttpsFetcher checks the host.
_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)"
    r"((?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)

_HEADERS: Final = {"Connection": "close", "User-Agent": "persona-profile"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The bytes that a fetch receives at most, and the media types that it asks for.

    Attributes:
        document_bytes: of the document.
        response_bytes: of a connection: certificates, interim responses, headers, framing of chunks,
            the document.
        accept: the `Accept` header.
    """

    document_bytes: int = MAX_DOCUMENT_BYTES
    response_bytes: int = MAX_RESPONSE_BYTES
    # Any other type too: some servers have another type for their JSON, and would answer 406.
    accept: str = "application/json, */*;q=0.1"


DOCUMENTS: Final = Limits()
"""Of the documents of identity providers."""


class FetchError(Exception):
    """A fetch failed.

    Attributes:
        code: for the client.
        reason: for the log, in words of this service and of its libraries; never bytes of a server.
    """

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response: HTTP status, media type in lower case without parameters, body, `Date` header."""

    status: int
    media_type: str
    body: bytes
    date: str = ""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed http or https URL, with the host in lower case."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Parse an absolute URL.

        Raises:
            ValueError: the URL is malformed or too long, or has user information or a fragment.
        """
        match = _URL.fullmatch(text) if len(text) <= MAX_URL_CHARACTERS else None
        if match is None:
            raise ValueError("not a URL such as https://accounts.example.com/path")
        scheme, host, port, path, query = match.groups()
        number = int(port or (HTTPS_PORT if scheme == "https" else 80))
        if number > 65535:
            raise ValueError("no such port")
        return cls(scheme, host.lower(), number, path, query)

    @property
    def origin(self) -> str:
        """The serialized origin (RFC 6454, section 6.2)."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as in the `Host` header: without the default port of the scheme."""
        default = HTTPS_PORT if self.scheme == "https" else 80
        return self.host if self.port == default else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The request target: path and query."""
        return (self.path or "/") + self.query


def resolve(name: str) -> Sequence[str]:
    """Return the addresses of a name in the order of the system's resolver."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_permitted(url: Url, route: Route) -> bool:
    """Return whether a URL may be fetched by the way to its host, whatever its addresses are."""
    return (url.scheme == "https" or route.is_plain) and (
        is_canonical_domain(url.host) or route.allows_private_addresses
    )


def exchange(
    connection: MeteredSocket, url: Url, bearer: str = "", limits: Limits = DOCUMENTS
) -> Fetched:
    """Request a document over a connection and return the response, a redirect too.

    The request has the access token `bearer`, unless it is empty.

    Raises:
        FetchError: `support_document_too_large`: the response or its body exceeds the limit.
        OSError, http.client.HTTPException: there is no response.
    """
    client = http.client.HTTPConnection(url.authority)
    client.sock = connection
    headers = _HEADERS | {"Accept": limits.accept}
    headers |= {"Authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        client.request("GET", url.target, headers=headers)
        with client.getresponse() as response:
            body = response.read(limits.document_bytes + 1)
    except ResponseTooLong:
        raise FetchError("support_document_too_large", "the response is too long") from None
    if len(body) > limits.document_bytes:
        raise FetchError("support_document_too_large", f"over {limits.document_bytes} bytes")
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(response.status, media_type, body, response.headers.get("Date", ""))


def reason_of(error: Exception) -> str:
    """Return why a fetch failed, without bytes of the server."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason}"
        case socket.gaierror():
            return "the name does not resolve"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(text)):
            return text
    return type(error).__name__


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Return a TLS context that trusts the system's certificate authorities, read once."""
    return ssl.create_default_context()


@functools.lru_cache(maxsize=64)
def _private_authorities(certificates: str) -> ssl.SSLContext:
    """Return a TLS context that trusts these authorities alone, in PEM."""
    return ssl.create_default_context(cadata=certificates)


def _open_tunnel(plain: socket.socket, host: str, port: int, deadline: float) -> None:
    """Ask the proxy at the other end to connect to a host (RFC 9110, 9.3.6)."""
    metered = MeteredSocket(plain, MAX_PROXY_BYTES, deadline)
    target = f"{host}:{port}"
    metered.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
    response = http.client.HTTPResponse(cast(Any, metered), method="CONNECT")
    response.begin()
    if response.status // 100 != 2:
        raise FetchError("issuer_unreachable", f"the proxy answers {response.status}")


class HttpsFetcher:
    """Fetches documents under the rules of this module, in the calling thread; thread-safe.

    Tests give arguments, as they serve documents on loopback.

    Args:
        is_allowed: returns whether connections to an address are allowed.
        port: the TCP port of URLs without a port.
        context: TLS settings; by default with the system's certificate authorities.
        deadline: seconds for a whole fetch; name resolution may take longer.
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
        self.deadline_seconds = deadline

    def fetch(self, url: Url, access: Access = ANONYMOUS, limits: Limits = DOCUMENTS) -> Fetched:
        """Return the response to a request for a document.

        Raises:
            FetchError: `issuer_address_forbidden`, `issuer_unreachable`, `support_document_too_large`.
        """
        route = access.route.to(url.host)
        if not is_permitted(url, route):
            raise FetchError("issuer_address_forbidden", "no https URL of a public host name")
        port = self._port if url.port == HTTPS_PORT else url.port
        deadline = time.monotonic() + self.deadline_seconds
        try:
            with self._reach(url, port, route, deadline) as plain:
                if url.scheme == "http":
                    metered = MeteredSocket(plain, limits.response_bytes, deadline)
                    return exchange(metered, url, access.bearer, limits)
                own = route.authorities
                context = _private_authorities(own) if own else self._context
                secure = MeteredTls(plain, limits.response_bytes, deadline, context, url.host)
                return exchange(secure, url, access.bearer, limits)
        except ResponseTooLong:
            raise FetchError("support_document_too_large", "the response is too long") from None
        except (OSError, http.client.HTTPException, ValueError, RuntimeError) as error:
            raise FetchError("issuer_unreachable", reason_of(error)) from None

    def _reach(self, url: Url, port: int, route: Route, deadline: float) -> socket.socket:
        """Return a connection to a host; a proxy is where its operator put it, on any address."""
        if route.proxy is not None:
            name, proxy_port = route.proxy
            plain = self._connect(self._resolve(name), proxy_port, deadline)
            try:
                _open_tunnel(plain, url.host, port, deadline)
            except BaseException:
                plain.close()
                raise
            return plain
        addresses = self._resolve(url.host)
        if not addresses or not all(self._may_call(each, url, route) for each in addresses):
            raise FetchError("issuer_address_forbidden", "no address, or one that is not allowed")
        return self._connect(addresses, port, deadline)

    def _may_call(self, address: str, url: Url, route: Route) -> bool:
        if url.scheme == "http":
            return is_loopback_address(address)
        is_private = route.allows_private_addresses and is_private_address(address)
        return is_private or self._is_allowed(address)

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
