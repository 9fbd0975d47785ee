from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from support.pictures.pictures import encode, interlaced_rows, png_chunk
from support.pictures.profiles import grey_profile, swapped_profile
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
from support.pictures.workers import LIMITS

from persona_profile.images import PictureOptions
from persona_profile.images.metadata import MAX_PROFILE_BYTES, Chromaticities, Cicp, Colours
from persona_profile.images.pipeline import open_image
from persona_profile.images.readers.png import SIGNATURE, read_png

INDEXED, TRUECOLOUR, GREY, WITH_ALPHA = 3, 2, 0, 6
RGB = np.asarray(patterned())
INDICES = np.repeat(np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2), 32, 0), 32, 1)
PALETTE = bytes(value for colour in CORNERS for value in colour)
MAGENTA = np.full((SIDE, SIDE, 3), (255, 0, 255), np.uint8)
END = png_chunk(b"IEND", b"")
CLEAR = (0, 0, 0, 0)


def packed(pixels) -> bytes:
    """Return compressed rows without filter."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def idat(pixels=RGB) -> bytes:
    """Return the chunk of an image."""
    return png_chunk(b"IDAT", packed(pixels))


def header(colour=TRUECOLOUR, depth=8, size=(SIDE, SIDE), interlace=0) -> bytes:
    """Return a header."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace))


def bad(chunk: bytes) -> bytes:
    """Return a chunk with a wrong checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def truecolour(*chunks: bytes) -> bytes:
    """Return a file with chunks before its pixels."""
    return SIGNATURE + header() + b"".join(chunks) + idat() + END


def indexed(*chunks: bytes, palette=PALETTE) -> bytes:
    """Return a file of indices with chunks behind its palette."""
    head = SIGNATURE + header(INDEXED) + png_chunk(b"PLTE", palette)
    return head + b"".join(chunks) + idat(INDICES) + END


def image(*chunks: bytes, colour=TRUECOLOUR) -> bytes:
    """Return a file of chunks."""
    return SIGNATURE + header(colour) + b"".join(chunks)


@pytest.mark.parametrize(
    "name",
    ["p-ztxt-3M.png", "p-badcrc-text.png", "p-short-gama3.png", "p-short-trns4.png", "p-kw-bbox3.png"],
)
def test_files_of_other_programs(name):
    """Files of other programs that browsers show have all their colours."""
    assert is_pattern(foreign(name))


NAMES = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs", b"tIME"]
NAMES += [
    b"sBIT",
    b"bKGD",
    b"hIST",
    b"sPLT",
    b"eXIf",
    b"oFFs",
    b"acTL",
    b"tRNS",
    b"mDCV",
    b"cLLI",
    b"a\0b~",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"\xff", b"\0" * 5, b"a\0\1" + b"\xff" * 50, b"exif\0\0bad"])
def test_ancillary_chunks(name, content):
    """Damaged chunks cost nothing if no pixel depends on them, in any place."""
    chunk = png_chunk(name, content)
    assert is_pattern(truecolour(bad(chunk)))
    assert is_pattern(SIGNATURE + header() + idat() + chunk + END)
    if name != b"tRNS" or len(content) < 6:
        assert is_pattern(truecolour(chunk))


def test_texts_without_bound():
    """Texts of any size, and with the names of the library's own values, are skipped."""
    packed_text = zlib.compress(bytes(5_000_000))
    assert is_pattern(truecolour(png_chunk(b"zTXt", b"a\0\0" + packed_text)))
    assert is_pattern(truecolour(png_chunk(b"iTXt", b"a\0\1\0\0\0" + packed_text)))
    many = [png_chunk(b"tEXt", b"a\0" + bytes(60_000))] * 90
    assert is_pattern(truecolour(*many))
    for name in (b"transparency", b"icc_profile", b"exif", b"interlace", b"bbox", b"gamma"):
        assert is_pattern(truecolour(png_chunk(b"tEXt", name + b"\0junk")))


HALF = len(packed(RGB)) // 2
FIRST, SECOND = (png_chunk(b"IDAT", each) for each in (packed(RGB)[:HALF], packed(RGB)[HALF:]))
STREAM = packed(RGB)


