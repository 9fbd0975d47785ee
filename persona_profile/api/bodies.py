"""Reading requests: JSON bodies, the picture in a body, parameters in the query.

Each function raises `UnsupportedMediaType`, `BodyTooLarge`, `MalformedRequest` or `ValidationFailed` if
its part of the request is invalid.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from typing import Any, BinaryIO, Final, cast

import multipart
from pyramid.request import Request

from persona_profile.api.schemas import validate
from persona_profile.encoding import MalformedText, json_decode
from persona_profile.errors import (
    BodyTooLarge,
    FieldError,
    MalformedRequest,
    UnsupportedMediaType,
    ValidationFailed,
)
from persona_profile.images import Crop

MAX_JSON_VALUES: Final = 256
"""Values and members in a JSON body: several times the number of the largest valid body."""

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
MULTIPART: Final = "multipart/form-data"
MAX_QUERY_BYTES: Final = 1024

FORM_OVERHEAD_BYTES: Final = 64 * 1024
"""The form without its picture: boundaries, headers, other small fields."""

_MAX_FORM_LINE_BYTES: Final = 32 * 1024
"""One line of a part's header: room for any file name, also one with its folders."""

_FORM_CHARSET: Final = "latin-1"
"""Every byte is a character of it. File names have any encoding, and nothing reads them."""

# Found anywhere: a file name may hold the quotes of its own header, as in ISO-2022-JP and Shift JIS.
_PICTURE_NAME = re.compile(r';\s*name\s*=\s*("?)picture\1\s*(?:;|$)', re.ASCII | re.IGNORECASE)
_FILE_NAME = re.compile(r";\s*filename[*0-9]*\s*=", re.ASCII | re.IGNORECASE)
_TEXT_SNIFFED_BYTES: Final = 64

_MAX_FORM_PARTS: Final = 128
_FORM_SPOOL_BYTES: Final = 1024 * 1024

CROP_PATTERN: Final = "([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})"
OF_PATTERN: Final = "([0-9]{1,6})x([0-9]{1,6})"

_CROP = re.compile(CROP_PATTERN, re.ASCII)
_OF = re.compile(OF_PATTERN, re.ASCII)


def is_json(request: Request) -> bool:
    """Return whether the body is JSON by its media type."""
    return (request.content_type or "").lower() == JSON


def json_body(request: Request, schema: Any, limit: int, media_types: tuple[str, ...] = (JSON,)) -> Any:
    """Return the values of a JSON body."""
    if (request.content_type or "").lower() not in media_types:
        raise UnsupportedMediaType(f"The body must be {' or '.join(media_types)}.")
    _check_length(request, limit)
    try:
        # Not `request.body`: it would copy the body to a temporary file first.
        text = request.body_file_raw.read(request.content_length or 0)
        document = json_decode(text, MAX_JSON_VALUES)
    except MalformedText as error:
        raise MalformedRequest(f"The body is not acceptable JSON: {error}.") from None
    return validate(schema, document)


def picture_body(request: Request, limit: int) -> BinaryIO:
    """Return the picture as a seekable file: the body itself, or the `picture` field of a form."""
    kind = (request.content_type or "").lower()
    if kind == MULTIPART:
        _check_length(request, limit, FORM_OVERHEAD_BYTES)
        return _form_picture(request, limit)
    if not (kind in ("", "application/octet-stream") or kind.startswith("image/")):
        raise UnsupportedMediaType(f"The body must be a picture (image/*) or {MULTIPART}.")
    _check_length(request, limit)
    if hasattr(request.body_file_raw, "tell"):  # waitress passes the file itself
        return cast(BinaryIO, request.body_file_raw)
    copied: BinaryIO = request.body_file_seekable
    close_with(request, copied)
    return copied


