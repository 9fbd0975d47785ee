"""The chunks of a WebP (RFC 9649), read before a library reads them.

The library gets a WebP of one image without metadata: of an animation, its first frame. The place of
that frame is the canvas of the contents.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from persona_profile.images.metadata import MAX_PROFILE_BYTES, Canvas, Colours, Contents, Metadata
from persona_profile.images.readers.budget import Budget
from persona_profile.images.rejections import broken

_CHUNK: Final = struct.Struct("<4sI")
_EXTENDED_BYTES: Final = 10
_FRAME_BYTES: Final = 16

_HAS_PROFILE: Final = 0x20
_HAS_ALPHA: Final = 0x10
_IS_ANIMATED: Final = 0x02
_IMAGES: Final = (b"VP8 ", b"VP8L")
_PARTS: Final = (b"ALPH", *_IMAGES)


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


class _Image(NamedTuple):
    """An image: its size, its chunks of alpha (if any) and colours, and its place on the canvas."""

    size: tuple[int, int]
    parts: list[_Chunk]
    place: tuple[int, int] = (0, 0)


def read_webp(data: bytes) -> Contents:
    """Return the contents of a WebP. Bounds the number of chunks before the end of the first image.

    As in browsers, EXIF and XMP are ignored, and so is the background colour.
    """
    chunks = _chunks(data, 12, len(data), Budget())
    first = next(chunks, None)
    if first is None:
        raise broken()
    if first.kind != b"VP8X":
        return Contents(_riff(data, [first]), Metadata())
    extended = data[first.start : first.end]
    if len(extended) < _EXTENDED_BYTES:
        raise broken()
    flags, (width, height) = extended[0], _size(extended, 4)
    profile, image = _profile_and_image(data, flags, (width, height), chunks)
    left, top = image.place
    if left + image.size[0] > width or top + image.size[1] > height:
        raise broken()
    made = _riff(data, image.parts, _extended(flags, *image.size))
    canvas = None if image.size == (width, height) else Canvas(width, height, left, top)
    return Contents(made, Metadata(colours=Colours(icc=profile)), canvas=canvas)


def _profile_and_image(
    data: bytes, flags: int, size: tuple[int, int], chunks: Iterator[_Chunk]
) -> tuple[bytes | None, _Image]:
    """Return the ICC profile, and the static image or the first frame.

    As in Chromium, the profile of an animation is ignored.
    """
    profile: bytes | None = None
    parts: list[_Chunk] = []
    for chunk in chunks:
        kind, start, end = chunk
        if kind == b"ICCP" and profile is None and flags & _HAS_PROFILE:
            profile = data[start:end] if end - start <= MAX_PROFILE_BYTES else None
        elif kind == b"ANMF" and flags & _IS_ANIMATED:
            return None, _frame(data, chunk)
        elif kind in _PARTS and not flags & _IS_ANIMATED:
            parts.append(chunk)
            if kind in _IMAGES:
                return profile, _Image(size, parts)
    raise broken()


def _frame(data: bytes, chunk: _Chunk) -> _Image:
    """Return the image of a frame of an animation."""
    head = data[chunk.start : min(chunk.start + _FRAME_BYTES, chunk.end)]
    if len(head) < _FRAME_BYTES:
        raise broken()
    parts: list[_Chunk] = []
    for part in _chunks(data, chunk.start + _FRAME_BYTES, chunk.end, Budget()):
        if part.kind in _PARTS:
            parts.append(part)
        if part.kind in _IMAGES:
            break
    return _Image(_size(head, 6), parts, (2 * _u24(head, 0), 2 * _u24(head, 3)))


def _chunks(data: bytes, position: int, end: int, budget: Budget) -> Iterator[_Chunk]:
    while position + _CHUNK.size <= end:
        kind, length = _CHUNK.unpack_from(data, position)
        budget.spend()
        position += _CHUNK.size
        yield _Chunk(kind, position, position + length)
        position += length + length % 2


def _riff(data: bytes, parts: list[_Chunk], extended: bytes = b"") -> bytes:
    """Return a WebP of some chunks."""
    pieces: list[bytes | memoryview] = [extended]
    for kind, start, end in parts:
        if end > len(data):
            raise broken()
        pieces += (_CHUNK.pack(kind, end - start), memoryview(data)[start:end], bytes(end - start & 1))
    length = 4 + sum(map(len, pieces))
    return b"".join((_CHUNK.pack(b"RIFF", length), b"WEBP", *pieces))


def _extended(flags: int, width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _CHUNK.pack(b"VP8X", _EXTENDED_BYTES) + bytes((flags & _HAS_ALPHA, 0, 0, 0)) + size


def _size(data: bytes, at: int) -> tuple[int, int]:
    return _u24(data, at) + 1, _u24(data, at + 3) + 1


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
