"""Hosts that an operator named: private addresses, own authorities, proxies, http on loopback."""

from __future__ import annotations

import json
import re

import pytest
import trustme
from support.servers.proxy import connecting, proxying
from support.servers.tls import (
    DOCUMENT,
    DOCUMENT_URL,
    NAME,
    answer,
    answering,
    authority,
    dripping,
    fetcher,
    flooding,
    server_context,
    serving,
    silent,
)

from persona_profile.auth.access import Access, Route
from persona_profile.auth.documents import DocumentFetcher
from persona_profile.auth.fetch import FetchError, HttpsFetcher, Url
from persona_profile.auth.jws import Jws
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.auth.public_addresses import is_private_address, is_public_address
from persona_profile.errors import InvalidProof

NAMED = frozenset({NAME})
PRIVATE = Route(NAMED, allows_private_addresses=True)
GOOD = answering(answer())


def strict(port, **options):
    """Return a fetcher that resolves every name to loopback, and has the usual rule on addresses."""
    return fetcher(port, **{"is_allowed": is_public_address} | options)


def fetch(subject, route, url=DOCUMENT_URL):
    """Return the body of a fetch by a route, or the error."""
    try:
        return subject.fetch(url, Access(route=route)).body
    except FetchError as error:
        return error


class TestPrivateAddresses:
    def test_named_host(self):
        """A host that the operator named may have a private address."""
        with serving(GOOD, server_context(NAME)) as server:
            assert fetch(strict(server.port), PRIVATE) == DOCUMENT

    @pytest.mark.parametrize(
        "route",
        [Route(), Route(NAMED), Route(frozenset({"other.test"}), allows_private_addresses=True)],
    )
    def test_other_hosts(self, route):
        """The address of every other host must be public."""
        with serving(GOOD, server_context(NAME)) as server:
            assert fetch(strict(server.port), route).code == "issuer_address_forbidden"
            assert server.connections == 0

    @pytest.mark.parametrize(
        "address",
        [
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "224.0.0.1",
            "0.0.0.0",
            "::ffff:169.254.169.254",
        ],
    )
    def test_metadata(self, address):
        """Neither link-local addresses nor metadata of clouds are private addresses."""
        subject = strict(1, resolve=lambda _name: ["127.0.0.1", address])
        assert fetch(subject, PRIVATE).code == "issuer_address_forbidden"

    @pytest.mark.parametrize(
        "address",
        ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "fd12::1", "::1"],
    )
    def test_networks(self, address):
        """Private networks are those of the registries."""
        assert is_private_address(address)
        assert is_private_address("::ffff:10.0.0.1")
        assert not is_private_address("93.184.215.14")
        assert not is_public_address(address)

    @pytest.mark.parametrize("host", ["127.0.0.1", "keycloak"])
    def test_hosts_without_domain(self, host):
        """A named host may have a name of one label, or be an address; its certificate must fit."""
        url, route = Url.parse(f"https://{host}/x"), Route(frozenset({host}), True)
        with serving(GOOD, server_context(host)) as server:
            assert fetch(strict(server.port), route, url) == DOCUMENT
            assert (
                fetch(strict(server.port), Route(NAMED, True), url).code == "issuer_address_forbidden"
            )
        with serving(GOOD, server_context("other.test")) as server:
            assert "certificate: " in fetch(strict(server.port), route, url).reason


class TestAuthorities:
    def test_own_authority(self):
        """The named host's certificate is of the operator's authority, and of no other."""
        own = trustme.CA()
        route = Route(NAMED, authorities=own.cert_pem.bytes().decode())
        with serving(GOOD, server_context(NAME, own)) as server:
            assert fetch(fetcher(server.port), route) == DOCUMENT
            assert "certificate: " in fetch(fetcher(server.port), Route()).reason
            of_other = Route(frozenset({"other.test"}), authorities=route.authorities)
            assert "certificate: " in fetch(fetcher(server.port), of_other).reason
        with serving(GOOD, server_context(NAME)) as server:
            assert "certificate: " in fetch(fetcher(server.port), route).reason

    def test_name_of_the_certificate(self):
        """A certificate of the operator's authority for another name is rejected."""
        route = Route(NAMED, authorities=authority().cert_pem.bytes().decode())
        with serving(GOOD, server_context("other.test")) as server:
            assert "certificate: " in fetch(fetcher(server.port), route).reason


