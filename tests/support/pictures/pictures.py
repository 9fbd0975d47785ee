"""Pictures that tests generate; no files are read."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - registers its encoder
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (255, 255, 255)


def quadrants(width: int = 400, height: int = 400) -> Image.Image:
    """Return a picture whose quarters are red, green (top), blue, white (bottom)."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    picture.paste(WHITE, (width // 2, height // 2, width, height))
    return picture


def encode(picture: Image.Image, format_name: str = "JPEG", **options: Any) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()


def exif_orientation(value: int) -> bytes:
    """Return an EXIF block with an orientation, a camera and a position."""
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010F] = "SECRET-CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


@cache
def photo(width: int = 4032, height: int = 3024, seed: int = 7) -> bytes:
    """Return a JPEG with a camera's entropy: structure at every scale, and noise."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for level in (4, 16, 64, 256, 1024):
        small = random.normal(0, 1, (3, max(2, height * level // 4096), max(2, width * level // 4096)))
        for channel in range(3):
            layer = Image.fromarray(small[channel].astype(np.float32))
            scaled = layer.resize((width, height), Image.Resampling.BICUBIC)
            pixels[..., channel] += np.asarray(scaled) * (60.0 / level**0.45)
    pixels += random.normal(0, 3, (height, width, 1)).astype(np.float32)
    array = np.clip(pixels + 128, 0, 255).astype(np.uint8)
    return encode(Image.fromarray(array), quality=90, exif=exif_orientation(1))


FORMATS_IN = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC", "JXL")


def heic(picture: Image.Image, **options: Any) -> bytes:
    """Return a HEIC file."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **options)
    return buffer.getvalue()


def in_format(name: str, picture: Image.Image, **options: Any) -> bytes:
    """Return a picture as a file in a format of FORMATS_IN."""
    if name == "HEIC":
        return heic(picture, **options)
    return encode(picture, name, **options)


def decoded(data: bytes) -> Image.Image:
    """Return a file's picture, fully decoded."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced_rows(pixels: np.ndarray) -> bytes:
    """Return the rows of an interlaced PNG without filters, pass by pass (PNG, 8.2)."""
    passes = (pixels[top::down, left::across] for left, top, across, down in _PASSES)
    return b"".join(b"\0" + row.tobytes() for each in passes for row in each)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """Return a PNG of raw rows (each with its filter byte), with `chunks` before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + png_chunk(b"IEND", b"")


def png_bomb(width: int, height: int) -> bytes:
    """Return a white 1-bit PNG of a size; it decodes to a thousand times its bytes."""
    return png(width, height, 1, 0, (b"\0" + b"\xff" * ((width + 7) // 8)) * height)


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """Return a JPEG with an additional segment at its start."""
    segment = b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2) + payload
    return jpeg[:2] + segment + jpeg[2:]


def resized_header(jpeg: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header claims another size than its pixels have."""
    start = next(at for marker in (b"\xff\xc0", b"\xff\xc2") if (at := jpeg.find(marker)) > 0)
    return jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]
