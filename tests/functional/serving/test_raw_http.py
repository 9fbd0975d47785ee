from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time

import pytest
from support.clients.raw_http import BROKEN, answers_in, assert_is_known, damaged, many_files
from support.servers.applications import application, serving, wait_for
from support.servers.services import Service
from waitress.task import Task

CONNECTIONS = 1000
PIPELINED = 1000
ROUNDS = 5000
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service in a process of its own, which all tests here attack one after the other."""
    with contextlib.closing(Service(tmp_path_factory.mktemp("service"), "memory", "")) as running:
        running.start()
        yield running


@pytest.fixture(autouse=True)
def enough_files():
    """Enough file descriptors for the connections of a test."""
    with many_files(CONNECTIONS):
        yield


@pytest.fixture
def connect(service):
    """Opens connections that are closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def open_connection():
            address = ("127.0.0.1", service.port)
            return stack.enter_context(socket.create_connection(address, PATIENCE_SECONDS))

        yield open_connection


def assert_others_are_served(service):
    """Check that somebody who comes now is answered."""
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/")
            with connection.getresponse() as response:
                assert json.loads(response.read())["name"] == "Persona Profile Server"


class TestHolding:
    """Clients that hold what they got."""

    def test_idle_connections(self, service, connect):
        """A thousand connections on which nothing comes leave room for others."""
        for _ in range(CONNECTIONS):
            connect()
        assert_others_are_served(service)

    @pytest.mark.parametrize(
        "start",
        [
            b"GET /v1/ HTTP/1.1\r\nHost: a\r\nX-Header: ",
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\n",
            b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n",
        ],
        ids=["header", "body", "chunk"],
    )
    def test_slow_requests(self, service, connect, start):
        """Requests that come a byte at a time hold no thread, and are answered in the end."""
        connections = [connect() for _ in range(100)]
        for connection in connections:
            connection.sendall(start)
        for _ in range(3):
            for connection in connections:
                connection.sendall(b"x")
            assert_others_are_served(service)

    def test_answers_that_nobody_reads(self, service, connect):
        """Who asks a thousand times and reads nothing holds no thread, and is answered later."""
        connections = [connect() for _ in range(16)]
        asked = b"GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * (PIPELINED - 1)
        asked += b"GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for connection in connections:
            connection.sendall(asked)
        time.sleep(1)  # until as much as possible waits to be read
        assert_others_are_served(service)
        answers = 0
        with connections[0].makefile("rb") as stream:
            for line in stream:
                answers += line.endswith(b"HTTP/1.1 200 OK\r\n")
        assert answers == PIPELINED


