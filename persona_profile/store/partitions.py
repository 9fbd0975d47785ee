"""The partitions of a store: which kinds there are, and the walk over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from backends import Address, Backend, Item

USED_PROOF_PREFIX: Final = b"\x00"
"""First byte of the partitions of used proofs; those of emails begin with an index version from 1."""

USED_PROOF_ITEM: Final = "used"
"""The one item of such a partition; it has no value."""

LEASES_PARTITION: Final = USED_PROOF_PREFIX + b"leases"
"""Of leases (`leases`), which nobody can use a proof for: those partitions are longer."""

_PAGE: Final = 1000
_ITEMS_PAGE: Final = 200


def walk(backend: Backend, after: bytes | None = None) -> Iterator[bytes]:
    """Yield the partitions that follow `after` in ascending order, in memory for one page of them.

    The store may be in use: a partition that is made or erased meanwhile is met or not.

    Raises:
        Unavailable: the storage does not answer.
    """
    while page := backend.scan(after, _PAGE):
        yield from page
        after = page[-1]


def walk_items(
    backend: Backend, names: Sequence[str], after: bytes | None = USED_PROOF_PREFIX + b"\xff" * 32
) -> Iterator[tuple[bytes, Mapping[str, Item]]]:
    """Yield the partitions of emails with some of their items, in ascending order, as `walk` does.

    By default all of them: those of used proofs come before.

    Raises:
        Unavailable: the storage does not answer.
    """
    while page := backend.scan(after, _ITEMS_PAGE):
        addresses = [Address(partition, name) for partition in page for name in names]
        found: dict[bytes, dict[str, Item]] = {partition: {} for partition in page}
        for address, item in backend.get_many(addresses).items():
            found[address.partition][address.name] = item
        yield from found.items()
        after = page[-1]
