"""The BrowserID verifier: accepted bundles, limits, and the order of its checks."""

from __future__ import annotations

import json

import pytest
import webtest
from cryptography.hazmat.primitives.asymmetric import rsa
from support.clients.identities import AUDIENCE, dsa_key, rsa_key
from support.forgeries.minting import (
    DAY,
    EMAIL,
    GONE,
    MINUTE,
    assertion,
    bundle,
    certificate,
    now,
    signature,
    support_documents,
    with_assertion,
    with_certificate,
)
from support.servers.applications import Clock, application

from persona_profile.auth.browserid import MAX_BUNDLE_CHARACTERS, BrowserIDVerifier
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.auth.domain_cache import RENEWAL_SECONDS
from persona_profile.auth.fetch import Fetched, FetchError, Url
from persona_profile.errors import InvalidProof
from persona_profile.lifetimes import MAX_BROWSERID_SKEW_SECONDS
from persona_profile.settings import BROWSERID_ALGORITHMS

T = 1_800_000_000_000
"""An instant, in milliseconds."""


def no_lookup(_url):
    """Fail: no lookup is expected."""
    raise AssertionError("there was a lookup")


def verifier(clock=None, *, audiences=(AUDIENCE,), algorithms=BROWSERID_ALGORITHMS, **options):
    """Return a verifier that trusts the pinned issuers alone."""
    if clock:
        options["clock"] = clock
    discovery = Discovery(PinnedIssuers.parse(support_documents()), options.pop("fetch", no_lookup))
    return BrowserIDVerifier(audiences, discovery, algorithms=algorithms, **options)


def dated(issued, certificate_end, assertion_end, **assertion_changes):
    """Return a bundle with times of the test's own, in milliseconds."""
    return bundle(
        certificate({"iat": issued, "exp": certificate_end}),
        assertion({"exp": assertion_end} | assertion_changes),
    )


def rejection(of, proof):
    """Return the code with which a verifier rejects a proof."""
    with pytest.raises(InvalidProof) as raised:
        of.verify(proof)
    return raised.value.code


