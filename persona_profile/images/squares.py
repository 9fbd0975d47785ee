"""The square of a crop: from the picture that a person saw to the stored image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from persona_profile.images import Crop
from persona_profile.images.metadata import Metadata
from persona_profile.images.rejections import crop_of_other_picture, crop_outside

Size = tuple[int, int]
"""Width and height in pixels."""


class Box(NamedTuple):
    """A part of the stored image. It is a square unless the density in the EXIF stretches the image."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def side(self) -> int:
        """The side of the largest square that has no more pixels than the box in either direction."""
        return min(self.right - self.left, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class _View:
    """A way in which clients show an image.

    Attributes:
        stored: the size of the stored image, turned as in the view.
        shown: its size in the view.
        turn: the orientation by which the view is turned.
    """

    stored: Size
    shown: Size
    turn: int


def stored_box(crop: Crop | None, stored: Size, metadata: Metadata) -> Box:
    """Return the part of a stored image that becomes the card; by default the largest square inside.

    Raises:
        UnprocessablePicture: the crop was counted in another picture, or leaves its picture.
    """
    views = _views(stored, metadata)
    upright = views[0].stored
    if crop is None:
        side = min(upright)
        crop = Crop((upright[0] - side) // 2, (upright[1] - side) // 2, side)
    of = crop.of or upright
    view = next((each for each in views if each.shown == of), None)
    view = view or next((each for each in views if is_scaled(of, each.shown)), None)
    if view is None:
        raise crop_of_other_picture(upright, of)
    x, y, side = crop.x, crop.y, crop.side
    if side < 1 or x < 0 or y < 0 or x + side > of[0] or y + side > of[1]:
        raise crop_outside(*of)
    return _unturned(_scaled(crop, of, view.stored), stored, view.turn)


def is_scaled(size: Size, original: Size) -> bool:
    """Return whether a size is another's, scaled by one factor, each side rounded up or down.

    That is, whether a factor exists by which each side of `original` differs from that of `size` by
    less than a pixel. 1024 x 9 and 1024 x 10 are scaled from 4001 x 37; 1024 x 8 and 1024 x 11 are not.
    """
    (width, height), (original_width, original_height) = size, original
    return (width - 1) * original_height < (height + 1) * original_width and (
        height - 1
    ) * original_width < (width + 1) * original_height


def _views(stored: Size, metadata: Metadata) -> list[_View]:
    """Return the ways in which clients show an image: upright first, and then unturned."""
    turn, natural = metadata.orientation, metadata.natural_size or stored
    return [
        _View(_turned(stored, turn), _turned(stored, turn), turn),
        _View(_turned(stored, turn), _turned(natural, turn), turn),
        _View(stored, stored, 1),
        _View(stored, natural, 1),
    ]


def _turned(size: Size, turn: int) -> Size:
    return (size[1], size[0]) if turn >= 5 else size


def _scaled(crop: Crop, of: Size, size: Size) -> Box:
    """Return a crop of an image of one size as a box of the same image in another size."""
    across, down = size[0] / of[0], size[1] / of[1]
    width, height = crop.side * across, crop.side * down
    if is_scaled(of, size):  # the factors differ by rounding alone: the square stays a square
        # The largest square becomes the largest square.
        width = height = crop.side * min(size) / min(of)
    left, right = _span((crop.x + crop.side / 2) * across, width, size[0])
    top, bottom = _span((crop.y + crop.side / 2) * down, height, size[1])
    return Box(left, top, right, bottom)


def _span(centre: float, length: float, limit: int) -> tuple[int, int]:
    """Return the whole pixels of a span, moved inside of 0 to `limit`."""
    rounded = min(max(_rounded(length), 1), limit)
    start = min(max(_rounded(centre - rounded / 2), 0), limit - rounded)
    return start, start + rounded


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)  # as browsers round


def _unturned(box: Box, stored: Size, turn: int) -> Box:
    """Return a box of the turned image in the coordinates of the stored image."""
    left, top, right, bottom = box
    if turn >= 5:
        left, top, right, bottom = top, left, bottom, right
    if turn in (2, 3, 7, 8):
        left, right = stored[0] - right, stored[0] - left
    if turn in (3, 4, 6, 7):
        top, bottom = stored[1] - bottom, stored[1] - top
    return Box(left, top, right, bottom)
