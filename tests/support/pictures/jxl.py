"""Builders of JPEG XL codestreams, bit by bit (ISO/IEC 18181-1)."""

from __future__ import annotations

import io
from typing import Any

import pillow_jxl  # noqa: F401 - registers the encoder
from PIL import Image

from support.stores.derived import box

SIGNATURE = box(b"JXL ", b"\r\n\x87\n")
BRAND = box(b"ftyp", b"jxl \0\0\0\0jxl ")

Field = tuple[int, int]
"""A value, and its number of bits."""

_DEFAULT: Field = (1, 1)
_NO: Field = (0, 1)


def jxl(picture: Image.Image, **options: Any) -> bytes:
    """Return a JPEG XL file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JXL", **options)
    return buffer.getvalue()


def container(*boxes: bytes) -> bytes:
    """Return a file of boxes."""
    return SIGNATURE + BRAND + b"".join(boxes)


def codestream(width: int, height: int, *metadata: Field, frames: bytes = b"") -> bytes:
    """Return a codestream with metadata that is not the default if there are any fields of it."""
    fields = [_NO, *_length(height), (0, 3), *_length(width)]
    fields += [_NO, *metadata] if metadata else [_DEFAULT]
    return b"\xff\x0a" + packed(*fields, _DEFAULT) + frames


def metadata(
    *, extra_channels: int = 0, is_animation: bool = False, has_profile: bool = False
) -> list[Field]:
    """Return the metadata of a lossless RGB image."""
    extra = [(1, 1), (0, 3), _NO, _NO, (int(is_animation), 1)]
    animation = [(0, 2), (0, 2), (0, 2), _NO] if is_animation else []
    channels = [(3, 2), (extra_channels - 1, 12)] if extra_channels else [(0, 2)]
    colours = [_NO, (1, 1), (0, 2)] if has_profile else [_DEFAULT]
    depth = [_NO, (0, 2), (1, 1)]
    ends = [_DEFAULT, (0, 2)]  # tone mapping, extensions
    return [*extra, *animation, *depth, *channels, *[_DEFAULT] * extra_channels, _NO, *colours, *ends]


def frame(section: bytes, *, is_last: bool, is_animation: bool = False, duration: int = 0) -> bytes:
    """Return a frame of one section, lossless RGB of a width and height up to 256 pixels."""
    fields = [_NO, (0, 2), (1, 1), (0, 2), _NO, (0, 2), (1, 2), (0, 2), _NO, (0, 2)]
    fields += [(2, 2), (duration, 8)] if is_animation else []
    fields += [(int(is_last), 1)]
    if not is_last:
        fields += [(0, 2)] + [_NO] * (not duration)
    fields += [(0, 2), _NO, _NO, (0, 2), (0, 2), (0, 2), _NO]
    return packed(*fields) + packed(*_section_length(len(section))) + section


def section_of(data: bytes) -> bytes:
    """Return the one section of a codestream of one frame."""
    return next(
        data[at:]
        for at in range(4, len(data))
        if data[:at].endswith(packed(*_section_length(len(data) - at)))
    )


def packed(*fields: Field) -> bytes:
    """Return fields from the lowest bit on, up to a whole byte."""
    value = position = 0
    for number, count in fields:
        value |= number << position
        position += count
    return value.to_bytes((position + 7) // 8, "little")


def _length(value: int) -> list[Field]:
    return [(3, 2), (value - 1, 30)]


def _section_length(value: int) -> list[Field]:
    if value < 1024:
        return [(0, 2), (value, 10)]
    if value < 17_408:
        return [(1, 2), (value - 1024, 14)]
    return [(2, 2), (value - 17_408, 22)]
