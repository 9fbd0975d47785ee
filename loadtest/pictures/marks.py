"""A number that can be seen in a picture, and read again from any rendition of it.

Eight by eight cells over the middle of the picture are tinted: warm is 1, cool is 0. The tint is all
that is read of a cell, and only of its inner quarter, so that scaling, chroma subsampling and lossy
encoders leave it. Forty bits are the number, twenty-four its check: any other picture is told from a
marked one.
"""

from __future__ import annotations

import hashlib
import io
from typing import Final

from PIL import Image

CELLS: Final = 8
"""In a row, and in a column."""

NUMBER_BITS: Final = 40
NUMBERS: Final = 2**NUMBER_BITS

GRID_SHARE: Final = 8 / 9
"""Of the central square's side that the grid takes."""

_CHECK_BYTES: Final = 3
_NUMBER_BYTES: Final = NUMBER_BITS // 8
# Neighbours in number differ in many cells: multiplied by 2**40 over the golden ratio, made odd.
_SPREAD: Final = 0x9E3779B97F
_GATHER: Final = pow(_SPREAD, -1, NUMBERS)

_SAMPLES: Final = 4
"""Taken of a cell, across and down; the inner two of each are looked at."""

# Where the grid begins, as a part of the square's height: centred in JPEG and PNG, so that it may be
# turned; at the top in HEIC, whose tiles begin there.
CENTRED: Final = (1 - GRID_SHARE) / 2
AT_THE_TOP: Final = 0.0


def cells_of(number: int, orientation: int = 1) -> list[bool]:
    """Return which cells are warm, row by row in the picture as it is stored.

    Args:
        number: from 0 to NUMBERS - 1.
        orientation: EXIF's, by which the stored picture will be turned upright: 1, 3, 6 or 8.

    Raises:
        ValueError: there is no such number or orientation.
    """
    if not 0 <= number < NUMBERS:
        raise ValueError(f"not a number of {NUMBER_BITS} bits")
    spread = (number * _SPREAD % NUMBERS).to_bytes(_NUMBER_BYTES)
    bits = int.from_bytes(spread + _check(spread))
    upright = [bool(bits >> place & 1) for place in range(CELLS * CELLS - 1, -1, -1)]
    return [upright[place] for place in _stored_places(orientation)]


def number_in(rendition: bytes) -> int | None:
    """Return the number that an upright, square picture shows, or None if it shows none.

    The picture is the server's rendition of a whole marked picture, cropped to its central square.
    """
    try:
        with Image.open(io.BytesIO(rendition), formats=("AVIF", "JPEG", "PNG", "WEBP")) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    for top in (CENTRED, AT_THE_TOP):
        if (number := _number_at(picture, top)) is not None:
            return number
    return None


def _number_at(picture: Image.Image, top: float) -> int | None:
    width, height = picture.size
    box = (CENTRED * width, top * height, (1 - CENTRED) * width, (top + GRID_SHARE) * height)
    side = CELLS * _SAMPLES
    samples = picture.resize((side, side), Image.Resampling.BOX, box).tobytes()
    bits = 0
    for row in range(1, side, _SAMPLES):
        for column in range(1, side, _SAMPLES):
            warmth = 0
            for at in (3 * (row * side + column), 3 * ((row + 1) * side + column)):
                warmth += samples[at] + samples[at + 3] - samples[at + 2] - samples[at + 5]
            bits = bits << 1 | (warmth > 0)
    marked = bits.to_bytes(_NUMBER_BYTES + _CHECK_BYTES)
    spread, check = marked[:_NUMBER_BYTES], marked[_NUMBER_BYTES:]
    return int.from_bytes(spread) * _GATHER % NUMBERS if check == _check(spread) else None


def _check(spread: bytes) -> bytes:
    return hashlib.blake2b(spread, digest_size=_CHECK_BYTES).digest()


def _stored_places(orientation: int) -> list[int]:
    """Return for each stored cell which upright cell it shows (EXIF 2.32, 4.6.4.A)."""
    last = CELLS - 1
    pairs = [(row, column) for row in range(CELLS) for column in range(CELLS)]
    match orientation:
        case 1:
            return [row * CELLS + column for row, column in pairs]
        case 3:
            return [(last - row) * CELLS + last - column for row, column in pairs]
        case 6:
            return [column * CELLS + last - row for row, column in pairs]
        case 8:
            return [(last - column) * CELLS + row for row, column in pairs]
    raise ValueError("an orientation that cameras do not write")
