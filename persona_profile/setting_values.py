"""The readers of settings' values: text in, a value out, or a ValueError with what it must be.

Messages never quote a value, which may be a secret.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from limits import RateLimitItem, parse_many

from persona_profile.emails import InvalidDomain, canonical_domain, canonical_pattern

OFF: Final = "off"
EVERY_DOMAIN: Final = "*"
MAX_PORT: Final = 65535
MAX_HOST: Final = 253
MAX_RATE_AMOUNT: Final = 10**12
MAX_RATE_SECONDS: Final = 7 * 24 * 3600
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")


def boolean(value: str) -> bool:
    """Read true or false."""
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def whole(minimum: int, maximum: int) -> Any:
    """Return the reader of a whole number of a range."""

    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not minimum <= int(value) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(value)

    return read


def words(read: Any) -> Any:
    """Return the reader of words, each once, by the reader of one."""
    return lambda value: tuple(dict.fromkeys(read(word) for word in value.split()))


def origin(value: str) -> str:
    """Read an origin; a default port is removed, as browsers do (RFC 6454, 6.2)."""
    match = _ORIGIN.fullmatch(value.lower())
    if match is None or not _is_host(match[2]) or int((match[3] or ":0")[1:]) > MAX_PORT:
        raise ValueError("must be origins such as https://profiles.example.com, without a path")
    scheme, host, port = match.groups()
    default = {"http": ":80", "https": ":443"}[scheme]
    return f"{scheme}://{host}{'' if port in (None, default) else port}"


def _is_host(host: str) -> bool:
    """Return whether this is an IP address, or a name that DNS can have."""
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
        try:
            ip_address(host.strip("[]"))
        except ValueError:
            return False
        return True
    return len(host) <= MAX_HOST and all(_LABEL.fullmatch(label) for label in host.split("."))


def transit_url(value: str) -> str:
    """Read a URL with TLS, or of this machine."""
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)", value):
        raise ValueError("must begin with https://, or http:// for an agent on this machine")
    return value


def address(value: str) -> tuple[str, int]:
    """Read the host and port of an interface of this machine."""
    match = re.fullmatch(r"([0-9.]+|\[[0-9a-f:]+\]):([1-9][0-9]{0,4})", value)
    if match is None or not _is_host(match[1]) or int(match[2]) > MAX_PORT:
        raise ValueError("must be the IP address and port of one interface, such as 127.0.0.1:9464")
    return match[1].strip("[]"), int(match[2])


def loopback(value: str) -> tuple[str, int] | str:
    """Read a host and port of loopback, or `off`."""
    if value == OFF:
        return OFF
    host, port = address(value)
    if not re.fullmatch(r"127(\.[0-9]{1,3}){3}", host):
        raise ValueError("must be off, or an address of loopback such as 127.0.0.1:6544")
    return host, port


def collector(value: str) -> str:
    """Read the URL of a collector, which has no secret."""
    match = re.fullmatch(rf"({_ORIGIN.pattern})/[A-Za-z0-9._~/-]*", value)
    with suppress(ValueError):
        if match is not None and origin(match[1]):
            return value
    raise ValueError("must be a URL with a path, such as http://127.0.0.1:4318/v1/traces")


def service_name(value: str) -> str:
    """Read the name of a service."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError("must be up to 64 letters, digits, points, underscores and hyphens")
    return value


def ratio(value: str) -> float:
    """Read a share from 0 to 1."""
    if not re.fullmatch(r"0(\.[0-9]{1,9})?|1(\.0{1,9})?", value):
        raise ValueError("must be a number from 0 to 1, such as 0.05")
    return float(value)


def rate_limit_url(value: str) -> str:
    """Read the place of the counts of rate limits."""
    if not re.fullmatch(r"off|memory://|(redis|rediss|redis\+unix)://\S+", value):
        raise ValueError("must be off, memory://, or begin with redis://, rediss:// or redis+unix://")
    return value


def rate_limit(value: str) -> RateLimitItem | None:
    """Read a limit in the notation of the library `limits`."""
    if value == "off":
        return None
    try:
        [limit] = parse_many(value)
    except ValueError:
        raise ValueError("must be off, or such as 300/minute or 2000/6hour") from None
    if not 1 <= limit.amount <= MAX_RATE_AMOUNT or not 1 <= limit.get_expiry() <= MAX_RATE_SECONDS:
        raise ValueError(f"must be from 1 to {MAX_RATE_AMOUNT}, in up to {MAX_RATE_SECONDS} seconds")
    return limit


def domain(value: str) -> str:
    """Read a domain name in its canonical spelling."""
    try:
        return canonical_domain(value)
    except InvalidDomain:
        raise ValueError("must be domain names") from None


def domain_pattern(value: str) -> str:
    """Read a domain name, all names below one, or EVERY_DOMAIN."""
    if value == EVERY_DOMAIN:
        return value
    try:
        return canonical_pattern(value)
    except InvalidDomain:
        raise ValueError('must be "*", names such as example.com, or *.example.com') from None


def dns_server(value: str) -> tuple[str, int]:
    """Read the IP address of a resolver, and its port if that is not 53."""
    has_port = value.startswith("[") or value.count(":") == 1
    host, _, port = value.rpartition(":") if has_port else (value, "", "53")
    try:
        address = str(ip_address(host.strip("[]")))
    except ValueError:
        address = ""
    if not address or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > MAX_PORT:
        raise ValueError("must be IP addresses such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353")
    return address, int(port)


def one_of(choices: tuple[str, ...]) -> Any:
    """Return the reader of one of several words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be of {', '.join(choices)}")
        return value

    return read
