"""Email addresses and domains have a canonical spelling; invalid ones are rejected."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from persona_profile.characters import nfc
from persona_profile.emails import (
    MAX_BYTES,
    InvalidDomain,
    InvalidEmail,
    canonical_domain,
    canonical_email,
    is_canonical_domain,
)

SPELLINGS = {
    "alice@example.com": "alice@example.com",
    "Alice@Example.COM": "alice@example.com",
    "a.b+tag@example.com": "a.b+tag@example.com",
    "!#$%&'*+/=?^_`{|}~-@example.com": "!#$%&'*+/=?^_`{|}~-@example.com",
    "alice@b\u00fccher.example": "alice@xn--bcher-kva.example",
    "alice@B\u00dcCHER.example": "alice@xn--bcher-kva.example",
    "alice@bu\u0308cher.example": "alice@xn--bcher-kva.example",
    "alice@xn--bcher-kva.example": "alice@xn--bcher-kva.example",
    "alice@XN--BCHER-KVA.example": "alice@xn--bcher-kva.example",
    "alice@fa\u00df.example": "alice@xn--fa-hia.example",
    "alice@example\u3002com": "alice@example.com",
    "alice@\uff45xample.com": "alice@example.com",
    "ali\u0301ce@example.com": "al\u00edce@example.com",
    "\u00c9ric@example.com": "\u00c9ric@example.com",
    "\u7528\u6237@\u4f8b\u5b50.\u5e7f\u544a": "\u7528\u6237@xn--fsqu00a.xn--4rr70v",
    "\U0001f600@example.com": "\U0001f600@example.com",
    "a@1.example": "a@1.example",
    "a@123.456.example": "a@123.456.example",
    f"{'a' * 64}@example.com": f"{'a' * 64}@example.com",
    f"a@{'b' * 63}.example": f"a@{'b' * 63}.example",
}

REJECTED = {
    "nothing": "",
    "an at sign": "@",
    "no at sign": "example.com",
    "no local part": "@example.com",
    "no domain": "alice@",
    "two at signs": "alice@bob@example.com",
    "a quoted local part": '"alice"@example.com',
    "a quoted at sign": '"a@b"@example.com',
    "a comment": "alice(work)@example.com",
    "a display name": "Alice <alice@example.com>",
    "a dot in front": ".alice@example.com",
    "a dot at the end": "alice.@example.com",
    "two dots": "al..ice@example.com",
    "a space": "al ice@example.com",
    "a space in front": " alice@example.com",
    "a newline at the end": "alice@example.com\n",
    "a newline before the at sign": "alice\n@example.com",
    "a header": "alice@example.com\r\nBcc: bob@example.com",
    "NUL": "al\0ice@example.com",
    "DEL": "al\x7fice@example.com",
    "a C1 control": "al\x85ice@example.com",
    "a comma": "alice,bob@example.com",
    "a semicolon": "alice;@example.com",
    "a Greek question mark, which becomes a semicolon": "alice\u037e@example.com",
    "a Kelvin sign, which becomes a K": "\u212aate@example.com",
    "a Greek varia, which becomes a backtick": "a\u1fef@example.com",
    "a backslash": "ali\\ce@example.com",
    "a no-break space": "al\u00a0ice@example.com",
    "an ideographic space": "al\u3000ice@example.com",
    "a line separator": "al\u2028ice@example.com",
    "a zero-width space": "al\u200bice@example.com",
    "a zero-width joiner": "al\u200dice@example.com",
    "a soft hyphen": "al\u00adice@example.com",
    "a byte-order mark": "\ufeffalice@example.com",
    "a bidirectional override": "\u202ealice@example.com",
    "a bidirectional isolate": "\u2066alice@example.com",
    "a Hangul filler": "al\u3164ice@example.com",
    "a blank Braille pattern": "al\u2800ice@example.com",
    "a grapheme joiner": "al\u034fice@example.com",
    "a variation selector": "al\ufe0fice@example.com",
    "a supplementary variation selector": "al\U000e0100ice@example.com",
    "a tag character": "al\U000e0041ice@example.com",
    "a private-use character": "al\ue000ice@example.com",
    "an unassigned character": "al\u0378ice@example.com",
    "a lone surrogate": "al\ud800ice@example.com",
    "65 bytes before the at sign": f"{'a' * 65}@example.com",
    "65 bytes before the at sign, of two each": f"{chr(0xE9) * 33}@example.com",
    "255 bytes": f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.example.com",
    "more than 254 bytes as Punycode": f"{'a' * 64}@{'.'.join([chr(0xFC) + 'b' * 53] * 3)}.example.com",
    "a megabyte": "a" * 1_000_000 + "@example.com",
    "a megabyte of at signs": "@" * 1_000_000,
}

REJECTED_DOMAINS = {
    "nothing": "",
    "a dot": ".",
    "a single label": "localhost",
    "a top-level domain": "com",
    "a dot at the end": "example.com.",
    "a dot in front": ".example.com",
    "two dots": "example..com",
    "an IPv4 address": "127.0.0.1",
    "a short IPv4 address": "127.1",
    "an IPv4 address in hexadecimal": "0x7f.0.0.0x1",
    "an IPv4 address with a bare hexadecimal sign": "127.0.0.0x",
    "an IPv4 address in octal": "0177.0.0.01",
    "an IPv4 address in full-width digits": "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "an IPv4 address in circled digits": "\u2460\u2461\u2466.0.0.\u2460",
    "an IPv4 address with ideographic dots": "127\u30020\u30020\u30021",
    "an IPv6 address": "::1",
    "an IPv6 address in brackets": "[::1]",
    "an address literal": "[127.0.0.1]",
    "a port": "example.com:443",
    "a path": "example.com/x",
    "user information": "bob@example.com",
    "a percent sign": "example%2ecom",
    "an underscore": "_dmarc.example.com",
    "a hyphen in front": "-example.com",
    "a hyphen at the end": "example-.com",
    "hyphens in the third place": "ab--cd.example.com",
    "a label of 64": f"{'a' * 64}.example",
    "a space": "exam ple.com",
    "a newline at the end": "example.com\n",
    "NUL": "example.com\0",
    "a bidirectional override": "\u202eexample.com",
    "mixed directions": "a\u05d0.example",
    "broken Punycode": "xn--\u00fc.example",
    "Punycode of nothing": "xn--.example",
    "Punycode of ASCII": "xn--example-.com",
    "Punycode of a capital": "xn--Bcher-Kva2.example",
    "Punycode that overflows": "xn--99999999999.example",
    "an emoji": "\U0001f600.example",
    "a lone surrogate": "\ud800.example",
    "a snowman that spells a slash": "example.com\u2100evil.test",
    "a megabyte": "a." * 500_000,
}


@pytest.mark.parametrize("given_", SPELLINGS)
def test_spellings(given_):
    """Spellings of an address have the same canonical form; different addresses stay different."""
    assert canonical_email(given_) == SPELLINGS[given_]


@pytest.mark.parametrize("name", REJECTED)
def test_refused(name):
    """Invalid and deceptive addresses are rejected without being quoted."""
    with pytest.raises(InvalidEmail) as rejected:
        canonical_email(REJECTED[name])
    assert len(str(rejected.value)) < 50
    assert "example" not in str(rejected.value)


@pytest.mark.parametrize("name", REJECTED_DOMAINS)
def test_refused_domains(name):
    """Invalid domain names are rejected, alone and in an address."""
    domain = REJECTED_DOMAINS[name]
    with pytest.raises(InvalidDomain):
        canonical_domain(domain)
    with pytest.raises(InvalidEmail):
        canonical_email(f"alice@{domain}")
    assert not is_canonical_domain(domain)


def test_is_canonical_domain():
    """A domain is canonical if `canonical_domain` leaves it unchanged."""
    assert is_canonical_domain("xn--bcher-kva.example")
    for other in ("b\u00fccher.example", "Example.com", "example\u3002com", "XN--BCHER-KVA.example"):
        assert not is_canonical_domain(other)


ANY_TEXT = st.text(st.characters(), max_size=40)
LIKELY = st.text(
    st.sampled_from("aAzZ09.-_+@\u00df\u00e9\u0301\u0130\u3002\u212a\uff0e\u05d0xn"), max_size=30
)
TEXTS = st.one_of(ANY_TEXT, LIKELY)


@given(local=TEXTS, domain=st.one_of(TEXTS, st.just("example.com")))
@example("a", "xn--bcher-kva.example")
@example("\u212a", "example.com")
@example("a", "\u0130.example")
def test_canonical_email_is_stable(local, domain):
    """Any text has a stable canonical form, or raises InvalidEmail."""
    try:
        canonical = canonical_email(f"{local}@{domain}")
    except InvalidEmail:
        return
    assert canonical_email(canonical) == canonical
    assert len(canonical.encode()) <= MAX_BYTES
    assert canonical.count("@") == 1
    assert nfc(canonical) == canonical
    assert is_canonical_domain(canonical.partition("@")[2])
    assert not any(map(str.isspace, canonical))


@given(TEXTS)
def test_canonical_domain_is_stable(name):
    """Any text has a stable canonical domain in ASCII, or raises InvalidDomain."""
    try:
        canonical = canonical_domain(name)
    except InvalidDomain:
        return
    assert canonical_domain(canonical) == canonical
    assert canonical.isascii()
    assert canonical == canonical.lower()
    assert "." in canonical
