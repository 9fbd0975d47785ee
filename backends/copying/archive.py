"""Backup of a store into an archive, one portable file, and restore from it.

Values stay as they are stored. A restore has one partition in memory, a backup one group of related
partitions (`groups`). Archives are checked to the last bit; `docs/reference/archive.md` describes their
bytes.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

from backends import Backend, BackendError, Item, Put, check_batch, is_live
from backends.copying.groups import Items, Related, read_all
from backends.copying.transfer import Clock, NotEmpty, Report, batches, write_partition

MAGIC: Final = b"\x89PPS\r\n\x1a\n"
FORMAT: Final = 1

_START: Final = struct.Struct(">8sH")
_RECORD: Final = struct.Struct(">cQ")
_ITEM: Final = struct.Struct(">qI")
_COUNTS: Final = struct.Struct(">QQQ")
_DIGEST_BYTES: Final = 32
_HEADER, _PARTITION, _END = b"H", b"P", b"E"

Visit = Callable[[bytes, Items], None]
"""Is called with a partition and its items, without versions."""


class ArchiveError(BackendError):
    """A file is no archive, or a damaged one; the message says where."""


@dataclass(slots=True)
class Contents:
    """The contents of an archive: numbers of partitions and items, and bytes of all values.

    Attributes:
        created_at: the time at which the backup began, RFC 3339 in UTC.
        software: name and version of the software that wrote it.
    """

    created_at: str
    software: str
    partitions: int = 0
    items: int = 0
    bytes: int = 0

    def add(self, items: Items) -> None:
        """Count a partition."""
        self.partitions += 1
        self.items += len(items)
        self.bytes += sum(len(item.value) for item in items.values())


class Restored(NamedTuple):
    """The result of a restore: partitions that were not written are the same, or have expired."""

    contents: Contents
    written: int


def backup(
    source: Backend,
    path: Path,
    *,
    software: str,
    related: Related = lambda *_: (),
    report: Report = lambda *_: None,
    clock: Clock = time.time,
) -> Contents:
    """Write all live items of a store, which may be in use, into an archive.

    The archive has each group of related partitions as it was at one instant, and different groups at
    different instants. The file gets its name when it is complete and on disk, replaces an older file
    of that name, and is readable by its owner alone. `OSError` if it can't be written.
    """
    path = Path(os.path.realpath(path))  # replaces the target of a symbolic link, not the link
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            created_at = datetime.fromtimestamp(clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            writer = _Writer(file, created_at, software)
            for partition, found in read_all(source, related):
                items = {name: item for name, item in found.items() if is_live(item, clock())}
                if items:
                    writer.add(partition, items)
                report("writing", writer.contents.partitions, writer.contents.bytes)
            writer.end()
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    _sync_folder(path.parent)
    return writer.contents


def check(path: Path, *, report: Report = lambda *_: None) -> Contents:
    """Read an archive from the first byte to the last; return its contents.

    Raises `ArchiveError` if the file is no archive, or damaged, and `OSError` if it can't be read.
    """
    with path.open("rb") as file:
        reader = _Reader(file)
        for _ in _reported(reader, "checking", report):
            pass
        return reader.contents


def restore(
    path: Path,
    destination: Backend,
    *,
    overwrite: bool = False,
    inspect: Visit = lambda *_: None,
    prepare: Visit = lambda *_: None,
    report: Report = lambda *_: None,
    clock: Clock = time.time,
) -> Restored:
    """Write the live items of an archive into a store, and read them back.

    The whole archive is checked before the first write; `inspect` may reject a partition then, by an
    exception. `prepare` is called with each partition before its write. A restore can be stopped at any
    instant, and started again with `overwrite`: it replaces partitions as a whole, and no others.

    Raises:
        ArchiveError: the file is no archive, or damaged; nothing was written.
        NotEmpty: the store is not empty, and `overwrite` is not set; nothing was written.
        NotWritten: the store does not return what was written.
        OSError: the file can't be read.
    """
    if not overwrite and destination.scan(None, 1):
        raise NotEmpty("the store is not empty; nothing was written")
    with path.open("rb") as file:
        for partition, items in _reported(_Reader(file), "checking", report):
            inspect(partition, items)
        file.seek(0)
        reader = _Reader(file)
        written = 0
        for partition, items in _reported(reader, "writing", report):
            prepare(partition, items)
            written += write_partition(destination, partition, items, clock=clock).differed
        return Restored(reader.contents, written)


def _reported(reader: _Reader, stage: str, report: Report) -> Iterator[tuple[bytes, Items]]:
    for partition, items in reader.partitions():
        yield partition, items
        report(stage, reader.contents.partitions, reader.contents.bytes)


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Writer:
    """Writes an archive; `contents` are the partitions until now."""

    def __init__(self, file: BinaryIO, created_at: str, software: str) -> None:
        self.contents = Contents(created_at, software)
        self._file = file
        self._digest = sha256()
        self._write(_START.pack(MAGIC, FORMAT))
        self._record(_HEADER, json.dumps({"created_at": created_at, "software": software}).encode())

    def add(self, partition: bytes, items: Items) -> None:
        """Write a partition; partitions come in ascending order."""
        self._record(_PARTITION, *_encode(partition, items))
        self.contents.add(items)

    def end(self) -> None:
        """Write the end: counts and SHA-256 of everything before."""
        counts = _packed(self.contents)
        self._write_checked(_RECORD.pack(_END, len(counts) + _DIGEST_BYTES))
        self._write(counts)
        digest = self._digest.digest()
        self._write(digest)
        self._write(crc32(counts + digest).to_bytes(4))

    def _record(self, kind: bytes, *parts: bytes) -> None:
        self._write_checked(_RECORD.pack(kind, sum(map(len, parts))))
        self._write_checked(*parts)

    def _write_checked(self, *parts: bytes) -> None:
        checksum = 0
        for part in parts:
            self._write(part)
            checksum = crc32(part, checksum)
        self._write(checksum.to_bytes(4))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


class _Reader:
    """Reads an archive from its first byte to its last; `contents` are the partitions until now.

    Every step raises `ArchiveError` if the file is no archive, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._digest = sha256()
        self.contents = self._read_start()

    def partitions(self) -> Iterator[tuple[bytes, Items]]:
        """Yield partitions in order. At the end the whole archive has been checked."""
        last = b""
        while True:
            start = self._file.tell()
            kind, body = self._read_record()
            if kind == _END:
                self._check_end(body)
                return
            try:
                partition, items = _decode(kind, body, last)
            except ValueError as error:
                raise ArchiveError(f"the archive is damaged at byte {start}: {error}") from None
            last = partition
            self.contents.add(items)
            yield partition, items

    def _read_start(self) -> Contents:
        magic, version = _START.unpack(self._take(_START.size))
        if magic != MAGIC:
            raise ArchiveError("this is no archive of a store, or its first bytes are damaged")
        if version != FORMAT:
            raise ArchiveError(f"the archive has format {version}; this version reads format {FORMAT}")
        kind, body = self._read_record()
        try:
            header = json.loads(body)
        except ValueError:
            header = None
        if kind != _HEADER or not isinstance(header, dict):
            raise ArchiveError("the archive is damaged in its header")
        return Contents(str(header.get("created_at", "")), str(header.get("software", "")))

    def _read_record(self) -> tuple[bytes, bytes]:
        start = self._file.tell()
        kind, length = _RECORD.unpack(self._take_checked(_RECORD.size, start))
        self._digest_before_body = self._digest.copy()
        return kind, self._take_checked(length, start)

    def _check_end(self, body: bytes) -> None:
        counts, digest = body[: _COUNTS.size], body[_COUNTS.size :]
        self._digest_before_body.update(counts)
        if digest != self._digest_before_body.digest():
            raise ArchiveError("the archive is damaged: its SHA-256 is another")
        if counts != _packed(self.contents):
            raise ArchiveError("the archive is damaged: it does not hold as much as its end says")
        if self._file.tell() != self._size:
            raise ArchiveError(
                f"the archive is damaged: it goes on after its end, byte {self._file.tell()}"
            )

    def _take_checked(self, size: int, start: int) -> bytes:
        data = self._take(size)
        if self._take(4) != crc32(data).to_bytes(4):
            raise ArchiveError(f"the archive is damaged in the record at byte {start}")
        return data

    def _take(self, size: int) -> bytes:
        data = self._file.read(min(size, self._size))
        if len(data) != size:
            raise ArchiveError(f"the archive ends too early, at byte {self._file.tell()}")
        self._digest.update(data)
        return data


