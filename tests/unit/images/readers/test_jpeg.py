from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from support.pictures.pictures import decoded, encode
from support.pictures.profiles import rgb_profile, swapped_profile
from support.pictures.shown import code_of, foreign, is_pattern, patterned, shown

from persona_profile.images.readers.jpeg import END, read_jpeg

BASE = encode(patterned(), quality=95, subsampling=0)
PROGRESSIVE = encode(patterned(), quality=95, progressive=True)
PROFILE = swapped_profile()
PIECES = [PROFILE[at : at + 150] for at in range(0, len(PROFILE), 150)]


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    """Return a segment; its length may lie."""
    length = len(content) + 2 if length is None else length
    return bytes((0xFF, marker)) + length.to_bytes(2) + content


def with_parts(*parts: bytes, file: bytes = BASE) -> bytes:
    """Return a file with bytes behind its first segment."""
    at = 4 + int.from_bytes(file[4:6])
    return file[:at] + b"".join(parts) + file[at:]


def piece(number: int, count: int, content: bytes) -> bytes:
    """Return a segment with a piece of an ICC profile."""
    return segment(0xE2, b"ICC_PROFILE\0" + bytes((number, count)) + content)


def in_order(*numbers: int) -> list[bytes]:
    """Return pieces of PROFILE."""
    return [piece(number, len(PIECES), PIECES[number - 1]) for number in numbers]


def profile(*parts: bytes) -> bytes | None:
    """Return the profile that is found in a file with some segments."""
    metadata = read_jpeg(with_parts(*parts)).metadata
    assert metadata is not None
    return metadata.colours.icc


@pytest.mark.parametrize("name", ["s-noeoi.jpg", "s-app0-short.jpg"])
def test_files_of_other_programs(name):
    """Files of other programs that browsers show have all their colours."""
    assert is_pattern(foreign(name))


@pytest.mark.parametrize(
    "parts",
    [
        segment(0xE0, b"JFI"),
        segment(0xE0, b""),
        b"\xff\xe1\0\0",
        b"\xff\xfe\0\1",
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\xff"),
        segment(0xEE, b"Adobe"),
        segment(0xE2, b"MPF\0" + b"\xff" * 40),
        segment(0xE2, b"ICC_PROFILE\0\1"),
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        segment(0xFE, b"\0" * 60_000),
        segment(0xDC, b"\0\x40"),
        b"stray bytes",
        b"\xff" * 20,
        b"\xff\xd0\xff\x01",
    ],
)
def test_parts_without_pixels(parts):
    """Damaged segments, and bytes between segments, cost nothing if no pixel depends on them."""
    assert is_pattern(with_parts(parts))


@pytest.mark.parametrize("trailer", [b"junk" * 99, BASE, segment(0xE1, b"x", 60_000), b"\xff\xd8\xff"])
def test_trailers(trailer):
    """Bytes behind the end marker, or in its place, are ignored."""
    assert is_pattern(BASE + trailer)
    assert is_pattern(BASE.removesuffix(END) + trailer)


def scenes():
    """Yield files of several kinds of encoders, without their end markers."""
    smooth = Image.radial_gradient("L").resize((77, 53))
    noise = Image.effect_noise((40, 61), 40)
    for picture, progressive, optimize, restart in itertools.product(
        (patterned(), smooth, smooth.convert("RGB"), noise), (False, True), (False, True), (0, 3)
    ):
        options = {"restart_marker_blocks": restart} if restart else {}
        data = encode(picture, quality=90, progressive=progressive, optimize=optimize, **options)
        yield data.removesuffix(END)