GOOD = {
    "as it comes": bundle,
    "without iat in the certificate": with_certificate({"iat": GONE}),
    "with iat in the assertion": lambda: dated(T, T + DAY, T + MINUTE, iat=T),
    "with claims of its own": with_assertion({"name": "A\u0301", "x": {"y": [1.5, None, True]}}),
    "with typ in the header": with_assertion(header={"alg": "RS256", "typ": "JWT"}),
    "with white space in the header": with_assertion(header=b' {"alg" :\t"RS256"}\r\n'),
    "with an unverified email beside": with_certificate(
        {"principal": {"email": EMAIL, "unverified-email": "bob@issuer.test"}}
    ),
    "with an upper-case email": with_certificate({"principal": {"email": "Alice@ISSUER.Test"}}),
    "with iss in the assertion": with_assertion({"iss": "anything"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name):
    """A good bundle proves the canonical email of its certificate."""
    clock = Clock(T / 1000) if "iat in the assertion" in name else None
    assert verifier(clock).verify(GOOD[name]()).email == EMAIL


@pytest.mark.parametrize("bits", [2047, 2048, 3072, 4096])
def test_rsa_sizes(bits):
    """RSA keys from 2047 bits, as browserid-crypto makes every second one, to 4096 are good."""
    user = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    assert verifier().verify(bundle(certificate(user=user), assertion(user=user))).email == EMAIL


@pytest.mark.parametrize("bits", [1024, 2048])
def test_dsa_sizes(bits):
    """DSA keys of both sizes are good, for people as for issuers."""
    user, email = dsa_key("user", bits), "alice@dsa.test"
    certified = certificate({"iss": "dsa.test"}, email=email, user=user, issuer=dsa_key("issuer"))
    assert verifier().verify(f"{certified}~{assertion(user=user)}").email == email


def test_rsa_signature_without_leading_zeros():
    """RSA signatures without their leading zeros, as signers in JavaScript write them, are good."""

    def stripped(signed, key):
        return signature(signed, key).lstrip(b"\0")

    shortened = (assertion(sign=stripped) for _ in range(20_000))
    short = next(text for text in shortened if len(text.rpartition(".")[2]) < 342)
    assert verifier().verify(bundle(None, short)).email == EMAIL


def test_size_limit():
    """A bundle of just the largest size is read, and one character more is not."""
    rest = MAX_BUNDLE_CHARACTERS - len(bundle(None, assertion({"padding": ""})))
    sized = [bundle(None, assertion({"padding": "x" * (rest * 3 // 4 + i)})) for i in range(-9, 9)]
    largest = max(len(text) for text in sized if len(text) <= MAX_BUNDLE_CHARACTERS)
    assert MAX_BUNDLE_CHARACTERS - largest < 3
    for text in sized:
        if len(text) > MAX_BUNDLE_CHARACTERS:
            assert rejection(verifier(), text) == "proof_too_large"
        else:
            assert verifier().verify(text).email == EMAIL


# The claims, the clock in milliseconds after T, and the reason of a rejection.
INSTANTS = [
    ("assertion in the last instant", {}, 2 * MINUTE + 59_999, None),
    ("assertion an instant later", {}, 2 * MINUTE + 60_000, "assertion_expired"),
    ("clock late by the skew", {}, -60_000, None),
    ("clock late by more than the skew", {}, -60_001, "certificate_not_yet_valid"),
    ("assertion from a clock that is early", {"iat": T + 60_000}, 0, None),
    ("assertion from a clock too early", {"iat": T + 60_001}, 0, "assertion_not_yet_valid"),
    ("assertion of just five minutes", {"iat": T, "exp": T + 5 * MINUTE}, 0, None),
    ("of a little more", {"iat": T, "exp": T + 5 * MINUTE + 1}, 0, "assertion_life_invalid"),
    ("no iat, five minutes and skew", {"exp": T + 6 * MINUTE}, 0, None),
    ("no iat, a little more", {"exp": T + 6 * MINUTE + 1}, 0, "assertion_life_invalid"),
]


@pytest.mark.parametrize(
    ("claims", "later", "code"), [r[1:] for r in INSTANTS], ids=[r[0] for r in INSTANTS]
)
def test_assertion_instants(claims, later, code):
    """Times of an assertion are good up to the very millisecond that the limits name."""
    made = dated(T, T + DAY, **{"assertion_end": claims.get("exp", T + 2 * MINUTE)} | claims)
    subject = verifier(Clock((T + later) / 1000))
    if code:
        assert rejection(subject, made) == code
    else:
        assert subject.verify(made).email == EMAIL


@pytest.mark.parametrize(
    ("issued", "end", "code"),
    [
        (-DAY + 1000, 1000, None),
        (-DAY, -59_999, None),
        (-DAY, -60_000, "certificate_expired"),
        (60_000, DAY, None),
        (60_001, DAY, "certificate_not_yet_valid"),
        (0, DAY, None),
        (0, DAY + 1, "certificate_life_invalid"),
        (0, 0, "certificate_life_invalid"),
    ],
)
def test_certificate_instants(issued, end, code):
    """Times of a certificate are good up to the very millisecond that the limits name."""
    made, subject = dated(T + issued, T + end, T + MINUTE), verifier(Clock(T / 1000))
    if code:
        assert rejection(subject, made) == code
    else:
        assert subject.verify(made).email == EMAIL


def test_no_skew():
    """Without an allowance for skew an assertion is dead at its end."""
    made = dated(T - MINUTE, T + DAY - MINUTE, T)
    assert verifier(Clock((T - 1) / 1000), skew_seconds=0).verify(made).email == EMAIL
    assert rejection(verifier(Clock(T / 1000), skew_seconds=0), made) == "assertion_expired"


def test_remembered_until_refused():
    """A proof is stored until it is too old under the largest allowed clock skew."""
    made = dated(T, T + DAY, T + MINUTE + 1)
    expires_at = verifier(Clock(T / 1000), skew_seconds=0).verify(made).expires_at
    tolerant = verifier(Clock(expires_at), skew_seconds=MAX_BROWSERID_SKEW_SECONDS)
    assert rejection(tolerant, made) == "assertion_expired"
    assert expires_at * 1000 <= T + MINUTE + 1001 + 1000 * MAX_BROWSERID_SKEW_SECONDS


def test_revoked_by_a_later_sign_out():
    """An assertion with `iat` names the sign-outs that came after it, by a clock that may be late."""
    proved = verifier(Clock(T / 1000)).verify(dated(T, T + DAY, T + MINUTE, iat=T - 5))
    assert proved.revoked_from == T - 5 + MINUTE + 1
    assert verifier(Clock(T / 1000)).verify(dated(T, T + DAY, T + MINUTE)).revoked_from is None


@pytest.mark.parametrize(
    ("configured", "named"),
    [
        ("https://profiles.example.com", "https://profiles.example.com:443"),
        ("https://profiles.example.com:443", "https://profiles.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:6543", "http://[::1]:6543"),
    ],
)
def test_audience_default_ports(configured, named):
    """The default port of a scheme may be said or left away."""
    made = bundle(None, assertion({"aud": named}))
    assert verifier(audiences=[configured]).verify(made).email == EMAIL


def test_no_audience():
    """A server that knows no origin of its own, or only broken ones, accepts nothing."""
    for audiences in ([], ["localhost"], ["null"], [""]):
        for named in ("", "null", "localhost", AUDIENCE):
            made = bundle(None, assertion({"aud": named}))
            assert rejection(verifier(audiences=audiences), made) == "audience_mismatch"


@pytest.mark.parametrize("rejected", BROWSERID_ALGORITHMS)
def test_algorithms_setting(rejected):
    """An algorithm that is not configured is accepted neither for certificates nor for assertions."""
    keys = {"RS256": rsa_key("user"), "DS128": dsa_key("user"), "DS256": dsa_key("user", 2048)}
    user = keys[rejected]
    subject = verifier(algorithms=set(BROWSERID_ALGORITHMS) - {rejected})
    by_user = bundle(certificate(user=user), assertion(user=user))
    assert rejection(subject, by_user) == "algorithm_not_allowed"
    by_issuer = bundle(certificate(issuer=user))
    assert rejection(subject, by_issuer) == "algorithm_not_allowed"


EXPENSIVE = {
    "too long": (with_assertion({"padding": "x" * 20_000}), "proof_too_large"),
    "too long by far": (lambda: "A" * 50_000_000, "proof_too_large"),
    "a modulus of 16384 bits": (
        with_certificate({"public-key": {"algorithm": "RS", "n": "9" * 4932, "e": "65537"}}),
        "key_not_allowed",
    ),
    "an exponent of 4000 digits": (
        with_certificate({"public-key": {"algorithm": "RS", "n": "9" * 617, "e": "9" * 4000}}),
        "key_not_allowed",
    ),
    "a DSA group of 8192 bits": (
        with_certificate(
            {"public-key": {"algorithm": "DS", "p": "f" * 2048, "q": "f" * 40, "g": "2", "y": "3"}}
        ),
        "key_not_allowed",
    ),
    "expired": (with_assertion({"exp": 1}), "assertion_expired"),
    "for another audience": (with_assertion({"aud": "http://evil.test"}), "audience_mismatch"),
    "not an email": (with_certificate({"principal": {"email": "alice"}}), "email_invalid"),
    "of a foreign algorithm": (with_assertion(header={"alg": "RS64"}), "algorithm_not_allowed"),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_cheap_checks_first(name):
    """A bundle with an invalid text is rejected before any lookup."""
    mint, code = EXPENSIVE[name]
    nothing_pinned = Discovery(PinnedIssuers({}), no_lookup)
    subject = BrowserIDVerifier([AUDIENCE], nothing_pinned, algorithms=BROWSERID_ALGORITHMS)
    assert rejection(subject, mint()) == code


def test_lookup_before_signatures():
    """The right of the issuer is looked up before any signature is verified."""

    def fetch(url):
        raise AssertionError(url)

    nothing_pinned = Discovery(PinnedIssuers({}), fetch)
    subject = BrowserIDVerifier([AUDIENCE], nothing_pinned, algorithms=BROWSERID_ALGORITHMS)
    unsigned = bundle(certificate(sign=lambda *_: b""), assertion(sign=lambda *_: b""))
    with pytest.raises(AssertionError, match=r"issuer\.test/\.well-known/browserid"):
        subject.verify(unsigned)


def test_known_certificate_still_needs_its_key():
    """A certificate that was good is good no more once its issuer's document has another key."""
    documents = support_documents()
    clock = Clock(0)

    def fetch(url):
        document = documents[Url.parse(url).host]
        return Fetched(200, "application/json", json.dumps(document).encode())

    discovery = Discovery(PinnedIssuers({}), fetch, clock)
    subject = BrowserIDVerifier([AUDIENCE], discovery, algorithms=BROWSERID_ALGORITHMS)
    known = certificate()
    assert subject.verify(bundle(known)).email == subject.verify(bundle(known)).email == EMAIL
    unsigned = f"{known.rpartition('.')[0]}.AAAA"
    assert rejection(subject, bundle(unsigned)) == "certificate_signature_invalid"
    documents["issuer.test"] = documents["*.test"]
    clock.now += 3601
    assert rejection(subject, bundle(known)) == "certificate_signature_invalid"


def test_key_that_is_replaced():
    """An issuer's new key is found by the first certificate of it; garbage has it looked up seldom."""
    documents = {"issuer.test": support_documents()["*.test"]}
    clock, lookups = Clock(0), []

    def fetch(url):
        domain = Url.parse(url).host
        lookups.append(domain)
        if documents[domain] is None:
            raise FetchError("issuer_unreachable")
        return Fetched(200, "application/json", json.dumps(documents[domain]).encode())

    subject = BrowserIDVerifier(
        [AUDIENCE], Discovery(PinnedIssuers({}), fetch, clock), algorithms=BROWSERID_ALGORITHMS
    )
    good = bundle(certificate())
    garbage = bundle(f"{certificate().rpartition('.')[0]}.AAAA")
    assert rejection(subject, good) == "certificate_signature_invalid"
    documents["issuer.test"] = support_documents()["issuer.test"]
    assert rejection(subject, good) == "certificate_signature_invalid"
    clock.now += RENEWAL_SECONDS
    assert subject.verify(good).email == EMAIL
    assert len(lookups) == 2
    clock.now += RENEWAL_SECONDS
    documents["issuer.test"] = None
    for _ in range(5):
        assert rejection(subject, garbage) == "certificate_signature_invalid"
        assert subject.verify(good)
    assert len(lookups) == 3


def test_proof_id():
    """The id of a proof is that of the statement, with any certificate and signature."""
    user, said = dsa_key("user"), {"exp": T + MINUTE, "nonce": 1}
    first, second = assertion(said, user=user), assertion(said, user=user)
    assert first != second
    subject = verifier(Clock(T / 1000))

    def proof_id(assertion_text, end, user):
        made = certificate({"iat": T, "exp": end}, user=user)
        return subject.verify(bundle(made, assertion_text)).proof_id

    one = proof_id(first, T + DAY, user)
    assert one == proof_id(second, T + DAY, user) == proof_id(first, T + DAY - 1, user)
    other = proof_id(assertion(said | {"nonce": 2}, user=user), T + DAY, user)
    stranger = dsa_key("stranger")
    assert len({one, other, proof_id(assertion(said, user=stranger), T + DAY, stranger)}) == 3


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An application that trusts the pinned issuers."""
    folder = tmp_path_factory.mktemp("browserid")
    path = folder / "issuers.json"
    path.write_text(json.dumps(support_documents()))
    return webtest.TestApp(application(folder, browserid__pinned_issuers=str(path)))


def post(site, *bundles, status):
    """Present bundles in one request; return the answer."""
    body = {"proofs": [{"assertion": text} for text in bundles]}
    return site.post_json("/v1/sessions", body, status=status).json


def test_replay(site):
    """The same assertion opens a session once, and once only under a renewed certificate too."""
    said = assertion()
    assert post(site, bundle(None, said), status=201)["token_type"] == "Bearer"
    assert post(site, bundle(None, said), status=401)["code"] == "proof_replayed"
    renewed = certificate({"jti": "renewed"})
    assert post(site, bundle(renewed, said), status=401)["code"] == "proof_replayed"


def test_replay_within_a_request(site):
    """The same proof twice in one request opens no session."""
    proof = bundle()
    assert post(site, proof, proof, status=401)["code"] == "proof_replayed"


def test_replay_by_respelling(site):
    """An assertion does not become another one by leading zeros of its signature."""

    def stripped(signed, key):
        return signature(signed, key).lstrip(b"\0")

    end = now() + MINUTE
    for nonce in range(20_000):
        full = assertion({"exp": end, "nonce": nonce})
        short = assertion({"exp": end, "nonce": nonce}, sign=stripped)
        if short != full:
            break
    assert post(site, bundle(None, short), status=201)
    assert post(site, bundle(None, full), status=401)["code"] == "proof_replayed"


def test_failed_request_uses_nothing_up(site):
    """A good proof beside a bad one is not used up."""
    proof = bundle()
    assert post(site, proof, bundle(None, assertion({"aud": "x"})), status=401)
    assert post(site, proof, status=201)
