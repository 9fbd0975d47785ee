"""Images of a colour space as sRGB, by way of linear light; high dynamic range is tone-mapped.

Channels are images of floating-point numbers, one for each: the library's 8 bits are too few for light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from PIL import Image, ImageMath

from persona_profile.images.colours.chromaticities import Matrix, matrix_to
from persona_profile.images.colours.spaces import (
    BT709,
    BT2020,
    HLG_PEAK,
    PQ_PEAK,
    REFERENCE_WHITE,
    Space,
    srgb_curve,
)

_Channels = Sequence[Image.Image]
"""Red, green and blue as floating-point numbers, or grey alone."""

_SYSTEM_GAMMA: Final = 1.2
"""Of HLG on a display of `HLG_PEAK` (ITU-R BT.2100, table 5)."""

_LUMINANCE: Final = (0.2627, 0.6780, 0.0593)
"""Parts of red, green and blue of ITU-R BT.2020 in luminance."""


def _encoded_levels() -> list[int]:
    """Return the level of sRGB, 0 to 255, for each of 65,536 steps of linear light."""
    levels: list[int] = []
    for level in range(255):
        sample = (level + 0.5) / 255
        levels += [level] * (math.ceil(srgb_curve(sample) * _STEPS) - len(levels))
    return levels + [255] * (_STEPS + 1 - len(levels))


_STEPS: Final = 65535
_ENCODED: Final = _encoded_levels()


def space_to_srgb(square: Image.Image, space: Space, peak_nits: float | None) -> Image.Image:
    """Return L or RGB of a space as RGB of sRGB.

    Args:
        square: the image.
        space: its colour space.
        peak_nits: the luminance of its brightest light, in cd/m2, if the file says it.
    """
    table = [space.curve(level / 255) for level in range(256)]
    channels: _Channels = [band.point(table, "F") for band in square.split()]
    if space.light == "display":
        matrix = matrix_to(BT709, space.chromaticities)
    else:
        channels = _multiplied(matrix_to(BT2020, space.chromaticities), channels)
        if space.light == "hlg":
            channels = _displayed(channels)
        channels = _tone_mapped(channels, peak_nits or HLG_PEAK)
        matrix = matrix_to(BT709, BT2020)
    bands = [_encoded(channel) for channel in _multiplied(matrix, channels, _STEPS)]
    return Image.merge("RGB", bands * (3 // len(bands)))


def _multiplied(matrix: Matrix, channels: _Channels, scale: float = 1.0) -> _Channels:
    """Apply a matrix and a scale to each pixel. White stays white, so grey stays grey."""
    if len(channels) == 1:
        return [_calculated(lambda of: of["c"] * scale, c=channels[0])]
    return [_sum([weight * scale for weight in row], channels) for row in matrix]


def _sum(weights: Sequence[float], channels: _Channels) -> Image.Image:
    def weighted(of: dict[str, Any]) -> Any:
        return of["r"] * weights[0] + of["g"] * weights[1] + of["b"] * weights[2]

    red, green, blue = channels
    return _calculated(weighted, r=red, g=green, b=blue)


def _displayed(channels: _Channels) -> _Channels:
    """Return light of a display for light of a scene (the OOTF of ITU-R BT.2100, table 5)."""
    luminance = channels[0] if len(channels) == 1 else _sum(_LUMINANCE, channels)
    peak = HLG_PEAK / REFERENCE_WHITE
    gain = _calculated(lambda of: of["max"](of["y"], 0.0) ** (_SYSTEM_GAMMA - 1) * peak, y=luminance)
    return [_calculated(lambda of: of["c"] * of["gain"], c=each, gain=gain) for each in channels]


def _tone_mapped(channels: _Channels, peak_nits: float) -> _Channels:
    """Return light up to 1. The brightest channel of a pixel decides the gain of all three."""
    brightest = channels[0]
    for channel in channels[1:]:
        brightest = _calculated(lambda of: of["max"](of["a"], of["b"]), a=brightest, b=channel)
    gain = _interpolated(brightest, _GainCurve(peak_nits / REFERENCE_WHITE).gain)
    return [_calculated(lambda of: of["c"] * of["gain"], c=each, gain=gain) for each in channels]


class _GainCurve:
    """Gains over light of more than white: reference white tone mapping (SMPTE ST 2094-50, annex D).

    Light up to white is scaled; above, a Bezier curve ends at white for the peak. Renderers evaluate it
    by a cubic spline of the gain's logarithm, with eight knots, and so does this.
    """

    _KNOTS: Final = 8
    _KNEE: Final = 0.65
    _MIN_HEADROOM: Final = 0.001
    _DEFAULT_HEADROOM: Final = math.log2(1000 / REFERENCE_WHITE)

    def __init__(self, peak: float) -> None:
        headroom = math.log2(max(peak, 1.0))
        self._knots: list[tuple[float, float, float]] = []
        if headroom < self._MIN_HEADROOM:
            return
        white = 1 - 0.5 * min(headroom / self._DEFAULT_HEADROOM, 1)
        middle_x = 1 - self._KNEE + self._KNEE / white
        middle_y = (1 - self._KNEE) * white + self._KNEE
        ax, ay = 1 - 2 * middle_x + peak, white - 2 * middle_y + 1
        bx, by = 2 * middle_x - 2, 2 * middle_y - 2 * white
        for knot in range(self._KNOTS):
            t = knot / (self._KNOTS - 1)
            x, y = 1 + t * (bx + t * ax), white + t * (by + t * ay)
            slope = (2 * ay * t + by) / (2 * ax * t + bx)
            self._knots.append((x, math.log2(y / x), (x * slope - y) / (math.log(2) * x * y)))

    def gain(self, x: float) -> float:
        """Return the factor of light whose brightest channel is `x`, where 1 is white."""
        if not self._knots:
            return 1.0
        if x <= self._knots[0][0]:
            return float(2 ** self._knots[0][1])
        last_x, last_y, _ = self._knots[-1]
        if x >= last_x:
            return float(2**last_y * last_x / x)
        index = next(i for i, knot in enumerate(self._knots) if knot[0] > x)
        (x0, y0, m0), (x1, y1, m1) = self._knots[index - 1 : index + 1]
        width = x1 - x0
        t = (x - x0) / width
        cubic = 2 * y0 + m0 * width - 2 * y1 + m1 * width
        square = -3 * y0 + 3 * y1 - 2 * m0 * width - m1 * width
        return float(2 ** (((cubic * t + square) * t + m0 * width) * t + y0))


_INTERVALS: Final = 255
_MAX_LIGHT: Final = PQ_PEAK / REFERENCE_WHITE
_ROOT: Final = 0.25
_SPAN: Final = _MAX_LIGHT**_ROOT - 1


def _interpolated(light: Image.Image, function: Callable[[float], float]) -> Image.Image:
    """Return a function of light from 1 to `_MAX_LIGHT`, which is constant below.

    It is linear between 256 values, at equal distances of the light's fourth root.
    """
    values = [function((1 + _SPAN * i / _INTERVALS) ** (1 / _ROOT)) for i in range(_INTERVALS + 1)]
    rises = [after - before for before, after in zip(values, [*values[1:], values[-1]], strict=True)]

    def position(of: dict[str, Any]) -> Any:
        inside = of["min"](of["max"](of["x"], 1.0), _MAX_LIGHT)
        return (inside**_ROOT - 1.0) * (_INTERVALS / _SPAN)

    place = _calculated(position, x=light)
    whole = place.convert("L")
    return _calculated(
        lambda of: of["value"] + (of["place"] - of["whole"]) * of["rise"],
        place=place,
        whole=whole.convert("F"),
        value=whole.point(values, "F"),
        rise=whole.point(rises, "F"),
    )


def _encoded(channel: Image.Image) -> Image.Image:
    """Return levels of sRGB for steps of linear light, the nearest for light beyond its gamut."""

    def steps(of: dict[str, Any]) -> Any:
        return of["convert"](of["min"](of["max"](of["c"], 0.0), _STEPS), "I")

    return _calculated(steps, c=channel).point(_ENCODED, "L")


def _calculated(formula: Callable[[dict[str, Any]], Any], **images: Image.Image) -> Image.Image:
    """Return the image of a formula over floating-point images."""
    result = ImageMath.lambda_eval(formula, **images)
    assert isinstance(result, Image.Image)
    return result
