"""ICC profiles (ICC.1:2022): transforms to sRGB as browsers do them, and code points in profiles."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageCms

from persona_profile.images.colours.spaces import is_supported
from persona_profile.images.metadata import Cicp

_MAX_ICC_BYTES: Final = 4 * 1024 * 1024
_MAX_TAGS: Final = 100
"""The library's limit too."""

_CHANNELS: Final[Mapping[str, tuple[str, ...]]] = {
    "RGB ": ("RGB", "RGBA", "L"),
    "GRAY": ("L", "RGBA"),
    "CMYK": ("CMYK",),
}
"""Modes of images that a profile of a colour space may describe; the mode of the space comes first."""

_STEPS: Final = range(0, 256, 17)
_GRID: Final = Image.new("RGB", (len(_STEPS) ** 2, len(_STEPS)))
_GRID.putdata(list(itertools.product(_STEPS, repeat=3)))

_SIZE: Final = slice(0, 4)
_VERSION: Final = slice(8, 12)
_CLASS: Final = slice(12, 16)
_HEADER_BYTES: Final = 128
_TAG_BYTES: Final = 12


def _with(profile: bytes, field: slice, value: bytes) -> bytes:
    return profile[: field.start] + value + profile[field.stop :]


def _srgb() -> ImageCms.ImageCmsProfile:
    """Return sRGB as version 2: to one of version 4, the library changes the black of some profiles."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return ImageCms.ImageCmsProfile(io.BytesIO(_with(profile, _VERSION, b"\2\x40\0\0")))


_SRGB: Final = _srgb()


def code_points(profile: bytes) -> Cicp | None:
    """Return the code points of an RGB profile, if browsers know both (ICC.1:2022, 9.2.17)."""
    if profile[16:20] != b"RGB ":
        return None
    for signature, offset in _tags(profile):
        data = profile[offset : offset + 12]
        if signature == b"cicp" and len(data) == 12 and data[:4] == b"cicp":
            found = Cicp(data[8], data[9])
            return found if is_supported(found) else None
    return None


def profile_to_srgb(square: Image.Image, profile: bytes, *, grey: bool) -> Image.Image | None:
    """Return L, RGB, RGBA or CMYK as sRGB with its alpha; None if the profile is of no use.

    `grey` is whether the file has no colours.
    """
    if len(profile) > _MAX_ICC_BYTES:
        return None
    space, transform = _transform_of(profile)
    if not transform or square.mode not in _CHANNELS[space] or (space == "GRAY" and not grey):
        return None
    alpha = square.getchannel("A") if square.mode == "RGBA" else None
    opaque = square if square.mode == transform.input_mode else square.convert(transform.input_mode)
    converted = ImageCms.applyTransform(opaque, transform)
    assert converted is not None  # it does not work in place
    if alpha:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=4)
def _transform_of(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the colour space of a profile and its transform to sRGB.

    There is no transform if the profile is sRGB under any name, or can't be used. As in browsers, the
    class of its device makes no difference, and black is not adapted.
    """
    if int.from_bytes(profile[_SIZE]) > len(profile):
        return "", None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_with(profile, _CLASS, b"scnr")))
        space: str = source.profile.xcolor_space
        if space not in _CHANNELS:
            return space, None
        transform = ImageCms.buildTransform(
            source, _SRGB, _CHANNELS[space][0], "RGB", ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.NONE
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


def _tags(profile: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the signatures and offsets of a profile's tags."""
    table = profile[_HEADER_BYTES + 4 :]
    count = int.from_bytes(profile[_HEADER_BYTES : _HEADER_BYTES + 4])
    for position in range(0, min(count, _MAX_TAGS, len(table) // _TAG_BYTES) * _TAG_BYTES, _TAG_BYTES):
        signature, offset, _ = struct.unpack_from(">4sII", table, position)
        yield signature, offset