@pytest.mark.parametrize("data", list(scenes()), ids=map(str, range(32)))
def test_without_end_marker(data):
    """A file without its end marker is accepted; if pixels are cut off, it is rejected."""
    assert code_of(data) == "accepted"
    assert code_of(data + b"\xff") == "accepted"
    whole, rejected = decoded(data + END), 0
    cuts = (1, 2, 3, 5, 8, 13, 21, 34, 55, len(data) // 3)
    for missing in cuts:
        if code_of(data[:-missing]) == "picture_broken":
            rejected += 1
        else:  # the last bits change no pixel
            assert missing < 3
            assert decoded(data[:-missing] + END) == whole
    assert rejected >= len(cuts) - 2


def test_cut_between_scans():
    """A progressive file of whole scans is rejected if a scan is missing."""
    starts = [at for at in range(len(PROGRESSIVE)) if PROGRESSIVE.startswith(b"\xff\xda", at)]
    assert len(starts) > 5
    for start in starts[1:]:
        assert code_of(PROGRESSIVE[:start]) == "picture_broken"


def test_cut_between_restarts():
    """A file that ends before a restart is rejected, whatever bits would follow."""
    data = encode(patterned(), quality=95, restart_marker_blocks=2)
    restarts = [at for at in range(len(data)) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    assert len(restarts) > 5
    for at in restarts:
        assert code_of(data[:at]) == "picture_broken"
        assert code_of(data[: at + 2]) == "picture_broken"


def test_scans_of_single_components():
    """The scans of a sequential file may hold a component each; all of them must be there."""
    noise = Image.effect_noise((40, 40), 60)
    script = encode(Image.merge("YCbCr", (noise, noise, noise)).convert("RGB"), progressive=True)
    assert read_jpeg(script).scans > 5
    assert code_of(script) == code_of(script.removesuffix(END)) == "accepted"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([piece(1, 1, PROFILE)], PROFILE),
        (in_order(*range(1, len(PIECES) + 1)), PROFILE),
        (in_order(*range(len(PIECES), 0, -1)), PROFILE),
        (in_order(*range(2, len(PIECES) + 1)), None),
        (in_order(1, *range(1, len(PIECES) + 1)), None),
        ([piece(1, 2, PROFILE)], None),
        ([piece(0, 1, PROFILE)], None),
        ([piece(0, 0, PROFILE)], None),
        ([piece(1, 2, PROFILE), piece(2, 2, b"")], None),
        ([piece(1, 2, PROFILE[:99]), piece(2, 3, PROFILE[99:])], None),
        ([segment(0xE2, b"ICC_PROFILE\0\1"), piece(1, 1, PROFILE)], PROFILE),
        ([piece(1, 1, PROFILE), piece(1, 1, rgb_profile(((1, 0, 0), (0, 1, 0), (0, 0, 1))))], PROFILE),
        ([piece(each, 100, b"x" * 60_000) for each in range(1, 101)], None),
        ([], None),
    ],
)
def test_pieces_of_a_profile(parts, expected):
    """A profile counts if each of its pieces is there once, in any order, within the bound."""
    assert profile(*parts) == expected


def test_profile_behind_the_frame_header():
    """A profile counts before the first scan, and no more behind it."""
    at = BASE.index(b"\xff\xda")
    before = read_jpeg(BASE[:at] + piece(1, 1, PROFILE) + BASE[at:]).metadata
    assert before is not None
    assert before.colours.icc == PROFILE
    at = PROGRESSIVE.rindex(b"\xff\xda")
    behind = read_jpeg(PROGRESSIVE[:at] + piece(1, 1, PROFILE) + PROGRESSIVE[at:]).metadata
    assert behind is not None
    assert behind.colours.icc is None


def test_nothing_else_reaches_the_decoder():
    """The decoder gets no segment of metadata, and the same scans."""
    parts = [segment(code, b"SECRET" * 9) for code in (*range(0xE0, 0xF0), 0xFE)]
    made = read_jpeg(with_parts(*parts) + b"SECRET").data
    assert b"SECRET" not in made
    assert made == BASE


def test_colour_model_by_adobe():
    """The marker of Adobe decides the colour model, unless a JFIF segment is there."""
    jfif = 4 + int.from_bytes(BASE[4:6])
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    without = BASE[:2] + adobe + BASE[jfif:]
    raw = np.asarray(patterned().convert("YCbCr"))[16, 16]
    assert shown(without).getpixel((16, 16))[:3] == pytest.approx(raw, abs=4)
    assert is_pattern(with_parts(adobe))