class TestProxy:
    def test_tunnel(self):
        """The proxy connects to the named host, whose name it resolves; TLS is with the host."""
        with serving(GOOD, server_context(NAME)) as server, proxying(server.port) as (proxy, requests):
            resolved = []

            def resolve(name):
                resolved.append(name)
                return ["127.0.0.1"]

            route = Route(NAMED, proxy=("proxy.internal", proxy.port))
            assert fetch(strict(server.port, resolve=resolve), route) == DOCUMENT
            target = f"{NAME}:{server.port}"
            assert requests == [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()]
            assert resolved == ["proxy.internal"]

    def test_other_hosts(self):
        """No other host is asked for through the proxy."""
        with serving(GOOD, server_context(NAME)) as server, proxying(server.port) as (proxy, _requests):
            route = Route(frozenset({"other.test"}), proxy=("proxy.internal", proxy.port))
            assert fetch(strict(server.port), route).code == "issuer_address_forbidden"
            assert proxy.connections == 0

    def test_hosts_without_domain(self):
        """A proxy makes no private address allowed."""
        url = Url.parse("https://127.0.0.1/x")
        route = Route(frozenset({"127.0.0.1"}), proxy=("proxy.internal", 1))
        assert fetch(strict(1), route, url).code == "issuer_address_forbidden"

    def test_certificate_behind_the_proxy(self):
        """A proxy that leads elsewhere gains nothing."""
        other = server_context("other.test")
        with serving(GOOD, other) as server, proxying(server.port) as (proxy, _requests):
            route = Route(NAMED, proxy=("proxy.internal", proxy.port))
            assert "certificate: " in fetch(strict(server.port), route).reason

    @pytest.mark.parametrize(
        ("handler", "reason"),
        [
            (answering(answer(b"", "407 Proxy Authentication Required")), "the proxy answers 407"),
            (answering(answer(b"", "302 Found", Location="https://x.test")), "the proxy answers 302"),
            (answering(b"SSH-2.0-x\r\n"), "BadStatusLine"),
            (answering(b""), ""),
            (silent, "no answer in time"),
            (dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), ""),
            (flooding(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), ""),
            (connecting(1)[0], ""),
        ],
    )
    def test_bad_proxies(self, handler, reason):
        """A proxy that does not connect is a failed lookup within the deadline."""
        with serving(handler) as proxy:
            route = Route(NAMED, proxy=("proxy.internal", proxy.port))
            error = fetch(strict(1, deadline=0.5), route)
        assert error.code in ("issuer_unreachable", "support_document_too_large")
        assert reason in error.reason


class TestPlain:
    URL = "http://localhost:{}/.well-known/openid-configuration"

    def test_loopback(self):
        """In development http reaches this machine."""
        with serving(GOOD) as server:
            route = Route(frozenset({"localhost"}), True, is_plain=True)
            url = Url.parse(self.URL.format(server.port))
            assert fetch(HttpsFetcher(), route, url) == DOCUMENT

    def test_elsewhere(self):
        """It reaches no other machine, whatever the name means, and no other host."""
        url = Url.parse(self.URL.format(1))
        route = Route(frozenset({"localhost"}), True, is_plain=True)
        for address in ("10.0.0.1", "93.184.215.14"):
            subject = HttpsFetcher(resolve=lambda _name, found=address: [found])
            assert fetch(subject, route, url).code == "issuer_address_forbidden"
        assert fetch(HttpsFetcher(), PRIVATE, url).code == "issuer_address_forbidden"


def test_documents_of_two_routes():
    """Two fetches of one URL by different routes share nothing."""
    with serving(GOOD, server_context(NAME)) as server:
        documents = DocumentFetcher(strict(server.port))
        url = f"https://{NAME}/x"
        assert documents.fetch(url, Access(route=PRIVATE)).body == DOCUMENT
        with pytest.raises(FetchError, match="issuer_address_forbidden"):
            documents.fetch(url)
        documents.close()


def test_provider_on_this_machine(tmp_path):
    """The settings of an issuer lead to a provider on loopback with an authority of its own."""
    own = trustme.CA()
    own.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    documents = DocumentFetcher(HttpsFetcher())

    def handle(connection, stop):
        answering(answer(json.dumps({"issuer": issuer}).encode()))(connection, stop)

    with serving(handle, server_context("localhost", own)) as server:
        issuer = f"https://localhost:{server.port}"
        entry = {"issuer": issuer, "client_ids": ["a"], "domains": ["mail.test"]}
        ways = {"allow_private_addresses": True, "ca_file": str(tmp_path / "ca.pem")}
        trusted = OpenIDIssuers.parse([entry | ways])
        keys = ProviderKeys(documents.fetch, routes=trusted.routes)
        with pytest.raises(InvalidProof) as rejection:
            keys.check(issuer, Jws("RS256", {}, {}, b"", b""), None)
        # The document has arrived, and lacks the URL of keys.
        assert rejection.value.code == "discovery_document_invalid"
        assert len(server.requests) == 1
        assert re.match(rb"GET /.well-known/openid-configuration ", server.requests[0])
    documents.close()
