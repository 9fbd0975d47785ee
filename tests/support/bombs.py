"""Small files that would cost much: each takes its format at its word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

from PIL import Image

from support.pictures import encode, heic, png, png_bomb, png_chunk, quadrants, resized_header

_TILE = 64


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full_box(kind: bytes, *parts: bytes) -> bytes:
    return _box(kind, bytes(4), *parts)


def avif_grid(columns: int, rows: int) -> bytes:
    """Return an AVIF whose grid has one small tile so many times (ISO/IEC 23008-12, 6.6.2.3)."""
    tile = encode(Image.new("RGB", (_TILE, _TILE), (90, 120, 40)), "AVIF")
    pixels = tile[tile.index(b"mdat") + 4 :]
    at = tile.index(b"av1C")
    configuration = tile[at - 4 : at - 4 + int.from_bytes(tile[at - 4 : at])]
    width, height = columns * _TILE, rows * _TILE
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    # Each tile is an item of its own, as it must be; their pixels are the same bytes.
    tiles = range(2, 2 + columns * rows)
    kinds = [
        _box(b"infe", b"\2\0\0\0", struct.pack(">HH", item, 0), kind, b"\0")
        for item, kind in ((1, b"grid"), *((item, b"av01") for item in tiles))
    ]
    references = struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *tiles)
    properties = _box(
        b"ipco",
        _full_box(b"ispe", struct.pack(">II", width, height)),
        _full_box(b"ispe", struct.pack(">II", _TILE, _TILE)),
        configuration,
        _full_box(b"pixi", b"\3\x08\x08\x08"),
    )
    belongs = struct.pack(">I", 1 + len(tiles)) + b"\0\1\2\1\4"
    belongs += b"".join(struct.pack(">H", item) + b"\3\2\x83\4" for item in tiles)

    def file(offset: int) -> bytes:
        # Item 1 stands in `idat` (construction method 1), the others at an offset of the file.
        places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))
        for item in tiles:
            places += struct.pack(">HHHHII", item, 0, 0, 1, offset, len(pixels))
        meta = _full_box(
            b"meta",
            _full_box(b"hdlr", bytes(4), b"pict", bytes(12), b"\0"),
            _full_box(b"pitm", b"\0\1"),
            _box(b"iloc", b"\1\0\0\0", b"\x44\0", struct.pack(">H", 1 + len(tiles)), places),
            _full_box(b"iinf", struct.pack(">H", 1 + len(tiles)), *kinds),
            _full_box(b"iref", _box(b"dimg", references)),
            _box(b"iprp", properties, _full_box(b"ipma", belongs)),
            _box(b"idat", grid),
        )
        return _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + meta + _box(b"mdat", pixels)

    return file(len(file(0)) - len(pixels))


def _resized_ispe(data: bytes, width: int, height: int) -> bytes:
    """Return a HEIF whose every image claims another size than its pixels have."""
    found = bytearray(data)
    at = -1
    while (at := data.find(b"ispe", at + 1)) > 0:
        struct.pack_into(">II", found, at + 8, width, height)
    return bytes(found)


def _gif(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("P", (8, 8)), "GIF"))
    struct.pack_into("<HH", data, data.rindex(b",\0\0\0\0") + 5, width, height)
    return bytes(data)


def _webp(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    bits = int.from_bytes(data[at : at + 4], "little")
    bits = bits & ~0xFFFFFFF | (width - 1) | (height - 1) << 14
    data[at : at + 4] = bits.to_bytes(4, "little")
    return bytes(data)


@cache
def _many_scans(count: int) -> bytes:
    scene = encode(Image.new("RGB", (9_000, 9_000)), progressive=True)
    scan = scene[scene.rindex(b"\xff\xda") : -2]
    return scene[:-2] + scan * count + scene[-2:]


def _metadata(kind: bytes) -> bytes:
    packed = zlib.compress(bytes(64_000_000), 9)
    content = b"a\0\1\0\0\0" + packed if kind == b"iTXt" else b"a\0\0" + packed
    return png(80, 80, 1, 0, (b"\0" + bytes(10)) * 80, png_chunk(kind, content) * 16)


def _jpeg_segments(marker: int, head: bytes, total: int) -> bytes:
    scene = encode(quadrants())
    piece = head + bytes(65_533 - len(head))
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(piece) + 2) + piece
    return scene[:2] + segment * (total // len(segment)) + scene[2:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_bomb(12_000, 12_000),
    "png-within-the-limit": lambda: png_bomb(7_000, 7_000),
    "png-of-rows": lambda: png(1, 2_000_000_000, 1, 0, b"\0\xff" * 100_000),
    "gif": lambda: _gif(60_000, 60_000),
    "gif-within-the-limit": lambda: _gif(7_000, 7_000),
    "webp": lambda: _webp(16_384, 16_384),
    "webp-within-the-limit": lambda: _webp(6_000, 6_000),
    "avif-grid": lambda: avif_grid(200, 200),
    "avif-grid-within-the-limit": lambda: avif_grid(30, 30),
    "avif": lambda: _resized_ispe(encode(quadrants(), "AVIF"), 60_000, 60_000),
    "heic": lambda: _resized_ispe(heic(quadrants()), 60_000, 60_000),
    "jpeg": lambda: resized_header(encode(quadrants()), 65_500, 65_500),
    "jpeg-within-the-limit": lambda: resized_header(encode(quadrants()), 9_990, 9_990),
    "jpeg-of-10,000-scans": lambda: _many_scans(10_000)[: 20 * 1024 * 1024],
    "jpeg-of-as-many-scans-as-are-taken": lambda: _many_scans(39),
    "icc": lambda: _jpeg_segments(0xE2, b"ICC_PROFILE\0\1\xff", 15_000_000),
    "exif": lambda: _jpeg_segments(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", 15_000_000),
    "zTXt": lambda: _metadata(b"zTXt"),
    "iCCP": lambda: _metadata(b"iCCP"),
    "iTXt": lambda: _metadata(b"iTXt"),
}
"""A maker of each bomb."""
