"""Archives: everything that a store holds in one portable file, checked to the last bit.

`docs/storage.md` describes the format byte by byte. Values are in it as they are stored. Reading it
holds one partition in memory, writing it one group of partitions that belong together (`groups`).
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final
from zlib import crc32

from backends import Backend, BackendError, Item, Put, check_batch
from backends.copying.groups import Items, Related, alone, read_all
from backends.copying.transfer import (
    Clock,
    NotEmpty,
    Progress,
    Report,
    batches,
    is_live,
    write_partition,
)

MAGIC: Final = b"\x89PPS\r\n\x1a\n"
FORMAT: Final = 1

_START: Final = struct.Struct(">8sH")
_RECORD: Final = struct.Struct(">cQ")
_CHECKSUM: Final = struct.Struct(">I")
_ITEM: Final = struct.Struct(">qI")
_COUNTS: Final = struct.Struct(">QQQ")
_DIGEST_BYTES: Final = 32
_NEVER: Final = 0
_HEADER, _PARTITION, _END = b"H", b"P", b"E"


Visit = Callable[[bytes, Mapping[str, Item]], None]
"""Is called with a partition and its items, whose versions mean nothing."""


def _ignore(_partition: bytes, _items: Mapping[str, Item]) -> None:
    """Do nothing with a partition."""


class ArchiveError(BackendError):
    """A file is no archive, or a damaged one; the message says where."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds.

    Attributes:
        created_at: when it was begun, RFC 3339 in UTC.
        software: name and version of what made it.
        partitions: how many partitions.
        items: how many items.
        bytes: how many bytes their values have together.
    """

    created_at: str
    software: str
    partitions: int
    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        contents: what the archive holds.
        written: how many partitions were written: the others were there already, or have expired.
    """

    contents: Contents
    written: int


def backup(
    source: Backend,
    path: Path,
    *,
    software: str,
    related: Related = alone,
    report: Report | None = None,
    clock: Clock = time.time,
) -> Contents:
    """Write all live items of a store, which may be in use, into an archive.

    Each partition is in it as it was at one instant, with those that are related to it; not all at the
    same. The file gets its name when it is complete and on disk, replaces what had that name, and is
    readable by its owner alone.

    Raises:
        Unavailable: the store can't answer now.
        OSError: the file can't be written.
    """
    path = Path(os.path.realpath(path))  # not a symbolic link is replaced, but what it leads to
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            contents = _write(read_all(source, related), file, software, report, clock)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    _sync_folder(path.parent)
    return contents


def check(path: Path, *, report: Report | None = None) -> Contents:
    """Read an archive from the first byte to the last; return what it holds.

    Raises:
        ArchiveError: it is none, or damaged.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        reader = _Reader(file)
        _read_all(reader, "checking", report, _ignore)
        return reader.contents()


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
    """Write what an archive holds into a store, and read it back; what has expired is left out.

    The whole archive is checked before anything is written. It can be stopped at any instant, and
    started again with `overwrite`.

    Args:
        path: the archive.
        destination: an empty store, unless `overwrite` is set.
        overwrite: replace partitions that are in the archive too, as a whole; others stay.
        inspect: called with each partition before anything is written; refuses by an exception.
        prepare: called with each partition before it is written.
        report: called now and then.
        clock: what the store takes the time from.

    Raises:
        ArchiveError: it is none, or damaged; nothing was written. Also what `inspect` raises.
        NotEmpty: the store is not empty, and `overwrite` is not set; nothing was written.
        NotWritten: the store does not give back what was written.
        Unavailable: the store can't answer now.
        OSError: the file can't be read.
    """
    if not overwrite and destination.scan(None, 1):
        raise NotEmpty("the store is not empty; nothing was written")
    written = 0

    def write(partition: bytes, items: Mapping[str, Item]) -> None:
        nonlocal written
        prepare(partition, items)
        result = write_partition(destination, partition, items, clock=clock)
        written += result.differed

    with path.open("rb") as file:
        _read_all(_Reader(file), "checking", report, inspect)
        file.seek(0)
        reader = _Reader(file)
        _read_all(reader, "writing", report, write)
        return Restored(reader.contents(), written)


def _write(
    source: Iterable[tuple[bytes, Items]],
    file: BinaryIO,
    software: str,
    report: Report | None,
    clock: Clock,
) -> Contents:
    created_at = datetime.fromtimestamp(clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    writer = _Writer(file)
    writer.record(_HEADER, json.dumps({"created_at": created_at, "software": software}).encode())
    partitions = count = size = 0
    for partition, found in source:
        items = {name: item for name, item in found.items() if is_live(item, clock())}
        if items:
            writer.record(_PARTITION, *_encode(partition, items))
            partitions += 1
            count += len(items)
            size += sum(len(item.value) for item in items.values())
        if report:
            report(Progress("writing", partitions, size))
    writer.end(partitions, count, size)
    return Contents(created_at, software, partitions, count, size)


def _encode(partition: bytes, items: Mapping[str, Item]) -> Iterator[bytes]:
    yield bytes([len(partition)]) + partition
    for name, item in items.items():
        expires_at = _NEVER if item.expires_at is None else item.expires_at
        yield bytes([len(name)]) + name.encode("ascii") + _ITEM.pack(expires_at, len(item.value))
        yield item.value


def _decode(body: bytes) -> tuple[bytes, dict[str, Item]]:
    """Return partition and items of a record.

    Raises:
        ValueError: it is not as it should be.
    """
    view = memoryview(body)

    def take(size: int) -> bytes:
        nonlocal view
        if size > len(view):
            raise ValueError("a part is too long")
        taken, view = bytes(view[:size]), view[size:]
        return taken

    partition = take(take(1)[0])
    items: dict[str, Item] = {}
    while view:
        name = take(take(1)[0]).decode("ascii")
        expires_at, size = _ITEM.unpack(take(_ITEM.size))
        if name in items:
            raise ValueError("a name stands twice")
        # The version is the source's own affair: a store gives new ones.
        items[name] = Item(take(size), 0, None if expires_at == _NEVER else expires_at)
    if not items:
        raise ValueError("a partition without items")
    for batch in batches([Put(name, item.value) for name, item in items.items()]):
        check_batch(partition, batch)
    return partition, items


def _read_all(reader: _Reader, stage: str, report: Report | None, use: Visit) -> None:
    for partition, items in reader.partitions():
        use(partition, items)
        if report:
            report(Progress(stage, reader.partition_count, reader.value_bytes))


class _Writer:
    """Writes records and what checks them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self._write(_START.pack(MAGIC, FORMAT))

    def record(self, kind: bytes, *parts: bytes) -> None:
        head = _RECORD.pack(kind, sum(map(len, parts)))
        self._write(head)
        self._write(_CHECKSUM.pack(crc32(head)))
        checksum = 0
        for part in parts:
            self._write(part)
            checksum = crc32(part, checksum)
        self._write(_CHECKSUM.pack(checksum))

    def end(self, *counts: int) -> None:
        packed = _COUNTS.pack(*counts)
        head = _RECORD.pack(_END, len(packed) + _DIGEST_BYTES)
        before = head + _CHECKSUM.pack(crc32(head)) + packed
        self._write(before)
        digest = self._digest.digest()
        self._write(digest + _CHECKSUM.pack(crc32(packed + digest)))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


