import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ROOT

from persona_profile.characters import nfc
from persona_profile.profiles.claims import CLAIMS, InvalidClaim, locale, text, time_zone, website


@pytest.mark.parametrize(
    ("given_text", "stored"),
    [
        ("Alice", "Alice"),
        ("  Alice\u00a0", "Alice"),
        ("", ""),
        ("   ", ""),
        ("e\u0301", "\u00e9"),
        ("Ω", "Ω"),
        ("山田太郎", "山田太郎"),
        ("עברית", "עברית"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("ශ්\u200dරී", "ශ්\u200dරී"),
        (
            "👩\u200d💻 👨\u200d👩\u200d👧 🏳️\u200d🌈 ❤️\u200d🔥 👍🏽",
            "👩\u200d💻 👨\u200d👩\u200d👧 🏳️\u200d🌈 ❤️\u200d🔥 👍🏽",
        ),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("x" * 100, "x" * 100),
        ("e\u0301" * 100, "\u00e9" * 100),
    ],
)
def test_text_that_is_taken(given_text, stored):
    """Names of all scripts are accepted, in NFC and trimmed."""
    assert text(given_text) == stored


@pytest.mark.parametrize(
    "rejected",
    [
        "x" * 101,
        "x" * 100_000,
        "a\nb",
        "a\rb",
        "a\tb",
        "a\x00b",
        "a\x1bb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "a\u202eb",
        "a\u202ab",
        "a\u2066b",
        "a\u200eb",
        "a\u200bb",
        "a\u2060b",
        "a\ufeffb",
        "a\u00adb",
        "a\u034fb",
        "a\u3164b",
        "\u2800",
        "a\u200db",
        "a\u200cb",
        "\U00017000\u200cb",
        "\u200d💻",
        "💻\u200d",
        "a\ue000b",
        "a\U000e0041b",
        "a\U000e0100b",
        "a\ud800b",
        "a\uffffb",
        "a\u0378b",
    ],
)
def test_text_that_is_refused(rejected):
    """Long, multi-line, reversed or invisible text is rejected, and not quoted."""
    with pytest.raises(InvalidClaim) as caught:
        text(rejected)
    assert rejected not in str(caught.value)


@given(st.text(max_size=120))
def test_text_is_stable(value):
    """Accepted text is one visible line of NFC, and is accepted again unchanged."""
    try:
        stored = text(value)
    except InvalidClaim:
        return
    assert text(stored) == stored
    assert len(stored) <= 100
    assert nfc(stored) == stored
    assert len(stored.splitlines()) <= 1


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://alice.example", "https://alice.example"),
        (" HTTPS://Alice.Example/A?b=C#d ", "https://alice.example/A?b=C#d"),
        ("https://alice.example:443/", "https://alice.example/"),
        ("https://alice.example:8443", "https://alice.example:8443"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("", ""),
    ],
)
def test_website_that_is_taken(url, stored):
    """An https URL is accepted; its host has one spelling."""
    assert website(url) == stored


@pytest.mark.parametrize(
    "url",
    [
        "http://alice.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "//alice.example",
        "alice.example",
        "https://",
        "https:///path",
        "https://user@alice.example",
        "https://user:pass@alice.example",
        "https://alice.example@evil.example",
        "https://localhost",
        "https://alice.example:99999",
        "https://alice.example:0",
        "https://alice.example:x",
        "https://[::1",
        "https://[v1.alice.example]/",
        "https://exa mple.example",
        "https://alice.example/a b",
        "https://alice.example/\u202e",
        "https://" + "a" * 200 + ".example",
        "https://alice.example/" + "a" * 200,
        f"https://b\u00fccher.example/{'a' * 176}",
    ],
)
def test_website_that_is_refused(url):
    """Other schemes, user information and text that is no URL are rejected."""
    with pytest.raises(InvalidClaim):
        website(url)


@pytest.mark.parametrize("tag", ["en", "en-GB", "zh-Hant-TW", "de-CH-1996", "sr-Latn", ""])
def test_locale_that_is_taken(tag):
    """Language tags are accepted."""
    assert locale(tag) == tag


@pytest.mark.parametrize("tag", ["e", "en_GB", "en-", "-en", "englishlanguage", "12", "en\n-GB"])
def test_locale_that_is_refused(tag):
    """Text that is no language tag is rejected."""
    with pytest.raises(InvalidClaim):
        locale(tag)


@pytest.mark.parametrize(
    "zone", ["Europe/Paris", "Asia/Kolkata", "UTC", "America/Argentina/Ushuaia", ""]
)
def test_time_zone_that_is_taken(zone):
    """Names of the time zone database are accepted."""
    assert time_zone(zone) == zone


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "europe/paris", "../../etc/passwd", "+01:00", "localtime"]
)
def test_time_zone_that_is_refused(zone):
    """Other names are rejected."""
    with pytest.raises(InvalidClaim):
        time_zone(zone)


def test_every_claim_takes_nothing():
    """Every claim accepts an empty string, which removes it."""
    assert {accept("") for accept in CLAIMS.values()} == {""}


def test_claims_of_the_client():
    """The client reads, caches and declares the claims of the service."""
    client = ROOT / "persona_profile/static/client"
    read = re.findall(r'^  "(\w+)",$', (client / "persona-claims.js").read_text(), re.MULTILINE)
    declared = re.search(
        r"interface Claims \{(.*?)\}", (client / "persona-profile.d.ts").read_text(), re.DOTALL
    )
    assert read == re.findall(r"(\w+):", declared[1]) == list(CLAIMS)
