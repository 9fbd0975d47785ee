"""A Hypothesis state machine that compares a backend with a model of its guarantees.

Inherit `BackendMachine`, define `make_backend`, and run its test case:

    class Machine(BackendMachine):
        def make_backend(self, clock): ...

    TestMachine = Machine.TestCase

It needs Hypothesis.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backends import (
    ABSENT,
    ANYTHING,
    Address,
    Backend,
    BatchOutcome,
    Conflict,
    Delete,
    Expectation,
    Item,
    Operation,
    Put,
    outcome_of,
    size_of,
)

PARTITIONS = (b"\x00", b"\x01" + b"a" * 32, b"\x01" + b"b" * 32)
NAMES = ("key", "profile", "picture/1/64.webp", "picture/1/512.jpeg")

_partitions = st.sampled_from(PARTITIONS)
_names = st.sampled_from(NAMES)
_values = st.one_of(st.binary(max_size=20), st.just(b"\x00" * 5000))
_lives = st.one_of(st.none(), st.integers(-2, 5))
_expectations = st.sampled_from(["anything", "absent", "current", "stale"])
_puts = st.tuples(_names, _values, _expectations, _lives)
_deletes = st.tuples(_names, st.just(None), _expectations, st.none())
_batches = st.lists(st.one_of(_puts, _deletes), max_size=4, unique_by=lambda each: each[0])


class BackendMachine(RuleBasedStateMachine):
    """Batches, reads, listings, scans, purges and passing time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.model: dict[Address, Item] = {}
        self.stale: dict[Address, int] = {}
        self.backend = self.make_backend(lambda: float(self.now))

    @abstractmethod
    def make_backend(self, clock: Callable[[], float]) -> Backend:
        """Return an empty backend whose time is `clock` (seconds since 1970)."""

    @initialize()
    def is_empty(self) -> None:
        """A new backend is empty."""
        assert list(self.backend.scan(None, 10)) == []

    @rule(partition=_partitions, batch=_batches)
    def apply(self, partition: bytes, batch: list[tuple[Any, ...]]) -> None:
        """A batch takes effect as a whole if all its expectations are met, otherwise not at all."""
        operations = [self._operation(partition, *each) for each in batch]
        self._check(
            partition, operations, self._live(), outcome_of(self.backend, partition, operations)
        )

    @rule(batches=st.dictionaries(_partitions, _batches))
    def apply_many(self, batches: dict[bytes, list[tuple[Any, ...]]]) -> None:
        """Of several batches, each takes effect as a whole or not at all, whatever the others do."""
        operations = {
            partition: [self._operation(partition, *each) for each in batch]
            for partition, batch in batches.items()
        }
        live = self._live()
        outcomes = self.backend.apply_many(operations)
        assert outcomes.keys() == operations.keys()
        for partition, outcome in outcomes.items():
            self._check(partition, operations[partition], live, outcome)

    @rule(partitions=st.lists(_partitions, unique=True), max_bytes=st.integers(1, 12_000))
    def read_many(self, partitions: list[bytes], max_bytes: int) -> None:
        """A read of whole partitions returns the first ones, as many as have so many bytes."""
        found = self.backend.read_many(partitions, max_bytes)
        expected = {each: self._items_of(each) for each in partitions}
        sizes = [size_of(items) for items in expected.values()]
        number = sum(sum(sizes[: n + 1]) <= max_bytes for n in range(len(sizes)))
        portion = partitions[: max(1, number)]
        assert found == {each: expected[each] for each in portion}
        assert list(found) == portion

    @rule(partitions=st.lists(_partitions, unique=True))
    def list_many(self, partitions: list[bytes]) -> None:
        """Listings of several partitions are those of each."""
        listed = self.backend.list_many(partitions)
        assert list(listed) == partitions
        for partition, infos in listed.items():
            found = {each.name: (each.version, each.size) for each in infos}
            items = self._items_of(partition)
            assert found == {name: (each.version, len(each.value)) for name, each in items.items()}

    @rule(addresses=st.lists(st.builds(Address, _partitions, _names), max_size=6))
    def get_many(self, addresses: list[Address]) -> None:
        """A read returns live items with value, version and expiry."""
        live = self._live()
        expected = {address: live[address] for address in addresses if address in live}
        assert self.backend.get_many(addresses) == expected

    @rule(partition=_partitions)
    def list_one(self, partition: bytes) -> None:
        """A listing returns the live items without values, in order of their names."""
        expected = sorted(
            (address.name, item.version, len(item.value), item.expires_at)
            for address, item in self._live().items()
            if address.partition == partition
        )
        listed = self.backend.list(partition)
        assert [(each.name, each.version, each.size, each.expires_at) for each in listed] == expected

    @rule(after=st.one_of(st.none(), _partitions), limit=st.integers(1, 4))
    def scan(self, after: bytes | None, limit: int) -> None:
        """A scan returns the partitions with live items, in order."""
        partitions = sorted({address.partition for address in self._live()})
        following = [each for each in partitions if after is None or each > after]
        assert list(self.backend.scan(after, limit)) == following[:limit]

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        """Items expire."""
        self.now += seconds

    @rule(limit=st.integers(1, 3))
    def purge(self, limit: int) -> None:
        """A purge has no visible effect."""
        assert self.backend.purge_expired(limit) <= limit

    @invariant()
    def everything_is_there(self) -> None:
        """The store has every acknowledged item, and nothing else."""
        everything = [Address(partition, name) for partition in PARTITIONS for name in NAMES]
        assert self.backend.get_many(everything) == self._live()

    def teardown(self) -> None:
        """Close the backend."""
        self.backend.close()

    def _live(self) -> Mapping[Address, Item]:
        return {
            address: item
            for address, item in self.model.items()
            if item.expires_at is None or item.expires_at > self.now
        }

    def _items_of(self, partition: bytes) -> dict[str, Item]:
        return {
            address.name: item
            for address, item in self._live().items()
            if address.partition == partition
        }

    def _check(
        self,
        partition: bytes,
        operations: Sequence[Operation],
        live: Mapping[Address, Item],
        outcome: BatchOutcome,
    ) -> None:
        """Check the outcome of a batch, and remember its effect."""
        holds = all(_holds(live.get(Address(partition, each.name)), each) for each in operations)
        assert holds is not isinstance(outcome, Conflict)
        if isinstance(outcome, Conflict):
            return
        assert outcome.keys() == {each.name for each in operations if isinstance(each, Put)}
        assert not set(outcome.values()) & {item.version for item in self.model.values()}
        for each in operations:
            self._remember(partition, each, outcome)

    def _operation(
        self, partition: bytes, name: str, value: bytes | None, expectation: str, life: int | None
    ) -> Operation:
        address = Address(partition, name)
        current = self.model.get(address)
        if_version: int | Expectation = ANYTHING
        if expectation == "current" and current is not None:
            if_version = current.version
        elif expectation == "stale":
            if_version = self.stale.get(address, 1)
        elif expectation == "absent" and value is not None:
            if_version = ABSENT
        if value is None:
            return Delete(name, ANYTHING if isinstance(if_version, Expectation) else if_version)
        expires_at = None if life is None else self.now + life
        return Put(name, value, if_version, expires_at)

    def _remember(self, partition: bytes, operation: Operation, versions: Mapping[str, int]) -> None:
        address = Address(partition, operation.name)
        if (replaced := self.model.pop(address, None)) is not None:
            self.stale[address] = replaced.version
        if isinstance(operation, Put):
            version = versions[operation.name]
            self.model[address] = Item(operation.value, version, operation.expires_at)


def _holds(item: Item | None, operation: Operation) -> bool:
    if operation.if_version is ANYTHING:
        return True
    if operation.if_version is ABSENT:
        return item is None
    return item is not None and item.version == operation.if_version
