"""What a supervisor and the processes that it looks after say to each other, over a socket pair.

A message is `kind (1 byte) || length (4 bytes, big-endian) || text`. Either side is trusted.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

FIGURES: Final = b"F"
"""To a process: tell your figures. From it: these are they."""

WELL: Final = b"W"
"""From a process: it can do its work."""

STOP: Final = b"S"
"""To a process: stop, and tell balancers."""

RETIRE: Final = b"R"
"""To a process: stop, as another goes on listening."""

_HEAD: Final = struct.Struct(">cI")

Message = tuple[bytes, str]


class Messages:
    """Puts messages together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take a piece; yield the messages that it completes."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._data)
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            yield kind, self._data[_HEAD.size : end].decode("utf-8")
            del self._data[:end]


class ControlChannel:
    """One end of a conversation.

    Args:
        connection: a connected stream socket.
    """

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
        """Return what has arrived; nothing if the other side is gone."""
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
        """Hang up."""
        self._socket.close()
