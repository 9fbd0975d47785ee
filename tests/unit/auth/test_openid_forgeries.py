"""Every forgery of ID tokens that is known of, against the verifier itself and over HTTP."""

from __future__ import annotations

import time

import pytest
import webtest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients.contract import PROOF_CODES
from support.clients.sessions import session_of
from support.forgeries import id_token_claims, id_tokens
from support.forgeries.anything import ANYTHING
from support.forgeries.documents import json_encode
from support.servers.openid import (
    EMAIL,
    ISSUERS,
    ORIGIN,
    Provider,
    broker_claims,
    claims,
    compact,
    edwards,
    elliptic,
    fresh_nonce,
    providers,
    rsa,
    sign_in,
    signer,
    token,
    trusting_app,
)

from persona_profile.auth.openid import OpenIDVerifier
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.emails import canonical_email
from persona_profile.errors import InvalidProof
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.tokens import Nonces, SessionTokens
from persona_profile.keys.wrapping import KeyWrapper

ROWS = (*id_tokens.ROWS, *id_token_claims.ROWS)
TRUSTED = [*ISSUERS, *id_token_claims.odd_issuers()]
LIFETIME = 600
each_forgery = pytest.mark.parametrize("forgery", ROWS, ids=[row.name for row in ROWS])

GOOD = {
    "RS256": dict,
    "ES256": lambda: {"key": elliptic("ec"), "header": {"alg": "ES256", "kid": "ec"}},
    "EdDSA": lambda: {"key": edwards("ed"), "header": {"alg": "EdDSA", "kid": "ed"}},
    "typ in small letters": lambda: {"header": {"typ": "jwt"}},
    "thumbprints": lambda: {"header": {"x5t": "dGVzdA", "x5t#S256": "dGVzdA"}},
    "dated back before its nonce": lambda: {"iat": int(time.time()) - 300},
    "two clients": lambda: {"aud": ["persona-dialog", "other"], "azp": "persona-app"},
    "under a wildcard": lambda: {"email": "alice@a.corp.test"},
    "in other spelling": lambda: {"email": "Alice@MAIL.test"},
    "further claims": lambda: {"name": "Alice", "at_hash": "x", "auth_time": 1.5, "nbf": 0},
    "without kid, and one key": lambda: {
        "iss": "https://accounts.test/strict",
        "header": {"kid": id_tokens.GONE},
    },
    "of the broker": lambda: {"key": rsa("broker"), **broker_claims()},
    "of the broker, for this server": lambda: {
        "key": rsa("broker"),
        **broker_claims(aud="http://127.0.0.1:6543", email_verified=True, sub=id_tokens.GONE),
    },
}
each_good = pytest.mark.parametrize("good", GOOD.values(), ids=GOOD.keys())


def publish_all(provider: Provider) -> None:
    """Publish what good tokens and forgeries need."""
    id_tokens.publish(provider)
    id_token_claims.publish(provider)


class Verifier:
    """A verifier without a network, and the nonces that it takes."""

    def __init__(self) -> None:
        self.keys = KeyWrapper(Keyring.generate())
        self.nonces = Nonces(self.keys, LIFETIME)
        provider = Provider()
        publish_all(provider)
        self.subject = OpenIDVerifier(
            OpenIDIssuers.parse(TRUSTED),
            ProviderKeys(provider.fetch),
            self.nonces,
            origins=[ORIGIN, "http://127.0.0.1:6543"],
        )

    def verify(self, text: str) -> str:
        """Return the email that a token proves."""
        return self.subject.verify(text).email


