"""The first image of a GIF (GIF89a), read before a library reads it.

The library gets a GIF of that image alone. Its place on the screen is the canvas of the contents.
"""

from __future__ import annotations

import struct
from typing import Final

from persona_profile.images.metadata import Canvas, Contents, Metadata
from persona_profile.images.readers.budget import Budget
from persona_profile.images.rejections import broken

_SCREEN: Final = struct.Struct("<6sHHBBB")
_IMAGE: Final = struct.Struct("<cHHHHB")
_COLOURS: Final = 256

_EXTENSION: Final = 0x21
_IMAGE_SEPARATOR: Final = 0x2C
_TRAILER: Final = 0x3B
_GRAPHIC_CONTROL: Final = 0xF9
_GRAPHIC_CONTROL_BYTES: Final = 4

_HAS_COLOURS: Final = 0x80
_IS_INTERLACED: Final = 0x40
_HAS_TRANSPARENT: Final = 0x01


def read_gif(data: bytes) -> Contents:
    """Return the contents of a GIF. Bounds the number of blocks before its first image.

    As in browsers, the screen grows to the first image, the background colour is ignored, and colours
    that no table contains are black.
    """
    budget = Budget()
    _, width, height, flags, _, _ = _SCREEN.unpack_from(data)
    position = _SCREEN.size + _table_bytes(flags)
    colours, transparent = data[_SCREEN.size : position], None
    while position < len(data) and data[position] != _IMAGE_SEPARATOR:
        budget.spend()
        if data[position] == _TRAILER:
            raise broken()
        if data[position] == _EXTENSION:
            label, length = data[position + 1 : position + 3]
            if label == _GRAPHIC_CONTROL and length >= _GRAPHIC_CONTROL_BYTES:
                transparent = data[position + 6] if data[position + 3] & _HAS_TRANSPARENT else None
            position = _after_blocks(data, position + 2, budget)
        else:
            position += 1
    _, left, top, own_width, own_height, flags = _IMAGE.unpack_from(data, position)
    position += _IMAGE.size
    if flags & _HAS_COLOURS:
        colours = data[position : position + _table_bytes(flags)]
        position += _table_bytes(flags)
    whole = Canvas(max(width, left + own_width), max(height, top + own_height), left, top)
    made = b"".join(
        (
            _SCREEN.pack(b"GIF89a", own_width, own_height, _HAS_COLOURS | 7, 0, 0),
            colours.ljust(3 * _COLOURS, b"\0"),
            _graphic_control(transparent),
            _IMAGE.pack(b",", 0, 0, own_width, own_height, flags & _IS_INTERLACED),
            memoryview(data)[position:],
        )
    )
    is_covered = whole == (own_width, own_height, 0, 0)
    return Contents(made, Metadata(), canvas=None if is_covered else whole)


def _table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _HAS_COLOURS else 0


def _graphic_control(transparent: int | None) -> bytes:
    if transparent is None:
        return b""
    head = (_EXTENSION, _GRAPHIC_CONTROL, _GRAPHIC_CONTROL_BYTES, _HAS_TRANSPARENT)
    return bytes((*head, 0, 0, transparent, 0))


def _after_blocks(data: bytes, position: int, budget: Budget) -> int:
    """Return the position after the blocks of an extension."""
    while data[position]:
        budget.spend()
        position += 1 + data[position]
    return position + 1
