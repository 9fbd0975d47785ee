from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image, ImageOps
from support.pictures.dng import BYTE, LONG, RAW, SHORT, UNDEFINED, Directory, dng, preview, tiff
from support.pictures.pictures import (
    decoded,
    encode,
    exif_orientation,
    quadrants,
    resized_header,
)
from support.pictures.profiles import swapped_profile

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Limits, PictureOptions
from persona_profile.images.pipeline import open_image, squares_of
from persona_profile.images.readers.dng import read_dng

OPTIONS = PictureOptions(Limits(100_000_000, 50_000_000, 864 * 1024 * 1024), sizes=(64,))
SCENE = quadrants(240, 160)
LARGE = preview(encode(SCENE, quality=95), 240, 160)
SMALL = preview(encode(Image.new("RGB", (60, 40)), quality=95), 60, 40)


def rejection(data: bytes) -> str:
    """Return the code with which a file is rejected before anything of it is decoded."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    return caught.value.code


def square(data: bytes, crop: Crop | None = None) -> Image.Image:
    """Return the square of a file."""
    [found] = squares_of(io.BytesIO(data), crop, OPTIONS).values()
    return found


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_preview(turn, order):
    """The preview is turned by the first directory, not by its own EXIF; crops count upright."""
    marked = encode(SCENE, quality=95, exif=exif_orientation(3))
    data = dng(SMALL, preview(marked, 240, 160), orientation=turn, order=order)
    upright = ImageOps.exif_transpose(decoded(encode(SCENE, "PNG", exif=exif_orientation(turn))))
    expected, found = ImageOps.fit(upright, (64, 64)), square(data)
    for point in ((12, 12), (50, 12), (12, 50), (50, 50)):
        assert found.getpixel(point) == pytest.approx(expected.getpixel(point), abs=8)
    assert open_image(io.BytesIO(data), Crop(0, 120, 40), OPTIONS) if turn > 4 else True
    assert rejection_of_crop(data) == (upright.width, upright.height)


def rejection_of_crop(data: bytes) -> tuple[int, int]:
    """Return the upright size, as the rejection of a crop outside says it."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), Crop(0, 0, 10_000), OPTIONS)
    return caught.value.members["width"], caught.value.members["height"]


def test_format():
    """The format is DNG; the pixels are those of a JPEG, with its limit."""
    opened = open_image(io.BytesIO(dng(LARGE)), None, OPTIONS)
    assert (opened.format, opened.pixels) == ("dng", 240 * 160)
    huge = preview(resized_header(encode(SCENE), 10_001, 10_000), 10_001, 10_000)
    assert rejection(dng(huge)) == "picture_too_many_pixels"


@pytest.mark.parametrize(
    "file",
    [
        dng(SMALL, LARGE),
        dng(LARGE, SMALL),
        dng(SMALL, following=[LARGE]),
        dng(replace(SMALL, subdirectories=[LARGE])),
        dng(replace(LARGE, entries={**LARGE.entries, 0x0103: (SHORT, [6])}, places=(0x0201, 0x0202))),
        dng(replace(LARGE, places=(0x0144, 0x0145))),
        dng(replace(LARGE, entries={**LARGE.entries, 0x00FE: (LONG, [0x10001])})),
        # Larger, but nothing that anybody sees, or no JPEG in one piece.
        dng(
            LARGE, replace(LARGE, entries={**LARGE.entries, 0x0100: (LONG, [900]), 0x00FE: (LONG, [4])})
        ),
        dng(LARGE, preview(b"no JPEG", 900, 900)),
        dng(LARGE, preview(encode(SCENE), 900, 900, {0x0103: (SHORT, [8])})),
        dng(LARGE, replace(RAW, entries={**RAW.entries, 0x00FE: (LONG, [1])})),
    ],
)
def test_largest_preview(file):
    """The largest JPEG that a program would show is found in any directory."""
    assert read_dng(file).data == LARGE.data