def _flushed() -> bytes:
    compressor = zlib.compressobj()
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    return compressor.compress(rows) + compressor.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "data",
    [
        image(idat()),
        image(idat()[:-4]),
        image(idat()[:-8]),
        image(bad(idat()), END),
        image(idat(), bad(END)),
        image(idat(), b"junk" * 9),
        image(idat(), END, SIGNATURE, header(), idat(MAGENTA), END),
        image(idat(), png_chunk(b"ABCD", b""), END),
        image(idat(), png_chunk(b"tEXt", b"")[:9]),
        image(FIRST, bad(SECOND), END),
        image(png_chunk(b"IDAT", b""), FIRST, png_chunk(b"IDAT", b""), SECOND, END),
        image(idat(), png_chunk(b"tEXt", b"a"), idat(MAGENTA), END),
        image(png_chunk(b"IDAT", STREAM[:-4] + b"junk"), END),
        image(png_chunk(b"IDAT", STREAM[:-4]), END),
        image(png_chunk(b"IDAT", STREAM + b"junk" * 9), END),
        image(png_chunk(b"IDAT", b"\x08\x1d" + STREAM[2:]), END),
        image(png_chunk(b"IDAT", _flushed()), END),
        image(idat(np.concatenate([RGB, MAGENTA])), END),
    ],
)
def test_whole_pixels(data):
    """A file whose pixels are all there is accepted, as in browsers, whatever follows them."""
    assert is_pattern(data)


@pytest.mark.parametrize(
    "data",
    [
        SIGNATURE + header(),
        image(END),
        image(idat()[:-9]),
        image(idat()[:50]),
        image(bad(FIRST), SECOND, END),
        image(FIRST, png_chunk(b"tEXt", b"a"), SECOND, END),
        image(idat(RGB[:-1]), END),
        image(idat(RGB[:32]), END),
        image(idat(RGB[:-1]) + b"junk" * 9, END),
        image(png_chunk(b"IDAT", packed(RGB[:32]) + b"junk" * 9), END),
        image(png_chunk(b"IDAT", packed(RGB[:32])), png_chunk(b"IDAT", packed(RGB[32:])), END),
        image(png_chunk(b"IDAT", b"\x78\x9d" + STREAM[2:]), END),
        image(png_chunk(b"IDAT", b"\x88\x1c" + STREAM[2:]), END),
        image(png_chunk(b"IDAT", b"\x78\xbb" + STREAM[2:]), END),
        image(png_chunk(b"IDAT", STREAM[2:]), END),
        image(png_chunk(b"IDAT", b"x"), END),
        image(png_chunk(b"IDAT", b""), END),
        image(png_chunk(b"ABCD", b""), idat(), END),
        image(header(), idat(), END),
        image(png_chunk(b"tEXt", b"a")[:-3]),
        SIGNATURE + png_chunk(b"tEXt", b"a") + header() + idat() + END,
        SIGNATURE + bad(header()) + idat() + END,
        SIGNATURE + header(depth=4) + idat() + END,
        SIGNATURE + header(colour=7) + idat() + END,
        SIGNATURE + header(interlace=2) + idat() + END,
        SIGNATURE + header(size=(0, SIDE)) + idat() + END,
        image(idat(INDICES), END, colour=INDEXED),
        image(bad(png_chunk(b"PLTE", PALETTE)), idat(INDICES), END, colour=INDEXED),
        indexed(palette=b""),
        indexed(palette=PALETTE * 65),
        indexed(png_chunk(b"PLTE", PALETTE)),
    ],
)
def test_missing_pixels(data):
    """A file that is cut, or damaged where pixels depend on it, is rejected."""
    assert code_of(data) == "picture_broken"


def test_large_image():
    """Pixels of several blocks of the decompressor are exact, in pieces of any size."""
    noise = Image.merge("RGB", [Image.effect_noise((300, 400), 90) for _ in range(3)])
    expected = np.asarray(noise.crop((0, 50, 300, 350)))
    data = encode(noise, "PNG")
    at = data.index(b"IDAT")
    stream = packed(np.asarray(noise))
    for size in (1, 999, 70_000, len(stream)):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)][:9_000]
        pieces[-1] += stream[size * len(pieces) :]
        made = data[: at - 4] + b"".join(png_chunk(b"IDAT", each) for each in pieces)
        opened = open_image(io.BytesIO(made), None, PictureOptions(LIMITS))
        assert (np.asarray(opened.load(LIMITS))[50:350] == expected).all()


