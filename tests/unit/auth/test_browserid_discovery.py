"""Which key speaks for a domain: delegation, fallback issuers, pins, the cache."""

from __future__ import annotations

import json

import pytest
from support.clients.identities import dsa_key, rsa_key, support_document
from support.servers.applications import Clock

from persona_profile.auth.browserid_discovery import (
    DELEGATION_SECONDS,
    FOUND_SECONDS,
    MAX_DELEGATIONS,
    MAX_KEYS,
    MISSED_SECONDS,
    Discovery,
    PinnedIssuers,
)
from persona_profile.auth.browserid_keys import parse_public_key, public_key_document
from persona_profile.auth.domain_cache import AHEAD, CACHE_ENTRIES, RENEWAL_SECONDS, STALE
from persona_profile.auth.fetch import Fetched, FetchError
from persona_profile.errors import InvalidProof, Overloaded
from persona_profile.files import read_json

GOOD = support_document(rsa_key("issuer"))
OTHER = support_document(rsa_key("stranger"))
NONE = frozenset()


class Web:
    """A web of support documents: JSON values, `Fetched`, or exceptions to raise; else 404."""

    def __init__(self, **sites):
        self.sites = {name.replace("_", "."): site for name, site in sites.items()}
        self.lookups = []

    def __call__(self, url):
        domain = url.removeprefix("https://").removesuffix("/.well-known/browserid")
        assert url == f"https://{domain}/.well-known/browserid"
        self.lookups.append(domain)
        site = self.sites.get(domain, Fetched(404, "text/html", b"not here"))
        if isinstance(site, Exception):
            raise site
        if isinstance(site, Fetched):
            return site
        return Fetched(200, "application/json", json.dumps(site).encode())


def chain(hops, end):
    """Return sites, the first of which delegates over some hops to the last."""
    sites = {f"d{i}_test": {"authority": f"d{i + 1}.test"} for i in range(hops)}
    return sites | {f"d{hops}_test": end}


def discovery(web, clock=None, refreshes=None, **pins):
    """Return a discovery that knows nothing but pins; work beside requests goes into `refreshes`."""
    pinned = PinnedIssuers.parse({name.replace("_", "."): value for name, value in pins.items()})
    beside = [] if refreshes is None else refreshes
    return Discovery(pinned, web, clock or Clock(0), lambda _domain, work: beside.append(work))


def rejection(subject, domain, issuer, fallback=NONE):
    """Return the code with which an issuer is rejected for a domain."""
    with pytest.raises(InvalidProof) as raised:
        subject.keys_of_issuer(domain, issuer, fallback)
    return raised.value.code


def keys(document):
    """Return the keys of a support document."""
    return (parse_public_key(document["public-key"]),)


def fingerprints(found):
    """Return the fingerprints of keys."""
    return [key.fingerprint for key in found]


def test_own_document():
    """A domain speaks for itself by its support document, and no other does."""
    subject = discovery(Web(issuer_test=GOOD, other_test=OTHER))
    found = subject.keys_of_issuer("issuer.test", "issuer.test", NONE)
    assert fingerprints(found) == fingerprints(keys(GOOD))
    assert rejection(subject, "issuer.test", "other.test") == "issuer_not_authoritative"


@pytest.mark.parametrize("hops", range(1, MAX_DELEGATIONS + 1))
def test_delegation(hops):
    """The domain at the end of delegations alone may vouch."""
    web = Web(**chain(hops, GOOD))
    subject = discovery(web)
    found = subject.keys_of_issuer("d0.test", f"d{hops}.test", NONE)
    assert fingerprints(found) == fingerprints(keys(GOOD))
    assert web.lookups == [f"d{i}.test" for i in range(hops + 1)]
    for issuer in range(hops):
        assert rejection(subject, "d0.test", f"d{issuer}.test") == "issuer_not_authoritative"


