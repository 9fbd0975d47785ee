"""Renders pictures in the threads of the server, a bounded number at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import BinaryIO, Final

from persona_profile.errors import Overloaded
from persona_profile.images import Crop, Limits, Rendition
from persona_profile.images.pipeline import render_picture

RETRY_AFTER_SECONDS: Final = 5


class ThreadRenderer:
    """Renders in the calling thread.

    Args:
        limits: what is decoded at all.
        sizes: widths of the squares in pixels.
        formats: which of `images.FORMATS` to make.
        concurrency: how many pictures are decoded at once; more are refused.
        patience_seconds: how long an upload waits for a place before it is refused.
    """

    def __init__(
        self,
        limits: Limits,
        sizes: Sequence[int],
        formats: Sequence[str],
        concurrency: int,
        patience_seconds: float = 2.0,
    ) -> None:
        self._limits = limits
        self._sizes = tuple(sizes)
        self._formats = tuple(formats)
        self._places = threading.BoundedSemaphore(concurrency)
        self._patience = patience_seconds

    def render(self, source: BinaryIO, crop: Crop | None) -> tuple[Rendition, ...]:
        """Return the renditions of a picture. See `images.Renderer`."""
        if not self._places.acquire(timeout=self._patience):
            raise Overloaded("Too many pictures are under way; try again.", RETRY_AFTER_SECONDS)
        try:
            return render_picture(source, crop, self._limits, self._sizes, self._formats)
        finally:
            self._places.release()
