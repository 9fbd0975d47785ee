"""Builders of TIFF files and DNGs (TIFF 6.0; DNG 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

BYTE, SHORT, LONG, UNDEFINED = 1, 3, 4, 7
_BYTES = {BYTE: 1, SHORT: 2, LONG: 4, UNDEFINED: 1}

Entry = tuple[int, Sequence[int]]
"""Type and values of a tag."""


@dataclass(frozen=True)
class Directory:
    """A directory by its tags.

    Attributes:
        entries: by tag; `data`'s offset and length are added.
        data: the pixels.
        places: the tags of offset and length of `data`.
        subdirectories: of tag 0x014A.
    """

    entries: Mapping[int, Entry]
    data: bytes = b""
    places: tuple[int, int] = (0x0111, 0x0117)
    subdirectories: Sequence[Directory] = field(default_factory=list)


def preview(jpeg: bytes, width: int, height: int, more: Mapping[int, Entry] | None = None) -> Directory:
    """Return the directory of a JPEG preview."""
    return Directory(
        {
            0x00FE: (LONG, [1]),
            0x0100: (LONG, [width]),
            0x0101: (LONG, [height]),
            0x0103: (SHORT, [7]),
            0x0106: (SHORT, [6]),
            **(more or {}),
        },
        jpeg,
    )


RAW = Directory(
    {
        0x00FE: (LONG, [0]),
        0x0100: (LONG, [4000]),
        0x0101: (LONG, [3000]),
        0x0103: (SHORT, [7]),
        0x0106: (SHORT, [32803]),
    },
    b"\xff\xd8\xff\xc3 of a sensor",
)


def dng(
    *subdirectories: Directory,
    orientation: int = 1,
    order: Literal["little", "big"] = "little",
    is_dng: bool = True,
    following: Sequence[Directory] = (),
) -> bytes:
    """Return a DNG as Adobe's programs write it: a small preview without compression, and others below.

    Args:
        subdirectories: beside the raw photo.
        orientation: of the first directory.
        order: of bytes.
        is_dng: whether it has a DNGVersion.
        following: directories after the first.
    """
    version = {0xC612: (BYTE, [1, 4, 0, 0])} if is_dng else {}
    first = Directory(
        {
            0x00FE: (LONG, [1]),
            0x0100: (LONG, [2]),
            0x0101: (LONG, [1]),
            0x0103: (SHORT, [1]),
            0x0106: (SHORT, [2]),
            0x0112: (SHORT, [orientation]),
            **version,
        },
        bytes(6),
        subdirectories=[RAW, *subdirectories],
    )
    return tiff([first, *following], order)


def tiff(directories: Sequence[Directory], order: Literal["little", "big"] = "little") -> bytes:
    """Return a TIFF file of a chain of directories."""
    file = bytearray((b"II" if order == "little" else b"MM") + (42).to_bytes(2, order) + bytes(4))
    link = 4
    for directory in directories:
        start = _write(file, directory, order)
        file[link : link + 4] = start.to_bytes(4, order)
        link = len(file) - 4
    return bytes(file)


def _write(file: bytearray, directory: Directory, order: Literal["little", "big"]) -> int:
    """Append a directory, the pointer to the next one last; return its offset."""
    entries = dict(directory.entries)
    if directory.subdirectories:
        entries[0x014A] = (LONG, [_write(file, each, order) for each in directory.subdirectories])
    if directory.data:
        offset, length = directory.places
        entries |= {offset: (LONG, [len(file)]), length: (LONG, [len(directory.data)])}
        file += directory.data
    table = len(entries).to_bytes(2, order)
    for tag, (kind, values) in sorted(entries.items()):
        content = b"".join(value.to_bytes(_BYTES[kind], order) for value in values)
        if len(content) > 4:
            place = len(file).to_bytes(4, order)
            file += content
        else:
            place = content.ljust(4, b"\0")
        table += (
            tag.to_bytes(2, order) + kind.to_bytes(2, order) + len(values).to_bytes(4, order) + place
        )
    file += bytes(len(file) % 2)
    start = len(file)
    file += table + bytes(4)
    return start
