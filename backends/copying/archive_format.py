"""The format of archives: `docs/reference/archive.md` describes their bytes."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, BinaryIO, Final, Protocol
from zlib import crc32

from backends import BackendError, Item, Put, check_batch, size_of
from backends.copying.transfer import Items, batches

MAGIC: Final = b"\x89PPS\r\n\x1a\n"
FORMAT: Final = 2

_START: Final = struct.Struct(">8sH")
_RECORD: Final = struct.Struct(">cQ")
_ITEM: Final = struct.Struct(">qI")
_COUNTS: Final = {1: struct.Struct(">QQQ"), 2: struct.Struct(">QQQQ")}
_DIGEST_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 4
_HEADER, _PARTITION, _KEYS, _END = b"H", b"P", b"K", b"E"
_PIECE_BYTES: Final = 1024 * 1024

Keys = Mapping[str, Any]
"""The keys that the items of an archive need, as JSON; only the owner of the data knows them."""


class ArchiveError(BackendError):
    """A file is no archive, or a damaged one; the message says where."""


@dataclass(slots=True)
class Contents:
    """The contents of an archive: numbers of partitions and items, and bytes of all values.

    Attributes:
        created_at: the time at which the backup began, RFC 3339 in UTC.
        software: name and version of the software that wrote it.
        keys: of the record about keys, as its writer composed it; empty in format 1.
        file_bytes: the length of the archive.
    """

    created_at: str
    software: str
    partitions: int = 0
    items: int = 0
    bytes: int = 0
    keys: Keys = field(default_factory=dict)
    file_bytes: int = 0

    @property
    def started_at(self) -> datetime:
        """The time at which the backup began.

        Raises:
            ArchiveError: the header has another form of time.
        """
        with suppress(ValueError):
            instant = datetime.fromisoformat(self.created_at)
            if instant.tzinfo is not None:
                return instant
        raise ArchiveError("the archive's header has no time of its start")

    def add(self, items: Items) -> None:
        """Count a partition."""
        self.partitions += 1
        self.items += len(items)
        self.bytes += size_of(items)


class ArchiveWriter:
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

    def end(self, keys: Keys) -> None:
        """Write the record about keys, then the end: counts and SHA-256 of everything before."""
        self.contents.keys = keys
        position = self.contents.file_bytes
        self._record(_KEYS, json.dumps(keys).encode())
        counts = _packed(self.contents, FORMAT, position)
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
        self.contents.file_bytes += len(data)


class Readable(Protocol):
    """The part of a binary file that a reader uses."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes; none at the end."""

    def fileno(self) -> int:
        """Return the descriptor."""


class ArchiveReader:
    """Reads an archive from its first byte to its last; `contents` are the partitions until now.

    Every step raises `ArchiveError` if the file is no archive, or damaged.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._position = 0
        self._digest = sha256()
        self.format, self.contents = self._read_start()

    def partitions(self) -> Iterator[tuple[bytes, Items]]:
        """Yield partitions in order. At the end the whole archive has been checked."""
        last = b""
        while True:
            start = self._position
            kind, body = self.read_record()
            if kind == _KEYS and self.format > 1:
                self.contents.keys = _parse_keys(body)
                kind, end = self.read_record()
                self._check_end(kind, end, start)
                return
            if kind == _END and self.format == 1:
                self._check_end(kind, body, 0)
                return
            try:
                partition, items = _decode(kind, body, last)
            except ValueError as error:
                raise ArchiveError(f"the archive is damaged at byte {start}: {error}") from None
            last = partition
            self.contents.add(items)
            yield partition, items

    def seek_keys(self, file: BinaryIO) -> Keys:
        """Return the record about keys, by its position at the end of a seekable file."""
        counts = _COUNTS[self.format]
        end = _RECORD.size + counts.size + _DIGEST_BYTES + 2 * _CHECKSUM_BYTES
        self._position = file.seek(max(0, file.seek(0, os.SEEK_END) - end))
        kind, body = self.read_record()
        if kind != _END or len(body) != counts.size + _DIGEST_BYTES:
            raise ArchiveError("the archive is damaged at its end")
        self._position = file.seek(min(counts.unpack_from(body)[-1], self._position))
        kind, body = self.read_record()
        if kind != _KEYS:
            raise ArchiveError("the archive is damaged in its record about keys")
        return _parse_keys(body)

    def read_record(self) -> tuple[bytes, bytes]:
        """Return kind and body of the next record."""
        start = self._position
        kind, length = _RECORD.unpack(self._take_checked(_RECORD.size, start))
        self._digest_before_body = self._digest.copy()
        return kind, self._take_checked(length, start)

    def _read_start(self) -> tuple[int, Contents]:
        magic, version = _START.unpack(self._take(_START.size))
        if magic != MAGIC:
            raise ArchiveError("this is no archive of a store, or its first bytes are damaged")
        if version not in _COUNTS:
            raise ArchiveError(
                f"the archive has format {version}; this version reads formats up to {FORMAT}"
            )
        kind, body = self.read_record()
        header = _json_object(body)
        if kind != _HEADER or header is None:
            raise ArchiveError("the archive is damaged in its header")
        return version, Contents(str(header.get("created_at", "")), str(header.get("software", "")))

    def _check_end(self, kind: bytes, body: bytes, keys_position: int) -> None:
        size = _COUNTS[self.format].size
        counts, digest = body[:size], body[size:]
        self._digest_before_body.update(counts)
        if kind != _END or digest != self._digest_before_body.digest():
            raise ArchiveError("the archive is damaged: its SHA-256 is another")
        if counts != _packed(self.contents, self.format, keys_position):
            raise ArchiveError("the archive is damaged: it does not hold as much as its end says")
        self.contents.file_bytes = self._position
        # A device goes on after every file.
        if not _is_device(self._file) and self._file.read(1):
            raise ArchiveError(
                f"the archive is damaged: it goes on after its end, byte {self._position}"
            )

    def _take_checked(self, size: int, start: int) -> bytes:
        data = self._take(size)
        if self._take(_CHECKSUM_BYTES) != crc32(data).to_bytes(_CHECKSUM_BYTES):
            raise ArchiveError(f"the archive is damaged in the record at byte {start}")
        return data

    def _take(self, size: int) -> bytes:
        pieces = []
        # In pieces: a damaged length may be larger than any memory.
        while size and (piece := self._file.read(min(size, _PIECE_BYTES))):
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        if size:
            raise ArchiveError(f"the archive ends too early, at byte {self._position}")
        data = b"".join(pieces)
        self._digest.update(data)
        return data


def _is_device(file: Readable) -> bool:
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISBLK(mode) or stat.S_ISCHR(mode)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _parse_keys(body: bytes) -> Keys:
    keys = _json_object(body)
    if keys is None:
        raise ArchiveError("the archive is damaged in its record about keys")
    return keys


def _packed(contents: Contents, version: int, keys_position: int) -> bytes:
    numbers = (contents.partitions, contents.items, contents.bytes, keys_position)
    return _COUNTS[version].pack(*numbers[: _COUNTS[version].size // 8])


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
