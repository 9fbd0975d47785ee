"""The chunks of a PNG (PNG, third edition, 5), read before a library reads them."""

from __future__ import annotations

import struct
from typing import Final

from persona_profile.images.metadata import Contents
from persona_profile.images.structures import Budget

_MAX_COMPRESSED_CHUNKS: Final = 50
"""Chunks of compressed metadata in one PNG; the library unpacks up to 1 MiB of each."""

_CHUNK: Final = struct.Struct(">I4s")
_COMPRESSED: Final = frozenset({b"iCCP", b"zTXt", b"iTXt"})


def read_png(data: bytes) -> Contents:
    """Return the contents of a PNG. Bounds the numbers of chunks and of compressed metadata."""
    budget, compressed = Budget(), Budget(_MAX_COMPRESSED_CHUNKS)
    position, kind = 8, b""
    while position + _CHUNK.size <= len(data) and kind != b"IEND":
        length, kind = _CHUNK.unpack_from(data, position)
        budget.spend()
        compressed.spend(kind in _COMPRESSED)
        position += _CHUNK.size + length + 4
    return Contents(data)
