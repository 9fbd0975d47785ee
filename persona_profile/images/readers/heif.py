"""HEIF and AVIF: the pixels that decoding decodes, tiles and alpha planes included, and metadata.

The size of a derived image does not bound its inputs (ISO/IEC 23008-12, 6.6): a grid of 64 x 64 pixels
may refer to tiles of any size, and a thousand times to the same tile. Only the kinds of images that
cameras and encoders write are accepted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from persona_profile.images.metadata import Colours, Contents, Extent, Metadata
from persona_profile.images.readers.av1 import cicp_of
from persona_profile.images.readers.boxes import Box, with_last_box, write_box
from persona_profile.images.readers.budget import Budget
from persona_profile.images.readers.heif_properties import (
    colours_of,
    in_code_points,
    orientation_of,
    shown_size,
)
from persona_profile.images.rejections import broken, too_complex, unknown_format, unsupported_feature

_MAX_ENTRIES: Final = 20_000
"""Boxes and entries of tables in one file; a phone's picture of 48 megapixels has some 2,000."""

_MAX_ITEMS: Final = 1000
"""Items of one file; a phone's picture of 48 megapixels has some 200. The time of libraries is
quadratic in them."""

_MAX_EXTENTS: Final = 32
"""Pieces of one item; the limit of libheif."""

_MAX_GROUPS: Final = 16
"""Groups of items; pillow-heif copies them for each image."""

_MAX_AVIF_SIDE: Final = 32_768
"""The limit of the AVIF library, which reports it as damage."""

_MAX_DEPTH: Final = 3
"""References from the primary image down: identity, grid, tile, alpha of a tile."""

_MAX_PROPERTIES: Final = 255
"""Properties of one item; the count is a byte."""

_CODED_BYTES: Final = 1024
"""Bytes of coded data that are searched for a sequence header."""

_SAMPLE_ENTRY_BYTES: Final = 78
"""Bytes of a VisualSampleEntry before its boxes (ISO/IEC 14496-12, 12.1.3)."""

_IN_FILE: Final = 0
"""The construction method of items whose offsets count from the start of the file (8.11.3)."""

_GRID: Final = b"grid"
_IDENTITY: Final = b"iden"
_TONE_MAP: Final = b"tmap"
_DERIVED: Final = frozenset({_GRID, _IDENTITY, _TONE_MAP, b"iovl", b"sato"})
_ALPHA: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


@dataclass(frozen=True, slots=True)
class _Codec:
    """Kinds of image items that the decoder of a format decodes."""

    coded: bytes
    derived: frozenset[bytes]


_HEVC: Final = _Codec(b"hvc1", frozenset({_GRID, _IDENTITY}))
_AV1: Final = _Codec(b"av01", frozenset({_GRID}))


@dataclass(frozen=True, slots=True)
class _Shown:
    """Property boxes of an image in their order, its size, and the start of its coded data."""

    boxes: Sequence[Box] = ()
    size: tuple[int, int] | None = None
    coded: bytes = b""


def read_heic(data: bytes) -> Contents:
    """Return the contents of a HEIC; see `_Images.extent`.

    The decoder turns, mirrors and crops the image by itself (ISO/IEC 23008-12, 6.5.9 to 6.5.12).
    """
    top = _top_boxes(data)
    if b"meta" not in top:
        return Contents(data, Metadata())
    images = _Images(data, top[b"meta"][0], _HEVC)
    extent = images.extent()
    colours = colours_of(images.shown().boxes) or colours_of(images.shown(first_tile=True).boxes)
    return Contents(images.mended(), Metadata(colours=colours or Colours()), extent)


