"""The contents of a file as its reader finds them, before a decoder decodes a pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
"""The largest ICC profile that is read; a larger profile is ignored."""


class Cicp(NamedTuple):
    """Code points of a colour space (ITU-T H.273, 8.1 and 8.2)."""

    primaries: int
    transfer: int


class Chromaticities(NamedTuple):
    """Primaries and white point as CIE 1931 x and y (PNG, 11.3.2.1)."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Colours:
    """The colour space of an image. At most one kind is set; sRGB if none is.

    Attributes:
        icc: an ICC profile.
        cicp: code points of a PNG's `cICP`, or of `nclx` in HEIF and AVIF.
        gamma: the exponent of a PNG's `gAMA`, as 0.45455; the display's is its inverse.
        chromaticities: of a PNG's `cHRM`, with or without a gamma.
        peak_nits: with code points of PQ and HLG, the luminance of the brightest light in cd/m2: the
            maximum content light level (PNG's `cLLI`, HEIF's and AVIF's `clli`) if that is more than 0;
            otherwise, in PNG alone, the maximum luminance of `mDCV` if that is more than 0.
        film_matrix: whether the decoder uses another matrix of luma. See `avif_matrix`.
    """

    icc: bytes | None = None
    cicp: Cicp | None = None
    gamma: float | None = None
    chromaticities: Chromaticities | None = None
    peak_nits: float | None = None
    film_matrix: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata that browsers apply to an image.

    Attributes:
        orientation: 1 to 8 (EXIF 2.32, 4.6.4.A).
        natural_size: width x height in pixels that a browser's `<img>` has if the density in the EXIF
            corrects the size; of the stored image, before it is turned.
        colours: the colour space.
    """

    orientation: int = 1
    natural_size: tuple[int, int] | None = None
    colours: Colours = field(default_factory=Colours)


class Extent(NamedTuple):
    """Pixels to decode of coded images and alpha planes, counted for each reference; 0 of tracks."""

    pixels: int = 0
    alpha_pixels: int = 0

    def __add__(self, other: tuple[int, ...]) -> Extent:  # type: ignore[override]
        return Extent(self.pixels + other[0], self.alpha_pixels + other[1])


class Canvas(NamedTuple):
    """The area of an animation, and the place of its first frame there."""

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of a file.

    Attributes:
        data: the file for its decoder, without parts that the decoder rejects and no pixel needs.
        metadata: as browsers apply it; None leaves it to the library.
        extent: the pixels of a HEIF or AVIF.
        scans: of a JPEG.
        canvas: if the image in `data` covers only a part of it; the rest is transparent.
        has_end: False if a JPEG has no end marker, so that pixels may be missing.
    """

    data: bytes
    metadata: Metadata | None = None
    extent: Extent = field(default_factory=Extent)
    scans: int = 0
    canvas: Canvas | None = None
    has_end: bool = True
