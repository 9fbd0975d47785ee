"""A client of HashiCorp Vault or OpenBao that never waits long, whatever the server does.

- One deadline holds for a whole request, name resolution included.
- All received bytes are limited. A body has at most MAX_BODY_BYTES.
- Redirects are not followed. The proxies of the environment are not used.
- Few threads wait at a time, and while the server is silent only one.
- Failures have messages of this module, so that they hold no secret.

The HTTP API: https://developer.hashicorp.com/vault/api-docs, https://openbao.org/api-docs/.
"""

from __future__ import annotations

import http.client
import logging
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from backends.breaker import CircuitBreaker, CircuitOpen, Outcome
from persona_profile.bounded_http import BoundedResponse
from persona_profile.encoding import Json, MalformedText, json_decode, json_encode
from persona_profile.errors import Overloaded
from persona_profile.keys.service import KeysUnavailable

MAX_BODY_BYTES: Final = 64 * 1024
MAX_TOKEN_BYTES: Final = 8 * 1024
SILENCE_SECONDS: Final = 1.0
LOG_SECONDS: Final = 60.0
PLACE_SECONDS: Final = 0.25
"""The wait for a connection while all connections are in use."""

QUICK_SECONDS: Final = 0.1
"""The time of a request without a place of the budget for waiting threads."""

BUSY: Final = "too many requests wait for the key service"
DENIED: Final = "the key service denies permission: check the token and its policy"
FAILING: Final = "the key service has failed: see its log"
LIMITED: Final = "the key service limits the rate of requests"
MALFORMED: Final = "the key service sends no valid response: check its address"
NO_CREDENTIAL: Final = "the token file of the key service can't be read, or holds no token"
REDIRECTED: Final = "the key service redirects elsewhere: name the node that is active"
REJECTED: Final = "the key service rejects the request: check the type and state of the key"
SEALED: Final = "the key service is sealed"
SILENT: Final = "the key service did not answer in time"
STANDBY: Final = "this node of the key service is on standby"
UNKNOWN: Final = "the key service has no such key or mount"
UNREACHABLE: Final = "the key service can't be reached"
UNTRUSTED: Final = "TLS with the key service fails: check its address, its certificate and the ca_file"

logger = logging.getLogger(__name__)

_TOKEN = re.compile(rb"[!-~]+")
_NAMESPACE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class VaultResponse:
    """The HTTP status and the JSON document of a response; None if the body is no JSON."""

    status: int
    document: Json = field(repr=False)

    def has_error(self, *texts: str) -> bool:
        """Return whether an error message of the response contains one of the texts."""
        errors = self.document.get("errors") if isinstance(self.document, dict) else None
        messages = errors if isinstance(errors, list) else []
        return any(text in each for each in messages if isinstance(each, str) for text in texts)

    @property
    def problem(self) -> str:
        """The message of this module for an unsuccessful response."""
        match self.status:
            case 400:
                return UNKNOWN if self.has_error("key not found") else REJECTED
            case 429:
                return LIMITED if self.has_error("rate limit") else STANDBY
            case 503:
                return SEALED if self.has_error("sealed") else FAILING
            case status if status < 300:
                return MALFORMED
            case status if status < 400:
                return REDIRECTED
            case status:
                return {403: DENIED, 404: UNKNOWN, 405: UNKNOWN, 472: STANDBY, 473: STANDBY}.get(
                    status, FAILING if status >= 500 else REJECTED
                )


