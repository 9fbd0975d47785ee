import contextlib
import socket
import threading

import pytest

from persona_profile.runtime.exposition import MAX_CLIENTS, MAX_HEAD_BYTES, ExpositionServer, listen

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = "persona_up 1\n"


@pytest.fixture
def serve():
    """Starts exposition servers, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def start(text=lambda: TEXT, **options):
            server = ExpositionServer(listen(("127.0.0.1", 0)), text, **options)
            server.start()
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def connect():
    """Opens connections to a server, and sends bytes."""
    with contextlib.ExitStack() as stack:

        def open_connection(server, sent=b""):
            connection = stack.enter_context(socket.create_connection(server.address, 30))
            connection.sendall(sent)
            return connection

        yield open_connection


def answer(connection):
    """Return all bytes until the connection closes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (SCRAPE, 200),
        (b"GET /metrics?x=y HTTP/1.0\n\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 501),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 150 + b"\r\n", 431),
    ],
)
def test_answers(serve, connect, sent, status):
    """The metrics' path answers with metrics; all other requests are rejected."""
    head, _, body = answer(connect(serve(), sent)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"%d" % status
    assert (body.decode() == TEXT) == (status == 200)


@pytest.mark.parametrize("sent", [b"junk\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"\0\n\n"])
def test_no_http(serve, connect, sent):
    """Malformed HTTP gets no metrics."""
    assert TEXT.encode() not in answer(connect(serve(), sent))


def test_parts(serve, connect):
    """A request may arrive in pieces."""
    connection = connect(serve(), SCRAPE[:9])
    connection.sendall(SCRAPE[9:-1])
    connection.sendall(SCRAPE[-1:])
    assert answer(connection).endswith(TEXT.encode())


@pytest.mark.parametrize("sent", [b"", b"G", SCRAPE[:-1], b"GET /metrics HTTP/1.1\r\nX: "])
def test_clients_that_drip(serve, connect, sent):
    """Unfinished requests leave room for a scrape; the oldest are closed."""
    server = serve()
    dripping = [connect(server, sent) for _ in range(3 * MAX_CLIENTS)]
    assert answer(connect(server, SCRAPE)).endswith(TEXT.encode())
    assert answer(dripping[0]) == b""


def test_answers_that_nobody_reads(serve, connect):
    """A client that does not read a large answer delays no other client."""
    large = "x" * 50_000_000
    texts = [large, TEXT]
    server = serve(lambda: texts.pop(0))
    connect(server, SCRAPE).recv(1)
    assert answer(connect(server, SCRAPE)).endswith(TEXT.encode())


def test_time_is_limited(serve, connect):
    """The time of a request is limited as a whole, however slowly its bytes arrive."""
    connection = connect(serve(client_seconds=0.1), b"GET /metrics HTTP/1.1\r\nX: ")
    with contextlib.suppress(ConnectionError):
        while True:
            connection.sendall(b"x")
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                assert connection.recv(1) == b""
                break


def test_size_is_limited(serve, connect):
    """A head above the size limit is rejected."""
    received = answer(connect(serve(), b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES))
    assert TEXT.encode() not in received


def test_mistakes(serve, connect, caplog):
    """An exception closes its connection; the next request is served."""
    texts = [TEXT]

    def text():
        if caplog.records:
            return texts[0]
        raise KeyError

    server = serve(text)
    assert answer(connect(server, SCRAPE)) == b""
    assert answer(connect(server, SCRAPE)).endswith(TEXT.encode())
    assert "metrics: a mistake" in caplog.text


def test_end(serve, connect):
    """The server closes beside slow clients and a pending answer."""
    begun, made = threading.Event(), threading.Event()

    def text():
        begun.set()
        made.wait(30)
        return TEXT

    server = serve(text)
    address = server.address
    connect(server, b"GET")
    connect(server, SCRAPE)
    begun.wait(30)
    closing = threading.Thread(target=server.close)
    closing.start()
    made.set()
    closing.join(30)
    assert not closing.is_alive()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, 30)
