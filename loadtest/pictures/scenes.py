"""The content of the pictures: photos with the entropy of a camera's, screenshots of text.

A photo has what natural images have: objects of all sizes that hide each other, textures at every
scale, the noise of a sensor. All of it follows from a seed.
"""

from __future__ import annotations

import random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont

from loadtest.pictures.marks import CELLS, GRID_SHARE, Cells

_OBJECTS: Final = 2000
_SMALLEST, _LARGEST = 1 / 200, 1 / 3  # radii of objects, as parts of the height
_OCTAVES: Final = 9
_DEVIATION: Final = 73.9  # of a random byte
_TINT: Final = 26  # of a cell, in steps of Cb and Cr away from grey
_LETTERS: Final = "eeettaaooinnsshrrddluu"


def photo(width: int, height: int, *, noise: float, texture: float, seed: int) -> Image.Image:
    """Return a photo, in mode YCbCr; the same seed gives the same photo.

    Noise and texture are standard deviations of 256 steps: of the sensor's noise, and of each octave.
    """
    draws = random.Random(seed)  # noqa: S311 - a picture
    picture = Image.new("YCbCr", (width, height), (120, 128, 128))
    pen = ImageDraw.Draw(picture)
    for _ in range(_OBJECTS):
        # The number of objects of a radius falls with its cube.
        radius = height * (_SMALLEST**-2 + draws.random() * (_LARGEST**-2 - _SMALLEST**-2)) ** -0.5
        x, y, down = draws.random() * width, draws.random() * height, radius * draws.uniform(0.3, 1)
        colour = (draws.randrange(50, 206), draws.randrange(120, 137), draws.randrange(120, 137))
        pen.ellipse((x - radius, y - down, x + radius, y + down), fill=colour)
    grain = Image.new("L", (1, 1), 128)
    for octave in reversed(range(_OCTAVES)):
        size = (-(-width >> octave), -(-height >> octave))
        values = Image.frombytes("L", size, draws.randbytes(size[0] * size[1]))
        scale = (texture if octave else noise) / _DEVIATION
        values = values.point([round(128 + (value - 127.5) * scale) for value in range(256)])
        grain = ImageChops.add(grain.resize(size, Image.Resampling.BICUBIC), values, offset=-128)
    luminance, *colours = picture.split()
    return Image.merge("YCbCr", [ImageChops.add(luminance, grain, offset=-128), *colours])


def screenshot(width: int, height: int, seed: int) -> Image.Image:
    """Return a screenshot: a photo, then dark words in several sizes on white, in mode YCbCr."""
    draws = random.Random(seed)  # noqa: S311 - a picture
    picture = Image.new("RGB", (width, height), (250, 250, 252))
    picture.paste(photo(width, height // 6, noise=0, texture=5, seed=seed).convert("RGB"))
    pen = ImageDraw.Draw(picture)
    y = height // 6
    while y < height:
        size = max(8, width // draws.choice((24, 30, 30, 30, 40)))
        words = ("".join(draws.choices(_LETTERS, k=draws.randrange(2, 9))) for _ in range(12))
        colour = draws.choice(((20, 20, 24), (90, 90, 96)))
        pen.text((width // 24, y), " ".join(words), fill=colour, font=ImageFont.load_default(size))
        y += size * 3 // 2
    return picture.convert("YCbCr")


def tinted(picture: Image.Image, cells: Cells) -> Image.Image:
    """Return a picture of mode YCbCr with a pattern over its central square."""
    side = round(GRID_SHARE * min(picture.size))
    values = bytes(128 + (_TINT if warm else -_TINT) for warm in cells)
    pattern = Image.frombytes("L", (CELLS, CELLS), values)
    tint = Image.new("L", picture.size, 128)
    corner = ((picture.width - side) // 2, (picture.height - side) // 2)
    tint.paste(pattern.resize((side, side), Image.Resampling.NEAREST), corner)
    luminance, blue, red = picture.split()
    cool, warm = ImageChops.subtract(blue, tint, offset=128), ImageChops.add(red, tint, offset=-128)
    return Image.merge("YCbCr", [luminance, cool, warm])
