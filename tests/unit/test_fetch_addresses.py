"""Whom the fetcher of support documents calls, and how many at once."""

from __future__ import annotations

import gc
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.tls import (
    NAME,
    PATH,
    answer,
    answering,
    dripping,
    fetch_from,
    fetcher,
    server_context,
    serving,
    silent,
)

from persona_profile.auth.fetch import MAX_LOOKUPS, FetchError, is_public_address
from persona_profile.errors import Overloaded

FORBIDDEN = {
    "loopback": ["127.0.0.1"],
    "loopback, another": ["127.8.9.10"],
    "private 10": ["10.0.0.1"],
    "private 172.16": ["172.16.0.1"],
    "private 192.168": ["192.168.1.1"],
    "cloud metadata": ["169.254.169.254"],
    "carrier-grade NAT": ["100.64.0.1"],
    "this host": ["0.0.0.0"],
    "broadcast": ["255.255.255.255"],
    "multicast": ["224.0.0.1"],
    "reserved": ["240.0.0.1"],
    "documentation": ["192.0.2.1"],
    "benchmarking": ["198.18.0.1"],
    "IPv6 loopback": ["::1"],
    "IPv6 unspecified": ["::"],
    "IPv4-mapped loopback": ["::ffff:127.0.0.1"],
    "IPv4-compatible loopback": ["::127.0.0.1"],
    "NAT64 loopback": ["64:ff9b::7f00:1"],
    "local NAT64": ["64:ff9b:1::7f00:1"],
    "6to4": ["2002:7f00:1::1"],
    "Teredo": ["2001:0:7f00:1::1"],
    "link-local": ["fe80::1"],
    "link-local with a zone": ["fe80::1%lo"],
    "unique local": ["fd00::1"],
    "site-local": ["fec0::1"],
    "IPv6 multicast": ["ff02::1"],
    "IPv6 documentation": ["2001:db8::1"],
    "IPv6 discard": ["100::1"],
    "a public and a private one": ["93.184.215.14", "127.0.0.1"],
    "a private one after many public ones": ["93.184.215.14"] * 10 + ["10.0.0.1"],
    "none": [],
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_address(name):
    """A name that leads to an address that is not public is refused, and nobody is called."""
    with serving(answering(answer()), server_context(NAME)) as server:
        subject = fetcher(
            server.port, resolve=lambda _name: FORBIDDEN[name], is_allowed=is_public_address
        )
        with pytest.raises(FetchError, match="issuer_address_forbidden"):
            subject.fetch(NAME, PATH)
        assert server.connections == 0


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "1.1.1.1", "::ffff:1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"],
)
def test_public_address(address):
    """A public address may be called."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "[::1]",
        "::1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.0.0.0x1",
        f"{NAME}:22",
        f"{NAME}.",
        f"a@{NAME}",
        f"{NAME}/x",
        f"{NAME}\r\nHost: x",
        f"{NAME}\0",
        "ISSUER.TEST",
        "",
    ],
)
def test_forbidden_name(name):
    """What is no canonical domain name is not even resolved."""
    resolved = []
    with pytest.raises(FetchError, match="issuer_address_forbidden"):
        fetcher(1, resolve=resolved.append).fetch(name, PATH)
    assert resolved == []


def test_name_resolved_once():
    """The address that was checked is the one that is called, however names change meanwhile."""
    resolved, checked = [], []

    def rebinding(name):
        resolved.append(name)
        return ["127.0.0.1"] if len(resolved) == 1 else ["127.0.0.2"]

    def is_allowed(address):
        checked.append(address)
        return True

    options = {"resolve": rebinding, "is_allowed": is_allowed}
    server, fetched = fetch_from(answering(answer()), **options)
    assert (fetched.status, server.connections) == (200, 1)
    assert (resolved, checked) == ([NAME], ["127.0.0.1"])


@pytest.mark.parametrize(
    "failure", [socket.gaierror(-2, "no such name"), UnicodeError("label"), TimeoutError()]
)
def test_name_unknown(failure):
    """A name that can't be resolved is told as a failed lookup."""

    def resolve(_name):
        raise failure

    with pytest.raises(FetchError, match="issuer_unreachable"):
        fetcher(1, resolve=resolve).fetch(NAME, PATH)


