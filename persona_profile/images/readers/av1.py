"""The colour space in a sequence header of AV1 (AV1 Bitstream Specification, 5.5)."""

from __future__ import annotations

from typing import Final

from persona_profile.errors import UnprocessablePicture
from persona_profile.images.metadata import Cicp
from persona_profile.images.readers.bits import HighBits

_SEQUENCE_HEADER: Final = 1
_MAX_UNITS: Final = 4
"""Units before the sequence header: temporal delimiters and metadata."""

_SELECTED: Final = 2


def cicp_of(data: bytes) -> Cicp | None:
    """Return the code points of the sequence header at the start of some AV1, if there are any."""
    try:
        return _first_sequence_header(HighBits(data))
    except UnprocessablePicture:  # the decoder will say so
        return None


def _first_sequence_header(bits: HighBits) -> Cicp | None:
    for _ in range(_MAX_UNITS):
        bits.read(1)
        kind, extended, has_size = bits.read(4), bits.read(1), bits.read(1)
        bits.read(1 + 8 * extended)
        if not has_size:
            return None
        length = _leb128(bits)
        if kind == _SEQUENCE_HEADER:
            return _sequence_header(bits)
        bits.skip(8 * length)
    return None


def _leb128(bits: HighBits) -> int:
    value = 0
    for place in range(8):
        byte = bits.read(8)
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            break
    return value


def _sequence_header(bits: HighBits) -> Cicp | None:
    profile, _, is_reduced = bits.read(3), bits.read(1), bits.read(1)
    if is_reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    widths = bits.read(4), bits.read(4)
    bits.read(sum(widths) + 2)
    if not is_reduced and bits.read(1):
        bits.read(4 + 3)
    bits.read(3)
    if not is_reduced:
        _skip_tools(bits)
    bits.read(3)
    return _colour_config(bits, profile)


def _skip_operating_points(bits: HighBits) -> None:
    """Pass over timing and operating points (5.5.1)."""
    has_model, delay_length = 0, 0
    if bits.read(1):
        bits.read(32 + 32)
        if bits.read(1):
            bits.read_uvlc()
        has_model = bits.read(1)
        if has_model:
            delay_length = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if has_model and bits.read(1):
            bits.read(2 * delay_length + 1)
        if has_delay and bits.read(1):
            bits.read(4)


def _skip_tools(bits: HighBits) -> None:
    """Pass over the tools of moving pictures (5.5.1)."""
    bits.read(4)
    has_order_hint = bits.read(1)
    bits.read(2 * has_order_hint)
    screen_content = _SELECTED if bits.read(1) else bits.read(1)
    if screen_content and not bits.read(1):
        bits.read(1)
    bits.read(3 * has_order_hint)


def _colour_config(bits: HighBits, profile: int) -> Cicp | None:
    """Read the code points (5.5.2)."""
    if bits.read(1) and profile == 2:
        bits.read(1)
    if profile != 1:
        bits.read(1)
    return Cicp(bits.read(8), bits.read(8)) if bits.read(1) else None
