"""Pictures: from whatever a camera made to a few small squares, once, at upload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from persona_profile.settings import PICTURE_FORMATS

FORMATS: Final = PICTURE_FORMATS
"""The better compressed first. JPEG, which every client takes, is always made."""

MEDIA_TYPES: Final = {"avif": "image/avif", "webp": "image/webp", "jpeg": "image/jpeg"}
SIZES: Final = (64, 128, 256, 512)
"""Widths (and heights) of the squares, in pixels."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of the upright picture: left, top and length of a side, in its pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoded square. A picture smaller than `size` is never enlarged to it."""

    size: int
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded at all: width x height, in pixels, told by the header."""

    max_pixels_jpeg: int
    max_pixels_other: int


class Renderer(Protocol):
    """Turns an upload into renditions."""

    def render(self, source: BinaryIO, crop: Crop | None) -> tuple[Rendition, ...]:
        """Return the renditions of a picture; `source` is seekable and stands at its start.

        Raises:
            UnsupportedMediaType: no picture of a format that is taken.
            UnprocessablePicture: `picture_broken`, `picture_too_many_pixels` or
                `crop_outside_picture`.
            Overloaded: too many pictures are under way.
        """
        ...
