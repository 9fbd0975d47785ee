"""The file of OpenID providers that are trusted."""

from __future__ import annotations

import re

import pytest
import trustme

from persona_profile.auth.access import PUBLIC, Route
from persona_profile.auth.openid_issuers import OpenIDIssuer, OpenIDIssuers
from persona_profile.files import read_json

GOOD = {"issuer": "https://accounts.test", "client_ids": ["a"], "domains": ["mail.test"]}
BROKER = {"issuer": "https://broker.test", "profile": "portier", "domains": ["*"]}


def parsed(**changes):
    """Return the only issuer of a file, with these members changed; None removes one."""
    entry = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return OpenIDIssuers.parse([entry]).get(entry["issuer"])


def test_defaults():
    """RSA and P-256 may sign; the provider may vouch for the configured domains alone."""
    assert parsed() == OpenIDIssuer(
        "https://accounts.test",
        frozenset({"a"}),
        frozenset({"mail.test"}),
        frozenset({"RS256", "ES256"}),
        "openid",
    )
    broker = OpenIDIssuers.parse([BROKER]).get("https://broker.test")
    assert broker.algorithms == {"RS256"}
    assert broker.is_portier


@pytest.mark.parametrize(
    "url",
    [
        "https://accounts.test/",
        "https://accounts.test/a/b",
        "https://SSO.Accounts.test/A",
        "https://accounts.test:8443/a",
        "https://xn--mnchen-3ya.test",
        "https://a.b.c.accounts.test/t/%20/v2.0",
    ],
)
def test_identifiers(url):
    """An identifier is an https URL, and stays as it is spelled."""
    assert parsed(issuer=url).url == url


