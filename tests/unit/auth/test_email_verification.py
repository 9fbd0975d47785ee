"""Email verification tokens: those of Chromium, those of pyevp, and forgeries."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyevp.testing import FakeBrowser, FakeIssuer, FixedClock
from support.clients.contract import PROOF_CODES
from support.clients.sessions import session_of
from support.forgeries import email_tokens
from support.forgeries.anything import ANYTHING
from support.forgeries.email_tokens import (
    DENIED,
    DOMAIN,
    EMAIL,
    HOST,
    JWKS,
    METADATA,
    PAGE,
    kb,
    now,
    proof,
)
from support.servers.openid import GONE, Provider, edwards, elliptic, public, rsa

from persona_profile.auth.dns_records import DnsFailed, TxtAnswer, TxtResolver
from persona_profile.auth.email_verification import AcceptedDomains, EmailVerifier
from persona_profile.auth.email_verification_issuers import ISSUERS, EmailVerificationIssuers
from persona_profile.auth.fetch import FetchError, Url
from persona_profile.emails import canonical_email, is_canonical_domain
from persona_profile.errors import DnsUnavailable, InvalidProof
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import Nonce, Nonces, SessionTokens
from persona_profile.keys.wrapping import KeyWrapper

VECTORS = json.loads(Path(__file__).with_name("email-verification-vectors.json").read_text())["tokens"]
LIFETIME = 600
ROWS = email_tokens.ROWS
each_forgery = pytest.mark.parametrize("forgery", ROWS, ids=[row.name for row in ROWS])

ELLIPTIC = {
    "holder": public(elliptic("holder"), None),
    "kb_key": elliptic("holder"),
    "kb_header": {"alg": "ES256"},
}
# Changes of a good proof; those with times are made when the test runs.
GOOD: dict[str, Any] = {
    "EdDSA": {},
    "Ed25519": {"header": {"alg": "Ed25519"}},
    "ES256": {"key": elliptic("ec"), "header": {"alg": "ES256", "kid": "ec"}},
    "RS256": {"key": rsa("rsa"), "header": {"alg": "RS256", "kid": "rsa"}},
    "without kid": {"header": {"kid": GONE}},
    "an empty kid": {"header": {"kid": ""}},
    "without kid, by a later key": {"key": edwards("nameless"), "header": {"kid": GONE}},
    "KB of ES256": ELLIPTIC,
    "KB of RS256": {
        "holder": public(rsa("holder"), None),
        "kb_key": rsa("holder"),
        "kb_header": {"alg": "RS256"},
    },
    "cnf with the alg EdDSA": {"holder": public(edwards("holder"), None, alg="EdDSA")},
    "cnf with the alg Ed25519": {"holder": public(edwards("holder"), None, alg="Ed25519")},
    "iss of a host": {"iss": HOST},
    "iss in capitals": {"iss": f"https://{HOST.upper()}"},
    "record of an origin in capitals": {"email": "alice@origin.test"},
    "further claims": lambda: {"is_private_email": True, "exp": now(600), "nbf": now(-9), "kb_more": 1},
    "expired within the tolerance": lambda: {"exp": now(-30)},
    "_sd_alg": {"_sd_alg": "sha-256"},
    "an internationalized domain": {"email": "alice@Bücher.test"},
    "in other spelling": {"email": "Alice@MAIL.test"},
}
each_good = pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())


class Zones(TxtResolver):
    """The TXT records of domains, without a network; `queries` counts lookups."""

    def __init__(self, records):
        self.records = records
        self.queries = []
        self.is_silent = False
        self.ttl = 300
        self.is_authenticated = False

    def txt(self, name, domain):
        assert name == f"_email-verification.{domain}"
        self.queries.append(domain)
        if self.is_silent:
            raise DnsFailed
        return TxtAnswer(tuple(self.records.get(domain, ())), self.ttl, self.is_authenticated)


class World:
    """A verifier whose domains and issuers are those of the table, and a browser's nonces."""

    def __init__(self, **options):
        self.keys = KeyWrapper(Keyring.generate())
        self.nonces = Nonces(self.keys, LIFETIME)
        self.web = Provider()
        email_tokens.publish(self.web)
        self.zones = Zones(email_tokens.records())
        self.clock_now = 1000.0
        self.issuers = EmailVerificationIssuers(
            self.zones, self.fetch, clock=lambda: self.clock_now, **options
        )
        self.subject = EmailVerifier(
            [PAGE],
            AcceptedDomains(frozenset("*"), frozenset({DENIED, f"*.{DENIED}"})),
            self.issuers,
            self.nonces,
        )

    def fetch(self, url):
        """Fetch a document, from hosts with names alone."""
        if not is_canonical_domain(Url.parse(url).host):
            raise FetchError("issuer_address_forbidden")
        return self.web.fetch(url)

    @property
    def lookups(self):
        """The number of DNS queries and fetches."""
        return len(self.zones.queries) + len(self.web.requests)

    def nonce(self):
        """Return a fresh nonce."""
        return self.nonces.issue()[0]

    def verify(self, text):
        """Return the email that a proof proves."""
        return self.subject.verify(text).email

    def rejection(self, text):
        """Return the code of the rejection of a proof."""
        with pytest.raises(InvalidProof) as rejection:
            self.subject.verify(text)
        return rejection.value.code


