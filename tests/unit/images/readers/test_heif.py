from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from PIL import Image
from support.pictures.pictures import decoded, encode, exif_orientation, heic
from support.stores.derived import Item, box, coded, full_box, grid, heif, overlay

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, Limits, PictureOptions
from persona_profile.images.metadata import Cicp, Contents
from persona_profile.images.pipeline import open_image, render_picture
from persona_profile.images.readers.heif import read_avif, read_heic

OPTIONS = PictureOptions(
    Limits(100_000_000, 50_000_000, 864 * 1024 * 1024), Encoding(("jpeg",), effort="fast"), (64,)
)
RED, GREEN, BLUE, YELLOW = (220, 40, 40), (40, 180, 60), (40, 70, 210), (230, 200, 40)
SCENE = Image.new("RGB", (192, 128))
for place, colour in zip(((0, 0), (96, 0), (0, 64), (96, 64)), (RED, GREEN, BLUE, YELLOW), strict=True):
    SCENE.paste(colour, (*place, place[0] + 96, place[1] + 64))
CODECS = ("AVIF", "HEIC")
SRGB = box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 0x80))
P3 = box(b"colr", b"nclx", struct.pack(">HHHB", 12, 13, 6, 0x80))
LEFT, AROUND, RIGHT = (box(b"irot", bytes([turns])) for turns in (1, 2, 3))
TOP_TO_BOTTOM, LEFT_TO_RIGHT = (box(b"imir", bytes([axis])) for axis in (0, 1))


def picture(codec: str, *properties: bytes) -> Item:
    """Return a coded image with properties."""
    made = coded(SCENE, codec, quality=95)
    return replace(made, properties=properties)


def contents(data: bytes) -> Contents:
    """Return the contents by the reader of the file's codec."""
    return (read_avif if b"av01" in data else read_heic)(data)


def corners(data: bytes, crop: Crop | None = None) -> list[tuple[int, ...]]:
    """Return the colours of a square, from the top left to the bottom right."""
    [made] = render_picture(io.BytesIO(data), crop, OPTIONS)
    square = decoded(made.data)
    low, high = square.width // 4, square.width * 3 // 4
    return [square.getpixel(point) for point in ((low, low), (high, low), (low, high), (high, high))]


def close_to(*colours: tuple[int, ...]) -> list[object]:
    """Return colours that equal what a lossy encoder makes of them."""
    return [pytest.approx(each, abs=8) for each in colours]