def test_resolver_answers_nonsense():
    """An answer of the resolver that is no address is told as a failed lookup."""
    subject = fetcher(1, resolve=lambda _name: ["nonsense"], is_allowed=is_public_address)
    with pytest.raises(FetchError, match="issuer_unreachable"):
        subject.fetch(NAME, PATH)


def test_too_many_lookups():
    """Beyond the limit a lookup is refused at once; when the others are through, it is done."""
    go_on, busy = threading.Event(), threading.Semaphore(0)

    def resolve(_name):
        busy.release()
        go_on.wait(10)
        return ["127.0.0.1"]

    with serving(answering(answer()), server_context(NAME)) as server:
        subject = fetcher(server.port, resolve=resolve)
        with ThreadPoolExecutor(MAX_LOOKUPS) as pool:
            others = [pool.submit(subject.fetch, NAME, PATH) for _ in range(MAX_LOOKUPS)]
            assert all(busy.acquire(timeout=5) for _ in others)
            start = time.monotonic()
            with pytest.raises(Overloaded) as refused:
                subject.fetch(NAME, PATH)
            assert time.monotonic() - start < 2
            assert refused.value.headers["Retry-After"] == "1"
            go_on.set()
            assert [other.result(5).status for other in others] == [200] * MAX_LOOKUPS
        assert subject.fetch(NAME, PATH).status == 200


def test_places_are_given_back():
    """However a lookup ends, its place is free for the next."""
    with pytest.raises(FetchError):
        fetcher(1, resolve=lambda _name: []).fetch(NAME, PATH)
    for handler in (answering(b""), answering(answer(b" " * 99_999)), silent):
        with serving(handler, server_context(NAME)) as server:
            subject = fetcher(server.port, deadline=0.1)
            for _ in range(2 * MAX_LOOKUPS):
                with pytest.raises(FetchError):
                    subject.fetch(NAME, PATH)


def test_resolver_hangs():
    """A name whose resolution hangs costs the deadline, and its place until the resolver is back."""
    go_on = threading.Event()

    def resolve(name):
        if name != NAME:
            go_on.wait(10)
        return ["127.0.0.1"]

    with serving(answering(answer()), server_context(NAME)) as server:
        subject = fetcher(server.port, resolve=resolve, deadline=0.5)
        start = time.monotonic()
        with ThreadPoolExecutor(MAX_LOOKUPS) as pool:
            hanging = [pool.submit(subject.fetch, "hangs.test", PATH) for _ in range(MAX_LOOKUPS)]
            assert {str(each.exception(5)) for each in hanging} == {"issuer_unreachable"}
        assert time.monotonic() - start < 3
        with pytest.raises(Overloaded):
            subject.fetch(NAME, PATH)
        go_on.set()
        assert _eventually(lambda: subject.fetch(NAME, PATH).status == 200)
        # Nobody waits any more for those that hung: they called nobody.
        assert server.connections == 1


def _eventually(attempt):
    for _ in range(100):
        try:
            return attempt()
        except Overloaded:
            time.sleep(0.02)
    return False


def test_closed_fetcher():
    """A fetcher that was closed looks nothing up any more, and says so every time."""
    subject = fetcher(1)
    subject.close()
    for _ in range(MAX_LOOKUPS + 1):
        with pytest.raises(Overloaded, match="can be looked up"):
            subject.fetch(NAME, PATH)


def test_nothing_is_left_open():
    """No fetch, good or bad, leaves a socket or a watchdog behind."""
    handlers = [answering(answer()), answering(b""), dripping(b"HTTP/1.1 200 OK\r\n", b"x"), silent]
    gc.collect()
    before = len(list(Path("/dev/fd").iterdir()))
    for handler in handlers:
        fetch_from(handler, deadline=0.2)
        fetch_from(handler, server_context("other.test"), deadline=0.2)
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
