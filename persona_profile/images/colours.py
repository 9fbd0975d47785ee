"""Colours and alpha: of any mode that a decoder gives, to sRGB with or without alpha."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageCms
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

_MAX_ICC_BYTES: Final = 4 * 1024 * 1024
_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "RGB ": ("RGB", "RGBA"),
    "GRAY": ("L", "RGBA"),
    "CMYK": ("CMYK",),
}
"""Modes of a picture to which a profile of some colour space can belong; its own the first."""

_STEPS: Final = range(0, 256, 17)
_GRID: Final = Image.new("RGB", (len(_STEPS) ** 2, len(_STEPS)))
_GRID.putdata(list(itertools.product(_STEPS, repeat=3)))

_GREY_MODES: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_SIXTEEN_TO_EIGHT: Final = [round(value / 257) for value in range(65536)]

_MIN_ALPHA: Final = 4
"""Alpha below this is full transparency: on no background do 3 of 255 levels show."""

_VISIBLE_ALPHA: Final = [alpha if alpha >= _MIN_ALPHA else 0 for alpha in range(256)]

# A PNG's transparent value is of the file's own depth, but the library has stretched the samples.
_STRETCHED: Final = {"L;2": 85, "L;4": 17}


def is_grey(picture: Image.Image) -> bool:
    """Return whether a picture has no colours by its mode."""
    return picture.mode in _GREY_MODES


def match_transparency(picture: ImageFile) -> None:
    """Bring the transparent value of a PNG that is not yet loaded to the depth of its samples.

    Of 16-bit colours the library keeps the upper eight bits, so of the value too.
    """
    value = picture.info.get("transparency")
    if not isinstance(picture, PngImageFile) or not picture.tile or value is None:
        return
    raw_mode = picture.tile[0].args
    if isinstance(value, int) and raw_mode in _STRETCHED:
        picture.info["transparency"] = value * _STRETCHED[raw_mode]
    elif isinstance(value, tuple) and raw_mode == "RGB;16B":
        picture.info["transparency"] = tuple(sample >> 8 for sample in value)


def is_flat(picture: Image.Image) -> bool:
    """Return whether a picture can be resampled as it is, without a copy: L, RGB or CMYK."""
    return picture.mode in ("L", "RGB", "CMYK") and "transparency" not in picture.info


def flattened(picture: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resampled: L, RGB, RGBA or CMYK."""
    if picture.mode.startswith("I"):
        return _eight_bits(picture)
    if picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "RGB", "RGBA", "CMYK") else picture.convert("RGB")


def without_idle_alpha(square: Image.Image) -> Image.Image:
    """Return a picture without the alpha channel if that is opaque everywhere."""
    if square.mode == "RGBA" and square.getchannel("A").getextrema() == (255, 255):
        return square.convert("RGB")
    return square


def without_hidden_colours(square: Image.Image) -> Image.Image:
    """Return a picture whose colours are as precise as they are visible, and black where they are not.

    A person who erases a part of a picture may erase its alpha alone: the colours would be legible. The
    way to premultiplied alpha and back keeps of each colour the levels that show on a background.
    """
    if square.mode != "RGBA":
        return square
    visible = square.copy()
    visible.putalpha(square.getchannel("A").point(_VISIBLE_ALPHA))
    return visible.convert("RGBa").convert("RGBA")


def to_srgb(square: Image.Image, profile: object, *, grey: bool) -> Image.Image:
    """Convert to sRGB, alpha kept. A profile that is broken or of other channels is ignored.

    Args:
        square: of mode L, RGB, RGBA or CMYK.
        profile: the ICC profile as it stood in the file, if it has one.
        grey: whether the file was grey, whatever mode it has now.
    """
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_ICC_BYTES:
        space, transform = _transform_of(profile)
        if transform and square.mode in _CHANNELS[space] and (space != "GRAY" or grey):
            return _transformed(square, transform)
    return square if square.mode in ("RGB", "RGBA") else square.convert("RGB")


def on_white(square: Image.Image) -> Image.Image:
    """Return a picture with alpha on white, as RGB."""
    result = Image.new("RGB", square.size, "white")
    result.paste(square, mask=square.getchannel("A"))
    return result


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return 16 bits of grey as 8, by rounding: the library itself would clip."""
    transparent = picture.info.get("transparency")
    wide = picture.convert("I")  # the mode that takes tables of 65,536
    grey = wide.point(_SIXTEEN_TO_EIGHT, "L")
    if not isinstance(transparent, int):
        return grey
    alpha = wide.point([255 * (value != transparent) for value in range(65536)], "L")
    return Image.merge("RGBA", (grey, grey, grey, alpha))


@lru_cache(maxsize=4)
def _transform_of(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the colour space of a profile and how to get from there to sRGB.

    There is no transform if the profile is sRGB under whichever name, or can't be used.
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
    """Return whether a transform leaves a grid of all colours as they are, but for rounding."""
    changed = ImageCms.applyTransform(_GRID, transform)
    assert changed is not None  # it does not work in place
    extrema = ImageChops.difference(_GRID, changed).getextrema()
    return all(isinstance(most, int) and most <= 1 for _, most in extrema)  # type: ignore[misc]


def _transformed(square: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    alpha = square.getchannel("A") if square.mode == "RGBA" else None
    opaque = square.convert(transform.input_mode) if alpha else square
    converted = ImageCms.applyTransform(opaque, transform)
    assert converted is not None  # it does not work in place
    if alpha:
        converted.putalpha(alpha)
    return converted
