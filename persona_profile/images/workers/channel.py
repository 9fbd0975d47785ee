"""Messages between the service and a worker: JSON and byte strings over a socket.

There are no pickles: a worker parses hostile files, so its messages may be hostile too.

A message is `length of head (4 bytes, big-endian) || head || blobs`; the head is a JSON object whose
member `blobs` gives the length of each blob in bytes.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

_LENGTH: Final = struct.Struct(">I")
_MAX_HEAD_BYTES: Final = 64 * 1024
_MEANWHILE_SECONDS: Final = 0.05

Message = tuple[dict[str, Any], list[bytes]]


class MalformedMessage(Exception):
    """The other side violates the protocol."""


class Channel:
    """One end of a conversation over a stream socket, of the Unix domain if files are to be passed."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """Return the descriptor of the socket, for `select.poll`."""
        return self._socket.fileno()

    def send(
        self, document: dict[str, Any], blobs: Sequence[bytes] = (), descriptors: Sequence[int] = ()
    ) -> None:
        """Send a message, and file descriptors with it. Raises OSError if the other side is gone."""
        head = json.dumps({**document, "blobs": [len(blob) for blob in blobs]}).encode()
        start = _LENGTH.pack(len(head))
        if descriptors:
            socket.send_fds(self._socket, [start], descriptors)
            start = b""
        # In one piece: between two pieces the receiver would run in the sender's place.
        self._socket.sendall(start + head)
        for blob in blobs:
            self._socket.sendall(blob)

    def receive(
        self,
        until: float | None = None,
        *,
        max_blobs: int = 0,
        max_blob_bytes: int = 0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Message:
        """Return the document and the blobs of the next message. Descriptors with it are closed.

        With a time `until`, `meanwhile` is called every 50 ms until the message is complete.

        Raises:
            EOFError: the other side is gone.
            TimeoutError: no complete message arrived until a time of `time.monotonic`.
            MalformedMessage: the other side violates the protocol.
        """

        def read(length: int) -> bytes:
            return self._read(length, until, meanwhile)

        document, lengths = self._head(read(_LENGTH.size), read)
        if len(lengths) > max_blobs or any(each > max_blob_bytes for each in lengths):
            raise MalformedMessage
        return document, [read(each) for each in lengths]

    def receive_with_descriptors(self, max_descriptors: int) -> tuple[dict[str, Any], list[int]]:
        """Return the next message's document and its file descriptors. See `receive`."""
        start, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH.size, max_descriptors)
        if not start:
            raise EOFError
        if len(start) < _LENGTH.size:
            start += self._read(_LENGTH.size - len(start))
        document, lengths = self._head(start, self._read)
        if lengths:
            raise MalformedMessage
        return document, descriptors

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _head(self, start: bytes, read: Callable[[int], bytes]) -> tuple[dict[str, Any], list[int]]:
        """Return a message's document, and the sizes of its blobs in bytes."""
        [length] = _LENGTH.unpack(start)
        if length > _MAX_HEAD_BYTES:
            raise MalformedMessage
        try:
            document = json.loads(read(length))
            lengths = list(document.pop("blobs"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise MalformedMessage from None
        if not all(type(each) is int and each >= 0 for each in lengths):
            raise MalformedMessage
        return document, lengths

    def _read(
        self,
        length: int,
        until: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            if until is not None:
                self._wait(until, meanwhile)
            try:
                count = self._socket.recv_into(view)
            except ConnectionError:
                raise EOFError from None
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(data)

    def _wait(self, until: float, meanwhile: Callable[[], None]) -> None:
        """Wait for bytes, or the end of the other side."""
        events = select.poll()
        events.register(self._socket, select.POLLIN)
        while True:
            meanwhile()
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if events.poll(1000 * min(left, _MEANWHILE_SECONDS)):
                return
