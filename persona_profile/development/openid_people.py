"""The people whom the OpenID provider for development knows: everybody has a name and a picture."""

from __future__ import annotations

import colorsys
import hashlib
import io
import re
from typing import Final

CLAIMS: Final = ("name", "given_name", "family_name", "locale", "zoneinfo", "picture")
"""The claims of the scope `profile` (OpenID Connect Core 1.0, 5.4)."""

SUBJECT: Final = re.compile(r"[0-9a-f]{32}")

_FAMILY_NAME: Final = "Example"
_SIDE: Final = 256
_SEPARATORS: Final = re.compile(r"[._+-]+")


def subject_of(email: str) -> str:
    """Return the identifier of a person."""
    return hashlib.sha256(email.encode()).hexdigest()[:32]


def profile_of(email: str, picture_url: str) -> dict[str, str]:
    """Return the claims of a person by the email: alice@example.com is Alice Example."""
    words = _SEPARATORS.split(email.rpartition("@")[0])
    given = " ".join(word.capitalize() for word in words if word)
    return {
        "name": f"{given} {_FAMILY_NAME}".strip(),
        "given_name": given,
        "family_name": _FAMILY_NAME,
        "locale": "en_GB",
        "zoneinfo": "Europe/London",
        "picture": picture_url,
    }


def portrait(subject: str) -> bytes:
    """Return the picture of a person as JPEG: a bust in colours of their own."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - servers load no image library

    hue = int(subject[:4], 16) / 0x10000
    picture = Image.new("RGB", (_SIDE, _SIDE), _colour(hue, 0.35, 0.95))
    draw = ImageDraw.Draw(picture)
    bust = _colour(hue + 0.5, 0.55, 0.6)
    draw.ellipse((48, 152, 208, 320), fill=bust)
    draw.ellipse((84, 56, 172, 144), fill=bust)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * each) for each in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue
