"""Reading requests: JSON bodies, the picture in a body, parameters in the query."""

from __future__ import annotations

import re
from typing import Any, BinaryIO, Final, cast

import multipart
from pyramid.request import Request

from persona_profile.encoding import MalformedText, json_decode
from persona_profile.errors import (
    BodyTooLarge,
    FieldError,
    MalformedRequest,
    UnsupportedMediaType,
    ValidationFailed,
)
from persona_profile.images import Crop
from persona_profile.schemas import validate

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
MULTIPART: Final = "multipart/form-data"
FORM_OVERHEAD_BYTES: Final = 64 * 1024
"""What a form may hold beside the picture: boundaries, headers, other small fields."""

_CROP = re.compile(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", re.ASCII)


def json_body(request: Request, schema: Any, limit: int, media_types: tuple[str, ...] = (JSON,)) -> Any:
    """Return a JSON body as its schema reads it.

    Raises:
        UnsupportedMediaType, BodyTooLarge, MalformedRequest, ValidationFailed: it is not acceptable.
    """
    if request.content_type not in media_types:
        raise UnsupportedMediaType(f"The body must be {' or '.join(media_types)}.")
    _check_length(request, limit)
    try:
        document = json_decode(request.body)
    except MalformedText as error:
        raise MalformedRequest(f"The body is not acceptable JSON: {error}.") from None
    return validate(schema, document)


def picture_body(request: Request, limit: int) -> BinaryIO:
    """Return the picture of a body, raw or the `picture` field of a form, as a seekable file.

    Raises:
        UnsupportedMediaType, BodyTooLarge, MalformedRequest, ValidationFailed: it is not acceptable.
    """
    kind = request.content_type or ""
    if kind == MULTIPART:
        _check_length(request, limit + FORM_OVERHEAD_BYTES)
        return _form_picture(request, limit)
    if not (kind in ("", "application/octet-stream") or kind.startswith("image/")):
        raise UnsupportedMediaType(f"The body must be a picture (image/*) or {MULTIPART}.")
    _check_length(request, limit)
    return cast(BinaryIO, request.body_file_seekable)


def crop_parameter(request: Request) -> Crop | None:
    """Return the square that `?crop=x,y,side` names, in pixels of the upright picture.

    Raises:
        ValidationFailed: it is not of that form.
    """
    text = request.GET.get("crop")
    if text is None:
        return None
    match = _CROP.fullmatch(text)
    if match is None or not int(match[3]):
        raise _query_error("crop", "must be x,y,side in whole pixels")
    return Crop(*map(int, match.groups()))


def thumbnail_parameter(request: Request, sizes: tuple[int, ...]) -> int | None:
    """Return the size that `?thumbnails=SIZE` names, in pixels.

    Raises:
        ValidationFailed: it is none of `sizes`.
    """
    text = request.GET.get("thumbnails")
    if text is None:
        return None
    if text not in map(str, sizes):
        raise _query_error("thumbnails", f"must be one of {', '.join(map(str, sizes))}")
    return int(text)


def _query_error(name: str, description: str) -> ValidationFailed:
    return ValidationFailed(
        "The query is not acceptable.", errors=(FieldError("querystring", name, description),)
    )


def _check_length(request: Request, limit: int) -> None:
    # The server gives every body that it hands over a length, chunked or not.
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(limit)


def _form_picture(request: Request, limit: int) -> BinaryIO:
    try:
        fields, files = multipart.parse_form_data(
            request.environ, strict=True, disk_limit=limit + FORM_OVERHEAD_BYTES
        )
    except multipart.MultipartError:
        raise MalformedRequest("The body is not a well-formed form.") from None
    picture = files.get("picture")
    if picture is None:
        reason = "must be a file" if "picture" in fields else "Required"
        error = FieldError("body", "picture", reason)
        raise ValidationFailed("The form has no picture.", errors=(error,))
    if picture.size > limit:
        raise BodyTooLarge(limit)
    picture.file.seek(0)
    return cast(BinaryIO, picture.file)
