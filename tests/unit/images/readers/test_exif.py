from __future__ import annotations

import struct

import pytest
from support.pictures.pictures import encode, exif_orientation, png_chunk, with_segment
from support.pictures.shown import CORNERS, corners, foreign, is_pattern, patterned, shown

from persona_profile.images import Crop
from persona_profile.images.readers.exif import Exif, read_exif
from persona_profile.images.readers.jpeg import read_jpeg

SHORT, LONG, RATIONAL = 3, 4, 5
TURN, EXIF_IFD = 0x0112, 0x8769
TURNED = [(40, 70, 210), (220, 40, 40), (230, 200, 40), (40, 180, 60)]
"""CORNERS in orientation 6."""


def ifd(*entries, at: int = 8, order: str = "<") -> bytes:
    """Return a directory of entries of tag, type, count and value; rationals are behind it."""
    table, behind = b"", b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        field = struct.pack(order + ("HH" if kind == SHORT else "I"), *_values(kind, value))
        if kind == RATIONAL:
            field = struct.pack(order + "I", start + len(behind))
            behind += struct.pack(order + "II", *value)
        table += struct.pack(order + "HHI", tag, kind, count) + field
    return struct.pack(order + "H", len(entries)) + table + bytes(4) + behind


def _values(kind, value):
    if kind == SHORT:
        return (value, 0)
    return (0,) if kind == RATIONAL else (value,)