def upright_size(data: bytes) -> tuple[int, int]:
    """Return the size of which a crop is a part, as the rejection of a crop outside says it."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), Crop(0, 0, 10_000), OPTIONS)
    return caught.value.members["width"], caught.value.members["height"]


# As Chromium 156 shows an AVIF.
TURNED = {
    (): (RED, GREEN, BLUE, YELLOW),
    (LEFT,): (GREEN, YELLOW, RED, BLUE),
    (AROUND,): (YELLOW, BLUE, GREEN, RED),
    (RIGHT,): (BLUE, RED, YELLOW, GREEN),
    (TOP_TO_BOTTOM,): (BLUE, YELLOW, RED, GREEN),
    (LEFT_TO_RIGHT,): (GREEN, RED, YELLOW, BLUE),
    (LEFT, TOP_TO_BOTTOM): (RED, BLUE, GREEN, YELLOW),
    (LEFT, LEFT_TO_RIGHT): (YELLOW, GREEN, BLUE, RED),
    (AROUND, TOP_TO_BOTTOM): (GREEN, RED, YELLOW, BLUE),
    (AROUND, LEFT_TO_RIGHT): (BLUE, YELLOW, RED, GREEN),
    (RIGHT, TOP_TO_BOTTOM): (YELLOW, GREEN, BLUE, RED),
    (RIGHT, LEFT_TO_RIGHT): (RED, BLUE, GREEN, YELLOW),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("properties", TURNED)
def test_turned_once(codec, properties):
    """A picture is turned, then mirrored, by its own properties, and crops count upright."""
    data = heif([picture(codec, SRGB, *properties)])
    assert corners(data) == close_to(*TURNED[properties])
    size = (128, 192) if {LEFT, RIGHT} & set(properties) else (192, 128)
    assert upright_size(data) == size
    corner = TURNED[properties][3]
    assert corners(data, Crop(size[0] - 40, size[1] - 40, 40)) == close_to(*[corner] * 4)


@pytest.mark.parametrize("mirror", [TOP_TO_BOTTOM, LEFT_TO_RIGHT])
def test_mirror_before_rotation(mirror):
    """An AVIF that names its mirror first is turned first, as in browsers."""
    assert corners(heif([picture("AVIF", SRGB, mirror, LEFT)])) == close_to(*TURNED[LEFT, mirror])


def test_exif_turns_nothing():
    """The orientation in EXIF is ignored; encoders write a rotation beside it."""
    marked = encode(SCENE, "AVIF", quality=95, exif=exif_orientation(3))
    assert corners(marked) == close_to(*TURNED[AROUND,])
    assert contents(marked.replace(b"irot", b"skip")).metadata.orientation == 1
    assert corners(heic(SCENE, quality=95, exif=exif_orientation(3))) == close_to(*TURNED[AROUND,])


def aperture(width, height, x, y) -> bytes:
    """Return a clean aperture of fractions, or of whole numbers."""
    numbers = ((each, 1) if isinstance(each, int) else each for each in (width, height, x, y))
    return box(b"clap", *(struct.pack(">iI", *each) for each in numbers))


WHOLE = aperture(96, 64, -48, -32)
"""The quarter at the top left of the scene."""


@pytest.mark.parametrize(
    ("properties", "size"),
    [
        ([WHOLE], (96, 64)),
        ([aperture((192, 2), (128, 2), (-96, 2), (-64, 2))], (96, 64)),
        ([WHOLE, LEFT], (64, 96)),
        ([LEFT, WHOLE], (64, 96)),
        ([WHOLE, TOP_TO_BOTTOM], (96, 64)),
        ([aperture(95, 63, (-97, 2), (-65, 2))], (95, 63)),
        # Browsers show all of it.
        ([aperture(96, 64, 0, 0)], (192, 128)),
        ([aperture(96, 64, -48, 0)], (192, 128)),
        ([aperture((193, 2), 64, -48, -32)], (192, 128)),
        ([aperture(200, 64, 4, -32)], (192, 128)),
        ([aperture(0, 64, -96, -32)], (192, 128)),
        ([aperture(-96, 64, -144, -32)], (192, 128)),
        ([aperture((96, 0), 64, -48, -32)], (192, 128)),
    ],
)
def test_clean_aperture_of_avif(properties, size):
    """An AVIF shows its clean aperture if that is at the top left, otherwise all of it."""
    data = heif([picture("AVIF", SRGB, *properties)])
    assert upright_size(data) == size
    if size in ((96, 64), (64, 96)):
        assert corners(data) == close_to(*[RED] * 4)


def test_clean_aperture_of_heic():
    """A HEIC shows its clean aperture wherever it is, before it is turned."""
    data = heif([picture("HEIC", SRGB, aperture(96, 64, 48, -32), LEFT)])
    assert upright_size(data) == (64, 96)
    assert corners(data) == close_to(*[GREEN] * 4)


@pytest.mark.parametrize("codec", CODECS)
def test_colours_of_the_boxes(codec):
    """Code points are read; a profile beside them is preferred; unspecified ones stay."""
    profile = box(b"colr", b"prof", b"a profile")
    for properties, icc, cicp in (
        ((P3,), None, Cicp(12, 13)),
        ((P3, profile), b"a profile", None),
        ((profile, P3), b"a profile", None),
        ((box(b"colr", b"rICC", b"another"),), b"another", None),
        ((box(b"colr", b"nclx", struct.pack(">HHHB", 2, 2, 2, 0)),), None, Cicp(2, 2)),
    ):
        found = contents(heif([picture(codec, *properties)])).metadata.colours
        assert (found.icc, found.cicp) == (icc, cicp)


@pytest.mark.parametrize("codec", CODECS)
def test_colours_of_a_grid(codec):
    """The colours of a grid are its own; without them, those of its tiles."""
    plain, wide = picture(codec, SRGB), picture(codec, P3)
    for own, tile, expected in (((P3,), plain, Cicp(12, 13)), ((), wide, Cicp(12, 13))):
        whole = replace(grid(2, 1, (2, 3), (384, 128)), properties=own)
        assert contents(heif([whole, tile, tile])).metadata.colours.cicp == expected


def test_brightest_light():
    """The maximum content light level accompanies code points."""
    light = box(b"clli", struct.pack(">HH", 1000, 400))
    for codec in CODECS:
        assert contents(heif([picture(codec, P3, light)])).metadata.colours.peak_nits == 1000


def test_colours_in_av1():
    """Without a colour box, the code points of the AV1 sequence header count."""
    data = heif([picture("AVIF")])
    assert contents(data).metadata.colours.cicp == Cicp(1, 13)
    assert contents(heif([picture("HEIC")])).metadata.colours.cicp is None


def entry(item: int, indices: bytes) -> bytes:
    """Return an entry of an `ipma` box."""
    return struct.pack(">HB", item, len(indices)) + indices


def associations(*entries: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return an `ipma` box."""
    return box(b"ipma", struct.pack(">BBHI", version, 0, flags, len(entries)), *entries)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", ["property", "entry", "table", "split"])
