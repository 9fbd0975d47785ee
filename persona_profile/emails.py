"""Email addresses in one canonical spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator

import idna
import regex

from persona_profile.characters import HIDDEN, nfc

MAX_BYTES = 254
"""Longest address in UTF-8 bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets)."""

MAX_LOCAL_BYTES = 64
"""Longest part before the @, in UTF-8 bytes (RFC 5321, section 4.5.3.1.1)."""

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_DOT_ATOM = re.compile(rf"{_ATEXT}(\.{_ATEXT})*")
_HOSTNAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
# Characters that are no letter, mark, number or symbol, or show nothing; and those that NFC turns into
# ASCII: whoever owns the one address need not own the other.
_DECEPTIVE = regex.compile(rf"[^\p{{L}}\p{{M}}\p{{N}}\p{{P}}\p{{S}}]|[{HIDDEN}\u1fef\u212a]")
# Last label of an IPv4 address in any spelling that resolvers take (WHATWG URL, ends-in-a-number).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidEmail(ValueError):
    """The text is no email address of this service. The message never holds the address."""


class InvalidDomain(ValueError):
    """The text is no domain name of email addresses. The message never holds the name."""


def canonical_email(address: str) -> str:
    """Return the canonical spelling of an email address.

    It is a fixed point: the canonical spelling of a canonical address is that address. The local
    part is NFC with ASCII letters in lower case (RFC 6532); the domain is lower-case
    IDNA (UTS 46, A-labels). Quoted local parts, comments, IP literals, single-label domains and
    invisible characters are rejected.

    Raises:
        InvalidEmail: for anything else, or more than MAX_BYTES.
    """
    if len(address) > MAX_BYTES:
        raise InvalidEmail("too long")
    local, at, domain = address.rpartition("@")
    if not at:
        raise InvalidEmail("no @")
    try:
        canonical = f"{_canonical_local(local)}@{canonical_domain(domain)}"
        length = len(canonical.encode("utf-8"))
    except (InvalidDomain, UnicodeEncodeError):
        raise InvalidEmail("invalid domain or character") from None
    if length > MAX_BYTES:
        raise InvalidEmail("too long")
    return canonical


def canonical_domain(name: str) -> str:
    """Return a domain name of at least two labels in lower-case A-labels (UTS 46, RFC 5891).

    Raises:
        InvalidDomain: for an IP address, a port, a trailing dot, a single label, or an invalid label.
    """
    if len(name) > MAX_BYTES:
        raise InvalidDomain("too long")
    ascii_name = name.lower()
    if not name.isascii() or "--" in name:  # the rest of IDNA concerns other names alone
        try:
            ascii_name = idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
        except (UnicodeError, IndexError):
            raise InvalidDomain("not a domain name") from None
    if not _HOSTNAME.fullmatch(ascii_name) or _NUMBER.fullmatch(ascii_name.rsplit(".", 1)[1]):
        raise InvalidDomain("not a domain name")
    return ascii_name


def is_canonical_domain(name: str) -> bool:
    """Return whether a name equals its `canonical_domain`."""
    try:
        return canonical_domain(name) == name
    except InvalidDomain:
        return False


def canonical_pattern(pattern: str) -> str:
    """Return a pattern of domains in canonical spelling: a domain, or `*.` and a suffix.

    What follows a `*.` may be a top-level domain.

    Raises:
        InvalidDomain: it is anything else.
    """
    if not pattern.startswith("*."):
        return canonical_domain(pattern)
    return "*." + canonical_domain(f"any.{pattern[2:]}").removeprefix("any.")


def patterns_of(domain: str) -> Iterator[str]:
    """Yield the canonical patterns that match a domain, the most specific first."""
    yield domain
    while "." in domain:
        domain = domain.partition(".")[2]
        yield f"*.{domain}"


def _canonical_local(local: str) -> str:
    if not local.isascii() and _DECEPTIVE.search(local):
        raise InvalidEmail("deceptive character")
    lower = nfc(local).translate(_ASCII_LOWER)
    # Again: a mark that composes with no capital may compose with the small letter, as U+0331 after H.
    local = nfc(lower)
    if not _DOT_ATOM.fullmatch(local) or len(local.encode("utf-8")) > MAX_LOCAL_BYTES:
        raise InvalidEmail("invalid local part")
    return local
