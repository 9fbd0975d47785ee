"""Squares to files: the encoders, their parameters, and the choice of results to keep.

The parameters come from the curve in `docs/explanation/pictures.md`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import mozjpeg_lossless_optimization
from PIL import Image, ImageChops, ImageStat
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from persona_profile.images import Encoding, Preview
from persona_profile.images.colours.srgb import on_white
from persona_profile.images.formats import FORMATS

_SMALL_SIDE: Final = 64
"""Up to this side in pixels every image is a graphic: its precise files are a few kilobytes."""

_FEW_COLOURS: Final = 1024
_PIXELS_PER_COLOUR: Final = 64
"""Few colours are up to 1024, or up to 1 / 64 of the pixels. Grey and dim photos have as few."""

_FLAT_PART: Final = 0.6
"""The least part of a flat image's pixels that equal their neighbour; a plain ground is flat too."""

_FLAT_SIDE: Final = 128
"""Up to this side the precise files of a flat image are a few kilobytes."""

_SHARP_STEP: Final = 32
_SHARP_PART: Final = 0.2
"""The least part of a sharp image's differences between neighbours that are so large, in levels."""

_GRAPHIC_QUALITIES: Final[Mapping[str, tuple[int, ...]]] = {
    "jpeg": (90, 95, 98, 100),
    "avif": (85, 95, 98, 100),  # the first has less error than the first of JPEG
}
"""Qualities of graphics: on flat colours every block and every ring is visible."""

_MAX_ERROR: Final = 2.0
"""The error of a graphic, in levels of 255, that is too small to see."""

_PRECISE_BYTES: Final = 16 * 1024
"""Up to this size the file of a graphic grows until its error is too small to see."""

_EXACT_BYTES: Final = 8 * 1024
"""Up to this size a graphic without loss is good enough for every client that accepts WebP."""


@dataclass(frozen=True, slots=True)
class _Effort:
    """Parameters of encoders for a level of effort."""

    avif_speed: int  # 0 (slowest) to 10; below 6 files become no smaller
    webp_method: int  # 0 to 6 (slowest)
    search_scans: bool  # for the smallest scans of a JPEG, by mozjpeg


_EFFORTS: Final[Mapping[str, _Effort]] = {
    "fast": _Effort(9, 2, search_scans=False),
    # Nearly all clients accept AVIF, so time for it is well spent. WebP serves only older browsers, and
    # the search for scans saves 1 percent of a JPEG.
    "balanced": _Effort(8, 2, search_scans=False),
    "max": _Effort(6, 6, search_scans=True),
}


def graphic_side(square: Image.Image) -> int:
    """Return the side up to which squares made from an image are encoded as graphics; 0 for photos.

    Graphics are drawings, texts and screenshots. They have two of three: few colours, flat areas, sharp
    edges. Most photos have none. A flat image may be either, so its small squares are graphics.
    """
    pixels = square.width * square.height
    few_colours = max(_FEW_COLOURS, pixels // _PIXELS_PER_COLOUR)
    has_few_colours = square.getcolors(few_colours) is not None
    steps = _steps(square)
    is_flat = steps[0] >= pixels * _FLAT_PART
    is_sharp = sum(steps[_SHARP_STEP:]) > (pixels - steps[0]) * _SHARP_PART
    if square.width <= _SMALL_SIDE or has_few_colours + is_flat + is_sharp >= 2:
        return square.width
    return _FLAT_SIDE if is_flat else 0


def _steps(square: Image.Image) -> list[int]:
    """Return the number of pixels by their difference from the pixel before, in the worst channel."""
    differences = ImageChops.difference(square, ImageChops.offset(square, 1, 0)).split()
    return reduce(ImageChops.lighter, differences).histogram()


def encode(square: Image.Image, encoding: Encoding, *, graphic: bool) -> dict[str, bytes]:
    """Return a JPEG, and each better format whose file is smaller than the files before it.

    JPEG has no alpha: it shows RGBA on white, and other formats need not be smaller than it. A graphic
    keeps every pixel in WebP, and its colours in full resolution in JPEG and AVIF. If that WebP is only
    a few kilobytes, there is no AVIF.
    """
    opaque = square.mode == "RGB"
    encode_as = _encode_graphic if graphic else _encode_photo
    encoded = {"jpeg": encode_as("jpeg", square if opaque else on_white(square), encoding)}
    smallest = len(encoded["jpeg"]) if opaque else None
    for name in reversed(FORMATS):
        if name == "jpeg" or name not in encoding.formats:
            continue
        data = encode_as(name, square, encoding)
        if smallest is None or len(data) < smallest:
            encoded[name] = data
            smallest = len(data)
            if graphic and name == "webp" and smallest <= _EXACT_BYTES:
                break
    return encoded


def encode_preview(image: Image.Image, encoding: Encoding) -> Preview:
    """Return an RGB or RGBA image as a preview: JPEG, or WebP to keep its alpha."""
    name = "jpeg" if image.mode == "RGB" else "webp"
    return Preview(name, _encode_photo(name, image, encoding))


def _encode_photo(name: str, square: Image.Image, encoding: Encoding) -> bytes:
    effort, quality = _EFFORTS[encoding.effort], encoding.qualities[name]
    if name == "webp":
        return _save(square, "webp", quality=quality, method=effort.webp_method)
    return _ENCODERS[name](square, effort, quality, "4:2:0")


def _encode_graphic(name: str, square: Image.Image, encoding: Encoding) -> bytes:
    """Return WebP without loss, because with loss it halves the resolution of colours.

    JPEG and AVIF have the first quality with which the error is too small to see or the file is large.
    """
    effort, data = _EFFORTS[encoding.effort], b""
    if name == "webp":
        return _save(square, "webp", lossless=True, quality=75, method=effort.webp_method)
    for quality in _GRAPHIC_QUALITIES[name]:
        if quality >= encoding.qualities[name]:
            data = _ENCODERS[name](square, effort, quality, "4:4:4")
            decoded = _DECODERS[name](io.BytesIO(data))
            if len(data) > _PRECISE_BYTES or _error(square, decoded) <= _MAX_ERROR:
                break
    return data


def _error(square: Image.Image, encoded: ImageFile) -> float:
    """Return the root mean square of the error of the worst channel, as far as alpha shows it."""
    shown = encoded.convert(square.mode)
    if square.mode == "RGBA":
        shown, square = shown.convert("RGBa"), square.convert("RGBa")
    return max(ImageStat.Stat(ImageChops.difference(shown, square)).rms)


def _jpeg(square: Image.Image, effort: _Effort, quality: int, subsampling: str) -> bytes:
    data = _save(
        square, "jpeg", quality=quality, subsampling=subsampling, progressive=True, optimize=True
    )
    if not effort.search_scans:
        return data
    optimised: bytes = mozjpeg_lossless_optimization.optimize(data)
    return optimised


def _avif(square: Image.Image, effort: _Effort, quality: int, subsampling: str) -> bytes:
    return _save(
        square,
        "avif",
        speed=effort.avif_speed,
        quality=quality,
        subsampling=subsampling,
        max_threads=1,  # the pool has a worker for each core
    )


_ENCODERS: Final = {"jpeg": _jpeg, "avif": _avif}
_DECODERS: Final = {"jpeg": JpegImageFile, "avif": AvifImageFile}


def _save(square: Image.Image, name: str, **parameters: Any) -> bytes:
    buffer = io.BytesIO()
    square.save(buffer, name, **parameters)
    return buffer.getvalue()
