"""The contact sheet of `pictures process`: the renditions of each file side by side, pixel by pixel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from persona_profile.capacity.units import byte_count
from persona_profile.images import Rendition

_MARGIN: Final = 24
_GAP: Final = 12
_TITLE: Final = 40
_CAPTION: Final = 22
_BACKGROUND: Final = "#f4f4f4"
_INK: Final = "#222222"
_PALE: Final = "#777777"
_CHECKS: Final = ((255, 255, 255), (214, 214, 214))
_CHECK: Final = 16


@dataclass(frozen=True, slots=True)
class Band:
    """One file on the sheet.

    Attributes:
        reference: the largest square before encoding.
        decoding_seconds: processor time from the file to all squares.
        encoding_seconds: processor time from the squares to all renditions.
    """

    name: str
    file_bytes: int
    reference: Image.Image
    renditions: tuple[Rendition, ...]
    decoding_seconds: float
    encoding_seconds: float

    @property
    def sizes(self) -> list[int]:
        """The sizes of the renditions, the largest first."""
        return sorted({each.size for each in self.renditions}, reverse=True)


def draw(bands: Sequence[Band], formats: Sequence[str], path: Path) -> None:
    """Write the sheet as PNG: for each file the reference and a column for JPEG and each format.

    Raises:
        OSError: it can't be written.
    """
    columns = ["jpeg", *(name for name in reversed(formats) if name != "jpeg")]
    sizes = bands[0].sizes
    main, rest = sizes[0], sizes[1:]
    column_width = main + (_GAP + rest[0] if rest else 0) + 2 * _GAP
    side_height = sum(size + _CAPTION for size in rest)
    height = _TITLE + max(main + _CAPTION, side_height) + 2 * _GAP
    width = 2 * _MARGIN + main + 2 * _GAP + len(columns) * column_width
    sheet = Image.new("RGB", (width, _MARGIN + len(bands) * height), _BACKGROUND)
    for number, band in enumerate(bands):
        top = _MARGIN + number * height
        _draw_title(sheet, band, top)
        _place(sheet, band.reference, (_MARGIN, top + _TITLE), "as the encoders got it")
        for column, name in enumerate(columns):
            left = _MARGIN + main + 2 * _GAP + column * column_width
            _draw_column(sheet, band, name, (left, top + _TITLE))
    sheet.save(path, "PNG")


def _draw_title(sheet: Image.Image, band: Band, top: int) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, top), band.name, _INK, ImageFont.load_default(22))
    left = _MARGIN + pen.textlength(band.name, ImageFont.load_default(22)) + 2 * _GAP
    facts = (
        f"{byte_count(band.file_bytes)}; processor time: "
        f"decoding {band.decoding_seconds * 1000:.0f} ms, "
        f"encoding {band.encoding_seconds * 1000:.0f} ms"
    )
    pen.text((left, top + 6), facts, _PALE, ImageFont.load_default(16))


def _draw_column(sheet: Image.Image, band: Band, name: str, corner: tuple[int, int]) -> None:
    """Draw the renditions of one format: the largest, and the smaller ones in a row beside it."""
    made = {each.size: each for each in band.renditions if each.format == name}
    main, *rest = band.sizes
    places = {main: corner}
    left, top = corner[0] + main + _GAP, corner[1]
    for size in rest:
        places[size] = (left, top)
        top += size + _CAPTION
    for size, place in places.items():
        if size in made:
            picture = Image.open(io.BytesIO(made[size].data), formats=[name])
            _place(sheet, picture, place, f"{name} {size}: {byte_count(len(made[size].data))}")
        else:
            text = f"{name} {size}: not smaller" if size >= 128 else "not smaller"
            ImageDraw.Draw(sheet).text(place, text, _PALE, ImageFont.load_default(14))


def _place(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], caption: str) -> None:
    """Draw a picture with a caption below, on a checkerboard if it is transparent."""
    shown = picture.convert("RGBA")
    ground = _checks(shown.size)
    ground.paste(shown, mask=shown)
    sheet.paste(ground, corner)
    below = (corner[0], corner[1] + picture.height + 3)
    ImageDraw.Draw(sheet).text(below, caption, _INK, ImageFont.load_default(14))


def _checks(size: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", (2 * _CHECK, 2 * _CHECK), _CHECKS[0])
    for corner in ((0, 0), (_CHECK, _CHECK)):
        tile.paste(_CHECKS[1], (*corner, corner[0] + _CHECK, corner[1] + _CHECK))
    ground = Image.new("RGB", size)
    for left in range(0, size[0], tile.width):
        for top in range(0, size[1], tile.height):
            ground.paste(tile, (left, top))
    return ground