def test_delegation_too_long():
    """More delegations than five lead nowhere, and are not followed to their end."""
    web = Web(**chain(MAX_DELEGATIONS + 1, GOOD))
    assert rejection(discovery(web), "d0.test", "d6.test") == "delegation_too_long"
    assert "d6.test" not in web.lookups
    endless = Web(**chain(1000, GOOD))
    assert rejection(discovery(endless), "d0.test", "d1000.test") == "delegation_too_long"
    assert len(endless.lookups) == MAX_DELEGATIONS + 1


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_delegation_cycle(length):
    """Delegations in a circle lead nowhere, also where a domain delegates to itself."""
    sites = chain(length, GOOD) | {f"d{length - 1}_test": {"authority": "d0.test"}}
    assert rejection(discovery(Web(**sites)), "d0.test", "d0.test") == "delegation_cycle"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"disabled": True}, "issuer_disabled"),
        (Fetched(404, "text/html", b""), "issuer_without_support"),
        (FetchError("issuer_unreachable"), "issuer_unreachable"),
        ({}, "support_document_invalid"),
    ],
)
@pytest.mark.parametrize("fallback", [NONE, frozenset({"d1.test", "fallback.test"})])
def test_delegation_to_no_issuer(end, code, fallback):
    """A delegation to a domain without support is rejected, with any fallback issuers."""
    web = Web(**chain(1, end), fallback_test=GOOD)
    for issuer in ("d0.test", "d1.test", "fallback.test"):
        assert rejection(discovery(web), "d0.test", issuer, fallback) == code


def test_slow_delegation():
    """A chain of slow lookups is given up, and not only each lookup."""
    web, clock = Web(**chain(MAX_DELEGATIONS, GOOD)), Clock(0)

    def slow(url):
        clock.now += 0.6 * DELEGATION_SECONDS
        return web(url)

    assert rejection(discovery(slow, clock), "d0.test", "d5.test") == "issuer_unreachable"
    assert web.lookups == ["d0.test", "d1.test"]


def test_authority_is_canonical():
    """The name that a domain delegates to may be spelt in any way that means the same."""
    web = Web(a_test={"authority": "B\u00dccher.Test"}, **{"xn--bcher-kva_test": GOOD})
    assert discovery(web).keys_of_issuer("a.test", "xn--bcher-kva.test", NONE)


def test_disabled():
    """No issuer may vouch for a disabled domain, with any other members of its document."""
    for document in ({"disabled": True}, GOOD | {"disabled": True, "authority": "b.test"}):
        subject = discovery(Web(a_test=document, b_test=GOOD, fallback_test=GOOD))
        for issuer in ("a.test", "b.test", "fallback.test"):
            assert rejection(subject, "a.test", issuer, frozenset({issuer})) == "issuer_disabled"


def test_several_keys():
    """Each of the listed keys speaks for the domain, up to a number that bounds the work."""
    listed = [public_key_document(dsa_key(str(i)).public_key()) for i in range(MAX_KEYS + 1)]
    subject = discovery(Web(a_test={"keys": listed[:-1]}, b_test={"keys": listed}))
    assert len(subject.keys_of_issuer("a.test", "a.test", NONE)) == MAX_KEYS
    assert rejection(subject, "b.test", "b.test") == "support_document_invalid"


KEY = GOOD["public-key"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        "issuer.test",
        {"public-key": None},
        {"public-key": [KEY]},
        {"public-key": {**KEY, "e": "3"}},
        {"keys": []},
        {"keys": KEY},
        {"keys": None, "public-key": KEY},
        {"keys": [KEY, {**KEY, "n": "15"}]},
        {"disabled": "true"},
        {"disabled": 1, "public-key": KEY},
        {"disabled": None, "public-key": KEY},
        {"authority": ""},
        {"authority": "localhost"},
        {"authority": "127.0.0.1"},
        {"authority": "b.test:8443"},
        {"authority": "https://b.test/"},
        {"authority": ["b.test"]},
        {"authority": False, "public-key": KEY},
    ],
)
def test_invalid_document(document):
    """An invalid document is rejected, and does not count as missing support."""
    subject = discovery(Web(a_test=document, b_test=GOOD))
    for issuer in ("a.test", "b.test"):
        fallback = frozenset({issuer})
        assert rejection(subject, "a.test", issuer, fallback) == "support_document_invalid"


