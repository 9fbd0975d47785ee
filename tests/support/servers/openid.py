"""An OpenID provider behind real TLS on loopback, with documents and keys that tests can change."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import webtest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from persona_profile.app import Application, make_app
from persona_profile.auth.access import ANONYMOUS, Access
from persona_profile.auth.fetch import Fetched, HttpsFetcher
from persona_profile.auth.openid_issuers import ALGORITHMS
from persona_profile.encoding import base64url_encode
from persona_profile.settings import parse_settings
from support.clients.contract import hold_to_contract
from support.forgeries.documents import json_encode
from support.servers.tls import authority, fetcher

ACCOUNTS = "https://accounts.test"
STRICT = "https://accounts.test/strict"
BROKER = "https://broker.test"
CLIENT = "persona-dialog"
SECOND_CLIENT = "persona-app"
ORIGIN = "https://dialog.example"
EMAIL = "alice@mail.test"
GONE = object()
"""A changed value that removes its member."""

_WELL_KNOWN = "/.well-known/openid-configuration"

ISSUERS: list[dict[str, Any]] = [
    {
        "issuer": ACCOUNTS,
        "client_ids": [CLIENT, SECOND_CLIENT],
        "domains": ["mail.test", "*.corp.test"],
        "algorithms": list(ALGORITHMS),
    },
    {"issuer": STRICT, "client_ids": [CLIENT], "domains": ["*"]},
    {"issuer": BROKER, "profile": "portier", "domains": ["*"]},
]
"""The issuers that the tests' servers trust."""


@cache
def rsa(name: str, bits: int = 2048) -> RSAKey:
    """Return the RSA key with a name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # about short keys
        return RSAKey.generate_key(bits)


@cache
def elliptic(name: str, curve: str = "P-256") -> ECKey:
    """Return the key with a name on a NIST curve."""
    return ECKey.generate_key(curve)


@cache
def edwards(name: str, curve: str = "Ed25519") -> OKPKey:
    """Return the key with a name on a curve of RFC 8037."""
    return OKPKey.generate_key(curve)


def public(key: Any, kid: str | None, **members: Any) -> dict[str, Any]:
    """Return a public key as a member of a key set; GONE removes a member."""
    document = key.as_dict(private=False) | {"kid": kid} | members
    return {name: value for name, value in document.items() if value not in (GONE, None)}


def compact(header: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    """Return a JWS of arbitrary bytes."""
    signed = f"{base64url_encode(header)}.{base64url_encode(payload)}"
    return f"{signed}.{base64url_encode(sign(signed.encode('ascii')))}"


def signer(key: Any, algorithm: str = "RS256") -> Callable[[bytes], bytes]:
    """Return a signing function by an algorithm of joserfc."""
    return lambda signed: JWSRegistry.algorithms[algorithm].sign(signed, key)


def without_gone(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members except those that are GONE."""
    return {name: value for name, value in members.items() if value is not GONE}


