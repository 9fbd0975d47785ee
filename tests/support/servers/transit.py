"""A Transit engine on loopback that answers as Vault and OpenBao do, or misbehaves on request."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from persona_profile.encoding import json_decode, json_encode
from persona_profile.keys.transit import TransitService
from persona_profile.keys.vault_client import VaultClient

KEY = "persona-profile"
TOKEN = "hvs.CAESIJ-of-tests-only"
DRIP_SECONDS = 0.05
MISSING_CONTEXT = "missing 'context' for key derivation; the key was created using a derived key"
TOO_OLD = "ciphertext or signature version is disallowed by policy (too old)"

Behaviour = Callable[["Handler"], None]


class Rejection(Exception):
    """An error in the server's own words."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, *errors)
        self.status = status
        self.errors = errors


@dataclass
class FakeKey:
    """A key of the type aes256-gcm96: one secret for each version."""

    secrets: list[bytes] = field(default_factory=lambda: [os.urandom(32)])
    min_decryption_version: int = 1
    derived: bool = False
    ignores_associated_data: bool = False  # like old servers, which do not know the parameter

    def rotate(self) -> None:
        """Add a version."""
        self.secrets.append(os.urandom(32))

    def encrypt(self, document) -> dict[str, object]:
        """Answer a request to encrypt (path_encrypt.go)."""
        version, nonce = len(self.secrets), os.urandom(12)
        plaintext = _decoded(document.get("plaintext", ""))
        sealed = self._cipher(version, document).encrypt(nonce, plaintext, self._bound(document))
        ciphertext = f"vault:v{version}:{base64.b64encode(nonce + sealed).decode()}"
        return {"ciphertext": ciphertext, "key_version": version}

    def decrypt(self, document) -> dict[str, object]:
        """Answer a request to decrypt (path_decrypt.go, and DecryptWithFactory in policy.go)."""
        text = document.get("ciphertext", "")
        if not text:
            raise Rejection(400, "missing ciphertext to decrypt")
        if not text.startswith("vault:v"):
            raise Rejection(400, "invalid ciphertext: no prefix")
        number, colon, encoded = text.removeprefix("vault:v").partition(":")
        if not colon:
            raise Rejection(400, "invalid ciphertext: wrong number of fields")
        if not re.fullmatch("[+-]?[0-9]+", number):
            raise Rejection(400, "invalid ciphertext: version number could not be decoded")
        version = int(number) or 1  # the first keys had no version
        if version > len(self.secrets):
            raise Rejection(400, "invalid ciphertext: version is too new")
        if version < self.min_decryption_version:
            raise Rejection(400, TOO_OLD)
        try:
            sealed = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise Rejection(400, "invalid ciphertext: could not decode base64") from None
        cipher = self._cipher(version, document)
        if len(sealed) < 12:
            raise Rejection(400, "invalid ciphertext length")
        try:
            plaintext = cipher.decrypt(sealed[:12], sealed[12:], self._bound(document))
        except (InvalidTag, ValueError):
            raise Rejection(400, "cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(plaintext).decode()}

    def describe(self) -> dict[str, object]:
        """Answer a request to read the key (path_keys.go)."""
        return {
            "name": KEY,
            "type": "aes256-gcm96",
            "derived": self.derived,
            "latest_version": len(self.secrets),
            "min_decryption_version": self.min_decryption_version,
            "min_encryption_version": 0,
            "supports_encryption": True,
        }

    def _cipher(self, version: int, document) -> AESGCM:
        secret, context = self.secrets[version - 1], _decoded(document.get("context", ""))
        if self.derived:
            if not context:
                raise Rejection(400, MISSING_CONTEXT)
            secret = HKDF(SHA256(), 32, salt=None, info=context).derive(secret)
        return AESGCM(secret)

    def _bound(self, document) -> bytes:
        bound = _decoded(document.get("associated_data", ""))
        return b"" if self.ignores_associated_data else bound


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of a connection in order."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        self.server.fake.sockets.append(self.request)
        super().setup()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format, *args) -> None:  # noqa: A002 - the name is Python's
        pass

    def _answer(self) -> None:
        fake = self.server.fake
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fake.requests.append((self.command, self.path, dict(self.headers), body))
        with contextlib.suppress(OSError):
            if fake.behaviours:
                fake.behaviours.pop(0)(self)
            elif fake.behaviour is not None:
                fake.behaviour(self)
            else:
                self.answer(fake, body)

    def answer(self, fake: FakeTransit, body: bytes) -> None:
        """Answer like the real server."""
        try:
            self.send_document(200, {"request_id": "r", "data": fake.route(self, body)})
        except Rejection as rejection:
            self.send_document(rejection.status, {"errors": list(rejection.errors)})

    def send_document(self, status: int, document: object) -> None:
        """Send a JSON document."""
        self.send_body(status, json_encode(document) + b"\n")

    def send_body(self, status: int, body: bytes, **headers: str) -> None:
        """Send any body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """The listener, with TLS if the fake has it."""

    daemon_threads = True
    fake: FakeTransit

    def finish_request(self, request, client_address) -> None:
        if self.fake.tls is not None:
            try:
                request = self.fake.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        with request:
            super().finish_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        pass  # clients disconnect


class FakeTransit:
    """The server.

    Attributes:
        keys: keys by name, with `persona-profile` among them.
        tokens: accepted tokens.
        namespace: the engine's namespace, if any.
        behaviour: replaces all answers.
        behaviours: replace the next answers, in order.
        requests: method, path, headers and body of all requests so far.
        sockets: all connections so far.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.keys = {KEY: FakeKey()}
        self.tokens = {TOKEN}
        self.namespace: str | None = None
        self.behaviour: Behaviour | None = None
        self.behaviours: list[Behaviour] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.sockets: list[socket.socket] = []
        self.thawed = threading.Event()
        self.tls = tls
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.fake = self
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def key(self) -> FakeKey:
        """The key `persona-profile`."""
        return self.keys[KEY]

    def drop_connections(self) -> None:
        """Close all connections, like a server that restarts."""
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop the server."""
        self.thawed.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
        self.drop_connections()

    def route(self, handler: Handler, body: bytes) -> dict[str, object]:
        """Return the data of an answer."""
        if handler.headers.get("X-Vault-Token") not in self.tokens:
            raise Rejection(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
        if handler.headers.get("X-Vault-Namespace") != self.namespace:
            raise Rejection(404, 'no handler for route "transit". route entry not found.')
        match = re.fullmatch(r"/v1/([\w/-]+)/(encrypt|decrypt|keys)/([\w.-]+)", handler.path)
        if match is None or match[1] != "transit":
            path = handler.path.removeprefix("/v1/")
            raise Rejection(404, f'no handler for route "{path}". route entry not found.')
        key = self.keys.get(match[3])
        if (match[2] == "keys") != (handler.command == "GET"):
            raise Rejection(405, "1 error occurred:\n\t* unsupported operation\n\n")
        if match[2] == "keys":
            if key is None:
                raise Rejection(404)
            return key.describe()
        if key is None:
            raise Rejection(400, "encryption key not found")
        return getattr(key, match[2])(json_decode(body))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Rejection(400, "illegal base64 data at input byte 0") from None


def rejects(status: int, *errors: str) -> Behaviour:
    """Answer with errors."""
    return lambda handler: handler.send_document(status, {"errors": list(errors)})


def answers(document: object, status: int = 200) -> Behaviour:
    """Answer with a document."""
    return lambda handler: handler.send_document(status, document)


def sends(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Answer with a body."""
    return lambda handler: handler.send_body(status, body, **headers)


