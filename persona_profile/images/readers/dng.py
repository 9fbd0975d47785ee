"""DNG: the preview that programs show of a raw photo (DNG 1.7, chapters 2 and 3; TIFF 6.0)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from persona_profile.images.metadata import Chromaticities, Colours, Contents, Metadata
from persona_profile.images.readers.budget import Budget
from persona_profile.images.readers.jpeg import read_jpeg
from persona_profile.images.rejections import broken, no_preview, unknown_format

MAGICS: Final = (b"II*\0", b"MM\0*")

_MAX_DIRECTORIES: Final = 32
_MAX_SUBDIRECTORIES: Final = 16
_ENTRY_BYTES: Final = 12

_SUBFILE_TYPE: Final = 0x00FE
_WIDTH, _HEIGHT = 0x0100, 0x0101
_COMPRESSION, _PHOTOMETRIC = 0x0103, 0x0106
_ORIENTATION: Final = 0x0112
_SUBDIRECTORIES: Final = 0x014A
_PROFILE: Final = 0x8773
_VERSION: Final = 0xC612
_COLOUR_SPACE: Final = 0xC71A
_PLACES: Final = ((0x0111, 0x0117), (0x0144, 0x0145), (0x0201, 0x0202))
"""Tags of offset and length: of strips, of tiles, of the JPEG in old TIFF files."""

_PREVIEWS: Final = (1, 0x10001)
_JPEG: Final = (6, 7)
_SEEN: Final = (1, 2, 6)
"""Grey, RGB, YCbCr; others are of sensors."""

_VALUE_BYTES: Final = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4}
"""Bytes of a value by its type: BYTE, SHORT, LONG, UNDEFINED, IFD."""

_ADOBE_RGB: Final = Colours(
    gamma=256 / 563,
    chromaticities=Chromaticities((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
)
_PROPHOTO: Final = Colours(
    gamma=1 / 1.8,
    chromaticities=Chromaticities(
        (0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)
    ),
)
_COLOUR_SPACES: Final = {3: _ADOBE_RGB, 4: _PROPHOTO}


@dataclass(frozen=True, slots=True)
class _Field:
    """An entry of a directory: its values are `count` numbers at `start`."""

    kind: int
    count: int
    start: int


class _Directory:
    """An image file directory (TIFF 6.0, 2)."""

    def __init__(self, file: _Tiff, start: int) -> None:
        self._file = file
        count = file.number(start, 2) or 0
        file.budget.spend(count)
        self._fields: dict[int, _Field] = {}
        for at in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            self._read_field(at)
        self.next = file.number(start + 2 + count * _ENTRY_BYTES, 4) or 0

    def __contains__(self, tag: int) -> bool:
        return tag in self._fields

    def value(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return next(self.values(tag), default)

    def count(self, tag: int) -> int:
        """Return the number of values of a tag."""
        field = self._fields.get(tag)
        return field.count if field else 0

    def values(self, tag: int) -> Iterator[int]:
        """Yield the values of a tag."""
        field = self._fields.get(tag)
        for number in range(field.count if field else 0):
            assert field
            length = _VALUE_BYTES[field.kind]
            value = self._file.number(field.start + number * length, length)
            if value is None:
                return
            yield value

    def content(self, tag: int) -> bytes:
        """Return the bytes of a tag."""
        field = self._fields.get(tag)
        return self._file.data[field.start : field.start + field.count] if field else b""

    def _read_field(self, at: int) -> None:
        tag, kind, count = (
            self._file.number(at + offset, length) for offset, length in ((0, 2), (2, 2), (4, 4))
        )
        if tag is None or count is None or kind not in _VALUE_BYTES:
            return
        is_inside = count * _VALUE_BYTES[kind] <= 4
        start = at + 8 if is_inside else self._file.number(at + 8, 4)
        if start is not None:
            self._fields.setdefault(tag, _Field(kind, count, start))


class _Tiff:
    """A TIFF file, whose numbers are of either byte order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budget = Budget()
        self._order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(self, start: int, length: int) -> int | None:
        """Return a number, or None beyond the end."""
        content = self.data[start : start + length]
        return int.from_bytes(content, self._order) if len(content) == length else None

    def directories(self) -> Iterator[_Directory]:
        """Yield the directories of the file, each once, the first one first."""
        waiting = deque([self.number(4, 4) or 0])
        seen: set[int] = set()
        while waiting and len(seen) < _MAX_DIRECTORIES:
            start = waiting.popleft()
            if start in seen or not start:
                continue
            if self.number(start, 2) is None and not seen:
                raise broken()
            seen.add(start)
            directory = _Directory(self, start)
            yield directory
            waiting.append(directory.next)
            if directory.count(_SUBDIRECTORIES) <= _MAX_SUBDIRECTORIES:
                waiting.extend(directory.values(_SUBDIRECTORIES))


def read_dng(data: bytes) -> Contents:
    """Return the contents of a DNG: its largest JPEG preview, turned as the raw photo.

    Other TIFF files and other raw formats are rejected as of an unknown format.
    """
    directories = list(_Tiff(data).directories())
    if not directories or _VERSION not in directories[0]:
        raise unknown_format()
    previews = [each for each in directories if _is_preview(each)]
    previews.sort(key=lambda each: each.value(_WIDTH) * each.value(_HEIGHT), reverse=True)
    found = ((each, jpeg) for each in previews if (jpeg := _jpeg_of(data, each)))
    preview, jpeg = next(found, (None, b""))
    if preview is None:
        is_cut = any(_is_outside(data, each) for each in previews)
        raise broken() if is_cut else no_preview()
    contents = read_jpeg(jpeg)
    turn = directories[0].value(_ORIENTATION, 1)
    colours = contents.metadata.colours
    if colours == Colours():
        colours = _colours_of(preview)
    return replace(contents, metadata=Metadata(turn if 1 <= turn <= 8 else 1, colours=colours))


def _is_preview(directory: _Directory) -> bool:
    return (
        directory.value(_SUBFILE_TYPE) in _PREVIEWS
        and directory.value(_COMPRESSION) in _JPEG
        and directory.value(_PHOTOMETRIC) in _SEEN
    )


def _jpeg_of(data: bytes, directory: _Directory) -> bytes:
    """Return the JPEG of a preview that is in one piece; otherwise nothing."""
    for offsets, lengths in _PLACES:
        if directory.count(offsets) == 1:
            start, length = directory.value(offsets), directory.value(lengths)
            if data.startswith(b"\xff\xd8", start):
                return data[start : start + length]
    return b""


def _is_outside(data: bytes, directory: _Directory) -> bool:
    """Return whether a preview lies beyond the end of the file."""
    return any(
        directory.count(offsets) == 1
        and directory.value(offsets) + directory.value(lengths) > len(data)
        for offsets, lengths in _PLACES
    )


def _colours_of(preview: _Directory) -> Colours:
    """Return the colour space by the directory of a preview whose JPEG has no profile."""
    if profile := preview.content(_PROFILE):
        return Colours(icc=profile)
    return _COLOUR_SPACES.get(preview.value(_COLOUR_SPACE), Colours())
