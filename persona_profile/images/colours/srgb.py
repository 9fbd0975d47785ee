"""Colours and alpha: from any mode of a decoder to sRGB with or without alpha."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from persona_profile.images.colours.avif_matrix import from_film_matrix
from persona_profile.images.colours.linear_light import space_to_srgb
from persona_profile.images.colours.profiles import code_points, profile_to_srgb
from persona_profile.images.colours.spaces import space_of
from persona_profile.images.metadata import Colours

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


def to_srgb(square: Image.Image, colours: Colours, *, grey: bool, video: bool = False) -> Image.Image:
    """Convert L, RGB, RGBA or CMYK to sRGB, as browsers show it; keep alpha.

    A profile that is broken or of other channels is ignored, as one for grey if the file was not grey.
    Code points in an ICC profile of RGB go before the rest of it.

    Args:
        square: the image.
        colours: the colour space of its file.
        grey: whether the file has no colours.
        video: whether code points are of HEIF or AVIF. See `space_of`.
    """
    if colours.icc:
        coded = None if square.mode == "CMYK" else code_points(colours.icc)
        if coded is None:
            return _rgb(profile_to_srgb(square, colours.icc, grey=grey) or square)
        colours, video = replace(colours, icc=None, cicp=coded), True
    space = space_of(colours, video=video)
    if space is None or square.mode == "CMYK":
        return _rgb(square)
    opaque = square if square.mode != "RGBA" else square.convert("RGB")
    if colours.film_matrix and opaque.mode == "RGB":
        opaque = from_film_matrix(opaque)
    converted = space_to_srgb(opaque, space, colours.peak_nits)
    if square.mode == "RGBA":
        converted.putalpha(square.getchannel("A"))
    return converted


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


def _rgb(square: Image.Image) -> Image.Image:
    return square if square.mode in ("RGB", "RGBA") else square.convert("RGB")
