"""The pixels that decoding a HEIF or AVIF decodes, by its boxes: tiles and alpha planes included.

The size of a derived image does not bound its inputs (ISO/IEC 23008-12, 6.6): a grid of 64 x 64 pixels
may refer to tiles of any size, and a thousand times to the same tile. Only the kinds of images that
cameras and encoders write are accepted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from persona_profile.images.metadata import Contents, Extent
from persona_profile.images.rejections import broken, too_complex
from persona_profile.images.structures import Budget

_MAX_ENTRIES: Final = 20_000
"""Boxes and entries of tables in one file; a phone's picture of 48 megapixels has some 2,000."""

_MAX_ITEMS: Final = 1000
"""Items of one file; a phone's picture of 48 megapixels has some 200. The time of libraries is
quadratic in them."""

_MAX_EXTENTS: Final = 32
"""Pieces of one item; the limit of libheif."""

_MAX_GROUPS: Final = 16
"""Groups of items; pillow-heif copies them for each image."""

_MAX_DEPTH: Final = 3
"""References from the primary image down: identity, grid, tile, alpha of a tile."""

_CODED: Final = frozenset({b"hvc1", b"av01"})
_GRID: Final = b"grid"
_IDENTITY: Final = b"iden"
_DERIVED: Final = frozenset({_GRID, _IDENTITY, b"iovl", b"tmap"})
_ALPHA: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")

_CONTAINERS: Final = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl"})
# Of several boxes, libraries differ on the one that they read.
_SINGLE: Final = frozenset({b"meta", b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"ipco", b"grpl"})


def read_heif(data: bytes) -> Contents:
    """Return the contents of a HEIF or AVIF; see `extent_of`."""
    return Contents(data, extent=extent_of(data))


def extent_of(data: bytes) -> Extent:
    """Return the pixels to decode for the primary image.

    `picture_too_complex` is raised for too many boxes, items or references, and for overlays, grids of
    grids, chains and references in a circle; `picture_broken` for boxes that are incomplete or
    contradict each other.
    """
    budget = Budget(_MAX_ENTRIES)
    top = _Box(b"", data, 0, len(data), budget).children()
    for box in top.get(b"moov", ()):
        box.count_all()
    if b"meta" not in top:
        return Extent(0, 0)
    return _Images(top[b"meta"][0], budget).extent()


class _Box:
    """The content of a box, a stream that is read once (ISO/IEC 14496-12, 4.2)."""

    def __init__(self, kind: bytes, data: bytes, start: int, end: int, budget: Budget) -> None:
        self.kind = kind
        self._data = data
        self._at = start
        self._end = end
        self._budget = budget

    def read(self, length: int) -> bytes:
        """Return the next bytes."""
        start, self._at = self._at, self._at + length
        if self._at > self._end:
            raise broken()
        return self._data[start : self._at]

    def number(self, length: int) -> int:
        """Return the next bytes as a number."""
        return int.from_bytes(self.read(length))

    def version(self) -> int:
        """Return the version of a full box, and skip its flags."""
        version = self.number(1)
        self.read(3)
        return version

    def repeat(self, count: int) -> range:
        """Return a range over the entries of a table; the budget counts them."""
        if count > self._end - self._at:
            raise broken()
        self._budget.spend(count)
        return range(count)

    def rest(self) -> bytes:
        """Return the remaining bytes."""
        return self.read(self._end - self._at)

    def __iter__(self) -> Iterator[_Box]:
        while self._at < self._end:
            self._budget.spend()
            start = self._at
            length, kind = self.number(4), self.read(4)
            if length == 1:
                length = self.number(8)
            is_last = not length and not self.kind  # on the top level alone
            end = self._end if is_last else start + length
            if not self._at <= end <= self._end:
                raise broken()
            yield _Box(kind, self._data, self._at, end, self._budget)
            self._at = end

    def children(self) -> dict[bytes, list[_Box]]:
        """Return the boxes within, by type."""
        found = defaultdict(list)
        for box in self:
            found[box.kind].append(box)
            if box.kind in _SINGLE and len(found[box.kind]) > 1:
                raise broken()
        return found

    def count_all(self) -> None:
        """Count the boxes within, at all depths."""
        boxes = [self]
        while boxes:
            boxes.extend(each for each in boxes.pop() if each.kind in _CONTAINERS)


