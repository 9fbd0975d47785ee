"""Files of other programs, with the pixels that browsers show.

The colours were read from a canvas of Chromium 156; `benchmarks/browser_truth.py` reads them again.
Browsers show no HEIC: there they are those of an AVIF with the same values and the same CICP.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageFilter
from support.pictures.shown import FOREIGN
from support.pictures.workers import LIMITS, render, renderer

from persona_profile.images import Encoding, PictureOptions
from persona_profile.images.pipeline import squares_of
from persona_profile.images.renderer import Renderer

SIZE = 512
TOLERANCE = 8
PATCH = 8
BLOCK = 8
OPTIONS = PictureOptions(LIMITS, Encoding(effort="fast"), (SIZE,))


class Quadrants(NamedTuple):
    """Colours in the middle of the quarters of the square in the centre of the picture."""

    top_left: tuple[int, ...]
    top_right: tuple[int, ...]
    bottom_left: tuple[int, ...]
    bottom_right: tuple[int, ...]


SRGB = Quadrants((220, 40, 40), (40, 180, 60), (40, 70, 210), (230, 200, 40))
CLEAR = (0, 0, 0, 0)

SHOWN = {
    "a-default-not-in-anim.png": SRGB,
    "c-cicp-p3.avif": SRGB,
    "c-cicp-pq.avif": Quadrants((161, 26, 26), (28, 131, 42), (26, 49, 153), (169, 146, 27)),
    "c-gama1.png": SRGB,
    "c-hlg.heic": Quadrants((137, 20, 21), (23, 119, 37), (20, 38, 124), (161, 139, 24)),
    "c-nclx-p3.heic": SRGB,
    "d-density.jpg": SRGB,
    "hid6-1.4.png": Quadrants((91, 193, 106), (111, 84, 25), (60, 169, 226), (131, 155, 109)),
    "o-exif6.webp": SRGB,
    "o-long6.jpg": SRGB,
    "o-xmp6.jpg": SRGB,
    "p-badcrc-text.png": SRGB,
    "p-kw-bbox3.png": SRGB,
    "p-short-gama3.png": SRGB,
    "p-short-trns4.png": SRGB,
    "p-ztxt-3M.png": SRGB,
    "s-app0-short.jpg": SRGB,
    "s-noeoi.jpg": SRGB,
    "v-clap-tl.avif": SRGB,
    "v-late.avif": SRGB,
    "w-anim-partial.webp": Quadrants(CLEAR, CLEAR, CLEAR, (230, 200, 40)),
    "x-darklogo.png": Quadrants(*4 * ((20, 20, 30),)),
}


SIDE = 400
OTHER_SIDES = {"x-darklogo.png": 500}
"""The shorter side of a picture, by which its square is known; most have the same."""


def test_every_file_has_its_colours():
    """The table names every file of the folder; JPEG XL has tests of its own."""
    files = {path.name for path in FOREIGN.iterdir() if path.suffix != ".jxl"}
    assert SHOWN.keys() == files


def colours(square: Image.Image) -> np.ndarray:
    """Return the mean colours of patches in the middle of the quarters."""
    pixels = np.asarray(square.convert("RGBA"), float)
    half = PATCH // 2
    centres = [(x, y) for y in (1, 3) for x in (1, 3)]
    found = []
    for x, y in centres:
        left, top = x * square.width // 4, y * square.width // 4
        found.append(pixels[top - half : top + half, left - half : left + half].mean((0, 1)))
    return np.array(found)


def expected(name: str) -> np.ndarray:
    """Return the colours of a file as RGBA."""
    return np.array([(*each, 255)[:4] for each in SHOWN[name]], float)


def on_white(shown: np.ndarray) -> np.ndarray:
    """Return colours as they look on a white page."""
    alpha = shown[:, 3:] / 255
    return shown[:, :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("name", SHOWN)
def test_the_square_looks_as_in_browsers(name):
    """The square has the size, the colours and the transparency that browsers show."""
    with (FOREIGN / name).open("rb") as source:
        square = squares_of(source, None, OPTIONS)[SIZE]
    assert square.width == square.height == OTHER_SIDES.get(name, SIDE)
    assert np.abs(colours(square) - expected(name)).max() <= TOLERANCE


@pytest.fixture(scope="module")
def workers() -> Iterator[Renderer]:
    """A renderer with real, confined workers."""
    with renderer(OPTIONS, workers=1) as started:
        yield started


@pytest.mark.parametrize("name", SHOWN)
def test_the_card_looks_as_in_browsers(name, workers):
    """The JPEG of a confined worker has the colours that browsers show on a white page."""
    with (FOREIGN / name).open("rb") as source:
        made = {each.format: each.data for each in render(workers, source)}
    found = colours(Image.open(io.BytesIO(made["jpeg"])))
    assert np.abs(on_white(found) - on_white(expected(name))).max() <= TOLERANCE


def test_nothing_hidden_is_in_a_rendition(workers):
    """The text that alpha 0 hides in a picture is in none of its renditions."""
    path = FOREIGN / "hid6-1.4.png"
    with path.open("rb") as source:
        made = render(workers, source)
    alpha = Image.open(path).convert("RGBA").getchannel("A")
    # Encoders ring beside what is seen, by two of their blocks.
    hidden = np.asarray(alpha.filter(ImageFilter.MaxFilter(2 * BLOCK + 1))) == 0
    assert hidden.any()
    for each in made:
        pixels = np.asarray(Image.open(io.BytesIO(each.data)).convert("RGBA"), float)
        assert pixels[hidden][:, :3].std(0).max() < 1, each.format
