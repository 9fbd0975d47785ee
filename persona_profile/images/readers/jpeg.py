"""The segments of a JPEG (ITU-T T.81, B.1), read before a library reads them.

The library gets the segments on which pixels depend, and the scans. Other segments cost nothing then:
neither their number, nor errors in them.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Final

from persona_profile.images.metadata import MAX_PROFILE_BYTES, Colours, Contents, Metadata
from persona_profile.images.readers.budget import Budget
from persona_profile.images.readers.exif import read_exif
from persona_profile.images.rejections import broken, too_complex

_MAX_SCANS: Final = 50
"""Scans of one JPEG; encoders write up to about 20. An empty scan of 10 bytes costs as much as a full
one."""

_MAX_STRAY_BYTES: Final = 64 * 1024
"""Bytes between the segments in the header of a JPEG."""

_MIN_TABLE_BYTES: Final = 17
"""The smallest Huffman table (ITU-T T.81, B.2.4.2); a quantization table is larger."""

_HEADER_MARKER: Final = re.compile(rb"\xff([\x01-\xfe])")
_SCAN_MARKER: Final = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""Skips restarts and escapes, which are frequent within scans and are no segments."""
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

_DAC: Final = 0xCC
_START_OF_IMAGE: Final = 0xD8
_END_OF_IMAGE: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
_DRI: Final = 0xDD
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_APP14: Final = 0xEE
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, _DAC})
_TABLES: Final = frozenset({0xC4, 0xDB})
_EMPTY: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, and the start of an image
# Browsers reject such a segment in a header.
_FOREIGN: Final = frozenset({0xC8, _END_OF_IMAGE, 0xDE, 0xDF, *range(0x02, 0xC0), *range(0xF0, 0xFE)})
_NEEDED: Final = _FRAMES | _TABLES | {_DAC, _DRI}
_COLOUR_MODELS: Final = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}
"""Segments that decide the colour model: how they begin, and the bytes that decoders read of them."""

_COEFFICIENTS: Final = 64
_ICC: Final = b"ICC_PROFILE\0"

ENDINGS: Final = (b"", b"\xaa" * 64, b"\x55" * 64, b"\xcc" * 64)
"""Bits that a decoder finds behind a file without end marker: none, or different ones."""
END: Final = bytes((0xFF, _END_OF_IMAGE))


