"""Generated colour profiles (ICC.1:2001-04), each visibly different from sRGB."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Mapping

RGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of the primaries of sRGB, adapted to D50."""


def rgb_profile(
    primaries: tuple[tuple[float, float, float], ...], gamma: float = 2.2, **others: bytes
) -> bytes:
    """Return a profile of three primaries (XYZ at D50), one tone curve, and other tags."""
    tags = {name: _xyz(*value) for name, value in zip(("rXYZ", "gXYZ", "bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), _gamma(gamma))
    return _profile("mntr", "RGB ", "XYZ ", tags | others)


def code_points(primaries: int, transfer: int) -> bytes:
    """Return the value of a profile's tag `cicp` (ICC.1:2022, 10.3)."""
    return b"cicp\0\0\0\0" + bytes((primaries, transfer, 0, 1))


def swapped_profile() -> bytes:
    """Return a profile whose red is the green of sRGB, green the blue, blue the red."""
    red, green, blue = RGB_PRIMARIES
    return rgb_profile((green, blue, red))


def grey_profile(gamma: float) -> bytes:
    """Return a profile of grey values with a tone curve."""
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _gamma(gamma)})


def cmyk_profile(lab: Callable[..., tuple[int, int, int]]) -> bytes:
    """Return a profile that maps full or no ink of C, M, Y, K (each 0 or 1) to L*a*b*."""
    nodes = itertools.product((0, 1), repeat=4)
    table = b"".join(
        bytes((light * 255 // 100, a + 128, b + 128)) for light, a, b in itertools.starmap(lab, nodes)
    )
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (index % 4 == 0) for index in range(9)))
    lut = b"mft1" + bytes((0, 0, 0, 0, 4, 3, 2, 0)) + matrix + identity * 4 + table + identity * 3
    return _profile("prtr", "CMYK", "Lab ", {"A2B0": lut})


def _profile(kind: str, space: str, connection: str, tags: Mapping[str, bytes]) -> bytes:
    text = b"test\0"
    described = b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(78)
    everything = {"desc": described, "cprt": b"text\0\0\0\0" + text, "wtpt": _xyz(0.9642, 1.0, 0.8249)}
    everything |= tags
    offset = 128 + 4 + 12 * len(everything)
    table, body = struct.pack(">I", len(everything)), b""
    for name, value in everything.items():
        padded = value + bytes(-len(value) % 4)
        table += name.encode() + struct.pack(">II", offset + len(body), len(value))
        body += padded
    header = struct.pack(
        ">I4xI4s4s4s",
        offset + len(body),
        0x02400000,
        kind.encode(),
        space.encode(),
        connection.encode(),
    )
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += _xyz(0.9642, 1.0, 0.8249)[8:]
    return header + bytes(128 - len(header)) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))
