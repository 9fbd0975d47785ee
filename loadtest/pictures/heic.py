"""HEIC as phones write it: a grid of tiles, each an HEVC picture (ISO/IEC 23008-12, 6.6.2.3).

The two variants of a tile are padded to the same length by filler data (ITU-T H.265, 7.3.2.8): then the
boxes in front of the tiles, which say where each is, stay the same for every choice among them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Final

import pillow_heif
from PIL import Image

_ENCODER: Final = {"preset": "veryfast"}
_LOCATION: Final = struct.Struct(">HHHHII")
"""Item, way of finding it, source, number of extents, offset, length."""

_MAX_START: Final = 65536
_FILLER_TYPE: Final = 38
_FILLER_BYTES: Final = 7
"""The least that filler data takes: length, header, end."""

_Box = tuple[bytes, bytes]
"""Type and payload."""


def tile(picture: Image.Image, quality: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a picture as HEVC, and the properties that its decoder needs, whole boxes by type."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, quality=quality, enc_params=_ENCODER)
    boxes = dict(_boxes(buffer.getvalue()))
    properties = dict(_boxes(dict(_boxes(boxes[b"meta"][4:]))[b"iprp"]))[b"ipco"]
    wanted = {kind: _box(kind, data) for kind, data in _boxes(properties) if kind in (b"hvcC", b"colr")}
    return boxes[b"mdat"], wanted


def grid(
    tiles: list[bytes], properties: dict[bytes, bytes], columns: int, side: tuple[int, int]
) -> bytes:
    """Return a file whose picture is a grid of tiles.

    Args:
        tiles: row by row, all of one size and with the same properties.
        properties: see `tile`.
        columns: tiles in a row.
        side: width and height of a tile.
    """
    rows = len(tiles) // columns
    start = _start(tiles, properties, (rows, columns), side, 0)
    start = _start(tiles, properties, (rows, columns), side, len(start))
    return start + b"".join(tiles)


def tile_ends(data: memoryview, count: int) -> list[int]:
    """Return where each tile of a `grid` of that many ends.

    Raises:
        ValueError: the file is not one.
    """
    start = bytes(data[:_MAX_START])
    first = start.find(b"iloc") + 4 + 4 + 4 + _LOCATION.size  # version, sizes, the entry of the grid
    places = [
        _LOCATION.unpack_from(start, first + index * _LOCATION.size)[-2:] for index in range(count)
    ]
    if b"iloc" not in start or sum(places[-1]) != len(data):
        raise ValueError("not a HEIC of that many tiles")
    return [offset + length for offset, length in places]


def padded(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    """Return two tiles with filler data behind the shorter one, so that both are of one length."""
    length = max(len(one), len(other))
    if 0 < length - min(len(one), len(other)) < _FILLER_BYTES:
        length += _FILLER_BYTES
    return _padded(one, length), _padded(other, length)


def _padded(data: bytes, length: int) -> bytes:
    missing = length - len(data)
    if not missing:
        return data
    filler = bytes([_FILLER_TYPE << 1, 1]) + b"\xff" * (missing - _FILLER_BYTES) + b"\x80"
    return data + struct.pack(">I", len(filler)) + filler


def _start(
    tiles: list[bytes],
    properties: dict[bytes, bytes],
    shape: tuple[int, int],
    side: tuple[int, int],
    offset: int,
) -> bytes:
    """Return all that stands in front of the tiles; `offset` is its length."""
    (rows, columns), (width, height) = shape, side
    whole = (columns * width, rows * height)
    count = len(tiles)
    items = [_entry(1, b"grid", hidden=False)]
    items += [_entry(2 + index, b"hvc1", hidden=True) for index in range(count)]
    references = struct.pack(f">HH{count}H", 1, count, *range(2, 2 + count))
    shared = [properties[kind] for kind in sorted(properties)]
    container = [_extents(*side), _extents(*whole), *shared]
    # Each association: the index of a property; the decoder's configuration is essential.
    of_tiles = [1, *(3 + at | (0x80 if b"hvcC" in box[:8] else 0) for at, box in enumerate(shared))]
    of_whole = [2, *(3 + at for at, box in enumerate(shared) if b"colr" in box[:8])]
    associations = _association(1, of_whole)
    associations += b"".join(_association(2 + index, of_tiles) for index in range(count))
    description = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *whole)
    meta = [
        _full(b"hdlr", 0, bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", 0, struct.pack(">H", 1)),
        _full(b"iinf", 0, struct.pack(">H", 1 + count) + b"".join(items)),
        _full(b"iref", 0, _box(b"dimg", references)),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(container))
            + _full(b"ipma", 0, struct.pack(">I", 1 + count) + associations),
        ),
        _box(b"idat", description),
        _full(b"iloc", 1, _locations(tiles, offset, len(description))),
    ]
    start = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + _full(b"meta", 0, b"".join(meta))
    return start + struct.pack(">I", 8 + sum(map(len, tiles))) + b"mdat"


def _locations(tiles: list[bytes], offset: int, described: int) -> bytes:
    """Return where the items are (ISO/IEC 14496-12, 8.11.3): the grid in `idat`, tiles in the file."""
    entries = [_LOCATION.pack(1, 1, 0, 1, 0, described)]
    for index, data in enumerate(tiles):
        entries.append(_LOCATION.pack(2 + index, 0, 0, 1, offset, len(data)))
        offset += len(data)
    return struct.pack(">HH", 0x4400, len(entries)) + b"".join(entries)


def _entry(item: int, kind: bytes, *, hidden: bool) -> bytes:
    return _full(b"infe", 2, struct.pack(">HH", item, 0) + kind + b"\0", flags=int(hidden))


def _extents(width: int, height: int) -> bytes:
    return _full(b"ispe", 0, struct.pack(">II", width, height))


def _association(item: int, properties: list[int]) -> bytes:
    return struct.pack(f">HB{len(properties)}B", item, len(properties), *properties)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def _full(kind: bytes, version: int, payload: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + payload)


def _boxes(data: bytes) -> Iterator[_Box]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size
