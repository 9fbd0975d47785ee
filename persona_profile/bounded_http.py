"""HTTP responses of bounded size: every received byte is counted.

A limit on the body alone leaves out interim responses (`100 Continue`), headers, chunk extensions and
trailers, which `http.client` reads without limit.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

_RECORD_BYTES: Final = 16 * 1024

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ResponseTooLong(http.client.HTTPException):
    """A server sent more bytes than allowed."""


class MeteredSocket:
    """A TCP connection with a limit on received bytes, and a deadline.

    It has all that `http.client` needs of a socket. The owner closes the plain socket.

    Args:
        plain: the connected socket.
        max_bytes: limit of received bytes, TLS records included.
        deadline: `time.monotonic()` instant after which every call raises TimeoutError.
    """

    def __init__(self, plain: socket.socket, max_bytes: int, deadline: float) -> None:
        self._plain = plain
        self._left = max_bytes
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            OSError: the bytes can't be sent before the deadline.
        """
        self._send(data)

    def receive(self, size: int) -> bytes:
        """Return up to `size` bytes; empty at the end of the stream.

        Raises:
            ResponseTooLong: more than `max_bytes` have arrived.
            OSError: nothing arrives before the deadline.
        """
        return self._receive(size)

    def makefile(self, _mode: str = "rb") -> io.BufferedReader:
        """Return a readable file on the connection."""
        return io.BufferedReader(_Reader(self.receive))

    def close(self) -> None:
        """Do nothing; the owner closes the plain socket."""

    def _send(self, data: bytes) -> None:
        self._plain.settimeout(self._remaining())
        self._plain.sendall(data)

    def _receive(self, size: int) -> bytes:
        self._plain.settimeout(self._remaining())
        data = self._plain.recv(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise ResponseTooLong
        return data

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining


class MeteredTls(MeteredSocket):
    """TLS over a metered connection. The constructor completes the handshake.

    TLS works in memory here, since `ssl.SSLSocket` hides bytes that yield no data, such as session
    tickets and key updates.

    Args:
        plain: the connected socket.
        max_bytes: as for `MeteredSocket`.
        deadline: as for `MeteredSocket`.
        context: TLS settings.
        name: host name that the certificate must have.

    Raises:
        OSError: no valid handshake before the deadline.
        ResponseTooLong: the handshake exceeds `max_bytes`.
    """

    def __init__(
        self, plain: socket.socket, max_bytes: int, deadline: float, context: ssl.SSLContext, name: str
    ) -> None:
        super().__init__(plain, max_bytes, deadline)
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=name)
        self._carry_out(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send bytes. See `MeteredSocket`."""
        self._carry_out(self._tls.write, data)

    def receive(self, size: int) -> bytes:
        """Return up to `size` bytes. See `MeteredSocket`."""
        try:
            return self._carry_out(self._tls.read, size)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""  # HTTP's own lengths show whether the response is complete

    def _carry_out(self, operation: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run a TLS operation: feed it received bytes and send its output until it succeeds."""
        while True:
            try:
                result = operation(*args, **kwargs)
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._receive(_RECORD_BYTES):
                    self._arrived.write(data)
                else:
                    self._arrived.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._leaving.read():
            self._send(data)


class BoundedResponse(http.client.HTTPResponse):
    """A response of bounded size on a connection that stays open; TLS records do not count.

    Attributes:
        max_bytes: limit of received bytes.
    """

    max_bytes = 128 * 1024

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        left = self.max_bytes
        raw = self.fp.detach()

        def read(size: int) -> bytes:
            nonlocal left
            data: bytes = raw.read(min(size, left + 1)) or b""
            left -= len(data)
            if left < 0:
                raise ResponseTooLong
            return data

        self.fp = io.BufferedReader(_Reader(read, raw.close))


class _Reader(io.RawIOBase):
    """A raw file over a function that returns up to the given number of bytes."""

    def __init__(self, read: Callable[[int], bytes], close: Callable[[], None] = lambda: None) -> None:
        self._read = read
        self._close = close

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer and return the number of bytes."""
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close."""
        if not self.closed:
            self._close()
        super().close()
