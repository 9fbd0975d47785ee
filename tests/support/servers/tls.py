"""Servers on loopback, good and bad, for the client of untrusted hosts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import cache

import trustme

from persona_profile.auth.fetch import FetchError, HttpsFetcher, Url
from persona_profile.encoding import json_encode
from support.clients.identities import rsa_key, support_document

NAME = "issuer.test"
PATH = "/.well-known/browserid"
DOCUMENT_URL = Url.parse(f"https://{NAME}{PATH}")
DEADLINE = 0.5
"""A deadline that the server misses in any case."""

DOCUMENT = json_encode(support_document(rsa_key("issuer")))

Handler = Callable[[socket.socket, threading.Event], None]


@cache
def authority() -> trustme.CA:
    """Return the certificate authority of the run."""
    return trustme.CA()


def server_context(name: str, by: trustme.CA | None = None) -> ssl.SSLContext:
    """Return TLS settings of a server with a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (by or authority()).issue_cert(name).configure_cert(context)
    return context


@cache
def client_context() -> ssl.SSLContext:
    """Return a client's default TLS settings with trust in the run's authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


class Server:
    """A listener on loopback; `connections` counts connections."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None) -> None:
        self._handler = handler
        self._context = context
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []
        self._spawn(self._accept)

    def close(self) -> None:
        """Close all connections."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.settimeout(5)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                self._handler(connection, self._stop)
                return
            with self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as secure:
                secure.do_handshake()
                self.requests.append(_read_request(secure))
                self._handler(secure, self._stop)


@contextlib.contextmanager
def serving(handler: Handler, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve connections by a handler, behind TLS where there is a context."""
    server = Server(handler, context)
    try:
        yield server
    finally:
        server.close()


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(4096)
        if not more:
            break
        request += more
    return request


def answering(answer: bytes) -> Handler:
    """Return a handler that sends bytes and closes the connection."""
    return lambda connection, _stop: connection.sendall(answer)


def dripping(start: bytes, drop: bytes) -> Handler:
    """Return a handler that sends drops without end, slowly."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while not stop.wait(0.02):
            connection.sendall(drop)

    return handle


def flooding(start: bytes, drop: bytes) -> Handler:
    """Return a handler that sends drops without end, as fast as possible."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while not stop.is_set():
            connection.sendall(drop * 1000)

    return handle


def silent(_connection: socket.socket, stop: threading.Event) -> None:
    """Send nothing, and keep the connection open."""
    stop.wait(10)


def answer(body=DOCUMENT, status="200 OK", content_type="application/json", length=None, **headers):
    """Return the bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def fetcher(port, **options):
    """Return a fetcher that resolves every name to 127.0.0.1, with a given port."""
    defaults = {
        "resolve": lambda _name: ["127.0.0.1"],
        "is_allowed": lambda _address: True,
        "context": client_context(),
        "deadline": 10.0,
    }
    return HttpsFetcher(port=port, **(defaults | options))


def fetch_from(handler, tls=None, **options):
    """Fetch from a server of NAME; return the server and the result or the exception."""
    with serving(handler, tls or server_context(NAME)) as server:
        try:
            return server, fetcher(server.port, **options).fetch(DOCUMENT_URL)
        except FetchError as error:
            return server, error


def error_of(handler, tls=None, **options):
    """Return the error of a fetch."""
    _, error = fetch_from(handler, tls, **options)
    assert isinstance(error, FetchError)
    return error


def error_code(handler, tls=None, **options):
    """Return the error code of a fetch."""
    _, error = fetch_from(handler, tls, **options)
    assert isinstance(error, FetchError)
    return error.code
