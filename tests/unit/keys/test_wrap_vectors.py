"""The primitives under the formats of docs/reference/key-formats.md give what their standards print."""

import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)
from support.forgeries import independent_keys as independent

VECTORS = Path(cryptography_vectors.__file__).parent
NIST = "keywrap/kwtestvectors"
NIST_FILES = {
    f"{mode}_{direction}_{bits}.txt"
    for mode, direction, bits in product(("KW", "KWP"), ("AE", "AD"), (128, 192, 256))
}
FUNCTIONS = {
    "KW": (aes_key_wrap, aes_key_unwrap),
    "KWP": (aes_key_wrap_with_padding, aes_key_unwrap_with_padding),
}
# RFC 5649, section 6: key, key data, ciphertext.
RFC_5649_KEY = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
RFC_5649 = [
    (
        "c37b7e6492584340bed12207808941155068f738",
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    ),
    ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
]
# RFC 5297, appendix A: key, associated data (the nonce of A.2 last), plaintext, IV and ciphertext.
RFC_5297 = {
    "A.1": (
        "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        ["101112131415161718191a1b1c1d1e1f2021222324252627"],
        "112233445566778899aabbccddee",
        "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
    ),
    "A.2": (
        "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
        [
            "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
            "102030405060708090a0",
            "09f911029d74e35bd84156c5635688c0",
        ],
        "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
        (
            "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8a"
            "f829ea64ad544a272e9c485b62a3fd5c0d"
        ),
    ),
}


def read(name: str) -> Iterator[dict[str, str]]:
    """Yield the vectors of a file, each beginning with COUNT; what has no value is a member too."""
    vector: dict[str, str] = {}
    for line in io.StringIO((VECTORS / name).read_text("ascii")):
        member, _, value = (part.strip() for part in line.partition("="))
        if member == "COUNT" and vector:
            yield vector
            vector = {}
        if member and not member.startswith(("#", "[")):
            vector[member] = value
    yield vector


def unhex(vector: dict[str, str], *names: str) -> list[bytes]:
    """Return members of a vector as bytes."""
    return [bytes.fromhex(vector[name]) for name in names]


def test_no_file_is_left_out():
    """All of NIST's files for AES are used, except those that wrap with the inverse cipher."""
    there = {path.name for path in (VECTORS / NIST).glob("KW*.txt")}
    assert {name for name in there if not name.endswith("_inv.txt")} == NIST_FILES


@pytest.mark.parametrize("name", sorted(NIST_FILES))
def test_nist(name):
    """All 500 vectors of a file hold in both directions; 100 of decryption must be rejected."""
    wrap, unwrap = FUNCTIONS[name.split("_")[0]]
    opened = rejected = 0
    for vector in read(f"{NIST}/{name}"):
        key, ciphertext = unhex(vector, "K", "C")
        if "FAIL" in vector:
            with pytest.raises(InvalidUnwrap):
                unwrap(key, ciphertext)
            rejected += 1
        else:
            (plaintext,) = unhex(vector, "P")
            assert wrap(key, plaintext) == ciphertext
            assert unwrap(key, ciphertext) == plaintext
            opened += 1
    assert (opened, rejected) == ((400, 100) if "_AD_" in name else (500, 0))


@pytest.mark.parametrize("name", sorted(name for name in NIST_FILES if name.startswith("KWP")))
def test_nist_independently(name):
    """The independent implementation of AES-KWP is held to the same vectors as the library."""
    count = 0
    for vector in read(f"{NIST}/{name}"):
        key, ciphertext = unhex(vector, "K", "C")
        if "FAIL" in vector:
            with pytest.raises(independent.Rejected):
                independent.kwp_unwrap(key, ciphertext)
        else:
            assert independent.kwp_unwrap(key, ciphertext) == bytes.fromhex(vector["P"])
            assert independent.kwp_wrap(key, bytes.fromhex(vector["P"])) == ciphertext
        count += 1
    assert count == 500


def test_every_length_of_padding():
    """The 129 vectors of Botan wrap plaintexts of every length from 1 to 127 bytes."""
    lengths = []
    for vector in read("keywrap/kwp_botan.txt"):
        key, plaintext, wrapped = unhex(vector, "Key", "Input", "Output")
        assert aes_key_wrap_with_padding(key, plaintext) == wrapped
        assert aes_key_unwrap_with_padding(key, wrapped) == plaintext
        lengths.append(len(plaintext))
    assert len(lengths) == 129
    assert set(lengths) == set(range(1, 128))


@pytest.mark.parametrize(("plaintext", "wrapped"), RFC_5649, ids=["20 octets", "7 octets"])
def test_rfc_5649(plaintext, wrapped):
    """The examples of AES-KWP hold both ways, in both implementations."""
    key, plaintext, wrapped = map(bytes.fromhex, (RFC_5649_KEY, plaintext, wrapped))
    for wrap in (aes_key_wrap_with_padding, independent.kwp_wrap):
        assert wrap(key, plaintext) == wrapped
    for unwrap in (aes_key_unwrap_with_padding, independent.kwp_unwrap):
        assert unwrap(key, wrapped) == plaintext


@pytest.mark.parametrize("name", RFC_5297)
def test_rfc_5297(name):
    """The examples of AES-SIV hold both ways, and not with other associated data."""
    key, associated, plaintext, sealed = RFC_5297[name]
    cipher = AESSIV(bytes.fromhex(key))
    associated = [bytes.fromhex(each) for each in associated]
    assert cipher.encrypt(bytes.fromhex(plaintext), associated) == bytes.fromhex(sealed)
    assert cipher.decrypt(bytes.fromhex(sealed), associated) == bytes.fromhex(plaintext)
    with pytest.raises(InvalidTag):
        cipher.decrypt(bytes.fromhex(sealed), [b"".join(associated) + b"\0"])


def test_rfc_5869():
    """The three test cases of HKDF-SHA256 hold, in both implementations."""
    cases = list(read("KDF/rfc-5869-HKDF-SHA256.txt"))
    assert len(cases) == 3
    for case in cases:
        key, salt, info, expected = unhex(case, "IKM", "salt", "info", "OKM")
        length = int(case["L"])
        assert HKDF(SHA256(), length, salt or None, info).derive(key) == expected
        assert independent.hkdf(key, info, length, salt) == expected