@pytest.mark.parametrize(
    ("domains", "vouched", "others"),
    [
        (["*"], ["mail.test", "a.b.example"], []),
        (["mail.test"], ["mail.test"], ["a.mail.test", "xmail.test", "test"]),
        (["*.mail.test"], ["a.mail.test", "b.a.mail.test"], ["mail.test", "xmail.test"]),
        (["*.test"], ["mail.test", "a.mail.test"], ["test.example", "xtest"]),
        (["Mail.TEST", "*.bücher.test"], ["mail.test", "a.xn--bcher-kva.test"], ["xn--bcher-kva.test"]),
    ],
)
def test_domains(domains, vouched, others):
    """Names match themselves, wildcards all domains below them, the star all domains."""
    issuer = parsed(domains=domains)
    assert all(map(issuer.vouches_for, vouched))
    assert not any(map(issuer.vouches_for, others))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": 5}, "issuer: not a URL"),
        ({"issuer": "accounts.test"}, "issuer: not a URL"),
        ({"issuer": "http://accounts.test"}, "issuer: must begin with https://"),
        ({"issuer": "https://localhost"}, "issuer: must begin with https:// and the name"),
        ({"issuer": "https://127.0.0.1"}, "issuer: must begin with https:// and the name"),
        ({"issuer": "https://[::1]"}, "issuer: not a URL"),
        ({"issuer": "https://accounts.test?a=b"}, "issuer: must have no query"),
        ({"issuer": "https://accounts.test#a"}, "issuer: not a URL"),
        ({"issuer": "https://a@accounts.test"}, "issuer: not a URL"),
        ({"issuer": "https://accounts.test:0"}, "issuer: not a URL"),
        ({"issuer": "https://accounts.test:65536"}, "issuer: no such port"),
        ({"issuer": "https://accounts.test/" + "a" * 1024}, "issuer: not a URL"),
        ({"client_ids": None}, "client_ids: must be a list"),
        ({"client_ids": []}, "client_ids: must be a list"),
        ({"client_ids": "a"}, "client_ids: must be a list"),
        ({"client_ids": [5]}, "client_ids: must be a list"),
        ({"client_ids": [""]}, "client_ids: each has 1 to 255"),
        ({"domains": None}, "domains: must be a list"),
        ({"domains": []}, "domains: must be a list"),
        ({"domains": "*"}, "domains: must be a list"),
        ({"domains": ["*.*"]}, "domains: must be"),
        ({"domains": ["test"]}, "domains: must be"),
        ({"domains": ["mail.*"]}, "domains: must be"),
        ({"domains": ["127.0.0.1"]}, "domains: must be"),
        (
            {"algorithms": ["HS256"]},
            "algorithms: must be of RS256, PS256, ES256, ES384, EdDSA, Ed25519",
        ),
        ({"algorithms": ["none"]}, "algorithms: must be of"),
        ({"algorithms": []}, "algorithms: must be a list"),
        ({"userinfo": "yes"}, "userinfo: must be true or false"),
        ({"assume_verified": True}, "assume_verified: must be a list"),
        ({"assume_verified": []}, "assume_verified: must be a list"),
        ({"assume_verified": ["*"]}, "assume_verified: must be names"),
        ({"assume_verified": ["*.com"]}, "assume_verified: must be names"),
        ({"assume_verified": ["com"]}, "assume_verified: must be names"),
        ({"assume_verified": ["other.test"]}, "assume_verified: other.test is not of domains"),
        ({"assume_verified": ["*.mail.test"]}, r"assume_verified: \*.mail.test is not of domains"),
        (
            {"profile": "portier", "client_ids": None, "issuer": "https://b.test", "userinfo": True},
            "userinfo: not of a Portier broker",
        ),
        ({"allow_private_addresses": 1}, "allow_private_addresses: must be true or false"),
        ({"ca_file": 5}, "ca_file: must be the path of a file"),
        ({"ca_file": ""}, "ca_file: must be the path of a file"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file: No such file"),
        ({"ca_file": "/"}, "ca_file: Is a directory"),
        ({"ca_file": __file__}, "ca_file: has no certificates in PEM"),
        ({"ca_file": "/dev/null"}, "ca_file: has no certificates in PEM"),
        ({"proxy": 5}, "proxy: must be a URL such as"),
        ({"proxy": "proxy:3128"}, "proxy: must be a URL such as"),
        ({"proxy": "https://proxy.test"}, "proxy: must be a URL such as"),
        ({"proxy": "http://a:b@proxy.test"}, "proxy: must be a URL such as"),
        ({"proxy": "http://proxy.test/x"}, "proxy: must be a URL such as"),
        ({"hosts": ["keys.test"]}, "hosts: needs allow_private_addresses, ca_file or proxy"),
        ({"hosts": "keys.test", "proxy": "http://p.test"}, "hosts: must be a list of at most 16"),
        ({"hosts": ["a.test"] * 17, "proxy": "http://p.test"}, "hosts: must be a list of at most 16"),
        ({"hosts": [5], "proxy": "http://p.test"}, "hosts: must be names of hosts"),
        ({"hosts": ["A.test"], "proxy": "http://p.test"}, "hosts: must be names of hosts"),
        ({"hosts": ["a.test:1"], "proxy": "http://p.test"}, "hosts: must be names of hosts"),
        ({"hosts": ["keys"], "proxy": "http://p.test"}, "hosts: must be names of hosts"),
        ({"profile": "saml"}, "profile: must be openid or portier"),
        ({"jwks_uri": "https://accounts.test/jwks"}, "jwks_uri: there is no such member"),
        ({"profile": "portier"}, "client_ids: a Portier broker"),
        ({"profile": "portier", "client_ids": None, "issuer": "https://b.test/"}, "issuer: a Portier"),
        ({"profile": "portier", "client_ids": None, "issuer": "https://B.test"}, "issuer: a Portier"),
        ({"profile": "portier", "client_ids": None, "algorithms": ["ES256"]}, "must be of RS256$"),
    ],
)
def test_refused(changes, reason):
    """The message of an invalid issuer has its position, URL and member."""
    with pytest.raises(ValueError, match=rf"^issuer 0( \(.*\))?: .*{reason}"):
        parsed(**changes)


