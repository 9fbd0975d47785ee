"""Copying between stores, without the command."""

import random
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.stores.stores import (
    FUTURE,
    NAMES,
    Opener,
    Watched,
    everything,
    fill,
    partition_of,
    write_all,
)

import backends
from backends import MAX_BATCH_BYTES, MAX_VALUE_BYTES, Address, Delete, Item, Put, Unavailable
from backends.copying.copy_state import CopyState, InvalidState
from backends.copying.online_copy import CopyResult, copy
from backends.copying.transfer import NotEmpty, NotWritten
from backends.engines.memory import MemoryBackend
from backends.engines.sqlite import SqliteBackend


@pytest.fixture
def state(tmp_path: Path) -> Iterator[CopyState]:
    """A new state file."""
    with CopyState(tmp_path / "copy.state") as opened:
        yield opened


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
        """All live items arrive with values and expiry; expired items do not."""
        source, destination = open_store(source_kind), open_store(destination_kind)
        fill(source)
        result = copy(source, destination, state)
        assert everything(destination) == everything(source)
        assert result == CopyResult(
            equal=True, passes=2, partitions=31, differing=0, written=31, bytes=result.bytes
        )
        assert b"\x00old" not in everything(destination)

    def test_big_partitions(self, open_store: Opener, state):
        """The largest values, and more items than fit in a batch, arrive; small items come last."""
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

    def test_heavy_partitions(self, state):
        """A partition with more bytes than fit in a batch is copied, too."""
        source, destination = MemoryBackend(), MemoryBackend()
        value = bytes(MAX_VALUE_BYTES)
        for number in range(MAX_BATCH_BYTES // MAX_VALUE_BYTES + 1):
            source.apply(partition_of(1), [Put(f"bulk/{number}", value)])
        assert copy(source, destination, state).equal
        assert everything(destination) == everything(source)

    def test_changes_are_caught_up(self, state):
        """A later run copies changes, additions and deletions, and reads no other values."""
        source, destination = Watched(), Watched()
        fill(source, 200)
        copy(source, destination, state)
        source.apply(partition_of(1), [Put("profile", b"new"), Delete("picture/1/64.jpeg")])
        source.apply(partition_of(2), [Delete(name) for name in NAMES])
        source.apply(b"\x01fresh", [Put("key", b"k")])
        source.reads = destination.writes = 0
        result = copy(source, destination, state)
        assert (result.equal, result.written, destination.writes) == (True, 3, 3)
        # Each pass reads changed partitions, and the 41 partitions with items that expire.
        assert source.reads <= 3 + 2 * 42
        assert everything(destination) == everything(source)

    def test_same_bytes_with_another_expiry(self, state):
        """An item with the same value and another expiry is copied, too."""
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
        """A source that changes in each pass is reported after the last pass."""
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
        """The copy of a store in use never has half a batch, and is equal once the writes end."""
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
        """A copy that fails at any write goes on when it is started again, and ends equal."""
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
        """A copy that is started again skips the partitions that its pass has done."""
        source, destination = MemoryBackend(), Watched()
        fill(source, 1200)

        def fail() -> None:
            if destination.writes == 1100:
                raise Unavailable

        destination.before_write = fail
        with CopyState(tmp_path / "state") as state, pytest.raises(Unavailable):
            copy(source, destination, state)
        destination.before_write = lambda: None
        seen = []
        with CopyState(tmp_path / "state") as state:
            assert state.position() == sorted([b"\x00mark", *map(partition_of, range(1200))])[999]
            copy(source, destination, state, report=lambda *each: seen.append(each))
        counts = {stage: [count for each, count, *_ in seen if each == stage] for stage, *_ in seen}
        assert counts["pass 1"] == list(range(1, 202))
        assert counts["pass 2"] == list(range(1, 1202))

    def test_destination_that_is_not_empty(self, tmp_path):
        """A destination that is not empty stays as it is, unless `overwrite` is set."""
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
        """No run undoes what somebody else wrote to the destination meanwhile."""
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
        """A later run with swapped stores does not undo later writes."""
        source, destination = MemoryBackend(), MemoryBackend()
        fill(source)
        copy(source, destination, state)
        source.apply(partition_of(3), [Put("profile", b"newer")])
        before = everything(source)
        with pytest.raises(NotEmpty):
            copy(destination, source, state)
        assert everything(source) == before

    def test_restart(self, state):
        """A restarted copy compares all values again, and repairs its own items."""
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
        """A partition written faster than it is read is a difference, and not copied in part."""
        monkeypatch.setattr(backends, "PATIENCE_SECONDS", 0.05)
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
        """One pass can't prove that stores are equal: it is an error."""
        with pytest.raises(ValueError, match="two passes"):
            copy(MemoryBackend(), MemoryBackend(), state, passes=1)


class TestState:
    def test_is_private(self, tmp_path):
        """The state is readable by its owner alone."""
        with CopyState(tmp_path / "state"):
            pass
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600

    def test_used_by_another(self, tmp_path):
        """Two copies can't use one state file."""
        with CopyState(tmp_path / "state"), pytest.raises(InvalidState, match="another copy"):
            CopyState(tmp_path / "state")

    def test_other_files(self, tmp_path):
        """Other files are rejected, and stay as they are."""
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
