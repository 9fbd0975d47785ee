from __future__ import annotations

import io

import pytest
from support.pictures.pictures import decoded
from support.pictures.shown import CORNERS, corners, foreign
from support.pictures.workers import SMALL_JPEG

from persona_profile.images.pipeline import render_picture

WHITE = (255, 255, 255)


def square(name):
    """Return the JPEG of a file of another program."""
    [rendition] = render_picture(io.BytesIO(foreign(name)), None, SMALL_JPEG)
    return decoded(rendition.data)


@pytest.mark.parametrize(
    "name",
    [
        "o-xmp6.jpg",
        "o-exif6.webp",
        "o-long6.jpg",
        "d-density.jpg",
        "s-noeoi.jpg",
        "s-app0-short.jpg",
        "p-ztxt-3M.png",
        "p-badcrc-text.png",
        "p-short-gama3.png",
        "p-short-trns4.png",
        "p-kw-bbox3.png",
        "a-default-not-in-anim.png",
        "v-late.avif",
        "v-clap-tl.avif",
        "c-cicp-p3.avif",
        "c-nclx-p3.heic",
        "j-exif6.jxl",
        "j-compressed-exif6.jxl",
        "j-sections.jxl",
        "j-low-frequency.jxl",
        "j-order.jxl",
        "j-upsampled.jxl",
    ],
)
def test_as_browsers_show_them(name):
    """Files that came out wrong once are shown as in browsers."""
    for found, expected in zip(corners(square(name)), CORNERS, strict=True):
        assert found == pytest.approx(expected, abs=12)


RED, GREEN, BLUE, YELLOW = CORNERS
# As Chromium 156 shows them; the HEIC as it shows an AVIF of the same values.
COLOURS = {
    "c-cicp-pq.avif": ((161, 26, 26), (28, 131, 42), (26, 49, 153), (169, 146, 27)),
    "c-hlg.heic": ((137, 21, 21), None, None, None),
    "j-p3.jxl": ((240, 0, 21), (0, 183, 30), (29, 71, 218), (236, 199, 0)),
    "j-pq.jxl": ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 139, 0)),
    "j-hlg.jxl": ((255, 0, 0), (0, 170, 0), (0, 50, 198), (255, 167, 0)),
    "j-gamma.jxl": ((227, 52, 52), (52, 193, 76), (52, 87, 218), (235, 210, 52)),
    "j-linear.jxl": ((239, 110, 110), (110, 219, 133), (110, 143, 234), (244, 229, 110)),
    "j-profile.jxl": ((35, 221, 35), (57, 35, 181), (211, 35, 68), (35, 231, 201)),
    "j-profile-lossy.jxl": ((36, 221, 35), (57, 35, 181), (211, 35, 68), (34, 231, 201)),
    "j-grey-float.jxl": tuple((each, each, each) for each in (94, 124, 77, 191)),
    "j-turned.jxl": (BLUE, RED, YELLOW, GREEN),
    "j-jpeg-turned.jxl": (BLUE, RED, YELLOW, GREEN),
    "j-animation.jxl": (RED,) * 4,
}


@pytest.mark.parametrize("name", COLOURS)
def test_files_of_other_programs(name):
    """Colour spaces, depths, turns and animations come out as a browser shows them."""
    for found, expected in zip(corners(square(name)), COLOURS[name], strict=True):
        assert expected is None or found == pytest.approx(expected, abs=8)


def test_partial_first_frame():
    """A JPEG is white where the first frame leaves the canvas uncovered."""
    found = square("w-anim-partial.webp")
    assert found.getpixel((2, 2)) == pytest.approx(WHITE, abs=4)
    assert found.getpixel((20, 20)) == pytest.approx(CORNERS[3], abs=12)
