"""The IP addresses of the public Internet, and of private networks.

The module lists IANA's registries of special purposes whole, as Python's list differs from version to
version. No identity provider has an address for a special purpose, even a globally reachable one.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_IPV4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            # https://www.iana.org/assignments/iana-ipv4-special-registry/
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers; Alibaba's metadata is 100.100.100.200
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local; the metadata of most clouds is 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata was 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # automatic multicast tunnelling
            "192.88.99.0/24",  # relays of 6to4, deprecated
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            # Azure's WireServer: public by its number, but inside of the cloud.
            "168.63.129.16/32",
        ),
    )
)

# The part of IPv6 that IANA hands out. The rest is rejected: loopback, link-local, multicast, unique
# local addresses (metadata is at fd00:ec2::254, fd20:ce::254), IPv4-compatible, NAT64 (64:ff9b::/96),
# SRv6 (5f00::/16).
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")

_IPV6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            # https://www.iana.org/assignments/iana-ipv6-special-registry/, within 2000::/3
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks, anycast
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: a gateway makes an IPv4 address of the sender's choice of it
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "fc00::/7",
            "::1/128",
        ),
    )
)

# Metadata of clouds within these networks: Alibaba's, Amazon's and Google's.
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)

_ISATAP: Final = {0x00005EFE, 0x02005EFE}
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214)."""


def is_public_address(address: str) -> bool:
    """Return whether an IP address is public, by IANA's registries and by Python.

    Raises:
        ValueError: the text is no IP address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not any(parsed in network for network in _IPV4)
    if parsed.ipv4_mapped is not None:
        return is_public_address(str(parsed.ipv4_mapped))
    return (
        parsed in _GLOBAL_UNICAST
        and parsed.is_global
        and not any(parsed in network for network in _IPV6)
        and (int(parsed) >> 32) & 0xFFFFFFFF not in _ISATAP
    )


def is_private_address(address: str) -> bool:
    """Return whether an IP address is of a private network or of this machine.

    Link-local addresses and clouds' metadata are not.

    Raises:
        ValueError: the text is no IP address.
    """
    parsed = _unmapped(address)
    return parsed not in _METADATA and any(parsed in network for network in _PRIVATE)


def is_loopback_address(address: str) -> bool:
    """Return whether an IP address is of this machine.

    Raises:
        ValueError: the text is no IP address.
    """
    return _unmapped(address).is_loopback


def _unmapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
