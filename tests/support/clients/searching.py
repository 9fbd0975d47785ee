"""Search for secrets in arbitrary bytes."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable


def encodings(secret: bytes) -> set[bytes]:
    """Return the encodings of a secret that files may contain."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for offset in range(3):
        # The characters next to the secret share bits with its first and last characters.
        encoded = base64.b64encode(b"\0" * offset + secret)
        inner = encoded[offset and 4 : len(encoded) - 4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def texts(secret: str) -> set[bytes]:
    """Return the encodings of a text, and the encodings of its bytes."""
    spellings = {secret, secret.lower(), secret.upper()}
    names = ("utf-8", "utf-16-le", "utf-16-be")
    return {
        each
        for spelling, name in itertools.product(spellings, names)
        for each in encodings(spelling.encode(name))
    }


def found_in(copies: Iterable[bytes], needles: Iterable[bytes]) -> list[bytes]:
    """Return the needles that occur in the bytes."""
    needles = list(needles)
    return [needle for copy in copies for needle in needles if needle in copy]