def sends_bytes(data: bytes) -> Behaviour:
    """Send bytes that may not even be HTTP, and close."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(data)

    return behave


def freezes(handler: Handler) -> None:
    """Never answer."""
    handler.close_connection = True
    handler.server.fake.thawed.wait(60)


def drips(start: bytes, drop: bytes) -> Behaviour:
    """Send drops without end, slowly."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(start)
        while not handler.server.fake.thawed.wait(DRIP_SECONDS):
            handler.wfile.write(drop)

    return behave


def floods(start: bytes, drop: bytes) -> Behaviour:
    """Send drops without end, as fast as possible."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(start)
        with contextlib.suppress(OSError):
            while not handler.server.fake.thawed.is_set():
                handler.wfile.write(drop * 1000)

    return behave


def resets(handler: Handler) -> None:
    """Reset the connection."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


@contextlib.contextmanager
def fake_transit(tls: ssl.SSLContext | None = None) -> Iterator[FakeTransit]:
    """Run a server."""
    fake = FakeTransit(tls)
    try:
        yield fake
    finally:
        fake.close()


def write_token(path: Path, token: str = TOKEN) -> Path:
    """Write a token as an agent does: a new file replaces the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(token + "\n")
    fresh.replace(path)
    return path


def transit_service(
    url: str,
    token_file: Path,
    *,
    key_name: str = KEY,
    mount: str = "transit",
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> TransitService:
    """Return the service of a server; `options` are those of its client."""
    return TransitService(
        VaultClient(url, token_file, clock=clock, **options), key_name, mount, clock=clock
    )