ANSWERS = [
    (Fetched(404, "text/html", b""), None),
    (Fetched(410, "", b""), None),
    (Fetched(404, "application/json", json.dumps(OTHER).encode()), None),
    *((Fetched(status, "", b""), "issuer_unreachable") for status in (204, 206, 301, 302, 304, 307)),
    *((Fetched(status, "", b""), "issuer_unreachable") for status in (400, 401, 403, 429, 451)),
    *((Fetched(status, "", b""), "issuer_unreachable") for status in (500, 502, 503, 504)),
    (FetchError("issuer_unreachable"), "issuer_unreachable"),
    (FetchError("issuer_address_forbidden"), "issuer_address_forbidden"),
    (FetchError("support_document_too_large"), "support_document_too_large"),
    (Fetched(200, "text/html", b"{}"), "support_document_invalid"),
    (Fetched(200, "text/plain", json.dumps(OTHER).encode()), "support_document_invalid"),
    (Fetched(200, "", json.dumps(OTHER).encode()), "support_document_invalid"),
    (Fetched(200, "application/json", b""), "support_document_invalid"),
    (Fetched(200, "application/json", b"[" * 60_000), "support_document_invalid"),
    (Fetched(200, "application/json", b'{"keys":[],"keys":[]}'), "support_document_invalid"),
    (Fetched(200, "application/json", b"\xff\xfe"), "support_document_invalid"),
]


@pytest.mark.parametrize(("answer", "code"), ANSWERS)
def test_fallback_issuer(answer, code):
    """A fallback issuer may vouch only where the domain was reached and has no document."""
    subject = discovery(Web(a_test=answer, fallback_test=GOOD))
    fallback = frozenset({"fallback.test"})
    if code is None:
        assert subject.keys_of_issuer("a.test", "fallback.test", fallback)
        assert rejection(subject, "a.test", "fallback.test") == "issuer_without_support"
        assert rejection(subject, "a.test", "b.test", fallback) == "issuer_without_support"
    else:
        assert rejection(subject, "a.test", "fallback.test", fallback) == code


def test_fallback_issuer_is_no_override():
    """A fallback issuer may not vouch for a domain that has a document of its own."""
    subject = discovery(Web(a_test=OTHER, fallback_test=GOOD))
    code = rejection(subject, "a.test", "fallback.test", frozenset({"fallback.test"}))
    assert code == "issuer_not_authoritative"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"authority": "b.test"}, "issuer_not_authoritative"),
        ({"disabled": True}, "issuer_disabled"),
        (Fetched(404, "", b""), "issuer_not_authoritative"),
        (Fetched(500, "", b""), "issuer_unreachable"),
    ],
)
def test_fallback_issuer_without_keys(document, code):
    """A fallback issuer without keys may not vouch."""
    subject = discovery(Web(fallback_test=document, b_test=GOOD))
    assert rejection(subject, "a.test", "fallback.test", frozenset({"fallback.test"})) == code


def test_pinned():
    """A pinned domain is never looked up, and its pin wins over what the web says."""
    web = Web(a_test=OTHER)
    subject = discovery(web, a_test=GOOD)
    assert fingerprints(subject.keys_of_issuer("a.test", "a.test", NONE)) == fingerprints(keys(GOOD))
    assert web.lookups == []


def test_pinned_delegation():
    """A pin may delegate, to a pinned domain or to one that is looked up."""
    web = Web(c_test=GOOD)
    subject = discovery(web, a_test={"authority": "b.test"}, b_test={"authority": "c.test"})
    assert subject.keys_of_issuer("a.test", "c.test", NONE)
    assert web.lookups == ["c.test"]


def test_wildcard_pins():
    """A wildcard pins the domains below it; the most specific pin takes precedence."""
    pins = PinnedIssuers.parse(
        {
            "*.example": {"authority": "all.test"},
            "*.Corp.Example": {"authority": "corp.test"},
            "mail.corp.example": {"authority": "mail.test"},
        }
    )
    expected = {
        "a.example": "all.test",
        "a.b.example": "all.test",
        "corp.example": "all.test",
        "a.corp.example": "corp.test",
        "a.b.corp.example": "corp.test",
        "mail.corp.example": "mail.test",
        "x.mail.corp.example": "corp.test",
        "notcorp.example": "all.test",
    }
    assert {name: pins.get(name).authority for name in expected} == expected
    for name in ("example", "example.test", "corp.example.test", "anexample"):
        assert pins.get(name) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"a.test": {}}',
        b'{"a.test": {"disabled": true}, "a.test": {"disabled": true}}',
        b'{"*": {"disabled": true}}',
        b'{"*.": {"disabled": true}}',
        b'{"a.*.test": {"disabled": true}}',
        b'{"a b.test": {"disabled": true}}',
        b'{"127.0.0.1": {"disabled": true}}',
        b'{"a.test": {"public-key": {"algorithm": "RS", "n": "15", "e": "3"}}}',
    ],
)
def test_broken_pins(tmp_path, text):
    """An invalid file of pins is rejected with a message that names the file."""
    path = tmp_path / "issuers.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"issuers\.json"):
        read_json(path, PinnedIssuers.parse)
    with pytest.raises(ValueError, match=r"missing\.json"):
        read_json(tmp_path / "missing.json", PinnedIssuers.parse)


