"""The frames of a JPEG XL, of which the decoder decodes all (ISO/IEC 18181-1, annex F)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from persona_profile.images.readers.bits import LowBits
from persona_profile.images.readers.budget import Budget
from persona_profile.images.readers.jxl import (
    ImageHeader,
    choice,
    long_number,
    skip_extensions,
    skip_name,
)
from persona_profile.images.rejections import too_complex

_MAX_FRAMES: Final = 64
"""Frames up to the first that is shown: layers, and what they refer to."""

_REGULAR, _LOW_FREQUENCY, _REFERENCE, _SKIP_PROGRESSIVE = range(4)
_USES_LOW_FREQUENCY_FRAME: Final = 0x20
_REPLACE, _ADD, _BLEND, _ALPHA_ADD, _MULTIPLY = range(5)
_UPSAMPLING: Final = ((0, 1), (0, 2), (0, 4), (0, 8))
_PLACE: Final = ((8, 0), (11, 256), (14, 2304), (30, 18688))
_SECTION: Final = ((10, 0), (14, 1024), (22, 17408), (30, 4211712))


@dataclass(slots=True)
class _Frame:
    """The header of a frame; the last three are positions in bits.

    Attributes:
        is_shown: whether it is a frame of the animation and not a part of one.
        last_at: of the flag that marks the last frame.
        name_at: of the name, which follows what only other frames need.
        sections_at: of the table of contents.
        end: of the frame.
    """

    size: tuple[int, int]
    kind: int = _REGULAR
    is_modular: bool = False
    flags: int = 0
    upsampling: int = 1
    group_side: int = 256
    passes: int = 1
    level: int = 0
    is_partial: bool = False
    duration: int = 0
    is_last: bool = True
    last_at: int = 0
    name_at: int = 0
    sections_at: int = 0
    end: int = 0

    @property
    def is_image(self) -> bool:
        """Whether it is shown, by itself or as a layer."""
        return self.kind in (_REGULAR, _SKIP_PROGRESSIVE)


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames up to the first that is shown.

    Attributes:
        codestream: ends with them.
        count: their number.
        pixels: of all of them.
        is_lossy: whether all are coded by transforms, whose decoder needs less memory.
    """

    codestream: bytes
    count: int = 1
    pixels: int = 0
    is_lossy: bool = False


def frames_of(codestream: bytes, header: ImageHeader) -> Frames | None:
    """Return a codestream that ends with the image, or with the first frame of its animation.

    Returns:
        None where the end can't be found without the codec's entropy coding: an ICC profile in front of
        the frames, or the sections of a frame in another order.
    """
    if header.has_profile:
        return None
    try:
        return _frames_of(codestream, header)
    except _UnknownLength:
        return None


class _UnknownLength(Exception):
    """The sections of a frame are in another order."""


def _frames_of(codestream: bytes, header: ImageHeader) -> Frames:
    bits = LowBits(codestream, header.bits)
    if header.preview_size:
        _skip_frame(bits, header, header.preview_size)
    frames: list[_Frame] = []
    while not frames or not (frames[-1].is_last or (frames[-1].is_image and frames[-1].duration)):
        if len(frames) == _MAX_FRAMES:
            raise too_complex()
        start = bits.position
        frames.append(_skip_frame(bits, header, header.size))
    last = frames[-1]
    if last.is_last:
        shown = codestream[: last.end // 8]
    else:
        shown = codestream[: start // 8] + _as_last(codestream, start, last)
    pixels = sum(width * height for width, height in (frame.size for frame in frames))
    return Frames(shown, len(frames), pixels, not any(frame.is_modular for frame in frames))


def _as_last(codestream: bytes, start: int, frame: _Frame) -> bytes:
    """Return a frame as the last one, which has no fields for frames that refer to it."""
    head = LowBits(codestream, start)
    length = frame.last_at - start
    value = head.read(length) | 1 << length
    length += 1
    head.position = frame.name_at
    rest = frame.sections_at - frame.name_at
    value |= head.read(rest) << length
    length += rest + 1  # the sections are in their order
    sections = (frame.sections_at + 1 + 7) // 8
    return value.to_bytes((length + 7) // 8, "little") + codestream[sections : frame.end // 8]


def _skip_frame(bits: LowBits, header: ImageHeader, size: tuple[int, int]) -> _Frame:
    """Read the header and table of contents of a frame, and pass over the frame."""
    frame = _Frame(size)
    if not bits.flag():
        _read_header(bits, header, frame)
    frame.sections_at = bits.position
    if bits.flag():
        raise _UnknownLength
    bits.align()
    count = _section_count(frame)
    Budget().spend(count)
    lengths = [choice(bits, *_SECTION) for _ in range(count)]
    bits.align()
    bits.skip(8 * sum(lengths))
    frame.end = bits.position
    return frame


def _section_count(frame: _Frame) -> int:
    """Return the number of entries in the table of contents (F.3.1)."""
    divisor = frame.upsampling << 3 * frame.level
    width, height = (-(-side // divisor) for side in frame.size)

    def groups(side: int) -> int:
        return -(-width // side) * -(-height // side)

    count = groups(frame.group_side)
    if count == frame.passes == 1:
        return 1
    return 2 + groups(8 * frame.group_side) + count * frame.passes


def _read_header(bits: LowBits, header: ImageHeader, frame: _Frame) -> None:
    """Read a header (F.2)."""
    frame.kind, frame.is_modular = bits.read(2), bits.flag()
    _read_coding(bits, header, frame)
    if frame.kind != _REFERENCE:
        _read_passes(bits, frame)
    if frame.kind == _LOW_FREQUENCY:
        frame.level = 1 + bits.read(2)
    elif bits.flag():
        _read_crop(bits, frame)
    mode = _REPLACE
    frame.is_last = False
    if frame.is_image:
        mode = _read_blending(bits, header, frame)
        if header.is_animation:
            frame.duration = choice(bits, (0, 0), (0, 1), (8, 0), (32, 0))
            bits.skip(32 * header.has_timecodes)
        frame.last_at = bits.position
        frame.is_last = bits.flag()
    _skip_references(bits, frame, mode)
    frame.name_at = bits.position
    skip_name(bits)
    _skip_filter(bits, frame)
    skip_extensions(bits)


def _read_coding(bits: LowBits, header: ImageHeader, frame: _Frame) -> None:
    """Read how the samples of a frame are coded."""
    frame.flags = long_number(bits)
    is_ycbcr = not header.is_xyb and bits.flag()
    if not frame.flags & _USES_LOW_FREQUENCY_FRAME:
        if is_ycbcr:
            bits.skip(3 * 2)
        frame.upsampling = choice(bits, *_UPSAMPLING)
        for _ in range(header.extra_channels):
            choice(bits, *_UPSAMPLING)
    if frame.is_modular:
        frame.group_side = 128 << bits.read(2)
    elif header.is_xyb:
        bits.skip(3 + 3)


def _read_passes(bits: LowBits, frame: _Frame) -> None:
    frame.passes = choice(bits, (0, 1), (0, 2), (0, 3), (3, 4))
    if frame.passes != 1:
        downsamplings = choice(bits, (0, 0), (0, 1), (0, 2), (1, 3))
        bits.skip(2 * (frame.passes - 1) + 2 * downsamplings)
        for _ in range(downsamplings):
            choice(bits, (0, 0), (0, 1), (0, 2), (3, 0))


def _read_crop(bits: LowBits, frame: _Frame) -> None:
    whole = frame.size
    origin = [0, 0]
    if frame.is_image:
        packed = choice(bits, *_PLACE), choice(bits, *_PLACE)
        origin = [-(each + 1) // 2 if each & 1 else each // 2 for each in packed]
    frame.size = choice(bits, *_PLACE), choice(bits, *_PLACE)
    frame.is_partial = any(
        start > 0 or start + length < side
        for start, length, side in zip(origin, frame.size, whole, strict=True)
    )


def _read_blending(bits: LowBits, header: ImageHeader, frame: _Frame) -> int:
    """Read how a frame is blended with another; return the mode of its colours."""
    modes = []
    for _ in range(1 + header.extra_channels):
        mode = choice(bits, (0, _REPLACE), (0, _ADD), (0, _BLEND), (2, _ALPHA_ADD))
        modes.append(mode)
        by_alpha = header.extra_channels > 0 and mode in (_BLEND, _ALPHA_ADD)
        if by_alpha:
            choice(bits, (0, 0), (0, 1), (0, 2), (3, 3))
        if by_alpha or mode == _MULTIPLY:
            bits.read(1)
        if mode != _REPLACE or frame.is_partial:
            bits.read(2)
    return modes[0]


def _skip_references(bits: LowBits, frame: _Frame, mode: int) -> None:
    """Pass over what is kept of a frame for other frames."""
    if frame.kind == _LOW_FREQUENCY:
        return
    slot = 0 if frame.is_last else bits.read(2)
    is_kept = not frame.is_last and (not frame.duration or slot)
    is_whole = frame.is_image and mode == _REPLACE and not frame.is_partial
    if frame.kind == _REFERENCE or (is_kept and is_whole):
        bits.read(1)


def _skip_filter(bits: LowBits, frame: _Frame) -> None:
    """Pass over the restoration filter (J)."""
    if bits.flag():
        return
    if bits.flag() and bits.flag():
        bits.skip(6 * 16)
    if bits.read(2):
        if not frame.is_modular and bits.flag():
            bits.skip(8 * 16)
        if bits.flag():
            bits.skip(5 * 16)
        if bits.flag():
            bits.skip((3 if frame.is_modular else 4) * 16)
        if frame.is_modular:
            bits.skip(16)
    skip_extensions(bits)