@dataclass(slots=True)
class _Frame:
    """A frame header and the progress of its scans.

    Attributes:
        sampling: horizontal and vertical sampling factors of each component.
        left: of each component, the bits of each coefficient that no scan has transmitted; None before
            its first scan.
    """

    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    left: dict[int, list[int | None]] = field(default_factory=dict)

    @classmethod
    def parse(cls, segment: bytes) -> _Frame:
        height, width, count = segment[3:5], segment[5:7], segment[7:8]
        found = cls(int.from_bytes(width), int.from_bytes(height))
        for at in range(8, 8 + 3 * int.from_bytes(count), 3):
            if at + 3 <= len(segment):
                factors = segment[at + 1]
                found.sampling[segment[at]] = (factors >> 4 or 1, factors & 15 or 1)
        found.left = {each: [None] * _COEFFICIENTS for each in found.sampling}
        return found

    def scan(self, segment: bytes) -> tuple[int, ...]:
        """Count a scan by its header; return its components."""
        count = segment[2] if len(segment) > 2 else 0
        if len(segment) < 6 + 2 * count:
            return ()
        components = tuple(segment[3 : 3 + 2 * count : 2])
        first, last, bits = segment[3 + 2 * count : 6 + 2 * count]
        for component in components:
            for index in range(first, min(last, _COEFFICIENTS - 1) + 1):
                self.left.setdefault(component, [None] * _COEFFICIENTS)[index] = bits & 15
        return components

    @property
    def is_whole(self) -> bool:
        """Whether scans have transmitted each bit of each coefficient."""
        return bool(self.left) and not any(left != 0 for each in self.left.values() for left in each)

    def units(self, components: tuple[int, ...]) -> int:
        """Return the number of minimum coded units of a scan (ITU-T T.81, A.2)."""
        across = max(each for each, _ in self.sampling.values())
        down = max(each for _, each in self.sampling.values())
        width, height = -(-self.width // (8 * across)), -(-self.height // (8 * down))
        if len(components) == 1:
            across_own, down_own = self.sampling.get(components[0], (1, 1))
            width = -(-(self.width * across_own) // (8 * across))
            height = -(-(self.height * down_own) // (8 * down))
        return width * height


@dataclass(slots=True)
class _Walk:
    """Findings of a walk through the segments.

    Attributes:
        kept: pieces of the header on which pixels depend.
        scans: the first position of the scans, and their number.
        exif: the content of the first segment of EXIF.
        profile: the content of the segments of the ICC profile.
        interval: minimum coded units between restarts; 0 if there are none.
        last_scan: components of the last scan, and the position of its data.
    """

    kept: list[memoryview] = field(default_factory=list)
    scans: int = 0
    scans_start: int = 0
    frame: _Frame = field(default_factory=_Frame)
    exif: bytes | None = None
    profile: list[bytes] = field(default_factory=list)
    interval: int = 0
    last_scan: tuple[tuple[int, ...], int] = ((), 0)
    end: int = 0
    has_end: bool = False

    def segment(self, data: bytes, code: int, start: int, end: int) -> None:
        """Note a segment; `start` is the position of its length."""
        if code in _FRAMES and not self.frame.sampling:
            self.frame = _Frame.parse(data[start:end])
        elif code == _DRI:
            self.interval = int.from_bytes(data[start + 2 : start + 4])
        elif code == _START_OF_SCAN:
            self.scans_start = self.scans_start or start - 2
            self.scans += 1
            self.last_scan = self.frame.scan(data[start:end]), end
        if self.scans:
            return
        if code == _APP1 and self.exif is None and data.startswith(b"Exif\0", start + 2):
            self.exif = data[start + 8 : end] or None
        elif code == _APP2 and data.startswith(_ICC, start + 2):
            self.profile.append(data[start + 2 + len(_ICC) : end])
        if code in _NEEDED or self._is_colour_model(data, code, start, end):
            self.kept.append(memoryview(data)[start - 2 : end])

    @staticmethod
    def _is_colour_model(data: bytes, code: int, start: int, end: int) -> bool:
        head, length = _COLOUR_MODELS.get(code, (b"", 0))
        return bool(head) and data.startswith(head, start + 2) and end - start - 2 >= length


def read_jpeg(data: bytes) -> Contents:
    """Return the contents of a JPEG.

    Bounds segments, tables, scans, and bytes between segments. `picture_broken` if a segment in its
    header is not of a JPEG, or if the file ends before its last scan.
    """
    walk = _walk(data)
    if walk.scans and not walk.has_end and _lacks_pixels(data, walk):
        raise broken()
    exif = read_exif(walk.exif or b"", walk.frame.width, walk.frame.height)
    metadata = Metadata(exif.orientation, exif.natural_size, Colours(icc=_profile(walk.profile)))
    scans = memoryview(data)[walk.scans_start : walk.end] if walk.scans else b""
    made = b"".join((data[:2], *walk.kept, scans, b"" if walk.has_end else END))
    return Contents(made, metadata, scans=walk.scans, has_end=walk.has_end)


def _walk(data: bytes) -> _Walk:
    walk, budget = _Walk(), Budget()
    position, stray = 2, 0
    while marker := (_SCAN_MARKER if walk.scans else _HEADER_MARKER).search(data, position):
        code = marker[1][0]
        stray += 0 if walk.scans else marker.start() - position
        walk.end = marker.start()
        if walk.scans and code in (_END_OF_IMAGE, _START_OF_IMAGE):
            walk.has_end = code == _END_OF_IMAGE
            walk.end += 2 * walk.has_end
            return walk
        if not walk.scans and code in _FOREIGN:
            raise broken()
        position = marker.end()
        if code in _EMPTY:
            stray += 2
        else:
            start, position = position, position + int.from_bytes(data[position : position + 2])
            if position > len(data):
                return walk
            budget.spend(1 + _tables(code, start, position))
            walk.segment(data, code, start, position)
        if stray > _MAX_STRAY_BYTES or walk.scans > _MAX_SCANS:
            raise too_complex()
    walk.end = len(data.rstrip(b"\xff")) if data.endswith(b"\xff") else len(data)
    return walk


def _tables(code: int, start: int, end: int) -> int:
    """Return the highest number of tables in a segment of a JPEG."""
    return (end - start) // _MIN_TABLE_BYTES if code in _TABLES else 0


def _lacks_pixels(data: bytes, walk: _Walk) -> bool:
    """Return whether scans, or restarts of the last scan, are missing."""
    components, start = walk.last_scan
    if not walk.frame.is_whole:
        return True
    if not walk.interval:
        return False
    restarts = (walk.frame.units(components) - 1) // walk.interval
    found = _RESTART.finditer(data, start, walk.end)
    return sum(1 for _ in itertools.islice(found, restarts)) < restarts


def _profile(pieces: list[bytes]) -> bytes | None:
    """Return the ICC profile of the pieces in a JPEG (ICC.1:2022, B.4).

    Pieces may come in any order. If a piece is missing or doubled, there is no profile.
    """
    pieces = [each for each in pieces if len(each) >= 2]
    if not pieces or sum(map(len, pieces)) > MAX_PROFILE_BYTES:
        return None
    count = pieces[0][1]
    if count == 1 and pieces[0][0] == 1:
        return pieces[0][2:] or None
    numbered = {each[0]: each[2:] for each in pieces if each[1] == count and len(each) > 2}
    if len(pieces) != count or numbered.keys() != set(range(1, count + 1)):
        return None
    return b"".join(numbered[number] for number in range(1, count + 1))