def test_merged_pins():
    """Of two merged pins of a name the own one takes precedence."""
    mine = PinnedIssuers.parse({"a.test": {"authority": "mine.test"}})
    others = PinnedIssuers.parse({"a.test": {"disabled": True}, "b.test": {"disabled": True}})
    merged = mine.merged_with(others)
    assert merged.get("a.test").authority == "mine.test"
    assert merged.get("b.test").disabled
    assert mine.get("b.test") is None


def test_cache_of_documents():
    """A document is looked up again after an hour, not earlier; its replacement then counts."""
    web, clock = Web(a_test=GOOD), Clock(0)
    subject = discovery(web, clock)
    for clock.now in (0, FOUND_SECONDS - 1):
        subject.keys_of_issuer("a.test", "a.test", NONE)
    assert web.lookups == ["a.test"]
    web.sites["a.test"] = OTHER
    clock.now = FOUND_SECONDS
    found = subject.keys_of_issuer("a.test", "a.test", NONE)
    assert fingerprints(found) == fingerprints(keys(OTHER))


@pytest.mark.parametrize(("answer", "code"), ANSWERS[1:])
def test_cache_of_failures(answer, code):
    """A failure is remembered for a minute, with its reason, and forgotten then."""
    web, clock = Web(a_test=answer), Clock(0)
    subject = discovery(web, clock)
    for clock.now in (0, MISSED_SECONDS - 1):
        assert rejection(subject, "a.test", "a.test") == (code or "issuer_without_support")
    assert web.lookups == ["a.test"]
    web.sites["a.test"], clock.now = GOOD, MISSED_SECONDS
    assert subject.keys_of_issuer("a.test", "a.test", NONE)


def test_cache_is_bounded():
    """A flood of domains neither fills the memory nor drops domains with documents."""
    web = Web(a_test=GOOD)
    subject = discovery(web)
    subject.keys_of_issuer("a.test", "a.test", NONE)
    for i in range(CACHE_ENTRIES + 1):
        rejection(subject, f"flood{i}.test", "a.test")
    assert web.lookups.count("flood0.test") == web.lookups.count("a.test") == 1
    subject.keys_of_issuer("a.test", "a.test", NONE)
    assert web.lookups.count("a.test") == 1
    rejection(subject, f"flood{CACHE_ENTRIES}.test", "a.test")
    rejection(subject, "flood0.test", "a.test")
    assert web.lookups.count(f"flood{CACHE_ENTRIES}.test") == 1
    assert web.lookups.count("flood0.test") == 2


def test_wildcard_zone_flushes_itself():
    """A flood of names of one zone, all with documents, drops names of that zone alone."""
    web = Web(**{f"d{i}_test": GOOD for i in range(100)})
    subject = discovery(web)
    for i in range(100):
        subject.keys_of_issuer(f"d{i}.test", f"d{i}.test", NONE)
    web.sites |= {f"n{i}.zone.co.uk": GOOD for i in range(CACHE_ENTRIES + 100)}
    for i in range(CACHE_ENTRIES + 100):
        subject.keys_of_issuer(f"n{i}.zone.co.uk", f"n{i}.zone.co.uk", NONE)
    web.lookups.clear()
    for i in range(100):
        subject.keys_of_issuer(f"d{i}.test", f"d{i}.test", NONE)
    assert web.lookups == []
    subject.keys_of_issuer("n0.zone.co.uk", "n0.zone.co.uk", NONE)
    assert web.lookups == ["n0.zone.co.uk"]


