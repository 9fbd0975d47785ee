"""Archives, without the command."""

import os
import stat
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import pytest
from support.servers.applications import Clock
from support.stores.archives import backup, check, restore
from support.stores.stores import (
    FUTURE,
    NAMES,
    Opener,
    Watched,
    everything,
    fill,
    partition_of,
)

from backends import MAX_VALUE_BYTES, Put, Unavailable
from backends.copying.archive import read_keys
from backends.copying.archive import restore as restore_file
from backends.copying.archive_format import ArchiveError, Contents
from backends.copying.transfer import NotEmpty, NotWritten
from backends.engines.memory import MemoryBackend


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive."""
    source = MemoryBackend()
    source.apply(b"\x00m", [Put("used", b"", expires_at=FUTURE)])
    source.apply(b"\x01a", [Put("key", b"k" * 20), Put("picture/1", b"p" * 30)])
    backup(source, tmp_path / "small.archive", software="test 1.0")
    return tmp_path / "small.archive"


@contextmanager
def piped(data: bytes) -> Iterator[BinaryIO]:
    """Open the end of a pipe from which the data come."""
    read, write = os.pipe()

    def send() -> None:
        with suppress(BrokenPipeError), os.fdopen(write, "wb") as file:
            file.write(data)

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(read, "rb") as file:
        yield file
    sender.join()


class TestArchive:
    @pytest.mark.parametrize(
        ("source_kind", "destination_kind"),
        [("memory", "sqlite"), ("sqlite", "mariadb"), ("mariadb", "memory")],
    )
    def test_there_and_back(self, open_store: Opener, tmp_path, source_kind, destination_kind):
        """A backup is restored with all values and expiries, to any kind of store."""
        source, destination = open_store(source_kind), open_store(destination_kind)
        fill(source)
        path = tmp_path / "archive"
        reports = []
        contents = backup(source, path, software="test 1.0", report=lambda *each: reports.append(each))
        assert (contents.partitions, contents.items) == (31, 30 * 4 + 6 + 1)
        assert contents.software == "test 1.0"
        assert contents.bytes == reports[-1][2]
        assert check(path) == contents
        restored = restore(path, destination, report=lambda *each: reports.append(each))
        assert (restored.contents, restored.written) == (contents, 31)
        assert everything(destination) == everything(source)
        assert {stage for stage, *_ in reports} == {"writing", "checking"}

    def test_empty_store(self, tmp_path):
        """An empty store has an archive too."""
        contents = backup(MemoryBackend(), tmp_path / "archive", software="test 1.0")
        destination = MemoryBackend()
        assert restore(tmp_path / "archive", destination).contents == contents
        size = (tmp_path / "archive").stat().st_size
        assert contents == Contents(contents.created_at, "test 1.0", 0, 0, 0, {}, size)

    def test_big_partitions(self, tmp_path):
        """The largest values, and more items than fit in a batch, are kept."""
        source, destination = MemoryBackend(), MemoryBackend()
        source.apply(b"\x01big", [Put(f"p/{n}", bytes([n]) * MAX_VALUE_BYTES) for n in range(3)])
        for start in range(0, 250, 50):
            source.apply(b"\x01many", [Put(f"item/{start + n}", b"v") for n in range(50)])
        backup(source, tmp_path / "archive", software="test")
        restore(tmp_path / "archive", destination)
        assert everything(destination) == everything(source)

    def test_format(self, tmp_path):
        """The bytes are as documented."""
        source = MemoryBackend(Clock(1_700_000_000))
        source.apply(b"\x01a", [Put("key", b"k"), Put("p/1", b"", expires_at=1_700_000_099)])
        path = tmp_path / "archive"
        keys = {"encryption": {"1": 1}}
        backup(source, path, software="test 1.0", keys=lambda: keys, clock=Clock(1_700_000_000))
        data = path.read_bytes()
        header = b'{"created_at": "2023-11-14T22:13:20Z", "software": "test 1.0"}'
        items = b"\x02\x01a" + b"\x03key" + struct.pack(">qI", 0, 1) + b"k"
        items += b"\x03p/1" + struct.pack(">qI", 1_700_000_099, 0)
        expected = b"\x89PPS\r\n\x1a\n\x00\x02"
        expected += self.record(b"H", header) + self.record(b"P", items)
        position = len(expected)
        expected += self.record(b"K", b'{"encryption": {"1": 1}}')
        head = self.record(b"E", bytes(64))[:13]
        counts = struct.pack(">QQQQ", 1, 2, 1, position)
        digest = sha256(expected + head + counts).digest()
        assert data == expected + self.record(b"E", counts + digest)
        with path.open("rb") as file:
            assert read_keys(file) == check(path).keys == keys

    def test_format_1(self, tmp_path):
        """An archive of format 1, which has no record about keys, is restored too."""
        before = b"\x89PPS\r\n\x1a\n\x00\x01" + self.record(b"H", b"{}")
        before += self.record(b"P", b"\x02\x01a" + b"\x03key" + struct.pack(">qI", 0, 1) + b"k")
        counts = struct.pack(">QQQ", 1, 1, 1)
        digest = sha256(before + self.record(b"E", bytes(56))[:13] + counts).digest()
        path = tmp_path / "archive"
        path.write_bytes(before + self.record(b"E", counts + digest))
        destination = MemoryBackend()
        assert restore(path, destination).contents.keys == {}
        assert everything(destination) == {b"\x01a": {"key": (b"k", None)}}
        with path.open("rb") as file:
            assert read_keys(file) is None

    def test_keys_of_a_damaged_archive(self, archive):
        """The record about keys is found by an undamaged end alone."""
        data = archive.read_bytes()
        end = data.rindex(b"E" + struct.pack(">Q", 64))
        elsewhere = struct.pack(">QQQQ", 2, 3, 50, 10)
        for wrong in (
            data[: end - 1] + b"?" + data[end:],
            data[:-9] + b"?" + data[-8:],
            data[:-1],
            data[:end],
            data[:end] + self.record(b"E", elsewhere + bytes(32)),
            data[:end] + self.record(b"E", elsewhere[:-8] + b"\xff" * 8 + bytes(32)),
        ):
            archive.write_bytes(wrong)
            with archive.open("rb") as file, pytest.raises(ArchiveError):
                read_keys(file)

    def test_through_pipes(self, archive, tmp_path):
        """An archive goes through pipes; a restore from a pipe writes nothing before all is checked."""
        source, destination = MemoryBackend(), Watched()
        fill(source)
        path = tmp_path / "archive"
        contents = backup(source, path, software="test")
        data = path.read_bytes()
        for sent, is_whole in ((data[:-1], False), (data + b"?", False), (data, True)):
            with piped(sent) as file, nullcontext() if is_whole else pytest.raises(ArchiveError):
                assert restore_file(file, destination).contents == contents
            assert bool(destination.writes) == is_whole
        assert everything(destination) == everything(source)

    def test_rejected_at_the_end_of_the_check(self, archive):
        """What rejects an archive once all of it was seen keeps everything from being written."""
        destination, seen = Watched(), []

        def accept(_: Contents) -> None:
            assert [partition for partition, _ in seen] == [b"\x00m", b"\x01a"]
            raise NotEmpty

        with pytest.raises(NotEmpty):
            restore(archive, destination, inspect=lambda *each: seen.append(each), accept=accept)
        assert destination.writes == 0

    def test_every_flipped_bit(self, archive, tmp_path):
        """An archive with any flipped bit is rejected, and nothing is written."""
        data = archive.read_bytes()
        destination = Watched()
        damaged = tmp_path / "damaged"
        for index in range(len(data)):
            for bit in (0x01, 0x80) if index % 8 else (1, 2, 4, 8, 16, 32, 64, 128):
                flipped = bytearray(data)
                flipped[index] ^= bit
                damaged.write_bytes(flipped)
                with pytest.raises(ArchiveError):
                    restore(damaged, destination)
        assert destination.writes == 0

    def test_every_truncation(self, archive, tmp_path):
        """An archive cut off at any byte is rejected, and nothing is written."""
        data = archive.read_bytes()
        destination = Watched()
        damaged = tmp_path / "damaged"
        for length in range(len(data)):
            damaged.write_bytes(data[:length])
            with pytest.raises(ArchiveError, match="ends too early"):
                restore(damaged, destination)
        assert destination.writes == 0

    def test_trailing_bytes(self, archive):
        """Bytes after the end are rejected, also another archive."""
        data = archive.read_bytes()
        for junk in (b"\0", b"\n", data):
            archive.write_bytes(data + junk)
            with pytest.raises(ArchiveError, match="goes on after its end"):
                restore(archive, MemoryBackend())

    def test_left_out_or_moved_records(self, archive):
        """Missing, repeated and reordered records are rejected."""
        data = archive.read_bytes()
        first, second, end = (data.index(kind + bytes(7)) for kind in (b"P", b"P", b"E"))
        second = data.index(b"P" + bytes(7), first + 1)
        parts = data[:first], data[first:second], data[second:end], data[end:]
        for order in ([0, 1, 3], [0, 1, 1, 2, 3], [0, 2, 1, 3], [0, 3]):
            archive.write_bytes(b"".join(parts[index] for index in order))
            with pytest.raises(ArchiveError):
                check(archive)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\x00",
            b"\x22" + b"x" * 34,
            b"\x01a\x00" + bytes(12),
            b"\x01a\x01\xff" + bytes(12),
            b"\x01a\x01\n" + bytes(12),
            b"\x01a\x01k" + struct.pack(">qI", 0, 5) + b"four",
            b"\x01a" + 2 * (b"\x01k" + bytes(12)),
            b"\x01a\x01k\x00",
        ],
    )
    def test_records_that_make_no_sense(self, archive, body):
        """A malformed record with right checksums is rejected, too."""
        data = archive.read_bytes()
        head = b"P" + struct.pack(">Q", len(body))
        record = head + struct.pack(">I", crc32(head)) + body + struct.pack(">I", crc32(body))
        archive.write_bytes(data[: data.index(b"P" + bytes(7))] + record)
        with pytest.raises(ArchiveError, match="damaged at byte"):
            check(archive)

    @staticmethod
    def record(kind: bytes, body: bytes) -> bytes:
        head = kind + struct.pack(">Q", len(body))
        return head + struct.pack(">I", crc32(head)) + body + struct.pack(">I", crc32(body))

    def test_record_of_an_unknown_kind(self, archive):
        """A record of an unknown kind with right checksums is rejected."""
        data = archive.read_bytes()
        archive.write_bytes(data[: data.index(b"P" + bytes(7))] + self.record(b"Q", b"\x01a"))
        with pytest.raises(ArchiveError, match="a record of an unknown kind"):
            check(archive)

    @pytest.mark.parametrize(("kind", "body"), [(b"H", b"{"), (b"H", b"[]"), (b"P", b"{}")])
    def test_header_that_makes_no_sense(self, archive, kind, body):
        """A header with right checksums that is no JSON object, or of another kind, is rejected."""
        archive.write_bytes(archive.read_bytes()[:10] + self.record(kind, body))
        with pytest.raises(ArchiveError, match="damaged in its header"):
            check(archive)

    def test_wrong_counts(self, archive):
        """An end with a right digest and the counts of another archive is rejected."""
        data = archive.read_bytes()
        before = data[: data.index(b"E" + struct.pack(">Q", 64))]
        head = b"E" + struct.pack(">Q", 64)
        head += struct.pack(">I", crc32(head))
        counts = struct.pack(">QQQQ", 9, 9, 9, 9)
        digest = sha256(before + head + counts).digest()
        archive.write_bytes(before + self.record(b"E", counts + digest))
        with pytest.raises(ArchiveError, match="does not hold as much as its end says"):
            check(archive)

    def test_other_formats(self, archive):
        """A later format and other files have messages of their own."""
        data = archive.read_bytes()
        archive.write_bytes(data[:8] + b"\x00\x03" + data[10:])
        with pytest.raises(ArchiveError, match="format 3; this version reads formats up to 2"):
            check(archive)
        archive.write_bytes(b"SQLite format 3\0" * 10)
        with pytest.raises(ArchiveError, match="no archive of a store"):
            check(archive)

    def test_store_that_is_not_empty(self, archive):
        """A restore there needs `overwrite`; items outside of the archive's partitions stay."""
        destination = MemoryBackend()
        destination.apply(b"\x01a", [Put("key", b"new"), Put("picture/2", b"new")])
        destination.apply(b"\x01b", [Put("key", b"other")])
        before = everything(destination)
        with pytest.raises(NotEmpty, match="nothing was written"):
            restore(archive, destination)
        assert everything(destination) == before
        assert restore(archive, destination, overwrite=True).written == 2
        assert everything(destination) == {
            b"\x00m": {"used": (b"", FUTURE)},
            b"\x01a": {"key": (b"k" * 20, None), "picture/1": (b"p" * 30, None)},
            b"\x01b": {"key": (b"other", None)},
        }
        assert restore(archive, destination, overwrite=True).written == 0

    def test_what_has_expired_since(self, archive):
        """Items that expired after the backup are not restored."""
        clock = Clock(FUTURE)
        destination = MemoryBackend(clock)
        assert restore(archive, destination, clock=clock).written == 1
        assert list(everything(destination)) == [b"\x01a"]

    def test_store_that_loses_writes(self, archive):
        """A write that can't be read back is an error."""

        class Forgetful(MemoryBackend):
            def apply(self, partition, operations):
                return super().apply(partition, operations[:1])

        with pytest.raises(NotWritten):
            restore(archive, Forgetful())

    def test_backup_that_fails(self, archive, tmp_path):
        """A backup that fails leaves an older file of that name as it was, and no other file."""
        before, files = archive.read_bytes(), sorted(tmp_path.iterdir())
        source = Watched()
        fill(source)

        def fail() -> None:
            if source.reads > 10:
                raise Unavailable

        source.before_read = fail
        with pytest.raises(Unavailable):
            backup(source, archive, software="test")
        assert archive.read_bytes() == before
        assert sorted(tmp_path.iterdir()) == files

    def test_is_private(self, archive):
        """An archive is readable by its owner alone."""
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    def test_symbolic_link(self, archive, tmp_path):
        """A backup to a symbolic link replaces the target of the link, in its own folder."""
        disk, link = tmp_path / "disk", tmp_path / "latest.archive"
        disk.mkdir()
        old = disk / "archive"
        old.write_bytes(archive.read_bytes())
        link.symlink_to(old)
        backup(MemoryBackend(), link, software="test 1.0")
        assert link.is_symlink()
        assert check(old).partitions == 0
        assert [path.name for path in disk.iterdir()] == ["archive"]

    def test_while_writers_write(self, tmp_path):
        """The archive has whole partitions, also if they are written meanwhile."""
        source, destination = MemoryBackend(), MemoryBackend()
        partitions = [partition_of(number) for number in range(100)]
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                partition = partitions[number * 7 % len(partitions)]
                source.apply(partition, [Put(name, b"%d" % number) for name in NAMES])
                time.sleep(0.0001)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(5):
                backup(source, tmp_path / "archive", software="test")
        finally:
            stop.set()
            thread.join()
        restore(tmp_path / "archive", destination)
        for items in everything(destination).values():
            assert set(items) == set(NAMES)
            assert len(set(items.values())) == 1
