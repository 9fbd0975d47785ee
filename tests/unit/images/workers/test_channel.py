from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time

import pytest

from persona_profile.images.workers.channel import Channel, MalformedMessage


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
    received = theirs.receive(time.monotonic() + 60, max_blobs=3, max_blob_bytes=3_000_000)
    assert received == ({"a": [1, "é"]}, blobs)
    sender.join()


def test_work_meanwhile(ends):
    """Other work goes on while a message is incomplete, wherever it stands still."""
    ours, (_, theirs) = Channel(ends[0]), ends
    for length in range(3):
        message = framed(b'{"blobs": [1]}') + b"x"
        parts = [message[: 2 + 8 * length], message[2 + 8 * length :]]
        calls = 0

        def send_the_rest() -> None:
            nonlocal calls
            calls += 1
            if calls % 3 == 0 and parts:  # noqa: B023
                theirs.sendall(parts.pop(0))  # noqa: B023

        received = ours.receive(
            time.monotonic() + 60, max_blobs=1, max_blob_bytes=1, meanwhile=send_the_rest
        )
        assert received == ({}, [b"x"])
        assert calls >= 6


def test_files(ends, tmp_path):
    """A file descriptor crosses with a message."""
    ours, theirs = map(Channel, ends)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        ours.send({"n": 1}, descriptors=[file.fileno()])
    document, [descriptor] = theirs.receive_with_descriptors(1)
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
        framed(b'{"blobs": ["1"]}'),
        framed(b'{"blobs": [true]}'),
        framed(b'{"blobs": [1.0]}'),
        framed(b'{"blobs": [11]}'),
        framed(b'{"blobs": [1, 1, 1]}'),
        framed(b"[" * 60_000),
    ],
)
def test_malformed(ends, sent):
    """Any other message is malformed, and nothing is allocated for it."""
    ours, theirs = ends
    theirs.sendall(sent)
    with pytest.raises(MalformedMessage):
        Channel(ours).receive(time.monotonic() + 60, max_blobs=2, max_blob_bytes=10)


@pytest.mark.parametrize("sent", [b"", b"\0", framed(b'{"blobs": [5]}') + b"1234"])
def test_other_side_ends(ends, sent):
    """A message that stops amid is none."""
    ours, theirs = ends
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(EOFError):
        Channel(ours).receive(time.monotonic() + 60, max_blobs=1, max_blob_bytes=10)


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
        Channel(ours).receive(time.monotonic() + 0.5, max_blobs=1, max_blob_bytes=1000)
    stop.set()
    sender.join()


def test_past_end_of_waiting(ends):
    """Nothing is read after the time to wait, whether bytes are there or not."""
    ours, theirs = ends
    theirs.sendall(framed(b'{"blobs": []}'))
    with pytest.raises(TimeoutError):
        Channel(ours).receive(time.monotonic() - 1)


def test_descriptors_that_nobody_asked_for(ends):
    """A descriptor that comes with an answer is not kept open."""
    ours, theirs = ends
    reading, writing = os.pipe()
    Channel(theirs).send({"a": 1}, descriptors=[writing])
    os.close(writing)
    assert Channel(ours).receive(time.monotonic() + 60) == ({"a": 1}, [])
    assert os.read(reading, 1) == b""  # nobody can write there any more
    os.close(reading)


def test_blobs_where_a_file_is_expected(ends):
    """A message to the fork server brings no blobs."""
    ours, theirs = ends
    theirs.sendall(framed(b'{"blobs": [1]}') + b"x")
    with pytest.raises(MalformedMessage):
        Channel(ours).receive_with_descriptors(2)


def test_message_to_the_fork_server_in_pieces(ends):
    """The length of a message may arrive in two pieces; a side that is gone is the end."""
    ours, theirs = ends
    message = framed(b'{"n": 1, "blobs": []}')
    theirs.sendall(message[:2])
    later = threading.Timer(0.1, theirs.sendall, [message[2:]])
    later.start()
    assert Channel(ours).receive_with_descriptors(1) == ({"n": 1}, [])
    later.join()
    theirs.close()
    with pytest.raises(EOFError):
        Channel(ours).receive_with_descriptors(1)


def test_reset_by_the_other_side():
    """A connection that is reset is one whose other side is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(EOFError):
            Channel(ours).receive(time.monotonic() + 60)


def test_readiness(ends):
    """A channel can be polled."""
    ours, theirs = map(Channel, ends)
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    assert poll.poll(0) == []
    theirs.send({})
    assert poll.poll(1000) == [(ours.fileno(), select.POLLIN)]
    theirs.close()
