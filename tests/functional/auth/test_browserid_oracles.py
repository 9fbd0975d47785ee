"""Other implementations of BrowserID agree with this one, except for their known mistakes."""

from __future__ import annotations

import json

import pytest
import webtest
from browserid import LocalVerifier
from browserid.errors import Error
from browserid.supportdoc import SupportDocumentManager
from browserid.tests.support import get_keypair, make_assertion
from cryptography.hazmat.primitives.asymmetric import rsa
from support.clients.identities import AUDIENCE, assertion_claims, dsa_key, rsa_key, support_document
from support.forgeries.minting import (
    DAY,
    EMAIL,
    GONE,
    assertion,
    bundle,
    certificate,
    jws,
    now,
    support_documents,
    with_assertion,
    with_certificate,
    with_email,
)
from support.forgeries.oracle import running_oracle
from support.servers.applications import application

from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.encoding import base64url_decode
from persona_profile.errors import InvalidProof
from persona_profile.settings import BROWSERID_ALGORITHMS

KINDS = (*BROWSERID_ALGORITHMS, "RS256-2047")
KEYS = {"RS256": rsa_key("user"), "DS128": dsa_key("user"), "DS256": dsa_key("user", 2048)}


def domain(kind):
    """Return the domain whose issuer has a key of that kind."""
    return f"{kind.lower()}.oracle.test"


@pytest.fixture(scope="module")
def oracle():
    """browserid-crypto, Mozilla's library for identity providers and browsers."""
    with running_oracle() as running:
        yield running


@pytest.fixture(scope="module")
def documents(oracle):
    """The support documents of the oracle's issuers and of ours."""
    theirs = {domain(kind): oracle.ask("support", issuer=kind) for kind in KINDS}
    return support_documents() | theirs


@pytest.fixture(scope="module")
def site(documents, tmp_path_factory):
    """An application that trusts those issuers."""
    folder = tmp_path_factory.mktemp("oracles")
    path = folder / "issuers.json"
    path.write_text(json.dumps(documents))
    return webtest.TestApp(application(folder, browserid__pinned_issuers=str(path)))


def verifier(documents):
    """Return our verifier."""

    def fetch(url):
        raise AssertionError("there was a lookup")

    discovery = Discovery(PinnedIssuers.parse(documents), fetch)
    return BrowserIDVerifier([AUDIENCE], discovery, algorithms=BROWSERID_ALGORITHMS)


def minted(oracle, issuer="RS256", user="RS256", **changes):
    """Return a bundle that the oracle minted."""
    request = {"email": f"alice@{domain(issuer)}", "domain": domain(issuer), "audience": AUDIENCE}
    return oracle.ask("mint", issuer=issuer, user=user, **(request | changes))


@pytest.mark.parametrize("issuer", KINDS)
@pytest.mark.parametrize("user", KINDS)
def test_sign_in_by_browserid_crypto(site, oracle, issuer, user):
    """Bundles of browserid-crypto sign in, with all algorithms of issuer and person."""
    body = {"proofs": [{"assertion": minted(oracle, issuer, user)}]}
    answer = site.post_json("/v1/sessions", body, status=201).json
    assert [profile["email"] for profile in answer["profiles"]] == [f"alice@{domain(issuer)}"]
    assert site.post_json("/v1/sessions", body, status=401).json["code"] == "proof_replayed"


@pytest.mark.parametrize("user", ["RS256", "RS256-2047"])
def test_short_signature_of_browserid_crypto(oracle, documents, user):
    """A signature that begins with zeros is good without them, as browserid-crypto writes it."""
    made = minted(oracle, user=user, short=True)
    assert len(base64url_decode(made.rpartition(".")[2])) < 256
    assert verifier(documents).verify(made).email == "alice@rs256.oracle.test"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audience": "http://evil.test"}, "audience_mismatch"),
        ({"domain": "issuer.test"}, "issuer_not_authoritative"),
        ({"domain": "issuer.test", "email": EMAIL}, "certificate_signature_invalid"),
        ({"email": "alice@localhost"}, "email_invalid"),
    ],
)
def test_refused_of_browserid_crypto(oracle, documents, changes, code):
    """Bundles of browserid-crypto for other audiences, or of other issuers, are rejected."""
    with pytest.raises(InvalidProof) as rejected:
        verifier(documents).verify(minted(oracle, **changes))
    assert rejected.value.code == code


