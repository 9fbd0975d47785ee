"""The format of archives, checked to the last bit; `docs/reference/archive.md` describes its bytes."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, Final
from zlib import crc32

from backends import BackendError, Item, Put, check_batch
from backends.copying.transfer import batches

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


class ArchiveError(BackendError):
    """A file is no archive, or a damaged one; the message says where."""


@dataclass(slots=True)
class Contents:
    """The contents of an archive.

    Attributes:
        created_at: the time at which the backup began, RFC 3339 in UTC.
        software: name and version of the software that wrote it.
        partitions: number of partitions.
        items: number of items.
        bytes: bytes of all values.
    """

    created_at: str
    software: str
    partitions: int = 0
    items: int = 0
    bytes: int = 0

    def add(self, items: Mapping[str, Item]) -> None:
        """Count a partition."""
        self.partitions += 1
        self.items += len(items)
        self.bytes += sum(len(item.value) for item in items.values())


def _pack(contents: Contents) -> bytes:
    return _COUNTS.pack(contents.partitions, contents.items, contents.bytes)


class Writer:
    """Writes an archive.

    Attributes:
        contents: the partitions until now.
    """

    def __init__(self, file: BinaryIO, created_at: str, software: str) -> None:
        self.contents = Contents(created_at, software)
        self._file = file
        self._digest = sha256()
        self._write(_START.pack(MAGIC, FORMAT))
        self._record(_HEADER, json.dumps({"created_at": created_at, "software": software}).encode())

    def add(self, partition: bytes, items: Mapping[str, Item]) -> None:
        """Write a partition; partitions come in ascending order."""
        self._record(_PARTITION, *_encode(partition, items))
        self.contents.add(items)

    def end(self) -> None:
        """Write the end: counts and SHA-256 of everything before."""
        counts = _pack(self.contents)
        head = _RECORD.pack(_END, len(counts) + _DIGEST_BYTES)
        self._write(head + _CHECKSUM.pack(crc32(head)) + counts)
        digest = self._digest.digest()
        self._write(digest + _CHECKSUM.pack(crc32(counts + digest)))

    def _record(self, kind: bytes, *parts: bytes) -> None:
        head = _RECORD.pack(kind, sum(map(len, parts)))
        self._write(head + _CHECKSUM.pack(crc32(head)))
        checksum = 0
        for part in parts:
            self._write(part)
            checksum = crc32(part, checksum)
        self._write(_CHECKSUM.pack(checksum))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


class Reader:
    """Reads an archive from its first byte to its last, and checks all of it.

    Attributes:
        contents: the partitions until now.

    Raises:
        ArchiveError: the file is no archive, or its header is damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._position = 0
        self._digest = sha256()
        self.contents = self._read_start()

    def partitions(self) -> Iterator[tuple[bytes, dict[str, Item]]]:
        """Yield partitions in order. At the end the whole archive has been checked.

        Raises:
            ArchiveError: the archive is damaged.
        """
        last = b""
        while True:
            start = self._position
            kind, length = self._read_head()
            if kind == _END:
                self._read_end(start, length)
                return
            body = self._read_body(start, length)
            if kind != _PARTITION:
                raise _damaged_at(start, "a record of an unknown kind")
            try:
                partition, items = _decode(body)
            except ValueError as error:
                raise _damaged_at(start, error) from None
            if partition <= last:
                raise _damaged_at(start, "not in order")
            last = partition
            self.contents.add(items)
            yield partition, items

    def _read_start(self) -> Contents:
        magic, version = _START.unpack(self._take(_START.size))
        if magic != MAGIC:
            raise ArchiveError("this is no archive of a store, or its first bytes are damaged")
        if version != FORMAT:
            raise ArchiveError(f"the archive has format {version}; this version reads format {FORMAT}")
        start = self._position
        kind, length = self._read_head()
        try:
            header = json.loads(self._read_body(start, length))
        except ValueError:
            header = None
        if kind != _HEADER or not isinstance(header, dict):
            raise ArchiveError("the archive is damaged in its header")
        return Contents(str(header.get("created_at", "")), str(header.get("software", "")))

    def _read_head(self) -> tuple[bytes, int]:
        start = self._position
        head = self._take(_RECORD.size)
        self._verify(crc32(head), start)
        kind, length = _RECORD.unpack(head)
        return kind, length

    def _read_body(self, start: int, length: int) -> bytes:
        body = self._take(length)
        self._verify(crc32(body), start)
        return body

    def _read_end(self, start: int, length: int) -> None:
        if length != _COUNTS.size + _DIGEST_BYTES:
            raise _damaged_at(start, "an end of unknown form")
        counts = self._take(_COUNTS.size)
        digest = self._digest.digest()
        stored = self._take(_DIGEST_BYTES)
        self._verify(crc32(counts + stored), start)
        if stored != digest:
            raise ArchiveError("the archive is damaged: its SHA-256 is another")
        if counts != _pack(self.contents):
            raise ArchiveError("the archive is damaged: it does not hold as much as its end says")
        if self._position != self._size:
            raise ArchiveError(
                f"the archive is damaged: it goes on after its end, byte {self._position}"
            )

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


def _damaged_at(start: int, why: object) -> ArchiveError:
    return ArchiveError(f"the archive is damaged at byte {start}: {why}")


def _encode(partition: bytes, items: Mapping[str, Item]) -> Iterator[bytes]:
    yield bytes([len(partition)]) + partition
    for name, item in items.items():
        expires_at = _NEVER if item.expires_at is None else item.expires_at
        yield bytes([len(name)]) + name.encode("ascii") + _ITEM.pack(expires_at, len(item.value))
        yield item.value


def _decode(body: bytes) -> tuple[bytes, dict[str, Item]]:
    """Return the partition and the items of a record; versions are 0: each store gives its own.

    Raises:
        ValueError: the record is malformed.
    """
    stream = io.BytesIO(body)

    def take(size: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise ValueError("a part is too long")
        return data

    partition = take(take(1)[0])
    items: dict[str, Item] = {}
    while stream.tell() < len(body):
        name = take(take(1)[0]).decode("ascii")
        expires_at, size = _ITEM.unpack(take(_ITEM.size))
        if name in items:
            raise ValueError("a name stands twice")
        items[name] = Item(take(size), 0, None if expires_at == _NEVER else expires_at)
    if not items:
        raise ValueError("a partition without items")
    for batch in batches([Put(name, item.value) for name, item in items.items()]):
        check_batch(partition, batch)
    return partition, items
