"""Bounds of the structures of a file, checked before a library reads it: segments, chunks, blocks.

Libraries spend microseconds or more on each structure, and a file of 20 MB has room for millions. Each
function walks one format, raises `picture_too_complex` at its bound, and leaves everything else to the
decoder. `boxes` does the same for HEIF and AVIF.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from persona_profile.images.rejections import broken, too_complex

MAX_STRUCTURES: Final = 10_000
"""Segments, chunks or blocks of one file: enough for a PNG of 20 MB in pieces of 2 KiB."""

_MAX_SCANS: Final = 50
"""Scans of one JPEG; encoders write up to about 20. An empty scan of 10 bytes costs as much as a full
one."""

_MAX_STRAY_BYTES: Final = 64 * 1024
"""Bytes between the segments in the header of a JPEG; the library reads them one by one."""

_MAX_COMPRESSED_CHUNKS: Final = 50
"""Chunks of compressed metadata in one PNG; the library unpacks up to 1 MiB of each."""

_MIN_TABLE_BYTES: Final = 17
"""The smallest Huffman table (ITU-T T.81, B.2.4.2); a quantization table is larger."""

_HEADER_MARKER: Final = re.compile(rb"\xff([\x01-\xfe])")
_SCAN_MARKER: Final = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
"""Skips restarts and escapes, which are frequent within scans and are no segments."""

_END_OF_IMAGE: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
_APP13: Final = 0xED
_TABLES: Final = frozenset({0xC4, 0xDB})
_EMPTY: Final = frozenset(range(0xD0, 0xD9))  # restarts, and the start of an image
# In a header the decoder rejects such a segment, and the library looks for the next one within it.
_FOREIGN: Final = frozenset({0xC8, _END_OF_IMAGE, 0xDE, 0xDF, *range(0x01, 0xC0), *range(0xF0, 0xFE)})
_PHOTOSHOP_RESOURCE: Final = b"8BIM"

_PNG_CHUNK: Final = struct.Struct(">I4s")
_RIFF_CHUNK: Final = struct.Struct("<4sI")
_COMPRESSED: Final = frozenset({b"iCCP", b"zTXt", b"iTXt"})

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


def count_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG.

    Bounds segments, tables, scans, and bytes between segments. `picture_broken` if a segment in its
    header is not of a JPEG.
    """
    budget = Budget()
    position, scans, stray = 2, 0, 0
    while marker := (_SCAN_MARKER if scans else _HEADER_MARKER).search(data, position):
        code = marker[1][0]
        stray += 0 if scans else marker.start() - position
        if scans and code == _END_OF_IMAGE:
            return scans
        if not scans and code in _FOREIGN:
            raise broken()
        position = marker.end()
        if code in _EMPTY:
            stray += 2
        else:
            start, position = position, position + int.from_bytes(data[position : position + 2])
            budget.spend(1 + _parts(data, code, start, position))
            scans += code == _START_OF_SCAN
        if stray > _MAX_STRAY_BYTES or scans > _MAX_SCANS:
            raise too_complex()
    return scans


def check_png(data: bytes) -> None:
    """Check the number of chunks of a PNG, and of compressed metadata among them."""
    budget, compressed = Budget(), Budget(_MAX_COMPRESSED_CHUNKS)
    position, kind = 8, b""
    while position + _PNG_CHUNK.size <= len(data) and kind != b"IEND":
        length, kind = _PNG_CHUNK.unpack_from(data, position)
        budget.spend()
        compressed.spend(kind in _COMPRESSED)
        position += _PNG_CHUNK.size + length + 4


def check_webp(data: bytes) -> None:
    """Check the number of chunks of a WebP, including the chunks in its frames."""
    budget = Budget()
    position, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while position + _RIFF_CHUNK.size <= end:
        kind, length = _RIFF_CHUNK.unpack_from(data, position)
        budget.spend()
        position += _RIFF_CHUNK.size
        # A frame has 16 bytes of its own before its chunks.
        position += 16 if kind == b"ANMF" else length + length % 2


def check_gif(data: bytes) -> None:
    """Check the number of blocks before the first image of a GIF.

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


def _parts(data: bytes, code: int, start: int, end: int) -> int:
    """Return the highest number of parts of a segment of a JPEG: tables, or Photoshop's resources."""
    if code in _TABLES:
        return (end - start) // _MIN_TABLE_BYTES
    return data.count(_PHOTOSHOP_RESOURCE, start, end) if code == _APP13 else 0


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
