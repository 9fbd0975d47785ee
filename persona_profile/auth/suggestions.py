"""The texts of an issuer about a person that may fill a new profile (OpenID Connect Core 1.0, 5.1).

They are unchecked: the issuer may have let the person choose them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from persona_profile.encoding import Json

CLAIMS: Final = ("name", "given_name", "family_name", "nickname", "locale", "zoneinfo", "website")
PICTURE: Final = "picture"
"""The URL of a picture."""

MAX_CHARACTERS: Final = 1024


def read_suggestions(*documents: Mapping[str, Json]) -> Mapping[str, str]:
    """Return CLAIMS and PICTURE of documents, each of the first document that has it as a text."""
    found: dict[str, str] = {}
    for name in (*CLAIMS, PICTURE):
        for document in documents:
            value = document.get(name)
            if isinstance(value, str) and 0 < len(value) <= MAX_CHARACTERS:
                found[name] = value
                break
    return MappingProxyType(found)
