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
    ],
)
def test_as_browsers_show_them(name):
    """Files that came out wrong once are shown as in browsers."""
    for found, expected in zip(corners(square(name)), CORNERS, strict=True):
        assert found == pytest.approx(expected, abs=12)


def test_partial_first_frame():
    """A JPEG is white where the first frame leaves the canvas uncovered."""
    found = square("w-anim-partial.webp")
    assert found.getpixel((2, 2)) == pytest.approx(WHITE, abs=4)
    assert found.getpixel((20, 20)) == pytest.approx(CORNERS[3], abs=12)
