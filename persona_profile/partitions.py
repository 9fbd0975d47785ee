"""The partitions of a store: which kinds there are, and the walk over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from backends import Backend

USED_PROOF_PREFIX: Final = b"\x00"
"""First byte of the partitions of used proofs; those of emails begin with an index version from 1."""

USED_PROOF_ITEM: Final = "used"
"""The one item of such a partition; it has no value."""

_PAGE: Final = 1000


def walk(backend: Backend, after: bytes | None = None) -> Iterator[bytes]:
    """Yield the partitions that follow `after` in ascending order, in memory for one page of them.

    The store may be in use: a partition that is made or erased meanwhile is met or not.

    Raises:
        Unavailable: the storage does not answer.
    """
    while page := backend.scan(after, _PAGE):
        yield from page
        after = page[-1]
