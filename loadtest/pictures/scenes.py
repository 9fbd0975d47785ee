"""What the load test's pictures show: photos with the entropy of a camera's, screenshots of text.

A photo has what natural images have: objects of all sizes that hide each other, whose power falls with
the square of the frequency; textures at every scale, here strong and there weak; the blur of a lens;
the noise of a sensor, stronger where it is dark. Made once, from a seed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Plane = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

_OBJECTS: Final = 4000
_SMALLEST, _LARGEST = 1 / 200, 1 / 3  # radii of objects, as parts of the height
_COARSEST: Final = 512  # pixels between the values of a texture; each octave halves them
_BAND: Final = 512  # rows that are worked on at once
_TINT: Final = 26  # of a cell, in steps of Cb and Cr away from grey
_WARM, _COOL = (236, 168, 112), (112, 168, 236)  # the same in screenshots

_WORDS: Final = (
    "the",
    "and",
    "you",
    "that",
    "was",
    "for",
    "with",
    "they",
    "this",
    "have",
    "from",
    "one",
    "had",
    "word",
    "not",
    "what",
    "there",
    "which",
    "their",
    "about",
    "other",
    "many",
    "Settings",
    "Message",
)


@dataclass(frozen=True, slots=True)
class Photo:
    """Luminance and colour differences (JFIF), each in full size."""

    y: Plane
    cb: Plane
    cr: Plane

    def tinted(self, grid: Box, *, warm: bool) -> Image.Image:
        """Return the picture with the inside of a box tinted, in mode YCbCr."""
        left, top, right, bottom = grid
        planes = [self.y]
        for plane, tint in ((self.cb, -_TINT), (self.cr, _TINT)):
            changed = plane.copy()
            inside = changed[top:bottom, left:right].astype(np.int16) + (tint if warm else -tint)
            changed[top:bottom, left:right] = inside.clip(0, 255)
            planes.append(changed)
        return Image.merge("YCbCr", [Image.fromarray(plane) for plane in planes])


def photo(width: int, height: int, *, noise: float, texture: float, seed: int) -> Photo:
    """Return a photo.

    Args:
        width: pixels across.
        height: pixels down.
        noise: standard deviation of what the sensor adds, in steps of 256, where it is dark.
        texture: of what each octave adds.
        seed: the same one shows the same picture.
    """
    draws = random.Random(seed)  # noqa: S311 - a picture
    layers = [Image.new("L", (width, height), value) for value in (120, 128, 128)]
    pens = [ImageDraw.Draw(layer) for layer in layers]
    for _ in range(_OBJECTS):
        values = (draws.randrange(50, 206), draws.randrange(120, 137), draws.randrange(120, 137))
        outline = _outline(draws, width, height)
        for pen, value in zip(pens, values, strict=True):
            pen.polygon(outline, fill=value)
    luminance = np.asarray(layers[0].filter(ImageFilter.GaussianBlur(0.8)))
    numbers = np.random.default_rng(seed)
    textures = _textures(width, height, numbers)
    y = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        band = luminance[top:bottom].astype(np.float32)
        where = 0.25 + 0.75 * np.abs(_part(textures[0], width, height, top, bottom))
        for layer in textures[1:]:
            band += texture * where * _part(layer, width, height, top, bottom)
        grain = numbers.standard_normal(band.shape, np.float32)
        band += grain * (noise * (1.3 - band / 255))
        y[top:bottom] = band.clip(16, 240)
    return Photo(y, np.asarray(layers[1]), np.asarray(layers[2]))


def _outline(draws: random.Random, width: int, height: int) -> list[tuple[float, float]]:
    """Return the corners of an object; the number of those of a radius falls with its cube."""
    share = draws.random()
    radius = height * (_SMALLEST**-2 + share * (_LARGEST**-2 - _SMALLEST**-2)) ** -0.5
    x, y = draws.random() * width, draws.random() * height
    corners, turn = draws.choice((3, 4, 5, 24)), draws.random() * math.tau
    flat = draws.uniform(0.3, 1)
    angles = [turn + math.tau * corner / corners for corner in range(corners)]
    return [(x + radius * math.cos(a), y + flat * radius * math.sin(a)) for a in angles]


def _textures(width: int, height: int, numbers: np.random.Generator) -> list[Image.Image]:
    """Return a coarse map of where there is texture, then random values for each octave."""
    steps = [_COARSEST]
    steps += [_COARSEST >> octave for octave in range(_COARSEST.bit_length() - 1)]
    return [
        Image.fromarray(numbers.standard_normal((height // step + 2, width // step + 2), np.float32))
        for step in steps
    ]


def _part(layer: Image.Image, width: int, height: int, top: int, bottom: int) -> Any:
    """Return some rows of a layer that is scaled to the whole picture."""
    across, down = layer.width, layer.height / height
    box = (0, top * down, across, bottom * down)
    return np.asarray(layer.resize((width, bottom - top), Image.Resampling.BICUBIC, box))


def text(width: int, height: int, seed: int) -> Plane:
    """Return a screenshot: a photo, then dark words in several sizes on light panels, RGB."""
    draws = random.Random(seed)  # noqa: S311 - a picture
    picture = Image.new("RGB", (width, height), (250, 250, 252))
    pen = ImageDraw.Draw(picture)
    shown = photo(width, height // 6, noise=0, texture=5, seed=seed)
    planes = [Image.fromarray(plane) for plane in (shown.y, shown.cb, shown.cr)]
    picture.paste(Image.merge("YCbCr", planes).convert("RGB"))
    y, margin = height // 6, width // 24
    while y < height:
        size = max(8, width // draws.choice((24, 30, 30, 30, 40)))
        font = ImageFont.load_default(size)
        if draws.random() < 0.2:
            panel = (margin // 2, y, width - margin // 2, y + 3 * size)
            pen.rounded_rectangle(
                panel, size // 2, fill=draws.choice(((232, 240, 254), (240, 240, 240)))
            )
        line = " ".join(draws.choice(_WORDS) for _ in range(draws.randrange(3, 12)))
        pen.text(
            (margin, y + size // 4), line, fill=draws.choice(((20, 20, 24), (90, 90, 96))), font=font
        )
        y += size * 3 // 2
    return np.asarray(picture)


def tiles(width: int, left: int, cell: int, warm: list[bool]) -> Plane:
    """Return one row of pixels across a row of tinted cells, RGB."""
    row = np.full((width, 3), 250, np.uint8)
    for place, is_warm in enumerate(warm):
        row[left + place * cell : left + (place + 1) * cell] = _WARM if is_warm else _COOL
    return row
