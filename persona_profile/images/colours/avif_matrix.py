"""AVIF in high dynamic range, decoded with all of its 10 or 12 bits.

The AVIF library converts 10 and 12 bits with the matrix of BT.2020 by a fast path that first cuts them
to 8. An error of 2.5 levels becomes 15 where PQ is dark, and saturated blue errs by 10. With matrices
that the path lacks, the library calculates in floating-point numbers. The nearest of them is that of
generic film: the decoder gets a file that names it, and the difference of 2 levels is corrected later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from PIL import Image

from persona_profile.images.colours.chromaticities import Matrix, inverse, luminance_of, product
from persona_profile.images.colours.spaces import BT2020, FILM, FILM_PRIMARIES
from persona_profile.images.metadata import Contents

_BT2020_MATRIX: Final = 9
_DERIVED_MATRIX: Final = 12
"""Matrix coefficients by the primaries (ITU-T H.273, table 4)."""

_HDR_TRANSFERS: Final = (16, 18)
_NCLX: Final = b"colrnclx"
_CODES: Final = struct.Struct(">HHH")
_MAX_BOXES: Final = 10_000


def with_film_matrix(contents: Contents) -> Contents:
    """Return an AVIF in PQ or HLG for decoding with the matrix of film, or the file as it is.

    All of its `nclx` boxes change, as those of tiles count too.
    """
    colours = contents.metadata.colours
    if not colours.cicp or colours.cicp.transfer not in _HDR_TRANSFERS:
        return contents
    data = contents.data
    positions: list[int] = []
    for position in _code_positions(data):
        _, _, matrix = _CODES.unpack_from(data, position)
        if matrix != _BT2020_MATRIX or len(positions) == _MAX_BOXES:
            return contents
        positions.append(position)
    if not positions:
        return contents
    changed = bytearray(data)
    for position in positions:
        _CODES.pack_into(changed, position, FILM_PRIMARIES, colours.cicp.transfer, _DERIVED_MATRIX)
    metadata = replace(contents.metadata, colours=replace(colours, film_matrix=True))
    return replace(contents, data=bytes(changed), metadata=metadata)


def from_film_matrix(image: Image.Image) -> Image.Image:
    """Return RGB that was decoded with the matrix of film as the matrix of BT.2020 gives it."""
    return image.convert("RGB", _CORRECTION)


def _code_positions(data: bytes) -> Iterator[int]:
    """Yield the positions of code points in `nclx` boxes."""
    position = data.find(_NCLX)
    while 0 <= position <= len(data) - len(_NCLX) - _CODES.size:
        yield position + len(_NCLX)
        position = data.find(_NCLX, position + len(_NCLX))


def _to_differences(red: float, green: float, blue: float) -> Matrix:
    """Return the matrix from RGB to luma and colour differences (ITU-T H.273, 8.3)."""
    of_blue, of_red = 2 * (1 - blue), 2 * (1 - red)
    return (
        (red, green, blue),
        (-red / of_blue, -green / of_blue, 0.5),
        (0.5, -green / of_red, -blue / of_red),
    )


def _correction() -> tuple[float, ...]:
    film, true = (_to_differences(*luminance_of(each)) for each in (FILM, BT2020))
    return tuple(value for row in product(inverse(true), film) for value in (*row, 0.0))


_CORRECTION: Final = _correction()