def test_interlaced():
    """An interlaced image is exact; without the last row of its last pass it is rejected."""
    rows = interlaced_rows(RGB)
    head = SIGNATURE + header(interlace=1)
    assert is_pattern(head + png_chunk(b"IDAT", zlib.compress(rows)) + END, tolerance=0)
    cut = zlib.compress(rows[: -1 - 3 * SIDE])
    assert code_of(head + png_chunk(b"IDAT", cut) + END) == "picture_broken"


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (struct.pack(">3H", 220, 40, 40), CLEAR),
        (struct.pack(">4H", 220, 40, 40, 0), CLEAR),
        (struct.pack(">3H", 256 + 220, 40, 40), CLEAR),
        (struct.pack(">2H", 220, 40), (*CORNERS[0], 255)),
    ],
)
def test_transparent_colour(chunk, expected):
    """A transparent colour counts if its chunk is long enough; bits beyond the depth are ignored."""
    found = corners(shown(truecolour(png_chunk(b"tRNS", chunk))))
    assert found == [expected, *((*each, 255) for each in CORNERS[1:])]


def test_first_valid_transparency():
    """The first valid transparent colour is the one."""
    colours = [png_chunk(b"tRNS", struct.pack(">3H", *each)) for each in CORNERS]
    chunks = (png_chunk(b"tRNS", b"\0\xdc"), bad(colours[1]), colours[2], colours[0])
    found = corners(shown(truecolour(*chunks)))
    assert [each[3] for each in found] == [255, 255, 0, 255]


@pytest.mark.parametrize(
    ("data", "alphas"),
    [
        (indexed(png_chunk(b"tRNS", b"\0\x80")), [0, 128, 255, 255]),
        (indexed(png_chunk(b"tRNS", b"\0\x80\xff\xff\xff\xff")), [0, 128, 255, 255]),
        (indexed(png_chunk(b"tRNS", b"")), [255] * 4),
        (indexed(png_chunk(b"tRNS", b"\0" * 300)), [255] * 4),
        (indexed(bad(png_chunk(b"tRNS", b"\0"))), [255] * 4),
        (image(png_chunk(b"tRNS", b"\0"), indexed()[33:], colour=INDEXED), [255] * 4),
        (indexed()[:-12] + png_chunk(b"tRNS", b"\0") + END, [255] * 4),
    ],
)
def test_transparency_of_a_palette(data, alphas):
    """Alpha of a palette counts between the palette and the pixels, for the entries that are there."""
    assert [each[3] for each in corners(shown(data))] == alphas


def test_missing_entries():
    """An index without an entry has the last entry's colour, as in Chromium."""
    found = corners(shown(indexed(palette=PALETTE[:9] + b"\1")))
    assert [each[:3] for each in found] == [*CORNERS[:3], CORNERS[2]]


def test_palettes_of_truecolour():
    """A suggested palette is ignored, however damaged."""
    for palette in (b"", b"ab", PALETTE * 99):
        assert is_pattern(truecolour(png_chunk(b"PLTE", palette), bad(png_chunk(b"PLTE", palette))))


PROFILE = swapped_profile()


def iccp(profile=PROFILE, name=b"a", method=0, data=None) -> bytes:
    """Return the chunk of a profile."""
    return png_chunk(b"iCCP", name + bytes((0, method)) + (data or zlib.compress(profile)))


def gama(value=100_000) -> bytes:
    """Return the chunk of a gamma."""
    return png_chunk(b"gAMA", struct.pack(">I", value))


def chrm(*values) -> bytes:
    """Return the chunk of chromaticities."""
    return png_chunk(b"cHRM", struct.pack(">8I", *values))


def cicp(*values) -> bytes:
    """Return the chunk of code points."""
    return png_chunk(b"cICP", bytes(values))


