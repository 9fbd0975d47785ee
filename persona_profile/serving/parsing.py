"""A parser of HTTP/1.1 requests that is stricter than that of waitress."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Any, Final

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error, RequestHeaderFieldsTooLarge

from persona_profile.api.addresses import is_host
from persona_profile.api.reception import BodyLimit, Reception
from persona_profile.errors import BodyTooLarge, ServiceError

SMALL_BODY_BYTES: Final = 64 * 1024
"""A body of this size is received with its headers; the application decides on it."""

MAX_HEADERS: Final = 100
"""Lines of a request head; browsers send some 25."""

MAX_SPACES: Final = 64
"""White space in a row within a head: regular expressions of waitress are slow on longer runs."""

MAX_FRAMING_BYTES: Final = 4096
"""Bytes of chunk framing allowed beyond a sixteenth of the content, the share of 100-byte chunks."""

_PIECE_BYTES: Final = 8192

_TRANSFER_ENCODING = re.compile(rb"^transfer-encoding:[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)

logger = logging.getLogger(__name__)


class NoRoomError(Error):  # type: ignore[misc]
    """A body can't be stored."""

    code = 503
    reason = "Service Unavailable"


class StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """Rejects bad URLs, requests without one valid Host, and bodies that the server does not store.

    Args:
        reception: decides by the headers whether a body is received.

    Attributes:
        rejection: the error that the application answers instead of receiving the body.
    """

    rejection: ServiceError | None = None
    body_rcv: Any
    _limit = BodyLimit(0, 0)
    _has_too_many_headers = False

    def __init__(self, adj: Any, reception: Reception) -> None:
        super().__init__(adj)
        self._reception = reception

    def received(self, data: bytes) -> int:
        """Parse received bytes; return the number of bytes that belong to this request."""
        is_head = not self.headers_finished
        # waitress copies all remaining data for each chunk.
        piece = data[:_PIECE_BYTES] if self.chunked else data
        try:
            consumed = int(super().received(piece))
        except OSError as error:
            logger.error("no room for a body: %s", error.strerror)  # noqa: TRY400
            self.error: Error | None = NoRoomError("")
            self.completed = True
            consumed = len(data)
        if self._has_too_many_headers:
            self.error = RequestHeaderFieldsTooLarge("")
        if is_head and self.headers_finished and not self.completed:
            self._check_headers()
        elif self.chunked and self.body_rcv is not None:
            self._check_chunks()
        if self.completed:
            # No more is wanted; waitress would ask for the body, and wait for it.
            self.expect_continue = False
        # Everything after a rejected body belongs to it.
        return consumed if self.rejection is None else len(data)

    def _check_headers(self) -> None:
        """Reject an unwanted body; a small body is received, and left to the application."""
        is_small = not self.chunked and self.content_length <= SMALL_BODY_BYTES
        if is_small and not self.expect_continue:
            return
        environ = {f"HTTP_{name}": text for name, text in self.headers.items()}
        environ |= {
            name: environ.pop(f"HTTP_{name}", "") for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        }
        environ["REQUEST_METHOD"] = self.command
        environ["PATH_INFO"] = "/" + self.path.removeprefix(self.adj.url_prefix).lstrip("/")
        try:
            self._limit = self._reception.body_limit(environ)
        except ServiceError as error:
            self._reject(error)

    def _check_chunks(self) -> None:
        """Reject a chunked body that is too large, or has more framing than clients need."""
        content = len(self.body_rcv)
        framing = self.body_bytes_received - content
        if content > self._limit.received or framing > MAX_FRAMING_BYTES + content // 16:
            self._reject(BodyTooLarge(self._limit.reported))

    def _reject(self, error: ServiceError) -> None:
        self.close()
        self.body_rcv = None
        self.rejection = error
        self.completed = True

    def close(self) -> None:
        """Discard the body; errors of a full disk do not matter any more."""
        with contextlib.suppress(OSError):
            super().close()

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the request line and the headers.

        Raises:
            ParsingError, TransferEncodingNotImplemented: they are invalid.
        """
        self._has_too_many_headers = header_plus.count(b"\n") > MAX_HEADERS
        if self._has_too_many_headers or b" " * MAX_SPACES in header_plus.replace(b"\t", b" "):
            raise ParsingError("Bad head")
        try:
            super().parse_header(header_plus)
        except ValueError:  # of the standard library, for an invalid address in brackets
            raise ParsingError("Bad URL") from None
        self._check_framing(header_plus)
        # RFC 9112, 3.2; waitress joins several headers of one name by commas.
        host = self.headers.get("HOST")
        is_optional = self.version in ("", "1.0")
        if not (is_optional if host is None else is_host(host)):
            raise ParsingError("Bad Host")

    def _check_framing(self, header_plus: bytes) -> None:
        """Reject a head of which servers disagree where its body ends (RFC 9112, 6.1 and 6.3).

        waitress reads the chunks of other versions than 1.1 as the next request of the connection.

        Raises:
            ParsingError: they disagree.
        """
        if self.version not in ("", "1.0", "1.1"):
            raise ParsingError("Bad version")
        lower = header_plus.lower()
        if b"transfer-encoding" not in lower:
            return
        codings = _TRANSFER_ENCODING.findall(lower)
        is_clear = codings == [b"chunked"] and self.chunked and "CONTENT_LENGTH" not in self.headers
        if codings and not is_clear:
            raise ParsingError("Bad framing")