def test_position():
    """The message names the issuer that is wrong."""
    bad = GOOD | {"issuer": "https://second.test", "domains": []}
    with pytest.raises(ValueError, match=re.escape("issuer 1 (https://second.test): domains:")):
        OpenIDIssuers.parse([GOOD, bad])
    with pytest.raises(ValueError, match=re.escape("issuer 1 (https://accounts.test): is there twice")):
        OpenIDIssuers.parse([GOOD, GOOD])
    for document in ({}, "x", None):
        with pytest.raises(ValueError, match="not a list of issuers"):
            OpenIDIssuers.parse(document)
    with pytest.raises(ValueError, match="issuer 0: is not an object"):
        OpenIDIssuers.parse(["https://accounts.test"])


def test_routes(tmp_path):
    """The way of an issuer is the way to its own host and to those named beside it."""
    own = trustme.CA().cert_pem.bytes().decode()
    (tmp_path / "ca.pem").write_text(own)
    proxied = parsed(proxy="http://proxy.corp:3128", hosts=["keys.test"]).route
    assert proxied == Route(frozenset({"accounts.test", "keys.test"}), proxy=("proxy.corp", 3128))
    assert parsed(proxy="http://proxy").route.proxy == ("proxy", 80)
    assert parsed(ca_file=str(tmp_path / "ca.pem")).route.authorities == own
    url = "https://10.0.0.5:8443/a"
    private = parsed(issuer=url, allow_private_addresses=True, hosts=["keycloak"]).route
    assert private == Route(frozenset({"10.0.0.5", "keycloak"}), allows_private_addresses=True)
    assert parsed().route == PUBLIC
    assert parsed(allow_private_addresses=False).route == PUBLIC


@pytest.mark.parametrize("url", ["http://localhost:3000", "http://127.0.0.1:8080/a"])
def test_in_development(url):
    """In development an issuer may be on this machine, without TLS."""
    entry = GOOD | {"issuer": url}
    route = OpenIDIssuers.parse([entry], is_development=True).get(url).route
    assert route.is_plain
    with pytest.raises(ValueError, match="issuer: must begin with https://"):
        OpenIDIssuers.parse([entry])
    with pytest.raises(ValueError, match="proxy: not of an http issuer"):
        OpenIDIssuers.parse([entry | {"proxy": "http://p.test"}], is_development=True)
    with pytest.raises(ValueError, match="issuer: must begin with https://"):
        OpenIDIssuers.parse([entry | {"issuer": "http://accounts.test"}], is_development=True)


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_names_of_one_algorithm(name):
    """The old and the new name of Ed25519 mean the same."""
    assert parsed(algorithms=[name, "ES384"]).algorithms == {"EdDSA", "Ed25519", "ES384"}


def test_merging():
    """Of two issuers of one URL the first file's stays."""
    ours = OpenIDIssuers([OpenIDIssuer("https://a.test", frozenset(), frozenset())])
    theirs = OpenIDIssuers(
        OpenIDIssuer(url, frozenset("x"), frozenset()) for url in ("https://a.test", "https://b.test")
    )
    merged = ours.merged_with(theirs)
    assert merged.urls == {"https://a.test", "https://b.test"}
    assert merged.get("https://a.test").client_ids == frozenset()


def test_files(tmp_path):
    """A file that is missing or is no JSON is named."""
    path = tmp_path / "issuers.json"
    with pytest.raises(ValueError, match=rf"{path}: No such file"):
        read_json(path, OpenIDIssuers.parse)
    path.write_text('[{"issuer": 1, "issuer": 2}]')
    with pytest.raises(ValueError, match=rf"{path}: repeated member name"):
        read_json(path, OpenIDIssuers.parse)