def read_avif(data: bytes) -> Contents:
    """Return the contents of an AVIF; see `_Images.extent`.

    Of a file with a sequence and an image, the decoder decodes the one that the major brand names.
    """
    top = _top_boxes(data)
    images = _Images(data, top[b"meta"][0], _AV1) if b"meta" in top else None
    extent = images.extent() if images else Extent()
    shown = tile = None
    if images is None or data[8:12] == b"avis":
        shown = tile = next((_track(data, box) for box in top.get(b"moov", ())), None)
    if shown is None and images:
        shown, tile = images.shown(), images.shown(first_tile=True)
    if shown is None or tile is None:
        return Contents(data, Metadata(), extent)
    if shown.size and max(shown.size) > _MAX_AVIF_SIDE:
        raise unsupported_feature()
    colours = colours_of(shown.boxes) or colours_of(tile.boxes)
    if colours is None:
        colours = in_code_points(shown.boxes, cicp_of(tile.coded))
    return Contents(
        images.mended() if images else data,
        Metadata(orientation_of(shown.boxes), colours=colours),
        extent,
        shown_size=shown_size(shown.boxes, shown.size),
    )


def _top_boxes(data: bytes) -> dict[bytes, list[Box]]:
    """Return the boxes of the top level; the budget counts those of tracks too."""
    top = Box.whole(data, Budget(_MAX_ENTRIES)).children()
    for box in top.get(b"moov", ()):
        box.count_all()
    return top


def _track(data: bytes, moov: Box) -> _Shown | None:
    """Return the image of the first track of AV1 that is not auxiliary."""
    for track in moov.descendants(b"trak"):
        tables = next(track.descendants(b"mdia", b"minf", b"stbl"), None)
        entry = next(tables.again().descendants(b"stsd"), None) if tables else None
        if tables is None or entry is None or any(track.descendants(b"tref", b"auxl")):
            continue
        found = next((each for each in entry.again(8) if each.kind == b"av01"), None)
        if found is None:
            continue
        head = found.read(_SAMPLE_ENTRY_BYTES)
        size = int.from_bytes(head[24:26]), int.from_bytes(head[26:28])
        start = next((_first_chunk(each) for each in tables.descendants(b"stco")), len(data))
        return _Shown(list(found), size, data[start : start + _CODED_BYTES])
    return None


def _first_chunk(box: Box) -> int:
    """Return the offset of the first chunk of a track (ISO/IEC 14496-12, 8.7.5)."""
    box.version()
    return box.number(4) and box.number(4)


