"""A contact sheet of two pictures of each file side by side, and of their difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFont

TILE = 256
GAP = 12
TITLE = 24
CHECKS = ((255, 255, 255), (214, 214, 214))
CHECK = 16
COLUMNS = ("Chromium", "pipeline", "difference, four times")


class Row(NamedTuple):
    """A file on the sheet; None where a side has no picture."""

    title: str
    shown: Image.Image | None
    made: Image.Image | None


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the sheet as PNG."""
    width = GAP + len(COLUMNS) * (TILE + GAP)
    sheet = Image.new("RGB", (width, TITLE + len(rows) * (TITLE + TILE + GAP)), "#f4f4f4")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, words in enumerate(COLUMNS):
        pen.text((GAP + column * (TILE + GAP), 4), words, "#777777", font)
    for number, row in enumerate(rows):
        top = TITLE + number * (TITLE + TILE + GAP)
        pen.text((GAP, top + 3), row.title.encode("ascii", "replace").decode(), "#222222", font)
        tiles = [each and on_checks(each) for each in (row.shown, row.made)]
        if tiles[0] and tiles[1]:
            apart = ImageChops.difference(tiles[0], tiles[1])
            tiles.append(apart.point([min(255, 4 * value) for value in range(256)] * 3))
        for column, tile in enumerate(tiles):
            if tile:
                sheet.paste(tile, (GAP + column * (TILE + GAP), top + TITLE))
    sheet.save(path, "PNG")


def on_checks(square: Image.Image) -> Image.Image:
    """Return a square on a chequered ground, as wide as a tile; small ones with all their pixels."""
    if square.width <= TILE:
        side = square.width * max(1, TILE // square.width)
        square = square.resize((side, side), Image.Resampling.NEAREST)
    else:
        square = square.resize((TILE, TILE), Image.Resampling.BOX)
    ground = Image.new("RGB", square.size, CHECKS[0])
    for left in range(0, square.width, CHECK):
        for top in range(0, square.width, CHECK):
            if (left + top) // CHECK % 2:
                ground.paste(CHECKS[1], (left, top, left + CHECK, top + CHECK))
    ground.paste(square, mask=square)
    return ground
