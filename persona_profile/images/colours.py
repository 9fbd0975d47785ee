"""Colours and alpha: from any mode of a decoder to sRGB with or without alpha."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageCms
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from persona_profile.images.metadata import Colours

_MAX_ICC_BYTES: Final = 4 * 1024 * 1024
_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "RGB ": ("RGB", "RGBA"),
    "GRAY": ("L", "RGBA"),
    "CMYK": ("CMYK",),
}
"""Modes of images that a profile of a colour space may describe; the mode of the space comes first."""

_STEPS: Final = range(0, 256, 17)
_GRID: Final = Image.new("RGB", (len(_STEPS) ** 2, len(_STEPS)))
_GRID.putdata(list(itertools.product(_STEPS, repeat=3)))

_GREY_MODES: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_SIXTEEN_TO_EIGHT: Final = [round(value / 257) for value in range(65536)]

_MIN_ALPHA: Final = 4
"""Alpha below this is full transparency: 3 of 255 levels are visible on no background."""

_VISIBLE_ALPHA: Final = [alpha if alpha >= _MIN_ALPHA else 0 for alpha in range(256)]

# The transparent value of a PNG has the depth of the file; the library has stretched the samples.
_STRETCHED: Final = {"L;2": 85, "L;4": 17}


def is_grey(image: Image.Image) -> bool:
    """Whether an image has no colours by its mode."""
    return image.mode in _GREY_MODES


def match_transparency(image: ImageFile) -> None:
    """Convert the transparent value of a PNG that is not yet loaded to the depth of its samples.

    The library keeps the upper eight of 16 bits of a colour, so this keeps those of the value.
    """
    value = image.info.get("transparency")
    if not isinstance(image, PngImageFile) or not image.tile or value is None:
        return
    raw_mode = image.tile[0].args
    if isinstance(value, int) and raw_mode in _STRETCHED:
        image.info["transparency"] = value * _STRETCHED[raw_mode]
    elif isinstance(value, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in value)


def is_flat(image: Image.Image) -> bool:
    """Whether an image can be resampled without a converted copy: L, RGB or CMYK."""
    return image.mode in ("L", "RGB", "CMYK") and "transparency" not in image.info


def flattened(image: Image.Image) -> Image.Image:
    """Return an image in a mode that can be resampled: L, RGB, RGBA or CMYK."""
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "RGBA", "CMYK") else image.convert("RGB")


def without_idle_alpha(square: Image.Image) -> Image.Image:
    """Return an image, without its alpha channel if that is opaque everywhere."""
    if square.mode == "RGBA" and square.getchannel("A").getextrema() == (255, 255):
        return square.convert("RGB")
    return square


def without_hidden_colours(square: Image.Image) -> Image.Image:
    """Return an image whose colours are only as precise as they are visible, and black if invisible.

    A person who erases a part of a picture may erase its alpha alone, and leave the colours legible.
    Conversion to premultiplied alpha and back keeps the visible levels of each colour.
    """
    if square.mode != "RGBA":
        return square
    visible = square.copy()
    visible.putalpha(square.getchannel("A").point(_VISIBLE_ALPHA))
    return visible.convert("RGBa").convert("RGBA")


def to_srgb(square: Image.Image, colours: Colours, *, grey: bool) -> Image.Image:
    """Convert L, RGB, RGBA or CMYK to sRGB by the file's ICC profile; keep alpha.

    A profile that is broken or of other channels is ignored, as one for grey if the file was not grey.
    """
    profile = colours.icc
    if profile and len(profile) <= _MAX_ICC_BYTES:
        space, transform = _transform_of(profile)
        if transform and square.mode in _CHANNELS[space] and (space != "GRAY" or grey):
            return _transformed(square, transform)
    return square if square.mode in ("RGB", "RGBA") else square.convert("RGB")


def on_white(square: Image.Image) -> Image.Image:
    """Return an image with alpha on white, as RGB."""
    result = Image.new("RGB", square.size, "white")
    result.paste(square, mask=square.getchannel("A"))
    return result


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8 bits, by rounding: the library would clip."""
    transparent = image.info.get("transparency")
    wide = image.convert("I")  # the mode that takes tables of 65,536
    grey = wide.point(_SIXTEEN_TO_EIGHT, "L")
    if not isinstance(transparent, int):
        return grey
    alpha = wide.point([255 * (value != transparent) for value in range(65536)], "L")
    return Image.merge("RGBA", (grey, grey, grey, alpha))


@lru_cache(maxsize=4)
def _transform_of(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the colour space of a profile and its transform to sRGB.

    There is no transform if the profile is sRGB under any name, or can't be used.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space: str = source.profile.xcolor_space
        if space not in _CHANNELS:
            return space, None
        transform = ImageCms.buildTransform(
            source,
            _SRGB,
            _CHANNELS[space][0],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "", None
    return space, None if space == "RGB " and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform keeps a grid of all colours, except for rounding."""
    changed = ImageCms.applyTransform(_GRID, transform)
    assert changed is not None  # it does not work in place
    extrema = ImageChops.difference(_GRID, changed).getextrema()
    return all(isinstance(highest, int) and highest <= 1 for _, highest in extrema)  # type: ignore[misc]


def _transformed(square: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    alpha = square.getchannel("A") if square.mode == "RGBA" else None
    opaque = square.convert(transform.input_mode) if alpha else square
    converted = ImageCms.applyTransform(opaque, transform)
    assert converted is not None  # it does not work in place
    if alpha:
        converted.putalpha(alpha)
    return converted