SRGB = png_chunk(b"sRGB", b"\0")
P3 = cicp(12, 13, 0, 1)
PLTE = png_chunk(b"PLTE", PALETTE)
D65_P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
CHROMATICITIES = Chromaticities((0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
ICC, GAMMA, CODES = Colours(icc=PROFILE), Colours(gamma=1.0), Colours(cicp=Cicp(12, 13))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], Colours()),
        ([P3, iccp(), SRGB, gama()], CODES),
        ([gama(), SRGB, iccp(), P3], CODES),
        ([SRGB, gama(), iccp()], ICC),
        ([SRGB, gama()], Colours()),
        ([gama(), chrm(*D65_P3)], Colours(gamma=1.0, chromaticities=CHROMATICITIES)),
        ([chrm(*D65_P3)], Colours()),
        ([gama(), chrm(*D65_P3[:7], 2**32 - 6000)], Colours()),
        ([gama(), chrm(*[0] * 8)], Colours()),
        ([gama(45455)], Colours(gamma=0.45455)),
        ([gama(), gama(45455)], GAMMA),
        ([gama(0)], Colours()),
        ([bad(gama())], Colours()),
        ([png_chunk(b"gAMA", b"\0\1\2")], Colours()),
        ([png_chunk(b"gAMA", bytes(3) + b"\1\0")], Colours()),
        ([png_chunk(b"sRGB", b""), gama()], GAMMA),
        ([png_chunk(b"sRGB", b"\0\0"), gama()], GAMMA),
        ([png_chunk(b"sRGB", b"\4"), gama()], GAMMA),
        ([bad(SRGB), gama()], GAMMA),
        ([png_chunk(b"cHRM", bytes(31)), gama()], GAMMA),
        ([png_chunk(b"cHRM", bytes(33)), gama()], GAMMA),
        ([bad(P3), gama()], GAMMA),
        ([cicp(12, 13, 0), gama()], GAMMA),
        ([cicp(12, 13, 0, 1, 0), gama()], GAMMA),
        ([cicp(12, 13, 1, 1), gama()], GAMMA),
        ([cicp(12, 13, 0, 0), gama()], GAMMA),
        ([cicp(2, 2, 0, 1), gama()], GAMMA),
        ([cicp(0, 13, 0, 1), gama()], GAMMA),
        ([cicp(12, 200, 0, 1), gama()], GAMMA),
        ([P3, cicp(1, 13, 0, 1)], CODES),
        ([PLTE, P3, gama()], GAMMA),
        ([PLTE, iccp()], ICC),
        ([iccp(b"junk" * 99), gama()], GAMMA),
        ([iccp(data=b"junk" * 9), gama()], GAMMA),
        ([iccp(data=zlib.compress(PROFILE)[:60]), gama()], GAMMA),
        ([iccp(data=zlib.compress(PROFILE)[:-4]), gama()], GAMMA),
        ([iccp(data=zlib.compress(PROFILE) + b"junk"), gama()], ICC),
        ([iccp(method=1), gama()], GAMMA),
        ([iccp(name=b""), gama()], GAMMA),
        ([iccp(name=b"a" * 79)], ICC),
        ([iccp(name=b"a" * 99), gama()], GAMMA),
        ([bad(iccp()), gama()], GAMMA),
        ([iccp(data=b"junk" * 9), iccp(), gama()], GAMMA),
        ([iccp(grey_profile(1.0)), gama()], Colours(icc=grey_profile(1.0))),
        ([iccp(PROFILE + bytes(MAX_PROFILE_BYTES)), gama()], GAMMA),
    ],
)
def test_colour_space(chunks, expected):
    """The first of cICP, iCCP, sRGB, gAMA that is valid decides, in Chromium's order."""
    metadata = read_png(truecolour(*chunks)).metadata
    assert metadata is not None
    assert metadata.colours == expected


