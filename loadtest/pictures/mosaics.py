"""Files of pictures that are put together from compressed parts, with no pixel touched.

A photo is made twice, warm and cool, of independently decodable parts: the intervals between a JPEG's
restart markers, the tiles of a HEIC's grid. Both files have the same parts at the same places, so any
choice among them is a valid file. A screenshot's rows of cells come in all their 256 states.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from PIL import Image

from loadtest.pictures import heic, scenes
from loadtest.pictures.marks import CELLS
from loadtest.pictures.scenes import Box, Plane

MCU: Final = 16
"""Pixels across and down that a JPEG with 4:2:0 chroma codes together (ITU-T T.81, A.2.4)."""

COLUMNS: Final = 12
"""Parts across a photo; the grid takes the inner eight."""

_MARGIN: Final = (COLUMNS - CELLS) // 2
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
_START_OF_SCAN: Final = b"\xff\xda"
_ADLER: Final = 65521
_ORIENTATION_TAG, _MAKE_TAG, _MODEL_TAG = 0x0112, 0x010F, 0x0110


class Mosaic:
    """Two files of the same structure, and which of their parts belong to which cell.

    Args:
        cool, warm: the files.
        parts: for each part in order, its end in the one, in the other, and its cell or None.
    """

    def __init__(
        self, cool: memoryview, warm: memoryview, parts: Sequence[tuple[int, int, int | None]]
    ) -> None:
        self._template: list[memoryview] = []
        self._choices: list[tuple[int, int, memoryview]] = []
        cool_start = warm_start = fixed_start = 0
        for cool_end, warm_end, cell in parts:
            if cell is not None:
                if fixed_start < cool_start:
                    self._template.append(cool[fixed_start:cool_start])
                self._choices.append((len(self._template), cell, warm[warm_start:warm_end]))
                self._template.append(cool[cool_start:cool_end])
                fixed_start = cool_end
            cool_start, warm_start = cool_end, warm_end
        self._template.append(cool[fixed_start:])

    def body(self, cells: Sequence[bool], start: bytes = b"", skip: int = 0) -> bytes:
        """Return the file with those cells warm.

        Args:
            cells: row by row.
            start: what stands in place of the first `skip` bytes.
            skip: see `start`; no cell begins there.
        """
        parts = self._template.copy()
        for place, cell, warm in self._choices:
            if cells[cell]:
                parts[place] = warm
        parts[0] = parts[0][skip:]
        return b"".join((start, *parts))


def jpeg_pair(
    width: int, height: int, *, quality: int, noise: float, texture: float, seed: int
) -> tuple[bytes, bytes]:
    """Return a photo as a JPEG, cool and warm; see `scenes.photo`."""
    photo = scenes.photo(width, height, noise=noise, texture=texture, seed=seed)
    side = width // COLUMNS
    top = (height - CELLS * side) // 2
    cool, warm = (photo.tinted(_grid_box(side, top), warm=warm) for warm in (False, True))
    return jpeg(cool, quality), jpeg(warm, quality)


def heic_pair(
    width: int, height: int, *, quality: int, noise: float, texture: float, seed: int
) -> tuple[bytes, bytes]:
    """Return a photo as a HEIC, cool and warm; see `scenes.photo`."""
    photo = scenes.photo(width, height, noise=noise, texture=texture, seed=seed)
    side = width // COLUMNS
    cool, warm = (photo.tinted(_grid_box(side, 0), warm=warm).convert("RGB") for warm in (False, True))
    pairs = []
    for row in range(height // side):
        for column in range(COLUMNS):
            box = (column * side, row * side, (column + 1) * side, (row + 1) * side)
            one, properties = heic.tile(cool.crop(box), quality)
            inside = _cell(row, column) is not None
            other, others = heic.tile(warm.crop(box), quality) if inside else (one, properties)
            assert others == properties  # one decoder's configuration is for all
            pairs.append(heic.padded(one, other))
    files = [
        heic.grid([pair[which] for pair in pairs], properties, COLUMNS, (side, side))
        for which in (0, 1)
    ]
    return files[0], files[1]


def _grid_box(side: int, top: int) -> Box:
    return _MARGIN * side, top, (_MARGIN + CELLS) * side, top + CELLS * side


def _cell(row: int, column: int) -> int | None:
    """Return the cell in a row of cells and a column of parts, or None if it is outside the grid."""
    across = column - _MARGIN
    return row * CELLS + across if 0 <= row < CELLS and 0 <= across < CELLS else None


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Return a baseline JPEG as phones write it, restarted COLUMNS times in each row of MCUs.

    The Huffman tables are the standard's own (ITU-T T.81, K.3), so that parts of one fit another.
    """
    return _saved(
        picture,
        "JPEG",
        quality=quality,
        subsampling="4:2:0",
        restart_marker_blocks=picture.width // MCU // COLUMNS,
    )


