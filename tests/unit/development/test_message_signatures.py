"""Signatures of requests for email verification tokens, with each rule broken in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support.forgeries.signed_requests import (
    BODY,
    NOW,
    byte_sequence,
    key_field,
    signed_request,
)

from persona_profile.development.message_signatures import (
    COMPONENTS,
    MAX_AGE_SECONDS,
    BadSignature,
    SignedRequest,
    verify,
)

EDWARDS = ed25519.Ed25519PrivateKey.generate()
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())

# Sent by Chromium 156.
CHROMIUM = SignedRequest(
    "POST",
    "accounts.example",
    "/email-verification/issue",
    {
        "content-digest": "sha-256=:kyc5jDA7koLzgm+dOmWhfGPXIOTOBmUdrSs+36KJJpc=:",
        "signature-key": 'sig=hwk;alg="Ed25519";crv="Ed25519";kty="OKP";'
        'x="T2lwI8sy73pco47y-OeCd5n5AtprfVLg8YrSWzB8Gj0"',
        "signature-input": 'sig=("@method" "@authority" "@path" "content-digest" "signature-key")'
        ";created=1795981057",
        "signature": "sig=:D1pbqUcb2CdmtjjQU4iEd+a6tVJmTrHTiotm641Uh4uIfRSjG0irA6qeXTXTeQmb"
        "NbUY6DNkJ8FibilI6GMNDA==:",
    },
    BODY,
)


def with_field(name, value):
    """Return a good request with a changed field; None removes it."""
    good = signed_request(EDWARDS)
    fields = {each: text for each, text in good.fields.items() if each != name}
    return replace(good, fields=fields if value is None else fields | {name: value})


class TestAccepted:
    def test_of_chromium(self):
        """The request of a real browser is accepted, and its key is returned."""
        assert verify(CHROMIUM, NOW) == {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "Ed25519",
            "x": "T2lwI8sy73pco47y-OeCd5n5AtprfVLg8YrSWzB8Gj0",
        }

    @pytest.mark.parametrize("key", [EDWARDS, ELLIPTIC])
    @pytest.mark.parametrize("changes", [{}, {"alg": None}])
    def test_of_both_kinds(self, key, changes):
        """Keys of Ed25519 and P-256 are accepted, with and without their algorithm."""
        found = verify(signed_request(key, **changes), NOW)
        assert found["crv"] == ("Ed25519" if key is EDWARDS else "P-256")
        assert found.keys() <= {"kty", "crv", "alg", "x", "y"}

    def test_other_order(self):
        """The components may come in any order, with further parameters."""
        parameters = f';created={NOW};expires={NOW + 1};keyid="a"'
        assert verify(signed_request(EDWARDS, names=COMPONENTS[::-1], parameters=parameters), NOW)

    @pytest.mark.parametrize("seconds", [-MAX_AGE_SECONDS, MAX_AGE_SECONDS])
    def test_clocks_that_differ(self, seconds):
        """Clocks may differ by the maximum age."""
        assert verify(signed_request(EDWARDS), NOW + seconds)


FORGED = {
    "another method": replace(signed_request(EDWARDS), method="PUT"),
    "another host": replace(signed_request(EDWARDS), authority="evil.example"),
    "another path": replace(signed_request(EDWARDS), path="/other"),
    "another body": replace(signed_request(EDWARDS), body=BODY.replace(b"alice", b"mallo")),
    "no digest": with_field("content-digest", None),
    "digest of another kind": with_field("content-digest", f"sha-512={byte_sequence(b'a' * 64)}"),
    "no key": with_field("signature-key", None),
    "another key": with_field("signature-key", key_field(ed25519.Ed25519PrivateKey.generate())),
    "key with another label": with_field("signature-key", key_field(EDWARDS).replace("sig", "gis")),
    "key of another scheme": with_field("signature-key", key_field(EDWARDS).replace("hwk", "jwt")),
    "two keys": with_field("signature-key", f"{key_field(EDWARDS)}, {key_field(EDWARDS)}"),
    "no signature": with_field("signature", None),
    "empty signature": with_field("signature", "sig=::"),
    "signature that is no base64": with_field("signature", "sig=:a:"),
    "no input": with_field("signature-input", None),
    "long input": with_field(
        "signature-input", signed_request(EDWARDS).fields["signature-input"] + " " * 2048
    ),
    "fewer components": signed_request(EDWARDS, names=COMPONENTS[:-1]),
    "a component twice": signed_request(EDWARDS, names=(*COMPONENTS, "@path")),
    "no time": signed_request(EDWARDS, parameters=""),
    "time that is text": signed_request(EDWARDS, parameters=f';created="{NOW}x"'),
    "time twice": signed_request(EDWARDS, parameters=f";created=1;created={NOW}"),
    "too old": signed_request(EDWARDS, parameters=f";created={NOW - MAX_AGE_SECONDS - 1}"),
    "of the future": signed_request(EDWARDS, parameters=f";created={NOW + MAX_AGE_SECONDS + 1}"),
    "expired": signed_request(EDWARDS, parameters=f";created={NOW};expires={NOW - 1}"),
    "algorithm of another key": signed_request(EDWARDS, alg="ES256"),
    "key of RSA": signed_request(EDWARDS, kty="RSA"),
    "another curve": signed_request(EDWARDS, crv="Ed448"),
    "short key": signed_request(EDWARDS, x=b"short"),
    "key that is no base64url": signed_request(EDWARDS, x="+/+/"),
    "point off the curve": signed_request(ELLIPTIC, y=b"\1" * 32),
}


@pytest.mark.parametrize("request_", FORGED.values(), ids=FORGED.keys())
def test_rejected(request_):
    """A request that breaks one rule is rejected, without a word of its content."""
    with pytest.raises(BadSignature) as caught:
        verify(request_, NOW)
    assert "alice" not in str(caught.value)


def test_elliptic_signature_of_another_length():
    """A signature of P-256 has 64 bytes."""
    good = signed_request(ELLIPTIC)
    fields = {**good.fields, "signature": f"sig={byte_sequence(b'a' * 63)}"}
    with pytest.raises(BadSignature, match="does not fit"):
        verify(replace(good, fields=fields), NOW)
