from __future__ import annotations

import io
import struct
import time
from dataclasses import replace

import pytest
from PIL import Image
from support.forgeries.mutations import KINDS
from support.pictures.bombs import DERIVED, SKIPPED, STRUCTURES
from support.pictures.pictures import decoded, encode, heic, png, png_chunk, quadrants, with_segment
from support.stores.derived import COLOUR, Item, box, full_box, grid, heif, identity, tile

from persona_profile.errors import ServiceError
from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.metadata import Extent
from persona_profile.images.pipeline import open_image, render_picture
from persona_profile.images.readers.heif import read_avif, read_heic

LIMITS = Limits(100_000_000, 50_000_000, 864 * 1024 * 1024)
TILE_PIXELS = 64 * 64

# Production ignores the library's warnings of damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


OPTIONS = PictureOptions(LIMITS, Encoding(("jpeg",), effort="fast"), (32,))


def render(data):
    """Return the JPEG of 32 pixels, decoded."""
    [made] = render_picture(io.BytesIO(data), None, OPTIONS)
    return decoded(made.data)


def rejection(data) -> str:
    """Return the code with which a file is rejected before anything of it is decoded."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    return caught.value.code


def pixels(data) -> int:
    """Return the pixels for which a file is charged."""
    return open_image(io.BytesIO(data), None, OPTIONS).pixels


def extent_of(data) -> Extent:
    """Return the pixels of a file's images and alpha planes."""
    reader = read_avif if b"av01" in data or b"avis" in data else read_heic
    return reader(data).extent


@pytest.mark.parametrize("name", STRUCTURES)
def test_too_many_structures(name):
    """A file of costly structures is rejected before its library reads it."""
    assert rejection(STRUCTURES[name]()) == "picture_too_complex"


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_structures(name):
    """Metadata and trailers of any cost never reach a library: the picture is accepted at once."""
    data, began = SKIPPED[name](), time.process_time()
    assert render(data).width in (8, 32)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", DERIVED)
def test_more_pixels_than_its_size(name):
    """The pixels of tiles and alpha planes count for each reference."""
    assert rejection(DERIVED[name]()) == "picture_too_many_pixels"


@pytest.mark.parametrize("name", KINDS)
def test_usual_files(name):
    """Files of real encoders pass all bounds, and cost their own pixels."""
    side = 120
    expected = side * side * (2 if name == "avif" else 1)  # an alpha plane
    if name == "turned-heic":
        expected = 128 * 128
    if name.startswith("partial"):
        expected = (side + 30) * (side + 20)  # the canvas
    assert pixels(KINDS[name](side)) == expected


@pytest.mark.parametrize("codec", ["AVIF", "HEIC"])
def test_grid(codec):
    """A grid costs its tiles, also where they protrude beyond it."""
    data = heif([grid(3, 2, range(2, 8), (150, 100)), *[tile(codec)] * 6])
    assert pixels(data) == 6 * TILE_PIXELS
    assert render(data).getpixel((16, 16)) == pytest.approx(COLOUR, abs=4)


def test_grid_of_a_phone():
    """A picture of 48 megapixels with preview, metadata and gain map is within all bounds."""
    columns, rows = 16, 12
    count = columns * rows
    large = replace(tile("HEIC"), size=(512, 512))
    preview = 2 + count
    items = [
        grid(columns, rows, range(2, preview), (8064, 6048)),
        *[large] * count,
        tile("HEIC"),
        grid(2, 2, [preview] * 4, (128, 128)),
        Item(b"tmap", (8064, 6048), bytes(62), (1, preview + 1)),
        Item(b"Exif", (1, 1), bytes(3000)),
    ]
    groups = box(b"grpl", full_box(b"altr", struct.pack(">IIII", 900, 2, preview + 2, 1)))
    assert extent_of(heif(items, groups)) == Extent(count * 512 * 512, 0)


def test_identity():
    """The identity of an image or of a grid costs the same as that."""
    assert pixels(heif([identity(2), tile("HEIC")])) == TILE_PIXELS
    whole = grid(2, 2, range(3, 7))
    assert pixels(heif([identity(2, whole.size), whole, *[tile("HEIC")] * 4])) == 4 * TILE_PIXELS


