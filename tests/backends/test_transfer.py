"""Copying between stores, and archives, without the command."""

import random
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from support.applications import Clock
from support.mariadb import MariaDB

from backends import MAX_VALUE_BYTES, Address, Backend, Delete, Item, Put, Unavailable
from backends.archive import ArchiveError, Contents, backup, check, restore
from backends.copy_state import CopyState, InvalidState
from backends.memory import MemoryBackend
from backends.mysql import MysqlBackend
from backends.sqlite import SqliteBackend
from backends.transfer import CopyResult, NotEmpty, NotWritten, copy, read_partition, walk

FUTURE = int(time.time()) + 100_000
NAMES = ("key", "profile", "picture/1/64.jpeg", "picture/1/512.jpeg")

Everything = dict[bytes, dict[str, tuple[bytes, int | None]]]
Opener = Callable[[str], Backend]


def everything(backend: Backend) -> Everything:
    """Return all that a store holds, less the versions."""
    return {
        partition: {
            name: (item.value, item.expires_at)
            for name, item in read_partition(backend, partition).items()
        }
        for partition in walk(backend)
    }


def partition_of(number: int) -> bytes:
    """Return one of the partitions, spread as digests are."""
    return b"\x01" + random.Random(number).randbytes(32)


def fill(backend: Backend, partitions: int = 30) -> None:
    """Write items of all kinds."""
    randomness = random.Random(7)
    for number in range(partitions):
        size = randomness.choice([0, 1, 100, 5000])
        puts = [Put(name, randomness.randbytes(size)) for name in NAMES]
        if number % 5 == 0:
            puts.append(Put("not_before", b"12345678", expires_at=FUTURE))
        backend.apply(partition_of(number), puts)
    backend.apply(b"\x00mark", [Put("used", b"", expires_at=FUTURE)])
    backend.apply(b"\x00old", [Put("used", b"", expires_at=int(time.time()) - 1)])


def write_all(backend: Backend, partitions: list[bytes], stop: threading.Event, seed: int) -> None:
    """Write all items of a partition at once, again and again, or delete them."""
    randomness = random.Random(seed)
    while not stop.wait(0.002):
        partition = randomness.choice(partitions)
        if randomness.random() < 0.2:
            backend.apply(partition, [Delete(name) for name in NAMES])
        else:
            value = b"%d" % randomness.randrange(10**9)
            backend.apply(partition, [Put(name, value) for name in NAMES])


@pytest.fixture
def open_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens empty stores by kind."""
    opened: list[Backend] = []

    def open_one(kind: str) -> Backend:
        backend: Backend
        if kind == "memory":
            backend = MemoryBackend()
        elif kind == "sqlite":
            backend = SqliteBackend.from_url(f"sqlite:///{tmp_path}/{len(opened)}.sqlite")
        else:
            server: MariaDB = request.getfixturevalue("mariadb")
            server.create_database()
            backend = MysqlBackend.from_url(server.url)
        backend.initialize()
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[CopyState]:
    """A new state file."""
    with CopyState(tmp_path / "copy.state") as opened:
        yield opened


class Watched(MemoryBackend):
    """A store that lets a test interfere when partitions are written or listed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.writes = 0
        self.reads = 0
        self.before_write: Callable[[], None] = lambda: None
        self.before_read: Callable[[], None] = lambda: None

    def apply(self, partition, operations):
        self.before_write()
        self.writes += 1
        return super().apply(partition, operations)

    def get_many(self, addresses):
        self.before_read()
        self.reads += 1
        return super().get_many(addresses)


