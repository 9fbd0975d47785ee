from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from support.forgeries.mutations import mutated, valid
from support.pictures.pictures import (
    FORMATS_IN,
    RED,
    decoded,
    encode,
    exif_orientation,
    png,
    png_bomb,
    png_chunk,
    quadrants,
    resized_header,
    with_segment,
)

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, Limits, PictureOptions
from persona_profile.images.pipeline import render_picture

LIMITS = Limits(100_000_000, 50_000_000, 2**30)
FAST_JPEG = Encoding(("jpeg",), effort="fast")

# Production ignores the library's warnings of damaged metadata; see test_silence.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def render(data, limits=LIMITS, sizes=(32,)):
    """Return the JPEG renditions; these tests are not about encoding."""
    return render_picture(io.BytesIO(data), None, PictureOptions(limits, FAST_JPEG, sizes))


def rejection(data, limits=LIMITS) -> str:
    """Return the code with which a file is rejected."""
    with pytest.raises(ServiceError) as caught:
        render(data, limits)
    return caught.value.code


def outcome(data) -> str:
    """Return `accepted` or the code with which a file is rejected."""
    try:
        [rendition] = render(data)
    except ServiceError as error:
        return error.code
    assert decoded(rendition.data).format == "JPEG"
    return "accepted"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xff\xd8",
        b"junk " * 1000,
        b"\0" * 4096,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"%PDF-1.7\n",
        b"8BPS\0\1" + bytes(64),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(64),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        *(
            encode(Image.new("RGB", (32, 32)), name)
            for name in ("TIFF", "BMP", "ICO", "PPM", "JPEG2000")
        ),
    ],
)
def test_other_formats(data):
    """A file of no accepted format is rejected as such."""
    assert rejection(data) == "unsupported_media_type"


def test_empty():
    """A file without a byte is reported as empty."""
    assert rejection(b"") == "picture_empty"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\xe0junk" * 100,
        b"\xff\xd8\xff<html><script>alert(1)</script></html>",
        b"\x89PNG\r\n\x1a\n" + b"junk" * 100,
        b"GIF89a" + b"\xff" * 400,
        b"GIF89a",
        b"RIFF\x24\0\0\0WEBPVP8 " + bytes(32),
        b"RIFF\x24\0\0\0WEBPjunk" + bytes(32),
        b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(64),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
    ],
)
def test_begins_like_a_picture(data):
    """A file that only begins like a picture is broken."""
    assert rejection(data) == "picture_broken"


@pytest.mark.parametrize("name", FORMATS_IN)
def test_truncated(name):
    """A picture without its end is rejected, wherever it was cut."""
    data = valid(name)
    # Checksums, the end marker, and metadata behind the pixels may be missing.
    body = data.index(b"EXIF") - 2 if name == "WEBP" else len(data) - (24 if name == "PNG" else 4)
    for length in (*range(33, min(body, 400), 37), *np.linspace(400, body, 12).astype(int)):
        code = "unsupported_media_type" if length < 12 else "picture_broken"
        assert rejection(data[: min(int(length), body)]) == code


def test_told_by_content():
    """The content decides the format: a GIF under any name is a GIF."""
    assert outcome(valid("GIF")) == "accepted"
    assert outcome(b"\x89PNG\r\n\x1a\n" + valid("GIF")) == "picture_broken"
    assert outcome(valid("JPEG") + b"<html><script>alert(1)</script></html>") == "accepted"


def test_bomb_is_refused_by_its_header():
    """A small PNG of 144 megapixels costs no memory."""
    bomb = png_bomb(12_000, 12_000)
    assert len(bomb) < 450_000
    tracemalloc.start()
    with pytest.raises(ServiceError) as caught:
        render(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "picture_too_many_pixels"
    assert caught.value.members == {"pixels": 144_000_000, "limit": 50_000_000}
    assert peak < 1_000_000


def test_bomb_without_pixels():
    """The number of pixels is rejected before the missing rest of the file."""
    assert rejection(png_bomb(12_000, 12_000)[:60]) == "picture_too_many_pixels"
    huge = resized_header(encode(quadrants()), 65_500, 65_500)
    assert rejection(huge[: huge.find(b"\xff\xda") + 20]) == "picture_too_many_pixels"


@pytest.mark.parametrize("name", FORMATS_IN)
def test_limits_by_format(name):
    """JPEG and the other formats have different limits; both are inclusive."""
    pixels = 120 * 120
    exact, less = (pixels, 1), (pixels - 1, 10**9)
    others = name != "JPEG"
    assert render(valid(name), Limits(*(reversed(exact) if others else exact), 2**30))
    too_low = Limits(*(reversed(less) if others else less), 2**30)
    assert rejection(valid(name), too_low) == "picture_too_many_pixels"


def _gif(screen, frame) -> bytes:
    """Return a GIF whose one frame differs in size from its screen."""
    data = bytearray(encode(Image.new("P", (8, 8)), "GIF"))
    struct.pack_into("<HH", data, 6, *screen)
    struct.pack_into("<HH", data, data.rindex(b",\0\0\0\0") + 5, *frame)
    return bytes(data)


def _webp(width, height) -> bytes:
    """Return a WebP whose canvas is larger than its one frame."""
    still = encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "WEBP", lossless=True)
    bits = still[still.index(b"VP8L") :]
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    extent = struct.pack("<I", 7)[:3] * 2
    frame = bytes(6) + extent + b"\x64\0\0\0" + bits
    chunks = ((b"VP8X", b"\x12\0\0\0" + canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        _gif((8, 8), (60_000, 60_000)),
        _gif((8, 8), (9_000, 9_000)),
        _gif((8, 8), (11_000, 10_000)),
        _gif((60_000, 60_000), (8, 8)),
        _webp(16_000, 16_000),
        _webp(12_000, 12_000),
        _webp(1 << 24, 200),
    ],
)
def test_more_pixels_than_it_seems(data):
    """Frames larger than their screen, and canvases larger than their frames, count in full."""
    assert rejection(data) == "picture_too_many_pixels"


