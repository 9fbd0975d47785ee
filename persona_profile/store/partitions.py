"""The partitions of a store: their kinds, and reads of some of their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from backends import Address, Backend, Item

USED_PROOF_PREFIX: Final = b"\x00"
"""First byte of the partitions of used proofs; partitions of emails begin with an index version > 0."""

USED_PROOF_ITEM: Final = "used"
"""The only item of such a partition; its value is empty."""

LEASES_PARTITION: Final = USED_PROOF_PREFIX + b"leases"
"""The partition of leases; the partitions of used proofs are longer."""

WalkReport = Callable[[bytes], None]
"""Called with each partition that a walk has done."""

_SCAN_PARTITIONS: Final = 200


def read_items(backend: Backend, partition: bytes, names: Iterable[str]) -> dict[str, Item]:
    """Return items of a partition by name, in one trip; absent items are missing."""
    found = backend.get_many([Address(partition, name) for name in names])
    return {address.name: item for address, item in found.items()}


def walk_items(
    backend: Backend, names: Sequence[str], after: bytes | None = USED_PROOF_PREFIX + b"\xff" * 32
) -> Iterator[tuple[bytes, Mapping[str, Item]]]:
    """Yield the partitions of emails with the items of these names, in ascending order.

    By default all partitions of emails: the partitions of used proofs come before them. The store may
    be in use: a partition that is created or erased meanwhile may be missing.
    """
    while page := backend.scan(after, _SCAN_PARTITIONS):
        addresses = [Address(partition, name) for partition in page for name in names]
        found: dict[bytes, dict[str, Item]] = {partition: {} for partition in page}
        for address, item in backend.get_many(addresses).items():
            found[address.partition][address.name] = item
        yield from found.items()
        after = page[-1]
