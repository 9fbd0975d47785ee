"""Emails from UserInfo, for providers whose ID tokens have none."""

from __future__ import annotations

import hashlib

import pytest
from support.servers.openid import (
    ACCOUNTS,
    CLIENT,
    EMAIL,
    GONE,
    Provider,
    edwards,
    public,
    rsa,
    token,
    without_gone,
)

from persona_profile.auth.openid import OpenIDVerifier
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.auth.openid_userinfo import MAX_ACCESS_TOKEN_CHARACTERS, MAX_REQUESTS
from persona_profile.encoding import base64url_encode
from persona_profile.errors import InvalidProof
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.tokens import Nonces
from persona_profile.keys.wrapping import KeyWrapper

SUBJECT = "248289761001"
USERINFO = f"{ACCOUNTS}/me"
ACCESS_TOKEN = "2YotnFZFEjr1zCsicMWpAA"
BARE = {"email": GONE, "email_verified": GONE}


class World:
    """A provider with UserInfo, and a verifier that trusts it."""

    def __init__(self, **trust) -> None:
        self.provider = Provider()
        self.provider.publish(ACCOUNTS, self.keys(), userinfo_endpoint=USERINFO)
        self.say()
        entry = {
            "issuer": ACCOUNTS,
            "client_ids": [CLIENT],
            "domains": ["mail.test"],
            "algorithms": ["RS256", "EdDSA"],
            "userinfo": True,
        }
        self.nonces = Nonces(KeyWrapper(Keyring.generate()), 600)
        self.verifier = OpenIDVerifier(
            OpenIDIssuers.parse([without_gone(entry | trust)]),
            ProviderKeys(self.provider.fetch),
            self.nonces,
        )

    def keys(self):
        """Return the published keys."""
        return [public(rsa("rsa"), "rsa"), public(edwards("ed"), "ed")]

    def say(self, status=200, kind="application/json", **claims):
        """Answer requests for UserInfo with the usual claims, and changes."""
        usual = {"sub": SUBJECT, "email": EMAIL, "email_verified": True}
        self.provider.put(USERINFO, without_gone(usual | claims), status, kind)

    def verify(self, access_token=ACCESS_TOKEN, *, key=None, header=None, **changes):
        """Return the email that a token without email proves."""
        made = token(self.nonces.issue()[0], key=key, header=header, **BARE | changes)
        return self.verifier.verify(made, access_token).email

    def code(self, access_token=ACCESS_TOKEN, **changes):
        """Return the code of the rejection."""
        with pytest.raises(InvalidProof) as rejection:
            self.verify(access_token, **changes)
        return rejection.value.code

    @property
    def sent(self):
        """The access tokens that the provider received."""
        return [each for each in self.provider.bearers if each]


@pytest.fixture
def world():
    """A provider whose UserInfo has the email."""
    return World()