@pytest.fixture(scope="module")
def verifier():
    """A verifier that trusts the providers under attack."""
    return Verifier()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An application that trusts the same providers, behind TLS."""
    with providers() as provider:
        publish_all(provider)
        app = trusting_app(tmp_path_factory.mktemp("forgeries"), provider, TRUSTED)
        yield webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
        app.close()


def test_names():
    """No two forgeries of the table have the same name, or one could hide behind the other."""
    assert len({row.name for row in ROWS}) == len(ROWS) > 250


@each_good
def test_good_tokens(verifier, site, good):
    """The unforged tokens are accepted; otherwise the rejection of forgeries would prove nothing."""
    changes = good()
    assert verifier.verify(token(verifier.nonces.issue()[0], **changes)).startswith("alice@")
    assert sign_in(site, token(fresh_nonce(site), **changes)).json["profiles"]


@pytest.mark.parametrize(
    "forgery",
    [row for row in ROWS if not row.needs_network],
    ids=[row.name for row in ROWS if not row.needs_network],
)
def test_verifier_refuses(verifier, forgery):
    """A forgery is rejected with the code of its reason, and raises nothing else."""
    with pytest.raises(InvalidProof) as rejection:
        verifier.verify(forgery.mint(verifier.nonces.issue()[0]))
    assert rejection.value.code == forgery.code


@each_forgery
def test_server_refuses(site, forgery):
    """A forgery opens no session: the answer is a problem with the code of its reason."""
    answer = sign_in(site, forgery.mint(fresh_nonce(site)), status="*")
    assert answer.content_type == "application/problem+json"
    assert (answer.status_int, answer.json["code"]) == (401, forgery.code)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert [error["name"] for error in answer.json["errors"]] == ["proofs.0.id_token"]


@pytest.mark.parametrize("kid", ["ec", "ed"])
def test_no_character_can_be_changed(verifier, kid):
    """A good token with any changed character is rejected."""
    changes = {"ec": GOOD["ES256"], "ed": GOOD["EdDSA"]}[kid]()
    good = token(verifier.nonces.issue()[0], **changes)
    assert verifier.verify(good)
    for position, letter in enumerate(good):
        altered = good[:position] + ("A" if letter != "A" else "Q") + good[position + 1 :]
        with pytest.raises(InvalidProof):
            verifier.verify(altered)


@settings(max_examples=150, deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["typ", "kid", "alg", "jku"]), ANYTHING, max_size=2),
    changes=st.dictionaries(
        st.sampled_from(["iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "sub", "email", "more"]),
        ANYTHING,
        max_size=3,
    ),
)
def test_anything(verifier, header, changes):
    """A signed token with any JSON is accepted as specified, or rejected."""
    good = GOOD["EdDSA"]()
    signed = compact(
        json_encode(good["header"] | header),
        json_encode(claims(verifier.nonces.issue()[0], **changes)),
        signer(good["key"], "EdDSA"),
    )
    outcome = "proved"
    try:
        email = verifier.verify(signed)
    except InvalidProof as rejection:
        outcome = rejection.code
    else:
        assert email == canonical_email(changes.get("email", EMAIL))
    assert outcome in {"proved", *PROOF_CODES}


class TestNonces:
    """Nonces that are good for something else."""

    def rejection(self, verifier: Verifier, nonce: str) -> str:
        """Return the code of the rejection of a good token with that nonce."""
        with pytest.raises(InvalidProof) as rejection:
            verifier.verify(token(nonce))
        return rejection.value.code

    def test_expired(self, verifier):
        """A nonce expires in time, for any allowed clock skew."""
        for age, outcome in (
            (LIFETIME - 5, None),
            (LIFETIME, "nonce_expired"),
            (10**6, "nonce_expired"),
        ):
            then = time.time() - age
            nonce, _ = Nonces(verifier.keys, LIFETIME, lambda then=then: then).issue()
            if outcome is None:
                assert verifier.verify(token(nonce)) == "alice@mail.test"
            else:
                assert self.rejection(verifier, nonce) == outcome

    def test_of_another_server(self, verifier):
        """A nonce that was sealed with other keys is none."""
        nonce, _ = Nonces(KeyWrapper(Keyring.generate()), LIFETIME).issue()
        assert self.rejection(verifier, nonce) == "nonce_invalid"

    def test_for_another_purpose(self, verifier):
        """A session's token is no nonce, though the same keys have sealed it."""
        session = SessionTokens(verifier.keys).seal(session_of("alice@mail.test"))
        assert self.rejection(verifier, session) == "nonce_invalid"

    def test_nonce_is_no_session(self, site):
        """A nonce is no session's token either."""
        headers = {"Authorization": f"Bearer {fresh_nonce(site)}"}
        assert site.get("/v1/profiles", headers=headers, status=401).json["code"] == "session_invalid"
