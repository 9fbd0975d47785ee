import pytest

from persona_profile.api.addresses import TrustedProxies, client_network, parse_address

CLIENT = "203.0.113.7"
ALL_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-by",
)


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1\t", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ('"192.0.2.1:4711"', "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ('"[2001:db8::1]:4711"', "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:80", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:4711", "192.0.2.1"),
        ],
    )
    def test_forms(self, text, address):
        """Every form of an address is read as the same address."""
        assert str(parse_address(text)) == address

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "unknown",
            "_hidden",
            "localhost",
            "unix:",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:port",
            "192.0.2.1:4711:4711",
            "[192.0.2.1",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]:",
            "[2001:db8::1]4711",
            "[[2001:db8::1]]",
            "[]",
            ":80",
            "2001:db8:::1",
            "٣.٣.٣.٣",
            "3232235777",
            "192.0.2.1, 192.0.2.2",
        ],
    )
    def test_junk(self, text):
        """A text without an address is no address."""
        assert parse_address(text) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_networks(address, network):
    """The IPv6 network of a customer is one client; so is an IPv4 address in any form."""
    assert client_network(address) == network


def environ(peer="192.0.2.1", **headers):
    """Return the environment of a request by a peer."""
    start = {"REMOTE_ADDR": peer, "REMOTE_HOST": peer, "REMOTE_PORT": "4711"}
    return start | {f"HTTP_{name}": text for name, text in headers.items()}


def applied(proxies, given):
    """Return the environment after a proxy's headers are applied."""
    proxies.apply(given)
    return given


class TestTrust:
    @pytest.mark.parametrize(
        ("proxies", "peer", "believed"),
        [
            ("192.0.2.1", "192.0.2.1", True),
            ("192.0.2.1", "192.0.2.2", False),
            ("192.0.2.0/24", "192.0.2.77", True),
            ("192.0.2.0/24", "192.0.3.77", False),
            ("192.0.2.0/24", "::ffff:192.0.2.77", True),
            ("2001:db8::/32", "2001:db8:5::1", True),
            ("2001:db8::/32", "192.0.2.1", False),
            ("10.0.0.1 192.0.2.0/31,2001:db8::1", "192.0.2.1", True),
            ("10.0.0.1 192.0.2.0/31,2001:db8::1", "2001:db8::1", True),
            ("localhost", "localhost", True),
            ("localhost", "127.0.0.1", False),
            ("127.0.0.1", "localhost", False),
            ("*", "192.0.2.1", True),
            ("*", "localhost", True),
            ("", "192.0.2.1", False),
        ],
    )
    def test_peers(self, proxies, peer, believed):
        """Configured addresses and networks are trusted, and no other peer."""
        trusted = TrustedProxies(proxies, 1, ["x-forwarded-for"])
        assert trusted.trusts(peer) is believed
        result = applied(trusted, environ(peer, X_FORWARDED_FOR=CLIENT))
        assert result["REMOTE_ADDR"] == (CLIENT if believed else peer)
        assert "HTTP_X_FORWARDED_FOR" not in result

    @pytest.mark.parametrize("proxies", ["10.0.0.1/8", "10.0.0.0/33", "nginx", "10.0.0", "10.0.0.1:80"])
    def test_unreadable(self, proxies):
        """Invalid proxies are an error."""
        with pytest.raises(ValueError, match=r"does not appear|host bits"):
            TrustedProxies(proxies, 1, ["x-forwarded-for"])


class TestEntries:
    @pytest.mark.parametrize(
        ("count", "header", "client"),
        [
            (1, CLIENT, CLIENT),
            (1, f"9.9.9.9, {CLIENT}", CLIENT),
            (1, f'"9.9.9.9, {CLIENT}', CLIENT),
            (1, "[2001:db8::7]:4711", "2001:db8::7"),
            (2, f"9.9.9.9, {CLIENT}, 10.0.0.1", CLIENT),
            (2, CLIENT, CLIENT),
            (1, "unknown", "192.0.2.1"),
            (1, f"{CLIENT}, unknown", "192.0.2.1"),
            (1, f"{CLIENT},", "192.0.2.1"),
        ],
    )
    def test_x_forwarded_for(self, count, header, client):
        """The entry of the outermost proxy counts; without an address there, the proxy's own."""
        trusted = TrustedProxies("192.0.2.1", count, ["x-forwarded-for"])
        assert applied(trusted, environ(X_FORWARDED_FOR=header))["REMOTE_ADDR"] == client

    @pytest.mark.parametrize(
        ("count", "header", "client", "rest"),
        [
            (1, f"for={CLIENT}", CLIENT, ""),
            (1, f'For="{CLIENT}:4711";Proto=https', CLIENT, "proto=https"),
            (1, 'for="[2001:db8::7]:4711";host=a.example', "2001:db8::7", 'host="a.example"'),
            (1, f'for="9.9.9.9, for={CLIENT}', CLIENT, ""),
            (
                2,
                f"for=9.9.9.9, for={CLIENT};proto=https, for=10.0.0.1;proto=http",
                CLIENT,
                "proto=https",
            ),
            (1, "for=:80", "192.0.2.1", ""),
            (1, "for=", "192.0.2.1", ""),
            (1, "junk;;=;proto=gopher;host=a b", "192.0.2.1", ""),
        ],
    )
    def test_forwarded(self, count, header, client, rest):
        """`Forwarded` (RFC 7239) is parsed likewise; a valid scheme and host are kept."""
        result = applied(TrustedProxies("192.0.2.1", count, ["forwarded"]), environ(FORWARDED=header))
        assert (result["REMOTE_ADDR"], result["HTTP_FORWARDED"]) == (client, rest)

    def test_other_headers(self):
        """The proxy's valid entry of each other header is kept."""
        given = {"PROTO": "http, https", "HOST": "a.example:8443", "PORT": "1, x", "BY": "p"}
        headers = {f"X_FORWARDED_{name}": text for name, text in given.items()}
        result = applied(TrustedProxies("192.0.2.1", 1, ALL_HEADERS), environ(**headers))
        kept = {name: text for name, text in result.items() if name.startswith("HTTP_")}
        assert kept == {
            "HTTP_X_FORWARDED_PROTO": "https",
            "HTTP_X_FORWARDED_HOST": "a.example:8443",
            "HTTP_X_FORWARDED_BY": "p",
        }

    def test_header_that_the_proxy_does_not_write(self):
        """A header that the proxy does not write comes from a client, and is removed."""
        trusted = TrustedProxies("192.0.2.1", 1, ["x-forwarded-proto"])
        assert applied(trusted, environ(X_FORWARDED_FOR=CLIENT, FORWARDED=f"for={CLIENT}")) == environ()
