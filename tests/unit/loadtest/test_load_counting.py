"""What is counted of requests that a server leaves without an answer."""

import json
import socket
import threading
import time
from http import HTTPStatus
from http.client import parse_headers

import pytest
from support.servers.ports import free_port

from loadtest import identities
from loadtest.generator.client import Connections, NoAnswer
from loadtest.generator.conductor import meets_levels
from loadtest.generator.preflight import Unfit, check
from loadtest.generator.scenarios import attempt
from loadtest.generator.tally import RIGHT, UNANSWERED, WRONG_CONTENT, Tally
from loadtest.generator.watcher import Watcher
from loadtest.record import Second, bucket

LIMITS = {"picture_bytes": 2**30, "emails_per_session": 20}


@pytest.fixture
def listener():
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def origin(listener):
    """The origin of the server."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def server(listener, origin):
    """Return what starts a server of raw answers, after each of which it hangs up; and its count."""
    asked, opened = [], []

    def serve(answer):
        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                # A rest that nobody reads would make closing a reset, which overtakes the answer.
                with connection, connection.makefile("rb") as request:
                    asked.append(request.readline())
                    request.read(int(parse_headers(request)["Content-Length"] or 0))
                    connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        opened.append(Connections(origin, 5))
        return opened[0], asked

    yield serve
    opened[0].close()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nConte", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"]
)
def test_server_that_hangs_up(server, method, answer):
    """A broken connection is reported, and no request is repeated."""
    connections, asked = server(answer)
    with pytest.raises(NoAnswer, match="connection_broken"):
        connections.call(method, "/")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("204 No Content", RIGHT), ("302 Found", "status_302"), ("500 A", "status_500")],
)
def test_only_success_is_right(server, status, outcome):
    """An answer that leads elsewhere is as wrong as an error."""
    connections, _ = server(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    assert attempt(lambda: connections.call("GET", "/"))[1] == outcome


def test_answer_of_another_form(server):
    """What is no answer of this service counts as wrong, and the run goes on."""
    connections, _ = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    def ask():
        answer = connections.call("GET", "/")
        assert answer.json[5]
        return answer

    assert attempt(ask)[1] == WRONG_CONTENT


def test_requests_without_an_answer_are_told():
    """At the end of a run a request that still waits is an error, and those of its second are kept."""
    tally = Tally(lambda *_: None)
    for _ in range(3):
        tally.plan("edit", 100.2)
    tally.finish("edit", 100.2, RIGHT, ended_at=100.3)
    tally.withdraw("edit", 100.2)
    assert tally.settled(200.0) == []
    [second] = tally.rest()
    assert (second.at, second.planned, second.withdrawn, second.errors) == (100, 2, 1, {UNANSWERED: 1})
    assert sum(second.latencies.values()) == 1


def response(status: HTTPStatus, document: object) -> bytes:
    """Return a response with a JSON document, after which a client opens another connection."""
    body = json.dumps(document)
    head = f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A user with two emails."""
    folder = tmp_path_factory.mktemp("people")
    return identities.make(folder, users=1, emails=2, pool=1, shares={"RS256": 100})


@pytest.mark.parametrize(
    ("status", "document", "message"),
    [
        (HTTPStatus.NOT_FOUND, {"limits": LIMITS}, "no profile service"),
        (HTTPStatus.OK, [], "no profile service"),
        (HTTPStatus.OK, {"limits": LIMITS | {"picture_bytes": 5}}, "accepts pictures of 5 bytes"),
        (HTTPStatus.OK, {"limits": LIMITS | {"emails_per_session": 1}}, "may have 1 emails"),
        (HTTPStatus.OK, {"limits": LIMITS, "code": "audience_mismatch"}, "by --audience"),
        (HTTPStatus.OK, {"limits": LIMITS, "code": "issuer_unreachable"}, "pinned-issuers.json"),
        (HTTPStatus.OK, {"limits": LIMITS, "code": "algorithm_forbidden"}, "--rs256-only"),
        (HTTPStatus.OK, {"limits": LIMITS, "code": "rate_limited"}, "sign-in: rate_limited"),
    ],
)
def test_server_that_can_not_be_measured(server, people, status, document, message):
    """A server that will not accept the users or pictures is reported before the run, with a remedy."""
    connections, _ = server(response(status, document))
    with pytest.raises(Unfit, match=message):
        check(connections, people, "http://localhost")


def test_server_that_is_absent(people):
    """A server that does not answer is reported before the run."""
    connections = Connections(f"http://127.0.0.1:{free_port()}", 1)
    with pytest.raises(Unfit, match="does not answer: connection_refused"):
        check(connections, people, "http://localhost")
    connections.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 A\r\nContent-Length: 0\r\n\r\n", b"nonsense"])
def test_metrics_that_can_not_be_read(server, origin, answer):
    """What a server does not show is unknown, and observing it goes on."""
    server(answer)
    sample = Watcher(origin, f"{origin}/metrics", None).look()
    assert (sample.metrics, sample.clock_offset, sample.cpu_seconds) == ({}, None, None)


def test_metrics_that_are_read(server, origin):
    """A server shows its clock, and its processor time by its metrics."""
    text = "process_cpu_seconds_total 4\npersona_picture_cpu_seconds_total 3\n"
    head = f"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: {len(text)}"
    server(f"{head}\r\n\r\n{text}".encode())
    sample = Watcher(origin, f"{origin}/metrics", None).look()
    assert sample.cpu_seconds == 7
    assert sample.clock_offset == pytest.approx(-time.time(), abs=5)


@pytest.mark.parametrize(
    ("endpoint", "right", "milliseconds", "is_met"),
    [
        ("dialog_open", 100, 100, True),
        ("dialog_open", 98, 100, False),
        ("dialog_open", 100, 800, False),
        ("launch_upload", 96, 8000, True),
        ("launch_upload", 94, 8000, False),
        ("launch_upload", 100, 15_000, False),
        ("export", 0, 1, True),
    ],
)
def test_levels_of_a_larger_step(endpoint, right, milliseconds, is_met):
    """Users are added while nearly all dialogs and uploads get a right answer in time."""
    second = Second(1.0, endpoint, 100, {bucket(milliseconds): right}, {"status_500": 100 - right})
    assert meets_levels([second]) == is_met
