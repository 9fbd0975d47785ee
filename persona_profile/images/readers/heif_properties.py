"""Properties of images in HEIF and AVIF, as browsers apply them (ISO/IEC 23008-12, 6.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from persona_profile.images.metadata import Cicp, Colours
from persona_profile.images.readers.boxes import Box

_CLEAN_APERTURE: Final = struct.Struct(">iIiIiIiI")

# EXIF's orientation of quarter turns to the left, then mirrored top to bottom (0) or left to right (1).
_ORIENTATIONS: Final = {
    None: (1, 8, 3, 6),
    0: (4, 5, 2, 7),
    1: (2, 7, 4, 5),
}


def orientation_of(boxes: Sequence[Box]) -> int:
    """Return the orientation by the first `irot`, then the first `imir`, in whatever order they are."""
    turns, mirror = _first(boxes, b"irot"), _first(boxes, b"imir")
    axis = mirror[0] & 1 if mirror else None
    return _ORIENTATIONS[axis][turns[0] & 3 if turns else 0]


def shown_size(boxes: Sequence[Box], size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return width and height of a clean aperture in an image of a size; None shows all of it.

    Browsers ignore an aperture that does not begin at the top left, as people expect that what they
    crop is gone, and one that is no whole number of pixels or leaves the image.
    """
    content = _first(boxes, b"clap")
    if size is None or len(content) < _CLEAN_APERTURE.size:
        return None
    numbers = _CLEAN_APERTURE.unpack_from(content)
    if not all(numbers[1::2]):
        return None
    width, height, *offsets = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    parts = list(zip((width, height), offsets, size, strict=True))
    if all(
        part.denominator == 1 and 0 < part <= whole and offset == (part - whole) / 2
        for part, offset, whole in parts
    ):
        return int(width), int(height)
    return None


def colours_of(boxes: Sequence[Box]) -> Colours | None:
    """Return the colour space by the `colr` boxes; browsers prefer a profile to code points."""
    contents = [box.content for box in boxes if box.kind == b"colr"]
    for content in contents:
        if content[:4] in (b"prof", b"rICC"):
            return Colours(icc=content[4:])
    for content in contents:
        if content[:4] == b"nclx" and len(content) >= 8:
            return in_code_points(boxes, Cicp(*struct.unpack_from(">HH", content, 4)))
    return None


def in_code_points(boxes: Sequence[Box], cicp: Cicp | None) -> Colours:
    """Return the colour space of code points, with the luminance of the brightest light by `clli`."""
    return Colours(cicp=cicp, peak_nits=int.from_bytes(_first(boxes, b"clli")[:2]) or None)


def _first(boxes: Sequence[Box], kind: bytes) -> bytes:
    return next((box.content for box in boxes if box.kind == kind and box.content), b"")
