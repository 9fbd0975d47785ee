"""The chunks of a WebP (RFC 9649, 2.5 and 2.7), read before a library reads them."""

from __future__ import annotations

import struct
from typing import Final

from persona_profile.images.metadata import Colours, Contents, Metadata
from persona_profile.images.structures import Budget

_CHUNK: Final = struct.Struct("<4sI")
_FIRST_CHUNK: Final = 12
_FRAME_HEADER_BYTES: Final = 16
_HAS_ANIMATION: Final = 0x02
_HAS_ALPHA: Final = 0x10
_HAS_PROFILE: Final = 0x20


def read_webp(data: bytes) -> Contents:
    """Return the contents of a WebP. Bounds the number of chunks, including those in its frames.

    No browser turns a WebP: its EXIF and XMP are ignored. The first profile counts if the header
    announces it; browsers ignore that of an animation. An animation gets the flag of alpha, which its
    first frame has where it leaves the canvas uncovered, whatever the header says.
    """
    budget = Budget()
    position, end = _FIRST_CHUNK, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    profile = None
    while position + _CHUNK.size <= end:
        kind, length = _CHUNK.unpack_from(data, position)
        budget.spend()
        position += _CHUNK.size
        if kind == b"ICCP" and profile is None:
            profile = data[position : position + length]
        position += _FRAME_HEADER_BYTES if kind == b"ANMF" else length + length % 2
    flags_at = _FIRST_CHUNK + _CHUNK.size
    flags = data[flags_at] if data.startswith(b"VP8X", _FIRST_CHUNK) and flags_at < end else 0
    if flags & _HAS_ANIMATION:
        animation = data[:flags_at] + bytes([flags | _HAS_ALPHA]) + data[flags_at + 1 :]
        return Contents(animation, Metadata())
    return Contents(data, Metadata(colours=Colours(profile if flags & _HAS_PROFILE else None)))
