"""The TLS server of the issuer of email verification tokens for development.

Browsers ask an issuer by https alone, and waitress has no TLS; the standard library's server has
enough for one browser on loopback.
"""

from __future__ import annotations

import datetime as dt
import socket
import socketserver
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from persona_profile.development.email_verification_application import IssuerApplication
from persona_profile.development.email_verification_issuer import HOST, DevelopmentEmailIssuer
from persona_profile.runtime.exposition import listen

CLIENT_SECONDS: Final = 10
MAX_CONNECTIONS: Final = 32
"""Connections at a time; each has a thread, and further ones are closed."""

_CERTIFICATE_LIFE: Final = dt.timedelta(days=30)


class IssuerServer:
    """Serves an issuer at its port of loopback, with a certificate that it signs itself.

    Raises:
        OSError: it can't listen there.
    """

    def __init__(self, issuer: DevelopmentEmailIssuer) -> None:
        self._issuer = issuer
        self._server = _Server(listen(issuer.address), _tls_context())
        self._server.set_app(IssuerApplication(issuer))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="email-verification-issuer", daemon=True
        )
        self._thread.start()
        issuer.is_served = True

    def close(self) -> None:
        """Stop serving."""
        self._issuer.is_served = False
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def setup(self) -> None:
        # In the thread of the connection, so that a slow handshake delays no other connection.
        self.request.settimeout(CLIENT_SECONDS)
        self.request.do_handshake()
        super().setup()

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""

    def get_environ(self) -> dict[str, Any]:
        return super().get_environ() | {"HTTPS": "on"}


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._context = context
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.server_name, self.server_port = HOST, 443
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        ), address

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: browsers end connections at any moment."""


def _tls_context() -> ssl.SSLContext:
    """Return TLS settings with a new self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _CERTIFICATE_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += certificate.public_bytes(Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The library reads certificates from files alone.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "issuer.pem")
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return context
