from __future__ import annotations

import os
import socket
import struct
import threading
import time

import pytest

from persona_profile.images.channel import Channel, MalformedMessage


@pytest.fixture
def ends():
    """Both ends of a conversation, as sockets."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def framed(head: bytes) -> bytes:
    """Return a message as it is on the wire."""
    return struct.pack(">I", len(head)) + head


def test_messages(ends):
    """Documents and bytes come out as they went in, however large."""
    ours, theirs = map(Channel, ends)
    blobs = [b"", b"x", os.urandom(3_000_000)]
    sender = threading.Thread(target=ours.send, args=({"a": [1, "é"]}, blobs))
    sender.start()
    assert theirs.receive(time.monotonic() + 5) == ({"a": [1, "é"]}, blobs)
    sender.join()


def test_files(ends, tmp_path):
    """A file descriptor crosses with a message."""
    ours, theirs = map(Channel, ends)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        ours.send({"n": 1}, descriptor=file.fileno())
    document, descriptor = theirs.receive_with_descriptor()
    with os.fdopen(descriptor, "rb") as received:
        assert (document, received.read()) == ({"n": 1}, b"content")


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        framed(b"junk"),
        framed(b"\xff\xfe"),
        framed(b"[]"),
        framed(b"{}"),
        framed(b'{"blobs": 5}'),
        framed(b'{"blobs": ["x"]}'),
        framed(b'{"blobs": [-1]}'),
        framed(b'{"blobs": [1e99]}'),
        framed(b'{"blobs": [99999999999]}'),
        framed(b'{"blobs": [30000000, 30000000]}'),
        framed(b"[" * 60_000),
    ],
)
def test_malformed(ends, sent):
    """Whatever else comes is told as such, and nothing is allocated for it."""
    ours, theirs = ends
    theirs.sendall(sent)
    with pytest.raises(MalformedMessage):
        Channel(ours).receive(time.monotonic() + 5)


@pytest.mark.parametrize("sent", [b"", b"\0", framed(b'{"blobs": [5]}') + b"1234"])
def test_other_side_ends(ends, sent):
    """A message that stops amid is none."""
    ours, theirs = ends
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(EOFError):
        Channel(ours).receive(time.monotonic() + 5)


def test_silence(ends):
    """To wait has an end, also where bytes trickle in."""
    ours, theirs = ends
    stop = threading.Event()

    def trickle() -> None:
        theirs.sendall(framed(b'{"blobs": [1000]}'))
        while not stop.wait(0.05):
            theirs.sendall(b"x")

    sender = threading.Thread(target=trickle)
    sender.start()
    with pytest.raises(TimeoutError):  # the bytes have no end
        Channel(ours).receive(time.monotonic() + 0.5)
    stop.set()
    sender.join()


def test_missing_file(ends):
    """A job without its file is malformed."""
    ours, theirs = ends
    Channel(theirs).send({})
    with pytest.raises(MalformedMessage):
        Channel(ours).receive_with_descriptor()
