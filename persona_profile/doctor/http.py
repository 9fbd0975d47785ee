"""Requests to servers of this installation, with a limit of time and of received bytes."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from persona_profile.bounded_http import MeteredSocket, MeteredTls
from persona_profile.encoding import Json, MalformedText, json_decode

SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LINE_BYTES: Final = 4096

Address = tuple[Any, ...] | str
"""The address of a socket: host and port, or the path of a Unix socket."""


class Response(NamedTuple):
    """An answer, and when it arrived, in seconds since 1970."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    at: float

    @property
    def document(self) -> Mapping[str, Json]:
        """The body as an object of JSON; empty if it is another."""
        try:
            found = json_decode(self.body)
        except MalformedText:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Server:
    """A server and the way to it.

    Attributes:
        authority: host and port, as in the `Host` header.
        address: where to connect.
        host: the name that its certificate must have.
        tls: the settings of TLS; None for plain HTTP.
    """

    authority: str
    address: Address
    host: str = ""
    tls: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        """Return a plain connection.

        Raises:
            OSError: there is none.
        """
        if not isinstance(self.address, str):
            return socket.create_connection(self.address[:2], timeout=SECONDS)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, target: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return the answer to a GET.

        Raises:
            OSError, http.client.HTTPException: there is none.
        """
        with closing(self.connect()) as plain:
            client = http.client.HTTPConnection(self.authority)
            client.sock = cast(Any, self._metered(plain))
            client.request("GET", target, headers={"Connection": "close", **(headers or {})})
            with client.getresponse() as response:
                body = response.read()
            return Response(response.status, response.headers, body, time.time())

    def first_status(self, method: str, target: str, size: int) -> int:
        """Announce a body that is never sent; return the first status: 100 if it would be read.

        Raises:
            OSError, ValueError: there is none.
        """
        lines = (
            f"{method} {target} HTTP/1.1",
            f"Host: {self.authority}",
            "Authorization: Bearer doctor",
            "Content-Type: application/octet-stream",
            f"Content-Length: {size}",
            "Expect: 100-continue",
            "\r\n",
        )
        with closing(self.connect()) as plain:
            metered = self._metered(plain)
            metered.sendall("\r\n".join(lines).encode("ascii"))
            received = b""
            while b"\r\n" not in received and len(received) < _LINE_BYTES:
                data = metered.receive(_LINE_BYTES)
                if not data:
                    break
                received += data
        match = _STATUS.match(received)
        if match is None:
            raise ValueError("no HTTP")
        return int(match[1])

    def _metered(self, plain: socket.socket) -> MeteredSocket:
        deadline = time.monotonic() + SECONDS
        if self.tls is None:
            return MeteredSocket(plain, MAX_BYTES, deadline)
        return MeteredTls(plain, MAX_BYTES, deadline, self.tls, self.host)
