"""Messages between the service and a worker: JSON and byte strings over a socket.

No pickles: a worker parses hostile files, so what comes from it is parsed as if it were hostile too.

A message is `length of head (4 bytes, big-endian) || head || blobs`; the head is a JSON object whose
member `blobs` gives the length of each blob in bytes.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Final

_LENGTH: Final = struct.Struct(">I")
_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BLOB_BYTES: Final = 32 * 1024 * 1024

Message = tuple[dict[str, Any], list[bytes]]


class MalformedMessage(Exception):
    """The other side does not keep to the protocol."""


class Channel:
    """One end of a conversation.

    Args:
        connection: a connected stream socket, of the Unix domain if files are to be passed.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(
        self, document: dict[str, Any], blobs: Sequence[bytes] = (), descriptor: int | None = None
    ) -> None:
        """Send a message, and a file descriptor with it.

        Raises:
            OSError: the other side is gone.
        """
        head = json.dumps({**document, "blobs": [len(blob) for blob in blobs]}).encode()
        start = _LENGTH.pack(len(head))
        if descriptor is None:
            self._socket.sendall(start)
        else:
            socket.send_fds(self._socket, [start], [descriptor])
        self._socket.sendall(head)
        for blob in blobs:
            self._socket.sendall(blob)

    def receive(self, until: float | None = None) -> Message:
        """Return the next message: its document and its blobs.

        Args:
            until: when to give up, in seconds of `time.monotonic`.

        Raises:
            EOFError: the other side is gone.
            TimeoutError: it was silent for too long.
            MalformedMessage: it sent something else.
        """
        return self._after(self._read(_LENGTH.size, until), until)

    def receive_with_descriptor(self) -> tuple[dict[str, Any], int]:
        """Return the next message's document and the file descriptor that came with it.

        Raises:
            EOFError, MalformedMessage: see `receive`.
        """
        start, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH.size, 1)
        if not start:
            raise EOFError
        if len(start) < _LENGTH.size:
            start += self._read(_LENGTH.size - len(start), None)
        document, _ = self._after(start, None)
        if len(descriptors) != 1:
            raise MalformedMessage
        return document, descriptors[0]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _after(self, start: bytes, until: float | None) -> Message:
        [length] = _LENGTH.unpack(start)
        if length > _MAX_HEAD_BYTES:
            raise MalformedMessage
        try:
            document = json.loads(self._read(length, until))
            lengths = [int(each) for each in document.pop("blobs")]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise MalformedMessage from None
        if any(each < 0 for each in lengths) or sum(lengths) > _MAX_BLOB_BYTES:
            raise MalformedMessage
        return document, [self._read(each, until) for each in lengths]

    def _read(self, length: int, until: float | None) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            if until is not None:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
            try:
                count = self._socket.recv_into(view)
            except ConnectionError:
                raise EOFError from None
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(data)
