"""Requests of HTTP/1.1 as waitress parses them, and where that is too lenient."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error, RequestHeaderFieldsTooLarge

from persona_profile.api.addresses import is_host
from persona_profile.api.reception import BodyLimit, Reception
from persona_profile.errors import BodyTooLarge, ServiceError

SMALL_BODY_BYTES: Final = 64 * 1024
"""A body that comes along with its headers; the application itself answers it."""

MAX_HEADERS: Final = 100
"""Lines of a request's head; browsers send some 25."""

MAX_SPACES: Final = 64
"""White space in a row within a head: the patterns of waitress go through longer runs many times."""

MAX_FRAMING_BYTES: Final = 4096
"""Framing of chunks beyond a sixteenth of the content, which chunks of 100 bytes have."""

_PIECE_BYTES: Final = 8192

logger = logging.getLogger(__name__)


class NoRoomError(Error):  # type: ignore[misc]
    """A body can't be kept."""

    code = 503
    reason = "Service Unavailable"


class StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """Rejects requests without one valid Host, bad URLs, and bodies that are unwanted or find no room.

    Args:
        adj: the settings of waitress.
        reception: decides by the headers whether a body is received.

    Attributes:
        refusal: the answer of the application, should the body not be received.
    """

    refusal: ServiceError | None = None
    body_rcv: Any
    _limit = BodyLimit(0, 0)
    _has_too_many_headers = False

    def __init__(self, adj: Any, reception: Reception) -> None:
        super().__init__(adj)
        self._reception = reception

    def received(self, data: bytes) -> int:
        """Read bytes of the request; return how many of them belong to it."""
        is_head = not self.headers_finished
        # Of chunks waitress copies all that is left for each.
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
            # Nothing more is wanted; waitress would ask for a body, and wait for it.
            self.expect_continue = False
        # All that follows a body which is not received belongs to it.
        return consumed if self.refusal is None else len(data)

    def _check_headers(self) -> None:
        """Refuse a body that is not wanted; a small one comes along, and is left to the application."""
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
            self._refuse(error)

    def _check_chunks(self) -> None:
        """Refuse a chunked body once it is too large, or has more framing than a client needs."""
        content = len(self.body_rcv)
        framing = self.body_bytes_received - content
        if content > self._limit.received or framing > MAX_FRAMING_BYTES + content // 16:
            self._refuse(BodyTooLarge(self._limit.reported))

    def _refuse(self, error: ServiceError) -> None:
        self.close()
        self.body_rcv = None
        self.refusal = error
        self.completed = True

    def close(self) -> None:
        """Let go of the body; what is still to be written to a full disk is lost, and not needed."""
        with contextlib.suppress(OSError):
            super().close()

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the headers.

        Raises:
            ParsingError, TransferEncodingNotImplemented: they can't be read.
        """
        self._has_too_many_headers = header_plus.count(b"\n") > MAX_HEADERS
        if self._has_too_many_headers or b" " * MAX_SPACES in header_plus.replace(b"\t", b" "):
            raise ParsingError("Bad head")
        try:
            super().parse_header(header_plus)
        except ValueError:  # of the standard library: brackets around no address
            raise ParsingError("Bad URL") from None
        # RFC 9112, 3.2; waitress joins several headers of one name by commas.
        host = self.headers.get("HOST")
        is_optional = self.version in ("", "1.0")
        if not (is_optional if host is None else is_host(host)):
            raise ParsingError("Bad Host")