class _Images:
    """The image items of a file, and their references, by its `meta` box (ISO/IEC 14496-12, 8.11)."""

    def __init__(self, data: bytes, meta: Box, codec: _Codec) -> None:
        self._data = data
        self._meta = meta
        self._codec = codec
        meta.version()
        boxes = meta.children()
        self._kinds = {item: kind for box in boxes[b"iinf"] for item, kind in _items(box)}
        self._inputs: defaultdict[int, list[int]] = defaultdict(list)
        self._auxiliaries: defaultdict[int, list[int]] = defaultdict(list)
        for box in boxes[b"iref"]:
            self._read_references(box)
        self._associations = _Associations()
        for box in boxes[b"iprp"]:
            self._associations.read(box)
        self._offsets = {item: at for box in boxes[b"iloc"] for item, at in _locations(box)}
        groups = [group for box in boxes[b"grpl"] for group in box]
        if len(groups) > _MAX_GROUPS:
            raise too_complex()
        self._alternatives = [_entities(group) for group in groups if group.kind == b"altr"]
        self._primary = [self._decodable(_primary(box)) for box in boxes[b"pitm"]]

    def extent(self) -> Extent:
        """Return the pixels to decode for the primary image.

        `picture_too_complex` is raised for too many boxes, items or references, and for overlays, grids
        of grids, chains and references in a circle; `picture_broken` for boxes that are incomplete or
        contradict each other; `unsupported_media_type` for images of another codec.
        """
        return sum((self._extent(item, 0) for item in self._primary), Extent(0, 0))

    def shown(self, *, first_tile: bool = False) -> _Shown:
        """Return the primary image, or the first coded image of which it is made."""
        if not self._primary:
            return _Shown()
        item = self._primary[0]
        for _ in range(_MAX_DEPTH * first_tile):
            item = next(iter(self._inputs[item]), item)
        boxes = self._associations.boxes(item)
        size = next((_size_of(box) for box in boxes if box.kind == b"ispe"), None)
        start = self._offsets.get(item, len(self._data))
        return _Shown(boxes, size, self._data[start : start + _CODED_BYTES])

    def mended(self) -> bytes:
        """Return the file with one `ipma` box of one entry for each item, and a decodable primary.

        Of several entries, libraries use the first, apply a rotation twice, or reject the file.
        """
        children = self._meta.again()
        children.version()
        changed = {}
        for box in children:
            if box.kind == b"pitm" and _primary(box.again()) != self._primary[0]:
                length = 4 if box.content[0] else 2
                changed[box.start] = write_box(
                    b"pitm", box.content[:4], self._primary[0].to_bytes(length)
                )
            elif box.kind == b"iprp" and self._associations.are_doubled:
                changed[box.start] = self._associations.written(box)
        if not changed:
            return self._data
        children = self._meta.again()
        head = children.read(4)
        parts = [changed.get(box.start, box.raw) for box in children]
        return with_last_box(self._data, self._meta, write_box(b"meta", head, *parts))

    def _decodable(self, item: int) -> int:
        """Return an item, or another one that is shown where this one can't be decoded.

        That is the base image that a gain map would brighten (ISO 21496-1), or the first alternative in
        its group (ISO/IEC 14496-12, 8.18.3).
        """
        if self._kinds.get(item) == _TONE_MAP and self._inputs[item]:
            return self._inputs[item][0]
        decoded = {self._codec.coded, *self._codec.derived}
        alternatives = [
            item,
            *(each for group in self._alternatives if item in group for each in group),
        ]
        return next((each for each in alternatives if self._kinds.get(each) in decoded), item)

    def _extent(self, item: int, depth: int) -> Extent:
        self._meta.count()
        kind, inputs = self._kinds.get(item), self._inputs[item]
        if depth > _MAX_DEPTH:
            raise too_complex()
        if kind == self._codec.coded:
            if inputs:
                raise broken()
            found = Extent(self._size(item), 0)
        elif kind not in self._codec.derived:
            raise self._not_decoded(kind)
        elif kind == _GRID and self._kinds_of(inputs) <= {self._codec.coded}:
            found = sum((self._extent(each, depth + 1) for each in inputs), Extent(0, 0))
        elif kind == _IDENTITY and len(inputs) == 1 and _IDENTITY not in self._kinds_of(inputs):
            found = self._extent(inputs[0], depth + 1)
        else:
            raise too_complex()
        for alpha in self._auxiliaries[item]:
            if self._is_alpha(alpha):
                found += Extent(0, sum(self._extent(alpha, depth + 1)))
        return found

    def _not_decoded(self, kind: bytes | None) -> Exception:
        if kind in _DERIVED:
            return too_complex()
        return unknown_format() if kind else broken()

    def _kinds_of(self, items: Sequence[int]) -> set[bytes | None]:
        return {self._kinds.get(item) for item in items}

    def _size(self, item: int) -> int:
        sizes = [_size_of(box) for box in self._associations.boxes(item) if box.kind == b"ispe"]
        if not sizes:
            raise broken()
        # Of several sizes, libraries differ on the one that they read.
        return max(width * height for width, height in sizes)

    def _is_alpha(self, item: int) -> bool:
        boxes = self._associations.boxes(item)
        return any(box.kind == b"auxC" and box.content[4:].split(b"\0")[0] in _ALPHA for box in boxes)

    def _read_references(self, box: Box) -> None:
        """Read the references between items (8.11.12)."""
        length = 4 if box.version() else 2
        for reference in box:
            source, count = reference.number(length), reference.number(2)
            targets = [reference.number(length) for _ in reference.repeat(count)]
            if reference.kind == b"dimg":
                self._inputs[source] += targets
            elif reference.kind == b"auxl":
                for target in targets:
                    self._auxiliaries[target].append(source)


