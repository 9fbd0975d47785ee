from __future__ import annotations

import struct

import pytest
from support.pictures.pictures import encode, exif_orientation
from support.pictures.profiles import swapped_profile
from support.pictures.shown import (
    CORNERS,
    SIDE,
    code_of,
    corners,
    foreign,
    is_pattern,
    patterned,
    shown,
)

from persona_profile.images.readers.webp import read_webp

CLEAR = (0, 0, 0, 0)
PROFILE = swapped_profile()
HAS_PROFILE, HAS_ALPHA, IS_ANIMATED = 0x20, 0x10, 0x02


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """Return a chunk; its length may lie."""
    length = len(content) if length is None else length
    return kind + struct.pack("<I", length) + content + bytes(len(content) % 2)


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    """Return a file; its length may lie."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def size(width: int, height: int) -> bytes:
    """Return a size as WebP has it."""
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def extended(flags: int, width=SIDE, height=SIDE) -> bytes:
    """Return the header of an extended file."""
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size(width, height))


def image(picture=None, **options) -> bytes:
    """Return the chunk of an image without alpha."""
    return encode(picture or patterned(), "WEBP", **options)[12:]


LOSSLESS = image(lossless=True)
LOSSY = image(quality=95)
EXIF = chunk(b"EXIF", exif_orientation(6)[6:])


def with_alpha(*, lossless=False) -> bytes:
    """Return the chunks of an image that is half transparent."""
    picture = patterned()
    picture.putalpha(128)
    return encode(picture, "WEBP", quality=95, lossless=lossless)[12 if lossless else 30 :]


def frame(content: bytes, at=(0, 0), of=(SIDE, SIDE), flags=0) -> bytes:
    """Return a frame of an animation."""
    place = b"".join((each // 2).to_bytes(3, "little") for each in at)
    return chunk(b"ANMF", place + size(*of) + bytes(3) + bytes([flags]) + content)


ANIM = chunk(b"ANIM", struct.pack("<IH", 0xFF0000FF, 0))
SECOND = frame(image(patterned().rotate(90), lossless=True))


@pytest.mark.parametrize("pixels", [LOSSLESS, LOSSY])
@pytest.mark.parametrize(
    "make",
    [
        riff,
        lambda pixels: riff(pixels) + b"junk" * 9,
        lambda pixels: riff(extended(8), pixels, EXIF),
        lambda pixels: riff(extended(8), pixels, EXIF)[:-30],
        lambda pixels: riff(extended(8), pixels, EXIF, length=2**31),
        lambda pixels: riff(extended(8), pixels, chunk(b"EXIF", b"II*\0", 100_000)),
        lambda pixels: riff(extended(4), chunk(b"XMP ", b"<x tiff:Orientation='6'/>"), pixels),
        lambda pixels: riff(extended(0), pixels, pixels),
        lambda pixels: riff(extended(0), chunk(b"ICCP", PROFILE), pixels),
        lambda pixels: riff(extended(HAS_PROFILE), chunk(b"ICCP", b"junk"), pixels),
        lambda pixels: riff(extended(IS_ANIMATED), ANIM, frame(pixels), SECOND),
        lambda pixels: riff(extended(IS_ANIMATED), ANIM, frame(pixels), SECOND)[:-50],
        lambda pixels: riff(extended(IS_ANIMATED), ANIM, frame(pixels + chunk(b"abcd", b""))),
        lambda pixels: riff(
            extended(IS_ANIMATED | HAS_PROFILE), chunk(b"ICCP", PROFILE), ANIM, frame(pixels)
        ),
    ],
)
def test_whole_first_images(make, pixels):
    """A first image whose pixels are all there is shown as stored, whatever surrounds it."""
    assert is_pattern(make(pixels))


@pytest.mark.parametrize("pixels", [LOSSLESS, LOSSY, with_alpha()])
@pytest.mark.parametrize("missing", [1, 2, 5, 40])
def test_missing_pixels(pixels, missing):
    """A file whose pixels are cut is rejected."""
    cut = len(pixels) - missing - pixels.endswith(b"\0")
    for data in (riff(pixels[:cut]), riff(extended(HAS_ALPHA), pixels[:cut])):
        assert code_of(data) == "picture_broken"
    assert code_of(riff(extended(IS_ANIMATED), ANIM, frame(pixels)[:cut])) == "picture_broken"


@pytest.mark.parametrize(
    "data",
    [
        riff(),
        riff(EXIF),
        riff(extended(0)),
        riff(extended(0)[:14]),
        riff(extended(0, 80, 80), LOSSLESS),
        riff(extended(IS_ANIMATED), LOSSLESS),
        riff(extended(IS_ANIMATED), ANIM),
        riff(extended(IS_ANIMATED), ANIM, frame(LOSSLESS)[:20]),
        riff(extended(IS_ANIMATED), ANIM, frame(b"")),
        riff(extended(IS_ANIMATED), ANIM, frame(LOSSLESS, at=(2, 0)), SECOND),
        riff(extended(IS_ANIMATED), ANIM, frame(LOSSLESS, of=(32, 32))),
    ],
)
def test_broken(data):
    """A file whose sizes contradict each other, or without an image, is rejected."""
    assert code_of(data) == "picture_broken"


@pytest.mark.parametrize("lossless", [False, True])
def test_alpha(lossless):
    """Alpha counts, in static images and in first frames."""
    pixels = with_alpha(lossless=lossless)
    for data in (
        riff(extended(HAS_ALPHA), pixels),
        riff(extended(HAS_ALPHA | IS_ANIMATED), ANIM, frame(pixels), SECOND),
    ):
        for found, expected in zip(corners(shown(data)), CORNERS, strict=True):
            assert found == pytest.approx((*expected, 128), abs=8)


def test_small_first_frame():
    """What the first frame leaves uncovered is transparent, and no background colour."""
    small = frame(image(patterned(32, 32), lossless=True), at=(32, 0), of=(32, 32))
    found = corners(shown(riff(extended(IS_ANIMATED), ANIM, small, SECOND)))
    assert found == [CLEAR, (*CORNERS[3], 255), CLEAR, CLEAR]


def test_animation_of_another_program():
    """A file of another program is transparent where its first frame does not reach."""
    found = shown(foreign("w-anim-partial.webp"))
    assert found.getpixel((1, 1)) == CLEAR
    assert found.getpixel((36, 36)) == pytest.approx((*CORNERS[3], 255), abs=8)


def test_profile():
    """The first profile of a static image counts if the header announces it."""
    first, second = chunk(b"ICCP", PROFILE), chunk(b"ICCP", b"other")
    metadata = read_webp(riff(extended(HAS_PROFILE), first, second, LOSSLESS)).metadata
    assert metadata is not None
    assert metadata.colours.icc == PROFILE
    huge = chunk(b"ICCP", bytes(5_000_000))
    metadata = read_webp(riff(extended(HAS_PROFILE), huge, LOSSLESS)).metadata
    assert metadata is not None
    assert metadata.colours.icc is None
