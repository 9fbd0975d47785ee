"""Tokens of sessions: their size, and what stands for issuers in them."""

from dataclasses import replace

import pytest
from support.clients.sessions import session_of
from support.stores.sealed_store import ALICE, BOB, key

from persona_profile.api.sessions import MAX_EMAILS
from persona_profile.emails import MAX_BYTES, canonical_email
from persona_profile.encoding import json_encode
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.records import KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import (
    MAX_TOKEN_CHARACTERS,
    PictureCapabilities,
    PictureCapability,
    Protection,
    SessionTokens,
)
from persona_profile.keys.wrapping import KeyWrapper

KEYS = KeyWrapper(Keyring([key(1)], [key(9)]))
TOKENS = SessionTokens(KEYS)


def longest_email(number: int) -> str:
    """Return an email of MAX_BYTES bytes."""
    local = f"{number:02}" + "é" * 31
    domain = ".".join(["d" * 63, "d" * 63, "d" * 57, "com"])
    email = canonical_email(f"{local}@{domain}")
    assert len(email.encode()) == MAX_BYTES
    return email


def test_the_longest_token_is_taken():
    """A session of the most and longest emails opens again, and its token fits into one header."""
    emails = [longest_email(number) for number in range(MAX_EMAILS)]
    session = session_of(*emails, profile_key=b"k" * 32)
    token = TOKENS.seal(session)
    assert TOKENS.open(token) == session
    assert 8_000 < len(token) < 9_000 < MAX_TOKEN_CHARACTERS


def test_issuer_of_an_email():
    """Each email of a session has its issuer; other emails have none."""
    first, second = session_of(ALICE).proofs[0], session_of(BOB).proofs[0]
    session = replace(session_of(ALICE), proofs=(first, replace(second, issuer="J" * 22)))
    opened = TOKENS.open(TOKENS.seal(session))
    assert [opened.issuer_of(email) for email in (ALICE, BOB)] == ["I" * 22, "J" * 22]
    with pytest.raises(KeyError):
        opened.issuer_of("carol@example.net")


@pytest.mark.parametrize("profile_key", [None, "A" * 43])
@pytest.mark.parametrize("emails", [[], [ALICE], [ALICE, BOB]])
def test_tokens_without_proofs_are_refused(emails, profile_key):
    """A token in the form of an older release is no session."""
    payload = [1_800_000_000_000, 1_800_003_600_000, profile_key, *emails]
    with pytest.raises(Unreadable):
        TOKENS.open(KEYS.seal_token("session", json_encode(payload)))


def test_picture_urls_of_protected_profiles():
    """A capability keeps the key and the sign-outs; one of an older release is none."""
    capabilities = PictureCapabilities(KEYS, 3600)
    protection = Protection(
        RecordKey(KeyRole.PICTURE, b"k" * 32), ((KEYS.partition(ALICE), 5),), 4_000_000_000_000
    )
    capability = PictureCapability(KEYS.partition(ALICE), bytes(16), 64, ("jpeg",), protection)
    text = capabilities.seal(capability)
    assert capabilities.open(text)[0] == capability
    cut = KEYS.open_token("picture", text)[:-1]
    with pytest.raises(Unreadable):
        capabilities.open(KEYS.seal_token("picture", cut))
