"""Messages between a supervisor and its processes, over a socket pair.

A message is `kind (1 byte) || length (4 bytes, big-endian) || text`. Both sides are trusted.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

METRICS: Final = b"M"
"""To a process: send your metrics. From a process: its metrics."""

HEALTHY: Final = b"H"
"""From a process: it is healthy."""

FAULTS: Final = b"F"
"""From a process that ends: what is wrong with its settings and files."""

STOP: Final = b"S"
"""To a process: announce the end to load balancers, then stop."""

RETIRE: Final = b"R"
"""To a process: stop at once, as another process goes on listening."""

_HEAD: Final = struct.Struct(">cI")

Message = tuple[bytes, str]


class Messages:
    """Assembles messages from the received pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add a piece; yield the messages that it completes."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._data)
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            yield kind, self._data[_HEAD.size : end].decode("utf-8")
            del self._data[:end]


class ControlChannel:
    """One end of a control connection, which is a connected stream socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def send(self, kind: bytes, text: str = "") -> bool:
        """Send a message; return whether the other side is still there."""
        data = text.encode("utf-8")
        try:
            with self._lock:
                self._socket.sendall(_HEAD.pack(kind, len(data)) + data)
        except OSError:
            return False
        return True

    def receive(self) -> bytes:
        """Return received bytes; none if the other side is gone."""
        try:
            return self._socket.recv(256 * 1024)
        except OSError:
            return b""

    def messages(self) -> Iterator[Message]:
        """Yield messages until the other side is gone."""
        messages = Messages()
        while data := self.receive():
            yield from messages.feed(data)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
