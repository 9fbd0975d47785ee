"""The chunks of a PNG (PNG, third edition, 5), read before a library reads them.

The library gets a PNG of the chunks on which pixels depend, with an image that browsers show first: the
static one, or the first frame of the animation. Errors in other chunks cost nothing then.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from persona_profile.images.metadata import Canvas, Contents, Metadata
from persona_profile.images.readers.budget import Budget
from persona_profile.images.readers.exif import read_exif
from persona_profile.images.readers.png_colours import read_colours
from persona_profile.images.rejections import broken

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_CHUNK: Final = struct.Struct(">I4s")
_CRC_BYTES: Final = 4
_HEADER: Final = struct.Struct(">IIBBBBB")
_FRAME: Final = struct.Struct(">IIIIIHHBB")
_COLOURS: Final = 256
_MAX_FRAMES: Final = 2**31 - 1

_GREY, _TRUECOLOUR, _INDEXED = 0, 2, 3
_TRANSPARENT_BYTES: Final = {_GREY: 2, _TRUECOLOUR: 6}
_LENGTHS: Final = {b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"cICP": 4, b"cLLI": 8, b"mDCV": 24, b"acTL": 8}
"""Lengths of chunks that a browser ignores if their length is another."""
_BEFORE_PALETTE: Final = frozenset({b"cICP"})
_READ: Final = frozenset({*_LENGTHS, b"iCCP", b"eXIf", b"tRNS"})


class _Header(NamedTuple):
    """The content of IHDR."""

    width: int
    height: int
    depth: int
    colour_type: int
    compression: int
    filter: int
    interlace: int


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int

    def has_valid_crc(self, data: bytes) -> bool:
        crc = zlib.crc32(memoryview(data)[self.start - 4 : self.end])
        return data[self.end : self.end + _CRC_BYTES] == crc.to_bytes(4)


@dataclass(slots=True)
class _Found:
    """Findings of a walk through the chunks.

    Attributes:
        chunks: the content of the first valid chunk of each type that is read.
        has_frame: whether the static image is the first frame of the animation.
        pieces: of the compressed static image.
    """

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    has_frame: bool = False
    pieces: list[memoryview] = field(default_factory=list)


def read_png(data: bytes) -> Contents:
    """Return the contents of a PNG. Bounds the number of chunks that are read.

    `picture_broken` if a chunk on which pixels depend is damaged, or a critical chunk is unknown.
    """
    walk = _chunks(data)
    first = next(walk, None)
    if first is None or first.kind != b"IHDR" or not first.has_valid_crc(data):
        raise broken()
    if first.end - first.start != _HEADER.size:
        raise broken()
    header = _Header._make(_HEADER.unpack_from(data, first.start))
    if header.compression or header.filter or header.interlace > 1:
        raise broken()
    found, rest = _until_pixels(data, header, walk)
    frame, pieces = None, found.pieces
    frames = int.from_bytes(found.chunks.get(b"acTL", b"")[:4])
    if 0 < frames <= _MAX_FRAMES and not found.has_frame:
        frame, frame_pieces = _first_frame(data, header, rest)
        pieces = frame_pieces or pieces
    canvas = None
    if frame is not None:
        header = header._replace(width=frame.width, height=frame.height)
        canvas = frame.canvas
    made = _png(header, found.chunks, b"".join(pieces))
    return Contents(made, _metadata(found.chunks), canvas=canvas)


def _metadata(chunks: dict[bytes, bytes]) -> Metadata:
    orientation = read_exif(chunks.get(b"eXIf", b""), 0, 0).orientation
    return Metadata(orientation, colours=read_colours(chunks))


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks of a file; the end of the last may be missing."""
    budget, position = Budget(), len(SIGNATURE)
    while position + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, position)
        budget.spend()
        position += _CHUNK.size
        yield _Chunk(kind, position, min(position + length, len(data)))
        position += length + _CRC_BYTES


def _until_pixels(
    data: bytes, header: _Header, walk: Iterator[_Chunk]
) -> tuple[_Found, Iterator[_Chunk]]:
    """Return the findings up to the end of the static image, and the chunks behind it."""
    found = _Found()
    for chunk in walk:
        kind = chunk.kind
        if kind == b"IDAT":
            found.pieces, rest = _image_data(data, chunk, walk)
            return found, rest
        if chunk.end + _CRC_BYTES > len(data):
            raise broken()
        if kind == b"PLTE":
            _note_palette(data, header, chunk, found.chunks)
        elif kind == b"fcTL":
            found.has_frame = True
        elif not kind[0] & 0x20:  # critical
            raise broken()
        elif kind in _READ and kind not in found.chunks:
            _note(data, header, chunk, found.chunks)
    raise broken()


