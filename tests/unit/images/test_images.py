from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support import ROOT
from support.pictures.pictures import (
    BLUE,
    FORMATS_IN,
    GREEN,
    RED,
    WHITE,
    decoded,
    encode,
    exif_orientation,
    heic,
    in_format,
    photo,
    png_chunk,
    quadrants,
    with_segment,
)

from backends import MAX_VALUE_BYTES
from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, Limits, PictureOptions, Rendition
from persona_profile.images.formats import FORMATS, SIZES
from persona_profile.images.pipeline import render_picture
from persona_profile.images.workers.answers import max_rendition_bytes

LIMITS = Limits(100_000_000, 50_000_000, 2**30)
TURNS = range(1, 9)


def test_sizes_fit_the_storage_and_the_client():
    """The largest rendition fits into a stored value; the client uploads twice its side."""
    options = PictureOptions(LIMITS)
    assert max_rendition_bytes(options) <= MAX_VALUE_BYTES
    client = ROOT / "persona_profile/static/client/persona-profile-reduction.js"
    assert f"const SIDE = {2 * max(SIZES)};" in client.read_text()


def render(data, crop=None, sizes=SIZES, formats=("jpeg",)) -> dict[tuple[int, str], bytes]:
    """Return the renditions by size and format."""
    renditions = render_picture(
        io.BytesIO(data), crop, PictureOptions(LIMITS, Encoding(formats), sizes)
    )
    return {(each.size, each.format): each.data for each in renditions}


def square(data, crop=None, size=128) -> Image.Image:
    """Return the JPEG of one size, decoded."""
    return decoded(render(data, crop, (size,))[size, "jpeg"])


def distance(one, other) -> float:
    """Return the mean difference of the values of two pictures or colours."""
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


def reference(data, crop, size) -> Image.Image:
    """Return the result of the library in full: decode all, turn, crop, scale."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if crop is None:
        side = min(upright.size)
        crop = Crop((upright.width - side) // 2, (upright.height - side) // 2, side)
    box = (crop.x, crop.y, crop.x + crop.side, crop.y + crop.side)
    size = min(size, crop.side)
    return upright.crop(box).resize((size, size), Image.Resampling.LANCZOS)


def edges(height, width, x, y) -> Image.Image:
    """Return a picture that is black left of `x` in red, and above `y` in green."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, x:, 0] = 255
    pixels[y:, :, 1] = 255
    return Image.fromarray(pixels)


def edge_positions(picture) -> tuple[float, float]:
    """Return the positions of the edges of `edges`, in fractions of a pixel."""
    red, green = (np.asarray(picture, float)[..., channel].mean() / 255 for channel in (0, 1))
    return (1 - red) * picture.width, (1 - green) * picture.height


@pytest.mark.parametrize("name", ["JPEG", "PNG", "AVIF", "HEIC"])
@pytest.mark.parametrize("turn", TURNS)
def test_orientation(turn, name):
    """EXIF turns a picture, in each format and orientation."""
    stored = quadrants(240, 160)
    data = in_format(name, stored, quality=95, exif=exif_orientation(turn))
    upright = ImageOps.exif_transpose(decoded(encode(stored, "PNG", exif=exif_orientation(turn))))
    expected = ImageOps.fit(upright, (128, 128))
    found = square(data)
    for point in ((20, 20), (108, 20), (20, 108), (108, 108)):
        assert distance(found.getpixel(point), expected.getpixel(point)) < 6


def test_phone_held_upright():
    """A sideways photo is turned upright."""
    found = square(encode(quadrants(), exif=exif_orientation(6)))
    points = ((20, 20), (108, 20), (20, 108), (108, 108))
    for point, colour in zip(points, (BLUE, RED, WHITE, GREEN), strict=True):
        assert distance(found.getpixel(point), colour) < 6


