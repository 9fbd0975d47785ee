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

_MAX_FORM_PARTS: Final = 128
_FORM_SPOOL_BYTES: Final = 1024 * 1024

CROP_PATTERN: Final = "([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})"
OF_PATTERN: Final = "([0-9]{1,6})x([0-9]{1,6})"

_CROP = re.compile(CROP_PATTERN, re.ASCII)
_OF = re.compile(OF_PATTERN, re.ASCII)


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
    _close_with(request, copied)
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
    _close_with(request, cast(BinaryIO, picture))
    found: list[multipart.MultipartSegment] = []
    wanted = False
    try:
        with _form_parser(request) as parser:
            for event in parser.parse_blocking(request.body_file_raw.read):
                if isinstance(event, multipart.MultipartSegment):
                    wanted = event.name == "picture"
                    if wanted:
                        found.append(event)
                elif event and wanted:
                    picture.write(event)
    except multipart.MultipartError:
        raise MalformedRequest("The body is not a well-formed form.") from None
    if len(found) != 1 or not found[0].filename:
        reason = "may be given once" if len(found) > 1 else "must be a file" if found else "Required"
        error = FieldError("body", "picture", reason)
        raise ValidationFailed("The form does not have exactly one picture.", errors=(error,))
    if picture.tell() > limit:
        raise BodyTooLarge(limit)
    picture.seek(0)
    return cast(BinaryIO, picture)


def _close_with(request: Request, file: BinaryIO) -> None:
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
    return multipart.PushMultipartParser(options["boundary"], length, max_segment_count=_MAX_FORM_PARTS)
