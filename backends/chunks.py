"""Division of items into chunks of a limited size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def chunks(
    items: Iterable[_T], size_of: Callable[[_T], int], max_size: int, max_items: int = sys.maxsize
) -> Iterator[list[_T]]:
    """Yield items in lists of at most `max_size` in total, unless a single item is larger."""
    chunk: list[_T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if chunk and (total + size > max_size or len(chunk) == max_items):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk
