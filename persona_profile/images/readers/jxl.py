"""JPEG XL: the container and the image header (ISO/IEC 18181-1, 9 and annex D; 18181-2, 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from persona_profile.images.metadata import Cicp
from persona_profile.images.readers.bits import LowBits
from persona_profile.images.readers.boxes import Box
from persona_profile.images.readers.budget import Budget
from persona_profile.images.rejections import broken, too_complex, unsupported_feature

CODESTREAM_MAGIC: Final = b"\xff\x0a"
CONTAINER_MAGIC: Final = b"\0\0\0\x0cJXL \r\n\x87\n"

_MAX_EXTRA_CHANNELS: Final = 4
"""Alpha, depth, and what else a camera may write; each costs as much as a colour."""

_MAX_NAME_BYTES: Final = 1071
_ALPHA, _SPOT, _BLACK, _FILTER = 0, 2, 4, 5
_RGB, _GREY, _XYB = 0, 1, 2
_CUSTOM: Final = 2
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SRGB: Final = Cicp(1, 13)
_D65: Final = 1
_DCI: Final = 11


@dataclass(slots=True)
class ImageHeader:
    """The header of a codestream.

    Attributes:
        size: width and height in pixels as stored, before the image is turned.
        orientation: 1 to 8.
        colour_channels: 1 of grey, otherwise 3.
        extra_channels: alpha and others.
        is_xyb: whether colours are stored in the codec's own colour space.
        cicp: the colour space, if code points name it; otherwise the decoder returns a profile.
        has_profile: whether an ICC profile follows, whose length only a decoder knows.
        preview_size: of a small image before the first frame.
        is_animation: whether frames have durations.
        has_timecodes: whether frames of an animation have timecodes.
        bits: the position of the first frame in bits of the codestream, if there is no profile.
    """

    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    colour_channels: int = 3
    extra_channels: int = 0
    is_xyb: bool = True
    cicp: Cicp | None = _SRGB
    has_profile: bool = False
    preview_size: tuple[int, int] | None = None
    is_animation: bool = False
    has_timecodes: bool = False
    bits: int = 0


def codestream_of(data: bytes) -> bytes:
    """Return the codestream of a file, without its container.

    Browsers ignore everything else: EXIF, XMP, compressed boxes, and how to make a JPEG again.
    """
    if data.startswith(CODESTREAM_MAGIC):
        return data
    parts = []
    is_complete = False
    for box in Box.whole(data, Budget()):
        if is_complete:
            break
        if box.kind == b"jxlc":
            parts, is_complete = [box.content], True
        elif box.kind == b"jxlp":
            number = box.number(4)
            if number & 0x7FFFFFFF != len(parts):
                raise broken()
            parts.append(box.rest())
            is_complete = bool(number >> 31)
    return b"".join(parts)


def read_image_header(codestream: bytes) -> ImageHeader:
    """Return the header of a codestream.

    `picture_too_complex` is raised for features that nobody's camera has and the decoder can't show.
    """
    if not codestream.startswith(CODESTREAM_MAGIC):
        raise broken()
    bits = LowBits(codestream, 8 * len(CODESTREAM_MAGIC))
    header = ImageHeader(size=_size(bits))
    if not bits.flag():
        _read_metadata(bits, header)
    _skip_transforms(bits, header)
    bits.align()
    header.bits = bits.position
    return header


def choice(bits: LowBits, *options: tuple[int, int]) -> int:
    """Read a U32: two bits choose a number of further bits and the value to which they are added."""
    length, offset = options[bits.read(2)]
    return offset + bits.read(length)


def long_number(bits: LowBits) -> int:
    """Read a U64."""
    kind = bits.read(2)
    if kind < 3:
        return (0, 1, 17)[kind] + bits.read((0, 4, 8)[kind])
    value, length = bits.read(12), 12
    while bits.flag():
        if length == 60:
            return value | bits.read(4) << length
        value |= bits.read(8) << length
        length += 8
    return value


def skip_extensions(bits: LowBits) -> None:
    """Pass over extensions."""
    announced = long_number(bits)
    bits.skip(sum(long_number(bits) for number in range(64) if announced >> number & 1))


def skip_name(bits: LowBits) -> None:
    """Pass over a name."""
    bits.skip(8 * choice(bits, (0, 0), (4, 0), (5, 16), (10, 48)))


def _size(bits: LowBits) -> tuple[int, int]:
    """Read width and height (D.2)."""
    is_small = bits.flag()

    def length() -> int:
        if is_small:
            return 8 * (1 + bits.read(5))
        return choice(bits, (9, 1), (13, 1), (18, 1), (30, 1))

    height = length()
    return _width(bits, height) or length(), height


def _preview_size(bits: LowBits) -> tuple[int, int]:
    is_eighth = bits.flag()

    def length() -> int:
        if is_eighth:
            return 8 * choice(bits, (0, 16), (0, 32), (5, 1), (9, 33))
        return choice(bits, (6, 1), (8, 65), (10, 321), (12, 1345))

    height = length()
    return _width(bits, height) or length(), height


def _width(bits: LowBits, height: int) -> int:
    """Read the ratio of the sides; return the width, or 0 if it follows."""
    ratio = bits.read(3)
    if not ratio:
        return 0
    across, down = _RATIOS[ratio - 1]
    return height * across // down


def _read_metadata(bits: LowBits, header: ImageHeader) -> None:
    """Read `ImageMetadata` (D.3)."""
    has_extra_fields = bits.flag()
    if has_extra_fields:
        header.orientation = 1 + bits.read(3)
        if bits.flag():
            _size(bits)  # the intrinsic size, which browsers ignore
        if bits.flag():
            header.preview_size = _preview_size(bits)
        header.is_animation = bits.flag()
        if header.is_animation:
            choice(bits, (0, 100), (0, 1000), (10, 1), (30, 1))
            choice(bits, (0, 1), (0, 1001), (8, 1), (10, 1))
            choice(bits, (0, 0), (3, 0), (16, 0), (32, 0))
            header.has_timecodes = bits.flag()
    _skip_depth(bits)
    bits.read(1)
    header.extra_channels = choice(bits, (0, 0), (0, 1), (4, 2), (12, 1))
    if header.extra_channels > _MAX_EXTRA_CHANNELS:
        raise too_complex()
    for _ in range(header.extra_channels):
        _skip_extra_channel(bits)
    header.is_xyb = bits.flag()
    _read_colours(bits, header)
    if has_extra_fields and not bits.flag():
        bits.skip(16 + 16 + 1 + 16)  # tone mapping
    skip_extensions(bits)


def _skip_depth(bits: LowBits) -> None:
    if bits.flag():
        choice(bits, (0, 32), (0, 16), (0, 24), (6, 1))
        bits.read(4)
    else:
        choice(bits, (0, 8), (0, 10), (0, 12), (6, 1))


def _enumeration(bits: LowBits) -> int:
    return choice(bits, (0, 0), (0, 1), (4, 2), (6, 18))


def _skip_extra_channel(bits: LowBits) -> None:
    """Pass over an extra channel (D.3.6)."""
    if bits.flag():
        return
    kind = _enumeration(bits)
    _skip_depth(bits)
    choice(bits, (0, 0), (0, 3), (0, 4), (3, 1))
    skip_name(bits)
    if kind == _ALPHA:
        bits.read(1)
    elif kind == _SPOT:
        bits.skip(4 * 16)
    elif kind == _FILTER:
        choice(bits, (0, 1), (2, 0), (4, 3), (8, 19))
    elif kind == _BLACK:
        raise unsupported_feature()  # the decoder has no colours of inks


def _read_colours(bits: LowBits, header: ImageHeader) -> None:
    """Read `ColourEncoding` (E.2)."""
    if bits.flag():
        return
    header.cicp = None
    header.has_profile = bits.flag()
    space = _enumeration(bits)
    header.colour_channels = 1 if space == _GREY else 3
    if header.has_profile:
        return
    white, primaries = _D65, 1
    if space != _XYB:
        white = _enumeration(bits)
        if white == _CUSTOM:
            _skip_chromaticity(bits)
    if space not in (_XYB, _GREY):
        primaries = _enumeration(bits)
        for _ in range(3 if primaries == _CUSTOM else 0):
            _skip_chromaticity(bits)
    transfer = 0
    if space != _XYB:
        if bits.flag():
            bits.read(24)
        else:
            transfer = _enumeration(bits)
    _enumeration(bits)
    # Display P3 has the primaries of DCI and the white of a monitor.
    code = 12 if primaries == _DCI else primaries
    if white == _D65 and primaries != _CUSTOM and space in (_RGB, _GREY):
        header.cicp = Cicp(code, transfer) if transfer else None


def _skip_chromaticity(bits: LowBits) -> None:
    for _ in range(2):
        choice(bits, (19, 0), (19, 524288), (20, 1048576), (21, 2097152))


def _skip_transforms(bits: LowBits, header: ImageHeader) -> None:
    """Pass over the inverse transform of XYB and the weights of upsampling (D.3.1)."""
    if bits.flag():
        return
    if header.is_xyb and not bits.flag():
        bits.skip(16 * (9 + 3 + 4))
    weights = bits.read(3)
    bits.skip(16 * sum(count for bit, count in enumerate((15, 55, 210)) if weights >> bit & 1))
