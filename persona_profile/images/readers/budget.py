"""Bounds of the structures of a file, checked before a library reads it: segments, chunks, blocks.

Each structure costs microseconds or more, and a file of 20 MB has room for millions. The readers of all
formats count structures, and raise `picture_too_complex` at the bound.
"""

from __future__ import annotations

from typing import Final

from persona_profile.images.rejections import too_complex

MAX_STRUCTURES: Final = 10_000
"""Segments, chunks or blocks of one file: enough for a PNG of 20 MB in pieces of 2 KiB."""


class Budget:
    """The number of structures that a file may still have."""

    def __init__(self, maximum: int = MAX_STRUCTURES) -> None:
        self._left = maximum

    def spend(self, count: int = 1) -> None:
        """Count structures; one too many is `picture_too_complex`."""
        self._left -= count
        if self._left < 0:
            raise too_complex()