class TestCopy:
    @pytest.mark.parametrize(
        ("source_kind", "destination_kind"),
        [
            ("memory", "sqlite"),
            ("sqlite", "memory"),
            ("sqlite", "sqlite"),
            ("sqlite", "mariadb"),
            ("mariadb", "sqlite"),
        ],
    )
    def test_between_kinds(self, open_store: Opener, state, source_kind, destination_kind):
        """Everything that lives arrives by value, with its expiry, and what has expired does not."""
        source, destination = open_store(source_kind), open_store(destination_kind)
        fill(source)
        result = copy(source, destination, state)
        assert everything(destination) == everything(source)
        assert result == CopyResult(
            equal=True, passes=2, partitions=31, differing=0, written=31, bytes=result.bytes
        )
        assert b"\x00old" not in everything(destination)

    def test_big_partitions(self, open_store: Opener, state):
        """The largest values, and more items than a batch takes, arrive; small items come last."""
        source, destination = MemoryBackend(), open_store("sqlite")
        big = [Put(f"picture/{number}", bytes([number]) * MAX_VALUE_BYTES) for number in range(3)]
        source.apply(b"\x01big", [Put("key", b"k"), *big])
        for start in range(0, 250, 50):
            source.apply(b"\x01many", [Put(f"item/{start + n}", b"v") for n in range(50)])
        source.apply(b"\x01many", [Put("key", b"k")])
        assert copy(source, destination, state).equal
        assert everything(destination) == everything(source)
        source.apply(b"\x01many", [Delete(f"item/{n}") for n in range(100)])
        assert copy(source, destination, state).equal
        assert everything(destination) == everything(source)

    def test_changes_are_caught_up(self, state):
        """A later run carries what was changed, added and deleted, and reads no value of the rest."""
        source, destination = Watched(), Watched()
        fill(source, 200)
        copy(source, destination, state)
        source.apply(partition_of(1), [Put("profile", b"new"), Delete("picture/1/64.jpeg")])
        source.apply(partition_of(2), [Delete(name) for name in NAMES])
        source.apply(b"\x01fresh", [Put("key", b"k")])
        source.reads = destination.writes = 0
        result = copy(source, destination, state)
        assert (result.equal, result.written, destination.writes) == (True, 3, 3)
        # Each pass looks into what was changed, and into the 41 partitions with something that expires.
        assert source.reads <= 3 + 2 * 42
        assert everything(destination) == everything(source)

    def test_same_bytes_with_another_expiry(self, state):
        """An item whose expiry alone was changed is carried too."""
        source, destination = MemoryBackend(), MemoryBackend()
        for expires_at in (FUTURE, FUTURE + 1, None):
            source.apply(b"\x01a", [Put("not_before", b"same", expires_at=expires_at)])
            assert copy(source, destination, state).equal
            assert everything(destination) == everything(source)

    def test_what_expires_meanwhile(self, tmp_path):
        """Items that expire between two passes are no difference, and are not written any more."""
        clock = Clock(1_000_000)
        source, destination = Watched(clock), Watched(clock)
        source.apply(b"\x01a", [Put("key", b"k"), Put("not_before", b"t", expires_at=1_000_010)])
        source.apply(b"\x00a", [Put("used", b"", expires_at=1_000_010)])
        with CopyState(tmp_path / "state") as state:
            assert copy(source, destination, state, clock=clock).written == 2
            clock.now += 20
            result = copy(source, destination, state, clock=clock)
        assert (result.equal, result.written, result.partitions) == (True, 0, 1)

    def test_source_that_never_rests(self, state):
        """A source that is changed in each pass is told as such after the last pass."""
        source, destination = MemoryBackend(), Watched()
        fill(source, 3)
        numbers = iter(range(100))
        destination.before_write = lambda: (
            source.apply(b"\x01\xff", [Put("key", b"%d" % next(numbers))]) and None
        )
        result = copy(source, destination, state, passes=3)
        assert (result.equal, result.passes) == (False, 3)
        assert result.differing == 1
        destination.before_write = lambda: None
        assert copy(source, destination, state).equal
        assert everything(destination) == everything(source)

    @pytest.mark.parametrize("kind", ["memory", "sqlite", "mariadb"])
    def test_while_writers_write(self, open_store: Opener, state, kind):
        """The copy of a store in use never holds half a batch, and ends equal when writing ends."""
        source, destination = open_store("sqlite" if kind == "memory" else "memory"), open_store(kind)
        partitions = [partition_of(number) for number in range(60)]
        for partition in partitions:
            source.apply(partition, [Put(name, b"0" * 100) for name in NAMES])
        stop, halves = threading.Event(), list[object]()

        def look() -> None:
            while not stop.is_set():
                for partition in partitions:
                    found = destination.get_many([Address(partition, name) for name in NAMES])
                    if len(found) not in (0, 4) or len({item.value for item in found.values()}) > 1:
                        halves.append(found)

        threads = [
            threading.Thread(target=write_all, args=[source, partitions, stop, seed])
            for seed in range(2)
        ]
        threads.append(threading.Thread(target=look))
        for thread in threads:
            thread.start()
        try:
            copy(source, destination, state, passes=10)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert copy(source, destination, state).equal
        assert everything(destination) == everything(source)
        assert not halves

    def test_stopped_at_any_write(self, tmp_path):
        """A copy that breaks off at any write goes on when it is started again, and ends equal."""
        source, destination = MemoryBackend(), Watched()
        fill(source, 150)
        fail_at = iter(range(5, 1000, 37))
        next_failure = next(fail_at)

        def fail() -> None:
            nonlocal next_failure
            if destination.writes >= next_failure:
                next_failure = destination.writes + next(fail_at)
                raise Unavailable

        destination.before_write = fail
        failures = 0
        while True:
            try:
                with CopyState(tmp_path / "state") as state:
                    result = copy(source, destination, state)
                break
            except Unavailable:
                failures += 1
        assert failures > 1
        assert result.equal
        assert everything(destination) == everything(source)

    def test_goes_on_where_it_was(self, tmp_path):
        """Started again, a copy does not look again at what its pass has done."""
        source, destination = MemoryBackend(), Watched()
        fill(source, 500)

        def fail() -> None:
            if destination.writes == 350:
                raise Unavailable

        destination.before_write = fail
        with CopyState(tmp_path / "state") as state, pytest.raises(Unavailable):
            copy(source, destination, state)
        destination.before_write = lambda: None
        seen = []
        with CopyState(tmp_path / "state") as state:
            assert state.position() == sorted([b"\x00mark", *map(partition_of, range(500))])[299]
            copy(source, destination, state, report=seen.append)
        assert [each.partitions for each in seen if each.stage == "pass 1"] == [100, 200, 201]
        assert [each.partitions for each in seen if each.stage == "pass 2"][-1] == 501

    def test_destination_that_is_not_empty(self, tmp_path):
        """A destination that holds something is left as it is, unless overwriting is asked for."""
        source, destination = MemoryBackend(), MemoryBackend()
        fill(source)
        destination.apply(b"\x01other", [Put("key", b"theirs")])
        before = everything(destination)
        with CopyState(tmp_path / "state") as state:
            for _ in range(2):
                with pytest.raises(NotEmpty, match="not empty; nothing was written"):
                    copy(source, destination, state)
            assert everything(destination) == before
            assert copy(source, destination, state, overwrite=True).equal
        assert everything(destination) == everything(source)

    @pytest.mark.parametrize(
        ("partition", "operation"),
        [
            (partition_of(3), Put("profile", b"newer")),
            (partition_of(3), Put("extra", b"x")),
            (partition_of(3), Delete("profile")),
            (b"\x01fresh", Put("key", b"k")),
            (b"\x00fresh", Put("used", b"", expires_at=FUTURE)),
        ],
        ids=["changed", "added", "deleted", "new partition", "new partition that expires"],
    )
    def test_destination_in_use(self, state, partition, operation):
        """What somebody else wrote to the destination since is not undone, by no kind of run."""
        source, destination = MemoryBackend(), MemoryBackend()
        fill(source)
        copy(source, destination, state)
        destination.apply(partition, [operation])
        before = everything(destination)
        for _ in range(2):
            with pytest.raises(NotEmpty, match="somebody else"):
                copy(source, destination, state)
            state.forget()
        assert everything(destination) == before
        assert copy(source, destination, state, overwrite=True).equal
        assert everything(destination) == everything(source)

    def test_mixed_up(self, state):
        """Source and destination swapped in a later run: what was written since is not undone."""
        source, destination = MemoryBackend(), MemoryBackend()
        fill(source)
        copy(source, destination, state)
        source.apply(partition_of(3), [Put("profile", b"newer")])
        before = everything(source)
        with pytest.raises(NotEmpty):
            copy(destination, source, state)
        assert everything(source) == before

    def test_restart(self, state):
        """Begun anew, a copy compares all values again and repairs what it had written."""
        source, destination = Watched(), MemoryBackend()
        fill(source)
        copy(source, destination, state)
        item = destination._partitions[partition_of(1)]["key"]
        destination._partitions[partition_of(1)]["key"] = Item(b"rotten" + item.value, item.version)
        assert copy(source, destination, state).written == 0
        state.forget()
        assert copy(source, destination, state).written == 1
        assert everything(destination) == everything(source)

    def test_destination_that_loses_writes(self, state):
        """A write that can't be read back is an error."""

        class Forgetful(MemoryBackend):
            def apply(self, partition, operations):
                return super().apply(partition, operations[:1])

        source = MemoryBackend()
        fill(source)
        with pytest.raises(NotWritten):
            copy(source, Forgetful(), state)

    def test_partition_without_rest(self, state, monkeypatch):
        """A partition that is written faster than it is read is a difference, not half a partition."""
        monkeypatch.setattr("backends.transfer.PATIENCE_SECONDS", 0.05)
        source, destination = Watched(), MemoryBackend()
        fill(source, 3)

        def write() -> None:
            MemoryBackend.apply(source, partition_of(1), [Put(NAMES[0], random.randbytes(5))])

        source.before_read = write
        result = copy(source, destination, state, passes=2)
        assert (result.equal, result.differing) == (False, 1)
        assert partition_of(1) not in everything(destination)
        source.before_read = lambda: None
        assert copy(source, destination, state).equal

    def test_one_pass_proves_nothing(self, state):
        """Fewer passes than can tell that stores are equal are an error."""
        with pytest.raises(ValueError, match="two passes"):
            copy(MemoryBackend(), MemoryBackend(), state, passes=1)