@pytest.mark.parametrize(
    ("light", "display", "expected"),
    [(0, 0, None), (4000, 0, 4000.0), (0, 1000, 1000.0), (600, 1000, 600.0)],
)
def test_peak(light, display, expected):
    """The peak of HDR is the content light level, or that of the mastering display."""
    levels = png_chunk(b"cLLI", struct.pack(">II", light * 10_000, 0))
    mastering = png_chunk(b"mDCV", bytes(16) + struct.pack(">II", display * 10_000, 1))
    metadata = read_png(truecolour(cicp(9, 16, 0, 1), levels, mastering)).metadata
    assert metadata is not None
    assert metadata.colours == Colours(cicp=Cicp(9, 16), peak_nits=expected)


def test_colours_behind_the_pixels():
    """A colour space behind the pixels is ignored."""
    metadata = read_png(image(idat(), gama(), iccp(), P3, END)).metadata
    assert metadata is not None
    assert metadata.colours == Colours()


def actl(frames=2) -> bytes:
    """Return the chunk of an animation."""
    return png_chunk(b"acTL", struct.pack(">II", frames, 0))


def fctl(number=0, size=(SIDE, SIDE), at=(0, 0), disposal=0, blending=0) -> bytes:
    """Return the control of a frame."""
    return png_chunk(b"fcTL", struct.pack(">5I2H2B", number, *size, *at, 1, 1, disposal, blending))


def fdat(number=1, pixels=RGB, stream=None) -> bytes:
    """Return the data of a frame."""
    return png_chunk(b"fdAT", struct.pack(">I", number) + (stream or packed(pixels)))


DEFAULT = idat(MAGENTA)


@pytest.mark.parametrize(
    "chunks",
    [
        [actl(), DEFAULT, fctl(), fdat(), fctl(2), fdat(3, MAGENTA), END],
        [actl(1), DEFAULT, fctl(), fdat()],
        [actl(1), DEFAULT, fctl(), fdat()[:-4]],
        [actl(1), DEFAULT, fctl(), bad(fdat()), END],
        [actl(), actl(1), DEFAULT, fctl(), fdat(), END],
        [actl(), DEFAULT, png_chunk(b"tEXt", b""), fctl(), png_chunk(b"tEXt", b""), fdat(), END],
        [actl(), DEFAULT, fctl(), fdat(1, stream=STREAM[:99]), fdat(2, stream=STREAM[99:]), END],
        [actl(), DEFAULT, fctl(), fctl(1), fdat(2), END],
        [actl(1), DEFAULT[:60] + bytes(len(DEFAULT) - 60), fctl(), fdat(), END],
    ],
)
def test_animation_without_the_static_image(chunks):
    """An animation gives its first frame; the static image in front is none, damaged or not."""
    assert is_pattern(image(*chunks))


@pytest.mark.parametrize(
    "chunks",
    [
        [fctl(), actl(), idat(), fctl(1), fdat(2, MAGENTA), END],
        [actl(), fctl(), idat(), fctl(1), fdat(2, MAGENTA), END],
        [actl(), fctl(), idat(), fctl(1), fdat(2, MAGENTA)[:40]],
        [actl(), fctl(), idat()],
        [actl(), bad(fctl()), idat(), fctl(1), fdat(2, MAGENTA), END],
        [actl(0), idat(), fctl(), fdat(1, MAGENTA), END],
        [actl(2**31), idat(), fctl(), fdat(1, MAGENTA), END],
        [actl(), idat(), fctl(), fctl(), fdat(1, MAGENTA), END],
        [actl(), idat(), fdat(0, MAGENTA), END],
        [png_chunk(b"acTL", b"\0\0\0\2"), idat(), fctl(), fdat(1, MAGENTA), END],
        [bad(actl()), idat(), fctl(), fdat(1, MAGENTA), END],
        [idat(), actl(), fctl(), fdat(1, MAGENTA), END],
        [idat(), fctl(), fdat(1, MAGENTA), END],
        [actl(), idat()],
        [actl(), idat(), END],
        [actl(), idat(), fctl(), END],
        [actl(), idat(), fctl(5), fdat(6, MAGENTA), END],
        [actl(), idat(), fctl(), fdat(5, MAGENTA), END],
        [actl(), idat(), fctl(at=(1, 0)), fdat(1, MAGENTA), END],
        [actl(), idat(), fctl(size=(0, 9)), fdat(1, MAGENTA), END],
        [actl(), idat(), fctl(disposal=3), fdat(1, MAGENTA), END],
        [actl(), idat(), fctl(blending=2), fdat(1, MAGENTA), END],
        [actl(), idat(), bad(fctl()), fdat(1, MAGENTA), END],
        [actl(), idat(), png_chunk(b"fcTL", bytes(25)), fdat(1, MAGENTA), END],
    ],
)
def test_animation_by_its_static_image(chunks):
    """The static image is shown if it is the first frame, or if the animation is broken."""
    assert is_pattern(image(*chunks))


