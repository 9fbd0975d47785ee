"""Backup of a store into an archive, one portable file, and restore from it.

Values stay as they are stored. A restore has one partition in memory, a backup one group of related
partitions (`groups`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backends import Backend
from backends.copying.archive_format import ArchiveError, Contents, Reader, Writer
from backends.copying.groups import Items, Related, read_all, unrelated
from backends.copying.transfer import (
    Clock,
    NotEmpty,
    Progress,
    Report,
    is_live,
    write_partition,
)

__all__ = ["ArchiveError", "Contents", "Restored", "backup", "check", "restore"]

Visit = Callable[[bytes, Items], None]
"""Is called with a partition and its items, without versions."""


def _ignore(_partition: bytes, _items: Items) -> None:
    """Do nothing with a partition."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    Attributes:
        contents: of the archive.
        written: number of written partitions; the others were there already, or have expired.
    """

    contents: Contents
    written: int


def backup(
    source: Backend,
    path: Path,
    *,
    software: str,
    related: Related = unrelated,
    report: Report | None = None,
    clock: Clock = time.time,
) -> Contents:
    """Write all live items of a store, which may be in use, into an archive.

    The archive has each group of related partitions as it was at one instant, and different groups at
    different instants. The file gets its name when it is complete and on disk, replaces an older file
    of that name, and is readable by its owner alone.

    Raises:
        Unavailable: the store can't answer now.
        OSError: the file can't be written.
    """
    path = Path(os.path.realpath(path))  # replaces the target of a symbolic link, not the link
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            created_at = datetime.fromtimestamp(clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            writer = Writer(file, created_at, software)
            for partition, found in read_all(source, related):
                items = {name: item for name, item in found.items() if is_live(item, clock())}
                if items:
                    writer.add(partition, items)
                if report:
                    report(Progress("writing", writer.contents.partitions, writer.contents.bytes))
            writer.end()
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    _sync_folder(path.parent)
    return writer.contents


def check(path: Path, *, report: Report | None = None) -> Contents:
    """Read an archive from the first byte to the last; return its contents.

    Raises:
        ArchiveError: the file is no archive, or damaged.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        reader = Reader(file)
        for _ in _reported(reader, "checking", report):
            pass
        return reader.contents


def restore(
    path: Path,
    destination: Backend,
    *,
    overwrite: bool = False,
    inspect: Visit = _ignore,
    prepare: Visit = _ignore,
    report: Report | None = None,
    clock: Clock = time.time,
) -> Restored:
    """Write the live items of an archive into a store, and read them back.

    The whole archive is checked before the first write. A restore can be stopped at any instant, and
    started again with `overwrite`.

    Args:
        path: the archive.
        destination: an empty store, unless `overwrite` is set.
        overwrite: replace partitions of the archive as a whole; other partitions stay.
        inspect: called with each partition before the first write; rejects it by an exception.
        prepare: called with each partition before its write.
        report: called now and then.
        clock: the clock of the store.

    Raises:
        ArchiveError: the file is no archive, or damaged; nothing was written.
        NotEmpty: the store is not empty, and `overwrite` is not set; nothing was written.
        NotWritten: the store does not return what was written.
        Unavailable: the store can't answer now.
        OSError: the file can't be read.
    """
    if not overwrite and destination.scan(None, 1):
        raise NotEmpty("the store is not empty; nothing was written")
    with path.open("rb") as file:
        for partition, items in _reported(Reader(file), "checking", report):
            inspect(partition, items)
        file.seek(0)
        reader = Reader(file)
        written = 0
        for partition, items in _reported(reader, "writing", report):
            prepare(partition, items)
            written += write_partition(destination, partition, items, clock=clock).differed
        return Restored(reader.contents, written)


def _reported(reader: Reader, stage: str, report: Report | None) -> Iterator[tuple[bytes, Items]]:
    for partition, items in reader.partitions():
        yield partition, items
        if report:
            report(Progress(stage, reader.contents.partitions, reader.contents.bytes))


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