def half_hash(algorithm, text=ACCESS_TOKEN):
    """Return the left half of a hash, as `at_hash` has it."""
    digest = hashlib.new(algorithm, text.encode()).digest()
    return base64url_encode(digest[: len(digest) // 2])


def test_email_of_userinfo(world):
    """UserInfo completes a token without email; the access token goes to its endpoint alone."""
    assert world.verify() == EMAIL
    asked = list(zip(world.provider.requests, world.provider.bearers, strict=True))
    assert asked[-1] == (USERINFO, ACCESS_TOKEN)
    assert world.sent == [ACCESS_TOKEN]


def test_email_without_its_verification(world):
    """UserInfo completes a token whose email nobody calls verified, and its own email counts."""
    assert world.verify(email="bob@mail.test") == EMAIL


def test_no_need_to_ask(world):
    """A token with a verified email needs no UserInfo, and an access token beside it is not used."""
    assert world.verify(email="bob@mail.test", email_verified=True) == "bob@mail.test"
    assert world.verify("\r\n", email="bob@mail.test", email_verified=True) == "bob@mail.test"
    assert world.code(email="bob@mail.test", email_verified=False) == "email_not_verified"
    assert world.sent == []


def test_word_that_is_enough():
    """A token proves its email alone where the issuer's word is enough, whatever is beside it."""
    world = World(assume_verified=["mail.test"])
    assert world.verify(email="bob@mail.test") == "bob@mail.test"
    assert world.sent == []
    world.say(email_verified=GONE)
    assert world.verify() == EMAIL
    assert world.sent == [ACCESS_TOKEN]


def test_without_access_token(world):
    """A token without email is rejected with a reason of its own."""
    assert world.code(None) == "email_missing"
    assert world.sent == []


def test_not_configured():
    """Nobody is asked for UserInfo unless the issuer is configured so."""
    world = World(userinfo=GONE)
    assert world.code() == "email_missing"
    assert world.sent == []


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "another"}, "userinfo_invalid"),
        ({"sub": GONE}, "userinfo_invalid"),
        ({"email": GONE}, "email_missing"),
        ({"email": ""}, "email_missing"),
        ({"email_verified": GONE}, "email_not_verified"),
        ({"email_verified": "true"}, "email_not_verified"),
        ({"email": "alice"}, "email_invalid"),
        ({"email": "alice@other.test"}, "issuer_not_authoritative"),
    ],
)
def test_claims_of_userinfo(world, claims, code):
    """UserInfo is about the token's subject, and its email is held to the rules of tokens."""
    world.say(**claims)
    assert world.code() == code


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, {}, "access_token_invalid"),
        (403, {}, "access_token_invalid"),
        (400, {}, "access_token_invalid"),
        (302, b"", "issuer_unreachable"),
        (500, {}, "issuer_unreachable"),
        (200, b"eyJhbGciOiJSUzI1NiJ9.e30.AA", "userinfo_invalid"),
        (200, b"[]", "userinfo_invalid"),
        (200, b"{", "userinfo_invalid"),
    ],
)
def test_responses(world, status, body, code):
    """A response that is no JSON object of status 200 proves nothing."""
    world.provider.put(USERINFO, body, status)
    assert world.code() == code


@pytest.mark.parametrize(
    "access_token",
    ["", "a b", "a\r\nHost: b", "ä", "a=b", "=", "a" * (MAX_ACCESS_TOKEN_CHARACTERS + 1), "a\0"],
)
def test_malformed_access_tokens(world, access_token):
    """A malformed access token is sent to nobody."""
    assert world.code(access_token) == "access_token_invalid"
    assert world.sent == []


def test_longest_access_token(world):
    """An access token may be long."""
    longest = "a" * MAX_ACCESS_TOKEN_CHARACTERS
    assert world.verify(longest) == EMAIL
    assert world.sent == [longest]


def test_hash_of_the_access_token(world):
    """`at_hash` has the hash of the token's algorithm."""
    assert world.verify(at_hash=half_hash("sha256")) == EMAIL
    edwardian = {"key": edwards("ed"), "header": {"alg": "EdDSA", "kid": "ed"}}
    assert world.verify(at_hash=half_hash("sha512"), **edwardian) == EMAIL


@pytest.mark.parametrize("wrong", ["", "ä", 5, None, half_hash("sha256", "x"), half_hash("sha512")])
def test_hash_of_another_access_token(world, wrong):
    """An access token that was not issued with the ID token is sent to nobody."""
    assert world.code(at_hash=wrong) == "access_token_invalid"
    assert world.sent == []


def test_forged_token(world):
    """A forged token causes no request for UserInfo."""
    assert world.code(key=rsa("next")) == "token_signature_invalid"
    assert world.sent == []


def test_requests_of_one_token(world):
    """However often an ID token is sent, it causes a few requests; another one causes its own."""
    once = token(world.nonces.issue()[0], **BARE)
    world.say(500)
    codes = []
    for number in range(MAX_REQUESTS + 3):
        with pytest.raises(InvalidProof) as rejection:
            world.verifier.verify(once, f"t{number}")
        codes.append(rejection.value.code)
    assert codes == ["issuer_unreachable"] * MAX_REQUESTS + ["access_token_invalid"] * 3
    assert len(world.sent) == MAX_REQUESTS
    world.say()
    assert world.verify() == EMAIL


@pytest.mark.parametrize(
    "endpoint",
    [GONE, 5, "http://accounts.test/me", "https://accounts.test:8443/me", "https://a@b.test/me"],
)
def test_endpoints(world, endpoint):
    """The endpoint is an https URL at the provider's origin, or at the usual port of another host."""
    world.provider.publish(ACCOUNTS, world.keys(), userinfo_endpoint=endpoint)
    assert world.code() == "discovery_document_invalid"
    assert world.verify(email=EMAIL, email_verified=True) == EMAIL
    assert world.sent == []
