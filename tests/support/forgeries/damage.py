"""Ways to damage sealed values."""

from __future__ import annotations

MASKS = (0x01, 0x80, 0xFF)


def every_damage(data: bytes) -> list[bytes]:
    """Return damaged copies: each byte altered, cut at each length, and extended at both ends."""
    flipped = [
        with_byte(data, position, data[position] ^ mask)
        for position in range(len(data))
        for mask in MASKS
    ]
    cut = [data[:length] for length in range(len(data))]
    cut += [data[start:] for start in range(1, len(data))]
    return [*flipped, *cut, data + b"\x00", b"\x00" + data, data + data]


def every_other_byte(data: bytes, position: int) -> list[bytes]:
    """Return the data with every other value of one byte."""
    return [with_byte(data, position, value) for value in range(256) if value != data[position]]


def with_byte(data: bytes, position: int, value: int) -> bytes:
    """Return the data with another byte at a position."""
    return data[:position] + bytes([value]) + data[position + 1 :]