class VaultClient:
    """Sends requests with the token of a file; thread-safe.

    Args:
        url: `https://host[:port][/path]`; `http` is for an agent on the same machine.
        token_file: the token, as an agent's file sink writes it. Agents renew the file, so it is read
            again after a change, and after status 403.
        ca_file: trusted certificate authorities (PEM) instead of the system's.
        timeout: seconds for a whole request; a request is repeated once after a renewal of the token.
        max_connections: the number of threads that may wait for the server.
        place: holds a place for a thread that waits longer than QUICK_SECONDS, or raises Overloaded.
        clock: seconds, for the pauses of the circuit breaker and the log.

    Raises:
        ValueError: an argument is malformed; the message does not hold it.
    """

    def __init__(
        self,
        url: str,
        token_file: Path,
        *,
        namespace: str | None = None,
        ca_file: Path | None = None,
        timeout: float = 2.0,
        max_connections: int = 4,
        place: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = _checked(url)
        if namespace is not None and not _NAMESPACE.fullmatch(namespace):
            raise ValueError("the namespace of the key service is malformed")
        if max_connections < 1 or timeout <= 0:
            raise ValueError("timeout and max_connections must be positive")
        self._prefix = parts.path.rstrip("/") + "/v1/"
        self._headers = {"X-Vault-Request": "true", "User-Agent": "persona-profile"}
        if namespace is not None:
            self._headers["X-Vault-Namespace"] = namespace
        self._token = _TokenFile(token_file)
        self._timeout = timeout
        self._place = place
        self._clock = clock
        self._breaker = CircuitBreaker(_outcome, pause=SILENCE_SECONDS, clock=clock)
        self._lock = threading.Lock()
        self._log_after: dict[str, float] = {}
        # The number of connections limits the requests. The last used one comes first, so that few
        # stay open at low load.
        self._connections: queue.LifoQueue[HTTPConnection] = queue.LifoQueue()
        context = _tls(ca_file) if parts.scheme == "https" or ca_file else None
        for _ in range(max_connections):
            self._connections.put(_connection(parts, context, timeout))
        self._executor = ThreadPoolExecutor(max_connections, thread_name_prefix="vault")
        self._is_closed = False

    def request(
        self, method: str, path: str, document: Mapping[str, str] | None = None
    ) -> VaultResponse:
        """Send an idempotent request; `path` is the part after `/v1/`.

        Raises:
            KeysUnavailable: there is no response.
        """
        token = self._read_token()
        response = self._send(method, path, document, token)
        if response.status == 403 and (renewed := self._read_token(force=True)) != token:
            response = self._send(method, path, document, renewed)
        return response

    def failure(self, message: str, retry_after: int = 5) -> KeysUnavailable:
        """Return the error to raise; log its message at most once in LOG_SECONDS."""
        with self._lock:
            now = self._clock()
            is_news = now >= self._log_after.get(message, now)
            if is_news:
                self._log_after[message] = now + LOG_SECONDS
        if is_news:
            logger.error("%s", message)
        return KeysUnavailable(message, retry_after)

    def close(self) -> None:
        """Close connections. No request can be sent afterwards."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._close_idle()

    def _read_token(self, *, force: bool = False) -> str:
        try:
            return self._token.read(force=force)
        except (OSError, ValueError):
            raise self.failure(NO_CREDENTIAL) from None

    def _send(
        self, method: str, path: str, document: Mapping[str, str] | None, token: str
    ) -> VaultResponse:
        call = _Call(
            method,
            self._prefix + path,
            self._headers | {"X-Vault-Token": token},
            None if document is None else json_encode(document),
            time.monotonic() + self._timeout,
        )
        try:
            with self._breaker.call():
                status, body = self._carry_out(call)
        except (queue.Empty, Overloaded):
            raise self.failure(BUSY, retry_after=1) from None
        except (TimeoutError, CircuitOpen):
            raise self.failure(SILENT) from None
        except ssl.SSLError:
            raise self.failure(UNTRUSTED) from None
        except (OSError, RuntimeError):
            raise self.failure(UNREACHABLE) from None
        except (ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError):
            raise self.failure(MALFORMED) from None
        try:
            return VaultResponse(status, json_decode(body))
        except MalformedText:
            return VaultResponse(status, None)

    def _carry_out(self, call: _Call) -> tuple[int, bytes]:
        """Carry out a call in another thread, as name resolution can't be interrupted."""
        connection = self._connections.get(timeout=PLACE_SECONDS)
        try:
            future = self._executor.submit(call.carry_out, connection)
        except RuntimeError:  # closed, or the system gives no more threads
            self._give_back(connection)
            raise
        try:
            return self._result(future)
        except (TimeoutError, Overloaded):
            call.abort()
            raise
        finally:
            future.add_done_callback(lambda _: self._give_back(connection))

    def _result(self, future: Future[tuple[int, bytes]]) -> tuple[int, bytes]:
        """Wait for a call; after QUICK_SECONDS hold a place of the budget for waiting threads."""
        quick = min(QUICK_SECONDS, self._timeout)
        if not wait([future], quick).done:
            with self._place():
                return future.result(self._timeout - quick)
        return future.result()

    def _give_back(self, connection: HTTPConnection) -> None:
        self._connections.put(connection)
        if self._is_closed:
            self._close_idle()

    def _close_idle(self) -> None:
        try:
            while True:
                self._connections.get_nowait().close()
        except queue.Empty:
            pass


@dataclass(slots=True)
class _Call:
    """A request, and the socket that it uses."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    deadline: float
    sock: socket.socket | None = None

    def carry_out(self, connection: HTTPConnection) -> tuple[int, bytes]:
        """Return status and body. Python's own exceptions replace the time-outs of urllib3."""
        was_open = connection.is_connected
        try:
            try:
                return self._exchange(connection)
            except (ConnectionError, ssl.SSLError):
                # The server may have closed an idle connection just now.
                if not was_open:
                    raise
                connection.close()
                return self._exchange(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, urllib3.exceptions.NewConnectionError):
                raise ConnectionRefusedError from None  # urllib3 derives it from its TimeoutError
            if isinstance(error, urllib3.exceptions.TimeoutError):
                raise TimeoutError from None
            raise

    def abort(self) -> None:
        """Shut the socket down, as its timeout begins again with each received byte."""
        if self.sock is not None:
            try:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already

    def _exchange(self, connection: HTTPConnection) -> tuple[int, bytes]:
        if not connection.is_connected:
            connection.close()
            connection.connect()
        self.sock = connection.sock
        if time.monotonic() >= self.deadline:
            raise TimeoutError  # no thread waits any more
        connection.request(
            self.method, self.path, body=self.body, headers=self.headers, preload_content=False
        )
        with connection.getresponse() as response:
            body = response.read(MAX_BODY_BYTES + 1, decode_content=False)
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("the body is too long")
        return response.status, body


class _TokenFile:
    """A file with a token, cached until the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._token = ""

    def read(self, *, force: bool) -> str:
        """Return the token; read the file if it has changed, or by `force`."""
        with self._lock:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino, status.st_size
            if force or stamp != self._stamp:
                with self._path.open("rb") as file:
                    token = file.read(MAX_TOKEN_BYTES).strip()
                if not _TOKEN.fullmatch(token):
                    raise ValueError("no token")
                self._token, self._stamp = token.decode("ascii"), stamp
            return self._token


def _outcome(error: BaseException, _seconds: float) -> Outcome:
    match error:
        case TimeoutError():
            return Outcome.FAILED
        case queue.Empty() | Overloaded():
            return Outcome.UNKNOWN  # the request was not sent, or given up early
        case _:
            return Outcome.ANSWERED


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", url) or set(url) & set("?#"):
        raise ValueError("the url of the key service must be https://host[:port][/path]")
    return parts


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:
        raise ValueError(
            "the ca_file of the key service can't be read, or holds no certificate"
        ) from None


def _connection(parts: SplitResult, context: ssl.SSLContext | None, timeout: float) -> HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        connection = HTTPConnection(host, parts.port or 80, timeout=timeout)
    else:
        connection = HTTPSConnection(host, parts.port or 443, timeout=timeout, ssl_context=context)
    connection.response_class = BoundedResponse
    return connection
