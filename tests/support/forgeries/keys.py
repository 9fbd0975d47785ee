"""Forgeries in keys and signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from persona_profile.auth.browserid_keys import public_key_document
from support.clients.identities import dsa_key, rsa_key
from support.forgeries.minting import (
    GONE,
    Forgery,
    assertion,
    bundle,
    certificate,
    changed,
    signature,
    with_assertion,
    with_certificate,
)

REFUSED = "key_not_allowed"
ASSERTION = "assertion_signature_invalid"
CERTIFICATE = "certificate_signature_invalid"
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@cache
def _rsa_with_exponent(exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=exponent, key_size=2048)


def rsa_keys() -> Iterator[Forgery]:
    """Yield invalid and outdated RSA keys."""
    good = public_key_document(rsa_key("user").public_key())
    n, e = good["n"], good["e"]
    yield Forgery("RSA of 1024 bits", REFUSED, lambda: _signed_by(rsa_key("small", 1024)))
    yield Forgery("RSA with exponent 3", REFUSED, lambda: _signed_by(_rsa_with_exponent(3)))
    yield Forgery("RSA with exponent 1", REFUSED, _with_exponent_one)
    changes: dict[str, dict[str, Any]] = {
        "of 512 bits": {"n": str(2**511 + 1)},
        "of 2046 bits": {"n": str(2**2045 + 1)},
        "of 4097 bits": {"n": str(2**4096 + 1)},
        "of 16384 bits": {"n": "9" * 4932},
        "of 1235 digits": {"n": "1" * 1235},
        "with an even modulus": {"n": str(int(n) + 1)},
        "with modulus 0": {"n": "0"},
        "with modulus 1": {"n": "1"},
        "with a negative modulus": {"n": f"-{n}"},
        "with a sign": {"n": f"+{n}"},
        "with a zero in front": {"n": f"0{n}"},
        "with a space in front": {"n": f" {n}"},
        "with a newline at the end": {"n": f"{n}\n"},
        "with underscores": {"n": f"{n[:3]}_{n[3:]}"},
        "with a fraction": {"n": f"{n}.0"},
        "with an exponential modulus": {"n": "1e616"},
        "with Arabic digits": {"n": n.translate({ord("0") + i: 0x660 + i for i in range(10)})},
        "with full-width digits": {"n": n.translate({ord("0") + i: 0xFF10 + i for i in range(10)})},
        "in hexadecimal": {"n": f"{int(n):x}"},
        "in hexadecimal with a prefix": {"n": f"0x{int(n):x}"},
        "in base64url": {"kty": "RSA", "algorithm": "RS", "n": "AQAB" * 86, "e": "AQAB"},
        "with an empty modulus": {"n": ""},
        "with modulus null": {"n": None},
        "with a list for a modulus": {"n": [n]},
        "with a number for a modulus": {"n": 2**53},
        "without a modulus": {"n": GONE},
        "without an exponent": {"e": GONE},
        "with exponent 0": {"e": "0"},
        "with exponent 2": {"e": "2"},
        "with exponent 257": {"e": "257"},
        "with an even exponent": {"e": "65538"},
        "with exponent -1": {"e": "-1"},
        "with an exponent of 33 bits": {"e": str(2**32 + 1)},
        "with an exponent of 2048 bits": {"e": str(int(n) - 2)},
        "with an exponent of 1234 digits": {"e": "9" * 1234},
        "with a number for an exponent": {"e": int(e)},
        "of no algorithm": {"algorithm": GONE},
        "of algorithm RSA": {"algorithm": "RSA"},
        "of algorithm RS256": {"algorithm": "RS256"},
        "of algorithm rs": {"algorithm": "rs"},
        "that says DS": {"algorithm": "DS"},
        "with a list for an algorithm": {"algorithm": ["RS"]},
    }
    for name, change in changes.items():
        yield Forgery(f"RSA {name}", REFUSED, _with_key(changed(good, change)))
    others = {"missing": GONE, "null": None, "a string": n, "a list": [good], "of nothing": {}}
    for name, document in others.items():
        yield Forgery(f"key {name}", REFUSED, _with_key(document))


def _with_key(document: Any) -> Callable[[], str]:
    return with_certificate({"public-key": document})


def _signed_by(user: Any) -> str:
    return bundle(certificate(user=user), assertion(user=user))


def _with_exponent_one() -> str:
    """Return a bundle of a key under which each padded message is its own signature."""

    def sign(signed: bytes, _key: Any) -> bytes:
        info = SHA256_DIGEST_INFO + hashlib.sha256(signed).digest()
        return b"\0\1" + b"\xff" * (253 - len(info)) + b"\0" + info

    document = {**public_key_document(rsa_key("user").public_key()), "e": "1"}
    return bundle(certificate({"public-key": document}), assertion(sign=sign))


def dsa_keys() -> Iterator[Forgery]:
    """Yield DSA keys of odd sizes, and keys without a secret."""
    key = dsa_key("user")
    good = public_key_document(key.public_key())
    p, q, g = (int(good[name], 16) for name in "pqg")
    minus_one = f"{p - 1:x}"
    large = public_key_document(dsa_key("user", 2048).public_key())
    changes: dict[str, Mapping[str, Any]] = {
        "y = 0": {"y": "0"},
        "y = p - 1": {"y": minus_one},
        "y = p": {"y": f"{p:x}"},
        "y = p + 1": {"y": f"{p + 1:x}"},
        "g = 0": {"g": "0"},
        "g = p - 1": {"g": minus_one},
        "g = p + 1": {"g": f"{p + 1:x}"},
        "g > p": {"g": f"{p + g:x}"},
        "even p": {"p": minus_one},
        "even p, 1 more than a multiple of q": {"p": f"{_above(q):x}"},
        "even q": {"q": f"{q - 1:x}"},
        "even q, p 1 more than a multiple of it": {"p": f"{_above(q - 1):x}", "q": f"{q - 1:x}"},
        "p of the right size, not 1 more than a multiple of q": {"p": f"{p - 2:x}"},
        "p of 1023 bits": {"p": f"{2**1022 + 1:x}"},
        "p of 1025 bits": {"p": f"{2**1024 + 1:x}"},
        "p of 3072 bits": {"p": f"{2**3071 + 1:x}"},
        "p of 600 digits": {"p": "f" * 600},
        "p of 2000 digits": {"p": "f" * 2000},
        "q of 159 bits": {"q": f"{2**158 + 1:x}"},
        "q of 161 bits": {"q": f"{2**160 + 1:x}"},
        "q = 1": {"q": "1"},
        "q = 0": {"q": "0"},
        "q of 2048 bits, p of 1024": {"q": large["q"]},
        "p of 2048 bits, q of 160": {"p": large["p"]},
        "negative y": {"y": f"-{good['y']}"},
        "y with a prefix": {"y": f"0x{good['y']}"},
        "y with a space": {"y": f" {good['y']}"},
        "y with a newline at the end": {"y": f"{good['y']}\n"},
        "y with an underscore": {"y": f"{good['y'][:4]}_{good['y'][4:]}"},
        "y in full-width digits": {"y": "\uff11\uff12"},
        "y a number": {"y": 12345},
        "no y": {"y": GONE},
        "no p": {"p": GONE},
        "RS for an algorithm": {"algorithm": "RS"},
    }
    for name, change in changes.items():
        yield Forgery(
            f"DSA with {name}",
            REFUSED,
            lambda change=change: bundle(
                certificate({"public-key": changed(good, change)}, user=key), assertion(user=key)
            ),
        )
    yield Forgery("DSA with y = 1, signed by nobody", REFUSED, lambda: _nobody({"y": "1"}))
    yield Forgery("DSA with g = 1, signed by nobody", REFUSED, lambda: _nobody({"g": "1"}))


def _above(q: int) -> int:
    """Return a number of 1024 bits, 1 more than an odd multiple of q."""
    return ((2**1023 // q + 1) | 1) * q + 1


def _nobody(change: Mapping[str, Any]) -> str:
    """Return a bundle whose assertion verifies under a degenerate key without a secret."""
    key = dsa_key("user")
    document = changed(public_key_document(key.public_key()), change)
    p, q, g, y = (int(document[name], 16) for name in "pqgy")

    def sign(signed: bytes, _key: Any) -> bytes:
        digest = int.from_bytes(hashlib.sha1(signed).digest())
        if y == 1:  # v = g ** (digest / s): with s = digest it is g
            r, s = g % p % q, digest % q
        else:  # v = y ** (r / s): with s = r it is y
            r = y % p % q
            s = r
        return r.to_bytes(20) + s.to_bytes(20)

    return bundle(certificate({"public-key": document}, user=key), assertion(user=key, sign=sign))


def rsa_signatures() -> Iterator[Forgery]:
    """Yield RSA signatures that aren't."""
    changes: dict[str, Callable[[bytes, int], bytes]] = {
        "empty": lambda _made, _n: b"",
        "of one byte": lambda _made, _n: b"\1",
        "of zeros": lambda made, _n: bytes(len(made)),
        "truncated": lambda made, _n: made[:-1],
        "with a zero in front": lambda made, _n: b"\0" + made,
        "with a zero at the end": lambda made, _n: made + b"\0",
        "twice": lambda made, _n: made + made,
        "reversed": lambda made, _n: made[::-1],
        "with a bit flipped": lambda made, _n: made[:-1] + bytes([made[-1] ^ 1]),
        "plus the modulus": lambda made, n: (int.from_bytes(made) + n).to_bytes(257),
        "negated": lambda made, n: (n - int.from_bytes(made)).to_bytes(256),
        "of the largest number": lambda made, _n: b"\xff" * len(made),
        "of the modulus": lambda _made, n: n.to_bytes(256),
        "of 1": lambda _made, _n: (1).to_bytes(256),
        "of 8 KiB": lambda _made, _n: b"\1" * 8192,
    }
    for name, change in changes.items():

        def sign(signed: bytes, key: Any, change: Any = change) -> bytes:
            return change(signature(signed, key), key.public_key().public_numbers().n)

        yield Forgery(f"assertion signature {name}", ASSERTION, with_assertion(sign=sign))
        if name != "plus the modulus":
            mint = with_certificate(sign=sign)
            yield Forgery(f"certificate signature {name}", CERTIFICATE, mint)
    yield Forgery(
        "assertion signed by the issuer's key",
        ASSERTION,
        with_assertion(user=rsa_key("issuer")),
    )
    yield Forgery(
        "assertion signed by a stranger's key",
        ASSERTION,
        with_assertion(user=rsa_key("stranger")),
    )
    yield Forgery(
        "certificate signed by its own key", CERTIFICATE, with_certificate(issuer=rsa_key("user"))
    )
    yield Forgery(
        "assertion with the signature of the certificate",
        ASSERTION,
        _with_signature_of_certificate,
    )


