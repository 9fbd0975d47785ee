"""Names of what is read and made of pictures, for those who need no more than the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FORMATS: Final = ("avif", "webp", "jpeg")
"""What can be made, the better compressed first. JPEG, which every client takes, is always made."""

FORMATS_IN: Final = ("jpeg", "png", "webp", "gif", "heif", "avif")
"""What can be read; HEIC is HEIF."""

MEDIA_TYPES: Final = {"avif": "image/avif", "webp": "image/webp", "jpeg": "image/jpeg"}
SIZES: Final = (64, 128, 256, 512)
"""Widths (and heights) of the squares, in pixels."""
THUMBNAIL_SIZES: Final = SIZES[:3]
"""Those that may come within JSON: twenty larger ones would be megabytes in one answer."""

EFFORTS: Final = ("fast", "balanced", "max")
"""How much processor time an encoder may spend on a rendition, the least first."""

DEFAULT_EFFORT: Final = "balanced"
DEFAULT_QUALITIES: Final[Mapping[str, int]] = {"avif": 66, "webp": 82, "jpeg": 80}
"""On each encoder's own scale: the same quality to the eye (`docs/explanation/pictures.md`)."""

ACCEPTED_MEDIA_TYPES: Final = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/avif",
)
