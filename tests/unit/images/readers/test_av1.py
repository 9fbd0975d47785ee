from __future__ import annotations

import time

import pytest
from PIL import Image
from support.pictures.pictures import encode
from support.stores.derived import coded

from persona_profile.images.metadata import Cicp
from persona_profile.images.readers.av1 import cicp_of

Field = tuple[int, int]
"""A value, and its number of bits."""

RED = Image.new("RGB", (64, 64), (200, 40, 40))
DELIMITER = bytes((0x12, 0))
BT2020_PQ = Cicp(9, 16)

NO_TIMING: list[Field] = [(0, 1)]
ONE_POINT: list[Field] = [(0, 1), (0, 5), (0, 12), (4, 5)]
NO_FRAME_NUMBERS: list[Field] = [(0, 1)]
SIMPLE_TOOLS: list[Field] = [(0, 4), (0, 1), (1, 1), (1, 1)]
COLOURS: list[Field] = [(0, 1), (0, 1)]
"""Eight bits, and no monochrome."""


def packed(*fields: Field) -> bytes:
    """Return fields from the highest bit on, up to a whole byte."""
    value = length = 0
    for number, count in fields:
        value = value << count | number
        length += count
    return (value << -length % 8).to_bytes((length + 7) // 8)


def unit(kind: int, content: bytes, extension: bytes = b"") -> bytes:
    """Return a unit with its length, which has two bytes."""
    length = bytes((len(content) & 0x7F | 0x80, len(content) >> 7))
    return bytes((kind << 3 | 4 * bool(extension) | 2,)) + extension + length + content


def header(
    *,
    profile: int = 0,
    timing: list[Field] = NO_TIMING,
    points: list[Field] = ONE_POINT,
    numbers: list[Field] = NO_FRAME_NUMBERS,
    tools: list[Field] = SIMPLE_TOOLS,
    colours: list[Field] = COLOURS,
) -> bytes:
    """Return a sequence header of 64 x 64 pixels with the code points of BT.2020 and PQ."""
    size: list[Field] = [(5, 4), (5, 4), (63, 6), (63, 6)]
    code_points: list[Field] = [(1, 1), (9, 8), (16, 8), (9, 8)]
    start: list[Field] = [(profile, 3), (0, 2)]
    parts = (start, timing, points, size, numbers, [(0, 3)], tools, [(0, 3)], colours, code_points)
    return packed(*(field for part in parts for field in part), (0, 16))


def test_still_images():
    """An encoder's image has the code points of sRGB, whatever the samples are."""
    for options in ({"subsampling": "4:2:0"}, {"subsampling": "4:2:2"}, {"subsampling": "4:4:4"}):
        assert cicp_of(coded(RED, "AVIF", speed=10, **options).data) == Cicp(1, 13)
    assert cicp_of(coded(RED.convert("L"), "AVIF", speed=10, subsampling="4:0:0").data) == Cicp(1, 13)


def test_image_of_a_sequence():
    """The sequence header of moving pictures is whole."""
    blue = Image.new("RGB", (64, 64), (40, 40, 200))
    file = encode(RED, "AVIF", save_all=True, append_images=[blue], speed=10)
    samples = file[file.index(b"mdat") + 4 :]
    assert not samples[4] & 8  # not the reduced header of a still image
    assert cicp_of(samples) == Cicp(1, 13)


EQUAL_INTERVALS: list[Field] = [(1, 1), (1, 32), (25, 32), (1, 1), (0b00101, 5)]
"""A uvlc of 4: two zeros, a one, and two bits."""
MODEL: list[Field] = [(1, 1), (9, 5), (1, 32), (7, 5), (7, 5)]


@pytest.mark.parametrize(
    "fields",
    [
        {"timing": [(1, 1), (1, 32), (25, 32), (0, 1), (0, 1)]},
        {"timing": [*EQUAL_INTERVALS, (0, 1)]},
        {
            "timing": [*EQUAL_INTERVALS, *MODEL],
            "points": [(0, 1), (0, 5), (0, 12), (4, 5), (1, 1), (700, 10), (300, 10), (1, 1)],
        },
        {"timing": [*EQUAL_INTERVALS, *MODEL], "points": [(0, 1), (0, 5), (0, 12), (4, 5), (0, 1)]},
        {"points": [(1, 1), (0, 5), (0, 12), (4, 5), (1, 1), (9, 4)]},
        {"points": [(1, 1), (0, 5), (0, 12), (4, 5), (0, 1)]},
        {"points": [(0, 1), (1, 5), (0x103, 12), (9, 5), (1, 1), (0x101, 12), (7, 5)]},
        {"numbers": [(1, 1), (5, 4), (3, 3)]},
        {"tools": [(15, 4), (1, 1), (3, 2), (1, 1), (1, 1), (6, 3)]},
        {"tools": [(0, 4), (0, 1), (1, 1), (0, 1), (1, 1)]},
        {"tools": [(0, 4), (0, 1), (0, 1), (1, 1), (0, 1), (1, 1)]},
        {"tools": [(0, 4), (0, 1), (0, 1), (0, 1)]},
        {"colours": [(1, 1), (1, 1)]},
        {"profile": 1, "colours": [(1, 1)]},
        {"profile": 2, "colours": [(1, 1), (1, 1), (0, 1)]},
        {"profile": 2, "colours": [(0, 1), (0, 1)]},
    ],
)
def test_fields_before_the_code_points(fields):
    """Code points are found behind every field that a sequence header may have."""
    assert cicp_of(DELIMITER + unit(1, header(**fields))) == BT2020_PQ


def test_units_before_the_header():
    """Metadata and units of a layer may precede the sequence header, up to a limit."""
    metadata = unit(5, bytes(300))
    assert cicp_of(DELIMITER + metadata + unit(1, header(), b"\x20")) == BT2020_PQ
    assert cicp_of(metadata * 4 + unit(1, header())) is None


def test_no_code_points():
    """Without a description of the colours there are no code points."""
    plain = packed((0, 3), (0, 1), (1, 1), (4, 5), (5, 4), (5, 4), (0, 12), (0, 3), (0, 3), (0, 16))
    assert cicp_of(unit(1, plain)) is None


def test_damage():
    """A header that is cut anywhere, without a length or too long has no code points."""
    whole = unit(1, header(timing=[*EQUAL_INTERVALS, *MODEL]))
    for length in range(len(whole) - 8):
        assert cicp_of(whole[:length]) is None
    assert cicp_of(bytes((1 << 3,)) + header()) is None  # without a length
    assert cicp_of(bytes((5 << 3 | 2,)) + b"\xff" * 20) is None
    endless = [(1, 1), (1, 32), (25, 32), (1, 1), (0, 40)]
    assert cicp_of(unit(1, header(timing=endless) + bytes(400))) is None


def test_long_units_take_no_time():
    """Bits behind a unit of many megabytes are read as fast as others."""
    padding = bytes((15 << 3 | 2, 0x80, 0x80, 0x80, 0x10)) + bytes(0x10 << 21)
    points = [(0, 1), (31, 5), *[(0, 12), (9, 5), (0, 1)] * 32]
    started = time.process_time()
    assert cicp_of(padding + unit(1, header(points=points))) == BT2020_PQ
    assert time.process_time() - started < 0.2
