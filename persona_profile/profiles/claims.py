"""The claims of a profile, and the validation of their values.

Names and meanings follow OpenID Connect Core 1.0, section 5.1, where it has them.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import idna

from persona_profile.characters import first_harmful, nfc

TEXT_CHARACTERS: Final = 100
LONG_TEXT_CHARACTERS: Final = 200

LANGUAGE_TAG: Final = "[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}"
"""A pattern: a language, then subtags (RFC 5646, section 2.1, in outline)."""

_LANGUAGE_TAG = re.compile(LANGUAGE_TAG)


class InvalidClaim(ValueError):
    """A claim is invalid; the message is for the person who typed it and never quotes the claim."""


def text(value: str, limit: int = TEXT_CHARACTERS) -> str:
    """Return visible text of one line: NFC, trimmed, at most `limit` characters (code points).

    Characters that can spoof a sign-in dialog are rejected: see `first_harmful`.

    Raises:
        InvalidClaim: the text is too long or has a rejected character.
    """
    # Normalization of hostile text is costly, and shortens no real text that much.
    if len(value) > 8 * limit:
        raise InvalidClaim(f"must have at most {limit} characters")
    normalized = nfc(value).strip()
    if len(normalized) > limit:
        raise InvalidClaim(f"must have at most {limit} characters")
    if not (normalized.isascii() and normalized.isprintable()):
        position = first_harmful(normalized)
        if position is not None:
            number = f"U+{ord(normalized[position]):04X}"
            raise InvalidClaim(f"must not contain the character {number} at position {position + 1}")
    return normalized


def website(value: str) -> str:
    """Return an https URL without user information; scheme and host in lower case.

    Raises:
        InvalidClaim: the value is no such URL, or too long.
    """
    trimmed = text(value, LONG_TEXT_CHARACTERS)
    if not trimmed:
        return trimmed
    try:
        parts = urlsplit(trimmed)
        host = idna.encode(parts.hostname or "", uts46=True, std3_rules=True).decode("ascii")
        port = "" if parts.port in (None, 443) else f":{parts.port}"
    except (ValueError, UnicodeError, IndexError):
        raise InvalidClaim("must be an https URL") from None
    if (
        parts.scheme != "https"
        or "@" in parts.netloc
        or "[" in parts.netloc  # an address: `urlsplit` has removed the brackets
        or "." not in host
        or parts.port == 0
        or any(map(str.isspace, trimmed))
    ):
        raise InvalidClaim("must be an https URL")
    url = parts._replace(scheme="https", netloc=host + port).geturl()
    if len(url) > LONG_TEXT_CHARACTERS:
        raise InvalidClaim(f"must have at most {LONG_TEXT_CHARACTERS} characters")
    return url


def locale(value: str) -> str:
    """Return a BCP 47 language tag, or raise `InvalidClaim`."""
    trimmed = value.strip()
    if trimmed and not _LANGUAGE_TAG.fullmatch(trimmed):
        raise InvalidClaim("must be a language tag such as en-GB")
    return trimmed


def time_zone(value: str) -> str:
    """Return the name of a zone of the IANA Time Zone Database, or raise `InvalidClaim`."""
    trimmed = value.strip()
    if trimmed and trimmed not in _time_zones():
        raise InvalidClaim("must be a time zone such as Europe/Paris")
    return trimmed


CLAIMS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "name": text,
        "given_name": text,
        "family_name": text,
        "nickname": text,
        "pronouns": text,
        "website": website,
        "locale": locale,
        "zoneinfo": time_zone,
        "label": text,
        "picture_alt": partial(text, limit=LONG_TEXT_CHARACTERS),
    }
)
"""The claims, each with the function that validates a value and returns its stored spelling."""


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