def test_colours():
    """The profile of the JPEG counts, then that of its directory, then the name of a colour space."""
    profile = swapped_profile()
    with_profile = encode(SCENE, quality=95, icc_profile=profile)
    plain = encode(SCENE, quality=95)
    assert read_dng(dng(preview(with_profile, 240, 160))).metadata.colours.icc == profile
    named = {0x8773: (UNDEFINED, list(b"a profile")), 0xC71A: (LONG, [3])}
    assert read_dng(dng(preview(plain, 240, 160, named))).metadata.colours.icc == b"a profile"
    adobe = read_dng(dng(preview(plain, 240, 160, {0xC71A: (LONG, [3])}))).metadata.colours
    assert adobe.gamma == pytest.approx(1 / 2.2, abs=0.001)
    assert adobe.chromaticities.green == (0.21, 0.71)
    assert read_dng(dng(preview(plain, 240, 160, {0xC71A: (LONG, [2])}))).metadata.colours.gamma is None


def test_adobe_rgb():
    """A preview in Adobe RGB comes out in sRGB."""
    green = preview(encode(Image.new("RGB", (64, 64), (100, 200, 90)), quality=98), 64, 64)
    wide = replace(green, entries={**green.entries, 0xC71A: (LONG, [3])})
    assert square(dng(wide)).getpixel((30, 30)) == pytest.approx((0, 201, 82), abs=4)


@pytest.mark.parametrize(
    "file",
    [
        dng(LARGE, is_dng=False),
        encode(SCENE, "TIFF"),
        b"II*\0" + bytes(100),
        tiff([LARGE]),
        b"II\x55\0" + dng(LARGE)[4:],
        b"II*\0\x10\0\0\0CR\2\0" + bytes(100),
    ],
)
def test_other_tiff_files(file):
    """TIFF files and raw formats other than DNG are no accepted format."""
    assert rejection(file) == "unsupported_media_type"


def test_without_a_preview():
    """A DNG of raw pixels alone is rejected with words that say how to go on."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(dng()), None, OPTIONS)
    assert caught.value.code == "picture_too_complex"
    assert "Export the picture as JPEG" in caught.value.detail


def test_circles():
    """Directories that refer to each other are read once."""
    data = bytearray(dng(SMALL, LARGE))
    first = int.from_bytes(data[4:8], "little")
    data[-4:] = first.to_bytes(4, "little")
    assert read_dng(bytes(data)).data == LARGE.data


def test_too_many_directories():
    """A chain of directories ends after some; the entries of all are limited."""
    chain = [Directory({0x0100: (BYTE, [1])})] * 1000
    assert rejection(dng(following=[*chain, LARGE])) == "picture_too_complex"
    many = Directory({tag: (SHORT, [1]) for tag in range(0x1000, 0x6000)})
    assert rejection(dng(LARGE, following=[many])) == "picture_too_complex"


def test_cut():
    """A file that is cut in front of its first directory is broken."""
    data = dng(LARGE)
    for length in (8, 100, len(data) // 2, len(data) - 300):
        assert rejection(data[:length]) == "picture_broken"


def test_preview_beyond_the_end():
    """A DNG whose preview lies beyond its end is broken; another preview is used if there is one."""
    place = {0x0111: (LONG, [10_000_000]), 0x0117: (LONG, [1000])}
    cut = preview(b"", 4000, 3000, place)
    assert rejection(dng(Directory(cut.entries))) == "picture_broken"
    assert read_dng(dng(Directory(cut.entries), LARGE)).data == LARGE.data


def test_values_beyond_the_end():
    """Values of a tag that lie beyond the end are missing; the others count."""
    data = bytearray(dng(SMALL, LARGE))
    tag = data.index((0x014A).to_bytes(2, "little") + (LONG).to_bytes(2, "little"))
    assert data[tag + 4 : tag + 8] == (3).to_bytes(4, "little")
    data[tag + 4 : tag + 8] = (4).to_bytes(4, "little")
    start = int.from_bytes(data[tag + 8 : tag + 12], "little")
    moved = len(data)
    data[tag + 8 : tag + 12] = moved.to_bytes(4, "little")
    assert read_dng(bytes(data) + data[start : start + 12]).data == LARGE.data


def test_unknown_types():
    """A tag of an unknown type is passed over."""
    data = bytearray(dng(replace(LARGE, entries={**LARGE.entries, 0x8773: (UNDEFINED, [1])})))
    tag = data.index((0x8773).to_bytes(2, "little") + (UNDEFINED).to_bytes(2, "little"))
    data[tag + 2 : tag + 4] = (99).to_bytes(2, "little")
    assert read_dng(bytes(data)).data == LARGE.data
    assert read_dng(bytes(data)).metadata.colours.icc is None
