"""Squares to files: which encoder with which parameters, and which of the results are worth keeping.

The parameters come from the curve in `docs/explanation/pictures.md`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mozjpeg_lossless_optimization
from PIL import Image

from persona_profile.images import FORMATS, Encoding
from persona_profile.images.colours import on_white

_PIXELS_PER_COLOUR: Final = 64
"""A picture with fewer distinct colours than pixels over this is a drawing, not a photo."""

_GRAPHIC_QUALITY: Final = 90
"""At least this for drawings: on flat colours every block and every ring is seen."""


@dataclass(frozen=True, slots=True)
class _Effort:
    """How hard encoders try.

    Attributes:
        avif_speed: of the encoder, 0 (slowest) to 10; below 6 it saves nothing more.
        webp_method: of the encoder, 0 to 6 (slowest).
        search_scans: whether the scans of a JPEG are chosen for size (mozjpeg).
    """

    avif_speed: int
    webp_method: int
    search_scans: bool


_EFFORTS: Final[Mapping[str, _Effort]] = {
    "fast": _Effort(9, 2, search_scans=False),
    # Nearly all clients take AVIF, so there the time is well spent; WebP serves older browsers alone,
    # and the search for scans costs as much as it saves 1 percent of JPEG.
    "balanced": _Effort(8, 2, search_scans=False),
    "max": _Effort(6, 6, search_scans=True),
}


def is_graphic(square: Image.Image) -> bool:
    """Return whether a picture is a drawing of few colours rather than a photo."""
    return square.getcolors(square.width * square.height // _PIXELS_PER_COLOUR) is not None


def encode(square: Image.Image, encoding: Encoding, *, graphic: bool) -> dict[str, bytes]:
    """Encode JPEG first, then each better format as long as it is smaller than what there is.

    Args:
        square: RGB, or RGBA; JPEG has no alpha, so that is on white there, and no rival to the others.
        encoding: what to make.
        graphic: whether full colour resolution and lossless compression are tried.
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
        max_threads=1,  # the pool has a worker for each core already
    )


_ENCODERS: Final = {"webp": _webp, "avif": _avif}


def _quality(quality: int, *, graphic: bool) -> int:
    return max(quality, _GRAPHIC_QUALITY) if graphic else quality


def _save(square: Image.Image, name: str, **parameters: Any) -> bytes:
    buffer = io.BytesIO()
    square.save(buffer, name, **parameters)
    return buffer.getvalue()
