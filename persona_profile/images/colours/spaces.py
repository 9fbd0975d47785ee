"""RGB colour spaces by code points (ITU-T H.273), or by gamma and chromaticities (PNG, 11.3.2).

A space is three primaries, a white point, and a curve from a sample to linear light. Browsers disagree
with the standards in a few places; they decide, as people see a picture in a browser first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from persona_profile.images.colours.chromaticities import matrix_to
from persona_profile.images.metadata import Chromaticities, Cicp, Colours

Curve = Callable[[float], float]
"""A sample from 0 to 1 as linear light: 1 is the white of a page."""

REFERENCE_WHITE: Final = 203.0
"""Luminance of a page's white in high dynamic range, in cd/m2 (ITU-R BT.2408, 2.1)."""

PQ_PEAK: Final = 10_000.0
"""Luminance of the largest sample in PQ, in cd/m2 (ITU-R BT.2100, table 4)."""

HLG_PEAK: Final = 1000.0
"""Nominal peak of a display for HLG, in cd/m2 (ITU-R BT.2100, table 5)."""


class Space(NamedTuple):
    """An RGB colour space.

    Attributes:
        chromaticities: of white and the primaries.
        curve: of every channel.
        light: of the curve's values: "display" light up to 1, "pq" display light up to
            `PQ_PEAK` / `REFERENCE_WHITE`, or "hlg" light of a scene up to 1.
    """

    chromaticities: Chromaticities
    curve: Curve
    light: str = "display"


_D65: Final = (0.3127, 0.3290)
_WHITE_C: Final = (0.310, 0.316)
_WHITE_E: Final = (1 / 3, 1 / 3)
_WHITE_DCI: Final = (0.314, 0.351)

BT709: Final = Chromaticities(_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_SMPTE170: Final = Chromaticities(_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
BT2020: Final = Chromaticities(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))

FILM_PRIMARIES: Final = 8
FILM: Final = Chromaticities(_WHITE_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049))
"""Generic film, with colour filters of Illuminant C."""

_PRIMARIES: Final[Mapping[int, Chromaticities]] = {
    1: BT709,
    4: Chromaticities(_WHITE_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),  # BT.470 M
    5: Chromaticities(_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),  # BT.470 B, G; BT.601 625
    6: _SMPTE170,  # BT.601 525
    7: _SMPTE170,  # SMPTE ST 240
    FILM_PRIMARIES: FILM,
    9: BT2020,
    10: Chromaticities(_WHITE_E, (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),  # CIE XYZ, SMPTE ST 428-1
    11: Chromaticities(_WHITE_DCI, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3
    12: Chromaticities(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
    22: Chromaticities(_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),  # EBU Tech. 3213-E
}
"""Primaries by their code points (ITU-T H.273, table 2)."""


def srgb_curve(sample: float) -> float:
    """IEC 61966-2-1."""
    return sample / 12.92 if sample <= 0.04045 else ((sample + 0.055) / 1.055) ** 2.4


def _smpte240(sample: float) -> float:
    return sample / 4 if sample < 0.0912 else ((sample + 0.1115) / 1.1115) ** (1 / 0.45)


def _smpte428(sample: float) -> float:
    """Of digital cinema: white is 48 cd/m2, and the largest sample 52.37."""
    return float(sample**2.6) * 52.37 / 48


def _pq(sample: float) -> float:
    """SMPTE ST 2084, 5.2."""
    root = sample ** (4096 / 2523 / 128)
    quotient = max(root - 3424 / 4096, 0.0) / (2413 / 128 - 2392 / 128 * root)
    return float(quotient ** (16384 / 2610)) * PQ_PEAK / REFERENCE_WHITE


def _hlg(sample: float) -> float:
    """Light of the scene (ITU-R BT.2100, table 5)."""
    if sample <= 0.5:
        return sample**2 / 3
    return (math.exp((sample - 0.55991073) / 0.17883277) + 0.28466892) / 12


def _power(exponent: float) -> Curve:
    return lambda sample: float(sample**exponent)


_DISPLAY: Final = _power(2.4)
"""Of a studio's display (ITU-R BT.1886), for the curves of cameras, as in BT.709."""

_CURVES: Final[Mapping[int, Curve]] = {
    1: _DISPLAY,
    4: _power(2.2),
    5: _power(2.8),
    6: _DISPLAY,
    7: _smpte240,
    8: _power(1.0),
    11: _DISPLAY,
    13: srgb_curve,
    14: _DISPLAY,
    15: _DISPLAY,
    16: _pq,
    17: _smpte428,
    18: _hlg,
}
"""Curves by the code points of transfer characteristics (ITU-T H.273, table 3)."""

_LIGHTS: Final = {16: "pq", 18: "hlg"}

_INVALID: Final = (0, 3)
"""Reserved code points."""

_SRGB_TRANSFER: Final = 13
_BT709_PRIMARIES: Final = 1
_CAMERAS: Final = (1, 6, 11, 14, 15)

_SRGB: Final = Space(BT709, srgb_curve)

_SRGB_GAMMA: Final = 1 / 2.2
_GAMMA_TOLERANCE: Final = 0.05
"""A gamma that is this near to that of sRGB, as a part of it, stands for the curve of sRGB."""


def is_supported(cicp: Cicp) -> bool:
    """Whether browsers apply the code points of a PNG's `cICP`; otherwise the next chunk counts."""
    return cicp.primaries in _PRIMARIES and cicp.transfer in _CURVES


def space_of(colours: Colours, *, video: bool) -> Space | None:
    """Return the colour space that code points, gamma or chromaticities stand for; None is sRGB.

    Code points of `video` (HEIF, AVIF) differ from those of a PNG: what is unspecified is BT.709 and
    sRGB, and the curves of cameras are shown as sRGB.
    """
    coded = colours.cicp
    space = _coded_space(coded, video=video) if coded else _measured_space(colours)
    return None if space == _SRGB else space


def _coded_space(cicp: Cicp, *, video: bool) -> Space | None:
    primaries, transfer = cicp.primaries, cicp.transfer
    if video:
        if primaries == 0 or transfer in _INVALID:
            return None
        if primaries not in _PRIMARIES:
            primaries = _BT709_PRIMARIES
        if transfer in _CAMERAS or transfer not in _CURVES:
            transfer = _SRGB_TRANSFER
    elif not is_supported(cicp):
        return None
    return Space(_PRIMARIES[primaries], _CURVES[transfer], _LIGHTS.get(transfer, "display"))


def _measured_space(colours: Colours) -> Space | None:
    """Return the space of a gamma, with or without chromaticities, which alone change nothing."""
    gamma, chromaticities = colours.gamma, colours.chromaticities
    if gamma is None or not gamma > 0:
        return None
    if chromaticities is None or not chromaticities.white[1]:
        near = abs(gamma / _SRGB_GAMMA - 1) <= _GAMMA_TOLERANCE
        return None if near else Space(BT709, _power(1 / gamma))
    if not all(0 <= value <= 1 for point in chromaticities for value in point):
        return None
    try:
        matrix_to(BT709, chromaticities)
    except (ZeroDivisionError, OverflowError):
        return None  # the primaries are on a line, or a response of the eye to white is none
    return Space(chromaticities, _power(1 / gamma))
