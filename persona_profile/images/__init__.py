"""Images: an upload of any camera becomes a few small squares, its renditions, or a preview.

The service itself decodes nothing. An upload passes these modules in this order:

- in the service: `renderer`, `admission` (a place, memory), `workers.pool`;
- in a process that is forked for it (`workers.fork_server`, confined by `workers.confinement`):
  `pipeline`, and there `decoding` with a format's module of `readers` (metadata, bounds, the file for
  its decoder), `squares`, `colours`, `encoding`;
- in the service again: `workers.answers` (checks of what the worker has sent).

`metadata` has what readers return. `rejections` has the errors of uploads that are no image, or not an
image that is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from persona_profile.images.formats import DEFAULT_EFFORT, DEFAULT_QUALITIES, FORMATS, SIZES


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of the image that a person saw.

    Attributes:
        x, y, side: left, top and side in pixels of `of`.
        of: width and height of the image as it was shown; by default the upright size.
    """

    x: int
    y: int
    side: int
    of: tuple[int, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the crop of an object that `as_json` made."""
        of = document["of"]
        return cls(document["x"], document["y"], document["side"], of and (of[0], of[1]))


@dataclass(frozen=True, slots=True)
class Rendition:
    """An encoded square, of `size` pixels a side or, as images are never enlarged, fewer."""

    size: int
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Preview:
    """The whole upright image in a format of PREVIEW_FORMATS, of at most PREVIEW_SIDE pixels a side."""

    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the images that are decoded, in pixels, and in bytes of memory; the header decides."""

    max_pixels_jpeg: int
    max_pixels_other: int
    memory: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """Formats (JPEG is always made), the quality of each on its encoder's scale, and the effort."""

    formats: tuple[str, ...] = FORMATS
    qualities: Mapping[str, int] = field(default_factory=lambda: DEFAULT_QUALITIES)
    effort: str = DEFAULT_EFFORT


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """Options of the pipeline, with the widths of renditions. They cross to the workers as JSON."""

    limits: Limits
    encoding: Encoding = field(default_factory=Encoding)
    sizes: tuple[int, ...] = SIZES

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the options of an object that `as_json` made."""
        encoding = document["encoding"]
        return cls(
            Limits(**document["limits"]),
            Encoding(tuple(encoding["formats"]), encoding["qualities"], encoding["effort"]),
            tuple(document["sizes"]),
        )
