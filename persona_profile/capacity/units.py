"""Numbers and bytes as a person writes them."""

from __future__ import annotations

import math
from typing import Final

_BYTES: Final = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def rounded(value: float, digits: int = 2) -> str:
    """Return a number with so many significant digits."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "any number of"
    if not 1e-5 <= value < 1e15:
        return f"{value:.{digits - 1}e}"
    near = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(near)))
    return f"{near:,.{decimals}f}"


def short(value: float) -> str:
    """Return a number in short: thousands as k, millions as M."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g}\N{THIN SPACE}{unit}"
    return f"{value:.3g}"


def byte_count(count: float, digits: int = 3) -> str:
    """Return a number of bytes with its unit and so many significant digits."""
    for unit, size in _BYTES:
        if count >= size:
            return f"{rounded(count / size, digits)} {unit}"
    return f"{float(f'{count:.{digits - 1}e}'):.0f} B"
