from __future__ import annotations

import io
import signal
import struct

import pytest
from PIL import Image
from support.pictures.jxl import Field, codestream, frame, jxl, length, metadata, packed, section_of
from support.pictures.shown import CORNERS, code_of, corners, foreign, patterned, shown

from persona_profile.errors import UnprocessablePicture
from persona_profile.images.metadata import Cicp
from persona_profile.images.readers.bits import LowBits
from persona_profile.images.readers.jxl import long_number, read_image_header
from persona_profile.images.readers.jxl_image import JxlImageFile, read_jxl

NO, YES = (0, 1), (1, 1)
RED, BLUE = (220, 40, 40), (40, 70, 210)
SIZE = (64, 64)
PATTERN = section_of(jxl(patterned(), lossless=True))
RED_SECTION, BLUE_SECTION = (
    section_of(jxl(Image.new("RGB", SIZE, colour), lossless=True)) for colour in (RED, BLUE)
)
TRANSLUCENT = section_of(jxl(Image.new("RGBA", SIZE, (*RED, 128)), lossless=True))
ONE: Field = (0x3C00, 16)
SMALL: Field = (0x2C00, 16)
"""1 and 1/16 as F16."""


def colours(data: bytes) -> list[tuple[int, ...]]:
    """Return the colours of the quarters, without alpha."""
    return [each[:3] for each in corners(shown(data))]


def near(*expected: tuple[int, ...]) -> list[object]:
    """Return colours that equal those of a rounding decoder."""
    return [pytest.approx(each, abs=1) for each in expected]


FOUR_PASSES: list[Field] = [(3, 2), (0, 3), (3, 2), (0, 1), (0, 6)]
DOWNSAMPLINGS: list[Field] = [(3, 2), (2, 2), (1, 2), (0, 2), (1, 2), (2, 2)]
"""By 8, 4 and 2, up to passes 0, 1 and 2."""
GABORISH: list[Field] = [YES, YES, *[(0, 16)] * 6]
EDGE_PRESERVING: list[Field] = [(1, 2), YES, *[ONE] * 5, YES, *[ONE] * 3, SMALL]