@pytest.fixture
def world():
    """A verifier before any lookup."""
    return World()


class OneNonce(Nonces):
    """The nonce that a vector has; another service made it."""

    def __init__(self, text, then):
        self._text, self._then = text, int(then)

    def open(self, text):
        if text != self._text:
            raise Unreadable
        return Nonce(text.encode().ljust(32)[:32], self._then, self._then + LIFETIME)


def of_vector(vector, seconds=0):
    """Return the verifier of a vector at its clock, or some seconds later."""
    web = Provider()
    web.put(f"{vector['issuer']}/.well-known/email-verification", vector["issuer_metadata"])
    web.put(vector["issuer_metadata"]["jwks_uri"], vector["issuer_jwks"])
    [answer] = json.loads(vector["dns_txt"])["Answer"]
    domain = answer["name"].removeprefix("_email-verification.").rstrip(".")
    issuers = EmailVerificationIssuers(Zones({domain: [answer["data"].encode()]}), web.fetch)
    then = vector["verify_at"]
    return EmailVerifier(
        [vector["audience"]],
        AcceptedDomains(frozenset("*")),
        issuers,
        OneNonce(vector["nonce"], then),
        lambda: then + seconds,
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[each["what"] for each in VECTORS])
class TestVectors:
    """Tokens that Chromium made."""

    def test_verify(self, vector):
        """They prove their emails at their clock, and in the window of Chromium."""
        for seconds in (0, 299, -59):
            proved = of_vector(vector, seconds).verify(vector["token"])
            assert (proved.email, f"https://{proved.issuer}") == (vector["email"], vector["issuer"])

    def test_out_of_time(self, vector):
        """They are rejected outside of the window."""
        for seconds, code in ((302, "token_expired"), (-62, "token_not_yet_valid")):
            with pytest.raises(InvalidProof) as rejection:
                of_vector(vector, seconds).verify(vector["token"])
            assert rejection.value.code == code

    def test_no_character_can_be_changed(self, vector):
        """With any changed character they are rejected."""
        verifier, text = of_vector(vector), vector["token"]
        for position, letter in enumerate(text):
            altered = text[:position] + ("A" if letter != "A" else "Q") + text[position + 1 :]
            with pytest.raises(InvalidProof):
                verifier.verify(altered)


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256"])
@pytest.mark.parametrize("browser", ["Ed25519", "ES256"])
@pytest.mark.parametrize("iss_format", ["origin", "host"])
@pytest.mark.parametrize("kid", ["test", "", None])
def test_tokens_of_pyevp(world, algorithm, browser, iss_format, kid):
    """Tokens of an independent issuer and browser prove their emails."""
    clock = FixedClock(datetime.now(UTC))
    issuer = FakeIssuer(alg=algorithm, kid=kid, iss_format=iss_format, clock=clock)
    for url, document in issuer.http_documents().items():
        world.web.put(url, document)
    for name, records in issuer.dns_records().items():
        domain = name.removeprefix("_email-verification.")
        world.zones.records[domain] = [each.encode() for each in records]
    holder = FakeBrowser(alg=browser, clock=clock)
    token = holder.present(
        issuer.issue("alice@example.com", holder.public_jwk), audience=PAGE, nonce=world.nonce()
    )
    assert world.verify(token) == "alice@example.com"


def test_names():
    """No two forgeries of the table have the same name, or one could hide behind the other."""
    assert len({row.name for row in ROWS}) == len(ROWS) > 200


@each_good
def test_good_proofs(world, changes):
    """The unforged proofs are accepted; otherwise the rejection of forgeries would prove nothing."""
    made = changes() if callable(changes) else changes
    assert world.verify(proof(world.nonce(), **made)).startswith("alice@")
    assert world.lookups == 3


