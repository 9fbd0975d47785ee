"""The way to a provider's hosts, from its entry in the file of providers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from persona_profile.auth.access import PUBLIC, Route
from persona_profile.auth.fetch import Url
from persona_profile.emails import is_canonical_domain
from persona_profile.encoding import Json

MEMBERS: Final = frozenset({"allow_private_addresses", "ca_file", "proxy", "hosts"})
MAX_HOSTS: Final = 16

_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_LOOPBACK: Final = ("localhost", "127.0.0.1")


def parse_route(entry: Mapping[str, Json], issuer: Url, *, is_development: bool) -> Route:
    """Return the way to the hosts of an issuer's entry.

    Raises:
        ValueError: a member is invalid; the message names it.
    """
    is_private = parse_flag(entry, "allow_private_addresses")
    if issuer.scheme == "http":
        return _plain_route(entry, issuer, is_development=is_development)
    if not (is_private or is_canonical_domain(issuer.host)):
        raise ValueError("issuer: must begin with https:// and the name of a host")
    hosts = _parse_hosts(entry, is_private=is_private)
    authorities, proxy = _read_authorities(entry), _parse_proxy(entry)
    if not is_private and not authorities and proxy is None:
        if hosts:
            raise ValueError("hosts: needs allow_private_addresses, ca_file or proxy")
        return PUBLIC
    return Route(hosts | {issuer.host}, is_private, authorities, proxy)


def parse_flag(entry: Mapping[str, Json], name: str) -> bool:
    """Return a member that is true or false, by default.

    Raises:
        ValueError: it is something else.
    """
    found = entry.get(name, False)
    if not isinstance(found, bool):
        raise ValueError(f"{name}: must be true or false")  # noqa: TRY004 - a file's content
    return found


def _plain_route(entry: Mapping[str, Json], issuer: Url, *, is_development: bool) -> Route:
    if not is_development or issuer.host not in _LOOPBACK:
        raise ValueError(
            "issuer: must begin with https:// and the name of a host; "
            "in development http://localhost counts too"
        )
    if unfit := sorted(entry.keys() & MEMBERS):
        raise ValueError(f"{unfit[0]}: not of an http issuer")
    return Route(frozenset({issuer.host}), allows_private_addresses=True, is_plain=True)


def _parse_hosts(entry: Mapping[str, Json], *, is_private: bool) -> frozenset[str]:
    found = entry.get("hosts", [])
    if not isinstance(found, list) or len(found) > MAX_HOSTS:
        raise ValueError(f"hosts: must be a list of at most {MAX_HOSTS} names")
    names = [each for each in found if isinstance(each, str)]
    for name in names:
        if not (is_canonical_domain(name) or (is_private and _HOST.fullmatch(name))):
            raise ValueError("hosts: must be names of hosts, in lower case and without a port")
    if len(names) != len(found):
        raise ValueError("hosts: must be names of hosts, in lower case and without a port")
    return frozenset(names)


def _read_authorities(entry: Mapping[str, Json]) -> str:
    """Return the certificates of `ca_file`; empty if there is no such member."""
    if "ca_file" not in entry:
        return ""
    path = entry["ca_file"]
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("ca_file: must be the path of a file")
    try:
        authorities = Path(path).read_text("ascii")
        # Unlike `create_default_context`, this rejects an empty file.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise ValueError("ca_file: has no certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"ca_file: {error.strerror}") from None
    return authorities


def _parse_proxy(entry: Mapping[str, Json]) -> tuple[str, int] | None:
    if "proxy" not in entry:
        return None
    text = entry["proxy"]
    try:
        proxy = Url.parse(text if isinstance(text, str) else "")
    except ValueError:
        proxy = None
    if proxy is None or proxy.scheme != "http" or proxy.path not in ("", "/") or proxy.query:
        raise ValueError("proxy: must be a URL such as http://proxy.example.com:3128")
    return proxy.host, proxy.port
