"""Fetch small documents over HTTPS from hosts that strangers name, and from nowhere else.

The rules against server-side request forgery: a name with two labels or more, never an address; port
443, unless the configuration states another; the address that is connected to must be public, and it
is the one that was checked, as the name is resolved once; a valid certificate for the name; no
redirects; a bound on all bytes that arrive; one deadline. `lookups` bounds how many are fetched at
once.
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
from typing import Final

from persona_profile.auth.public_addresses import is_public_address
from persona_profile.bounded_http import MeteredSocket, MeteredTls, ResponseTooLong
from persona_profile.emails import is_canonical_domain

MAX_DOCUMENT_BYTES: Final = 64 * 1024
MAX_ANSWER_BYTES: Final = 256 * 1024
"""Of a whole connection: certificates, interim answers, headers, framing of chunks, the document."""

DEADLINE_SECONDS: Final = 5.0
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


def resolve(name: str) -> Sequence[str]:
    """Return the addresses of a name, as the system's resolver orders them."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def exchange(connection: MeteredSocket, host: str, target: str) -> Fetched:
    """Request a document over a connection; a redirect is an answer like any other.

    Raises:
        FetchError: `support_document_too_large`, for all bytes of the answer or its body.
        OSError, http.client.HTTPException: there is no answer.
    """
    client = http.client.HTTPConnection(host)
    client.sock = connection
    try:
        client.request("GET", target, headers=_HEADERS)
        with client.getresponse() as response:
            body = response.read(MAX_DOCUMENT_BYTES + 1)
    except ResponseTooLong:
        raise FetchError("support_document_too_large") from None
    if len(body) > MAX_DOCUMENT_BYTES:
        raise FetchError("support_document_too_large")
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(response.status, media_type, body)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Trust the system's certificate authorities, which take some time to read."""
    return ssl.create_default_context()


class HttpsFetcher:
    """Fetches documents under the rules of this module, in the thread that calls; several do at once.

    The arguments are there for tests, which serve documents on loopback.

    Args:
        resolve: returns the addresses of a name.
        is_allowed: returns whether an address may be connected to.
        port: TCP port where nothing else is stated.
        context: TLS settings; by default the system's certificate authorities.
        deadline: seconds for one document from start to end; name resolution may take longer.
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

    def fetch(self, domain: str, path: str, port: int | None = None) -> Fetched:
        """Fetch `https://<domain>[:<port>]<path>`.

        Raises:
            FetchError: `issuer_address_forbidden`, `issuer_unreachable`, `support_document_too_large`.
        """
        if not is_canonical_domain(domain):
            raise FetchError("issuer_address_forbidden")
        deadline = time.monotonic() + self.deadline_seconds
        try:
            addresses = self._resolve(domain)
            if not addresses or not all(map(self._is_allowed, addresses)):
                raise FetchError("issuer_address_forbidden")
            with self._connect(addresses, port or self._port, deadline) as plain:
                secure = MeteredTls(plain, MAX_ANSWER_BYTES, deadline, self._context, domain)
                return exchange(secure, f"{domain}:{port}" if port else domain, path)
        except ResponseTooLong:
            raise FetchError("support_document_too_large") from None
        except (OSError, http.client.HTTPException, ValueError, RuntimeError):
            raise FetchError("issuer_unreachable") from None

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