@pytest.mark.parametrize("crop", [None, Crop(0, 0, 40), Crop(17, 61, 83), Crop(100, 10, 90)])
@pytest.mark.parametrize("turn", TURNS)
def test_crop_of_the_upright_picture(turn, crop):
    """A crop is in pixels of the upright picture, for every stored orientation."""
    stored = (300, 200) if turn < 5 else (200, 300)
    scene = quadrants(*stored).resize(stored, Image.Resampling.BICUBIC)
    data = encode(scene, "PNG", exif=exif_orientation(turn))
    if crop and crop.y + crop.side > 200:
        crop = Crop(crop.x, 200 - crop.side, crop.side)
    assert distance(square(data, crop), reference(data, crop, 128)) < 3


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    turn=st.sampled_from(TURNS),
    size=st.sampled_from((16, 64)),
    draw=st.data(),
)
def test_any_crop(width, height, turn, size, draw):
    """Every size, turn and crop of a JPEG equals the result of decoding in full."""
    side = draw.draw(st.integers(1, min(width, height)))
    upright = (width, height) if turn < 5 else (height, width)
    x, y = (draw.draw(st.integers(0, length - side)) for length in upright)
    scene = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    data = encode(scene, quality=95, exif=exif_orientation(turn))
    found = square(data, Crop(x, y, side), size)
    expected = reference(data, Crop(x, y, side), size)
    assert found.size == expected.size
    assert distance(found, expected) < 6


@pytest.mark.parametrize("width", [1025, 1031, 2047])
@pytest.mark.parametrize("progressive", [False, True])
def test_reduced_decoding_of_odd_sizes(width, progressive):
    """A crop of a JPEG that is decoded at an eighth is exact to half a pixel."""
    height, side = width - 6, 900
    crop = Crop(width - side, height - side, side)
    edge_x, edge_y = width - 60, height - 100
    data = encode(edges(height, width, edge_x, edge_y), quality=95, progressive=progressive)
    scale = 64 / side
    found = edge_positions(square(data, crop, 64))
    expected = ((edge_x - crop.x) * scale, (edge_y - crop.y) * scale)
    assert found == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(
    ("width", "height", "sides"),
    [
        (1, 1, (1, 1, 1, 1)),
        (1, 5000, (1, 1, 1, 1)),
        (300, 200, (64, 128, 200, 200)),
        (511, 4000, (64, 128, 256, 511)),
        (512, 512, (64, 128, 256, 512)),
        (513, 513, (64, 128, 256, 512)),
    ],
)
def test_never_enlarged(width, height, sides):
    """Every size exists, and none is larger than the upload."""
    rendered = render(encode(quadrants(width, height), "PNG"))
    found = {size: decoded(data).size for (size, _), data in rendered.items()}
    assert found == {size: (side, side) for size, side in zip(SIZES, sides, strict=True)}


def test_small_crop_is_not_enlarged():
    """A client's crop of a few pixels stays a few pixels."""
    assert square(encode(quadrants()), Crop(10, 10, 5), 512).size == (5, 5)


@pytest.mark.parametrize(
    "crop",
    [
        Crop(0, 0, 201),
        Crop(101, 0, 200),
        Crop(0, 1, 200),
        Crop(300, 0, 1),
        Crop(0, 200, 1),
        Crop(-1, 0, 10),
        Crop(0, 0, 0),
        Crop(0, 0, 999_999),
    ],
)
def test_crop_outside(crop):
    """A crop outside of the upright picture is rejected with the picture's size."""
    data = encode(quadrants(200, 300), exif=exif_orientation(6))
    with pytest.raises(ServiceError) as caught:
        render(data, crop)
    assert caught.value.code == "crop_outside_picture"
    assert caught.value.members == {"width": 300, "height": 200}


@pytest.mark.parametrize("name", FORMATS_IN)
def test_each_format_is_read(name):
    """A picture of any accepted format has its colours in the right quarters."""
    found = square(in_format(name, quadrants(160, 160), **({} if name == "GIF" else {"quality": 95})))
    points = ((20, 20), (108, 20), (20, 108), (108, 108))
    for point, colour in zip(points, (RED, GREEN, BLUE, WHITE), strict=True):
        assert distance(found.getpixel(point), colour) < 8


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_first_frame(name):
    """An animation gives its first frame."""
    frames = [Image.new("RGB", (80, 80), colour) for colour in (RED, GREEN, BLUE)]
    data = encode(frames[0], name, save_all=True, append_images=frames[1:], duration=100)
    assert distance(square(data).getpixel((40, 40)), RED) < 8


def test_first_picture_of_several():
    """A camera's file of several pictures (MPO) gives its first picture."""
    data = encode(quadrants(), "MPO", save_all=True, append_images=[Image.new("RGB", (400, 400))])
    assert distance(square(data).getpixel((20, 20)), RED) < 6


