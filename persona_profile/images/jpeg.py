"""The segments of a JPEG (ITU-T T.81, B.1), read before a library reads them."""

from __future__ import annotations

import re
from typing import Final

from persona_profile.images.metadata import Contents
from persona_profile.images.rejections import broken, too_complex
from persona_profile.images.structures import Budget

_MAX_SCANS: Final = 50
"""Scans of one JPEG; encoders write up to about 20. An empty scan of 10 bytes costs as much as a full
one."""

_MAX_STRAY_BYTES: Final = 64 * 1024
"""Bytes between the segments in the header of a JPEG; the library reads them one by one."""

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


def read_jpeg(data: bytes) -> Contents:
    """Return the contents of a JPEG.

    Bounds segments, tables, scans, and bytes between segments. `picture_broken` if a segment in its
    header is not of a JPEG.
    """
    budget = Budget()
    position, scans, stray = 2, 0, 0
    while marker := (_SCAN_MARKER if scans else _HEADER_MARKER).search(data, position):
        code = marker[1][0]
        stray += 0 if scans else marker.start() - position
        if scans and code == _END_OF_IMAGE:
            return Contents(data, scans=scans)
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
    return Contents(data, scans=scans)


def _parts(data: bytes, code: int, start: int, end: int) -> int:
    """Return the highest number of parts of a segment of a JPEG: tables, or Photoshop's resources."""
    if code in _TABLES:
        return (end - start) // _MIN_TABLE_BYTES
    return data.count(_PHOTOSHOP_RESOURCE, start, end) if code == _APP13 else 0
