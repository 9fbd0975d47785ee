"""Malformed HTTP requests, and the permitted answers."""

from __future__ import annotations

import contextlib
import json
import random
import resource
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from support.clients.contract import contract

BROKEN = [
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\0\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5_0\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
    b"GET /v1/ HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"GET /v1/ HTTP/1.1\nX: a\n\n",
    b"GET /v1/ HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET  /v1/  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1/v1/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/%zz?%ff=%00 HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET /v1/ HTTP/1.1\r\nHost: a\r\n"
    + b"".join(b"X-%d: x\r\n" % number for number in range(5000))
    + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 1000
    + b"0\r\n\r\n",
    b"\r\n" * 1000,
]
"""Broken framing, or framing on which servers disagree (RFC 9112, 6.3, 7.1 and 11.2)."""


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """Let this process open twice as many file descriptors: for connections, and their servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 2 * count)
    assert hard == resource.RLIM_INFINITY or wanted <= hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def change(raw, source):
    """Damage some bytes of a request."""
    at, end = sorted(source.randrange(len(raw) + 1) for _ in range(2))
    match source.randrange(4):
        case 0:
            raw[at:end] = b""
        case 1:
            raw[at:at] = raw[at:end]
        case 2:
            raw[at:at] = source.choice((b"\r\n", b"\n", b"\0", b"\xff", b":", b" ", b"\r\n\r\n"))
        case _:
            raw[at : at + 4] = source.randbytes(4)


def damaged(seed: int, requests: Sequence[bytes], count: int) -> Iterator[bytes]:
    """Yield requests with some bytes cut, duplicated or inserted."""
    source = random.Random(seed)
    for _ in range(count):
        raw = bytearray(source.choice(requests)[:2000])
        for _ in range(source.randint(1, 6)):
            change(raw, source)
        yield bytes(raw)


class Answer(NamedTuple):
    """An answer as received."""

    status: int
    headers: dict[str, str]
    body: bytes


def answers_in(received: bytes) -> list[Answer]:
    """Return all final answers in received bytes; fail if an answer is incomplete."""
    found = []
    while received := received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, received
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = int(headers["Content-Length"])
        assert len(rest) >= length, received
        found.append(Answer(int(lines[0].split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def assert_is_known(answer: Answer) -> None:
    """Check that an answer is no server error, and that a rejection has a problem document."""
    assert answer.status < 500 or answer.status == 501, answer
    if answer.status >= 400 and answer.body:
        assert answer.headers["Content-Type"] == "application/problem+json"
        contract().validate("Problem", json.loads(answer.body))