def test_doubled_associations(codec, kind):
    """Properties that are associated twice, or by two entries, count once."""
    data = heif([picture(codec, SRGB, LEFT)])
    at = data.index(b"ipma") - 4
    table = data[at : at + int.from_bytes(data[at : at + 4])]
    indices = table[19:]
    doubled = {
        "property": associations(entry(1, indices * 2)),
        "entry": associations(entry(1, indices), entry(1, indices)),
        "table": table * 2,
        "split": associations(entry(1, indices[:-1])) + associations(entry(1, indices[-1:])),
    }[kind]
    longer = len(doubled) - len(table)
    file = bytearray(data[:at] + doubled + data[at + len(table) :])
    for name in (b"meta", b"iprp"):
        place = file.index(name) - 4
        struct.pack_into(">I", file, place, int.from_bytes(file[place : place + 4]) + longer)
    place = file.index(b"iloc") + 4 + 8 + 8  # the offset of the one item
    struct.pack_into(">I", file, place, int.from_bytes(file[place : place + 4]) + longer)
    assert corners(bytes(file)) == close_to(*TURNED[LEFT,])
    assert upright_size(bytes(file)) == (128, 192)
    at_end = file.index(b"mdat") - 4
    struct.pack_into(">I", file, at_end, 0)  # up to the end of the file
    assert corners(bytes(file)) == close_to(*TURNED[LEFT,])


def gain_map(codec: str, *, is_primary: bool) -> bytes:
    """Return a picture with a gain map that brightens it on other displays (ISO 21496-1)."""
    base, gains = picture(codec, SRGB), picture(codec, SRGB)
    numbers = (2, 3) if is_primary else (1, 3)
    mapped = Item(b"tmap", SCENE.size, bytes(62), numbers)
    items = [mapped, base, gains] if is_primary else [base, mapped, gains]
    group = box(b"grpl", full_box(b"altr", struct.pack(">IIII", 900, 2, 2, 1)))
    return heif(items, group).replace(b"ftypheic", b"ftypavif" if codec == "AVIF" else b"ftypheic")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("is_primary", [True, False])