def test_frame_larger_than_the_screen():
    """A GIF whose frame is a little larger than its screen is accepted or rejected."""
    assert outcome(_gif((4, 4), (8, 8))) == "accepted"
    assert outcome(_gif((0, 0), (8, 8))) == "accepted"
    assert outcome(_gif((0, 0), (0, 0))) == "picture_broken"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_compressed_metadata_bomb(kind):
    """Metadata of a PNG that could unpack to a gigabyte is not unpacked."""
    packed = zlib.compress(bytes(64_000_000), 9)
    text = b"a\0\0" + packed if kind != b"iTXt" else b"a\0\1\0\0\0" + packed
    data = png(80, 80, 1, 0, (b"\0" + bytes(10)) * 80, png_chunk(kind, text) * 16)
    tracemalloc.start()
    assert outcome(data) in ("accepted", "picture_broken")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000


def test_many_scans():
    """A JPEG with more scans than any encoder writes is rejected before it is decoded."""
    scene = encode(quadrants(), progressive=True)
    scan = b"\xff\xda\0\x08\x01\x01\x11\x01\x3f\0"
    assert rejection(scene[:-2] + scan * 1_000_000 + scene[-2:]) == "picture_too_complex"
    assert outcome(scene[:-2] + scan * 20 + scene[-2:]) == "accepted"


def test_scans_of_other_pictures():
    """Previews in metadata, and bytes after a picture's end, do not count as scans."""
    preview = b"\xff\xda\0\x08" * 10_000
    data = with_segment(encode(quadrants()), 0xEC, preview) + preview * 100
    assert outcome(data) == "accepted"


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_orientation(value):
    """An invalid orientation is ignored."""
    [rendition] = render(encode(quadrants(), exif=exif_orientation(value)))
    assert decoded(rendition.data).getpixel((5, 5)) == pytest.approx(RED, abs=8)


def _exif(kind, count, value=b"\x06\0\0\0") -> bytes:
    entry = struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40),
        b"Exif\0\0JUNK" * 100,
        _exif(2, 4, b"six\0"),
        _exif(3, 0),
        _exif(3, 0xFFFFFFFF),
        _exif(5, 1, b"\xff\xff\xff\x7f"),
        _exif(7, 4),
        _exif(11, 1, b"\0\0\xc0\x7f"),
        _exif(99, 1),
        b"Exif\0\0" + bytes(65_000),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_malformed_exif(name, block):
    """A picture with damaged metadata is accepted."""
    [rendition] = render(encode(quadrants(), name, exif=block))
    assert decoded(rendition.data).getpixel((5, 5)) == pytest.approx(RED, abs=8)


def test_huge_exif():
    """Megabytes of metadata are skipped."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x" * 60_000
    data = encode(quadrants(), exif=exif.tobytes())
    for _ in range(100):
        data = with_segment(data, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000)
    assert outcome(data) == "accepted"
    wide = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in range(50_000, 55_000):
        wide[tag] = tag
    block = b"Exif\0\0" + wide.tobytes(8)
    assert outcome(encode(quadrants(), "PNG", exif=block)) == "accepted"


@pytest.mark.parametrize("name", FORMATS_IN)
@pytest.mark.parametrize("seed", range(5))
def test_mutations(name, seed):
    """Any mutation of a file is accepted or rejected with a code."""
    source = random.Random(f"{name} {seed}")
    outcomes = {outcome(mutated(valid(name, 60), source)) for _ in range(12)}
    assert outcomes <= {
        "accepted",
        "picture_broken",
        "picture_too_many_pixels",
        "unsupported_media_type",
    }


_SILENT = """
import random, sys
sys.path.insert(0, sys.argv[1])
from support.forgeries.mutations import mutated, valid
from unit.images.test_hostile_images import FORMATS_IN, _exif, encode, outcome, quadrants
source = random.Random(11)
for name in FORMATS_IN:
    for _ in range(25):
        outcome(mutated(valid(name, 60), source))
for block in (b"Exif\\0\\0II*\\0\\x08\\0\\0\\0\\xff\\xff" + bytes(40), _exif(3, 0), _exif(3, 1 << 31)):
    outcome(encode(quadrants(), exif=block))
"""


def test_silence(request):
    """In production hostile files print nothing: no warnings, no messages of native libraries."""
    folder = request.config.rootpath / "tests"
    command = [sys.executable, "-c", _SILENT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", FORMATS_IN)
def test_crop_before_decoding(name):
    """A broken file with any crop is rejected."""
    cut = valid(name)[: len(valid(name)) * 3 // 4]
    with pytest.raises(ServiceError):
        render_picture(io.BytesIO(cut), Crop(0, 0, 5000), PictureOptions(LIMITS, FAST_JPEG, (32,)))