class TestBrokenFraming:
    @pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
    def test_is_refused(self, connect, raw):
        """What is no clear HTTP gets an answer that the document knows, or the connection ends."""
        assert_answers_are_known(ask(connect(), raw))

    def test_brackets_around_no_address(self, connect):
        """A URL that the standard library can't split is no HTTP, and no mistake."""
        [answer] = answers_in(ask(connect(), b"GET http://[::1/v1/ HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "malformed_request")

    @pytest.mark.parametrize(
        ("hosts", "status"),
        [
            ([], 400),
            ([""], 400),
            (["a", "a"], 400),
            (["a", "b"], 400),
            (["a, b"], 400),
            (["a b"], 400),
            (["user@a"], 400),
            (["a/b"], 400),
            (["[::1"], 400),
            (["a:"], 400),
            (["a:http"], 400),
            (["a"], 200),
            (["a_b.example:6543"], 200),
            (["[2001:db8::1]:6543"], 200),
            (["192.0.2.1"], 200),
        ],
    )
    def test_host(self, connect, hosts, status):
        """A request names its host once (RFC 9112, 3.2)."""
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        [answer] = answers_in(ask(connect(), f"GET /v1/ HTTP/1.1\r\n{lines}\r\n".encode()))
        assert answer.status == status

    @pytest.mark.parametrize(
        ("version", "lines"),
        [
            ("1.0", "Transfer-Encoding: chunked"),
            ("1.0", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
            ("0.9", "Transfer-Encoding: chunked"),
            ("1.2", "Content-Length: 0"),
            ("2.0", "Transfer-Encoding: chunked"),
            ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
            ("1.1", "Transfer-Encoding: chunked, chunked"),
            ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            ("1.1", "Transfer-Encoding:\r\nContent-Length: 0"),
            ("1.1", "transfer-encoding: ,"),
            ("1.1", "Transfer-Encoding:\r\n chunked"),
        ],
    )
    def test_hidden_request(self, connect, version, lines):
        """A body of which servers disagree where it ends is no second request (RFC 9112, 6.1)."""
        head = (
            f"POST /v1/sessions HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n{lines}\r\n\r\n"
        )
        hidden = b"GET /__lbheartbeat__ HTTP/1.1\r\nHost: a\r\n\r\n"
        raw = head.encode() + b"0\r\n\r\n" * ("chunked" in lines and version == "1.1") + hidden
        [answer] = answers_in(ask(connect(), raw).replace(b"HTTP/1.0 ", b"HTTP/1.1 "))
        assert (answer.status, answer.headers["Connection"]) == (400, "close")

    def test_no_host_in_http_1_0(self, connect):
        """HTTP/1.0 has no Host, as heartbeats of old balancers."""
        [answer] = answers_in(ask(connect(), b"GET /__lbheartbeat__ HTTP/1.0\r\n\r\n"))
        assert answer.status == 200

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            (b"A: b\r\n" * 97, 200),
            (b"A: b\r\n" * 98, 431),
            (b"A: b\r\n c\r\n" * 50, 431),
            (b"A:" + b" " * 63 + b"b\r\n", 200),
            (b"A:" + b" " * 64 + b"b\r\n", 400),
            (b"A: b" + b"\t " * 32 + b"\r\n", 400),
            (b"A:" + b" \t" * 8000 + b"b" + b" \t" * 7900 + b"\x01\r\n", 400),
        ],
        ids=range(7),
    )
    def test_heads_that_are_costly_to_read(self, connect, lines, status):
        """A head has a hundred lines, and no white space that patterns go through many times."""
        raw = b"GET /v1/ HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"
        [answer] = answers_in(ask(connect(), raw))
        assert answer.status == status

    def test_random_changes(self, service, connect):
        """Whatever is cut, doubled or thrown in: no answer is a mistake, and others are served."""
        for raw in damaged(1, BROKEN, ROUNDS):
            assert_answers_are_known(ask(connect(), raw))
        assert_others_are_served(service)


class TestExpectations:
    """`Expect: 100-continue`: the client sends its body once it is asked for (RFC 9110, 10.1.1)."""

    CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

    def answer(self, connection, head):
        """Send a head that expects; return the first bytes that come."""
        connection.sendall(head.replace(b"\r\n", b"\r\nHost: a\r\nExpect: 100-continue\r\n", 1))
        return connection.recv(65536)

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /v1/ HTTP/1.1\r\n\r\n",
            b"GET /v1/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            b"DELETE /v1/sessions HTTP/1.1\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ],
    )
    def test_nothing_to_wait_for(self, connect, head):
        """A request without a body, or that is rejected, is answered at once."""
        assert re.match(rb"HTTP/1.1 [245]", self.answer(connect(), head))

    def test_pipelined(self, connect):
        """Requests that expect and have no body are answered one after the other."""
        connection = connect()
        asked = b"GET /v1/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
        answers = answers_in(ask(connection, asked * 5))
        assert [answer.status for answer in answers] == [200] * 5

    @pytest.mark.parametrize(
        ("framing", "body"),
        [(b"Content-Length: 2", b"{}"), (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n")],
    )
    def test_body_is_asked_for(self, connect, framing, body):
        """A body that may come is asked for, then read."""
        connection = connect()
        head = b"POST /v1/sessions HTTP/1.1\r\nContent-Type: application/json\r\n%s\r\n\r\n" % framing
        assert self.answer(connection, head) == self.CONTINUE
        [answer] = answers_in(ask(connection, body))
        assert json.loads(answer.body)["code"] == "validation_failed"


def ask(connection, raw):
    """Send bytes and nothing more; return all that comes back until the server ends as well."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    connection.close()
    return answer


def assert_answers_are_known(received):
    """Check that bytes are nothing, or answers of which none is a mistake of ours."""
    for answer in answers_in(received):
        assert_is_known(answer)


@pytest.fixture
def impatient(development_folder):
    """A server in this process that gives connections up after a second."""
    app = application(development_folder)
    with serving(app, channel_timeout="1", cleanup_interval="1") as server:
        yield server
    app.close()


def test_unread_answers_are_given_up(impatient):
    """A connection whose client reads nothing ends, although requests of it wait."""
    with socket.create_connection(("127.0.0.1", impatient.effective_port)) as connection:
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * PIPELINED)
        wait_for(lambda: any(each.total_outbufs_len for each in impatient.active_channels.values()))
        wait_for(lambda: not impatient.active_channels)


def test_mistakes_are_logged_without_the_client(impatient, caplog):
    """A mistake in the handling of a connection ends that, and the log has no address of it."""

    def fail(_data):
        raise ValueError

    with socket.create_connection(("127.0.0.1", impatient.effective_port)) as connection:
        wait_for(lambda: impatient.active_channels)
        [channel] = impatient.active_channels.values()
        channel.received = fail
        connection.sendall(b"x")
        assert connection.recv(1) == b""
    [record] = [each for each in caplog.records if each.exc_info]
    assert record.name == "persona_profile.serving.channels"
    assert "127.0.0.1" not in record.getMessage()


def test_mistakes_of_threads_leave_nobody_waiting(impatient, caplog):
    """A mistake in a thread that answers ends the connection, and the log has no address of it."""

    class Broken(Task):
        def execute(self):
            raise ValueError

    with socket.create_connection(("127.0.0.1", impatient.effective_port)) as connection:
        wait_for(lambda: impatient.active_channels)
        [channel] = impatient.active_channels.values()
        channel.task_class = channel.error_task_class = Broken
        connection.sendall(b"GET /v1/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1) == b""
    assert [each.name for each in caplog.records if each.exc_info][
        -1
    ] == "persona_profile.serving.channels"
    assert "127.0.0.1" not in caplog.text
