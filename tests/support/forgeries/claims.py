"""Forgeries of claims: times, audiences, emails, issuers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from support.clients.identities import AUDIENCE, dsa_key, rsa_key
from support.forgeries.minting import (
    DAY,
    EMAIL,
    GONE,
    HOMOGRAPH,
    MINUTE,
    Forgery,
    assertion,
    bundle,
    certificate,
    now,
    with_assertion,
    with_certificate,
    with_email,
)

# What "exp" and "iat" may not be; a JSON number with a fraction is none of milliseconds either.
_NO_TIMES = {
    "a float": 9_999_999_999_999.5,
    "a whole float": 9e12,
    "true": True,
    "a string": "9999999999999",
    "a list": [9999999999999],
    "an object": {},
    "null": None,
}

_PARTS = {
    "certificate": (with_certificate, DAY),
    "assertion": (with_assertion, 5 * MINUTE),
}


def times() -> Iterator[Forgery]:
    """Yield certificates and assertions that are too old, too young, or live too long."""
    for part, (minter, life) in _PARTS.items():

        def made(minter: Any = minter, **claims: Any) -> Any:
            return partial(_dated, minter, claims)  # when the test runs, not now

        yield Forgery(f"{part} expired", f"{part}_expired", made(iat=-120, exp=-61))
        yield Forgery(f"{part} expired, no iat", f"{part}_expired", made(iat=GONE, exp=-61))
        yield Forgery(f"{part} expires at 0", f"{part}_expired", made(exp=b"0"))
        yield Forgery(f"{part} expires before 1970", f"{part}_expired", made(exp=b"-1"))
        yield Forgery(f"{part} in seconds", f"{part}_expired", made(exp=str(now() // 1000).encode()))
        yield Forgery(f"{part} without exp", f"{part}_times_invalid", made(exp=GONE))
        for name, value in _NO_TIMES.items():
            yield Forgery(f"{part} exp is {name}", f"{part}_times_invalid", minter({"exp": value}))
            yield Forgery(f"{part} iat is {name}", f"{part}_times_invalid", minter({"iat": value}))
        yield Forgery(f"{part} of ten years", f"{part}_life_invalid", made(iat=0, exp=3650 * 86400))
        yield Forgery(f"{part} of ten years, no iat", f"{part}_life_invalid", made(iat=GONE, exp=3e8))
        over = life / 1000 + 0.001
        yield Forgery(f"{part} 1 ms too long", f"{part}_life_invalid", made(iat=-1, exp=over - 1))
        yield Forgery(f"{part} from 1970 on", f"{part}_life_invalid", made(iat=b"0", exp=60))
        yield Forgery(f"{part} issued before 1970", f"{part}_life_invalid", made(iat=b"-9", exp=60))
        yield Forgery(f"{part} of the future", f"{part}_not_yet_valid", made(iat=75, exp=120))
        yield Forgery(f"{part} ends as it begins", f"{part}_life_invalid", made(iat=30, exp=30))
        yield Forgery(f"{part} ends before it begins", f"{part}_life_invalid", made(iat=30, exp=9))
        huge = b"9" * 4000
        yield Forgery(f"{part} expires in 4000 digits", f"{part}_life_invalid", made(exp=huge))
        yield Forgery(f"{part} issued in 4000 digits", f"{part}_not_yet_valid", made(iat=huge))


def _dated(minter: Any, claims: dict[str, Any]) -> str:
    instant = now()  # one for all of them
    minted: str = minter({name: _value(value, instant) for name, value in claims.items()})()
    return minted


def _value(value: Any, instant: int) -> Any:
    """Return a number of milliseconds: seconds from an instant, or in bytes as it is."""
    if isinstance(value, bytes):
        return int(value)
    return value if value is GONE else instant + round(value * 1000)


_NO_AUDIENCES = {
    "of another scheme": "https://127.0.0.1:6543",
    "of another port": "http://127.0.0.1:6544",
    "of the default port": "http://127.0.0.1",
    "of another host": "http://127.0.0.2:6543",
    "of a longer host": "http://127.0.0.1.evil.test:6543",
    "of a host with a prefix": "http://evil-127.0.0.1:6543",
    "with a trailing slash": f"{AUDIENCE}/",
    "with a path": f"{AUDIENCE}/v1/sessions",
    "with a query": f"{AUDIENCE}?",
    "with a fragment": f"{AUDIENCE}#",
    "with an upper-case scheme": "HTTP://127.0.0.1:6543",
    "with an upper-case host": "http://LOCALHOST",
    "with user information": "http://me@127.0.0.1:6543",
    "with itself as user information": f"{AUDIENCE}@evil.test",
    "with a port of many zeros": "http://127.0.0.1:006543",
    "with a port beyond 65535": "http://127.0.0.1:72079",
    "with an empty port": "http://localhost:",
    "with a dot after the host": "http://localhost.",
    "with a newline at the end": f"{AUDIENCE}\n",
    "with a space before it": f" {AUDIENCE}",
    "with NUL": f"{AUDIENCE}\0",
    "with a backslash": f"{AUDIENCE}\\",
    "of a scheme alone": "http://",
    "of a host alone": "127.0.0.1:6543",
    "of a decimal address": "http://2130706433:6543",
    "of Unicode digits": "http://127.0.0.1:\u0666\u0665\u0664\u0663",
    "of two origins": f"{AUDIENCE} {AUDIENCE}",
    "of any origin": "*",
    "empty": "",
    "the word null": "null",
    "null": None,
    "missing": GONE,
    "a list": [AUDIENCE],
    "an object": {"origin": AUDIENCE},
    "a number": 6543,
    "true": True,
    "of 10,000 characters": "http://" + "a" * 10_000,
}


def audiences() -> Iterator[Forgery]:
    """Yield assertions for other audiences."""
    for name, value in _NO_AUDIENCES.items():
        yield Forgery(f"audience {name}", "audience_mismatch", with_assertion({"aud": value}))
    in_certificate = with_certificate({"aud": AUDIENCE})
    yield Forgery(
        "audience in the certificate alone",
        "audience_mismatch",
        lambda: bundle(in_certificate().partition("~")[0], assertion({"aud": GONE})),
    )


_NO_EMAILS = {
    "with a newline in it": "al\nice@issuer.test",
    "with a newline at the end": f"{EMAIL}\n",
    "with a carriage return at the end": f"{EMAIL}\r",
    "with a newline after the at sign": "alice@\nissuer.test",
    "with NUL": "alice\0@issuer.test",
    "with NUL in the domain": "alice@issuer.test\0.evil.test",
    "with two at signs": "alice@evil.test@issuer.test",
    "with no at sign": "issuer.test",
    "with nothing before the at sign": "@issuer.test",
    "with nothing after the at sign": "alice@",
    "of nothing": "",
    "at an IPv4 address": "alice@127.0.0.1",
    "at an IPv4 address with a hexadecimal end": "alice@127.0.0.0x1",
    "at an IPv4 address in brackets": "alice@[169.254.169.254]",
    "at an IPv6 address in brackets": "alice@[IPv6:::1]",
    "at localhost": "alice@localhost",
    "at a port": "alice@issuer.test:8443",
    "at a path": "alice@issuer.test/x",
    "with a dot at the end": "alice@issuer.test.",
    "of 300 characters": f"{'a' * 288}@issuer.test",
    "of 65 characters before the at sign": f"{'a' * 65}@issuer.test",
    "of 254 characters": f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.issuer.test",
    "with a space": "al ice@issuer.test",
    "with a space before it": f" {EMAIL}",
    "with a tab": f"{EMAIL}\t",
    "in quotes": '"alice"@issuer.test',
    "with a display name": f"Alice <{EMAIL}>",
    "with a comment": "alice(home)@issuer.test",
    "with a comma": f"{EMAIL},bob@issuer.test",
    "with a bidirectional override": "\u202ealice@issuer.test",
    "with a bidirectional override in the domain": "alice@\u202eissuer.test",
    "with a zero-width space": "ali\u200bce@issuer.test",
    "with a Hangul filler": "alice\u3164@issuer.test",
    "with a variation selector": "alice\ufe0f@issuer.test",
    "with a Kelvin sign for a k": "\u212aate@issuer.test",
    "with two dots": "al..ice@issuer.test",
    "with an empty label": "alice@issuer..test",
    "with a hyphen before the domain": "alice@-issuer.test",
    "with broken Punycode": "alice@xn--\u00fc.test",
    "with Punycode of nothing": "alice@xn--.test",
    "with an underscore in the domain": "alice@is_suer.test",
}


def emails() -> Iterator[Forgery]:
    """Yield certificates without an email address, or without a confirmed one."""
    for name, value in _NO_EMAILS.items():
        yield Forgery(f"email {name}", "email_invalid", with_email(value))
    for name, value in {"null": None, "a number": 7, "a list": [EMAIL], "true": True}.items():
        yield Forgery(f"email is {name}", "email_missing", with_email(value))
    principals: dict[str, Any] = {
        "with an unverified email alone": {"unverified-email": EMAIL},
        "with a host alone": {"host": "issuer.test"},
        "of nothing": {},
        "a string": EMAIL,
        "a list": [{"email": EMAIL}],
        "null": None,
        "missing": GONE,
    }
    for name, value in principals.items():
        yield Forgery(f"principal {name}", "email_missing", with_certificate({"principal": value}))
    yield Forgery(
        "email beside the principal",
        "email_missing",
        with_certificate({"principal": GONE, "email": EMAIL, "sub": EMAIL}),
    )
    yield Forgery(
        "principal in the assertion alone",
        "email_missing",
        lambda: bundle(certificate({"principal": GONE}), assertion({"principal": {"email": EMAIL}})),
    )


_NO_ISSUERS = {
    "in upper case": "ISSUER.TEST",
    "with a port": "issuer.test:443",
    "with a path": "issuer.test/.well-known/browserid",
    "with a scheme": "https://issuer.test",
    "with a dot at the end": "issuer.test.",
    "with a newline at the end": "issuer.test\n",
    "with a user": "alice@issuer.test",
    "with NUL": "issuer.test\0",
    "with a full-width dot": "issuer\uff0etest",
    "with Cyrillic letters": "issu\u0435r.test",
    "of nothing": "",
    "an address": "127.0.0.1",
    "localhost": "localhost",
    "a number": 1,
    "a list": ["issuer.test"],
    "null": None,
    "missing": GONE,
}


def issuers() -> Iterator[Forgery]:
    """Yield certificates of issuers that may not vouch for the email."""
    for name, value in _NO_ISSUERS.items():
        yield Forgery(f"issuer {name}", "issuer_invalid", with_certificate({"iss": value}))
    foreign = "issuer_not_authoritative"
    parent = with_email("alice@sub.issuer.test")
    yield Forgery("issuer is another domain", foreign, with_certificate({"iss": "evil.test"}))
    yield Forgery("issuer is a subdomain", foreign, with_certificate({"iss": "sub.issuer.test"}))
    yield Forgery("issuer is the parent domain", foreign, parent)
    yield Forgery("issuer ends alike", foreign, with_certificate({"iss": "evilissuer.test"}))
    yield Forgery("issuer of a homograph", foreign, with_email("alice@issu\u0435r.test"))
    yield Forgery(
        "issuer vouches for a homograph as itself",
        "certificate_signature_invalid",
        with_email("alice@issu\u0435r.test", HOMOGRAPH),
    )
    yield Forgery(
        "issuer was Persona's fallback",
        foreign,
        with_certificate({"iss": "login.persona.org"}),
    )
    yield Forgery(
        "issuer takes no part",
        "issuer_disabled",
        with_email("alice@disabled.test", "disabled.test"),
    )
    yield Forgery(
        "issuer has delegated",
        foreign,
        with_email("alice@delegating.test", "delegating.test"),
    )
    yield Forgery(
        "issuer vouches for who delegated to it, in the other's name",
        foreign,
        with_email(EMAIL, "delegating.test"),
    )
    yield Forgery(
        "issuer signs by the key of another",
        "certificate_signature_invalid",
        with_certificate(issuer=rsa_key("stranger")),
    )
    yield Forgery(
        "issuer signs by a key of another algorithm",
        "certificate_signature_invalid",
        with_certificate(issuer=dsa_key("issuer")),
    )


ROWS = (*times(), *audiences(), *emails(), *issuers())
