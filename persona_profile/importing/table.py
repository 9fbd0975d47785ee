"""The CSV (RFC 4180): UTF-8 with or without a byte order mark, a header, one row for each email.

A mistake of the whole file is a `Fault` with its line, never with a value. Memory is bounded, whatever
the file holds.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from persona_profile.importing import EMAIL, PICTURE_FILE, Row
from persona_profile.profiles.claims import CLAIMS

MAX_ROW_BYTES: Final = 64 * 1024
MAX_FAULTS: Final = 20

COLUMNS: Final = (EMAIL, *CLAIMS, PICTURE_FILE)

_DELIMITER = re.compile(r"[,;\t]")
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Fault(NamedTuple):
    """A mistake of the file."""

    line: int
    reason: str


class UnusableTable(ValueError):
    """The CSV can't be read; `faults` has up to MAX_FAULTS of its mistakes."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"line {fault.line}: {fault.reason}" for fault in faults))
        self.faults = faults


class TableChanged(Exception):
    """The CSV was written to while it was read."""


class Table:
    """An open CSV, which is read twice: `check` reads all of it before `rows` yields a row."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the header of a file that `open_table` has opened.

        Raises:
            UnusableTable: the header is wrong.
        """
        self._file = file
        self._version = self._stat()
        self._columns: Sequence[str] = ()
        self._dialect: type[csv.Dialect] = csv.excel
        self._read_header()

    def check(self) -> int:
        """Read the whole file; return the number of its rows.

        Raises:
            UnusableTable: it can't be read; nothing of it may be imported then.
        """
        faults: list[Fault] = []
        count = 0
        for line, cells in self._records(faults):
            if len(cells) != len(self._columns):
                reason = f"number of cells: {len(cells)}, of the header: {len(self._columns)}"
                faults.append(Fault(line, reason))
            count += 1
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise UnusableTable(*sorted(faults)[:MAX_FAULTS])
        return count

    def rows(self) -> Iterator[Row]:
        """Yield the rows of a file that `check` has accepted.

        Raises:
            TableChanged: the file was written to since it was opened.
        """
        faults: list[Fault] = []
        for line, cells in self._records(faults):
            if faults or len(cells) != len(self._columns) or self._stat() != self._version:
                raise TableChanged
            named = zip(self._columns, map(str.strip, cells), strict=True)
            yield Row(line, {name: cell for name, cell in named if cell})
        if faults or self._stat() != self._version:
            raise TableChanged

    def _stat(self) -> tuple[int, int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read_header(self) -> None:
        faults: list[Fault] = []
        lines = _Lines(self._file, faults)
        text = next(lines, "")
        if faults:
            raise UnusableTable(*faults)
        found = _DELIMITER.search(text)
        self._dialect = _dialect(found[0] if found else ",")
        try:
            [names] = csv.reader([text], self._dialect) if text.strip() else [[]]
        except (csv.Error, ValueError):
            raise UnusableTable(Fault(1, "the header can't be read")) from None
        self._columns = [name.strip().lower() for name in names]
        if reasons := _wrong_columns(self._columns):
            raise UnusableTable(*(Fault(1, reason) for reason in reasons))

    def _records(self, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
        """Yield first line and cells of each record below the header; add what can't be read.

        Records of empty cells are left out: spreadsheets write them at the end.
        """
        lines = _Lines(self._file, faults)
        next(lines)
        reader = csv.reader(lines, self._dialect)
        while True:
            line = lines.number + 1
            lines.begin_record()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = []
                if not lines.has_failed:
                    faults.append(Fault(line, _reason(error)))
                    lines.has_failed = True  # what follows is a guess
            if lines.has_failed:
                return
            if any(map(str.strip, cells)):
                yield line, cells


class _Lines:
    """The decoded lines of a file from its start.

    Attributes:
        number: of the last line.
        has_failed: whether the rest of the file makes no sense.
    """

    def __init__(self, file: BinaryIO, faults: list[Fault]) -> None:
        self._file = file
        self._faults = faults
        self._left = MAX_ROW_BYTES
        self._first = 1
        self.number = 0
        self.has_failed = False
        file.seek(0)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._faults) >= MAX_FAULTS:
            raise StopIteration
        line = self._file.readline(self._left + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._left -= len(line)
        if self._left < 0:
            reason = f"the row has over {MAX_ROW_BYTES:,} bytes: is a quote missing?"
            self._fail(self._first, reason)
        if self.number == 1:
            if line.startswith(_UTF16):
                self._fail(1, "UTF-16: save the file as UTF-8")
            line = line.removeprefix(codecs.BOM_UTF8)
        return self._decoded(line)

    def begin_record(self) -> None:
        """Count the bytes of a record from here."""
        self._left, self._first = MAX_ROW_BYTES, self.number + 1

    def _decoded(self, line: bytes) -> str:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self._faults.append(Fault(self.number, "not UTF-8: save the file as UTF-8"))
            return line.decode("latin-1")
        if "\0" in text:
            self._faults.append(Fault(self.number, "has a NUL character"))
        return text

    def _fail(self, line: int, reason: str) -> None:
        self._faults.append(Fault(line, reason))
        self.has_failed = True
        raise StopIteration


def open_table(path: Path) -> BinaryIO:
    """Open a CSV, which is read twice and thus must be a regular file.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("must be a regular file, as it is read twice")
    return os.fdopen(handle, "rb")


def _wrong_columns(columns: Sequence[str]) -> list[str]:
    """Return why a header can't be used. It may be a row with data, so no name is quoted."""
    unknown = [
        f"column {number} is unknown: the columns are {', '.join(COLUMNS)}"
        for number, name in enumerate(columns, 1)
        if name not in COLUMNS
    ]
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    reasons = unknown[:1] + [f"column {name} is there twice" for name in twice]
    if EMAIL not in columns:
        reasons.append(f"there is no column {EMAIL}")
    elif len(columns) == 1:
        reasons.append(f"there is no column but {EMAIL}")
    return reasons


def _reason(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "a line ends with CR alone: end lines with LF or CRLF"
    return "wrong quotes: double each quote in a quoted cell, and close the cell's"


def _dialect(separator: str) -> type[csv.Dialect]:
    class Rfc4180(csv.excel):
        """Wrong quotes are errors."""

        delimiter = separator
        strict = True

    return Rfc4180