class _Associations:
    """Properties of items (ISO/IEC 23008-12, 9.3).

    Attributes:
        are_doubled: whether an item has several entries, or one with the same property twice.
    """

    def __init__(self) -> None:
        self.are_doubled = False
        self._properties: list[Box] = []
        self._indices: dict[int, dict[int, bool]] = {}
        """For each item the numbers of its properties, from 1, and whether they are essential."""

    def read(self, box: Box) -> None:
        """Read an `iprp` box."""
        boxes = box.children()
        self._properties = [each for container in boxes[b"ipco"] for each in container]
        for table in boxes[b"ipma"]:
            self._read_table(table)

    def boxes(self, item: int) -> list[Box]:
        """Return the properties of an item in their order."""
        numbers = self._indices.get(item, ())
        return [self._properties[each - 1] for each in numbers if 0 < each <= len(self._properties)]

    def written(self, box: Box) -> bytes:
        """Return an `iprp` box with one table of one entry for each item."""
        if any(len(each) > _MAX_PROPERTIES for each in self._indices.values()):
            raise too_complex()
        items = b"".join(
            item.to_bytes(4)
            + len(indices).to_bytes(1)
            + b"".join((number | essential << 15).to_bytes(2) for number, essential in indices.items())
            for item, indices in sorted(self._indices.items())
        )
        table = write_box(b"ipma", b"\1\0\0\1", len(self._indices).to_bytes(4), items)
        return write_box(b"iprp", *(each.raw for each in box.again() if each.kind == b"ipco"), table)

    def _read_table(self, box: Box) -> None:
        """Read an `ipma` box (9.3.2)."""
        version, flags = box.number(1), box.number(3)
        length = 2 if flags & 1 else 1
        for _ in box.repeat(box.number(4)):
            item = box.number(4 if version else 2)
            self.are_doubled |= item in self._indices
            indices = self._indices.setdefault(item, {})
            for _ in box.repeat(box.number(1)):
                value, essential = box.number(length), 0x80 << 8 * (length - 1)
                self.are_doubled |= value & ~essential in indices
                indices[value & ~essential] = bool(value & essential)


def _primary(box: Box) -> int:
    """Read the identifier of the primary item (ISO/IEC 14496-12, 8.11.4)."""
    return box.number(4 if box.version() else 2)


def _entities(box: Box) -> list[int]:
    """Read the items of a group (ISO/IEC 14496-12, 8.18.3)."""
    box.version()
    box.read(4)
    return [box.number(4) for _ in box.repeat(box.number(4))]


def _items(box: Box) -> Iterator[tuple[int, bytes]]:
    """Read identifier and type of each item (8.11.6)."""
    box.number(2 if not box.version() else 4)
    items = Budget(_MAX_ITEMS)
    for entry in box:
        items.spend()
        version = entry.version()
        item = entry.number(4 if version > 2 else 2)
        entry.read(2)
        yield item, entry.read(4) if version >= 2 else b""


def _size_of(box: Box) -> tuple[int, int]:
    """Return width and height of an `ispe` property (ISO/IEC 23008-12, 6.5.3)."""
    content = box.content
    if len(content) < 12:
        raise broken()
    return int.from_bytes(content[4:8]), int.from_bytes(content[8:12])


def _locations(box: Box) -> Iterator[tuple[int, int]]:
    """Read items and their offsets; check the number of pieces (ISO/IEC 14496-12, 8.11.3)."""
    version, sizes = box.version(), box.number(2)
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    indexed = version in (1, 2)
    for _ in box.repeat(box.number(4 if version == 2 else 2)):
        item = box.number(4 if version == 2 else 2)
        method = box.number(2) & 15 if indexed else _IN_FILE
        box.read(2)
        start = box.number(base)
        count = box.number(2)
        if count > _MAX_EXTENTS:
            raise too_complex()
        for number in range(count):
            box.read(index * indexed)
            first = box.number(offset)
            box.read(length)
            if not number and method == _IN_FILE:
                yield item, start + first