def test_base_of_a_gain_map(codec, is_primary):
    """Of a picture with a gain map, the base image is shown, and no more is decoded."""
    data = gain_map(codec, is_primary=is_primary)
    assert corners(data) == close_to(*TURNED[()])
    assert contents(data).extent.pixels == SCENE.width * SCENE.height


def test_alternative_of_an_overlay():
    """Of an image that is not decoded, the alternative is shown; without one it is too complex."""
    items = [overlay((2,), SCENE.size), picture("HEIC", SRGB)]
    group = box(b"grpl", full_box(b"altr", struct.pack(">IIII", 900, 2, 1, 2)))
    assert corners(heif(items, group)) == close_to(*TURNED[()])
    with pytest.raises(ServiceError) as caught:
        contents(heif(items))
    assert caught.value.code == "picture_too_complex"


@pytest.mark.parametrize("kind", [b"vvc1", b"jpeg", b"avc1", b"unci"])
def test_other_codecs(kind):
    """A HEIF of another codec is no accepted format; it is not damaged."""
    with pytest.raises(ServiceError) as caught:
        contents(heif([picture("HEIC")]).replace(b"hvc1", kind))
    assert caught.value.code == "unsupported_media_type"


def branded(data: bytes, *brands: bytes) -> bytes:
    """Return a file with other brands; the offsets into it stay."""
    meta = data.index(b"meta") - 4
    head = box(b"ftyp", brands[0], bytes(4), *brands[1:])
    moved = len(head) - meta
    file = bytearray(head + data[meta:])
    place = file.index(b"iloc") + 4 + 8 + 8
    struct.pack_into(">I", file, place, int.from_bytes(file[place : place + 4]) + moved)
    return bytes(file)


@pytest.mark.parametrize(
    ("codec", "brands"),
    [
        ("AVIF", [b"mif1", b"mif1", b"miaf", b"MA1B", b"iso8", b"avif"]),
        ("AVIF", [b"avif", b"heic", b"mif1"]),
        ("AVIF", [b"mif1", *[b"abcd"] * 200, b"avif"]),
        ("HEIC", [b"heic", b"mif1", b"avif"]),
        ("HEIC", [b"heix", b"mif1", b"heix", b"miaf"]),
        ("HEIC", [b"mif1", b"MiHB", b"MiHE", b"MiPr", b"miaf", b"heic"]),
        ("HEIC", [b"mif1", b"mif1", b"miaf"]),
    ],
)
def test_brands(codec, brands):
    """The major brand decides the decoder, then the first compatible brand of a codec."""
    data = branded(heif([picture(codec, SRGB, LEFT)]), *brands)
    assert corners(data) == close_to(*TURNED[LEFT,])
    opened = open_image(io.BytesIO(data), None, OPTIONS)
    assert opened.format == ("avif" if codec == "AVIF" else "heif")


def test_video_is_no_picture():
    """A file of boxes with only brands of video is no accepted format."""
    video = io.BytesIO(branded(heif([picture("HEIC")]), b"isom", b"mp42"))
    with pytest.raises(ServiceError) as caught:
        open_image(video, None, OPTIONS)
    assert caught.value.code == "unsupported_media_type"


def test_size_beyond_the_library():
    """An AVIF above the limit of its library has too many pixels; it is not damaged."""
    huge = replace(picture("AVIF", SRGB), size=(17_000, 17_000))
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(heif([huge])), None, OPTIONS)
    assert caught.value.code == "picture_too_many_pixels"


@pytest.mark.parametrize("major", [b"avis", b"avif"])
def test_sequence(major):
    """The first frame of a sequence, or the still image beside it, as the major brand says."""
    frames = [SCENE, SCENE.transpose(Image.Transpose.ROTATE_180)]
    data = encode(SCENE, "AVIF", save_all=True, append_images=frames[1:], duration=100, quality=95)
    assert data[8:12] == b"avis"
    assert corners(data.replace(b"ftypavis", b"ftyp" + major)) == close_to(*TURNED[()])
    track = data.index(b"av01\0\0\0\0\0\0\0\1")
    colours = data.index(b"colrnclx", track)
    wide = data[: colours + 8] + struct.pack(">HH", 12, 13) + data[colours + 12 :]
    assert contents(wide).metadata.colours.cicp == Cicp(12, 13)


