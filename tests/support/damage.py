"""Ways to damage what is sealed."""

from __future__ import annotations


def every_damage(data: bytes) -> list[bytes]:
    """Return the data with each byte altered, cut at each length, and extended."""
    flipped = [
        data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        for position in range(len(data))
    ]
    return [*flipped, *(data[:length] for length in range(len(data))), data + b"\x00"]
