"""A proxy between a database and its client that disconnects at the worst instants."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

LATE_SECONDS = 0.5

When = Literal["before", "after", "late"]


class Proxy:
    """Passes data on in both directions until it meets a planned statement; then disconnects once.

    Attributes:
        upstream: port of loopback for new connections.
        connections: the number of connections so far.
        cuts: the number of disconnections so far.
    """

    def __init__(self, upstream: int, port: int = 0) -> None:
        self.cuts = self.connections = 0
        self._passes_answers = threading.Event()
        self._passes_answers.set()
        self.upstream = upstream
        self._plan: tuple[bytes, When] | None = None
        self._meanwhile: Callable[[], object] = bool
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def cut(self, statement: bytes, when: When, meanwhile: Callable[[], object] = bool) -> None:
        """Disconnect at the next statement with this beginning.

        - before: the server never receives it;
        - after: the server executes it, and the client gets no answer;
        - late: the client is disconnected first, and the server receives it a while later.

        The proxy calls `meanwhile` once the server has executed it, before the client notices.
        """
        self._plan = statement, when
        self._meanwhile = meanwhile

    def hush(self) -> None:
        """Pass no answers to clients from now on; accept their data and new connections."""
        self._passes_answers.clear()

    def stop_accepting(self) -> None:
        """Accept no new connections from now on."""
        _end(self._listener)

    def close(self) -> None:
        """Disconnect everything."""
        for each in (self._listener, *self._sockets):
            _end(each)
        self._passes_answers.set()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.upstream))
                self._sockets += (client, server)
                muted = threading.Event()
                self._spawn(self._to_server, client, server, muted)
                self._spawn(self._to_client, client, server, muted)

    def _to_server(self, client, server, muted) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                # A packet is its length (3 bytes), its number, the command and the statement.
                if self._plan is not None and data[5:].startswith(self._plan[0]):
                    (_, when), self._plan = self._plan, None
                    self.cuts += 1
                    if when == "before":
                        break
                    muted.set()
                    if when == "late":
                        _end(client)
                        time.sleep(LATE_SECONDS)
                    server.sendall(data)
                    return
                server.sendall(data)
        _end(client)
        _end(server)

    def _to_client(self, client, server, muted) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(65536)) and not muted.is_set():
                self._passes_answers.wait()
                client.sendall(data)
            if muted.is_set():
                self._meanwhile()
        _end(client)
        _end(server)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextlib.contextmanager
def proxy(upstream: int, port: int = 0) -> Iterator[Proxy]:
    """Run a proxy before a port of loopback."""
    running = Proxy(upstream, port)
    try:
        yield running
    finally:
        running.close()