def _note(data: bytes, header: _Header, chunk: _Chunk, chunks: dict[bytes, bytes]) -> None:
    """Keep an ancillary chunk if it is valid."""
    kind, start, end = chunk
    if end - start != _LENGTHS.get(kind, end - start) or not chunk.has_valid_crc(data):
        return
    if kind in _BEFORE_PALETTE and b"PLTE" in chunks:
        return
    if kind == b"tRNS" and not _is_transparency(header, end - start, chunks):
        return
    chunks[kind] = data[start:end]


def _is_transparency(header: _Header, length: int, chunks: dict[bytes, bytes]) -> bool:
    if header.colour_type == _INDEXED:
        return b"PLTE" in chunks and 0 < length <= _COLOURS
    needed = _TRANSPARENT_BYTES.get(header.colour_type)
    return needed is not None and length >= needed


def _note_palette(data: bytes, header: _Header, chunk: _Chunk, chunks: dict[bytes, bytes]) -> None:
    """Keep the palette. Only of indexed colours a damaged one is an error."""
    kind, start, end = chunk
    entries = (end - start) // 3
    if header.colour_type == _INDEXED:
        is_second = kind in chunks
        if is_second or not 0 < entries <= _COLOURS or not chunk.has_valid_crc(data):
            raise broken()
    chunks[kind] = data[start : start + 3 * min(entries, _COLOURS)]


def _image_data(
    data: bytes, first: _Chunk, walk: Iterator[_Chunk]
) -> tuple[list[memoryview], Iterator[_Chunk]]:
    """Return the pieces of an image in consecutive chunks, and the chunks behind them.

    As in browsers, a wrong checksum ends the image behind its chunk.
    """
    skipped = 4 if first.kind == b"fdAT" else 0  # the sequence number
    pieces: list[memoryview] = []
    is_whole = True
    for chunk in itertools.chain((first,), walk):
        if chunk.kind != first.kind:
            return pieces, itertools.chain((chunk,), walk)
        if is_whole:
            pieces.append(memoryview(data)[chunk.start + skipped : chunk.end])
            is_whole = chunk.has_valid_crc(data)
    return pieces, iter(())


class _FrameControl(NamedTuple):
    """The content of fcTL, with the canvas of the animation."""

    width: int
    height: int
    canvas: Canvas | None


def _first_frame(
    data: bytes, header: _Header, rest: Iterator[_Chunk]
) -> tuple[_FrameControl | None, list[memoryview]]:
    """Return the first frame of an animation and its pieces; neither if the animation is broken.

    As in Chromium, a frame without data is skipped.
    """
    frame, number = None, 0
    for chunk in rest:
        if chunk.kind not in (b"fcTL", b"fdAT", b"IEND"):
            continue
        if data[chunk.start : chunk.start + 4] != number.to_bytes(4):
            break
        if chunk.kind == b"fdAT":
            pieces, _ = _image_data(data, chunk, rest)
            return frame, pieces if frame else []
        frame = _frame_control(data, header, chunk)
        if frame is None:
            break
        number += 1
    return None, []


def _frame_control(data: bytes, header: _Header, chunk: _Chunk) -> _FrameControl | None:
    if chunk.end - chunk.start != _FRAME.size or not chunk.has_valid_crc(data):
        return None
    _, width, height, left, top, _, _, disposal, blending = _FRAME.unpack_from(data, chunk.start)
    is_inside = left + width <= header.width and top + height <= header.height
    if not width or not height or not is_inside or disposal > 2 or blending > 1:
        return None
    is_covered = (width, height) == (header.width, header.height)
    canvas = None if is_covered else Canvas(header.width, header.height, left, top)
    return _FrameControl(width, height, canvas)


def _png(header: _Header, chunks: dict[bytes, bytes], pixels: bytes) -> bytes:
    """Return a PNG of the chunks on which pixels depend."""
    made = [SIGNATURE, *_chunk(b"IHDR", _HEADER.pack(*header))]
    palette, transparency = chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")
    if header.colour_type == _INDEXED:
        if not palette:
            raise broken()
        # As in browsers, entries that are missing are the last one.
        count = len(palette) // 3
        made += _chunk(b"PLTE", palette + palette[-3:] * (_COLOURS - count))
        if transparency:
            alpha = transparency[:count].ljust(count, b"\xff")
            made += _chunk(b"tRNS", alpha + alpha[-1:] * (_COLOURS - count))
    elif transparency:
        made += _chunk(b"tRNS", _sample_values(header, transparency))
    made += (*_chunk(b"IDAT", pixels), *_chunk(b"IEND", b""))
    return b"".join(made)


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return _CHUNK.pack(len(content), kind), content, crc.to_bytes(4)


def _sample_values(header: _Header, transparency: bytes) -> bytes:
    """Return the transparent samples, each without bits that the image has no room for."""
    mask = (1 << header.depth) - 1
    count = _TRANSPARENT_BYTES[header.colour_type] // 2
    samples = struct.unpack_from(f">{count}H", transparency)
    return struct.pack(f">{count}H", *(each & mask for each in samples))
