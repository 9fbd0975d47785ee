from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.servers.applications import Clock, wait_for
from support.servers.transit import (
    Behaviour,
    FakeTransit,
    drips,
    floods,
    freezes,
    sends,
    transit_service,
)

from persona_profile.encoding import json_encode
from persona_profile.keys import vault_client as vault
from persona_profile.keys.service import KeysUnavailable
from persona_profile.keys.transit import TransitService
from persona_profile.runtime.waiting import Wait, WaitingBudget

PARTITION = b"p" * 32
DATA_KEY = b"a data key that is nowhere else!"
MARK = "text-of-the-server"
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SHORT = 0.3
"""A deadline that the server misses in any case."""


@pytest.fixture
def hasty(fake: FakeTransit, token_file: Path, clock: Clock) -> Iterator[TransitService]:
    """The service at that server, with a short time-out."""
    running = transit_service(fake.url, token_file, timeout=SHORT, clock=clock)
    yield running
    fake.thawed.set()
    running.close()


@pytest.mark.parametrize(
    "behaviour",
    [
        freezes,
        drips(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        drips(HEADERS, b"X: y\r\n"),
        drips(HEADERS + b"\r\n", b" "),
        drips(HEADERS + b"Content-Length: 9000\r\n\r\n", b" "),
        drips(b"HTTP/1.0 200 OK\r\n\r\n", b" "),
    ],
    ids=["frozen", "drips a header", "drips headers", "drips a body", "of a length", "of HTTP/1.0"],
)
def test_no_answer_in_time(hasty: TransitService, fake: FakeTransit, behaviour: Behaviour) -> None:
    """A server that does not come to an end is given up, and its connection closed."""
    fake.behaviour = behaviour  # without an end
    with pytest.raises(KeysUnavailable, match="in time"):
        hasty.wrap(PARTITION, DATA_KEY)


CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        floods(b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
        floods(HEADERS, b"X: y\r\n"),
        floods(HEADERS + b"X: ", b"y"),
        floods(HEADERS + b"\r\n", b" "),
        floods(CHUNKED, b"1\r\n \r\n"),
        floods(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\n \r\n"),
        floods(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
        floods(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: " + b"y" * 60_000 + b"\r\n"),
    ],
    ids=[
        "interim answers",
        "interim answers with headers",
        "headers",
        "a header",
        "a body",
        "chunks",
        "extensions of chunks",
        "trailers",
        "long trailers",
    ],
)
def test_answer_without_end(service: TransitService, fake: FakeTransit, behaviour: Behaviour) -> None:
    """All bytes of an answer are counted: a server that sends without end is left before its time."""
    fake.behaviour = behaviour
    with pytest.raises(KeysUnavailable, match="no valid response"):
        service.primary_version()
    fake.behaviour = None
    assert service.primary_version() == 1


def test_many_answers_on_one_connection(service: TransitService, fake: FakeTransit) -> None:
    """The bytes count for each answer by itself, however many a connection brings."""
    padded = json_encode({"data": {"latest_version": 7}, "padding": "x" * 50_000})
    fake.behaviour = sends(padded)
    for _ in range(20):
        with pytest.raises(KeysUnavailable, match="no valid response"):
            service.wrap(PARTITION, DATA_KEY)
    assert len(fake.sockets) == 1
    assert service.primary_version() == 7


def test_long_waits_need_a_place(fake: FakeTransit, token_file: Path, clock: Clock) -> None:
    """A slow request needs a place of the budget, or is given up; a quick one needs none."""
    budget = WaitingBudget(8)
    service = transit_service(
        fake.url,
        token_file,
        timeout=30,
        place=lambda: budget.place(Wait.KEY_SERVICE),
        clock=clock,
    )
    most = budget.limit(Wait.KEY_SERVICE)
    fake.behaviour = freezes
    with ThreadPoolExecutor(4) as threads:
        waits = [threads.submit(service.primary_version) for _ in range(4)]
        for rejected in range(4 - most, 0, -1):
            wait_for(lambda rejected=rejected: sum(each.done() for each in waits) >= rejected)
        wait_for(lambda: budget.in_use()["key_service"] == most)
        fake.thawed.set()
        messages = sorted(str(each.exception(60)) for each in waits)
    assert messages == sorted([vault.BUSY] * (4 - most) + [vault.UNREACHABLE] * most)
    assert budget.in_use()["key_service"] == 0
    fake.behaviour = None
    with contextlib.ExitStack() as held:
        for _ in range(most):
            held.enter_context(budget.place(Wait.KEY_SERVICE))
        wait_for(lambda: answers_at_once(service))
    service.close()


def answers_at_once(service: TransitService) -> bool:
    """Return whether a request was answered before it would have needed a place."""
    try:
        return service.primary_version() == 1
    except KeysUnavailable:
        return False


def test_tls_handshake_that_never_ends(token_file: Path) -> None:
    """A server that accepts and does not shake hands is given up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        service = transit_service(url, token_file, timeout=SHORT)
        with pytest.raises(KeysUnavailable, match="in time"):
            service.primary_version()
        service.close()


def test_name_resolution_that_hangs(
    hasty: TransitService, fake: FakeTransit, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent resolver blocks no thread."""
    resolve, is_back = socket.getaddrinfo, threading.Event()

    def hang(*arguments: object) -> object:
        assert is_back.wait(60)
        return resolve(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(KeysUnavailable, match="in time"):
        hasty.primary_version()
    assert not fake.requests
    is_back.set()
    assert _eventually(hasty.primary_version, clock) == 1


@pytest.mark.parametrize("behaviour", [freezes, drips(HEADERS + b"X: ", b"x")], ids=["frozen", "drips"])
def test_places_are_given_back(
    token_file: Path, fake: FakeTransit, clock: Clock, behaviour: Behaviour
) -> None:
    """However many time out, none goes on waiting: once the server is back it is asked again."""
    service = transit_service(fake.url, token_file, timeout=SHORT, max_connections=2, clock=clock)
    fake.behaviour = behaviour
    until = time.monotonic() + 60
    while len(fake.requests) < 4:
        assert time.monotonic() < until
        with pytest.raises(KeysUnavailable):
            service.primary_version()
        clock.now += vault.SILENCE_SECONDS
    fake.behaviour = None
    assert _eventually(service.primary_version, clock) == 1
    service.close()


def test_frozen_server_takes_half_the_threads(service: TransitService, fake: FakeTransit) -> None:
    """Of eight threads four wait for a frozen server; the others are rejected at once."""
    fake.behaviour = freezes
    rejected = threading.Semaphore(0)

    def call(_: int) -> str:
        try:
            return str(len(service.wrap(PARTITION, DATA_KEY)))
        except KeysUnavailable as error:
            rejected.release()
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(call, number) for number in range(8)]
        for _ in range(4):
            assert rejected.acquire(timeout=20)  # long before the time-out
        assert sum(not each.done() for each in results) >= 4
        while len(fake.requests) < 4:
            time.sleep(0.01)
        fake.thawed.set()
        messages = sorted(each.result(60) for each in results)
    assert messages == sorted([vault.BUSY] * 4 + [vault.UNREACHABLE] * 4)
    assert len(fake.requests) == 4


def test_silence_spares_others_the_wait(fake: FakeTransit, token_file: Path, clock: Clock) -> None:
    """After a time-out requests fail without being sent, for a while; then one is sent to see."""
    service = transit_service(fake.url, token_file, timeout=1, clock=clock)
    fake.behaviour = freezes
    for _ in range(6):
        with pytest.raises(KeysUnavailable, match="in time"):
            service.primary_version()
    assert len(fake.requests) == 1
    clock.now += vault.SILENCE_SECONDS
    for _ in range(6):
        with pytest.raises(KeysUnavailable, match="in time"):
            service.primary_version()
    assert len(fake.requests) == 2
    fake.behaviour = None
    clock.now += vault.SILENCE_SECONDS
    assert _eventually(service.primary_version, clock) == 1
    service.close()


def test_one_probe_at_a_time(fake: FakeTransit, token_file: Path, clock: Clock) -> None:
    """While one request probes a silent server, others are rejected at once."""
    service = transit_service(fake.url, token_file, timeout=3, clock=clock)
    probing, go_on = threading.Event(), threading.Event()

    def answer_late(handler) -> None:
        probing.set()
        assert go_on.wait(60)
        handler.send_document(200, {"data": {"latest_version": 7}})

    fake.behaviours = [freezes, answer_late]
    with pytest.raises(KeysUnavailable, match="in time"):
        service.primary_version()
    clock.now += vault.SILENCE_SECONDS
    with ThreadPoolExecutor(1) as threads:
        probe = threads.submit(service.primary_version)
        assert probing.wait(60)
        for _ in range(6):
            with pytest.raises(KeysUnavailable, match="in time"):
                service.wrap(PARTITION, DATA_KEY)
        assert len(fake.requests) == 2
        go_on.set()
        assert probe.result(60) == 7
    service.close()


def _eventually(operation: Callable[[], int], clock: Clock) -> int:
    """Return what an operation returns once the server is asked and a place is free."""
    until = time.monotonic() + 60
    while True:
        try:
            return operation()
        except KeysUnavailable:
            assert time.monotonic() < until
            clock.now += vault.SILENCE_SECONDS
            time.sleep(0.02)