def _packed(contents: Contents) -> bytes:
    return _COUNTS.pack(contents.partitions, contents.items, contents.bytes)


def _encode(partition: bytes, items: Items) -> Iterator[bytes]:
    yield bytes([len(partition)]) + partition
    for name, item in items.items():
        size_and_expiry = _ITEM.pack(item.expires_at or 0, len(item.value))
        yield bytes([len(name)]) + name.encode("ascii") + size_and_expiry
        yield item.value


def _decode(kind: bytes, body: bytes, last: bytes) -> tuple[bytes, Items]:
    """Return the partition and the items of a record; versions are 0: each store gives its own."""
    if kind != _PARTITION:
        raise ValueError("a record of an unknown kind")
    stream = io.BytesIO(body)

    def take(size: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise ValueError("a part is too long")
        return data

    partition = take(take(1)[0])
    if partition <= last:
        raise ValueError("not in order")
    items: dict[str, Item] = {}
    while stream.tell() < len(body):
        name = take(take(1)[0]).decode("ascii")
        expires_at, size = _ITEM.unpack(take(_ITEM.size))
        if name in items:
            raise ValueError("a name stands twice")
        items[name] = Item(take(size), 0, expires_at or None)
    if not items:
        raise ValueError("a partition without items")
    for batch in batches([Put(name, item.value) for name, item in items.items()]):
        check_batch(partition, batch)
    return partition, items
