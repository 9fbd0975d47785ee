"""The pipeline of an image: decode small, crop, downscale, convert colours, turn, encode.

Its output is squares of some sizes, or a preview of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import BinaryIO, Final

from PIL import Image

from persona_profile.images import Crop, Encoding, PictureOptions, Preview, Rendition
from persona_profile.images.colours.srgb import (
    flattened,
    is_flat,
    is_grey,
    match_transparency,
    to_srgb,
    without_hidden_colours,
    without_idle_alpha,
)
from persona_profile.images.decoding import OpenedImage, read_header
from persona_profile.images.encoding import encode, encode_preview, graphic_side
from persona_profile.images.formats import PREVIEW_SIDE
from persona_profile.images.metadata import Metadata
from persona_profile.images.rejections import parsing
from persona_profile.images.squares import stored_box

_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_GAP: Final = 3.0
"""Box-filter down to this multiple of the target, then resample: nobody sees the difference."""

_BAND_PIXELS: Final = 1_000_000
"""Pixels that are converted at a time, where a conversion needs a copy."""

_VIDEO_FORMATS: Final = ("avif", "heif", "jxl")

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def render_picture(
    source: BinaryIO, crop: Crop | None, options: PictureOptions
) -> tuple[Rendition, ...]:
    """Return the renditions of a file. See `open_image`, `cut_squares` and `encode_squares`."""
    return encode_squares(squares_of(source, crop, options), options.encoding)


def squares_of(source: BinaryIO, crop: Crop | None, options: PictureOptions) -> dict[int, Image.Image]:
    """Return the squares of a file. See `open_image` and `cut_squares`."""
    return cut_squares(open_image(source, crop, options), crop, options)


def open_image(source: BinaryIO, crop: Crop | None, options: PictureOptions) -> OpenedImage:
    """Read the header of a seekable file at its start; decode no pixel.

    The default crop is the largest in the centre. A file, or its crop, is rejected by an error of
    `rejections`.
    """

    def side_of(stored: tuple[int, int], metadata: Metadata) -> int:
        return stored_box(crop, stored, metadata).side

    return read_header(source, options.limits, side_of, max(options.sizes))


def cut_squares(
    opened: OpenedImage, crop: Crop | None, options: PictureOptions
) -> dict[int, Image.Image]:
    """Decode an image into upright sRGB squares, the largest first, each made from the one before."""
    sizes = sorted(options.sizes, reverse=True)
    box = stored_box(crop, (opened.width, opened.height), opened.metadata)
    side = min(box.side, sizes[0])
    square = _decoded(opened, box, (side, side), options)
    squares = {}
    for size in sizes:
        if size < square.width:
            square = square.resize((size, size), Image.Resampling.BICUBIC)
        square = without_hidden_colours(square)
        square.info = {}  # encoders would copy comments and profiles from here
        squares[size] = square
    return squares


def encode_squares(squares: Mapping[int, Image.Image], encoding: Encoding) -> tuple[Rendition, ...]:
    """Return the renditions of squares, the largest first; a format that saves nothing is left out."""
    side = graphic_side(next(iter(squares.values())))
    encoded: dict[int, Mapping[str, bytes]] = {}
    for square in squares.values():
        if square.width not in encoded:  # sizes above an image's own share its square
            encoded[square.width] = encode(square, encoding, graphic=square.width <= side)
    return tuple(
        Rendition(size, name, data)
        for size, square in squares.items()
        for name, data in encoded[square.width].items()
    )


def open_whole(source: BinaryIO, options: PictureOptions) -> OpenedImage:
    """Read the header of a file for `make_preview`. See `open_image`."""
    return read_header(source, options.limits, lambda size, _: max(size), PREVIEW_SIDE)


def make_preview(opened: OpenedImage, options: PictureOptions) -> Preview:
    """Decode an image into its preview."""
    width, height = opened.width, opened.height
    scale = min(1.0, PREVIEW_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = without_hidden_colours(_decoded(opened, (0, 0, width, height), size, options))
    image.info = {}
    return encode_preview(image, options.encoding)


def _decoded(
    opened: OpenedImage, box: _Box, size: tuple[int, int], options: PictureOptions
) -> Image.Image:
    """Return a part of an image in some size (before it is turned), upright and in sRGB."""
    match_transparency(opened.image)
    image, turn = opened.load(options.limits), opened.metadata.orientation
    decoded_box = _decoded_box(box, opened.scales, image.size)
    part = parsing(lambda: without_idle_alpha(_scaled(image, size, decoded_box)))
    colours, video = opened.metadata.colours, opened.format in _VIDEO_FORMATS
    part = to_srgb(part, colours, grey=is_grey(opened.image), video=video)
    return part.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else part


def _decoded_box(box: _Box, scales: tuple[float, float], size: tuple[int, int]) -> _Box:
    (left, top, right, bottom), (across, down), (width, height) = box, scales, size
    return left * across, top * down, min(right * across, width), min(bottom * down, height)


def _scaled(image: Image.Image, size: tuple[int, int], box: _Box) -> Image.Image:
    """Return a part of an image, resampled to a size, in mode L, RGB, RGBA or CMYK."""
    if not is_flat(image):
        image, box = _reduced(image, size, box)
    scaled = image.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=_GAP)
    return scaled if scaled is not image else image.copy()


def _reduced(image: Image.Image, size: tuple[int, int], box: _Box) -> tuple[Image.Image, _Box]:
    """Return a part of an image in a mode that can be resampled, and the box within that part.

    Converts it and reduces it by whole factors, band by band: a converted copy of the whole would take
    as much memory again, and a copy with premultiplied alpha once more.
    """
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[2]), math.ceil(box[3])
    across = max(1, int((box[2] - box[0]) / size[0] / _GAP))
    down = max(1, int((box[3] - box[1]) / size[1] / _GAP))
    rows = max(1, _BAND_PIXELS // (right - left) // down) * down
    result: Image.Image | None = None
    for start in range(top, bottom, rows):
        band = image.crop((left, start, right, min(start + rows, bottom)))
        band.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
        band = flattened(band).reduce((across, down))
        if result is None:
            result = Image.new(band.mode, (band.width, math.ceil((bottom - top) / down)))
        result.paste(band, (0, (start - top) // down))
    assert result is not None  # a box has at least one row
    box = (
        (box[0] - left) / across,
        (box[1] - top) / down,
        (box[2] - left) / across,
        (box[3] - top) / down,
    )
    return result, box