def test_exif_behind_the_pixels():
    """A PNG whose orientation follows its pixels is not turned, as in browsers."""
    data = encode(quadrants(), "PNG")
    ending = png_chunk(b"IEND", b"")
    late = data[: -len(ending)] + png_chunk(b"eXIf", exif_orientation(6)[6:]) + ending
    assert distance(square(late).getpixel((20, 20)), RED) < 6


def test_what_the_outputs_are():
    """Each rendition is of the format and size that it claims; JPEG is progressive and RGB."""
    for (size, name), data in render(photo(900, 700), formats=FORMATS).items():
        picture = decoded(data)
        assert (picture.format.lower(), picture.size) == (name, (size, size))
        assert picture.mode == "RGB"
        if name == "jpeg":
            assert picture.info.get("progressive")


@pytest.mark.parametrize("formats", [("jpeg",), ("webp", "jpeg"), ("avif", "jpeg"), ("avif",), FORMATS])
def test_only_the_formats_asked_for(formats):
    """JPEG is always made, other formats on request, the worst compressed first."""
    made = [name for _, name in render(photo(300, 300), None, (64,), formats)]
    assert made[0] == "jpeg"
    assert set(made) <= {"jpeg", *formats}


def test_better_formats_are_smaller():
    """A format is kept only if it is smaller than the formats that more clients accept."""
    kept = []
    blobs = Image.effect_noise((60, 60), 100).resize((512, 512), Image.Resampling.BICUBIC)
    for picture in (blobs, Image.effect_noise((512, 512), 100), quadrants(30, 30), quadrants(1, 1)):
        rendered = render(encode(picture, "PNG"), formats=FORMATS)
        for size in SIZES:
            there = [name for name in ("jpeg", "webp", "avif") if (size, name) in rendered]
            lengths = [len(rendered[size, name]) for name in there]
            assert lengths == sorted(set(lengths), reverse=True)
            kept.append(tuple(there))
    assert {("jpeg", "avif"), ("jpeg", "webp")} < set(kept)


def test_deterministic():
    """The same file gives the same renditions."""
    data = photo(900, 700)
    first, second = (render_picture(io.BytesIO(data), None, PictureOptions(LIMITS)) for _ in range(2))
    assert first == second
    assert isinstance(first[0], Rendition)


MARKER = b"SECRET-MARKER"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>' + MARKER + b"</a></x:xmpmeta>"


def _told_files() -> dict[str, bytes]:
    """Return files with a place in every kind of metadata."""
    exif = Image.Exif()
    exif[0x010E] = MARKER.decode()
    exif.get_ifd(0x8825)[29] = MARKER.decode()
    exif.get_ifd(0x8769)[0x9286] = MARKER
    block, scene = exif.tobytes(), quadrants()
    metadata = {"exif": block, "xmp": XMP}
    jpeg = encode(scene, comment=MARKER, **metadata)
    for segment, payload in ((0xEC, MARKER), (0xED, b"Photoshop 3.0\x00" + MARKER), (0xE2, MARKER)):
        jpeg = with_segment(jpeg, segment, payload)
    text = png_chunk(b"tEXt", b"Comment\0" + MARKER) + png_chunk(b"iTXt", b"A\0\0\0\0\0" + MARKER)
    plain = encode(scene, "PNG", exif=block)
    return {
        "JPEG": jpeg + MARKER,
        "PNG": plain[:33] + text + plain[33:],
        "WEBP": encode(scene, "WEBP", **metadata),
        "GIF": encode(scene, "GIF", comment=MARKER),
        "AVIF": encode(scene, "AVIF", **metadata),
        "HEIC": heic(scene, **metadata),
        "JXL": encode(scene, "JXL", use_container=True, **metadata),
    }


@pytest.mark.parametrize("name", FORMATS_IN)
def test_metadata_is_gone(name):
    """No rendition contains metadata of the file."""
    data = _told_files()[name]
    assert MARKER in data
    for rendition in render(data, None, (64, 512), FORMATS).values():
        assert MARKER not in rendition
        metadata = decoded(rendition)
        assert not {"exif", "xmp", "comment", "icc_profile", "photoshop"} & metadata.info.keys()
        assert not dict(metadata.getexif())
