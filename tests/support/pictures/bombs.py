"""Picture bombs: small files that cost a naive decoder much time or memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from PIL import Image

from support.pictures.pictures import encode, heic, png, png_bomb, png_chunk, quadrants, resized_header
from support.stores.derived import box, grid, heif, identity, overlay, tile

_MAX_BYTES = 20 * 1024 * 1024
"""The limit of an upload."""


def avif_grid(columns: int, rows: int) -> bytes:
    """Return an AVIF whose grid repeats one small tile; each tile is an item."""
    count = columns * rows
    return heif([grid(columns, rows, range(2, 2 + count)), *[tile()] * count])


def _resized_ispe(data: bytes, width: int, height: int) -> bytes:
    """Return a HEIF whose images claim another size than their pixels have."""
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


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def _padded(file: bytes, at: int, piece: bytes) -> bytes:
    """Return a file with a piece inserted as often as the limit of an upload allows."""
    return file[:at] + piece * ((_MAX_BYTES - len(file)) // len(piece)) + file[at:]


def _padded_jpeg(piece: bytes) -> bytes:
    file = encode(quadrants())
    return _padded(file, 2 + 2 + int.from_bytes(file[4:6]), piece)  # behind its first segment


def _padded_png(piece: bytes, before: bytes = b"IDAT") -> bytes:
    file = encode(quadrants(80, 80), "PNG")
    return _padded(file, file.index(before) - 4, piece)


def _padded_gif(piece: bytes) -> bytes:
    file = encode(Image.new("P", (8, 8)), "GIF")
    return _padded(file, file.rindex(b",\0\0\0\0"), piece)


def _padded_webp(piece: bytes) -> bytes:
    file = encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "WEBP", exif=b"Exif\0\0")
    made = _padded(file, len(file), piece)
    return made[:4] + struct.pack("<I", len(made) - 8) + made[8:]


def _apng() -> bytes:
    frame = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 1, 1, 0, 0, 1, 1, 0, 0))
    return _padded_png(frame + png_chunk(b"fdAT", b"\0\0\0\2"), b"IEND")


def _canvas_of_png(side: int) -> bytes:
    pixels = zlib.compress(b"\0" * 40)
    control = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 1, 1, 1, 1, 1, 0, 0))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (
        png_chunk(b"IHDR", header),
        png_chunk(b"acTL", struct.pack(">II", 1, 0)),
        png_chunk(b"IDAT", b""),
        control,
        png_chunk(b"fdAT", b"\0\0\0\1" + pixels),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _canvas_of_gif(side: int) -> bytes:
    data = encode(Image.new("P", (8, 8)), "GIF")
    return data[:6] + struct.pack("<HH", side, side) + data[10:]


_POINTER = struct.pack(">HHII", 0x8769, 4, 1, 8)
"""An entry of EXIF that points at its own directory."""

STRUCTURES: dict[str, Callable[[], bytes]] = {
    "jpeg-of-empty-segments": lambda: _padded_jpeg(_segment(0xFE, b"")),
    "jpeg-of-fill-bytes": lambda: _padded_jpeg(b"\xff"),
    "jpeg-of-stray-bytes": lambda: _padded_jpeg(b"\0"),
    "jpeg-of-restarts": lambda: _padded_jpeg(b"\xff\xd0"),
    "jpeg-of-quantization-tables": lambda: _padded_jpeg(_segment(0xDB, (b"\0" + b"\1" * 64) * 1000)),
    "jpeg-of-huffman-tables": lambda: _padded_jpeg(_segment(0xC4, bytes(17) * 3800)),
    "png-of-chunks": lambda: _padded_png(png_chunk(b"abCd", b"")),
    "png-of-texts": lambda: _padded_png(png_chunk(b"tEXt", b"a\0b")),
    "png-of-profiles": lambda: _padded_png(
        png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    ),
    "png-of-empty-pieces": lambda: _padded_png(png_chunk(b"IDAT", b"")),
    "gif-of-extensions": lambda: _padded_gif(b"!\1\1a\0"),
    "gif-of-empty-extensions": lambda: _padded_gif(b"!\1\0\0"),
    "gif-of-comments": lambda: _padded_gif(b"!\xfe" + b"\1a" * 1000 + b"\0"),
    "gif-of-stray-bytes": lambda: _padded_gif(b"\0"),
    "heic-of-boxes": lambda: heif([tile("HEIC")], box(b"free") * 2_500_000),
    "heic-of-items": lambda: heif([tile("HEIC")] * 1100),
    "heic-of-pieces": lambda: heif([tile("HEIC")], extents=40_000),
    "heic-of-groups": lambda: heif(
        [tile("HEIC")] * 900,
        box(b"grpl", *[box(b"altr", bytes(4), bytes(3) + b"\1" + bytes(4))] * 1000),
    ),
    "avif-of-items": lambda: heif([tile()] * 10_000),
    "avif-of-references": lambda: heif([grid(15, 10, [2] * 25_000), tile()]),
    "overlay": lambda: heif([overlay(range(2, 62)), *[tile("HEIC", 4096)] * 60]),
    "nested-overlays": lambda: heif([*[overlay([number] * 8) for number in range(2, 8)], tile("HEIC")]),
    "nested-grids": lambda: heif(
        [*[grid(4, 2, [number] * 8, (64, 64)) for number in range(2, 8)], tile("HEIC")]
    ),
    "chain-of-identities": lambda: heif(
        [*[identity(number) for number in range(2, 502)], tile("HEIC")]
    ),
    "circle-of-identities": lambda: heif([identity(2), identity(1)]),
    "identity-of-itself": lambda: heif([identity(1)]),
    "circle-of-alpha": lambda: heif([replace(tile(), alpha_of=2), replace(tile(), alpha_of=1)]),
}
"""Makers of files with too many structures or with cycles of images."""

SKIPPED: dict[str, Callable[[], bytes]] = {
    "jpeg-of-resources": lambda: _padded_jpeg(
        _segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000)
    ),
    "png-of-chunks-at-its-end": lambda: _padded_png(png_chunk(b"abCd", b""), b"IEND"),
    "png-of-frames": _apng,
    "webp-of-chunks": lambda: _padded_webp(b"abcd\0\0\0\0"),
    "webp-of-frames": lambda: _padded_webp(b"ANMF" + struct.pack("<I", 16) + bytes(16)),
    "zTXt": lambda: _metadata(b"zTXt"),
    "iTXt": lambda: _metadata(b"iTXt"),
    "iCCP": lambda: _metadata(b"iCCP"),
    "icc": lambda: _jpeg_segments(0xE2, b"ICC_PROFILE\0\1\xff", 15_000_000),
    "exif": lambda: _jpeg_segments(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", 15_000_000),
    "exif-of-pointers": lambda: _jpeg_segments(
        0xE1, b"Exif\0\0MM\0*\0\0\0\x08\x15\x18" + _POINTER * 5400, 15_000_000
    ),
}
"""Makers of valid files with parts that cost much, if they were read."""

DERIVED: dict[str, Callable[[], bytes]] = {
    "grid-of-large-tiles": lambda: heif(
        [grid(10, 6, range(2, 62), (64, 64)), *[tile("HEIC", 4096)] * 60]
    ),
    "avif-grid-of-large-tiles": lambda: heif(
        [grid(10, 6, range(2, 62), (64, 64)), *[tile("AVIF", 4096)] * 60]
    ),
    "grid-of-a-huge-tile": lambda: heif([grid(1, 1, [2], (64, 64)), tile("AVIF", 8192)]),
    "grid-of-the-same-tile": lambda: heif([grid(10, 6, [2] * 60, (64, 64)), tile("HEIC", 4096)]),
    "huge-alpha": lambda: heif([tile("HEIC"), replace(tile("HEIC", 64, 8192), alpha_of=1)]),
    "identity-of-a-huge-tile": lambda: heif([identity(2), tile("HEIC", 64, 8192)]),
}
"""Makers of files whose derived images need more pixels than the file claims."""

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
    "jpeg-without-end": lambda: resized_header(encode(quadrants()), 9_990, 9_990)[:-2],
    "jpeg-of-scans-without-end": lambda: _many_scans(39)[:-2],
    "small-frame-of-a-png": lambda: _canvas_of_png(60_000),
    "small-frame-of-a-png-within-the-limit": lambda: _canvas_of_png(7_000),
    "small-frame-of-a-gif": lambda: _canvas_of_gif(60_000),
    "small-frame-of-a-gif-within-the-limit": lambda: _canvas_of_gif(7_000),
    "grid-of-tiles-that-lie": lambda: heif(
        [grid(30, 30, range(2, 902), (64, 64)), *[tile("AVIF", 8192, 8)] * 900]
    ),
    **STRUCTURES,
    **SKIPPED,
    **DERIVED,
}
"""Makers of all bombs."""
