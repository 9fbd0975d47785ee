from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image
from support.pictures.pictures import encode, exif_orientation
from support.pictures.profiles import swapped_profile

from persona_profile.images import Limits, PictureOptions
from persona_profile.images.metadata import Colours
from persona_profile.images.pipeline import squares_of
from persona_profile.images.webp import read_webp

OPTIONS = PictureOptions(Limits(100_000_000, 50_000_000, 864 * 1024 * 1024), sizes=(64,))
FOREIGN = Path(__file__).parents[2] / "support/pictures/foreign"
RED, YELLOW = (220, 40, 40), (230, 200, 40)
SCENE = Image.new("RGB", (96, 64), RED)
SCENE.paste(YELLOW, (48, 32, 96, 64))


def square(data: bytes) -> Image.Image:
    """Return the square of a file."""
    return squares_of(io.BytesIO(data), None, OPTIONS)[64].convert("RGBA")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(*chunks: bytes) -> bytes:
    """Return a file of chunks."""
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def header(flags: int, width: int = 96, height: int = 64) -> bytes:
    """Return the chunk of an extended file."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)


def coded(picture: Image.Image) -> bytes:
    """Return the chunk of a lossless image."""
    return encode(picture, "WEBP", lossless=True, exact=True)[12:]


def frame(picture: Image.Image, left: int, top: int, flags: int = 0) -> bytes:
    """Return a frame of an animation."""
    numbers = (left // 2, top // 2, picture.width - 1, picture.height - 1, 100)
    place = b"".join(number.to_bytes(3, "little") for number in numbers)
    return chunk(b"ANMF", place + bytes([flags]) + coded(picture))


ANIMATION = chunk(b"ANIM", b"\xff\0\xff\xff\0\0")


def test_never_turned():
    """No browser turns a WebP by its EXIF."""
    stored = square(encode(SCENE, "WEBP", lossless=True, exif=exif_orientation(6)))
    assert (stored.getpixel((5, 5)), stored.getpixel((60, 60))) == ((*RED, 255), (*YELLOW, 255))
    foreign = square((FOREIGN / "o-exif6.webp").read_bytes())
    assert foreign.getpixel((5, 5)) == (220, 40, 40, 255)


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
@pytest.mark.parametrize("alpha", [255, 128])
def test_uncovered_by_the_first_frame(flags, alpha):
    """What the first frame leaves uncovered is transparent, whatever the background and the header."""
    small = Image.new("RGBA", (40, 32), (*YELLOW, alpha))
    for has_alpha in (0, 0x10):
        frames = frame(small, 48, 16, flags), frame(SCENE, 0, 0, flags)
        found = square(riff(header(0x02 | has_alpha), ANIMATION, *frames))
        assert found.getpixel((5, 5)) == (0, 0, 0, 0)
        assert found.getpixel((50, 30)) == pytest.approx((*YELLOW, alpha), abs=2)


def test_foreign_first_frame():
    """A first frame smaller than its canvas, of another program."""
    found = square((FOREIGN / "w-anim-partial.webp").read_bytes())
    assert found.getpixel((5, 5)) == (0, 0, 0, 0)
    assert found.getpixel((60, 60)) == (230, 200, 40, 255)


def test_opaque_animation():
    """An animation whose first frame covers the canvas has no alpha."""
    [found] = squares_of(
        io.BytesIO(riff(header(0x02), ANIMATION, frame(SCENE, 0, 0))), None, OPTIONS
    ).values()
    assert found.mode == "RGB"


def test_profile():
    """The first profile counts if the header announces it, wherever it is; not in an animation."""
    profile = swapped_profile()
    pixels, icc, junk = coded(SCENE), chunk(b"ICCP", profile), chunk(b"ICCP", b"junk")
    for file, expected in (
        (riff(header(0x20), icc, pixels), profile),
        (riff(header(0x20), pixels, icc), profile),
        (riff(header(0x20), icc, pixels, junk), profile),
        (riff(header(0x20), junk, pixels, icc), b"junk"),
        (riff(header(0), icc, pixels), None),
        (riff(header(0x22), icc, ANIMATION, frame(SCENE, 0, 0)), None),
    ):
        assert read_webp(file).metadata.colours == Colours(expected)