def test_many_domains_of_strangers():
    """A flood of registrable domains drops no domain in use."""
    names = [f"d{i}.test" for i in range(CACHE_ENTRIES + 1)]
    web = Web(a_test={"authority": "b.test"}, b_test=GOOD, c_test=GOOD, e_test={"authority": "f.test"})
    web.sites |= dict.fromkeys(names, GOOD)
    subject = discovery(web, e_test={"authority": "f.test"}, f_test=GOOD)
    for domain, issuer in (("a.test", "b.test"), ("c.test", "c.test"), ("e.test", "f.test")):
        subject.keys_of_issuer(domain, issuer, NONE)
        if domain != "c.test":
            subject.note_proof(domain, issuer)
    for name in names:
        subject.keys_of_issuer(name, name, NONE)
    web.lookups.clear()
    subject.keys_of_issuer("a.test", "b.test", NONE)
    assert web.lookups == []
    subject.keys_of_issuer("c.test", "c.test", NONE)
    assert web.lookups == ["c.test"]


def test_wildcard_zone_in_use():
    """A zone that proves emails at each of its names pushes out its own names alone as well."""
    web = Web(a_test=GOOD)
    web.sites |= {f"n{i}.zone.co.uk": GOOD for i in range(CACHE_ENTRIES + 1)}
    subject = discovery(web)
    for name in web.sites:
        subject.keys_of_issuer(name, name, NONE)
        subject.note_proof(name, name)
    web.lookups.clear()
    subject.keys_of_issuer("a.test", "a.test", NONE)
    assert web.lookups == []


def test_refreshed_ahead():
    """The document of a domain in use is fetched ahead of time, beside a sign-in that does not wait."""
    web, clock, refreshes = Web(a_test=GOOD, b_test=GOOD), Clock(0), []
    subject = discovery(web, clock, refreshes)
    for name in ("a.test", "b.test"):
        subject.keys_of_issuer(name, name, NONE)
    subject.note_proof("a.test", "a.test")
    for clock.now, expected in ((AHEAD * FOUND_SECONDS - 1, 0), (AHEAD * FOUND_SECONDS, 1)):
        for name in ("a.test", "b.test"):
            subject.keys_of_issuer(name, name, NONE)
        assert len(refreshes) == expected
    assert web.lookups == ["a.test", "b.test"]
    web.sites["a.test"] = OTHER
    refreshes.pop()()
    assert web.lookups == ["a.test", "b.test", "a.test"]
    clock.now = FOUND_SECONDS + 1
    found = subject.keys_of_issuer("a.test", "a.test", NONE)
    assert fingerprints(found) == fingerprints(keys(OTHER))
    assert web.lookups == ["a.test", "b.test", "a.test"]
    clock.now = 2 * AHEAD * FOUND_SECONDS
    subject.keys_of_issuer("a.test", "a.test", NONE)
    assert len(refreshes) == 1


def test_refresh_ahead_that_fails():
    """It is tried again a minute later; the entry expires after its hour."""
    web, clock, refreshes = Web(a_test=GOOD), Clock(0), []
    subject = discovery(web, clock, refreshes)
    subject.keys_of_issuer("a.test", "a.test", NONE)
    subject.note_proof("a.test", "a.test")
    web.sites["a.test"] = FetchError("issuer_unreachable")
    for clock.now in (AHEAD * FOUND_SECONDS, AHEAD * FOUND_SECONDS + RENEWAL_SECONDS):
        subject.keys_of_issuer("a.test", "a.test", NONE)
        refreshes.pop()()
        subject.keys_of_issuer("a.test", "a.test", NONE)
        assert refreshes == []
    clock.now = FOUND_SECONDS
    assert rejection(subject, "a.test", "a.test") == "issuer_unreachable"