class _Images:
    """The image items of a file, and their references, by its `meta` box (ISO/IEC 14496-12, 8.11)."""

    def __init__(self, meta: _Box, budget: Budget) -> None:
        meta.version()
        boxes = meta.children()
        self._budget = budget
        self._primary = [_primary(box) for box in boxes[b"pitm"]]
        self._kinds = {item: kind for box in boxes[b"iinf"] for item, kind in _items(box)}
        self._inputs: defaultdict[int, list[int]] = defaultdict(list)
        self._auxiliaries: defaultdict[int, list[int]] = defaultdict(list)
        for box in boxes[b"iref"]:
            self._read_references(box)
        self._sizes: dict[int, int] = {}
        self._alphas: set[int] = set()
        for box in boxes[b"iprp"]:
            self._read_properties(box)
        for box in boxes[b"iloc"]:
            _check_extents(box)
        if sum(1 for box in boxes[b"grpl"] for _ in box) > _MAX_GROUPS:
            raise too_complex()

    def extent(self) -> Extent:
        """Return the pixels to decode for the primary image."""
        return sum((self._extent(item, 0) for item in self._primary), Extent(0, 0))

    def _extent(self, item: int, depth: int) -> Extent:
        self._budget.spend()
        kind, inputs = self._kinds.get(item), self._inputs[item]
        if depth > _MAX_DEPTH:
            raise too_complex()
        if kind in _CODED:
            if inputs:
                raise broken()
            found = Extent(self._size(item), 0)
        elif kind == _GRID and all(self._kinds.get(each) in _CODED for each in inputs):
            found = sum((self._extent(each, depth + 1) for each in inputs), Extent(0, 0))
        elif kind == _IDENTITY and len(inputs) == 1 and self._kinds.get(inputs[0]) != _IDENTITY:
            found = self._extent(inputs[0], depth + 1)
        else:
            raise too_complex() if kind in _DERIVED else broken()
        for alpha in self._auxiliaries[item]:
            if alpha in self._alphas:
                found += Extent(0, sum(self._extent(alpha, depth + 1)))
        return found

    def _size(self, item: int) -> int:
        if item not in self._sizes:
            raise broken()
        return self._sizes[item]

    def _read_references(self, box: _Box) -> None:
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

    def _read_properties(self, box: _Box) -> None:
        """Read the sizes of images, and the marks of alpha planes (ISO/IEC 23008-12, 9.3)."""
        boxes = box.children()
        properties = [_property(each) for container in boxes[b"ipco"] for each in container]
        for item, index in (each for table in boxes[b"ipma"] for each in _associations(table)):
            found = properties[index - 1] if 0 < index <= len(properties) else None
            if found is True:
                self._alphas.add(item)
            elif found is not None:
                # Of several sizes, libraries differ on the one that they read.
                self._sizes[item] = max(found, self._sizes.get(item, 0))


def _primary(box: _Box) -> int:
    """Read the identifier of the primary item (ISO/IEC 14496-12, 8.11.4)."""
    return box.number(4 if box.version() else 2)


def _items(box: _Box) -> Iterator[tuple[int, bytes]]:
    """Read identifier and type of each item (8.11.6)."""
    box.number(2 if not box.version() else 4)
    items = Budget(_MAX_ITEMS)
    for entry in box:
        items.spend()
        version = entry.version()
        item = entry.number(4 if version > 2 else 2)
        entry.read(2)
        yield item, entry.read(4) if version >= 2 else b""


def _property(box: _Box) -> int | bool | None:
    """Return the pixels of a size, True for a mark of alpha, None for any other property."""
    if box.kind == b"ispe":
        box.version()
        return box.number(4) * box.number(4)
    if box.kind == b"auxC":
        box.version()
        return box.rest().partition(b"\0")[0] in _ALPHA or None
    return None


def _associations(box: _Box) -> Iterator[tuple[int, int]]:
    """Read pairs of an item and the number of its property, from 1 (ISO/IEC 23008-12, 9.3.2)."""
    version, flags = box.number(1), box.number(3)
    length = 2 if flags & 1 else 1
    for _ in box.repeat(box.number(4)):
        item = box.number(4 if version else 2)
        for _ in box.repeat(box.number(1)):
            yield item, box.number(length) & (0x7FFF if flags & 1 else 0x7F)


def _check_extents(box: _Box) -> None:
    """Check the number of pieces of each item (ISO/IEC 14496-12, 8.11.3)."""
    version, sizes = box.version(), box.number(2)
    offset, length, base, index = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15, sizes & 15
    indexed = version in (1, 2)
    for _ in box.repeat(box.number(4 if version == 2 else 2)):
        box.read((4 if version == 2 else 2) + 2 * indexed + 2 + base)
        count = box.number(2)
        if count > _MAX_EXTENTS:
            raise too_complex()
        box.read(count * (index * indexed + offset + length))