def tiff(*entries, exif=(), order: str = "<") -> bytes:
    """Return a block of a directory, and on request of an Exif directory."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    if not exif:
        return head + ifd(*entries, order=order)
    at = 8 + len(ifd(*entries, (EXIF_IFD, LONG, 1, 0), order=order))
    first = ifd(*entries, (EXIF_IFD, LONG, 1, at), order=order)
    return head + first + ifd(*exif, at=at, order=order)


def turn(value=6, kind=SHORT, count=1):
    """Return an entry of an orientation."""
    return TURN, kind, count, value


def density(x=(144, 1), y=(144, 1), size=(300, 200), unit=2, kind=LONG, turned=1) -> bytes:
    """Return a block that halves 600 x 400 pixels."""
    first = (turn(turned), (0x011A, RATIONAL, 1, x), (0x011B, RATIONAL, 1, y), (0x0128, SHORT, 1, unit))
    return tiff(*first, exif=((0xA002, kind, 1, size[0]), (0xA003, kind, 1, size[1])))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (tiff(turn(6)), 6),
        (tiff(turn(6), order=">"), 6),
        (tiff(turn(1)), 1),
        (tiff(turn(0)), 1),
        (tiff(turn(9)), 1),
        (tiff(turn(6, LONG)), 1),
        (tiff(turn(6, count=0)), 1),
        (tiff(turn(6, count=2)), 1),
        (tiff(turn(6, 8)), 1),
        (tiff(turn(6), turn(3)), 6),
        (tiff(turn(9), turn(3)), 3),
        (tiff(turn(6, LONG), turn(3)), 3),
        (tiff(turn(6), exif=(turn(3),)), 6),
        (tiff(turn(9), exif=(turn(3),)), 3),
        (tiff(exif=(turn(3),)), 3),
        (tiff(turn(6)).replace(b"II*", b"II+"), 1),
        (tiff(turn(6))[:4] + b"\x04\0\0\0" + tiff(turn(6))[8:], 1),
        (tiff(turn(6))[:4] + b"\xff\xff\xff\xff" + tiff(turn(6))[8:], 1),
        (tiff(turn(6))[:8] + b"\xff\xff" + tiff(turn(6))[10:], 6),
        (tiff(turn(6))[:21], 1),
        (tiff(turn(6))[:22], 6),
        (b"", 1),
        (b"II*\0", 1),
        (tiff(*[(EXIF_IFD, LONG, 1, 8)] * 5000, turn(6)), 6),
    ],
)
def test_orientation(block, expected):
    """The first valid SHORT of the first directory, or of the Exif directory in it, is the one."""
    assert read_exif(block, 96, 64) == Exif(expected)


def test_many_pointers_take_no_time():
    """Directories that point at each other are read once."""
    pointers = [(EXIF_IFD, LONG, 1, 8)] * 5400
    assert read_exif(tiff(*pointers), 96, 64) == Exif()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (density(), (300, 200)),
        (density(turned=6), (300, 200)),
        (density(kind=SHORT), (300, 200)),
        (density(x=(36, 1), y=(36, 1), size=(1200, 800)), (1200, 800)),
        (density(x=(288, 2)), (300, 200)),
        (density(y=(72, 1), size=(300, 400)), (300, 400)),
        (density(size=(301, 200)), None),
        (density(size=(300, 199)), None),
        (density(unit=3), None),
        (density(unit=1), None),
        (density(x=(0, 1)), None),
        (density(x=(144, 0)), None),
        (density(x=(0, 0), y=(0, 0)), None),
        (density(x=(2**32 - 1, 1), y=(2**32 - 1, 1), size=(0, 0)), None),
        (density(x=(72, 1), y=(72, 1), size=(600, 400)), None),
        (density()[:-6], None),
    ],
)
def test_density(block, expected):
    """A resolution in inches counts if the block confirms the size that it stands for."""
    assert read_exif(block, 600, 400).natural_size == expected


@pytest.mark.parametrize(("pixels", "natural"), [(63, 32), (65, 33), (64, 32)])
def test_half_pixels(pixels, natural):
    """Sizes are rounded half up."""
    block = density(size=(natural, 200))
    assert read_exif(block, pixels, 400).natural_size == (natural, 200)


@pytest.mark.parametrize("name", ["o-xmp6.jpg", "o-long6.jpg", "o-exif6.webp"])
def test_never_turned(name):
    """Files with an orientation that browsers ignore are shown as they are stored."""
    assert is_pattern(foreign(name))


def test_density_of_a_file():
    """A file whose density halves its size says so, and its crop is of the stored image."""
    metadata = read_jpeg(foreign("d-density.jpg")).metadata
    assert metadata is not None
    assert metadata.natural_size == (300, 200)
    assert is_pattern(foreign("d-density.jpg"))


def _app1(block: bytes) -> bytes:
    return with_segment(encode(patterned(), quality=95), 0xE1, block)


BLOCK = exif_orientation(6)
XMP = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="3"/>'


@pytest.mark.parametrize(
    ("data", "is_turned"),
    [
        (_app1(BLOCK), True),
        (_app1(b"Exif\0\xff" + BLOCK[6:]), True),
        (_app1(b"EXIF\0\0" + BLOCK[6:]), False),
        (_app1(BLOCK[6:]), False),
        (with_segment(_app1(BLOCK), 0xE1, XMP), True),
        (with_segment(_app1(BLOCK), 0xE1, b"Exif\0\0"), True),
        (with_segment(_app1(BLOCK), 0xE1, b"Exif\0\0junk"), False),
        (with_segment(_app1(BLOCK), 0xE1, exif_orientation(1)), False),
        (_app1(XMP), False),
        (with_segment(encode(patterned()), 0xE2, BLOCK), False),
    ],
)
def test_segments_of_exif(data, is_turned):
    """The first segment of EXIF is the one, whatever is in it."""
    for found, expected in zip(corners(shown(data)), TURNED if is_turned else CORNERS, strict=True):
        assert found[:3] == pytest.approx(expected, abs=8)


def _png(chunk: bytes, before: bytes = b"IDAT") -> bytes:
    data = encode(patterned(), "PNG")
    at = data.index(before) - 4
    return data[:at] + chunk + data[at:]


@pytest.mark.parametrize(
    ("data", "is_turned"),
    [
        (_png(png_chunk(b"eXIf", BLOCK[6:])), True),
        (_png(png_chunk(b"eXIf", BLOCK)), False),
        (_png(png_chunk(b"eXIf", BLOCK[6:]), b"IEND"), False),
        (_png(png_chunk(b"eXIf", BLOCK[6:])[:-1] + b"\xff"), False),
        (_png(png_chunk(b"eXIf", exif_orientation(1)[6:]) + png_chunk(b"eXIf", BLOCK[6:])), False),
        (
            _png(png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\n" + BLOCK.hex().encode())),
            False,
        ),
        (_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), False),
    ],
)
def test_chunks_of_exif(data, is_turned):
    """The first valid chunk of EXIF before the pixels is the one; texts are none."""
    expected = TURNED if is_turned else CORNERS
    assert corners(shown(data)) == [(*each, 255) for each in expected]


def test_crop_of_a_turned_file():
    """A crop of a turned file is of what browsers show."""
    turned = _app1(BLOCK)
    found = shown(turned, Crop(0, 0, 32))
    assert found.getpixel((16, 16))[:3] == pytest.approx(TURNED[0], abs=8)