def test_side_beyond_the_library():
    """An AVIF that is longer than the library's limit is not reported as damaged."""
    data = encode(SCENE, "AVIF")
    at = data.index(b"ispe") + 8
    longer = data[:at] + (40_000).to_bytes(4) + data[at + 4 :]
    with pytest.raises(ServiceError) as caught:
        read_avif(longer)
    assert caught.value.code == "picture_too_complex"


def code_of(data: bytes) -> str:
    """Return the code with which a reader rejects a file."""
    with pytest.raises(ServiceError) as caught:
        contents(data)
    return caught.value.code


@pytest.mark.parametrize("codec", CODECS)
def test_items_that_contradict_themselves(codec):
    """A coded image is made of no other images, and it has a whole size."""
    whole = picture(codec, SRGB)
    assert code_of(heif([replace(whole, inputs=(2,)), whole])) == "picture_broken"
    data = heif([whole])
    assert code_of(data.replace(b"ispe", b"free")) == "picture_broken"
    short = box(b"ispe", bytes(8))
    assert code_of(heif([replace(whole, properties=(short,))])) == "picture_broken"


@pytest.mark.parametrize("codec", CODECS)
def test_more_properties_than_an_entry_has(codec):
    """An entry that is written again counts its properties in a byte."""
    data = heif([picture(codec, SRGB)])
    at = data.index(b"ipma") - 4
    table = data[at : at + int.from_bytes(data[at : at + 4])]
    many = struct.pack(">" + "H" * 200, *range(1, 201))
    entries = [struct.pack(">HB", 1, 200) + many, struct.pack(">HB", 1, 200)]
    entries[1] += struct.pack(">" + "H" * 200, *range(201, 401))
    doubled = associations(*entries, flags=1)
    file = bytearray(data[:at] + doubled + data[at + len(table) :])
    for name in (b"meta", b"iprp"):
        place = file.index(name) - 4
        longer = len(doubled) - len(table)
        struct.pack_into(">I", file, place, int.from_bytes(file[place : place + 4]) + longer)
    assert code_of(bytes(file)) == "picture_too_complex"


def test_track_of_another_codec():
    """The image of a sequence is of the first track of AV1; other tracks are passed over."""
    data = encode(SCENE, "AVIF", save_all=True, append_images=[SCENE], duration=100)
    track = data.index(b"av01\0\0\0\0\0\0\0\1")
    colours = data.index(b"colrnclx", track)
    wide = data[: colours + 8] + struct.pack(">HH", 12, 13) + data[colours + 12 :]
    other = wide[:track] + b"mp4v" + wide[track + 4 :]
    assert contents(wide).metadata.colours.cicp == Cicp(12, 13)
    assert contents(other).metadata.colours.cicp == Cicp(1, 13)  # of the still image
    assert contents(other.replace(b"meta", b"free")).metadata.colours.cicp is None


def test_heic_without_images():
    """A HEIC of no items is as long as it is, without pixels; its decoder rejects it."""
    data = heif([picture("HEIC")]).replace(b"meta", b"free")
    assert contents(data).extent.pixels == 0
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    assert caught.value.code == "picture_broken"


@pytest.mark.parametrize("codec", CODECS)
def test_without_a_primary_image(codec):
    """A file that names no primary image needs no pixels; its decoder rejects it."""
    data = heif([picture(codec, SRGB)]).replace(b"pitm", b"free")
    found = contents(data)
    assert (found.extent.pixels, found.shown_size) == (0, None)
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    assert caught.value.code == "picture_broken"