# Fields of a frame that leave the pixels of PATTERN as they are, with the size of the image.
FRAMES: dict[str, tuple[dict[str, object], int]] = {
    "two passes": ({"passes": [(1, 2), (0, 2), (0, 2)], "sections": 5}, 64),
    "three passes": ({"passes": [(2, 2), (1, 2), (0, 4), (2, 2), (0, 2)], "sections": 6}, 64),
    "four passes": (
        {
            "passes": [*FOUR_PASSES, *DOWNSAMPLINGS],
            "sections": 7,
        },
        64,
    ),
    "upsampling": ({"upsampling": 2}, 128),
    "name": ({"ends": [(1, 2), (3, 4), (0x414141, 24), NO, NO, (0, 6)]}, 64),
    "default filter": ({"ends": [(0, 2), YES, (0, 2)]}, 64),
    "gaborish": ({"ends": [(0, 2), NO, YES, NO, (0, 6)]}, 64),
    "weights of both filters": (
        {
            "ends": [(0, 2), NO, *GABORISH, *EDGE_PRESERVING, (0, 2), (0, 2)],
        },
        64,
    ),
    "extensions": ({"ends": [(0, 2), NO, NO, (0, 4), (1, 2), (0, 4), (1, 2), (11, 4), (5, 12)]}, 64),
    "crop around the image": (
        {"crop": [YES, (0, 2), (1, 8), (0, 2), (3, 8), (0, 2), (64, 8), (0, 2), (64, 8)]},
        62,
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name):
    """The end of a frame is found behind every field; the decoder shows the same frame as the last."""
    options, side = FRAMES[name]
    single = codestream(side, side, *metadata(), frames=frame(PATTERN, is_last=True, **options))
    assert read_jxl(single + bytes(100)).data == single
    first = frame(PATTERN, is_last=False, is_animation=True, duration=5, **options)
    second = frame(RED_SECTION, is_last=True, is_animation=True, duration=5)
    animation = codestream(side, side, *metadata(is_animation=True), frames=first + second)
    for data in (single, animation):
        assert colours(data) == [pytest.approx(each, abs=6) for each in CORNERS]


PLACED: list[Field] = [YES, (0, 2), (128, 8), (0, 2), (128, 8), (0, 2), (64, 8), (0, 2), (64, 8)]
"""64 x 64 pixels at (64, 64)."""


def test_crops():
    """A frame may cover a part of the image; it says with which frame it is blended."""
    placed = frame(RED_SECTION, is_last=True, crop=PLACED, blending=[(0, 2), (0, 2)])
    data = codestream(128, 128, *metadata(), frames=placed)
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == [(0, 0, 0)] * 3 + [RED]
    below = frame(BLUE_SECTION, is_last=False, upsampling=2)
    data = codestream(128, 128, *metadata(), frames=below + placed)
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == near(BLUE, BLUE, BLUE, RED)
    assert read_jxl(data).extent.pixels == 128 * 128 + 64 * 64


@pytest.mark.parametrize(
    ("blending", "expected"),
    [
        ([(1, 2), (0, 2)], (255, 110, 250)),  # added
        ([(3, 2), (1, 2), YES, (0, 2)], (35, 11, 33)),  # multiplied
    ],
)
def test_blending(blending, expected):
    """Colours are added or multiplied."""
    frames = frame(RED_SECTION, is_last=False) + frame(BLUE_SECTION, is_last=True, blending=blending)
    data = codestream(*SIZE, *metadata(), frames=frames)
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == near(*[expected] * 4)


def test_blending_by_alpha():
    """A frame over another has the alpha of both, 128 over 128."""
    blending = [(2, 2), (0, 2), YES, (0, 2), (2, 2), (0, 2), NO, (0, 2)]
    below = frame(TRANSLUCENT, is_last=False, extra_channels=1, blending=[(0, 4)])
    above = frame(TRANSLUCENT, is_last=True, extra_channels=1, blending=blending)
    data = codestream(*SIZE, *metadata(channels=[[YES]]), frames=below + above)
    assert read_jxl(data + bytes(9)).data == data
    assert corners(shown(data)) == near(*[(*RED, 192)] * 4)


DEPTH = [NO, (0, 2)]
FLOAT_DEPTH = [YES, (1, 2), (4, 4)]
NAME = [(1, 2), (2, 4), (0x4141, 16)]
ALPHA, FLAT = [(0, 2)], [(1, 2)]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ([*ALPHA, *DEPTH, (0, 2), *NAME, NO], (*RED, 128)),
        ([*FLAT, *DEPTH, (0, 2), *NAME], (*RED, 255)),
        # The ink of a spot colour, white, is as dense as the sample.
        ([(2, 2), (0, 4), *DEPTH, (0, 2), *NAME, *[ONE] * 4], (238, 148, 148, 255)),
        ([(2, 2), (3, 4), *DEPTH, (0, 2), *NAME, (1, 2), (1, 2)], (*RED, 255)),
        ([(2, 2), (3, 4), *FLOAT_DEPTH, (0, 2), *NAME, (0, 2)], (*RED, 255)),
    ],
)
def test_extra_channels(channel, expected):
    """Alpha, depth, spot colours and a mosaic filter's channel are passed over."""
    one = frame(TRANSLUCENT, is_last=True, extra_channels=1, blending=[(0, 4)])
    data = codestream(*SIZE, *metadata(channels=[[NO, *channel]]), frames=one)
    assert read_jxl(data + bytes(9)).data == data
    assert corners(shown(data)) == near(*[expected] * 4)


def test_black_ink():
    """An image in inks is rejected, as the decoder has no colours of them."""
    channel = [NO, (2, 2), (2, 4), *DEPTH, (0, 2), (0, 2)]
    assert code_of(codestream(*SIZE, *metadata(channels=[channel]))) == "picture_too_complex"


def coordinates(*values: float) -> list[Field]:
    """Return positive coordinates of a chromaticity."""
    fields: list[Field] = []
    for value in values:
        coded = round(value * 2_000_000)
        kind = min(coded >> 19, 2)
        fields += [(kind, 2), (coded - (kind << 19), (19, 19, 20)[kind])]
    return fields


