"""Forgeries in the form: bundle, header, base64url, JSON."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from persona_profile.auth.browserid_keys import public_key_document
from persona_profile.encoding import base64url_encode
from support.clients.identities import (
    AUDIENCE,
    assertion_claims,
    certificate_claims,
    dsa_key,
    rsa_key,
)
from support.forgeries.documents import json_encode
from support.forgeries.minting import (
    EMAIL,
    Forgery,
    assertion,
    bundle,
    certificate,
    changed,
    jws,
    now,
    signature,
    with_assertion,
    with_certificate,
)


def bundles() -> Iterator[Forgery]:
    """Yield texts that are not a certificate and an assertion."""
    chain = partial(_chain, rsa_key("stranger"))
    shapes: dict[str, Callable[[], str]] = {
        "nothing": lambda: "",
        "a tilde alone": lambda: "~",
        "two tildes": lambda: "~~",
        "an assertion alone": assertion,
        "an assertion after a tilde": lambda: f"~{assertion()}",
        "a certificate alone": certificate,
        "a certificate before a tilde": lambda: f"{certificate()}~",
        "a tilde at the end": lambda: f"{bundle()}~",
        "a tilde at the begin": lambda: f"~{bundle()}",
        "the same certificate twice": lambda: f"{certificate()}~{bundle()}",
        "a chain of two certificates": chain,
        "a thousand tildes": lambda: "~".join([certificate()] + [""] * 1000 + [assertion()]),
        "the old style in JSON": lambda: base64url_encode(
            json_encode({"certificates": [certificate()], "assertion": assertion()})
        ),
        "words": lambda: "let me in, please",
    }
    for name, mint in shapes.items():
        yield Forgery(f"bundle of {name}", "malformed_bundle", mint)
    swapped = lambda: f"{assertion()}~{certificate()}"  # noqa: E731
    yield Forgery("bundle swapped", "email_missing", swapped)
    two = lambda: f"{certificate()}~{certificate()}"  # noqa: E731
    yield Forgery("bundle of two certificates and no assertion", "assertion_life_invalid", two)
    long = with_assertion({"padding": "x" * 16_384})
    yield Forgery("bundle of more than 16 KiB", "proof_too_large", long)
    yield Forgery(
        "bundle of 1 MB",
        "proof_too_large",
        with_assertion({"padding": "x" * 1_000_000}),
        over_http=(413, "body_too_large"),
    )
    yield Forgery("bundle of 16 KiB of dots", "malformed_bundle", lambda: "." * 16_384)
    dots = lambda: f"{'.' * 8000}~{'.' * 8000}"  # noqa: E731
    yield Forgery("bundle of two times 8000 dots", "malformed_jws", dots)


def _chain(root: Any) -> str:
    issuer = certificate({"principal": {"host": "issuer.test"}}, user=root)
    return f"{issuer}~{certificate(issuer=root)}~{assertion()}"


def headers() -> Iterator[Forgery]:
    """Yield headers that ask for another algorithm, or for anything at all."""
    for value in ("none", "None", "NONE", "", "RS64", "RS128", "DS160", "rs256", "Rs256", "RS256 "):
        header = {"alg": value}
        for part, minter in {"certificate": with_certificate, "assertion": with_assertion}.items():
            mint = minter(header=header, sign=_nothing if value.lower() == "none" else signature)
            yield Forgery(f"{part} alg is {value!r}", "algorithm_not_allowed", mint)
    no_algorithms: dict[str, Any] = {
        "HS256 keyed by the public key": {"alg": "HS256"},
        "ES256": {"alg": "ES256"},
        "PS256": {"alg": "PS256"},
        "RS512": {"alg": "RS512"},
        "a list": {"alg": ["RS256"]},
        "an object": {"alg": {"RS256": 1}},
        "null": {"alg": None},
        "a number": {"alg": 256},
        "missing": {"typ": "JWT"},
    }
    for name, header in no_algorithms.items():
        sign = _hmac if name.startswith("HS256") else signature
        mint = with_assertion(header=header, sign=sign)
        yield Forgery(f"alg is {name}", "algorithm_not_allowed", mint)
    own = public_key_document(rsa_key("stranger").public_key())
    for name, value in {
        "jwk": own,
        "jku": "https://evil.test/keys",
        "x5u": "https://evil.test/chain.pem",
        "x5c": ["AAAA"],
        "kid": "../../dev/null",
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "public-key": own,
    }.items():
        mint = with_certificate(header={"alg": "RS256", name: value}, issuer=rsa_key("stranger"))
        yield Forgery(f"{name} in the header", "header_not_allowed", mint)
    for name, header in {
        "a list": b'["RS256"]',
        "a string": b'"RS256"',
        "null": b"null",
        "no JSON": b"RS256",
        "empty": b"",
        "alg twice": b'{"alg":"none","alg":"RS256"}',
        "alg twice, once escaped": b'{"alg":"none","\\u0061lg":"RS256"}',
    }.items():
        yield Forgery(f"header is {name}", "malformed_jws", with_certificate(header=header))


def _nothing(_signed: bytes, _key: Any) -> bytes:
    return b""


def _hmac(signed: bytes, key: Any) -> bytes:
    modulus = str(key.public_key().public_numbers().n)
    return hmac.digest(modulus.encode(), signed, hashlib.sha256)


def confusions() -> Iterator[Forgery]:
    """Yield algorithms that are allowed, but not with the key at hand."""
    mismatch = "algorithm_mismatch"
    unsigned = "certificate_signature_invalid"
    small, large = dsa_key("user"), dsa_key("user", 2048)
    yield Forgery("RSA key, DS128 header", mismatch, with_assertion(header={"alg": "DS128"}))
    yield Forgery("RSA key, DS256 header", mismatch, with_assertion(header={"alg": "DS256"}))
    for key, wrong in ((small, "RS256"), (small, "DS256"), (large, "RS256"), (large, "DS128")):
        yield Forgery(
            f"DSA key of {key.key_size} bits, {wrong} header",
            mismatch,
            lambda key=key, wrong=wrong: bundle(
                certificate(user=key), assertion(user=key, header={"alg": wrong})
            ),
        )
    for wrong in ("DS128", "DS256"):
        mint = with_certificate(header={"alg": wrong})
        yield Forgery(f"issuer of RSA, {wrong} header", unsigned, mint)
    at_dsa = {"principal": {"email": "alice@dsa.test"}, "iss": "dsa.test"}
    for wrong in ("RS256", "DS256"):
        mint = with_certificate(at_dsa, issuer=dsa_key("issuer"), header={"alg": wrong})
        yield Forgery(f"issuer of DSA, {wrong} header", unsigned, mint)


def encodings() -> Iterator[Forgery]:
    """Yield bundles whose base64url has more than the one spelling."""

    def respelt(change: Callable[[str], str]) -> Callable[[], str]:
        return lambda: change(bundle())

    def in_signature(change: Callable[[str], str]) -> Callable[[], str]:
        def spell(text: str) -> str:
            rest, _, last = text.rpartition(".")
            return f"{rest}.{change(last)}"

        return respelt(spell)

    spellings: dict[str, Callable[[], str]] = {
        "with padding": in_signature(lambda text: f"{text}=="),
        "with stray bits": in_signature(lambda text: text[:-1] + _next_letter(text[-1])),
        "with one letter too many": in_signature(lambda text: f"{text}AAA"),
        "in the other alphabet": in_signature(lambda text: f"{text[:-4]}+/+/"),
        "with a space": in_signature(lambda text: f"{text[:9]} {text[9:]}"),
        "with a newline in it": in_signature(lambda text: f"{text[:9]}\n{text[9:]}"),
        "with a newline at the end": respelt(lambda text: f"{text}\n"),
        "with a space before it": respelt(lambda text: f" {text}"),
        "with a byte-order mark": respelt(lambda text: f"\ufeff{text}"),
        "with NUL at the end": respelt(lambda text: f"{text}\0"),
        "with non-ASCII characters": in_signature(lambda text: f"{text[:-1]}\u00e9"),
        "with full-width letters": in_signature(lambda text: f"{text[:-1]}\uff21"),
        "with four parts": respelt(lambda text: f"{text}.AAAA"),
        "with two parts": respelt(lambda text: text.rpartition(".")[0]),
        "with a percent sign": in_signature(lambda text: f"{text[:-1]}%41"),
    }
    for name, mint in spellings.items():
        yield Forgery(f"base64url {name}", "malformed_jws", mint)
    yield Forgery(
        "lone surrogate in the bundle",
        "malformed_jws",
        respelt(lambda text: f"{text}\ud800"),
        over_http=(400, "malformed_request"),
    )


def _next_letter(letter: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) + 1]


def _raw(spell: Callable[[bytes], bytes], *, in_certificate: bool = False) -> Callable[[], str]:
    """Return a minter of bundles with one payload rewritten before its signature."""

    def mint() -> str:
        if in_certificate:
            claims = certificate_claims(EMAIL, rsa_key("user"))
            return bundle(jws(spell(json_encode(claims)), rsa_key("issuer")))
        return bundle(None, jws(spell(json_encode(assertion_claims())), rsa_key("user")))

    return mint


def json_texts() -> Iterator[Forgery]:
    """Yield payloads that JSON parsers read in different ways, or choke on."""
    aud = f'"aud":"{AUDIENCE}"'.encode()
    evil = b'"aud":"http://evil.test"'
    email = json_encode({"email": EMAIL})
    deep = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b","
    texts: dict[str, Callable[[], str]] = {
        "with aud twice": _raw(lambda text: text.replace(aud, evil + b"," + aud)),
        "with aud twice, once escaped": _raw(
            lambda text: text.replace(aud, evil + b"," + aud.replace(b"aud", b"\\u0061ud"))
        ),
        "with exp twice": _raw(lambda text: b'{"exp":1,' + text[1:]),
        "with iss twice": _raw(lambda text: b'{"iss":"evil.test",' + text[1:], in_certificate=True),
        "with two emails of the principal": _raw(
            lambda text: text.replace(email, b'{"email":"bob@issuer.test",' + email[1:]),
            in_certificate=True,
        ),
        "nested 5,000 levels": _raw(lambda text: deep + text[1:]),
        "nested 100 levels": _raw(lambda text: b'{"x":' + b"[" * 100 + b"]" * 100 + b"," + text[1:]),
        "of 10,000 levels": _raw(lambda _text: b"[" * 10_000),
        "of 2,500 objects": _raw(lambda _text: b'{"":' * 2_500),
        "in invalid UTF-8": _raw(lambda text: b'{"x":"\xff",' + text[1:]),
        "with a surrogate in UTF-8": _raw(lambda text: b'{"x":"\xed\xa0\x80",' + text[1:]),
        "with an overlong NUL": _raw(lambda text: b'{"x":"\xc0\x80",' + text[1:]),
        "with half a surrogate pair": _raw(lambda text: b'{"x":"\\ud800",' + text[1:]),
        "in UTF-16": _raw(lambda text: text.decode().encode("utf-16")),
        "in UTF-16 without a mark": _raw(lambda text: text.decode().encode("utf-16-le")),
        "in UTF-32": _raw(lambda text: text.decode().encode("utf-32-be")),
        "with a byte-order mark": _raw(lambda text: b"\xef\xbb\xbf" + text),
        "with NaN": _raw(lambda text: b'{"x":NaN,' + text[1:]),
        "with Infinity": _raw(lambda text: b'{"x":Infinity,' + text[1:]),
        "with minus Infinity": _raw(lambda text: b'{"x":-Infinity,' + text[1:]),
        "with a number beyond floats": _raw(lambda text: b'{"x":1e999,' + text[1:]),
        "with an integer of 5,000 digits": _raw(lambda text: b'{"x":' + b"9" * 5_000 + b"," + text[1:]),
        "that goes on after its end": _raw(lambda text: text + b"{}"),
        "with NUL after its end": _raw(lambda text: text + b"\0"),
        "with a comment": _raw(lambda text: b"/**/" + text),
        "with a comma at the end": _raw(lambda text: text[:-1] + b",}"),
        "in single quotes": _raw(lambda text: text.replace(b'"', b"'")),
        "with a raw newline in a string": _raw(lambda text: b'{"x":"\n",' + text[1:]),
        "that is a list": _raw(lambda text: b"[" + text + b"]"),
        "that is a string": _raw(lambda text: json.dumps(text.decode()).encode()),
        "that is null": _raw(lambda _text: b"null"),
        "that is a number": _raw(lambda _text: b"1"),
        "that is empty": _raw(lambda _text: b""),
        "of a certificate that is a list": _raw(lambda text: b"[" + text + b"]", in_certificate=True),
        "in base64 once more": _raw(base64.b64encode),
    }
    for name, mint in texts.items():
        yield Forgery(f"payload {name}", "malformed_jws", mint)


def alterations() -> Iterator[Forgery]:
    """Yield parts that were altered after they had been signed."""

    def altered(part: int, **changes: Any) -> Callable[[], str]:
        def mint() -> str:
            parts = bundle().split("~")
            header, payload, signed = parts[part].split(".")
            claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
            text = base64url_encode(json_encode(changed(claims, changes)))
            parts[part] = f"{header}.{text}.{signed}"
            return "~".join(parts)

        return mint

    certificate_invalid, assertion_invalid = (
        f"{part}_signature_invalid" for part in ("certificate", "assertion")
    )
    bob = {"principal": {"email": "bob@issuer.test"}}
    stolen = public_key_document(rsa_key("stranger").public_key())
    yield Forgery("certificate of another email", certificate_invalid, altered(0, **bob))
    yield Forgery(
        "certificate of another key",
        certificate_invalid,
        lambda: bundle(
            altered(0, **{"public-key": stolen})().partition("~")[0],
            assertion(user=rsa_key("stranger")),
        ),
    )
    yield Forgery("certificate with a member more", certificate_invalid, altered(0, x=1))
    yield Forgery("assertion with a member more", assertion_invalid, altered(1, x=1))

    def prolonged() -> str:
        return altered(1, exp=now() + 200_000)()

    yield Forgery("assertion with a later end", assertion_invalid, prolonged)


ROWS = (
    *bundles(),
    *headers(),
    *confusions(),
    *encodings(),
    *json_texts(),
    *alterations(),
)