def claims(nonce: str, /, **changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token of ACCOUNTS, with changes; GONE removes a claim."""
    now = int(time.time())
    good = {
        "iss": ACCOUNTS,
        "aud": CLIENT,
        "sub": "248289761001",
        "iat": now,
        "exp": now + 600,
        "nonce": nonce,
        "email": EMAIL,
        "email_verified": True,
    }
    return without_gone(good | changes)


def token(
    nonce: str,
    /,
    *,
    key: Any = None,
    header: Mapping[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Return a token of ACCOUNTS, signed with its RSA key and valid except for the changes."""
    full = without_gone({"alg": "RS256", "kid": "rsa", "typ": "JWT"} | dict(header or {}))
    algorithm = full.get("alg")
    known = str(algorithm) if key is not None and algorithm in ALGORITHMS else "RS256"
    return compact(
        json_encode(full), json_encode(claims(nonce, **changes)), signer(key or rsa("rsa"), known)
    )


def broker_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims by which a token of BROKER differs from a token of ACCOUNTS."""
    return {
        "iss": BROKER,
        "aud": ORIGIN,
        "sub": EMAIL,
        "email_original": "Alice@Mail.test",
        "email_verified": GONE,
    } | changes


class Provider:
    """All providers of the tests: documents by URL, served behind TLS and counted.

    Attributes:
        documents: status, media type and body by URL.
        requests: requested URLs.
        bearers: the access token of each request, or an empty text.
        delay: seconds before each answer.
        answering: answers wait until it is set.
    """

    def __init__(self) -> None:
        self.documents: dict[str, tuple[int, str, bytes]] = {}
        self.requests: list[str] = []
        self.bearers: list[str] = []
        self.delay = 0.0
        self.answering = threading.Event()
        self.answering.set()
        self.port = 0
        for url in (ACCOUNTS, STRICT, BROKER):
            self.publish(url, [public(rsa("rsa"), "rsa")])

    def publish(self, url: str, keys: list[dict[str, Any]], **discovery: Any) -> None:
        """Publish a provider's keys, and its discovery document with changed members."""
        document = {"issuer": url, "jwks_uri": f"{url}/jwks", "authorization_endpoint": f"{url}/go"}
        self.put(url + _WELL_KNOWN, without_gone(document | discovery))
        self.put(f"{url}/jwks", {"keys": keys})

    def put(self, url: str, document: Any, status: int = 200, kind: str = "application/json") -> None:
        """Put a document, or bytes, at a URL."""
        body = document if isinstance(document, bytes) else json_encode(document)
        self.documents[url] = (status, kind, body)

    def fetch(self, url: str, access: Access = ANONYMOUS, /) -> Fetched:
        """Answer without a network, as the service's own fetcher does."""
        self.requests.append(url)
        self.bearers.append(access.bearer)
        time.sleep(self.delay)
        self.answering.wait(30)
        status, kind, body = self.documents.get(url, (404, "text/plain", b""))
        return Fetched(status, kind, body)

    def asked_for(self, url: str) -> int:
        """Return the number of requests for a URL."""
        return self.requests.count(url)

    def fetcher(self) -> HttpsFetcher:
        """Return a fetcher that resolves every name to this server."""
        return fetcher(self.port)


@contextlib.contextmanager
def providers(*names: str) -> Iterator[Provider]:
    """Serve the providers, and hosts of more names, on loopback behind TLS by the run's authority."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            fetched = provider.fetch(f"https://{self.headers['Host']}{self.path}", Access(bearer))
            self.send_response(fetched.status)
            self.send_header("Content-Type", fetched.media_type)
            self.send_header("Content-Length", str(len(fetched.body)))
            if 300 <= fetched.status < 400:
                self.send_header("Location", f"{ACCOUNTS}/jwks")
            self.end_headers()
            self.wfile.write(fetched.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("accounts.test", "broker.test", *names).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def trusting_app(
    folder: Path,
    provider: Provider,
    issuers: Any = None,
    clock: Callable[[], float] = time.time,
    **settings: str,
) -> Application:
    """Return an application that trusts providers; `name__part="value"` are settings."""
    path = folder / "openid-issuers.json"
    path.write_bytes(json_encode(ISSUERS if issuers is None else issuers))
    given = {
        "development": "true",
        "development.folder": str(folder),
        "public_origins": "http://127.0.0.1:6543 http://localhost",
        "dialog_origins": ORIGIN,
        "openid.issuers": str(path),
    } | {name.replace("__", "."): value for name, value in settings.items()}
    return hold_to_contract(make_app(parse_settings(given, {}), clock, provider.fetcher))


def fresh_nonce(site: webtest.TestApp) -> str:
    """Return a nonce from an application."""
    nonce: str = site.post("/v1/nonces", status=201).json["nonce"]
    return nonce


def sign_in(site: webtest.TestApp, *tokens: str, status: int | str = 201) -> webtest.TestResponse:
    """Open a session by ID tokens."""
    proofs = [{"id_token": each} for each in tokens]
    return site.post_json("/v1/sessions", {"proofs": proofs}, status=status)
