"""A canonical spelling is its own canonical spelling, for every code point of Unicode."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterable

import pytest
import unicodedata2

from persona_profile.emails import InvalidDomain, InvalidEmail, canonical_domain, canonical_email
from persona_profile.profiles.claims import CLAIMS, InvalidClaim

# Of the others (controls, surrogates, private use, unassigned) no spelling has any.
VISIBLE = [
    character
    for character in map(chr, range(0x110000))
    if unicodedata2.category(character)[0] in "LMNPSZ"
]
MARKS = [character for character in VISIBLE if unicodedata2.category(character)[0] == "M"]
# Ideographs and syllables are alike by the ten thousand; a part of them stands for the rest.
VARIED = [
    character
    for number, character in enumerate(VISIBLE)
    if not unicodedata2.name(character, "").startswith(("CJK", "HANGUL SYL", "TANGUT", "EGYPT"))
    or number % 50 == 0
]


def unstable(canonical: Callable[[str], str], texts: Iterable[str]) -> list[str]:
    """Return the texts whose canonical spelling is not its own canonical spelling."""
    found = []
    for text in texts:
        try:
            spelling = canonical(text)
        except (InvalidClaim, InvalidDomain, InvalidEmail):
            continue
        try:
            is_stable = canonical(spelling) == spelling
        except (InvalidClaim, InvalidDomain, InvalidEmail):
            is_stable = False
        if not is_stable:
            found.append(ascii(text))
    return found


@pytest.mark.parametrize("before", ["", "A"])
def test_emails(before):
    """Addresses of one character, and of one behind a letter."""
    texts = (f"{before}{character}@example.com" for character in VISIBLE)
    assert unstable(canonical_email, texts) == []


def test_emails_with_marks():
    """Addresses of any letter with any mark, some of which compose with small letters alone."""
    texts = (f"{letter}{mark}@example.com" for letter in string.ascii_letters for mark in MARKS)
    assert unstable(canonical_email, texts) == []


@pytest.mark.parametrize("letter", ["H\u0331", "T\u0308", "W\u030a", "Y\u030a", "J\u030c", "T\u0344"])
def test_capitals_without_a_composite(letter):
    """A capital with a mark is the small letter with that mark, however the latter is written."""
    small = letter.lower()
    composed = unicodedata2.normalize("NFC", small)
    spellings = [letter, small, composed, unicodedata2.normalize("NFD", small)]
    canonical = {canonical_email(f"{each}@example.com") for each in spellings}
    assert canonical == {f"{composed}@example.com"}


def test_emails_equivalent():
    """Canonically equivalent addresses are one address: a letter with its mark, or both apart."""
    for character in VISIBLE:
        apart = unicodedata2.normalize("NFD", character)
        if apart != character:
            with contextlib.suppress(InvalidEmail):
                together = canonical_email(f"a{character}@example.com")
                assert canonical_email(f"a{apart}@example.com") == together, ascii(character)


def test_domains():
    """Domains with any character."""
    texts = (f"a{character}.example.com" for character in VARIED)
    assert unstable(canonical_domain, texts) == []


@pytest.mark.parametrize(
    ("claim", "text", "step"),
    [
        ("name", "{}", 1),
        ("name", " A{} ", 1),
        ("website", "https://a.example/{}", 8),
        ("website", "https://a{}.example", 8),
        ("locale", "de-{}", 1),
        ("zoneinfo", "Europe/Paris{}", 1),
    ],
)
def test_claims(claim, text, step):
    """Claims with any character; of the slow ones, with every eighth."""
    assert unstable(CLAIMS[claim], map(text.format, VARIED[::step])) == []
