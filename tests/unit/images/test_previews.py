"""Previews: the whole picture, small and upright."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps
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
    png,
    quadrants,
)

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, Limits, PictureOptions, Preview
from persona_profile.images.pipeline import make_preview, open_whole, render_picture

OPTIONS = PictureOptions(Limits(100_000_000, 50_000_000, 864 * 2**20), Encoding(("jpeg",)), (64,))


def preview_of(data: bytes) -> Preview:
    """Return the preview of a file."""
    return make_preview(open_whole(io.BytesIO(data), OPTIONS), OPTIONS)


def preview(data: bytes) -> Image.Image:
    """Return the preview of a file, decoded."""
    return decoded(preview_of(data).data)


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours near the corners, row by row."""
    width, height = picture.size
    across, down = (width // 8, width - 1 - width // 8), (height // 8, height - 1 - height // 8)
    return [picture.convert("RGB").getpixel((x, y)) for y in down for x in across]


@pytest.mark.parametrize("name", FORMATS_IN)
def test_formats(name):
    """The whole picture of each format is there, not a square."""
    found = preview(in_format(name, quadrants(300, 200)))
    assert (found.format, found.mode, found.size) == ("JPEG", "RGB", (300, 200))
    for colour, expected in zip(corners(found), (RED, GREEN, BLUE, WHITE), strict=True):
        assert colour == pytest.approx(expected, abs=12)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1024, 1024, (1024, 1024)),
        (1025, 1024, (1024, 1023)),
        (4032, 3024, (1024, 768)),
        (3024, 4032, (768, 1024)),
        (9000, 1000, (1024, 114)),
        (5000, 2, (1024, 1)),
        (1, 5000, (1, 1024)),
        (3, 2, (3, 2)),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_size(name, width, height, size):
    """The longer side has 1,024 pixels or, as pictures are never enlarged, fewer."""
    assert preview(in_format(name, Image.new("RGB", (width, height), RED))).size == size


@pytest.mark.parametrize("turn", range(1, 9))
def test_is_upright(turn):
    """A sideways photo is shown as browsers show it."""
    data = encode(quadrants(3000, 2000), exif=exif_orientation(turn), quality=95)
    upright = ImageOps.exif_transpose(decoded(data))
    found = preview(data)
    assert found.size == ((1024, 683) if turn < 5 else (683, 1024))
    for colour, expected in zip(corners(found), corners(upright), strict=True):
        assert colour == pytest.approx(expected, abs=6)


def test_is_sharp():
    """A photo that is decoded small looks like the library's full resampling."""
    data = photo()
    expected = decoded(data).resize((1024, 768), Image.Resampling.LANCZOS)
    difference = np.asarray(preview(data), np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference).mean() < 4


def test_long_photo_is_reduced_while_it_is_decoded():
    """The longer side decides the size at which a JPEG is decoded: a panorama needs little memory."""
    opened = open_whole(io.BytesIO(encode(Image.new("RGB", (16_000, 1_000)))), OPTIONS)
    assert opened.image.size == (2000, 125)


def test_transparency():
    """A transparent picture is a WebP with alpha, which hides no colours."""
    picture = quadrants(1600, 1200).convert("RGBA")
    picture.paste((10, 200, 90, 0), (0, 0, 800, 1200))
    made = preview_of(encode(picture, "PNG"))
    found = decoded(made.data)
    assert (made.format, found.format, found.mode, found.size) == ("webp", "WEBP", "RGBA", (1024, 768))
    assert found.getpixel((100, 100))[3] == 0
    assert found.getpixel((900, 100))[:3] == pytest.approx(GREEN, abs=12)
    assert b"EXIF" not in made.data


def test_opaque_alpha_is_no_transparency():
    """Alpha that hides nothing is left out, so that the preview is a JPEG."""
    assert preview_of(encode(quadrants().convert("RGBA"), "PNG")).format == "jpeg"


def test_metadata():
    """Neither the camera nor the place of a photo is in its preview."""
    data = heic(quadrants(600, 400), exif=exif_orientation(1))
    assert b"SECRET-CAMERA" in data
    made = preview_of(data)
    assert b"SECRET" not in made.data
    assert decoded(made.data).info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density",
                                              "progressive", "progression"}  # fmt: skip


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_modes(mode):
    """Pictures of every mode are shown, also those that are converted in bands."""
    picture = Image.new("L", (2100, 1400), 200)
    picture.paste(40, (0, 0, 1050, 1400))
    if mode == "I;16":
        picture = picture.convert("I").point(lambda value: value * 257).convert("I;16")
    else:
        picture = picture.convert(mode)
    found = preview(encode(picture, "JPEG" if mode == "CMYK" else "PNG")).convert("RGB")
    left, right = found.getpixel((200, 300)), found.getpixel((800, 300))
    assert found.size == (1024, 683)
    assert left[1] < 60
    assert right[1] > 180


def test_thin_picture_of_many_pixels():
    """A line of 49 megapixels is shown."""
    data = png(16_600_000, 3, 1, 0, (b"\0" + b"\xff" * 2_075_000) * 3)
    assert preview(data).size == (1024, 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "picture_empty"),
        (b"junk", "unsupported_media_type"),
        (encode(quadrants())[:700], "picture_broken"),
    ],
)
def test_unusable_file(data, code):
    """A file that is no picture, or a damaged one, has the errors of an upload."""
    with pytest.raises(ServiceError) as caught:
        preview_of(data)
    assert caught.value.code == code


def test_square_of_the_preview_is_that_of_the_original():
    """The square at the same place of preview and original shows the same."""
    data = heic(quadrants(2400, 1600))
    shown = preview(data).crop((412, 241, 612, 441)).resize((64, 64))
    [made, *_] = render_picture(io.BytesIO(data), Crop(966, 565, 469), OPTIONS)
    kept = decoded(made.data).convert("RGB")
    assert np.abs(np.asarray(kept, np.int16) - np.asarray(shown, np.int16)).mean() < 6
