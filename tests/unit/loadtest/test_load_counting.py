"""What is counted of requests that a server leaves without an answer."""

import socket
import threading

import pytest

from loadtest.generator.client import Connections, NoAnswer
from loadtest.generator.scenarios import attempt
from loadtest.generator.tally import RIGHT, UNANSWERED, WRONG_CONTENT, Tally


@pytest.fixture
def server():
    """Return what starts a server of raw answers, after each of which it hangs up; and its count."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked, opened = [], []

    def serve(answer):
        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                asked.append(connection.recv(65536))
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=run, daemon=True).start()
        opened.append(Connections(f"http://127.0.0.1:{listener.getsockname()[1]}", 5))
        return opened[0], asked

    yield serve
    opened[0].close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


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
