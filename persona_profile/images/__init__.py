"""Pictures: from whatever a camera made to a few small squares, once, at upload.

The service itself decodes nothing: `pool` sends each upload to a worker process, where `pipeline` does
the work. `admission` decides which uploads may begin.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Protocol, Self

from persona_profile.images.formats import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITIES,
    FORMATS,
    MEDIA_TYPES,
    SIZES,
)
from persona_profile.runtime.stats import PictureStats

__all__ = [
    "FORMATS",
    "MEDIA_TYPES",
    "SIZES",
    "Account",
    "Crop",
    "Encoding",
    "FreeAccount",
    "Limits",
    "PictureOptions",
    "PictureRefused",
    "Renderer",
    "Rendition",
]


class PictureRefused(Exception):
    """A file can't be made into renditions.

    Attributes:
        code: `unsupported_media_type`, `picture_broken`, `picture_too_many_pixels`,
            `picture_too_complex` or `crop_outside_picture`.
        detail: a sentence for the developer of the client.
        members: figures that belong to it: `limit`, `pixels`, `width`, `height`.
    """

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.members = members


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


class Account(Protocol):
    """Pays for an upload.

    Attributes:
        claimants: the network of the client and the issuer of the email. Places are shared fairly
            between claimants.
    """

    claimants: Sequence[Hashable]

    def charge_pixels(self, pixels: int) -> None:
        """Charge the pixels of a picture when its header was read and decoding may begin.

        Raises:
            RateLimited: they are too many.
        """
        ...

    def charge_time(self, processor_seconds: float) -> None:
        """Charge the processor time that a worker has spent, whatever came of the upload."""
        ...


@dataclass(frozen=True, slots=True)
class FreeAccount:
    """Pays nothing. See `Account`."""

    claimants: Sequence[Hashable] = ()

    def charge_pixels(self, pixels: int) -> None:
        """Charge nothing."""

    def charge_time(self, processor_seconds: float) -> None:
        """Charge nothing."""


class Renderer(Protocol):
    """Turns an upload into renditions."""

    @property
    def most_at_once(self) -> int:
        """How many uploads are worked on or wait; each holds a thread of the server."""
        ...

    def figures(self) -> PictureStats:
        """Return what is under way now."""
        ...

    def confinement(self) -> Mapping[str, str]:
        """Return `ok` for each part of the workers' confinement, or why the system lacks it.

        Empty until the first worker was started.
        """
        ...

    def render(self, source: BinaryIO, crop: Crop | None, account: Account) -> tuple[Rendition, ...]:
        """Return the renditions of a picture.

        Args:
            source: the file, at its start.
            crop: which square of the upright picture; by default the largest in its centre.
            account: pays for it.

        Raises:
            UnsupportedMediaType: no picture of a format that is taken.
            UnprocessablePicture: the other codes of `PictureRefused`.
            Overloaded: too many pictures are under way.
            RateLimited: the account raised it.
        """
        ...