WHITE = coordinates(0.3127, 0.329)
PRIMARIES = coordinates(0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
CUSTOM: list[Field] = [(2, 2), (0, 4)]
SRGB_CURVE: list[Field] = [NO, (2, 2), (11, 4), (0, 2)]


@pytest.mark.parametrize(
    "fields",
    [
        [NO, NO, (0, 2), *CUSTOM, *WHITE, *CUSTOM, *PRIMARIES, *SRGB_CURVE],
        [NO, NO, (0, 2), (1, 2), *CUSTOM, *PRIMARIES, *SRGB_CURVE],
        [NO, NO, (0, 2), *CUSTOM, *WHITE, (1, 2), *SRGB_CURVE],
    ],
)
def test_custom_chromaticities(fields):
    """A space that is given by its coordinates has no code points, and the decoder's profile."""
    data = codestream(*SIZE, *metadata(colours=fields), frames=frame(PATTERN, is_last=True))
    found = read_jxl(data + bytes(9))
    assert found.data == data
    assert found.metadata.colours.cicp is None
    assert colours(data) == [pytest.approx(each, abs=3) for each in CORNERS]


@pytest.mark.parametrize(
    ("fields", "transform", "is_xyb"),
    [
        ([YES], [YES], True),
        ([NO, NO, (2, 2), (0, 4), (0, 2)], [YES], False),
        ([YES], [NO, YES, (0, 3)], True),
        ([YES], [NO, NO, *[ONE] * 9, *[SMALL] * 3, *[ONE] * 4, (0, 3)], True),
        *(
            ([YES], [NO, (mask, 3), *[SMALL] * count], False)
            for mask, count in ((1, 15), (2, 55), (4, 210), (7, 280))
        ),
    ],
)
def test_transforms(fields, transform, is_xyb):
    """The codec's own space, its matrix and the weights of upsampling are passed over."""
    one = frame(PATTERN, is_last=True, colour_transform=[] if is_xyb else [NO])
    described = metadata(colours=fields, is_xyb=is_xyb)
    data = codestream(*SIZE, *described, transforms=transform, frames=one)
    assert read_jxl(data + bytes(9)).data == data
    assert code_of(data) == "accepted"
    assert read_image_header(data).cicp == (Cicp(1, 13) if fields == [YES] else None)


def test_ycbcr():
    """Frames of a JPEG have a subsampling of their chroma; grey is neutral in both."""
    grey = section_of(jxl(Image.new("RGB", SIZE, (0, 0, 0)), lossless=True))
    one = frame(grey, is_last=True, colour_transform=[YES, (0, 6)])
    data = codestream(*SIZE, *metadata(), frames=one)
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == near(*[(128, 128, 128)] * 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    """The decoder turns the image; its size is the upright one before and after."""
    described = metadata(orientation=orientation)
    wide = codestream(128, 64, *described, frames=frame(PATTERN, is_last=True))
    opened = JxlImageFile(io.BytesIO(wide))
    assert opened.size == ((128, 64) if orientation < 5 else (64, 128))
    data = codestream(*SIZE, *described, frames=frame(PATTERN, is_last=True))
    upright = {1: "0123", 2: "1032", 3: "3210", 4: "2301", 5: "0213", 6: "2031", 7: "3120", 8: "1302"}
    assert colours(data) == [CORNERS[int(place)] for place in upright[orientation]]


@pytest.mark.parametrize(
    "options",
    [
        {"intrinsic_size": [YES, YES, (1, 5), (1, 3)]},
        {"intrinsic_size": [YES, NO, *length(300), (0, 3), *length(200)]},
        {"ends": [NO, (0x5C00, 16), (0, 16), NO, (0, 16), (0, 2)]},
        {"ends": [YES, (3, 2), (0x800, 12), NO, (1, 2), (3, 4), (9, 4)]},
        {"ends": [YES, (2, 2), (0, 8), *[(1, 2), (2, 4)], *[(0, 2)], (5, 3)]},
        {"ends": [YES, (3, 2), (0, 12), *[YES, (0, 8)] * 6, YES, (8, 4), (1, 2), (0, 4), NO]},
    ],
)
def test_metadata(options):
    """An intrinsic size, tone mapping and extensions are ignored."""
    data = codestream(*SIZE, *metadata(**options), frames=frame(PATTERN, is_last=True))
    assert read_jxl(data + bytes(9)).data == data
    assert read_image_header(data).size == SIZE
    assert colours(data) == list(CORNERS)


@pytest.mark.parametrize(
    "size",
    [
        [YES, (2, 2), (7, 5), (1, 3)],
        [YES, (2, 2), (7, 5), (0, 3), (2, 2), (7, 5)],
        [NO, (0, 2), (63, 6), (0, 3), (0, 2), (63, 6)],
    ],
)
def test_preview(size):
    """A preview is passed over; the image is the frame behind it."""
    described = metadata(preview_size=[YES, *size])
    preview = frame(RED_SECTION, is_last=True)
    data = codestream(*SIZE, *described, frames=preview + frame(PATTERN, is_last=True))
    found = read_jxl(data + bytes(9))
    assert found.data == data
    assert found.extent.pixels == 64 * 64
    assert read_image_header(data).preview_size == SIZE
    assert colours(data) == list(CORNERS)


@pytest.mark.parametrize(
    ("ratio", "width"), [(1, 120), (2, 144), (3, 160), (4, 180), (5, 213), (6, 150), (7, 240)]
)
def test_ratios(ratio, width):
    """The ratio of the sides gives the width."""
    data = codestream(0, 120, ratio=ratio)
    assert read_image_header(data).size == (width, 120)
    assert JxlImageFile(io.BytesIO(data)).size == (width, 120)


@pytest.mark.parametrize("value", [0, 1, 16, 17, 272, 273, 4095, 1 << 59, (1 << 64) - 1])
def test_long_numbers(value):
    """A U64 may have 64 bits."""
    bits, places = (3 | (value & 0xFFF) << 2), 14
    for at in range(12, 60, 8):
        bits |= (1 | (value >> at & 0xFF) << 1) << places
        places += 9
    bits |= (1 | value >> 60 << 1) << places
    reader = LowBits(bits.to_bytes(10, "little"))
    assert long_number(reader) == value
    assert reader.position == places + 5


def test_parts_of_a_frame():
    """Frames of low frequencies come before the image; each costs its pixels."""
    data = foreign("j-low-frequency.jxl")
    found = read_jxl(data + bytes(9))
    assert found.data == data
    assert found.extent.pixels == 3 * 300 * 200


def test_frame_that_is_only_referred_to():
    """A frame of another size that is never shown comes before the image."""
    size = [(0, 2), (64, 8), (0, 2), (64, 8)]
    kept = frame(RED_SECTION, is_last=False, kind=2, crop=[YES, *size])
    data = codestream(64, 64, *metadata(), frames=kept + frame(PATTERN, is_last=True))
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == list(CORNERS)


def test_frame_with_default_header():
    """The header of a frame may be one bit."""
    data = jxl(patterned(256, 256), quality=80, effort=5)
    assert LowBits(data, read_image_header(data).bits).flag()
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == [pytest.approx(each, abs=16) for each in CORNERS]


def half_float(value: float) -> Field:
    """Return an F16."""
    return (int.from_bytes(struct.pack("<e", value), "little"), 16)


def test_filter_of_transforms():
    """A frame coded by transforms has more fields of its filter; here with their default values."""
    original = jxl(patterned(256, 256), quality=80, effort=5)
    section = section_of(original)
    sharpness = [YES, *(half_float(place / 7) for place in range(8))]
    sigma = [YES, *map(half_float, (0.46, 0.9, 6.5, 2 / 3))]
    coding = [(0, 2), NO, (0, 2), (0, 2), (3, 3), (2, 3), (0, 2), NO, (0, 2), YES]
    fields = [NO, *coding, (0, 2), NO, YES, NO, (2, 2), *sharpness, NO, *sigma, (0, 2), (0, 2), NO]
    head = original[: read_image_header(original).bits // 8]
    data = head + packed(*fields) + packed((0, 2), (len(section), 10)) + section
    found = read_jxl(data + bytes(9))
    assert found.data == data
    assert found.bytes_per_pixel == read_jxl(original).bytes_per_pixel
    assert colours(data) == near(*colours(original))


def test_grey_of_sixteen_bits():
    """Grey of 16 bits keeps them; this encoder writes linear light."""
    data = jxl(Image.new("I;16", SIZE, 0x3800), lossless=True)
    image = JxlImageFile(io.BytesIO(read_jxl(data).data))
    image.load()
    assert (image.mode, image.getpixel((9, 9))) == ("I;16", 0x3800)
    assert colours(data) == near(*[(129, 129, 129)] * 4)


@pytest.mark.parametrize("depth", [FLOAT_DEPTH, [YES, (3, 2), (15, 6), (4, 4)]])
def test_grey_of_half_floats(depth):
    """Grey of 16 bits in floating point has the value that its bits mean: 0.5."""
    grey = [NO, NO, (1, 2), (1, 2), *SRGB_CURVE]
    half = section_of(jxl(Image.new("I;16", SIZE, 0x3800), lossless=True))
    described = [NO, *depth, YES, (0, 2), NO, *grey, (0, 2)]
    data = codestream(*SIZE, *described, frames=frame(half, is_last=True))
    assert read_jxl(data + bytes(9)).data == data
    assert colours(data) == near(*[(128, 128, 128)] * 4)


def test_damaged_pixels():
    """Pixels that can't be decoded are reported as by other decoders."""
    data = codestream(*SIZE, *metadata(), frames=frame(bytes(len(PATTERN)), is_last=True))
    with pytest.raises(OSError, match=r"."):
        JxlImageFile(io.BytesIO(data)).load()
    assert code_of(data) == "picture_broken"


def test_interrupt():
    """An interrupt during decoding is no error of the file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    image = JxlImageFile(io.BytesIO(jxl(Image.effect_noise((2048, 2048), 40), quality=95, effort=1)))
    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        with pytest.raises(KeyboardInterrupt):
            image.load()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def test_cut_frame():
    """A frame that is longer than the file is damage; nothing of it is decoded."""
    data = codestream(*SIZE, *metadata(), frames=frame(PATTERN, is_last=True))
    for cut in (len(data) - 1, len(data) - len(PATTERN), len(data) - len(PATTERN) - 2):
        with pytest.raises(UnprocessablePicture):
            read_jxl(data[:cut])