class _Reader:
    """Reads an archive once, from its first byte to its last, and checks all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._position = 0
        self._digest = sha256()
        self._header: dict[str, Any] = {}
        self.partition_count = self.item_count = self.value_bytes = 0

    def partitions(self) -> Iterator[tuple[bytes, dict[str, Item]]]:
        """Yield partitions in order; at its end all of the archive has been checked.

        Raises:
            ArchiveError: it is damaged.
        """
        self._read_start()
        last = b""
        while True:
            start = self._position
            kind, body = self._record()
            if kind == _END:
                return
            try:
                if kind != _PARTITION:
                    raise ValueError("a record of an unknown kind")  # noqa: TRY301 - told with its place
                partition, items = _decode(body)
            except ValueError as error:
                raise ArchiveError(f"the archive is damaged at byte {start}: {error}") from None
            if partition <= last:
                raise ArchiveError(f"the archive is damaged at byte {start}: not in order")
            last = partition
            self.partition_count += 1
            self.item_count += len(items)
            self.value_bytes += sum(len(item.value) for item in items.values())
            yield partition, items

    def contents(self) -> Contents:
        """Return what the archive holds, when all of it was read."""
        return Contents(
            str(self._header.get("created_at", "")),
            str(self._header.get("software", "")),
            self.partition_count,
            self.item_count,
            self.value_bytes,
        )

    def _read_start(self) -> None:
        magic, version = _START.unpack(self._take(_START.size))
        if magic != MAGIC:
            raise ArchiveError("this is no archive of a store, or its first bytes are damaged")
        if version != FORMAT:
            raise ArchiveError(f"the archive has format {version}; this version reads format {FORMAT}")
        kind, body = self._record()
        try:
            header = json.loads(body)
        except ValueError:
            header = None
        if kind != _HEADER or not isinstance(header, dict):
            raise ArchiveError("the archive is damaged in its header")
        self._header = header

    def _record(self) -> tuple[bytes, bytes]:
        start = self._position
        head = self._take(_RECORD.size)
        self._verify(crc32(head), start)
        kind, length = _RECORD.unpack(head)
        if kind == _END:
            return kind, self._end(start, length)
        body = self._take(length)
        self._verify(crc32(body), start)
        return kind, body

    def _end(self, start: int, length: int) -> bytes:
        if length != _COUNTS.size + _DIGEST_BYTES:
            raise ArchiveError(f"the archive is damaged at byte {start}: an end of unknown form")
        packed = self._take(_COUNTS.size)
        digest = self._digest.digest()
        stored = self._take(_DIGEST_BYTES)
        self._verify(crc32(packed + stored), start)
        if stored != digest:
            raise ArchiveError("the archive is damaged: its SHA-256 is another")
        counts = (self.partition_count, self.item_count, self.value_bytes)
        if _COUNTS.unpack(packed) != counts:
            raise ArchiveError("the archive is damaged: it does not hold as much as its end says")
        if self._position != self._size:
            raise ArchiveError(
                f"the archive is damaged: it goes on after its end, byte {self._position}"
            )
        return packed

    def _verify(self, checksum: int, start: int) -> None:
        if _CHECKSUM.unpack(self._take(_CHECKSUM.size)) != (checksum,):
            raise ArchiveError(f"the archive is damaged in the record at byte {start}")

    def _take(self, size: int) -> bytes:
        if size > self._size - self._position:
            raise ArchiveError(f"the archive ends too early, at byte {self._size}")
        data = self._file.read(size)
        if len(data) != size:
            raise ArchiveError(f"the archive ended while it was read, after byte {self._position}")
        self._position += size
        self._digest.update(data)
        return data


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
