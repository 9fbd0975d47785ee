"""Valid files of every accepted kind, and random mutations of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from support.pictures.pictures import encode, exif_orientation, heic, in_format


@cache
def valid(name: str, side: int = 120) -> bytes:
    """Return a file in a format, with metadata and some structure."""
    noise = Image.effect_noise((side, side), 40)
    picture = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    metadata = {} if name == "GIF" else {"exif": exif_orientation(6)}
    return in_format(name, picture, **metadata)


def scene(side: int) -> Image.Image:
    """Return a picture with incompressible structure."""
    noise = Image.effect_noise((side, side), 40)
    return Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))


def _animation(name: str, side: int) -> bytes:
    frames = [scene(side).rotate(turn) for turn in (0, 20, 40)]
    return encode(frames[0], name, save_all=True, append_images=frames[1:], duration=100)


def _apng_without_default(side: int) -> bytes:
    """Return an animation of small frames, behind an image that is no frame."""
    frames = [Image.new("RGB", (side, side)), Image.new("RGB", (side, side)), scene(side)]
    frames[1].paste(scene(side - 20), (20, 0))
    more = frames[1:]
    return encode(frames[0], "PNG", save_all=True, append_images=more, default_image=True)


def _partial_gif(side: int) -> bytes:
    """Return an animation whose first frame is smaller than its screen."""
    data = _animation("GIF", side)
    return data[:6] + struct.pack("<HH", side + 30, side + 20) + data[10:]


def _partial_webp(side: int) -> bytes:
    """Return an animation whose first frame is smaller than its canvas."""
    data = _animation("WEBP", side)
    return data[:24] + (side + 29).to_bytes(3, "little") + (side + 19).to_bytes(3, "little") + data[30:]


def _sixteen_bit(side: int) -> bytes:
    grey = np.asarray(scene(side).convert("L"), np.uint16) * 257
    return encode(Image.fromarray(grey), "PNG")


def _transparent(side: int) -> Image.Image:
    picture = scene(side)
    picture.putalpha(Image.linear_gradient("L").resize((side, side)))
    return picture


KINDS: dict[str, Callable[[int], bytes]] = {
    "jpeg": lambda side: encode(scene(side), exif=exif_orientation(6)),
    "progressive-jpeg": lambda side: encode(scene(side), progressive=True, quality=90),
    "cmyk-jpeg": lambda side: encode(scene(side).convert("CMYK")),
    "jpeg-without-end": lambda side: encode(scene(side), restart_marker_blocks=9)[:-2],
    "progressive-jpeg-without-end": lambda side: encode(scene(side), progressive=True)[:-2],
    "mpo": lambda side: _animation("MPO", side),
    "png": lambda side: encode(_transparent(side), "PNG", exif=exif_orientation(6)),
    "palette-png": lambda side: encode(scene(side).quantize(64), "PNG", transparency=3),
    "16-bit-png": _sixteen_bit,
    "apng": lambda side: _animation("PNG", side),
    "apng-without-default": _apng_without_default,
    "webp": lambda side: encode(_transparent(side), "WEBP", exif=exif_orientation(6)),
    "lossless-webp": lambda side: encode(scene(side), "WEBP", lossless=True),
    "animated-webp": lambda side: _animation("WEBP", side),
    "partial-webp": _partial_webp,
    "gif": lambda side: encode(scene(side), "GIF"),
    "animated-gif": lambda side: _animation("GIF", side),
    "partial-gif": _partial_gif,
    "avif": lambda side: encode(_transparent(side), "AVIF", exif=exif_orientation(6)),
    "heic": lambda side: heic(scene(side), exif=exif_orientation(6)),
}
"""Makers of each kind of file; the argument is the width in pixels."""


def mutated(data: bytes, source: random.Random) -> bytes:
    """Return a file with some bytes changed, duplicated, cut out or zeroed."""
    found = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        # Most decisions of decoders depend on headers.
        near_start = source.random() < 0.5
        at = source.randrange(min(len(found), 400) if near_start else len(found))
        length = source.choice((1, 2, 4, 30))
        match source.randrange(6):
            case 0:
                found[at] ^= 1 << source.randrange(8)
            case 1:
                found[at : at + length] = source.randbytes(length)
            case 2:
                found[at : at + length] = source.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            case 3:
                del found[at : at + length]
            case 4:
                found[at:at] = found[max(0, at - 50) : at]
            case _:
                del found[max(at, 400) :]
    return bytes(found)
