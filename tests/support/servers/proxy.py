"""An HTTP proxy on loopback that connects its clients to one port, whatever host they name."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from support.servers.tls import Handler, Server, serving

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def connecting(port: int, answer: bytes = ESTABLISHED) -> tuple[Handler, list[bytes]]:
    """Return the handler of a proxy that leads to a port, and the requests that it receives."""
    requests: list[bytes] = []

    def handle(client: socket.socket, _stop: threading.Event) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(1)
        requests.append(request)
        client.sendall(answer)
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=_pipe, args=(server, client))
            back.start()
            _pipe(client, server)
            back.join(5)

    return handle, requests


@contextlib.contextmanager
def proxying(port: int) -> Iterator[tuple[Server, list[bytes]]]:
    """Run a proxy that leads to a port."""
    handler, requests = connecting(port)
    with serving(handler) as server:
        yield server, requests


def _pipe(source: socket.socket, target: socket.socket) -> None:
    receive: Callable[[int], bytes] = source.recv
    with contextlib.suppress(OSError):
        while data := receive(16384):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
