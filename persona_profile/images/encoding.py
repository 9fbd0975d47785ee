"""Squares to files: the encoders, their parameters, and the choice of results to keep.

The parameters come from the curve in `docs/explanation/pictures.md`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mozjpeg_lossless_optimization
from PIL import Image

from persona_profile.images import Encoding, Preview
from persona_profile.images.colours import on_white
from persona_profile.images.formats import FORMATS

_PIXELS_PER_COLOUR: Final = 64
"""An image with fewer distinct colours than a part of its pixels, 1 / 64, is a drawing, not a photo."""

_GRAPHIC_QUALITY: Final = 90
"""The minimum for drawings: on flat colours every block and every ring is visible."""


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


def is_graphic(square: Image.Image) -> bool:
    """Whether an image is a drawing of few colours rather than a photo."""
    return square.getcolors(square.width * square.height // _PIXELS_PER_COLOUR) is not None


def encode(square: Image.Image, encoding: Encoding, *, graphic: bool) -> dict[str, bytes]:
    """Return a JPEG, and each better format whose file is smaller than the files before it.

    JPEG has no alpha: it shows RGBA on white, and other formats need not be smaller than it. A graphic
    square keeps its colours in full resolution; lossless compression is tried.
    """
    opaque = square.mode == "RGB"
    encoded = {"jpeg": _jpeg(square if opaque else on_white(square), encoding, graphic=graphic)}
    smallest = len(encoded["jpeg"]) if opaque else None
    for name in reversed(FORMATS):
        if name == "jpeg" or name not in encoding.formats:
            continue
        data = _ENCODERS[name](square, encoding, graphic=graphic)
        if smallest is None or len(data) < smallest:
            encoded[name] = data
            smallest = len(data)
    return encoded


def encode_preview(image: Image.Image, encoding: Encoding) -> Preview:
    """Return an RGB or RGBA image as a preview: JPEG, or WebP to keep its alpha."""
    name, encoder = ("jpeg", _jpeg) if image.mode == "RGB" else ("webp", _webp)
    return Preview(name, encoder(image, encoding, graphic=is_graphic(image)))


def _jpeg(square: Image.Image, encoding: Encoding, *, graphic: bool) -> bytes:
    data = _save(
        square,
        "jpeg",
        quality=_quality(encoding.qualities["jpeg"], graphic=graphic),
        subsampling="4:4:4" if graphic else "4:2:0",
        progressive=True,
        optimize=True,
    )
    if not _EFFORTS[encoding.effort].search_scans:
        return data
    optimised: bytes = mozjpeg_lossless_optimization.optimize(data)
    return optimised


def _webp(square: Image.Image, encoding: Encoding, *, graphic: bool) -> bytes:
    method = _EFFORTS[encoding.effort].webp_method
    quality = _quality(encoding.qualities["webp"], graphic=graphic)
    data = _save(square, "webp", quality=quality, method=method)
    if not graphic:
        return data
    lossless = _save(square, "webp", lossless=True, quality=75, method=method)
    return min(lossless, data, key=len)


def _avif(square: Image.Image, encoding: Encoding, *, graphic: bool) -> bytes:
    return _save(
        square,
        "avif",
        speed=_EFFORTS[encoding.effort].avif_speed,
        quality=_quality(encoding.qualities["avif"], graphic=graphic),
        subsampling="4:4:4" if graphic else "4:2:0",
        max_threads=1,  # the pool has a worker for each core
    )


_ENCODERS: Final = {"webp": _webp, "avif": _avif}


def _quality(quality: int, *, graphic: bool) -> int:
    return max(quality, _GRAPHIC_QUALITY) if graphic else quality


def _save(square: Image.Image, name: str, **parameters: Any) -> bytes:
    buffer = io.BytesIO()
    square.save(buffer, name, **parameters)
    return buffer.getvalue()
