"""The tests of the guarantees of every backend; third parties run them on their own backends.

Inherit `BackendConformance` in a test module, with a fixture `backend` that yields an empty,
initialized backend. It needs pytest.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends import (
    ABSENT,
    MAX_NAME_BYTES,
    MAX_OPERATIONS,
    MAX_PARTITION_BYTES,
    MAX_VALUE_BYTES,
    Address,
    Backend,
    Conflict,
    Delete,
    Item,
    Operation,
    Put,
)

P1 = b"\x01" + b"a" * 32
P2 = b"\x01" + b"b" * 32


def read(backend: Backend, name: str, partition: bytes = P1) -> Item | None:
    """Return one item, or None."""
    address = Address(partition, name)
    return backend.get_many([address]).get(address)


def value_of(backend: Backend, name: str, partition: bytes = P1) -> bytes | None:
    """Return the value of one item, or None."""
    item = read(backend, name, partition)
    return None if item is None else item.value


def write(backend: Backend, name: str, value: bytes, partition: bytes = P1) -> int:
    """Write one item unconditionally; return its version."""
    return backend.apply(partition, [Put(name, value)])[name]


def rejects(backend: Backend, *operations: Operation) -> None:
    """Check that a batch is a conflict."""
    with pytest.raises(Conflict):
        backend.apply(P1, operations)


class BackendConformance:
    """All tests; inherit this class."""

    WRITERS = 6
    WRITES = 30

    def test_empty(self, backend: Backend) -> None:
        """An empty store has no items, and a read of no address is no error."""
        assert backend.get_many([Address(P1, "x")]) == {}
        assert backend.get_many([]) == {}

    def test_across_partitions(self, backend: Backend) -> None:
        """One call reads several partitions; absent items are missing from the result."""
        write(backend, "x", b"1", P1)
        write(backend, "x", b"2", P2)
        found = backend.get_many([Address(P1, "x"), Address(P2, "x"), Address(P2, "y")])
        assert {address: item.value for address, item in found.items()} == {
            Address(P1, "x"): b"1",
            Address(P2, "x"): b"2",
        }

    def test_repeated_address(self, backend: Backend) -> None:
        """A repeated address is returned once."""
        write(backend, "x", b"1")
        assert len(backend.get_many([Address(P1, "x")] * 2)) == 1

    @pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)) * 300, b"'\"\\;--%s"])
    def test_any_bytes(self, backend: Backend, value: bytes) -> None:
        """A value of any bytes is read as it was written."""
        version = write(backend, "x", value)
        assert read(backend, "x") == Item(value, version)

    def test_names_are_exact(self, backend: Backend) -> None:
        """Names differ by case, trailing space and length; wildcards have no meaning."""
        names = ["a", "A", "a ", "ab", "a%", "a_", "n" * MAX_NAME_BYTES]
        for name in names:
            write(backend, name, name.encode())
        assert [value_of(backend, name) for name in names] == [name.encode() for name in names]
        assert read(backend, "a  ") is None

    def test_partitions_are_exact(self, backend: Backend) -> None:
        """Partitions differ by every byte: by case, by padding, and from their own prefixes."""
        partitions = [b"\x00", b"\x00\x00", b"a", b"A", b"a ", b"\xff" * MAX_PARTITION_BYTES]
        for partition in partitions:
            write(backend, "x", partition, partition)
        for partition in partitions:
            assert value_of(backend, "x", partition) == partition

    def test_largest_value(self, backend: Backend) -> None:
        """A value of the maximum size is kept whole."""
        value = b"\xa5" * MAX_VALUE_BYTES
        write(backend, "x", value)
        assert value_of(backend, "x") == value

    def test_versions_never_repeat(self, backend: Backend) -> None:
        """Every write gives a new version, also after a delete, and also for equal bytes."""
        versions = []
        for _ in range(20):
            versions.append(write(backend, "x", b"same"))
            backend.apply(P1, [Delete("x")])
        assert len(set(versions)) == len(versions)

    def test_version_is_returned(self, backend: Backend) -> None:
        """A write returns the version that a read returns."""
        version = write(backend, "x", b"1")
        item = read(backend, "x")
        assert item is not None
        assert item.version == version

    def test_absent_expected(self, backend: Backend) -> None:
        """A put that expects absence succeeds once."""
        backend.apply(P1, [Put("x", b"1", ABSENT)])
        rejects(backend, Put("x", b"2", ABSENT))
        assert value_of(backend, "x") == b"1"

    def test_version_expected(self, backend: Backend) -> None:
        """A put that names the current version succeeds; with an older version it is a conflict."""
        first = write(backend, "x", b"1")
        backend.apply(P1, [Put("x", b"2", first)])
        rejects(backend, Put("x", b"3", first))
        rejects(backend, Delete("x", first))
        assert value_of(backend, "x") == b"2"

    def test_version_expected_of_absent(self, backend: Backend) -> None:
        """A put or delete that names a version of an absent item is a conflict."""
        version = write(backend, "x", b"1")
        backend.apply(P1, [Delete("x", version)])
        rejects(backend, Put("x", b"2", version))
        rejects(backend, Delete("x", version))
        assert read(backend, "x") is None

    def test_delete_of_absent(self, backend: Backend) -> None:
        """Deleting an absent item is no error."""
        assert backend.apply(P1, [Delete("x")]) == {}

    def test_all_or_nothing(self, backend: Backend) -> None:
        """One unmet expectation at any position undoes the whole batch."""
        kept = write(backend, "kept", b"old")
        write(backend, "other", b"old")
        bad = Put("bad", b"x", if_version=kept)
        good: list[Operation] = [Put("kept", b"new"), Put("fresh", b"new"), Delete("other")]
        for position in range(len(good) + 1):
            rejects(backend, *good[:position], bad, *good[position:])
        assert read(backend, "kept") == Item(b"old", kept)
        assert read(backend, "fresh") is None
        assert read(backend, "other") is not None

    def test_batch(self, backend: Backend) -> None:
        """A batch creates, replaces and deletes at once, and returns the versions of its puts."""
        old = write(backend, "replaced", b"1")
        write(backend, "gone", b"1")
        versions = backend.apply(
            P1, [Put("replaced", b"2", old), Put("made", b"3", ABSENT), Delete("gone")]
        )
        assert read(backend, "replaced") == Item(b"2", versions["replaced"])
        assert read(backend, "made") == Item(b"3", versions["made"])
        assert read(backend, "gone") is None
        assert versions.keys() == {"replaced", "made"}

    def test_empty_batch(self, backend: Backend) -> None:
        """An empty batch does nothing."""
        assert backend.apply(P1, []) == {}
        assert backend.scan(None, 10) == []

    @pytest.mark.parametrize(
        ("partition", "operations"),
        [
            pytest.param(b"", [Put("x", b"")], id="empty partition"),
            pytest.param(b"p" * (MAX_PARTITION_BYTES + 1), [Put("x", b"")], id="long partition"),
            pytest.param(P1, [Put("", b"")], id="empty name"),
            pytest.param(P1, [Put("n" * (MAX_NAME_BYTES + 1), b"")], id="long name"),
            pytest.param(P1, [Put("ä", b"")], id="foreign name"),
            pytest.param(P1, [Delete("a\n")], id="line break in name"),
            pytest.param(P1, [Put("x", b""), Delete("x")], id="name twice"),
            pytest.param(
                P1, [Put(f"n{n}", b"") for n in range(MAX_OPERATIONS + 1)], id="many operations"
            ),
            pytest.param(P1, [Put("x", bytes(MAX_VALUE_BYTES + 1))], id="large value"),
            pytest.param(P1, [Put(f"n{n}", bytes(MAX_VALUE_BYTES)) for n in range(9)], id="many bytes"),
        ],
    )
    def test_limits(self, backend: Backend, partition: bytes, operations: list[Put | Delete]) -> None:
        """A batch beyond a limit is an error, and writes nothing."""
        with pytest.raises(ValueError, match=r"has|have|names"):
            backend.apply(partition, operations)
        assert backend.scan(None, 10) == []

    def test_expired_is_absent(self, backend: Backend) -> None:
        """An expired item is not read, listed or scanned."""
        past = int(time.time()) - 1
        backend.apply(P1, [Put("x", b"1", expires_at=past)])
        assert read(backend, "x") is None
        assert list(backend.list(P1)) == []
        assert list(backend.scan(None, 10)) == []

    def test_expired_meets_absent(self, backend: Backend) -> None:
        """An expired item meets the expectation ABSENT, and no expectation of its version."""
        past = int(time.time()) - 1
        version = backend.apply(P1, [Put("x", b"1", expires_at=past)])["x"]
        rejects(backend, Put("x", b"2", version))
        rejects(backend, Delete("x", version))
        backend.apply(P1, [Put("x", b"2", ABSENT)])
        assert read(backend, "x") is not None

    def test_not_yet_expired(self, backend: Backend) -> None:
        """Before its expiry an item is like any other; reads and listings return the expiry."""
        future = int(time.time()) + 1000
        version = backend.apply(P1, [Put("x", b"1", expires_at=future)])["x"]
        assert read(backend, "x") == Item(b"1", version, future)
        assert backend.list(P1)[0].expires_at == future
        rejects(backend, Put("x", b"2", ABSENT))

    def test_replaced_without_expiry(self, backend: Backend) -> None:
        """A put without expiry makes an item permanent."""
        backend.apply(P1, [Put("x", b"1", expires_at=int(time.time()) + 1)])
        version = write(backend, "x", b"2")
        assert read(backend, "x") == Item(b"2", version, None)

    def test_purge(self, backend: Backend) -> None:
        """A purge deletes expired items only, at most `limit` at a time."""
        past = int(time.time()) - 1
        for number in range(5):
            backend.apply(bytes([1, number]), [Put("x", b"1")])
            backend.apply(bytes([2, number]), [Put("x", b"1", expires_at=past)])
        purged = 0
        while removed := backend.purge_expired(2):
            assert removed <= 2
            purged += removed
        assert purged <= 5
        assert len(backend.scan(None, 100)) == 5

    def test_list(self, backend: Backend) -> None:
        """A listing has the names of one partition in order, with versions and sizes."""
        versions = backend.apply(P1, [Put("b", b"22"), Put("a", b""), Put("B", b"333")])
        write(backend, "z", b"", P2)
        assert [(info.name, info.version, info.size) for info in backend.list(P1)] == [
            ("B", versions["B"], 3),
            ("a", versions["a"], 0),
            ("b", versions["b"], 2),
        ]
        assert list(backend.list(b"\x07")) == []

    def test_list_many(self, backend: Backend) -> None:
        """Listings of several partitions come in the given order, also of absent ones."""
        write(backend, "x", b"1", P1)
        write(backend, "bulk/y", b"22", P2)
        absent = b"\x07"
        listed = backend.list_many([P2, absent, P1])
        assert list(listed) == [P2, absent, P1]
        assert {each: list(backend.list(each)) for each in listed} == {
            each: list(infos) for each, infos in listed.items()
        }
        assert backend.list_many([]) == {}

    def test_read_many(self, backend: Backend) -> None:
        """Several partitions are read with all of their live items, small and bulk, in order."""
        puts = [Put("b", b"1"), Put("bulk/x", bytes(range(256))), Put("a", b"")]
        versions = backend.apply(P1, puts)
        backend.apply(P2, [Put("x", b"2", expires_at=2**40), Put("y", b"", expires_at=1)])
        absent = b"\x07"
        found = backend.read_many([absent, P2, P1], MAX_VALUE_BYTES)
        assert list(found) == [absent, P2, P1]
        assert found[absent] == {}
        assert {name: (each.value, each.expires_at) for name, each in found[P2].items()} == {
            "x": (b"2", 2**40)
        }
        values = {put.name: put.value for put in sorted(puts, key=lambda put: put.name)}
        assert list(found[P1]) == list(values)
        assert found[P1] == {name: Item(values[name], versions[name]) for name in values}
        assert backend.read_many([], 1) == {}

    @pytest.mark.parametrize(("max_bytes", "number"), [(1, 1), (99, 1), (100, 2), (101, 2), (150, 3)])
    def test_bytes_of_read_many(self, backend: Backend, max_bytes: int, number: int) -> None:
        """A read ends before the partition that exceeds the bytes, and returns at least one."""
        partitions = [bytes([1, number]) for number in range(4)]
        for partition in partitions:
            backend.apply(partition, [Put("x", bytes(20)), Put("bulk/y", bytes(30))])
        assert list(backend.read_many(partitions, max_bytes)) == partitions[:number]

    def test_apply_many(self, backend: Backend) -> None:
        """A batch with an unmet expectation fails alone and as a whole; the others take effect."""
        old = write(backend, "x", b"old", P2)
        partitions = [bytes([3, number]) for number in range(5)]
        new = [Put("x", b"new", ABSENT), Put("bulk/x", b"new", ABSENT), Put("z", b"new")]
        batches: dict[bytes, list[Operation]] = {each: [*new] for each in (*partitions, P2)}
        batches[P1] = [Delete("absent"), Put("x", b"1")]
        outcomes = backend.apply_many(batches)
        assert outcomes.keys() == batches.keys()
        assert isinstance(outcomes[P2], Conflict)
        assert backend.read_many([P2], 1000)[P2] == {"x": Item(b"old", old)}
        del batches[P2]
        for partition, operations in batches.items():
            outcome = outcomes[partition]
            assert isinstance(outcome, Mapping)
            found = backend.read_many([partition], 1000)[partition]
            puts = [each for each in operations if isinstance(each, Put)]
            assert found == {each.name: Item(each.value, outcome[each.name]) for each in puts}
            assert outcome.keys() == {each.name for each in puts}
        assert backend.apply_many({}) == {}

    def test_apply_many_over_expired(self, backend: Backend) -> None:
        """Expired items meet the expectation ABSENT, among absent and among present ones."""
        backend.apply(P1, [Put(name, b"old", expires_at=1) for name in ("b", "bulk/b")])
        kept = write(backend, "c", b"old", P2)
        names = ("a", "b", "bulk/a", "bulk/b", "c")
        outcomes = backend.apply_many(
            {each: [Put(name, b"new", ABSENT) for name in names] for each in (P1, P2)}
        )
        assert isinstance(outcomes[P2], Conflict)
        assert backend.read_many([P2], 1000)[P2] == {"c": Item(b"old", kept)}
        found = backend.read_many([P1], 1000)[P1]
        assert {name: item.value for name, item in found.items()} == dict.fromkeys(names, b"new")

    def test_apply_many_beyond_limits(self, backend: Backend) -> None:
        """A batch beyond a limit is an error."""
        with pytest.raises(ValueError, match="has"):
            backend.apply_many({P1: [Put("x", bytes(MAX_VALUE_BYTES + 1))]})
        assert backend.scan(None, 10) == []

    def test_scan(self, backend: Backend) -> None:
        """A scan returns all partitions in the order of their bytes, page by page."""
        partitions = sorted([b"\x00", b"\x00\x01", b"\x01", b"A", b"a", b"\x7f\xff", b"\x80", b"\xff"])
        for partition in reversed(partitions):
            backend.apply(partition, [Put("x", b""), Put("y", b"")])
        seen: list[bytes] = []
        while page := backend.scan(seen[-1] if seen else None, 3):
            assert len(page) <= 3
            seen += page
        assert seen == partitions

    @pytest.mark.parametrize("limit", [7, 25])
    def test_scan_of_many(self, backend: Backend, limit: int) -> None:
        """Pages have every partition once, also if partitions have many items or few."""
        partitions = sorted(hashlib.sha256(b"%d" % number).digest() for number in range(60))
        for number, partition in enumerate(partitions):
            names = [*(f"n{each}" for each in range(number % 9)), "bulk/b"]
            backend.apply(partition, [Put(name, b"") for name in names])
        seen: list[bytes] = []
        while page := backend.scan(seen[-1] if seen else None, limit):
            seen += page
        assert seen == partitions

    def test_emptied_partition(self, backend: Backend) -> None:
        """A scan leaves out a partition whose last item was deleted."""
        write(backend, "x", b"")
        backend.apply(P1, [Delete("x")])
        assert list(backend.scan(None, 10)) == []

    def test_ping_and_initialize(self, backend: Backend) -> None:
        """A working store answers a ping, and a second `initialize` loses nothing."""
        write(backend, "x", b"1")
        backend.ping()
        backend.initialize()
        assert read(backend, "x") is not None

    def test_try_write(self, backend: Backend) -> None:
        """A working store takes a trial write, which leaves nothing."""
        write(backend, "x", b"1")
        before = backend.list(P1), backend.scan(None, 10)
        backend.try_write()
        backend.try_write()
        assert (backend.list(P1), backend.scan(None, 10)) == before

    def test_examine(self, backend: Backend) -> None:
        """The examination of a working store finds no failure, and changes nothing."""
        write(backend, "x", b"1")
        before = backend.list(P1), backend.scan(None, 10)
        found = list(backend.examine())
        assert found
        assert "failed" not in {each.level for each in found}, found
        assert (backend.list(P1), backend.scan(None, 10)) == before

    def test_no_acknowledged_write_is_lost(self, backend: Backend) -> None:
        """Writers that increment five counters by compare-and-set end with the exact sums."""
        names = [f"counter{number}" for number in range(5)]
        for name in names:
            write(backend, name, b"0")

        def count(writer: int) -> Counter[str]:
            acknowledged: Counter[str] = Counter()
            for step in range(self.WRITES):
                name = names[(writer + step) % len(names)]
                while True:
                    item = read(backend, name)
                    assert item is not None
                    try:
                        backend.apply(P1, [Put(name, b"%d" % (int(item.value) + 1), item.version)])
                    except Conflict:
                        continue
                    acknowledged[name] += 1
                    break
            return acknowledged

        with ThreadPoolExecutor(self.WRITERS) as pool:
            total = sum(pool.map(count, range(self.WRITERS)), Counter())
        values = {name: int(item.value) for name in names if (item := read(backend, name))}
        assert values == total
        assert total.total() == self.WRITERS * self.WRITES

    def test_one_creator(self, backend: Backend) -> None:
        """Of many simultaneous writers that expect absence, exactly one succeeds."""
        barrier = threading.Barrier(self.WRITERS)

        def create(writer: int) -> bool:
            barrier.wait(10)
            try:
                backend.apply(P1, [Put("x", b"%d" % writer, ABSENT)])
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(self.WRITERS) as pool:
            assert sum(pool.map(create, range(self.WRITERS))) == 1

    def test_batches_are_never_seen_half(self, backend: Backend) -> None:
        """Reads and listings never show half of a batch."""
        backend.apply(P1, [Put("a", b"0"), Put("bulk/b", b"0")])
        stop = threading.Event()

        def rewrite() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                value = b"x" * (number % 50)
                backend.apply(P1, [Put("a", value), Put("bulk/b", value)])

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(rewrite) for _ in range(2)]
            try:
                for _ in range(200):
                    items = backend.get_many([Address(P1, "a"), Address(P1, "bulk/b")]).values()
                    assert len({item.value for item in items}) == 1
                    assert len({info.size for info in backend.list_many([P1, P2])[P1]}) == 1
                    whole = backend.read_many([P1, P2], 1000)[P1].values()
                    assert len({item.value for item in whole}) == 1
                    assert len({info.size for info in backend.list(P1)}) == 1
            finally:
                stop.set()
            for writer in writers:
                writer.result(10)
