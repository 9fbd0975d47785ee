"""The colour space of a PNG (PNG, third edition, 4.3 and 11.3.2), in Chromium's order of precedence."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Final

from persona_profile.images.metadata import MAX_PROFILE_BYTES, Chromaticities, Cicp, Colours

_PRIMARIES: Final = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22})
_TRANSFERS: Final = frozenset({1, 4, 5, 6, 7, 8, 11, 13, 14, 15, 16, 17, 18})
"""Code points of ITU-T H.273 that browsers know."""

_MAX_INTENT: Final = 3
_MAX_NAME_BYTES: Final = 80
_PROFILE_HEADER_BYTES: Final = 128
_SCALE: Final = 100_000
_NITS: Final = 10_000
"""Steps of 1 cd/m2 in mDCV and cLLI."""


def read_colours(chunks: Mapping[bytes, bytes]) -> Colours:
    """Return the colour space of chunks by their types: the first one that is valid.

    The order is cICP, iCCP, sRGB, gAMA. cHRM counts only together with gAMA.
    """
    if cicp := _cicp(chunks.get(b"cICP", b"")):
        return Colours(cicp=cicp, peak_nits=_peak_nits(chunks))
    if profile := _profile(chunks.get(b"iCCP", b"")):
        return Colours(icc=profile)
    intent = chunks.get(b"sRGB")
    gamma = int.from_bytes(chunks.get(b"gAMA", b""))
    if (intent and intent[0] <= _MAX_INTENT) or not gamma:
        return Colours()
    if b"cHRM" not in chunks:
        return Colours(gamma=gamma / _SCALE)
    values = struct.unpack(">8I", chunks[b"cHRM"])
    if max(values) > _SCALE or not _is_triangle(*values[2:]):
        return Colours()
    pairs = [(x / _SCALE, y / _SCALE) for x, y in zip(values[::2], values[1::2], strict=True)]
    return Colours(gamma=gamma / _SCALE, chromaticities=Chromaticities._make(pairs))


def _is_triangle(*values: int) -> bool:
    """Return whether three points of a plane are the corners of a triangle."""
    red_x, red_y, green_x, green_y, blue_x, blue_y = values
    return (green_x - red_x) * (blue_y - red_y) != (blue_x - red_x) * (green_y - red_y)


def _cicp(content: bytes) -> Cicp | None:
    if not content:
        return None
    primaries, transfer, matrix, full_range = content
    is_known = primaries in _PRIMARIES and transfer in _TRANSFERS
    return Cicp(primaries, transfer) if is_known and (matrix, full_range) == (0, 1) else None


def _profile(content: bytes) -> bytes | None:
    """Return the ICC profile of an iCCP; None if it is none, or too large."""
    name_end = content.find(b"\0", 0, _MAX_NAME_BYTES + 1)
    if name_end < 1 or content[name_end + 1 : name_end + 2] != b"\0":
        return None
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(content[name_end + 2 :], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    is_profile = len(profile) > _PROFILE_HEADER_BYTES and profile[36:40] == b"acsp"
    return profile if inflater.eof and is_profile and len(profile) <= MAX_PROFILE_BYTES else None


def _peak_nits(chunks: Mapping[bytes, bytes]) -> float | None:
    light, display = chunks.get(b"cLLI", b""), chunks.get(b"mDCV", b"")
    peak = int.from_bytes(light[:4]) or int.from_bytes(display[16:20])
    return peak / _NITS or None
