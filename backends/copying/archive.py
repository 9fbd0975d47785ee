"""Backup of a store into an archive, one portable file, and restore from it.

Values stay as they are stored. In memory are a few portions of partitions, and in a backup one group of
related partitions (`groups`). Archives are checked to the last bit; `docs/reference/archive.md`
describes their bytes.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from backends import Backend, chunks, is_live, size_of
from backends.copying.archive_format import ArchiveReader, ArchiveWriter, Contents, Keys
from backends.copying.groups import Related, read_all
from backends.copying.pace import UNLIMITED, Pace
from backends.copying.transfer import (
    PORTION_PARTITIONS,
    READ_BYTES,
    Clock,
    Items,
    NotEmpty,
    Report,
    ahead,
    write_partitions,
)

Visit = Callable[[bytes, Items], None]
"""Is called with a partition and its items, without versions."""


class Restored(NamedTuple):
    """The result of a restore: partitions that were not written are the same, or have expired."""

    contents: Contents
    written: int


def backup(  # noqa: PLR0913 - all but two are options
    source: Backend,
    file: BinaryIO,
    *,
    software: str,
    related: Related = lambda *_: (),
    inspect: Visit = lambda *_: None,
    keys: Callable[[], Keys] = dict,
    report: Report = lambda *_: None,
    pace: Pace = UNLIMITED,
    clock: Clock = time.time,
) -> Contents:
    """Write all live items of a store, which may be in use, into an archive.

    The archive has each group of related partitions as it was at one instant, and different groups at
    different instants. `inspect` is called with each partition, then `keys` for the record about keys.
    The file need not be seekable. `OSError` if it can't be written.
    """
    created_at = datetime.fromtimestamp(clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    writer = ArchiveWriter(file, created_at, software)
    for partition, found in read_all(source, related, pace=pace):
        items = {name: item for name, item in found.items() if is_live(item, clock())}
        if items:
            inspect(partition, items)
            writer.add(partition, items)
        report("writing", writer.contents.partitions, writer.contents.bytes, partition)
    writer.end(keys())
    return writer.contents


def check(
    file: BinaryIO, *, inspect: Visit = lambda *_: None, report: Report = lambda *_: None
) -> Contents:
    """Read an archive from the first byte to the last; return its contents.

    Raises `ArchiveError` if the file is no archive, or damaged, and `OSError` if it can't be read.
    """
    reader = ArchiveReader(file)
    for partition, items in _reported(reader, "checking", report):
        inspect(partition, items)
    return reader.contents


def read_keys(file: BinaryIO) -> Keys | None:
    """Return the record about keys at once, from the end of an archive; None in format 1.

    Only this record and the end are checked. The file must be seekable.

    Raises:
        ArchiveError: the file is no archive, or damaged.
    """
    reader = ArchiveReader(file)
    return None if reader.format == 1 else reader.seek_keys(file)


def restore(  # noqa: PLR0913 - all but two are options
    file: BinaryIO,
    destination: Backend,
    *,
    overwrite: bool = False,
    inspect: Visit = lambda *_: None,
    accept: Callable[[Contents], None] = lambda _: None,
    prepare: Visit = lambda *_: None,
    report: Report = lambda *_: None,
    pace: Pace = UNLIMITED,
    clock: Clock = time.time,
) -> Restored:
    """Write the live items of an archive into a store, and read them back.

    The whole archive is checked before the first write. `inspect`, called with each partition then,
    and `accept`, called at the end of the check, may reject the archive by an exception. `prepare` is
    called with each partition before its write. A restore can be stopped at any instant, and started
    again with `overwrite`: it replaces partitions as a whole, and no others. A file that can be read
    only once is kept in a temporary file.

    Raises:
        ArchiveError: the file is no archive, or damaged; nothing was written.
        NotEmpty: the store is not empty, and `overwrite` is not set; nothing was written.
        NotWritten: the store does not return what was written.
        OSError: the file can't be read.
    """
    if not overwrite and destination.scan(None, 1):
        raise NotEmpty("the store is not empty; nothing was written")
    is_seekable = file.seekable() and not stat.S_ISCHR(os.fstat(file.fileno()).st_mode)  # a tape
    start = file.tell() if is_seekable else 0
    with nullcontext(file) if is_seekable else tempfile.TemporaryFile() as second:
        first = file if is_seekable else _Kept(file, second)
        reader = ArchiveReader(first)
        for partition, items in _reported(reader, "checking", report):
            inspect(partition, items)
        accept(reader.contents)
        second.seek(start)
        reader = ArchiveReader(second)
        written = 0
        for portion in _portions(_reported(reader, "writing", report), pace):
            for partition, items in portion:
                prepare(partition, items)
            results = write_partitions(destination, dict(portion), clock=clock)
            written += sum(each.differed for each in results.values())
            pace(sum(size_of(items) for _, items in portion))
        return Restored(reader.contents, written)


def _portions(
    partitions: Iterator[tuple[bytes, Items]], pace: Pace
) -> Iterator[list[tuple[bytes, Items]]]:
    """Yield partitions that are written together; the next ones are read meanwhile."""
    max_bytes = pace.portion(READ_BYTES)
    return ahead(chunks(partitions, lambda each: size_of(each[1]), max_bytes, PORTION_PARTITIONS))


def _reported(reader: ArchiveReader, stage: str, report: Report) -> Iterator[tuple[bytes, Items]]:
    for partition, items in reader.partitions():
        yield partition, items
        report(stage, reader.contents.partitions, reader.contents.bytes, partition)


class _Kept:
    """A file whose bytes are written into another one as they are read."""

    def __init__(self, file: BinaryIO, copy: BinaryIO) -> None:
        self._file, self._copy = file, copy
        self.fileno = file.fileno

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        try:
            self._copy.write(data)
        except OSError as error:
            error.filename = tempfile.gettempdir()
            raise
        return data
