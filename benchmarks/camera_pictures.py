"""Files as cameras and phones make them, of any size."""

from __future__ import annotations

import io
import sys
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.pictures import encode, exif_orientation, photo

MAX_BYTES = 19_500_000
"""Just below the server's limit of 20 MiB."""
_data = b""


@cache
def source() -> Image.Image:
    """Return the picture that all files are made of, upright: see `use`."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(_data or photo()))).convert("RGB")


def use(path: Path | None) -> None:
    """Make all files of a photo of 12 megapixels, instead of one that is made."""
    global _data  # noqa: PLW0603 - set once, by the benchmark's command line
    _data = path.read_bytes() if path else b""
    source.cache_clear()


def pixels(megapixels: float) -> Image.Image:
    """Return a picture of so many pixels, 4:3, with the same entropy per pixel as one of 12 megapixels.

    Larger ones are mosaics of mirrored copies: scaled up they would be smoother than what cameras see.
    """
    tile = source()
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(width * 3 / 4)
    if width <= tile.width and height <= tile.height:
        return tile.crop((0, 0, width, height))
    copies = (tile, ImageOps.mirror(tile), ImageOps.flip(tile))
    whole = Image.new("RGB", (width, height))
    for row, top in enumerate(range(0, height, tile.height)):
        for column, left in enumerate(range(0, width, tile.width)):
            whole.paste(copies[(row + column) % 3], (left, top))
    return whole


def camera_jpeg(megapixels: float) -> bytes:
    """Return a JPEG as large as cameras make it, but never larger than the server takes.

    That is 0.35 bytes a pixel, and 0.15 for each beyond 24 megapixels: 4.2 MB at 12, 12 MB at 48.
    """
    target = min(350_000 * min(megapixels, 24) + 150_000 * max(megapixels - 24, 0), MAX_BYTES)
    picture = pixels(megapixels)
    low, high = 20, 97
    best = encode(picture, quality=low, exif=exif_orientation(6))
    while high - low > 1:
        quality = (low + high) // 2
        made = encode(picture, quality=quality, exif=exif_orientation(6))
        if len(made) <= target:
            low, best = quality, made
        else:
            high = quality
    return best
