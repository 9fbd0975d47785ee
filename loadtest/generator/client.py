"""Requests to the server under test over persistent connections."""

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
"""Seconds from sending a request to the last byte of its response."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server.

    Attributes:
        retry_after: seconds after which the server lets the client repeat the request, or None.
        sent: bytes of the request's body.
    """

    status: int
    body: bytes
    retry_after: int | None = None
    sent: int = 0

    @property
    def is_shed(self) -> bool:
        """Whether the server shed the request: it rejected it with Retry-After."""
        return self.status in {429, 503} and self.retry_after is not None

    @property
    def problem(self) -> str:
        """The code of the problem, or `status_N` without one."""
        code = self.json.get("code") if isinstance(self.json, dict) else None
        return code if isinstance(code, str) and code.isidentifier() else f"status_{self.status}"

    @property
    def json(self) -> Any:
        """The parsed body, or None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class NoAnswer(Exception):
    """No response: `code` is `timeout`, `connection_refused` or `connection_broken`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Client(HTTPClient):
    """A client that sends each request once.

    `HTTPClient` repeats a request if the server closes the connection, which would hide the failure.
    Neither uses an idle connection that was closed.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._connection_pool.size = -1


class Connections:
    """Connections to one server, each used by one request at a time; above the limit requests wait."""

    def __init__(self, origin: str, limit: int) -> None:
        parts = urlsplit(origin)
        is_secure = parts.scheme == "https"
        self._client = _Client(
            parts.hostname or "",
            parts.port or (443 if is_secure else 80),
            ssl=is_secure,
            concurrency=limit,
            connection_timeout=TIMEOUT,
            network_timeout=TIMEOUT,
            disable_ipv6=parts.hostname != "::1",
        )

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request and return the response.

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
        """Close all connections."""
        self._client.close()

    def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None) -> Response:
        response = self._client.request(method, path, body, dict(headers or {}))
        with response:
            content = bytes(response.read())
            retry_after = _seconds(response.get("retry-after"))
            return Response(response.status_code, content, retry_after, len(body))


def _seconds(header: str | list[str] | None) -> int | None:
    """Return the value of Retry-After; 1 for a date, which the service never sends."""
    if header is None:
        return None
    return int(header) if isinstance(header, str) and header.isdecimal() else 1