def test_first_frame_that_is_cut():
    """An animation whose first frame is cut is rejected."""
    assert code_of(image(actl(1), DEFAULT, fctl(), fdat(1, RGB[:32]), END)) == "picture_broken"
    assert code_of(image(actl(1), DEFAULT, fctl(), fdat()[:50])) == "picture_broken"


def test_small_first_frame():
    """What the first frame leaves uncovered is transparent."""
    frame = fdat(1, RGB[:32, :32])
    found = shown(image(actl(1), DEFAULT, fctl(size=(32, 32), at=(32, 0)), frame, END))
    assert corners(found) == [CLEAR, (*CORNERS[0], 255), CLEAR, CLEAR]


@pytest.mark.parametrize(
    ("colour", "depth", "pixels", "chunks", "expected"),
    [
        (GREY, 8, np.full((32, 32), 90, np.uint8), [], (90, 90, 90, 255)),
        (GREY, 16, np.full((32, 32), 90 * 257, ">u2"), [], (90, 90, 90, 255)),
        (GREY, 1, np.full((32, 4), 255, np.uint8), [], (255, 255, 255, 255)),
        (GREY, 8, np.full((32, 32), 90, np.uint8), [png_chunk(b"tRNS", b"\0Z")], CLEAR),
        (WITH_ALPHA, 8, np.full((32, 32, 4), (9, 99, 200, 128), np.uint8), [], (9, 99, 200, 128)),
        (INDEXED, 8, np.full((32, 32), 2, np.uint8), [PLTE], (*CORNERS[2], 255)),
        (INDEXED, 8, np.full((32, 32), 2, np.uint8), [PLTE, png_chunk(b"tRNS", b"\1\1\0")], CLEAR),
    ],
)
def test_small_first_frame_of_any_colours(colour, depth, pixels, chunks, expected):
    """A first frame of any colours is placed on its transparent canvas."""
    static = png_chunk(b"IDAT", b"")
    parts = [*chunks, actl(1), static, fctl(size=(32, 32), at=(0, 32)), fdat(1, pixels), END]
    found = corners(shown(SIGNATURE + header(colour, depth) + b"".join(parts)))
    assert found[2] == pytest.approx(expected, abs=1)
    assert [found[0], found[1], found[3]] == [CLEAR] * 3


def test_animation_of_another_program():
    """The first frame of a file of another program is shown."""
    assert is_pattern(foreign("a-default-not-in-anim.png"))


def test_canvas_counts():
    """A canvas of too many pixels is rejected before it is made, however small its first frame is."""
    head = SIGNATURE + header(size=(20_000, 20_000)) + actl(1) + png_chunk(b"IDAT", b"")
    frame = fctl(size=(32, 32)) + fdat(1, RGB[:32, :32]) + END
    assert code_of(head + frame) == "picture_too_many_pixels"
    opened = open_image(
        io.BytesIO(head.replace(header(size=(20_000, 20_000)), header(size=(6_000, 6_000))) + frame),
        None,
        PictureOptions(LIMITS),
    )
    assert (opened.width, opened.height, opened.pixels) == (6_000, 6_000, 36_000_000)
    assert opened.bytes_needed > 4 * 36_000_000


def test_header_of_another_length():
    """A header that is longer or shorter than its fields is damage."""
    content = struct.pack(">IIBBBBB", SIDE, SIDE, 8, TRUECOLOUR, 0, 0, 0)
    assert code_of(SIGNATURE + png_chunk(b"IHDR", content) + idat() + END) == "accepted"
    for wrong in (content[:-1], content + b"\0", b""):
        assert code_of(SIGNATURE + png_chunk(b"IHDR", wrong) + idat() + END) == "picture_broken"