@each_forgery
def test_forgeries(world, forgery):
    """A forgery is rejected with the code of its reason, and causes few lookups."""
    text = forgery.mint(world.nonce())
    assert world.rejection(text) == forgery.code
    assert world.lookups <= forgery.lookups
    assert forgery.code in PROOF_CODES


@settings(max_examples=150, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(
            [
                *("iss", "iat", "exp", "cnf", "email", "email_verified", "_sd_alg", "holder"),
                *("kb_aud", "kb_nonce", "kb_iat", "kb_sd_hash"),
            ]
        ),
        ANYTHING,
        max_size=3,
    ),
    header=st.dictionaries(st.sampled_from(["typ", "kid", "jwk"]), ANYTHING, max_size=2),
)
def test_anything(changes, header):
    """A signed token with any JSON is accepted as specified, or rejected."""
    world = World()
    outcome = "proved"
    try:
        email = world.verify(proof(world.nonce(), header=header, **changes))
    except InvalidProof as rejection:
        outcome = rejection.code
    else:
        assert email == canonical_email(changes.get("email", EMAIL))
    assert outcome in {"proved", *PROOF_CODES}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*(~[\w-]*\.[\w-]*\.[\w-]*){0,2}"))
def test_any_text(text):
    """Any text is rejected without a lookup."""
    world = World()
    assert world.rejection(text) in PROOF_CODES
    assert world.lookups == 0


class TestReplay:
    """One proof under several appearances."""

    def test_other_signature_of_the_same_statement(self, world):
        """The other ECDSA signature of the same KB holds, and is the same proof."""
        nonce = world.nonce()
        good = proof(nonce, **ELLIPTIC)
        front, _, signature = good.rpartition(".")
        decoded = email_tokens.base64url_decode(signature)
        other = f"{front}.{email_tokens.base64url_encode(email_tokens.mirrored(decoded))}"
        assert other != good
        assert world.subject.verify(good).proof_id == world.subject.verify(other).proof_id

    def test_same_nonce(self, world):
        """Two KBs with the same nonce are one proof, also for two emails."""
        nonce = world.nonce()
        first = world.subject.verify(proof(nonce))
        second = world.subject.verify(proof(nonce, kb_iat=now(-5), email=f"bob@{DOMAIN}"))
        assert first.proof_id == second.proof_id != world.subject.verify(proof(world.nonce())).proof_id

    def test_lasts_as_long_as_its_nonce(self, world):
        """The mark of a used proof is kept until its nonce expires."""
        text, expires_at = world.nonces.issue()
        proved = world.subject.verify(proof(text))
        assert proved.expires_at == expires_at
        assert proved.revoked_from == world.nonces.open(text).revoked_from


class TestNonces:
    """Nonces that are good for something else."""

    def test_expired(self, world):
        """A nonce expires in time."""
        nonce, _ = Nonces(world.keys, LIFETIME, lambda: time.time() - LIFETIME).issue()
        assert world.rejection(proof(nonce)) == "nonce_expired"

    def test_of_another_server(self, world):
        """A nonce that was sealed with other keys is none."""
        nonce, _ = Nonces(KeyWrapper(Keyring.generate()), LIFETIME).issue()
        assert world.rejection(proof(nonce)) == "nonce_invalid"

    def test_for_another_purpose(self, world):
        """A session's token is no nonce, though the same keys have sealed it."""
        session = SessionTokens(world.keys).seal(session_of(EMAIL))
        assert world.rejection(proof(session)) == "nonce_invalid"


class TestDomains:
    """The setting of accepted domains."""

    def test_patterns(self):
        """Names, wildcards and all; the deny-list takes precedence."""
        some = AcceptedDomains(frozenset({"mail.test", "*.corp.test"}), frozenset({"no.corp.test"}))
        accepted = ("mail.test", "a.mail.test", "corp.test", "a.corp.test", "no.corp.test")
        assert [each in some for each in accepted] == [True, False, False, True, False]
        every = AcceptedDomains(frozenset({"*"}), frozenset({"*.corp.test"}))
        assert [each in every for each in ("mail.test", "corp.test", "a.corp.test")] == [
            True,
            True,
            False,
        ]


