"""Pictures: from whatever a camera made to a few small squares, once, at upload.

The service itself decodes nothing: `pool` sends each upload to a worker process, where `pipeline` does
the work. `admission` decides which uploads may begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from persona_profile.images.formats import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITIES,
    FORMATS,
    MEDIA_TYPES,
    SIZES,
)

__all__ = [
    "FORMATS",
    "MEDIA_TYPES",
    "SIZES",
    "Crop",
    "Encoding",
    "Limits",
    "PictureOptions",
    "Rendition",
]


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
    """What is decoded at all, told by the header.

    Attributes:
        max_pixels_jpeg: width x height of a JPEG.
        max_pixels_other: width x height of any other picture.
        memory: bytes that decoding may take.
    """

    max_pixels_jpeg: int
    max_pixels_other: int
    memory: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """What is made, and how well.

    Attributes:
        formats: which of `FORMATS`; JPEG is made in any case.
        qualities: by format, 1 to 100; the scale of each encoder differs from the others'.
        effort: one of `formats.EFFORTS`.
    """

    formats: tuple[str, ...] = FORMATS
    qualities: Mapping[str, int] = field(default_factory=lambda: DEFAULT_QUALITIES)
    effort: str = DEFAULT_EFFORT


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """All that the pipeline is told besides the picture. It crosses to the workers as JSON.

    Attributes:
        limits: what is decoded at all.
        encoding: what is made.
        sizes: widths of the squares in pixels.
    """

    limits: Limits
    encoding: Encoding = field(default_factory=Encoding)
    sizes: tuple[int, ...] = SIZES

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `as_json` made."""
        encoding = document["encoding"]
        return cls(
            Limits(**document["limits"]),
            Encoding(tuple(encoding["formats"]), encoding["qualities"], encoding["effort"]),
            tuple(document["sizes"]),
        )
