"""Bounds of the structures of a file, checked before a library reads it: segments, chunks, blocks.

Libraries spend microseconds or more on each structure, and a file of 20 MB has room for millions. Each
function walks one format, raises `picture_too_complex` at its bound, and leaves everything else to the
decoder. `jpeg`, `png` and `boxes` do the same for their formats.
"""

from __future__ import annotations

import struct
from typing import Final

from persona_profile.images.metadata import Contents
from persona_profile.images.rejections import too_complex

MAX_STRUCTURES: Final = 10_000
"""Segments, chunks or blocks of one file: enough for a PNG of 20 MB in pieces of 2 KiB."""


_RIFF_CHUNK: Final = struct.Struct("<4sI")

_GIF_EXTENSION: Final = 0x21
_GIF_IMAGE: Final = 0x2C
_GIF_END: Final = 0x3B
_GIF_COMMENT: Final = 0xFE
_GIF_APPLICATION: Final = 0xFF


class Budget:
    """The number of structures that a file may still have."""

    def __init__(self, maximum: int = MAX_STRUCTURES) -> None:
        self._left = maximum

    def spend(self, count: int = 1) -> None:
        """Count structures; one too many is `picture_too_complex`."""
        self._left -= count
        if self._left < 0:
            raise too_complex()


def read_webp(data: bytes) -> Contents:
    """Return the contents of a WebP. Bounds the number of chunks, including those in its frames."""
    budget = Budget()
    position, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while position + _RIFF_CHUNK.size <= end:
        kind, length = _RIFF_CHUNK.unpack_from(data, position)
        budget.spend()
        position += _RIFF_CHUNK.size
        # A frame has 16 bytes of its own before its chunks.
        position += 16 if kind == b"ANMF" else length + length % 2
    return Contents(data)


def read_gif(data: bytes) -> Contents:
    """Return the contents of a GIF. Bounds the number of blocks before the first image of a GIF.

    The walk is that of the library, which differs from the standard for an extension without blocks.
    """
    budget = Budget()
    flags = data[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while position < len(data) and data[position] not in (_GIF_IMAGE, _GIF_END):
        budget.spend()
        if data[position] == _GIF_EXTENSION:
            position = _after_extension(data, position, budget)
        else:
            position += 1
    return Contents(data)


def _after_extension(data: bytes, position: int, budget: Budget) -> int:
    """Return the position after an extension of a GIF, as the library finds it."""

    def after_block(position: int) -> int:
        budget.spend()
        return position + 1 + data[position]

    label, start, position = data[position + 1], position + 2, after_block(position + 2)
    is_empty = position == start + 1
    if label == _GIF_COMMENT and is_empty:
        return position
    if label == _GIF_APPLICATION and data.startswith(b"NETSCAPE2.0", start + 1) and not is_empty:
        position = after_block(position)
    while data[position]:
        position = after_block(position)
    return position + 1
