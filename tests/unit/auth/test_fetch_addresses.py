"""The hosts that the fetcher of support documents calls."""

from __future__ import annotations

import gc
import ipaddress
import socket
import threading
from pathlib import Path

import pytest
from support.servers.tls import (
    DOCUMENT_URL,
    NAME,
    PATH,
    answer,
    answering,
    dripping,
    fetch_from,
    fetcher,
    server_context,
    serving,
    silent,
)

from persona_profile.auth.fetch import HTTPS_PORT, FetchError, Url
from persona_profile.auth.public_addresses import is_public_address

FORBIDDEN = {
    "loopback": ["127.0.0.1"],
    "private 10": ["10.0.0.1"],
    "cloud metadata": ["169.254.169.254"],
    "IPv6 loopback": ["::1"],
    "IPv4-mapped loopback": ["::ffff:127.0.0.1"],
    "link-local with a zone": ["fe80::1%lo"],
    "a public and a private one": ["93.184.215.14", "127.0.0.1"],
    "a private one after many public ones": ["93.184.215.14"] * 10 + ["10.0.0.1"],
    "none": [],
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_address(name):
    """A name with an address that is not public is rejected without a connection."""
    with serving(answering(answer()), server_context(NAME)) as server:
        subject = fetcher(
            server.port, resolve=lambda _name: FORBIDDEN[name], is_allowed=is_public_address
        )
        with pytest.raises(FetchError, match="issuer_address_forbidden"):
            subject.fetch(DOCUMENT_URL)
        assert server.connections == 0


SPECIAL_IPV4 = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/32",
    "192.0.0.171/32",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
]
"""IANA's registry of special purposes, whole, in the order that it has."""

SPECIAL_IPV6 = [
    "::1/128",
    "::/128",
    "::ffff:0:0/112",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
]

MULTICAST = ["224.0.0.0/4", "ff00::/8"]


@pytest.mark.parametrize("network", [*SPECIAL_IPV4, *SPECIAL_IPV6, *MULTICAST])
def test_special_purposes(network):
    """No address of a special purpose is public, from the first to the last, on any Python."""
    parsed = ipaddress.ip_network(network)
    for address in (parsed[0], parsed[parsed.num_addresses // 2], parsed[-1]):
        assert not is_public_address(str(address))


@pytest.mark.parametrize(
    "address",
    [
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:42::42",
    ],
)
def test_metadata_of_clouds(address):
    """The metadata hosts of clouds are not public."""
    assert not is_public_address(address)


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16"])
def test_embedded_addresses(inner):
    """An address that leads to an IPv4 address which is not public is not public either."""
    number = int(ipaddress.IPv4Address(inner))
    embedding = {
        "mapped": (0xFFFF << 32) | number,
        "compatible": number,
        "translated (RFC 6052)": (0x64_FF9B << 96) | number,
        "translated (RFC 2765)": (0xFFFF << 48) | number,
        "6to4": (0x2002 << 112) | number << 80,
        "Teredo": (0x2001_0000 << 96) | (number ^ 0xFFFFFFFF),
        "Teredo server": (0x2001_0000 << 96) | number << 64,
        "ISATAP": (0x2A00_1450 << 96) | (0x5EFE << 32) | number,
        "ISATAP, universal": (0x2A00_1450 << 96) | (0x0200_5EFE << 32) | number,
    }
    for name, value in embedding.items():
        assert not is_public_address(str(ipaddress.IPv6Address(value))), name


@pytest.mark.parametrize(
    "address",
    [
        "93.184.215.14",
        "1.1.1.1",
        "168.63.129.15",
        "192.0.1.0",
        "192.88.98.255",
        "192.88.100.0",
        "100.63.255.255",
        "100.128.0.0",
        "::ffff:1.1.1.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::200e",
        "2001:200::1",
        "2620:4f:8001::1",
        "3ffe:ffff::1",
    ],
)
def test_public_address(address):
    """A public address may be called, also beside one for a special purpose."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "[::1]",
        "::1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.0.0.0x1",
        f"{NAME}:22",
        f"{NAME}.",
        f"a@{NAME}",
        f"{NAME}/x",
        f"{NAME}\r\nHost: x",
        f"{NAME}\0",
        "ISSUER.TEST",
        "",
    ],
)
def test_forbidden_name(name):
    """A name that is no canonical domain name is not resolved."""
    resolved = []
    with pytest.raises(FetchError, match="issuer_address_forbidden"):
        fetcher(1, resolve=resolved.append).fetch(Url("https", name, HTTPS_PORT, PATH, ""))
    assert resolved == []


def test_name_resolved_once():
    """The checked address is the connected address, even if the name changes meanwhile."""
    resolved, checked = [], []

    def rebinding(name):
        resolved.append(name)
        return ["127.0.0.1"] if len(resolved) == 1 else ["127.0.0.2"]

    def is_allowed(address):
        checked.append(address)
        return True

    options = {"resolve": rebinding, "is_allowed": is_allowed}
    server, fetched = fetch_from(answering(answer()), **options)
    assert (fetched.status, server.connections) == (200, 1)
    assert (resolved, checked) == ([NAME], ["127.0.0.1"])


@pytest.mark.parametrize(
    "failure", [socket.gaierror(-2, "no such name"), UnicodeError("label"), TimeoutError()]
)
def test_name_unknown(failure):
    """A name that can't be resolved is a failed lookup."""

    def resolve(_name):
        raise failure

    with pytest.raises(FetchError, match="issuer_unreachable"):
        fetcher(1, resolve=resolve).fetch(DOCUMENT_URL)


def test_resolver_answers_nonsense():
    """A resolver's result that is no address is a failed lookup."""
    subject = fetcher(1, resolve=lambda _name: ["nonsense"], is_allowed=is_public_address)
    with pytest.raises(FetchError, match="issuer_unreachable"):
        subject.fetch(DOCUMENT_URL)


def test_nothing_is_left_open():
    """No fetch, good or bad, leaves an open socket or a thread."""
    handlers = [answering(answer()), answering(b""), dripping(b"HTTP/1.1 200 OK\r\n", b"x"), silent]
    gc.collect()
    before = len(list(Path("/dev/fd").iterdir()))
    for handler in handlers:
        fetch_from(handler, deadline=0.2)
        fetch_from(handler, server_context("other.test"), deadline=0.2)
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
