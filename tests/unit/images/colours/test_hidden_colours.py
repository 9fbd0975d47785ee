from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.pictures.pictures import decoded, encode, heic, png, png_chunk
from support.pictures.shown import foreign

from persona_profile.images import Encoding, Limits, PictureOptions, Rendition
from persona_profile.images.formats import FORMATS, SIZES
from persona_profile.images.pipeline import render_picture

LIMITS = Limits(100_000_000, 50_000_000, 2**30)
ALPHA_FORMATS = ("avif", "webp")


def render(data, effort="balanced") -> dict[tuple[int, str], Rendition]:
    """Return the renditions of all sizes and formats, also of formats that would be left out."""
    made = {}
    for name in ALPHA_FORMATS:
        options = PictureOptions(LIMITS, Encoding((name,), effort=effort), SIZES)
        for each in render_picture(io.BytesIO(data), None, options):
            made[each.size, each.format] = each
    assert made.keys() == {(size, name) for size in SIZES for name in FORMATS}
    return made


def drawn(side, secret, alpha=0) -> np.ndarray:
    """Return RGBA pixels: on the right a gradient, on the left a secret or black under `alpha`."""
    pixels = np.zeros((side, side, 4), np.uint8)
    ramp = np.linspace(40, 220, side).astype(np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = ramp, ramp[:, None], 90
    stripes = (np.indices((side, side)).sum(0) // 8 % 2 * 255).astype(np.uint8)
    left = pixels[:, : side // 2]
    left[..., :3] = stripes[:, : side // 2, None] if secret else 0
    left[..., 3] = alpha
    pixels[:, side // 2 :, 3] = 255
    return pixels


def _rgba(pixels, name, **options) -> bytes:
    return encode(Image.fromarray(pixels), name, **options)


def _grey(pixels) -> bytes:
    return encode(Image.fromarray(np.ascontiguousarray(pixels[..., (0, 3)]), "LA"), "PNG")


def _palette(pixels) -> bytes:
    """Return a PNG with a palette of each grey twice, once transparent."""
    opaque = pixels[..., 3] == 255
    levels = pixels[..., 0] // 2
    rows = b"".join(
        b"\0" + row.tobytes() for row in np.where(opaque, levels, 128 + levels).astype(np.uint8)
    )
    greys = b"".join(bytes([level * 2] * 3) for level in range(128)) * 2
    alphas = b"\xff" * 128 + bytes(128)
    side = len(pixels)
    return png(side, side, 8, 3, rows, png_chunk(b"PLTE", greys), png_chunk(b"tRNS", alphas))


def _sixteen_bits(pixels, colour) -> bytes:
    wide = ((pixels[..., (0, 3)] if colour == 4 else pixels) * np.uint16(257)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    return png(len(pixels), len(pixels), 16, colour, rows)


def _animation(pixels) -> bytes:
    first, second = Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())
    return encode(first, "PNG", save_all=True, append_images=[second])


LOSSLESS = {
    "png": lambda pixels: _rgba(pixels, "PNG"),
    "png-of-grey": _grey,
    "png-with-a-palette": _palette,
    "png-of-16-bits": lambda pixels: _sixteen_bits(pixels, 6),
    "png-of-16-bit-grey": lambda pixels: _sixteen_bits(pixels, 4),
    "animated-png": _animation,
    "webp": lambda pixels: _rgba(pixels, "WEBP", lossless=True, exact=True),
}
LOSSY = {
    "avif": lambda pixels: _rgba(pixels, "AVIF", quality=95),
    "webp": lambda pixels: _rgba(pixels, "WEBP", quality=95, exact=True),
    "heic": lambda pixels: heic(Image.fromarray(pixels), quality=95),
}
# Scaled to no size, to the smallest only, from a multiple, and to each size.
SIDES = (60, 100, 512, 1100)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_what_is_hidden_makes_no_difference(kind, side):
    """Files that differ only under full transparency give the same renditions, byte by byte."""
    secret, plain = (render(LOSSLESS[kind](drawn(side, hides))) for hides in (True, False))
    assert secret == plain


@pytest.mark.parametrize("effort", ["fast", "balanced", "max"])
def test_erased_text(effort):
    """Text under full transparency has no part in any byte of any rendition."""
    data = foreign("hid6-1.4.png")
    pixels = np.asarray(Image.open(io.BytesIO(data))).copy()
    hidden = pixels[..., 3] == 0
    assert pixels[hidden, :3].std() > 50
    pixels[hidden] = 0
    assert render(data, effort) == render(_rgba(pixels, "PNG"), effort)


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_what_is_hidden_makes_no_difference_at_any_effort(effort):
    """Encoders hide no colours either, at any effort."""
    secret, plain = (render(_rgba(drawn(100, hides), "PNG"), effort) for hides in (True, False))
    assert secret == plain


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", sorted(LOSSLESS.keys() | LOSSY.keys()))
def test_no_colour_under_transparency(kind, side):
    """No rendition with alpha has a colour in transparent areas; JPEG is white there."""
    make = LOSSY.get(kind) or LOSSLESS[kind]
    for rendition in render(make(drawn(side, secret=True))).values():
        pixels = np.asarray(decoded(rendition.data))
        # Block encoders carry a little of the visible colours across the edge.
        hidden = pixels[:, : len(pixels) // 2 - 16]
        if rendition.format == "jpeg":
            assert hidden.min() >= 250
        else:
            assert hidden[..., 3].max() <= 1
            assert np.ptp(hidden[..., :3].reshape(-1, 3), axis=0).max() <= 2


@pytest.mark.parametrize("alpha", [1, 2, 3])
def test_no_colour_where_nothing_is_seen(alpha):
    """Alpha that is invisible on every background counts as full transparency."""
    secret, plain = (render(_rgba(drawn(100, hides, alpha), "PNG")) for hides in (True, False))
    erased = render(_rgba(drawn(100, secret=False), "PNG"))
    assert secret == plain == erased


def test_colours_that_are_seen_stay():
    """In partly transparent areas, colours on a background stay the same."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., :3] = (200, 100, 50)
    pixels[..., 3] = np.linspace(4, 255, 64).astype(np.uint8)
    webp = np.asarray(decoded(render(_rgba(pixels, "PNG"))[64, "webp"].data)).astype(float)

    def on_black(picture) -> np.ndarray:
        return picture[..., :3] * picture[..., 3:] / 255

    assert np.abs(on_black(webp) - on_black(pixels.astype(float))).max() <= 4


def test_no_picture_beside_the_picture():
    """A rendition has one image, at most one alpha plane, and no other chunk or item."""
    for (_, name), rendition in render(_rgba(drawn(100, secret=True), "PNG")).items():
        data = rendition.data
        if name == "webp":
            assert _riff_chunks(data) <= {b"VP8X", b"ALPH", b"VP8 ", b"VP8L"}
        elif name == "avif":
            assert data.count(b"infe") == 2
            assert sorted(data[at + 8 : at + 12] for at in _all(data, b"infe")) == [
                b"\0\1\0\0",
                b"\0\2\0\0",
            ]
        else:
            assert data.count(b"\xff\xd8") == 1
            assert data.endswith(b"\xff\xd9")


def _all(data, part) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(part, at)]


def _riff_chunks(data) -> set[bytes]:
    """Return the kinds of a WebP's chunks, which reach to its end."""
    kinds, position = set(), 12
    while position < len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        kinds.add(kind)
        position += 8 + length + length % 2
    assert position == len(data) == 8 + struct.unpack_from("<I", data, 4)[0]
    return kinds