def crop_parameter(request: Request) -> Crop | None:
    """Return the square of `?crop=x,y,side&of=WIDTHxHEIGHT`; without `of` of the upright picture."""
    text, size = _query_parameter(request, "crop"), _query_parameter(request, "of")
    if text is None:
        if size is not None:
            raise _query_error("of", "may be given only with crop")
        return None
    match = _CROP.fullmatch(text)
    if match is None or not int(match[3]):
        raise _query_error("crop", "must be x,y,side in whole pixels")
    return Crop(int(match[1]), int(match[2]), int(match[3]), _size(size))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _OF.fullmatch(text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not width or not height:
        raise _query_error("of", "must be WIDTHxHEIGHT in whole pixels")
    return width, height


def thumbnail_parameter(request: Request, sizes: tuple[int, ...]) -> int | None:
    """Return the size of `?thumbnails=SIZE` in pixels."""
    text = _query_parameter(request, "thumbnails")
    if text is None:
        return None
    if text not in map(str, sizes):
        raise _query_error("thumbnails", f"must be one of {', '.join(map(str, sizes))}")
    return int(text)


def _query_parameter(request: Request, name: str) -> str | None:
    if not request.query_string:
        return None  # parsing costs as much as opening a session token
    if len(request.query_string) > MAX_QUERY_BYTES:
        raise MalformedRequest(f"The query may have at most {MAX_QUERY_BYTES} bytes.")
    try:
        values: list[str] = request.GET.getall(name)
    except UnicodeDecodeError:
        raise MalformedRequest("The query is not UTF-8.") from None
    if len(values) > 1:
        raise _query_error(name, "may be given once")
    return values[0] if values else None


def _query_error(name: str, description: str) -> ValidationFailed:
    return ValidationFailed(
        "The query is not acceptable.", errors=(FieldError("querystring", name, description),)
    )


def _check_length(request: Request, limit: int, overhead: int = 0) -> None:
    # waitress gives every body a length, also a chunked one.
    if (request.content_length or 0) > limit + overhead:
        raise BodyTooLarge(limit)


def _form_picture(request: Request, limit: int) -> BinaryIO:
    """Return the file of the single `picture` field; other fields are ignored."""
    picture = tempfile.SpooledTemporaryFile(_FORM_SPOOL_BYTES)  # noqa: SIM115 - closed with the request
    close_with(request, cast(BinaryIO, picture))
    found: list[multipart.MultipartSegment] = []
    wanted = False
    source = _FormReader(request.body_file_raw)
    try:
        with _form_parser(request) as parser:
            for event in parser.parse_blocking(source.read):
                source.content_bytes += len(event) if isinstance(event, bytes | bytearray) else 0
                if isinstance(event, multipart.MultipartSegment):
                    wanted = _is_picture(event)
                    if wanted:
                        found.append(event)
                elif event and wanted:
                    picture.write(event)
    except multipart.MultipartError:
        raise MalformedRequest("The body is not a well-formed form.") from None
    size = picture.tell()
    if len(found) != 1 or _is_text_field(found[0], cast(BinaryIO, picture)):
        reason = "may be given once" if len(found) > 1 else "must be a file" if found else "Required"
        error = FieldError("body", "picture", reason)
        raise ValidationFailed("The form does not have exactly one picture.", errors=(error,))
    if size > limit:
        raise BodyTooLarge(limit)
    picture.seek(0)
    return cast(BinaryIO, picture)


class _FormReader:
    """Reads a form whose boundaries and headers have a limit.

    A folded header costs the parser the square of its length.

    Attributes:
        content_bytes: the fields' content so far, as the parser counts it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read_bytes = 0
        self.content_bytes = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, or raise MalformedRequest."""
        if self._read_bytes - self.content_bytes > FORM_OVERHEAD_BYTES:
            raise MalformedRequest(f"The form has over {FORM_OVERHEAD_BYTES} bytes of headers.")
        data: bytes = self._file.read(size)
        self._read_bytes += len(data)
        return data


def _is_picture(part: multipart.MultipartSegment) -> bool:
    """Return whether a part is the field `picture`, also where the file name hides the field's name."""
    return part.name == "picture" or (
        not part.name and _PICTURE_NAME.search(part.header("Content-Disposition", "")) is not None
    )


def _is_text_field(part: multipart.MultipartSegment, content: BinaryIO) -> bool:
    """Return whether a part is no file: it has no file name, and its content is text or nothing.

    An empty file name without content is a form in which no file was chosen.
    """
    named = part.filename or _FILE_NAME.search(part.header("Content-Disposition", ""))
    if named and part.filename != "":
        return False
    content.seek(0)
    head = content.read(_TEXT_SNIFFED_BYTES)
    return head.isascii() and b"\0" not in head


def close_with(request: Request, file: BinaryIO) -> None:
    """Close a temporary file with the request; a full disk may reject its last bytes."""

    def close(_request: Request) -> None:
        with contextlib.suppress(OSError):
            file.close()

    request.add_finished_callback(close)


def _form_parser(request: Request) -> multipart.PushMultipartParser:
    _, options = multipart.parse_options_header(request.headers["Content-Type"])
    if not options.get("boundary"):
        raise MalformedRequest("The form has no boundary.")
    length = request.content_length or 0
    return multipart.PushMultipartParser(
        options["boundary"],
        length,
        max_header_size=_MAX_FORM_LINE_BYTES,
        max_segment_count=_MAX_FORM_PARTS,
        header_charset=_FORM_CHARSET,
    )
