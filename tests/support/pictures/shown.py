"""Squares of files, and the pattern of the files in `foreign`."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.pipeline import squares_of
from support.pictures.workers import LIMITS

FOREIGN = Path(__file__).parent / "foreign"
"""Files of other programs."""

SIDE = 64
CORNERS = ((220, 40, 40), (40, 180, 60), (40, 70, 210), (230, 200, 40))
"""The colours of `patterned`: red, green above blue, yellow."""


def foreign(name: str) -> bytes:
    """Return a file of another program."""
    return (FOREIGN / name).read_bytes()


def patterned(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Return a picture of the four colours of CORNERS."""
    picture = Image.new("RGB", (2, 2))
    picture.putdata(CORNERS)
    return picture.resize((width, height), Image.Resampling.NEAREST)


def shown(data: bytes, crop: Crop | None = None) -> Image.Image:
    """Return the square of a file, of at most SIDE pixels, with alpha."""
    squares = squares_of(io.BytesIO(data), crop, PictureOptions(LIMITS, sizes=(SIDE,)))
    return squares[SIDE].convert("RGBA")


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the four quarters of a picture."""
    near, far = picture.width // 4, picture.width * 3 // 4
    points = ((near, near), (far, near), (near, far), (far, far))
    return [picture.getpixel(point) for point in points]  # type: ignore[misc]


def is_pattern(data: bytes, tolerance: int = 8) -> bool:
    """Whether the square of a file has the colours of CORNERS, all opaque."""
    return all(
        max(abs(one - other) for one, other in zip(found, (*expected, 255), strict=True)) <= tolerance
        for found, expected in zip(corners(shown(data)), CORNERS, strict=True)
    )


def code_of(data: bytes) -> str:
    """Return `accepted`, or the code with which a file is rejected."""
    try:
        shown(data)
    except ServiceError as error:
        return error.code
    return "accepted"
