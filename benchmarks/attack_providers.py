"""Identity providers of the attacked machine's network: good ones, and servers of attackers."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from functools import cache

import trustme
from attack_dns import documents
from attack_stage import (
    ATTACKER,
    ATTACKER_PROVIDER,
    CACHED,
    CONTINUING,
    PROVIDER,
    SILENT,
    be_apart,
)
from support.clients.identities import dsa_key, support_document

HOLD_SECONDS = 60
NICE = 19


def good_key():
    """Return the key of the good identity providers."""
    return dsa_key("good provider")


def attackers_key():
    """Return the key of the attacker's domains."""
    return dsa_key("attacker")


class _Certificates:
    """TLS settings of any name, made when the name is first asked for."""

    def __init__(self, authority: trustme.CA) -> None:
        self._authority = authority
        self._lock = threading.Lock()
        self._made: dict[str, ssl.SSLContext] = {}

    def of(self, name: str) -> ssl.SSLContext:
        """Return the settings of a name; all names of the attacker's zone have one certificate."""
        if name.endswith(f".{ATTACKER}"):
            name = f"*.{ATTACKER}"
        with self._lock:
            if name not in self._made:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(name).configure_cert(context)
                self._made[name] = context
            return self._made[name]

    def context(self) -> ssl.SSLContext:
        """Return settings that choose by the name that a client asks for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost.test").configure_cert(context)

        def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            if name:
                connection.context = self.of(name)

        context.sni_callback = choose
        return context


Handler = Callable[[ssl.SSLSocket], None]


def _serve(address: str, context: ssl.SSLContext, handle: Handler) -> None:
    listener = socket.create_server((address, 443), backlog=512)

    def talk(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(HOLD_SECONDS)
            with context.wrap_socket(plain, server_side=True) as secure:
                handle(secure)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


def _documents(key, host: str) -> Handler:
    """Return what serves a BrowserID document, and the documents of an issuer of tokens."""
    support, of_tokens = json.dumps(support_document(key)).encode(), documents(host)

    def handle(connection: ssl.SSLSocket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and (piece := connection.recv(4096)):
            request += piece
        body = of_tokens.get(request.split(b" ", 2)[1].decode("ascii"), support)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)

    return handle


def _hold(connection: ssl.SSLSocket) -> None:
    while connection.recv(4096):
        pass


@cache
def _continues() -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" * 4096


def _continue(connection: ssl.SSLSocket) -> None:
    connection.recv(4096)
    while True:
        connection.sendall(_continues())


def serve_providers(authority: trustme.CA) -> None:
    """Serve good identity providers until this process is ended."""
    be_apart()
    _serve(PROVIDER, _Certificates(authority).context(), _documents(good_key(), CACHED))


def serve_attackers_providers(authority: trustme.CA) -> None:
    """Serve what the attacker's domains answer, at low priority, until this process is ended."""
    be_apart(NICE)
    certificates = _Certificates(authority)
    handlers = {
        ATTACKER_PROVIDER: _documents(attackers_key(), ATTACKER),
        SILENT: _hold,
        CONTINUING: _continue,
    }
    threads = [
        threading.Thread(target=_serve, args=(address, certificates.context(), handler), daemon=True)
        for address, handler in handlers.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