class TestState:
    def test_is_private(self, tmp_path):
        """The state is readable by its owner alone."""
        with CopyState(tmp_path / "state"):
            pass
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600

    def test_used_by_another(self, tmp_path):
        """Two copies can't use one state."""
        with CopyState(tmp_path / "state"), pytest.raises(InvalidState, match="another copy"):
            CopyState(tmp_path / "state")

    def test_other_files(self, tmp_path):
        """Files of others are refused, and stay as they are."""
        text, folder, store = tmp_path / "text", tmp_path / "folder", tmp_path / "items.sqlite"
        text.write_text("important\n" * 100)
        folder.mkdir()
        backend = SqliteBackend.from_url(f"sqlite:///{store}")
        backend.initialize()
        backend.close()
        before = store.read_bytes()
        for path in (text, folder, store):
            with pytest.raises(InvalidState):
                CopyState(path)
        assert text.read_text() == "important\n" * 100
        assert store.read_bytes() == before


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive."""
    source = MemoryBackend()
    source.apply(b"\x00m", [Put("used", b"", expires_at=FUTURE)])
    source.apply(b"\x01a", [Put("key", b"k" * 20), Put("picture/1", b"p" * 30)])
    backup(source, tmp_path / "small.archive", software="test 1.0")
    return tmp_path / "small.archive"


class TestArchive:
    @pytest.mark.parametrize(
        ("source_kind", "destination_kind"),
        [("memory", "sqlite"), ("sqlite", "mariadb"), ("mariadb", "memory")],
    )
    def test_there_and_back(self, open_store: Opener, tmp_path, source_kind, destination_kind):
        """What was backed up is restored by value, with its expiry, on any kind of store."""
        source, destination = open_store(source_kind), open_store(destination_kind)
        fill(source)
        path = tmp_path / "archive"
        reports = []
        contents = backup(source, path, software="test 1.0", report=reports.append)
        assert (contents.partitions, contents.items) == (31, 30 * 4 + 6 + 1)
        assert contents.software == "test 1.0"
        assert contents.bytes == reports[-1].bytes
        assert check(path) == contents
        restored = restore(path, destination, report=reports.append)
        assert (restored.contents, restored.written) == (contents, 31)
        assert everything(destination) == everything(source)
        assert {each.stage for each in reports} == {"writing", "checking"}

    def test_empty_store(self, tmp_path):
        """An empty store has an archive too."""
        contents = backup(MemoryBackend(), tmp_path / "archive", software="test 1.0")
        destination = MemoryBackend()
        assert restore(tmp_path / "archive", destination).contents == contents
        assert contents == Contents(contents.created_at, "test 1.0", 0, 0, 0)

    def test_big_partitions(self, tmp_path):
        """The largest values, and more items than a batch takes, are kept."""
        source, destination = MemoryBackend(), MemoryBackend()
        source.apply(b"\x01big", [Put(f"p/{n}", bytes([n]) * MAX_VALUE_BYTES) for n in range(3)])
        for start in range(0, 250, 50):
            source.apply(b"\x01many", [Put(f"item/{start + n}", b"v") for n in range(50)])
        backup(source, tmp_path / "archive", software="test")
        restore(tmp_path / "archive", destination)
        assert everything(destination) == everything(source)

    def test_format(self, tmp_path):
        """The bytes are those that the documentation describes."""
        source = MemoryBackend(Clock(1_700_000_000))
        source.apply(b"\x01a", [Put("key", b"k"), Put("p/1", b"", expires_at=1_700_000_099)])
        path = tmp_path / "archive"
        backup(source, path, software="test 1.0", clock=Clock(1_700_000_000))
        data = path.read_bytes()
        header = b'{"created_at": "2023-11-14T22:13:20Z", "software": "test 1.0"}'
        items = b"\x02\x01a" + b"\x03key" + struct.pack(">qI", 0, 1) + b"k"
        items += b"\x03p/1" + struct.pack(">qI", 1_700_000_099, 0)
        expected = b"\x89PPS\r\n\x1a\n\x00\x01"
        for kind, body in ((b"H", header), (b"P", items)):
            head = kind + struct.pack(">Q", len(body))
            expected += head + struct.pack(">I", crc32(head))
            expected += body + struct.pack(">I", crc32(body))
        assert data.startswith(expected)
        assert data[len(expected) :].startswith(b"E" + struct.pack(">Q", 56))
        assert len(data) == len(expected) + 9 + 4 + 56 + 4

    def test_every_flipped_bit(self, archive, tmp_path):
        """Whichever bit is flipped, the archive is refused, and nothing is written."""
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
        """Wherever the archive is cut off, it is refused, and nothing is written."""
        data = archive.read_bytes()
        destination = Watched()
        damaged = tmp_path / "damaged"
        for length in range(len(data)):
            damaged.write_bytes(data[:length])
            with pytest.raises(ArchiveError, match="ends too early"):
                restore(damaged, destination)
        assert destination.writes == 0

    def test_trailing_bytes(self, archive):
        """Anything behind the end is refused, another archive too."""
        data = archive.read_bytes()
        for junk in (b"\0", b"\n", data):
            archive.write_bytes(data + junk)
            with pytest.raises(ArchiveError, match="goes on after its end"):
                restore(archive, MemoryBackend())

    def test_left_out_or_moved_records(self, archive):
        """Records that were left out, doubled or put into another order are noticed."""
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
        """A record with right checksums and impossible contents is refused too."""
        data = archive.read_bytes()
        head = b"P" + struct.pack(">Q", len(body))
        record = head + struct.pack(">I", crc32(head)) + body + struct.pack(">I", crc32(body))
        archive.write_bytes(data[: data.index(b"P" + bytes(7))] + record)
        with pytest.raises(ArchiveError, match="damaged at byte"):
            check(archive)

    def test_other_formats(self, archive):
        """A format of the future, and files of other kinds, are told apart from damage."""
        data = archive.read_bytes()
        archive.write_bytes(data[:8] + b"\x00\x02" + data[10:])
        with pytest.raises(ArchiveError, match="format 2; this version reads format 1"):
            check(archive)
        archive.write_bytes(b"SQLite format 3\0" * 10)
        with pytest.raises(ArchiveError, match="no archive of a store"):
            check(archive)

    def test_store_that_is_not_empty(self, archive):
        """A restore is refused there, unless it is to replace; then what the archive has not stays."""
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
        """A backup that fails leaves the file of that name as it was, and no other."""
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

    def test_while_writers_write(self, tmp_path):
        """Each partition is in the archive whole, whoever writes meanwhile."""
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
