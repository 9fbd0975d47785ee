"""Matrices between the linear light of primaries (ICC.1:2022, annexes E and F)."""

from __future__ import annotations

from typing import Final

from persona_profile.images.metadata import Chromaticities

Matrix = tuple[tuple[float, float, float], ...]
"""Rows."""

_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final[Matrix] = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


def matrix_to(target: Chromaticities, source: Chromaticities) -> Matrix:
    """Return the matrix from linear light of one set of primaries to another.

    White is adapted to white (Bradford; ICC.1:2022, annex E). ZeroDivisionError is raised if there is
    none.
    """
    return product(inverse(_to_d50(target)), _to_d50(source))


def luminance_of(chromaticities: Chromaticities) -> tuple[float, float, float]:
    """Return the parts of red, green and blue in luminance."""
    _, luminance, _ = _to_xyz(chromaticities)
    return luminance


def _to_xyz(chromaticities: Chromaticities) -> Matrix:
    """Return the matrix from linear RGB to XYZ."""
    columns = [(x, y, 1 - x - y) for x, y in chromaticities[1:]]
    primaries: Matrix = tuple(zip(*columns, strict=True))
    red, green, blue = _applied(inverse(primaries), _white_of(chromaticities))
    return tuple((row[0] * red, row[1] * green, row[2] * blue) for row in primaries)


def _white_of(chromaticities: Chromaticities) -> tuple[float, float, float]:
    x, y = chromaticities.white
    return x / y, 1.0, (1 - x - y) / y


def _to_d50(chromaticities: Chromaticities) -> Matrix:
    """Return the matrix from linear RGB to XYZ whose white is D50."""
    white = _white_of(chromaticities)
    source, target = _applied(_BRADFORD, white), _applied(_BRADFORD, _D50)
    gains = [after / before for before, after in zip(source, target, strict=True)]
    adapted = tuple(
        (row[0] * gain, row[1] * gain, row[2] * gain)
        for row, gain in zip(_BRADFORD, gains, strict=True)
    )
    return product(product(inverse(_BRADFORD), adapted), _to_xyz(chromaticities))


def _applied(matrix: Matrix, vector: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = vector
    first, second, third = (row[0] * x + row[1] * y + row[2] * z for row in matrix)
    return first, second, third


def product(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two matrices."""
    columns = tuple(zip(*right, strict=True))
    return tuple(zip(*(_applied(left, column) for column in columns), strict=True))


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse, by cofactors. ZeroDivisionError is raised if there is none."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    cofactors = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    if abs(determinant) < 1e-9:
        raise ZeroDivisionError
    return tuple(
        (row[0] / determinant, row[1] / determinant, row[2] / determinant) for row in cofactors
    )