@pytest.mark.parametrize("issuer", KEYS)
@pytest.mark.parametrize("user", KEYS)
def test_browserid_crypto_accepts_ours(oracle, issuer, user):
    """browserid-crypto verifies our bundles."""
    made = bundle(certificate(user=KEYS[user], issuer=KEYS[issuer]), assertion(user=KEYS[user]))
    answer = oracle.ask("verify", bundle=made, support=support_document(KEYS[issuer]))
    assert answer == {"email": EMAIL, "audience": AUDIENCE}


def test_browserid_crypto_refuses_forgeries(oracle):
    """browserid-crypto rejects wrong signatures too."""
    support = support_document(rsa_key("issuer"))
    stranger = rsa_key("stranger")
    for made in (
        bundle(certificate(issuer=stranger)),
        bundle(None, assertion(user=stranger)),
        bundle(None, assertion({"exp": now() - 120_000})),
        bundle(None, assertion(header={"alg": "none"})),
    ):
        with pytest.raises(ValueError, match=r"signature|expired|algorithm"):
            oracle.ask("verify", bundle=made, support=support)
        with pytest.raises(InvalidProof):
            verifier(support_documents()).verify(made)


# What browserid-crypto accepts and we don't: it leaves all of these to its caller.
UNCHECKED = {
    "no exp": (with_assertion({"exp": GONE}), "assertion_times_invalid"),
    "no exp of the certificate": (with_certificate({"exp": GONE}), "certificate_times_invalid"),
    "exp 0": (with_assertion({"exp": 0}), "assertion_expired"),
    "ten years": (with_assertion({"exp": now() + 3650 * DAY}), "assertion_life_invalid"),
    "another audience": (with_assertion({"aud": "http://evil.test"}), "audience_mismatch"),
    "the email of another domain": (with_email("bob@evil.test"), "issuer_not_authoritative"),
    "no email at all": (with_email("bob"), "email_invalid"),
}


@pytest.mark.parametrize("name", UNCHECKED)
def test_browserid_crypto_checks_signatures_alone(oracle, name):
    """This service rejects bundles that browserid-crypto accepts."""
    mint, code = UNCHECKED[name]
    made = mint()
    assert oracle.ask("verify", bundle=made, support=support_document(rsa_key("issuer")))
    with pytest.raises(InvalidProof) as rejected:
        verifier(support_documents()).verify(made)
    assert rejected.value.code == code


class Manager(SupportDocumentManager):
    """Support documents for PyBrowserID, without a network."""

    def fetch_support_document(self, hostname):
        """Return a pinned document."""
        return support_documents()[hostname]


@pytest.fixture(scope="module")
def pybrowserid():
    """PyBrowserID's verifier, which trusts the same issuers."""
    return LocalVerifier([AUDIENCE], trusted_secondaries=(), supportdocs=Manager())


@pytest.mark.parametrize("user", KEYS)
def test_pybrowserid_accepts_ours(pybrowserid, user):
    """PyBrowserID verifies our bundles, with the same email."""
    made = bundle(certificate(user=KEYS[user]), assertion(user=KEYS[user]))
    assert pybrowserid.verify(made)["email"] == EMAIL
    assert verifier(support_documents()).verify(made).email == EMAIL


def test_accepts_pybrowserid():
    """This service verifies PyBrowserID's bundles."""
    documents = {"py.test": {"public-key": get_keypair("py.test")[0]}}
    made = make_assertion("alice@py.test", AUDIENCE, issuer="py.test")
    assert verifier(documents).verify(made).email == "alice@py.test"
    for forged in ({"certificate_sig": "x" * 40}, {"assertion_sig": "x" * 40}, {"exp": 1}):
        made = make_assertion("alice@py.test", AUDIENCE, issuer="py.test", **forged)
        with pytest.raises(InvalidProof):
            verifier(documents).verify(made)