def _with_signature_of_certificate() -> str:
    first, second = (part.rpartition(".") for part in bundle().split("~"))
    return f"{first[0]}.{first[2]}~{second[0]}.{first[2]}"


def dsa_signatures() -> Iterator[Forgery]:
    """Yield DSA signatures that naive arithmetic takes, or never comes back from."""
    for bits, size in ((1024, 20), (2048, 32)):
        q = dsa_key("user", bits).parameters().parameter_numbers().q

        pair = partial(_pair, size)
        changes = {
            "r = 0": pair(0, None),
            "s = 0": pair(None, 0),
            "r = s = 0": pair(0, 0),
            "r = q": pair(q, None),
            "s = q": pair(None, q),
            "r > q": pair(q + 1, None),
            "s > q": pair(None, q + 1),
            "r and s as large as can be": pair(2 ** (8 * size) - 1, 2 ** (8 * size) - 1),
            "r = s = 1": pair(1, 1),
            "r and s exchanged": lambda made: made[len(made) // 2 :] + made[: len(made) // 2],
            "s negated": lambda made, q=q, size=size: (
                made[:size] + (q - int.from_bytes(made[size:])).to_bytes(size)
            ),
            "no byte": lambda _made: b"",
            "one byte less": lambda made: made[:-1],
            "one byte more": lambda made: made + b"\0",
            "a zero in front": lambda made: b"\0" + made,
            "a zero between r and s": lambda made, size=size: made[:size] + b"\0" + made[size:],
            "an odd half": lambda made, size=size: made[:size],
            "the form of DER": _der,
            "8 KiB": lambda made: made * (8192 // len(made)),
        }
        for name, change in changes.items():
            yield Forgery(
                f"DSA signature of {bits} bits with {name}",
                ASSERTION,
                lambda bits=bits, change=change: _with_dsa_signature(bits, change),
            )


def _pair(size: int, r: int | None, s: int | None) -> Callable[[bytes], bytes]:
    """Return a change of a signature's halves to numbers; None lets a half be."""

    def change(made: bytes) -> bytes:
        halves = zip((made[:size], made[size:]), (r, s), strict=True)
        return b"".join(half if value is None else value.to_bytes(size) for half, value in halves)

    return change


def _der(made: bytes) -> bytes:
    half = len(made) // 2
    body = b"".join(bytes([2, half]) + part for part in (made[:half], made[half:]))
    return bytes([0x30, len(body)]) + body


def _with_dsa_signature(bits: int, change: Callable[[bytes], bytes]) -> str:
    user = dsa_key("user", bits)
    sign = lambda signed, key: change(signature(signed, key))  # noqa: E731
    return bundle(certificate(user=user), assertion(user=user, sign=sign))


ROWS = (*rsa_keys(), *dsa_keys(), *rsa_signatures(), *dsa_signatures())
