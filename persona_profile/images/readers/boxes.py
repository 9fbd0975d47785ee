"""Boxes, of which HEIF, AVIF and the container of JPEG XL are made (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from persona_profile.images.readers.budget import Budget
from persona_profile.images.rejections import broken

_HEADER_BYTES: Final = 8

_CONTAINERS: Final = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl"})
# Of several boxes, libraries differ on the one that they read.
_SINGLE: Final = frozenset({b"meta", b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"ipco", b"grpl"})


class Box:
    """A box whose content is a stream that is read once.

    Attributes:
        kind: the type; empty for the whole file.
        start, end: of the box in the file, with its header.
    """

    def __init__(self, kind: bytes, data: bytes, place: tuple[int, int, int], budget: Budget) -> None:
        self.kind = kind
        self.start, self._body, self.end = place
        self._at = self._body
        self._data = data
        self._budget = budget

    @classmethod
    def whole(cls, data: bytes, budget: Budget) -> Box:
        """Return a file as one box; the budget counts the boxes and entries within."""
        return cls(b"", data, (0, 0, len(data)), budget)

    @property
    def content(self) -> bytes:
        """The whole content, read or not."""
        return self._data[self._body : self.end]

    @property
    def raw(self) -> bytes:
        """The box with its header."""
        return self._data[self.start : self.end]

    def again(self, skipped: int = 0) -> Box:
        """Return the box as a stream that begins after some bytes of its content."""
        place = self.start, min(self._body + skipped, self.end), self.end
        return Box(self.kind, self._data, place, self._budget)

    def read(self, length: int) -> bytes:
        """Return the next bytes."""
        start, self._at = self._at, self._at + length
        if self._at > self.end:
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
        if count > self.end - self._at:
            raise broken()
        self._budget.spend(count)
        return range(count)

    def count(self) -> None:
        """Count a step of an algorithm as if it were a box."""
        self._budget.spend()

    def rest(self) -> bytes:
        """Return the remaining bytes."""
        return self.read(self.end - self._at)

    def __iter__(self) -> Iterator[Box]:
        while self._at < self.end:
            self._budget.spend()
            start = self._at
            length, kind = self.number(4), self.read(4)
            if length == 1:
                length = self.number(8)
            is_last = not length and not self.kind  # on the top level alone
            end = self.end if is_last else start + length
            if not self._at <= end <= self.end:
                raise broken()
            yield Box(kind, self._data, (start, self._at, end), self._budget)
            self._at = end

    def children(self) -> dict[bytes, list[Box]]:
        """Return the boxes within, by type."""
        found = defaultdict(list)
        for box in self:
            found[box.kind].append(box)
            if box.kind in _SINGLE and len(found[box.kind]) > 1:
                raise broken()
        return found

    def descendants(self, *path: bytes) -> Iterator[Box]:
        """Yield the boxes at the end of a path of types."""
        boxes = [self.again()]
        for kind in path:
            boxes = [each for box in boxes for each in box if each.kind == kind]
        yield from boxes

    def count_all(self) -> None:
        """Count the boxes within, at all depths."""
        boxes = [self]
        while boxes:
            boxes.extend(each for each in boxes.pop() if each.kind in _CONTAINERS)


def brands_of(head: bytes) -> list[bytes]:
    """Return the brands of an `ftyp` box at the start of a file, the major brand first (4.3)."""
    end = min(len(head) - 3, int.from_bytes(head[:4]) or len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]


def write_box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box."""
    content = b"".join(parts)
    return struct.pack(">I", _HEADER_BYTES + len(content)) + kind + content


def with_last_box(data: bytes, old: Box, new: bytes) -> bytes:
    """Return a file in which a box of the top level is replaced by another at the end.

    Nothing else moves, so that offsets into the file stay. The old box becomes free space.
    """
    file = bytearray(data)
    file[old.start + 4 : old.start + 8] = b"free"
    for box in Box.whole(data, Budget()):
        if not any(file[box.start : box.start + 4]):  # up to the end of the file
            file[box.start : box.start + 4] = struct.pack(">I", box.end - box.start)
    return bytes(file + new)