REFUSED_BY_BOTH = {
    "expired assertion": with_assertion({"exp": 1}),
    "expired certificate": with_certificate({"exp": 1}),
    "no exp": with_assertion({"exp": GONE}),
    "another audience": with_assertion({"aud": "http://evil.test"}),
    "no audience": with_assertion({"aud": GONE}),
    "no principal": with_certificate({"principal": GONE}),
    "unverified email": with_certificate({"principal": {"unverified-email": EMAIL}}),
    "no issuer": with_certificate({"iss": GONE}),
    "another issuer": with_certificate({"iss": "evil.test"}),
    "parent issuer": with_email("alice@sub.issuer.test"),
    "certificate of a stranger": with_certificate(issuer=rsa_key("stranger")),
    "assertion of a stranger": with_assertion(user=rsa_key("stranger")),
    "algorithm none": with_assertion(header={"alg": "none"}),
    "algorithm of another key": with_assertion(header={"alg": "DS128"}),
    "no assertion": certificate,
    "two certificates": lambda: f"{certificate()}~{bundle()}",
    "s = 0": lambda: bundle(
        certificate(user=KEYS["DS128"]),
        assertion(user=KEYS["DS128"], sign=lambda *_: (7).to_bytes(20) + bytes(20)),
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_pybrowserid_refuses_as_we_do(pybrowserid, name):
    """This service rejects all bundles that PyBrowserID rejects."""
    made = REFUSED_BY_BOTH[name]()
    with pytest.raises((Error, ValueError)):
        pybrowserid.verify(made)
    with pytest.raises(InvalidProof):
        verifier(support_documents()).verify(made)


def _with_stray_characters():
    made = bundle()
    return f"{made[:-9]}!!!!{made[-9:]}"


def _with_exponent_three():
    user = rsa.generate_private_key(public_exponent=3, key_size=2048)
    return bundle(certificate(user=user), assertion(user=user))


# What PyBrowserID accepts and we don't, and why we don't.
DISAGREEMENTS = {
    "an assertion of ten years: five minutes are the most": (
        with_assertion({"exp": now() + 3650 * DAY}),
        "assertion_life_invalid",
    ),
    "a certificate of ten years: a day is the most": (
        with_certificate({"exp": now() + 3650 * DAY}),
        "certificate_life_invalid",
    ),
    "a certificate of the future": (
        with_certificate({"iat": now() + DAY // 2, "exp": now() + DAY}),
        "certificate_not_yet_valid",
    ),
    "a time with a fraction: it is a number of milliseconds": (
        lambda: bundle(None, assertion({"exp": now() + 60_000.5})),
        "assertion_times_invalid",
    ),
    "an email with a newline at the end: $ matches before it": (
        with_email(f"{EMAIL}\n"),
        "email_invalid",
    ),
    "an extension in the header that is critical and unknown": (
        with_assertion(header={"alg": "RS256", "crit": ["x"], "x": 1}),
        "header_not_allowed",
    ),
    "an RSA exponent of 3: sloppy verifiers fall for forged signatures of it": (
        _with_exponent_three,
        "key_not_allowed",
    ),
    "members twice: parsers differ in which one they take": (
        lambda: bundle(
            None,
            jws(b'{"exp":1,' + json.dumps(assertion_claims()).encode()[1:], rsa_key("user")),
        ),
        "malformed_jws",
    ),
    "stray characters in base64url: two texts would be the same proof": (
        _with_stray_characters,
        "malformed_jws",
    ),
}


@pytest.mark.parametrize("reason", DISAGREEMENTS)
def test_disagreement(pybrowserid, reason):
    """This service rejects bundles that PyBrowserID accepts by mistake."""
    mint, code = DISAGREEMENTS[reason]
    made = mint()
    assert pybrowserid.verify(made)["status"] == "okay"
    with pytest.raises(InvalidProof) as rejected:
        verifier(support_documents()).verify(made)
    assert rejected.value.code == code
