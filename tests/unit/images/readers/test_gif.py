from __future__ import annotations

import io
import struct

import pytest
from support.pictures.pictures import encode
from support.pictures.shown import CORNERS, SIDE, code_of, corners, is_pattern, patterned, shown
from support.pictures.workers import LIMITS

from persona_profile.errors import ServiceError
from persona_profile.images import PictureOptions
from persona_profile.images.pipeline import open_image

PALETTE = bytes(value for colour in CORNERS for value in colour)
CLEAR = (0, 0, 0, 0)
OPAQUE = [(*colour, 255) for colour in CORNERS]
END = b";"
LOOP = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
COMMENT = b"!\xfe\5hello\0"
BLACK = (0, 0, 0, 255)


def indices(width, height) -> list[int]:
    """Return the indices of the pattern."""
    return [(x >= width // 2) + 2 * (y >= height // 2) for y in range(height) for x in range(width)]


def codes(pixels, bits=2, *, end=True) -> bytes:
    """Return pixels as codes of a constant width: a clear code precedes every pair."""
    clear, found, length = 1 << bits, 0, 0
    listed = []
    for at in range(0, len(pixels), 2):
        listed += [clear, *pixels[at : at + 2]]
    for code in [*listed, *([clear + 1] if end else [])]:
        found |= code << length
        length += bits + 1
    return found.to_bytes(-(-length // 8), "little")


def blocks(data: bytes) -> bytes:
    """Return data in blocks, with the terminator."""
    pieces = [data[at : at + 200] for at in range(0, len(data), 200)]
    return b"".join(bytes([len(each)]) + each for each in pieces) + b"\0"


def head(width=SIDE, height=SIDE, palette: bytes | None = PALETTE, background=0) -> bytes:
    """Return the start of a file."""
    flags = 0x80 | len(palette).bit_length() - 3 if palette else 0
    return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, background, 0) + (palette or b"")


def control(transparent: int | None = None, disposal=0) -> bytes:
    """Return a graphic control extension."""
    return b"!\xf9\4" + bytes([disposal << 2 | (transparent is not None), 0, 0, transparent or 0, 0])


def image(
    left=0, top=0, width=SIDE, height=SIDE, *, palette=None, data=None, bits=2, flags=0, stream=None
) -> bytes:
    """Return an image."""
    flags |= 0x81 if palette else 0
    stream = stream or blocks(codes(indices(width, height) if data is None else data, bits))
    place = struct.pack("<HHHHB", left, top, width, height, flags)
    return b"," + place + (palette or b"") + bytes([bits]) + stream


def interlaced() -> list[int]:
    """Return the indices of the pattern in the order of an interlaced image."""
    pixels = indices(SIDE, SIDE)
    rows = [*range(0, SIDE, 8), *range(4, SIDE, 8), *range(2, SIDE, 4), *range(1, SIDE, 2)]
    return [pixel for row in rows for pixel in pixels[row * SIDE : (row + 1) * SIDE]]


WITHOUT_END = blocks(codes(indices(SIDE, SIDE), end=False))
CODES = codes(indices(SIDE, SIDE))


@pytest.mark.parametrize(
    "data",
    [
        head() + image() + END,
        head() + LOOP + COMMENT + control() + image() + control() + image(0, 0, 9, 9) + END,
        head() + image(),
        head() + image()[:-1],
        head() + image(stream=WITHOUT_END) + END,
        head() + image(stream=WITHOUT_END[:-1]),
        head() + image(stream=blocks(CODES + b"junk" * 30)) + END,
        head() + image(data=indices(SIDE, SIDE) + [3] * 99) + END,
        head() + image() + control() + image()[:99],
        head() + image() + b"junk" * 20,
        head() + image(data=interlaced(), flags=0x40) + END,
        head(palette=PALETTE[::-1]) + image(palette=PALETTE) + END,
        head(palette=None) + image(palette=PALETTE) + END,
        head() + image(bits=8, data=indices(SIDE, SIDE)) + END,
        head() + b"!\1\0" + image() + END,
        head() + b"!\xfe\0" + image() + END,
        head() + b"!\xff\0" + image() + END,
        head() + b"!\xf9\2\1\0\0" + image() + END,
        head() + control(1) + control() + image() + END,
        head() + control(200) + image() + END,
        head(32, 32) + image() + END,
        head(0, 0) + image() + END,
        head(0, SIDE) + image() + END,
        b"GIF87a" + head()[6:] + image() + END,
    ],
)
def test_whole_first_images(data):
    """A first image whose pixels are all there is shown, whatever surrounds it."""
    assert is_pattern(data, tolerance=0)


@pytest.mark.parametrize(
    "data",
    [
        head() + image()[:900],
        head() + image(stream=WITHOUT_END[:-20]),
        head() + image(data=indices(SIDE, SIDE)[: -10 * SIDE]) + END,
        head() + image(data=indices(SIDE, SIDE)[:-2]) + END,
        head() + image(stream=blocks(CODES[:700] + b"\xff" * 400)) + END,
        head() + image(0, 0, 0, 0) + END,
        head() + image(0, 0, 0, 0) + image() + END,
        head() + END,
        head() + END + image(),
        head(),
        head()[:12],
        head() + b"!",
        head() + b"!\xf9",
        head() + b"!\xf9\4\1\0",
        head() + b"!\xfe\xff",
        head() + b",\0\0",
        head() + image(palette=PALETTE)[:14],
    ],
)
def test_missing_pixels(data):
    """A file without its whole first image is rejected."""
    assert code_of(data) == "picture_broken"


@pytest.mark.parametrize("before", [b"", control(disposal=2), control(disposal=3), LOOP])
@pytest.mark.parametrize("background", [0, 2])
def test_small_first_image(before, background):
    """What the first image leaves uncovered is transparent, and no background colour."""
    data = head(background=background) + before + image(32, 0, 32, 32, data=[1] * 1024)
    assert corners(shown(data + image() + END)) == [CLEAR, OPAQUE[1], CLEAR, CLEAR]


def test_small_first_image_with_transparency():
    """A transparent colour of a small first image is transparent, as its surroundings are."""
    data = head() + control(1) + image(32, 0, 32, 64, data=[1] * 1024 + [3] * 1024) + END
    assert corners(shown(data)) == [CLEAR, CLEAR, CLEAR, OPAQUE[3]]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (control(1), [OPAQUE[0], CLEAR, OPAQUE[2], OPAQUE[3]]),
        (control(1) + control(2), [OPAQUE[0], OPAQUE[1], CLEAR, OPAQUE[3]]),
        (control(1) + b"!\1\x0c" + bytes(12) + b"\3abc\0", [OPAQUE[0], CLEAR, OPAQUE[2], OPAQUE[3]]),
        (b"!\xf9\6\1\0\0\1\0\0\0", [OPAQUE[0], CLEAR, OPAQUE[2], OPAQUE[3]]),
    ],
)
def test_transparent_colour(before, expected):
    """The last graphic control before the image decides its transparent colour."""
    assert corners(shown(head() + before + image() + END)) == expected


def test_missing_colours():
    """Colours that no table contains are black, as in Chromium."""
    assert corners(shown(head(palette=None) + image() + END)) == [BLACK] * 4
    short = corners(shown(head(palette=PALETTE[:6]) + image() + END))
    assert short == [OPAQUE[0], OPAQUE[1], BLACK, BLACK]


@pytest.mark.parametrize(
    ("screen", "place", "size"),
    [
        ((64, 64), (0, 0), (64, 64)),
        ((32, 32), (16, 20), (80, 84)),
        ((0, 0), (10, 10), (74, 74)),
        ((100, 10), (0, 0), (100, 64)),
        ((64, 64), (100, 100), (164, 164)),
    ],
)
def test_size(screen, place, size):
    """The screen grows to the first image."""
    opened = open_image(io.BytesIO(head(*screen) + image(*place) + END), None, PictureOptions(LIMITS))
    assert (opened.width, opened.height) == size


def test_large_screen():
    """A screen of too many pixels is rejected, however small its first image is."""
    assert code_of(head(60_000, 60_000) + image() + END) == "picture_too_many_pixels"


def test_large_image_on_a_small_screen():
    """An image above the limit of the library too has its number of pixels in the rejection."""
    file = bytearray(head(10, 10) + image() + END)
    at = file.index(struct.pack("<BHHHH", 0x2C, 0, 0, SIDE, SIDE))
    struct.pack_into("<HH", file, at + 5, 20_000, 9_500)
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(file), None, PictureOptions(LIMITS))
    assert caught.value.code == "picture_too_many_pixels"
    assert caught.value.members["pixels"] == 20_000 * 9_500


def test_real_encoder():
    """A file of the library passes."""
    assert is_pattern(encode(patterned().quantize(8), "GIF"))