class JpegMosaic:
    """Phone JPEGs: every number and orientation."""

    def __init__(self, cool: memoryview, warm: memoryview, width: int, height: int) -> None:
        rows = -(-height // MCU)
        cell = width // COLUMNS
        top = (height - CELLS * cell) / 2
        ends = [list(_interval_ends(data, rows * COLUMNS)) for data in (cool, warm)]
        parts: list[tuple[int, int, int | None]] = []
        for index, (cool_end, warm_end) in enumerate(zip(*ends, strict=True)):
            row, column = divmod(index, COLUMNS)
            down = int(((row + 0.5) * MCU - top) // cell)
            parts.append((cool_end, warm_end, _cell(down, column)))
        self._mosaic = Mosaic(cool, warm, parts)
        self._skip = _after_jfif(cool)
        self._start = cache(_jpeg_start)

    def body(self, cells: Sequence[bool], orientation: int) -> bytes:
        """Return the file with those stored cells warm, to be turned by that orientation."""
        return self._mosaic.body(cells, self._start(orientation), self._skip)


def _interval_ends(data: memoryview, count: int) -> Iterator[int]:
    """Yield where each restart interval ends, its marker included."""
    start = bytes(data[: 64 * 1024]).index(_START_OF_SCAN)
    found = [match.end() for match in _RESTART.finditer(data, start)]
    if len(found) != count - 1:
        raise ValueError(f"a JPEG of {len(found) + 1} restart intervals, not {count}")
    yield from found
    yield len(data)


def _after_jfif(data: memoryview) -> int:
    """Return where the tables begin: phones write EXIF instead of JFIF."""
    return 4 + int.from_bytes(data[4:6]) if bytes(data[2:4]) == b"\xff\xe0" else 2


def _jpeg_start(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[_MAKE_TAG], exif[_MODEL_TAG] = "Load Test", "Synthetic 1"
    exif[_ORIENTATION_TAG] = orientation
    block = exif.tobytes()
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 2) + block


class HeicMosaic:
    """Phone HEICs: every number, upright."""

    def __init__(self, cool: memoryview, warm: memoryview, width: int, height: int) -> None:
        count = COLUMNS * (height // (width // COLUMNS))
        ends = heic.tile_ends(cool, count)
        if ends != heic.tile_ends(warm, count):
            raise ValueError("two HEICs whose tiles are not at the same places")
        parts: list[tuple[int, int, int | None]] = []
        for index, end in enumerate(ends):
            parts.append((end, end, _cell(*divmod(index, COLUMNS))))
        self._mosaic = Mosaic(cool, warm, parts)

    def body(self, cells: Sequence[bool], orientation: int = 1) -> bytes:
        """Return the file with those cells warm."""
        assert orientation == 1
        return self._mosaic.body(cells)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class PngMosaic:
    """Screenshots: panels of text, with rows of tinted tiles between them.

    Each part of the rows is deflated on its own and stands in a chunk of its own, so that neither has
    to be done again; the checksum of all is calculated from theirs.

    Args:
        panels: rows of pixels above, between and below the rows of tiles, CELLS + 1 of them.
        tile_row: makes one row of pixels of eight cells.
        tile_height: rows of pixels of a row of tiles.
    """

    def __init__(
        self, panels: Sequence[Plane], tile_row: Callable[[list[bool]], Plane], tile_height: int
    ) -> None:
        width = panels[0].shape[1]
        height = sum(len(panel) for panel in panels) + CELLS * tile_height
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        self._start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
        self._panels = [_png_part(panel, first=not at) for at, panel in enumerate(panels)]

        @cache
        def tiles(warm: tuple[bool, ...]) -> tuple[bytes, int, int]:
            return _png_part(np.repeat(tile_row(list(warm))[None], tile_height, axis=0))

        self._tiles = tiles

    def body(self, cells: Sequence[bool], orientation: int = 1) -> bytes:
        """Return the file with those cells warm; a screenshot is always upright."""
        assert orientation == 1
        parts, adler = [self._start], 1
        for row, (chunk, own, length) in enumerate(self._panels):
            parts.append(chunk)
            adler = _adler_of_both(adler, own, length)
            if row < CELLS:
                tile_chunk, *of_tiles = self._tiles(tuple(cells[row * CELLS : (row + 1) * CELLS]))
                parts.append(tile_chunk)
                adler = _adler_of_both(adler, *of_tiles)
        # The last block, empty (RFC 1951, 3.2.6), and the checksum of all (RFC 1950, 2.2).
        parts += [png_chunk(b"IDAT", b"\x03\x00" + adler.to_bytes(4)), png_chunk(b"IEND", b"")]
        return b"".join(parts)


def screenshot(
    width: int, height: int, seed: int
) -> tuple[list[Plane], Callable[[list[bool]], Plane], int]:
    """Return what a PngMosaic is made of: rows of cells whose inner three quarters are tiles."""
    cell = width // (CELLS + 1)
    tile_height, edge = cell * 3 // 4, cell // 8
    pixels = scenes.text(width, height, seed)
    top = (height - CELLS * cell) // 2 + edge
    starts = [0, *(top + row * cell + tile_height for row in range(CELLS))]
    ends = [*(top + row * cell for row in range(CELLS)), height]
    panels = [pixels[start:end] for start, end in zip(starts, ends, strict=True)]

    def tile_row(warm: list[bool]) -> Plane:
        return scenes.tiles(width, cell // 2, cell, warm)

    return panels, tile_row, tile_height


def _png_part(rows: Plane, *, first: bool = False) -> tuple[bytes, int, int]:
    """Return a chunk of deflated rows, their Adler-32, and the bytes that they were."""
    flat = rows.reshape(len(rows), -1)
    left, above = np.zeros_like(flat), np.zeros_like(flat)
    left[:, 3:] = flat[:, :-3]
    above[1:] = flat[:-1]
    candidates = [flat, flat - left, flat - above]
    # The customary choice of a row's filter: the least sum of absolute differences (PNG, 12.8).
    costs = np.stack([np.abs(each.view(np.int8).astype(np.int32)).sum(1) for each in candidates])
    costs[2, 0] = np.iinfo(np.int32).max  # what stands above the first row is not known here
    chosen = costs.argmin(0)
    filtered = np.choose(chosen[:, None], candidates).astype(np.uint8)
    raw = np.concatenate([chosen[:, None].astype(np.uint8), filtered], axis=1).tobytes()
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = deflate.compress(raw) + deflate.flush(zlib.Z_FULL_FLUSH)
    return png_chunk(b"IDAT", (b"\x78\x9c" if first else b"") + data), zlib.adler32(raw), len(raw)


def _adler_of_both(one: int, other: int, length: int) -> int:
    """Return the Adler-32 of two pieces of data, of their checksums and the second one's length."""
    low = ((one & 0xFFFF) + (other & 0xFFFF) - 1) % _ADLER
    high = ((one >> 16) + (other >> 16) + length * ((one & 0xFFFF) - 1)) % _ADLER
    return high << 16 | low


def _saved(picture: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()