def test_refreshed_ahead_without_support():
    """That a domain in use has no document is refreshed ahead of time too: its people may be many."""
    web, clock, refreshes = Web(fallback_test=GOOD), Clock(0), []
    fallback = frozenset({"fallback.test"})
    subject = discovery(web, clock, refreshes)
    subject.keys_of_issuer("a.test", "fallback.test", fallback)
    subject.note_proof("a.test", "fallback.test")
    clock.now = AHEAD * MISSED_SECONDS
    subject.keys_of_issuer("a.test", "fallback.test", fallback)
    assert len(refreshes) == 1
    web.sites["a.test"] = GOOD
    refreshes.pop()()
    assert rejection(subject, "a.test", "fallback.test", fallback) == "issuer_not_authoritative"
    clock.now += AHEAD * FOUND_SECONDS
    subject.keys_of_issuer("a.test", "a.test", NONE)
    assert len(refreshes) == 1


def test_overload_and_domains_in_use():
    """While too many lookups are under way, an entry in use has a second lifetime, others do not."""
    web, clock = Web(a_test=GOOD, b_test=GOOD), Clock(0)
    subject = discovery(web, clock)
    for name in ("a.test", "b.test"):
        subject.keys_of_issuer(name, name, NONE)
        web.sites[name] = Overloaded("later", retry_after=1)
    subject.note_proof("a.test", "a.test")
    for clock.now in (FOUND_SECONDS, STALE * FOUND_SECONDS - 1):
        assert subject.keys_of_issuer("a.test", "a.test", NONE)
        with pytest.raises(Overloaded):
            subject.keys_of_issuer("b.test", "b.test", NONE)
    clock.now = STALE * FOUND_SECONDS
    with pytest.raises(Overloaded):
        subject.keys_of_issuer("a.test", "a.test", NONE)
    web.sites["a.test"] = OTHER
    found = subject.keys_of_issuer("a.test", "a.test", NONE)
    assert fingerprints(found) == fingerprints(keys(OTHER))


def test_overload_is_not_remembered():
    """That too many lookups are under way says nothing of a domain: the next one may find it."""
    web = Web(a_test=Overloaded("later", retry_after=1))
    subject = discovery(web)
    with pytest.raises(Overloaded):
        subject.keys_of_issuer("a.test", "a.test", NONE)
    web.sites["a.test"] = GOOD
    assert subject.keys_of_issuer("a.test", "a.test", NONE)


@pytest.mark.parametrize(
    ("answer", "is_renewed", "code"),
    [
        (OTHER, True, None),
        (Fetched(404, "text/html", b""), True, "issuer_without_support"),
        ({"disabled": True}, True, "issuer_disabled"),
        (Fetched(500, "", b""), False, None),
        ({}, False, None),
        (FetchError("issuer_unreachable"), False, None),
    ],
)
def test_renewal(answer, is_renewed, code):
    """A document is renewed by what can be had, once a minute at the most; else it goes on."""
    web, clock = Web(a_test=GOOD), Clock(0)
    subject = discovery(web, clock)
    subject.keys_of_issuer("a.test", "a.test", NONE)
    web.sites["a.test"] = answer
    for clock.now, expected in ((RENEWAL_SECONDS - 1, False), (RENEWAL_SECONDS, is_renewed)):
        assert subject.renew("a.test") is expected
    if code is None:
        found = subject.keys_of_issuer("a.test", "a.test", NONE)
        assert fingerprints(found) == fingerprints(keys(OTHER if is_renewed else GOOD))
    else:
        assert rejection(subject, "a.test", "a.test") == code
    assert not subject.renew("a.test")
    assert web.lookups == ["a.test", "a.test"]


def test_what_is_not_renewed():
    """A renewal looks up no pinned domain, and no domain without an entry."""
    web = Web(a_test=GOOD, b_test=GOOD)
    subject = discovery(web, a_test=OTHER)
    subject.keys_of_issuer("a.test", "a.test", NONE)
    assert not subject.renew("a.test")
    assert not subject.renew("b.test")
    assert web.lookups == []


def test_overload_does_not_count_as_renewal():
    """Who comes back after too many lookups were under way finds the new document."""
    web, clock = Web(a_test=GOOD), Clock(0)
    subject = discovery(web, clock)
    subject.keys_of_issuer("a.test", "a.test", NONE)
    clock.now = RENEWAL_SECONDS
    web.sites["a.test"] = Overloaded("later", retry_after=1)
    with pytest.raises(Overloaded):
        subject.renew("a.test")
    web.sites["a.test"] = OTHER
    assert subject.renew("a.test")
