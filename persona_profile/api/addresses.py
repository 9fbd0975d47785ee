"""Addresses of clients: a parser for all their forms, and the trusted proxies that report them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

IPV6_PREFIX: Final = 64
"""Prefix of a customer's IPv6 network (RFC 6177): a household has 2^64 addresses."""

ANY_PROXY: Final = "*"
UNIX_SOCKET: Final = "localhost"
"""The name of every client of a Unix socket in waitress."""

MAX_KNOWN_PEERS: Final = 128

_PORT: Final = ":[0-9]{1,5}"
_WITH_PORT = re.compile(rf"([0-9.]+){_PORT}|\[([^\[\]]+)\](?:{_PORT})?", re.ASCII)
_HOST = re.compile(rf"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?:{_PORT})?", re.ASCII | re.IGNORECASE)

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """Return the IP address in a text of `X-Forwarded-For` or `Forwarded` (RFC 7239, 6), or None.

    Accepts a port, brackets, quotes, surrounding space and a zone. Returns an IPv4-mapped IPv6 address
    (RFC 4291, 2.5.5.2) as IPv4.
    """
    bare = text.strip().strip('"')
    if match := _WITH_PORT.fullmatch(bare):
        bare = match[1] or match[2]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def is_host(text: str) -> bool:
    """Return whether a text is a host, with or without a port (RFC 9110, 7.2)."""
    return _HOST.fullmatch(text) is not None


def client_network(address: str) -> str:
    """Return the network that limits by address count: an IPv4 address, or the /64 of an IPv6 address.

    Returns a text without an address, as of a Unix socket, unchanged.
    """
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed or address)


class TrustedProxies:
    """The proxies whose headers are trusted, and the headers that they write.

    Args:
        proxies: IP addresses and networks, `localhost` for a Unix socket, or `*`, separated by spaces
            or commas.
        count: the number of proxies in a row; each appends an entry to a header.
        headers: the headers that the proxies write, in lower case.

    Raises ValueError for an invalid entry of `proxies`.
    """

    def __init__(self, proxies: str, count: int, headers: Collection[str]) -> None:
        entries = set(proxies.replace(",", " ").split())
        self._names = entries & {ANY_PROXY, UNIX_SOCKET}
        self._networks = [ip_network(each) for each in sorted(entries - self._names)]
        self._count = count
        self._headers = {f"HTTP_{name.upper().replace('-', '_')}" for name in headers}
        # Proxies are few, and send each request.
        self.trusts = lru_cache(MAX_KNOWN_PEERS)(self._trusts)

    def _trusts(self, peer: str) -> bool:
        """Return whether a peer, by its name in waitress, is one of these proxies."""
        if ANY_PROXY in self._names or peer in self._names:
            return True
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)

    def apply(self, environ: dict[str, Any]) -> None:
        """Replace a proxy's address by its client's; reduce each other header to one valid entry.

        Removes the headers of other peers. An entry without an address changes nothing: the request
        counts as one of the proxy itself. waitress reads scheme, host and port from the result.
        """
        is_trusted = self.trusts(environ["REMOTE_ADDR"])
        names = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", *_VALID)
        if not is_trusted:
            environ.pop("HTTP_TRACEPARENT", None)
        found = {name: environ.pop(name, None) for name in names}
        if not is_trusted:
            return
        sent = {name: text for name, text in found.items() if text and name in self._headers}
        client = None
        if "HTTP_FORWARDED" in sent:
            client, environ["HTTP_FORWARDED"] = self._forwarded(sent["HTTP_FORWARDED"])
        elif "HTTP_X_FORWARDED_FOR" in sent:
            client = parse_address(self._entries(sent["HTTP_X_FORWARDED_FOR"])[0])
        for name, is_valid in _VALID.items():
            if name in sent and is_valid(entry := self._entries(sent[name])[0]):
                environ[name] = entry
        if client is not None:
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = str(client)
            environ.pop("REMOTE_PORT", None)

    def _entries(self, header: str) -> list[str]:
        """Return the entries that these proxies have appended, the oldest first."""
        return [entry.strip().strip('"') for entry in header.split(",")[-self._count :]]

    def _forwarded(self, header: str) -> tuple[Address | None, str]:
        """Return the client's address, and the header reduced to scheme and host.

        Commas in quotes separate entries too: proxies write none, and a client could open a quote.
        """
        values: dict[str, str] = {}
        for element in self._entries(header):
            for pair in element.split(";"):
                name, _, value = pair.partition("=")
                values.setdefault(name.strip().lower(), value.strip().strip('"'))
        scheme, host = values.get("proto", ""), values.get("host", "")
        rest = [f"proto={scheme}"] if _is_scheme(scheme) else []
        rest += [f'host="{host}"'] if is_host(host) else []
        return parse_address(values.get("for", "")), ";".join(rest)


def _is_scheme(text: str) -> bool:
    return text.lower() in ("http", "https")


_VALID: Final[Mapping[str, Callable[[str], Any]]] = {
    "HTTP_X_FORWARDED_PROTO": _is_scheme,
    "HTTP_X_FORWARDED_HOST": is_host,
    "HTTP_X_FORWARDED_PORT": re.compile("[0-9]{1,5}", re.ASCII).fullmatch,
    "HTTP_X_FORWARDED_BY": bool,
}
