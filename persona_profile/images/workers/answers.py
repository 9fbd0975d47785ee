"""Checks of a worker's messages, which may hold anything: the worker has parsed a hostile file.

A message is accepted if it has the expected shape and size, if its texts are safe for logs and clients,
and if its images have the requested sizes and formats. Every other message is a `MalformedMessage`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from persona_profile.errors import ServiceError, UnprocessablePicture, UnsupportedMediaType
from persona_profile.images import Limits, PictureOptions, Preview, Rendition
from persona_profile.images.formats import FORMATS_IN, PREVIEW_FORMATS, PREVIEW_SIDE
from persona_profile.images.rejections import CODES, MAX_MEMBER
from persona_profile.images.workers.channel import MalformedMessage

_MEMBERS: Final = {"limit", "pixels", "width", "height", "of_width", "of_height"}
_DETAIL: Final = re.compile(r"[ -~]{1,300}")
_PLACE: Final = re.compile(r"[A-Za-z0-9_]{1,80} at [A-Za-z0-9_.:<> -]{0,400}")

_SPARE_BYTES: Final = 64 * 1024
_BYTES_PER_PIXEL: Final = 4
"""More than any encoder needs for noise at its best quality."""


def max_renditions(options: PictureOptions) -> int:
    """Return the highest number of renditions."""
    return len(options.sizes) * len(_formats(options))


def max_rendition_bytes(options: PictureOptions) -> int:
    """Return the limit of the largest rendition in bytes."""
    return _max_bytes(max(options.sizes))


def read_header(document: Mapping[str, Any], limits: Limits) -> tuple[str, int, int]:
    """Return an image's format, the bytes of memory that it needs, and its pixels."""
    max_pixels = max(limits.max_pixels_jpeg, limits.max_pixels_other)
    match document:
        case {"format": str(name), "needs": int(needed), "pixels": int(pixels)} if (
            name in FORMATS_IN
            and _is_whole(needed, 0, limits.memory)
            and _is_whole(pixels, 1, max_pixels)
        ):
            return name, needed, pixels
    raise MalformedMessage


def read_failure(document: Mapping[str, Any]) -> str:
    """Return the place of a worker's programming error."""
    place = document["failed"]
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        raise MalformedMessage
    return place


def read_rejection(document: Mapping[str, Any]) -> ServiceError:
    """Return the error for a file that a worker has rejected."""
    match document.get("rejected"):
        case {"code": str(code), "detail": str(detail), "members": dict(members), **others} if (
            not others
            and code in CODES
            and _DETAIL.fullmatch(detail)
            and members.keys() <= _MEMBERS
            and all(_is_whole(each, 0, MAX_MEMBER) for each in members.values())
        ):
            if code == UnsupportedMediaType.code:
                return UnsupportedMediaType(detail)
            return UnprocessablePicture(code, detail, **members)
    raise MalformedMessage


def read_renditions(
    made: Any, blobs: Sequence[bytes], options: PictureOptions
) -> tuple[Rendition, ...]:
    """Return renditions of the requested sizes and formats, each once, with a JPEG of each size.

    Checks the number of bytes, the signature, and the width and height in the header.
    """
    found: dict[tuple[int, str], Rendition] = {}
    try:
        for (size, name), data in zip(made, blobs, strict=True):
            if not _is_whole(size, 1, max(options.sizes)) or name not in _formats(options):
                raise MalformedMessage
            if len(data) > _max_bytes(size) or not _is_square(name, data, size):
                raise MalformedMessage
            found[size, name] = Rendition(size, name, data)
    except (TypeError, ValueError):
        raise MalformedMessage from None
    if len(found) != len(blobs) or {size for size, _ in found} != set(options.sizes):
        raise MalformedMessage
    if not all((size, "jpeg") in found for size in options.sizes):
        raise MalformedMessage
    return tuple(found.values())


def max_preview_bytes() -> int:
    """Return the limit of a preview in bytes."""
    return _max_bytes(PREVIEW_SIDE)


def read_preview(made: Any, blobs: Sequence[bytes]) -> Preview:
    """Return a preview of an expected format, whose header has an expected size."""
    if not isinstance(made, str) or made not in PREVIEW_FORMATS or len(blobs) != 1:
        raise MalformedMessage
    [data] = blobs
    sizes = _sizes(made, data)
    if not sizes or not all(1 <= side <= PREVIEW_SIDE for size in sizes for side in size):
        raise MalformedMessage
    return Preview(made, data)


def _formats(options: PictureOptions) -> set[str]:
    return {"jpeg", *options.encoding.formats}


def _max_bytes(size: int) -> int:
    return size * size * _BYTES_PER_PIXEL + _SPARE_BYTES


def _is_whole(value: object, minimum: int, maximum: int) -> bool:
    return type(value) is int and minimum <= value <= maximum


def _is_square(name: str, data: bytes, max_side: int) -> bool:
    """Return whether a file has the header of a format and of a square within `max_side` pixels."""
    sizes = _sizes(name, data)
    return bool(sizes) and all(width == height and 1 <= width <= max_side for width, height in sizes)


def _sizes(name: str, data: bytes) -> list[tuple[int, int]]:
    """Return each width and height in the header of a file; none if it is not of the format."""
    try:
        return _SIZES[name](data)
    except (struct.error, IndexError, ValueError):
        return []


def _jpeg_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return width and height of each frame up to the first scan (ITU-T T.81, B.1 and B.2.2)."""
    if data[:2] != b"\xff\xd8":
        return []
    sizes, position = [], 2
    while data[position] == 0xFF and data[position + 1] != 0xDA:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            sizes.append((width, height))
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
    return sizes


def _webp_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return width and height by the first chunk (RFC 9649, 2.5 to 2.7)."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return []
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return [(width & 0x3FFF, height & 0x3FFF)]
    if kind == b"VP8L" and data[20] == 0x2F:
        [bits] = struct.unpack_from("<I", data, 21)
        return [((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)]
    if kind == b"VP8X" and len(data) >= 30:
        return [(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)]
    return []


def _avif_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return width and height of each item that states them (ISO/IEC 23008-12, 6.5.3)."""
    if data[4:12] != b"ftypavif":
        return []
    header = data[: data.index(b"mdat")]  # compressed bytes follow
    return [struct.unpack_from(">II", header, each.end() + 4) for each in re.finditer(b"ispe", header)]


_SIZES: Final[Mapping[str, Callable[[bytes], list[tuple[int, int]]]]] = {
    "jpeg": _jpeg_sizes,
    "webp": _webp_sizes,
    "avif": _avif_sizes,
}