def test_alpha():
    """An alpha plane costs its pixels; other auxiliary images, which are not decoded, are free."""
    picture = Image.new("RGBA", (64, 64), (*COLOUR, 128))
    for data in (encode(picture, "AVIF"), heic(picture)):
        assert extent_of(data) == Extent(TILE_PIXELS, TILE_PIXELS)
    depth = heif([tile("HEIC"), replace(tile("HEIC", 64, 8192), alpha_of=1)])
    assert extent_of(depth.replace(b":alpha\0", b":depth\0")) == Extent(TILE_PIXELS, 0)


def test_alpha_of_tiles():
    """The alpha planes of tiles count as well."""
    items = [grid(2, 1, [2, 3]), tile(), tile(), replace(tile(), alpha_of=2)]
    assert extent_of(heif(items)) == Extent(2 * TILE_PIXELS, TILE_PIXELS)


def test_tracks_without_items():
    """A file with only tracks has the size that its decoder finds."""
    head = box(b"ftyp", b"avis", bytes(4), b"avis")
    assert extent_of(head + box(b"moov", box(b"trak", box(b"mdia")))) == Extent(0, 0)


@pytest.mark.parametrize("kind", [b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"meta"])
def test_doubled_boxes(kind):
    """A file of two boxes, of which libraries differ on the one that they read, is rejected."""
    data = heif([grid(1, 1, [2]), tile("HEIC")])
    at = data.index(kind) - 4
    again = data[at : at + int.from_bytes(data[at : at + 4])]
    inside = heif([grid(1, 1, [2]), tile("HEIC")], again)
    assert rejection(data + again if kind == b"meta" else inside) == "picture_broken"


@pytest.mark.parametrize(
    "kind", [b"iinf", b"iloc", b"iref", b"iprp", b"ipco", b"ipma", b"dimg", b"infe", b"ispe", b"pitm"]
)
@pytest.mark.parametrize("length", [0, 7, 9, 2**31, 2**32 - 1])
def test_lengths_of_boxes(kind, length):
    """Boxes that end within their head, too early or beyond their parent are rejected."""
    data = bytearray(heif([grid(2, 1, [2, 3]), tile("HEIC"), tile("HEIC")]))
    at = data.index(kind) - 4
    data[at : at + 4] = struct.pack(">I", length)
    assert rejection(bytes(data)) == "picture_broken"


def test_large_size_of_a_box():
    """A length of 64 bits is parsed, at any value."""
    data = heif([tile("HEIC")])
    at = data.index(b"mdat") - 4
    content = data[at + 8 :]
    for length, expected in ((16 + len(content), "ok"), (2**63, "broken"), (3, "broken")):
        large = data[:at] + struct.pack(">I4sQ", 1, b"mdat", length) + content
        if expected == "ok":
            assert extent_of(large) == Extent(TILE_PIXELS, 0)
        else:
            assert rejection(large) == "picture_broken"


def test_metadata_that_cameras_write():
    """Hundreds of segments, chunks and blocks of metadata are skipped."""
    photo = encode(quadrants())
    for _ in range(300):
        photo = with_segment(photo, 0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(1000))
    photo = with_segment(photo, 0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 100)
    assert render(photo[:2] + b"\xff" * 1000 + photo[2:]).size == (32, 32)
    chunks = [png_chunk(b"tEXt", b"a\0b")] * 500 + [
        png_chunk(b"zTXt", b"a\0\0" + b"x\x9c\3\0\0\0\0\1")
    ] * 40
    assert render(png(80, 80, 1, 0, (b"\0" + bytes(10)) * 80, *chunks)).size == (32, 32)
    gif = encode(Image.new("P", (80, 80)), "GIF", comment=b"x" * 60_000)
    assert render(gif).size == (32, 32)


def test_end_of_a_file_counts_for_nothing():
    """Bytes after the end of a picture, which no library reads, do not count."""
    tails = {
        "JPEG": b"\xff\xfe\0\2" * 20_000,
        "PNG": png_chunk(b"abCd", b"") * 20_000,
        "GIF": b"!\1\1a\0" * 20_000,
        "WEBP": b"abcd\0\0\0\0" * 20_000,
    }
    for name, tail in tails.items():
        assert render(encode(quadrants(80, 80), name) + tail).size == (32, 32)
