"""A mark that can be seen in a picture, and read again from any rendition of it.

Eight by eight cells over the central square of the picture are tinted, warm or cool. The reader looks
at the tint alone, in the inner quarter of each cell: scaling, chroma subsampling and lossy encoders
leave it. Of all 2**64 patterns some hundreds are marks, so that other pictures show none.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from typing import Final

from PIL import Image

CELLS: Final = 8
"""In a row, and in a column."""

GRID_SHARE: Final = 8 / 9
"""Share of the central square's side that the grid covers."""

TURNS: Final = 4
"""Each stored picture is four marks, by the way in which the camera was held."""

MAX_STORED: Final = 256

_SAMPLES: Final = 4
"""Of a cell, across and down; the inner two of each are read."""

Cells = tuple[bool, ...]
"""Whether each cell is warm, row by row."""


def cells_of(stored: int) -> Cells:
    """Return the pattern of a stored picture, from 0 to MAX_STORED - 1."""
    bits = int.from_bytes(hashlib.blake2b(stored.to_bytes(2), digest_size=CELLS * CELLS // 8).digest())
    return tuple(bool(bits >> place & 1) for place in range(CELLS * CELLS))


def mark_in(rendition: bytes) -> int | None:
    """Return the mark that an upright, square picture shows, or None if it shows none.

    A mark is `TURNS` times the stored picture's number, plus its quarter turns clockwise. A server's
    rendition is the whole marked picture, cropped to its central square.
    """
    try:
        with Image.open(io.BytesIO(rendition), formats=("AVIF", "JPEG", "PNG", "WEBP")) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    width, height = picture.size
    margin = (1 - GRID_SHARE) / 2
    box = (margin * width, margin * height, (1 - margin) * width, (1 - margin) * height)
    side = CELLS * _SAMPLES
    samples = picture.resize((side, side), Image.Resampling.BOX, box).tobytes()
    cells = []
    for row in range(1, side, _SAMPLES):
        for column in range(1, side, _SAMPLES):
            warmth = 0
            for at in (3 * (row * side + column), 3 * ((row + 1) * side + column)):
                warmth += samples[at] + samples[at + 3] - samples[at + 2] - samples[at + 5]
            cells.append(warmth > 0)
    return _marks().get(tuple(cells))


@cache
def _marks() -> dict[Cells, int]:
    """Return all marks by the pattern that the upright picture shows."""
    marks = {}
    for stored in range(MAX_STORED):
        cells = cells_of(stored)
        for turn in range(TURNS):
            marks[cells] = TURNS * stored + turn
            cells = tuple(
                cells[(CELLS - 1 - column) * CELLS + row]
                for row in range(CELLS)
                for column in range(CELLS)
            )
    return marks
