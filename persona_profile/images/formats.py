"""Formats, sizes and defaults by name; imports no image library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SIZES: Final = (64, 128, 256, 512)
"""Widths (and heights) of the renditions in pixels. Stored pictures keep their sizes.

Tests name the other places that depend on the largest. Memory and time of a worker grow with it: see
`persona-profile pictures process` and `benchmarks/picture_cost.py`.
"""

MAX_THUMBNAIL_SIZE: Final = 256
THUMBNAIL_SIZES: Final = tuple(size for size in SIZES if size <= MAX_THUMBNAIL_SIZE)
"""The sizes that JSON may contain: twenty larger renditions would be megabytes in one response."""

FORMATS: Final = ("avif", "webp", "jpeg")
"""Formats of renditions, the best compressed first. JPEG is always made: every client accepts it."""

MEDIA_TYPES: Final = {"avif": "image/avif", "webp": "image/webp", "jpeg": "image/jpeg"}

FORMATS_IN: Final = ("jpeg", "png", "webp", "gif", "heif", "avif")
"""Formats of uploads; HEIC is HEIF."""

ACCEPTED_MEDIA_TYPES: Final = tuple(
    f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "heic", "heif", "avif")
)

EFFORTS: Final = ("fast", "balanced", "max")
"""Levels of the processor time that an encoder may spend on a rendition, the least first."""

DEFAULT_EFFORT: Final = "balanced"
DEFAULT_QUALITIES: Final[Mapping[str, int]] = {"avif": 66, "webp": 82, "jpeg": 80}
"""The same quality to the eye on each encoder's own scale (`docs/explanation/pictures.md`)."""
