"""Builders of JPEG XL codestreams, bit by bit (ISO/IEC 18181-1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
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


def codestream(
    width: int,
    height: int,
    *metadata: Field,
    frames: bytes = b"",
    ratio: int = 0,
    transforms: Sequence[Field] = (_DEFAULT,),
) -> bytes:
    """Return a codestream with metadata that is not the default if there are any fields of it."""
    fields = [_NO, *length(height), (ratio, 3), *([] if ratio else length(width))]
    fields += [_NO, *metadata] if metadata else [_DEFAULT]
    return b"\xff\x0a" + packed(*fields, *transforms) + frames


def metadata(
    *,
    extra_channels: int = 0,
    is_animation: bool = False,
    has_profile: bool = False,
    orientation: int = 1,
    intrinsic_size: Sequence[Field] = (_NO,),
    preview_size: Sequence[Field] = (_NO,),
    channels: Sequence[Sequence[Field]] = (),
    is_xyb: bool = False,
    colours: Sequence[Field] = (_DEFAULT,),
    ends: Sequence[Field] = (_DEFAULT, (0, 2)),
) -> list[Field]:
    """Return the metadata of a lossless RGB image.

    Args:
        extra_channels: a number of channels of alpha, if there are no `channels`.
        is_animation: whether frames have durations.
        has_profile: whether a profile follows; otherwise `colours` counts.
        orientation: 1 to 8.
        intrinsic_size: a flag, and a size after it.
        preview_size: a flag, and a size after it.
        channels: fields of each extra channel.
        is_xyb: whether colours are stored in the codec's own colour space.
        colours: fields of the colour space.
        ends: tone mapping and extensions.
    """
    extra = [(1, 1), (orientation - 1, 3), *intrinsic_size, *preview_size, (int(is_animation), 1)]
    animation = [(0, 2), (0, 2), (0, 2), _NO] if is_animation else []
    count = len(channels) or extra_channels
    counted = [(3, 2), (count - 1, 12)] if count else [(0, 2)]
    described = [field for channel in channels for field in channel] or [_DEFAULT] * count
    colours = [_NO, (1, 1), (0, 2)] if has_profile else colours
    depth = [_NO, (0, 2), (1, 1)]
    return [*extra, *animation, *depth, *counted, *described, (int(is_xyb), 1), *colours, *ends]


def frame(
    section: bytes,
    *,
    is_last: bool,
    is_animation: bool = False,
    duration: int = 0,
    colour_transform: Sequence[Field] = (_NO,),
    upsampling: int = 1,
    extra_channels: int = 0,
    passes: Sequence[Field] = ((0, 2),),
    crop: Sequence[Field] = (_NO,),
    blending: Sequence[Field] = ((0, 2),),
    is_whole: bool = True,
    kind: int = 0,
    ends: Sequence[Field] = ((0, 2), _NO, _NO, (0, 2), (0, 2), (0, 2)),
    sections: int = 1,
) -> bytes:
    """Return a lossless frame of a width and height up to 256 pixels.

    Args:
        section: the first section; the others are empty.
        is_last: whether it is the last frame.
        is_animation: whether frames have durations.
        duration: up to 255.
        colour_transform: a flag, absent in XYB, and the subsampling after it.
        upsampling: 1, 2, 4 or 8.
        extra_channels: a number of channels that are not sampled down.
        passes: their number, and their places in time.
        crop: a flag, and the origin and size after it.
        blending: the mode of the colours and of each extra channel.
        is_whole: whether it replaces the whole image.
        kind: 0 of an image, 2 of a frame that only others refer to.
        ends: name, restoration filter, extensions.
        sections: entries in the table of contents.
    """
    fields = [_NO, (kind, 2), (1, 1), (0, 2), *colour_transform, (upsampling.bit_length() - 1, 2)]
    fields += [*[(0, 2)] * extra_channels, (1, 2), *([] if kind else passes), *crop]
    if not kind:
        fields += [*blending, *([(2, 2), (duration, 8)] if is_animation else []), (int(is_last), 1)]
    if not is_last:
        fields += [(0, 2)] + [_NO] * (is_whole and not duration)
    lengths = [*_section_length(len(section)), *[(0, 2), (0, 10)] * (sections - 1)]
    return packed(*fields, *ends, _NO) + packed(*lengths) + section


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


def length(value: int) -> list[Field]:
    """Return a width or height."""
    return [(3, 2), (value - 1, 30)]


def _section_length(value: int) -> list[Field]:
    if value < 1024:
        return [(0, 2), (value, 10)]
    if value < 17_408:
        return [(1, 2), (value - 1024, 14)]
    return [(2, 2), (value - 17_408, 22)]
