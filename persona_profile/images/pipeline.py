"""The picture pipeline: decode small, crop, downscale, correct colour, turn, encode."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile

from persona_profile.errors import UnprocessablePicture
from persona_profile.images import FORMATS, Crop, Limits, Rendition
from persona_profile.images.decoding import (
    broken_picture,
    check_pixels,
    open_picture,
    orientation,
    reading,
)

_MAX_ICC_BYTES: Final = 4 * 1024 * 1024
_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_ICC_MODES: Final = {"RGB ": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",)}

_ENCODERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "avif": {"quality": 60, "speed": 8},
    "webp": {"quality": 80, "method": 6},
    "jpeg": {"quality": 82, "optimize": True, "progressive": True, "subsampling": "4:2:0"},
}

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
    source: BinaryIO,
    crop: Crop | None,
    limits: Limits,
    sizes: Sequence[int],
    formats: Sequence[str] = FORMATS,
) -> tuple[Rendition, ...]:
    """Return the renditions of a picture, metadata gone, colours sRGB, upright, square.

    Args:
        source: a seekable file at its start.
        crop: which square of the upright picture; by default the largest in its centre.
        limits: what is decoded at all.
        sizes: widths of the squares in pixels.
        formats: which of `FORMATS` to make. A better format that comes out larger is left away.

    Raises:
        UnsupportedMediaType, UnprocessablePicture: see `Renderer`.
    """
    squares = _squares(source, crop, limits, sorted(sizes, reverse=True))
    return tuple(
        Rendition(size, name, data)
        for size, square in squares.items()
        for name, data in _encode(square, formats).items()
    )


def _squares(
    source: BinaryIO, crop: Crop | None, limits: Limits, sizes: Sequence[int]
) -> dict[int, Image.Image]:
    """Decode a picture into squares, each made from the next larger one; largest size first."""
    picture = open_picture(source, limits)
    turn = orientation(picture)
    box = _stored_box(picture.size, turn, crop)
    side = min(round(box[2] - box[0]), sizes[0])
    scales = _decode(picture, side / (box[2] - box[0]), limits)
    scaled_box = _scaled_box(box, scales, picture.size)
    square = reading(lambda: _without_idle_alpha(_resample(_flat_mode(picture), side, scaled_box)))
    square = _to_srgb(square, picture.info.get("icc_profile"))
    if turn in _UPRIGHT:
        square = square.transpose(_UPRIGHT[turn])
    squares = {}
    for size in sizes:
        if size < square.width:
            square = _resample(square, size, None)
        square.info = {}  # encoders would copy comments and profiles from here
        squares[size] = square
    return squares


def _stored_box(stored: tuple[int, int], turn: int, crop: Crop | None) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the crop in the picture as it is stored, not yet turned."""
    width, height = stored
    upright_width, upright_height = (height, width) if turn >= 5 else (width, height)
    if crop is None:
        side = min(stored)
        crop = Crop((upright_width - side) // 2, (upright_height - side) // 2, side)
    x, y, side = crop.x, crop.y, crop.side
    if side < 1 or x < 0 or y < 0 or x + side > upright_width or y + side > upright_height:
        raise UnprocessablePicture(
            "crop_outside_picture",
            f"The upright picture is {upright_width} x {upright_height} pixels.",
            width=upright_width,
            height=upright_height,
        )
    if turn >= 5:
        x, y = y, x
    if turn in (2, 3, 7, 8):
        x = width - x - side
    if turn in (3, 4, 6, 7):
        y = height - y - side
    return x, y, x + side, y + side


def _decode(picture: ImageFile, scale: float, limits: Limits) -> tuple[float, float]:
    """Decode the pixels; a JPEG in the DCT domain at the smallest size that is at least `scale`.

    Returns:
        The scale at which it was decoded, across and down: not quite the quotient of the sizes, as
        the last column and row may stand for less than the others.
    """
    width, height = picture.size
    wanted = (math.ceil(width * scale), math.ceil(height * scale))

    def load() -> tuple[float, float]:
        drafted = picture.draft(None, wanted)
        picture.load()
        _, box = drafted or (None, (0, 0, width, height))
        return box[2] / width, box[3] / height

    scales = reading(load)
    # Some decoders learn the true size of the first frame only now.
    check_pixels(picture, max(limits.max_pixels_jpeg, limits.max_pixels_other))
    return scales


def _scaled_box(
    box: tuple[int, int, int, int], scales: tuple[float, float], decoded: tuple[int, int]
) -> tuple[float, float, float, float]:
    (left, top, right, bottom), (across, down) = box, scales
    return left * across, top * down, min(right * across, decoded[0]), min(bottom * down, decoded[1])


def _flat_mode(picture: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resampled: L, RGB, RGBA or CMYK."""
    if picture.mode.startswith("I"):
        # 16 bits of grey: keep the upper eight. Pillow would clip instead.
        return picture.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "RGB", "RGBA", "CMYK") else picture.convert("RGB")


def _resample(
    picture: Image.Image, side: int, box: tuple[float, float, float, float] | None
) -> Image.Image:
    resampled = picture.resize((side, side), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return resampled if resampled is not picture else picture.copy()


def _without_idle_alpha(square: Image.Image) -> Image.Image:
    """Return a picture without the alpha channel if that is opaque everywhere."""
    if square.mode == "RGBA" and square.getchannel("A").getextrema() == (255, 255):
        return square.convert("RGB")
    return square


def _to_srgb(square: Image.Image, profile: object) -> Image.Image:
    """Convert to sRGB, alpha kept. A profile that is broken or of other channels is ignored."""
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_ICC_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if square.mode in _ICC_MODES.get(source.profile.xcolor_space, ()):
                return _transform(square, source)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return square if square.mode in ("RGB", "RGBA") else square.convert("RGB")


def _transform(square: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    alpha = square.getchannel("A") if square.mode == "RGBA" else None
    opaque = square.convert("RGB") if alpha else square
    converted = ImageCms.profileToProfile(
        opaque,
        source,
        _SRGB,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if converted is None:
        raise broken_picture()
    if alpha:
        converted.putalpha(alpha)
    return converted


def _encode(square: Image.Image, formats: Sequence[str]) -> dict[str, bytes]:
    """Encode JPEG first, then each better format as long as it is smaller than what there is."""
    opaque = square.mode == "RGB"
    encoded = {"jpeg": _save(square if opaque else _on_white(square), "jpeg")}
    smallest = len(encoded["jpeg"]) if opaque else None  # without alpha it is another picture
    for name in reversed(FORMATS):
        if name == "jpeg" or name not in formats:
            continue
        data = _save(square, name)
        if smallest is None or len(data) < smallest:
            encoded[name] = data
            smallest = len(data)
    return encoded


def _save(square: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    square.save(buffer, name, **_ENCODERS[name])
    return buffer.getvalue()


def _on_white(square: Image.Image) -> Image.Image:
    flattened = Image.new("RGB", square.size, "white")
    flattened.paste(square, mask=square.getchannel("A"))
    return flattened
