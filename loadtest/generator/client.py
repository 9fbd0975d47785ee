"""Requests to the server under test, over connections that are kept; and what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient

TIMEOUT: Final = 30.0
"""Seconds from sending a request to the last byte of its answer: nobody waits longer for a dialog."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came back.

    Attributes:
        status: of HTTP.
        body: all of it.
        retry_after: the answer had a Retry-After.
        sent: bytes of the request's body.
    """

    status: int
    body: bytes
    retry_after: bool = False
    sent: int = 0

    @property
    def is_shed(self) -> bool:
        """The server refused so that it can serve others, and said when to come back."""
        return self.status in {429, 503} and self.retry_after

    @property
    def problem(self) -> str:
        """The code of the problem that it tells of, `status_N` if there is none."""
        code = self.json.get("code") if isinstance(self.json, dict) else None
        return code if isinstance(code, str) and code.isidentifier() else f"status_{self.status}"

    @property
    def json(self) -> Any:
        """The body, read; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class NoAnswer(Exception):
    """Nothing came back; `code` is `timeout`, `connection_refused` or `connection_broken`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Client(HTTPClient):
    """Asks once. `HTTPClient` asks again when a server hangs up, as often as it may have connections.

    That would hide what is to be measured. An idle connection that was closed is not used in any case.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._connection_pool.size = -1


class Connections:
    """Asks one server; a connection is used by one request at a time.

    Args:
        origin: of the server.
        most: connections at the same time; further requests wait for one.
    """

    def __init__(self, origin: str, most: int) -> None:
        parts = urlsplit(origin)
        is_secure = parts.scheme == "https"
        self._client = _Client(
            parts.hostname or "",
            parts.port or (443 if is_secure else 80),
            ssl=is_secure,
            concurrency=most,
            connection_timeout=TIMEOUT,
            network_timeout=TIMEOUT,
            disable_ipv6=parts.hostname != "::1",
        )

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request, return its answer.

        Raises:
            NoAnswer: there is none.
        """
        try:
            with gevent.Timeout(TIMEOUT):
                return self._call(method, path, body, headers)
        except (gevent.Timeout, TimeoutError):
            raise NoAnswer("timeout") from None
        except ConnectionRefusedError:
            raise NoAnswer("connection_refused") from None
        except (OSError, ValueError, HTTPException):
            raise NoAnswer("connection_broken") from None

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> Response:
        response = self._client.request(method, path, body, dict(headers or {}))
        with response:
            content = bytes(response.read())
            retry_after = response.get("retry-after") is not None
            return Response(response.status_code, content, retry_after, len(body))
