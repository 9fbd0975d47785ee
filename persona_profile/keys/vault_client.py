"""A client of HashiCorp Vault or OpenBao that can't be made to wait, whatever the server does.

One deadline over everything, name resolution included; an answer of at most MAX_ANSWER_BYTES, all of
whose bytes are counted; no redirects, no proxies of the environment; few threads wait at a time, and
while the server is silent almost none. What went wrong is told by messages of our own, so that nothing
secret is in them.

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

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_TOKEN_BYTES: Final = 8 * 1024
SILENCE_SECONDS: Final = 1.0
LOG_SECONDS: Final = 60.0
PLACE_SECONDS: Final = 0.25
"""How long a request waits for others to be answered, when as many as may are under way."""

QUICK_SECONDS: Final = 0.1
"""How long a request may take without a place of the budget for threads that wait."""

BUSY: Final = "too many requests wait for the key service"
DENIED: Final = "the key service denies permission: check the token and its policy"
FAILING: Final = "the key service has failed: see its log"
LIMITED: Final = "the key service limits the rate of requests"
MALFORMED: Final = "the key service answers what is no answer: check its address"
NO_CREDENTIAL: Final = "the token file of the key service can't be read, or holds no token"
REDIRECTED: Final = "the key service redirects elsewhere: name the node that is active"
REFUSED: Final = "the key service refuses the request: check the type and state of the key"
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
class Answer:
    """What the server answered: HTTP status and JSON document, None if it is no JSON."""

    status: int
    document: Json = field(repr=False)

    def says(self, *texts: str) -> bool:
        """Tell whether one of its error messages has one of the texts in it."""
        errors = self.document.get("errors") if isinstance(self.document, dict) else None
        said = [each for each in errors if isinstance(each, str)] if isinstance(errors, list) else []
        return any(text in each for each in said for text in texts)

    @property
    def problem(self) -> str:
        """What is wrong, if it is no success, as one of the messages of this module."""
        match self.status:
            case 400:
                return UNKNOWN if self.says("key not found") else REFUSED
            case 429:
                return LIMITED if self.says("rate limit") else STANDBY
            case 503:
                return SEALED if self.says("sealed") else FAILING
            case status if status < 300:
                return MALFORMED
            case status if status < 400:
                return REDIRECTED
            case status:
                return {403: DENIED, 404: UNKNOWN, 405: UNKNOWN, 472: STANDBY, 473: STANDBY}.get(
                    status, FAILING if status >= 500 else REFUSED
                )


class VaultClient:
    """Sends requests, from any number of threads at once.

    Args:
        url: `https://host[:port][/path]`; `http` only makes sense to an agent on the same machine.
        token_file: holds the token, as an agent's file sink writes it; read again when it has
            changed, and after a refusal, because agents renew it.
        namespace: the namespace of all requests, if any.
        ca_file: certificate authorities (PEM) that are trusted instead of the system's.
        timeout: seconds for one exchange from start to end.
        max_connections: as many threads may wait for the server; others are refused soon.
        place: holds a place for a thread that waits longer than QUICK_SECONDS, or raises Overloaded.
        clock: seconds, for what is remembered.

    Raises:
        ValueError: an argument is not of this form; the message never holds it.
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
        # A connection is a place as well: who finds none is refused. The last that was used comes
        # first, so that a quiet server keeps few.
        self._connections: queue.LifoQueue[HTTPConnection] = queue.LifoQueue()
        context = _tls(ca_file) if parts.scheme == "https" or ca_file else None
        for _ in range(max_connections):
            self._connections.put(_connection(parts, context, timeout))
        self._executor = ThreadPoolExecutor(max_connections, thread_name_prefix="vault")
        self._is_closed = False

    def request(self, method: str, path: str, document: Mapping[str, str] | None = None) -> Answer:
        """Send a request that is safe to repeat; `path` is the part after `/v1/`.

        Raises:
            KeysUnavailable: no answer is to be had.
        """
        token = self._read_token()
        answer = self._ask(method, path, document, token)
        if answer.status == 403 and (renewed := self._read_token(anew=True)) != token:
            answer = self._ask(method, path, document, renewed)
        return answer

    def failure(self, message: str, retry_after: int = 5) -> KeysUnavailable:
        """Make the exception to raise, and log it unless that was done within LOG_SECONDS."""
        with self._lock:
            now = self._clock()
            is_news = now >= self._log_after.get(message, now)
            if is_news:
                self._log_after[message] = now + LOG_SECONDS
        if is_news:
            logger.error("%s", message)
        return KeysUnavailable(message, retry_after)

    def close(self) -> None:
        """Let go of the server; no request can be sent any more."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._close_idle()

    def _read_token(self, *, anew: bool = False) -> str:
        try:
            return self._token.read(anew=anew)
        except (OSError, ValueError):
            raise self.failure(NO_CREDENTIAL) from None

    def _ask(self, method: str, path: str, document: Mapping[str, str] | None, token: str) -> Answer:
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
            return Answer(status, json_decode(body))
        except MalformedText:
            return Answer(status, None)

    def _carry_out(self, call: _Call) -> tuple[int, bytes]:
        """Have a thread carry out a call, as name resolution can't be interrupted."""
        connection = self._connections.get(timeout=PLACE_SECONDS)
        try:
            future = self._executor.submit(call.carry_out, connection)
        except RuntimeError:  # closed, or the system gives no more threads
            self._give_back(connection)
            raise
        try:
            return self._result(future)
        except (TimeoutError, Overloaded):
            call.cut()
            raise
        finally:
            future.add_done_callback(lambda _: self._give_back(connection))

    def _result(self, future: Future[tuple[int, bytes]]) -> tuple[int, bytes]:
        """Wait for a call, from QUICK_SECONDS on in a place for threads that wait.

        Raises:
            TimeoutError: it takes too long.
            Overloaded: no place is free.
        """
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
    """One request, and where it is carried out."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    deadline: float
    sock: socket.socket | None = None

    def carry_out(self, connection: HTTPConnection) -> tuple[int, bytes]:
        """Return status and body; time-outs, and no connection, raise what Python raises for them."""
        was_open = connection.is_connected
        try:
            try:
                return self._exchange(connection)
            except (ConnectionError, ssl.SSLError):
                # The server may have closed it while it was idle, too late for us to know.
                if not was_open:
                    raise
                connection.close()
                return self._exchange(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, urllib3.exceptions.NewConnectionError):
                raise ConnectionRefusedError from None  # to urllib3 it is a time-out
            if isinstance(error, urllib3.exceptions.TimeoutError):
                raise TimeoutError from None
            raise

    def cut(self) -> None:
        """Break off: time-outs of a socket count from byte to byte, a drip goes on."""
        if self.sock is not None:
            try:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it was closed first

    def _exchange(self, connection: HTTPConnection) -> tuple[int, bytes]:
        if not connection.is_connected:
            connection.close()
            connection.connect()
        self.sock = connection.sock
        if time.monotonic() >= self.deadline:
            raise TimeoutError  # nobody waits any more
        connection.request(
            self.method, self.path, body=self.body, headers=self.headers, preload_content=False
        )
        with connection.getresponse() as response:
            body = response.read(MAX_ANSWER_BYTES + 1, decode_content=False)
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too long")
        return response.status, body


class _TokenFile:
    """A file that holds a token and is replaced now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._token = ""

    def read(self, *, anew: bool) -> str:
        """Return the token; the file is read if it has changed, or is to be read `anew`.

        Raises:
            OSError: it can't be read.
            ValueError: it holds no token.
        """
        with self._lock:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino, status.st_size
            if anew or stamp != self._stamp:
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