class TestIssuers:
    """Records and keys are kept, and looked up again in time."""

    def test_kept(self, world):
        """One lookup serves further proofs."""
        for _ in range(3):
            assert world.verify(proof(world.nonce()))
        assert (world.zones.queries, world.web.requests) == ([DOMAIN], [METADATA, JWKS])

    @pytest.mark.parametrize(("ttl", "life"), [(0, 60), (300, 300), (10**6, 3600)])
    def test_ttl(self, world, ttl, life):
        """The TTL of a record is kept within bounds."""
        world.zones.ttl = ttl
        text = proof(world.nonce(), email="alice@elsewhere.test")
        for seconds, queries in ((0, 1), (life - 1, 1), (1, 2)):
            world.clock_now += seconds
            assert world.rejection(text) == "issuer_not_authoritative"
            assert len(world.zones.queries) == queries

    def test_record_that_changes(self, world):
        """An issuer loses its domain when the record's life ends."""
        world.verify(proof(world.nonce()))
        world.zones.records[DOMAIN] = [b"iss=other.test"]
        world.clock_now += 301
        assert world.rejection(proof(world.nonce())) == "issuer_not_authoritative"

    def test_missing_record(self, world):
        """That a domain has no record is kept for a minute."""
        text = proof(world.nonce(), email="alice@none.test")
        for seconds, queries in ((0, 1), (59, 1), (1, 2)):
            world.clock_now += seconds
            assert world.rejection(text) == "issuer_record_missing"
            assert len(world.zones.queries) == queries

    def test_silent_dns(self, world):
        """Silent DNS is no reason against a proof: 503, and no lookup for each proof."""
        world.zones.is_silent = True
        for _ in range(3):
            with pytest.raises(DnsUnavailable) as failure:
                world.verify(proof(world.nonce()))
        assert failure.value.headers["Retry-After"] == "10"
        assert len(world.zones.queries) == 1
        world.zones.is_silent = False
        world.clock_now += 10
        assert world.verify(proof(world.nonce())) == EMAIL

    def test_dnssec(self):
        """If DNSSEC is demanded, records without it name no issuer."""
        world = World(is_dnssec_needed=True)
        assert world.rejection(proof(world.nonce())) == "issuer_record_unsigned"
        world.zones.is_authenticated = True
        world.clock_now += 60
        assert world.verify(proof(world.nonce())) == EMAIL

    def test_pinned(self):
        """A pinned issuer needs no DNS."""
        world = World(pinned={"pinned.test": HOST})
        assert world.verify(proof(world.nonce(), email="alice@pinned.test"))
        assert world.zones.queries == []

    def test_new_key(self, world):
        """An unknown key causes a lookup, and such lookups have pauses."""
        world.verify(proof(world.nonce()))
        changes = {"key": edwards("next"), "header": {"kid": "next"}}
        world.web.put(JWKS, {"keys": [public(edwards("next"), "next")]})
        assert world.verify(proof(world.nonce(), **changes)) == EMAIL
        for number in range(10):
            stranger = {"key": edwards("stranger"), "header": {"kid": f"k{number}"}}
            assert world.rejection(proof(world.nonce(), **stranger)) == "key_unknown"
        assert world.web.asked_for(JWKS) <= 6

    def test_ten_keys_are_tried(self, world):
        """A token without kid is tried with ten keys, no more."""
        keys = [public(edwards(f"key {number}"), None) for number in range(12)]
        world.web.put(JWKS, {"keys": keys})
        for number, outcome in ((0, None), (9, None), (10, "token_signature_invalid")):
            text = proof(world.nonce(), key=edwards(f"key {number}"), header={"kid": GONE})
            assert (world.rejection(text) if outcome else world.verify(text)) == (outcome or EMAIL)

    def test_flood_of_issuers(self, world):
        """Strangers' issuers do not displace the keys of an issuer in use."""
        world.verify(proof(world.nonce()))
        nonce = world.nonce()
        for number in range(ISSUERS + 1):
            name = f"flood{number}.test"
            world.zones.records[name] = [f"iss={name}".encode()]
            text = proof(nonce, iss=name, email=f"mallory@{name}")
            assert world.rejection(text) == "issuer_unreachable"
        assert world.verify(proof(world.nonce())) == EMAIL
        assert world.web.asked_for(JWKS) == 1

    def test_keys_on_another_host(self, world):
        """The key set may be on another host, and documents may have any media type."""
        elsewhere = "https://keys.other.test/set"
        world.web.put(METADATA, {"jwks_uri": elsewhere}, kind="text/plain")
        world.web.put(elsewhere, {"keys": [public(edwards("ed"), "ed")]}, kind="text/plain")
        assert world.verify(proof(world.nonce())) == EMAIL


def test_binding_is_checked_before_lookups(world):
    """Nobody without a nonce of this server causes a lookup."""
    assert world.rejection(proof("forged")) == "nonce_invalid"
    token = email_tokens.evt(email="alice@any.test")
    assert world.rejection(f"{token}~{kb(token, world.nonce(), aud='x')}") == "audience_mismatch"
    assert world.lookups == 0
