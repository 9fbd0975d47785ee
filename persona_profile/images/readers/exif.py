"""The few tags of EXIF that browsers apply to an image (EXIF 2.32; TIFF 6.0, section 2).

The rules are those of Chromium. Other browsers differ in files that no camera writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_ORIENTATION: Final = 0x0112
_X_RESOLUTION: Final = 0x011A
_Y_RESOLUTION: Final = 0x011B
_RESOLUTION_UNIT: Final = 0x0128
_EXIF_IFD: Final = 0x8769
_WIDTH: Final = 0xA002
_HEIGHT: Final = 0xA003

_SHORT: Final = 3
_LONG: Final = 4
_RATIONAL: Final = 5
_INCH: Final = 2
_SCREEN_DENSITY: Final = 72

_ENTRY_BYTES: Final = 12


class Exif(NamedTuple):
    """Values of an EXIF block that browsers apply.

    Attributes:
        orientation: 1 to 8.
        natural_size: the size in the density that the block claims, if the block confirms that size.
    """

    orientation: int = 1
    natural_size: tuple[int, int] | None = None


class _Block:
    """A TIFF block: an image file directory, and the Exif directory to which it points."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4], "")

    def values(self) -> dict[int, int | tuple[int, int]]:
        """Return the first valid value of each tag, in the order of the file."""
        found: dict[int, int | tuple[int, int]] = {}
        if self._order and len(self._data) >= 8:
            for tag, value in self._entries(self._long(4), visits_exif=True):
                if _is_valid(tag, value):
                    found.setdefault(tag, value)
        return found

    def _entries(
        self, offset: int, *, visits_exif: bool
    ) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """Yield tags and values of a directory; those of the first Exif directory at its pointer."""
        if not 8 <= offset <= len(self._data) - 2:
            return
        [count] = struct.unpack_from(f"{self._order}H", self._data, offset)
        end = min(len(self._data), offset + 2 + count * _ENTRY_BYTES)
        for start in range(offset + 2, end - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            tag, kind, length = struct.unpack_from(f"{self._order}HHI", self._data, start)
            value = self._value(kind, start + 8) if length == 1 else None
            if tag == _EXIF_IFD and kind == _LONG and isinstance(value, int) and visits_exif:
                visits_exif = False
                yield from self._entries(value, visits_exif=False)
            elif value is not None and kind in _KINDS.get(tag, ()):
                yield tag, value

    def _value(self, kind: int, at: int) -> int | tuple[int, int] | None:
        if kind == _SHORT:
            return int(struct.unpack_from(f"{self._order}H", self._data, at)[0])
        if kind == _LONG:
            return self._long(at)
        offset = self._long(at)
        if kind == _RATIONAL and offset + 8 <= len(self._data):
            return self._long(offset), self._long(offset + 4)
        return None

    def _long(self, at: int) -> int:
        return int(struct.unpack_from(f"{self._order}I", self._data, at)[0])


_KINDS: Final = {
    _ORIENTATION: (_SHORT,),
    _RESOLUTION_UNIT: (_SHORT,),
    _X_RESOLUTION: (_RATIONAL,),
    _Y_RESOLUTION: (_RATIONAL,),
    _WIDTH: (_SHORT, _LONG),
    _HEIGHT: (_SHORT, _LONG),
}
"""Types in which browsers accept the value of a tag."""


def read_exif(block: bytes, width: int, height: int) -> Exif:
    """Return the values of a TIFF block, as browsers apply them to an image of a stored size."""
    values = _Block(block).values()
    orientation = values.get(_ORIENTATION, 1)
    assert isinstance(orientation, int)  # a SHORT
    return Exif(orientation, _natural_size(values, width, height))


def _is_valid(tag: int, value: int | tuple[int, int]) -> bool:
    if isinstance(value, tuple):
        return 0 not in value
    return 1 <= value <= 8 if tag == _ORIENTATION else value > 0


def _natural_size(
    values: dict[int, int | tuple[int, int]], width: int, height: int
) -> tuple[int, int] | None:
    across, down = values.get(_X_RESOLUTION), values.get(_Y_RESOLUTION)
    if values.get(_RESOLUTION_UNIT) != _INCH or across is None or down is None:
        return None
    size = _in_density(width, across), _in_density(height, down)
    if 0 in size or size != (values.get(_WIDTH), values.get(_HEIGHT)) or size == (width, height):
        return None
    return size


def _in_density(pixels: int, resolution: int | tuple[int, int]) -> int:
    """Return pixels at a resolution as pixels of a browser, rounded half up."""
    assert isinstance(resolution, tuple)  # a RATIONAL
    numerator, denominator = resolution
    return (2 * pixels * _SCREEN_DENSITY * denominator + numerator) // (2 * numerator)
