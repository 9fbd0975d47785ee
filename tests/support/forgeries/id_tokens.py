"""ID tokens that must be rejected for their form, header, key or signature."""

from __future__ import annotations

import hmac
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jws import JWSRegistry

from persona_profile.encoding import base64url_encode
from support.forgeries.documents import json_encode
from support.servers.openid import (
    ACCOUNTS,
    BROKER,
    CLIENT,
    GONE,
    STRICT,
    Provider,
    broker_claims,
    claims,
    compact,
    edwards,
    elliptic,
    public,
    rsa,
    signer,
    token,
)


class Forgery(NamedTuple):
    """A token that must be rejected.

    Attributes:
        name: the reason in words.
        code: the reason as the verifier says it.
        mint: makes the token around a good nonce.
        needs_network: whether the document fetcher rejects it.
    """

    name: str
    code: str
    mint: Callable[[str], str]
    needs_network: bool = False


_GOOD_HEADER = json_encode({"alg": "RS256", "kid": "rsa"})
_DEEP = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"


def changed(part: int, change: Callable[[str], str]) -> Callable[[str], str]:
    """Return what makes a good token and changes one of its parts."""

    def mint(nonce: str) -> str:
        parts = token(nonce).split(".")
        parts[part] = change(parts[part])
        return ".".join(parts)

    return mint


def raw(header: bytes = _GOOD_HEADER, payload: bytes | None = None) -> Callable[[str], str]:
    """Return what makes a well signed token of any bytes."""
    return lambda nonce: compact(
        header, json_encode(claims(nonce)) if payload is None else payload, signer(rsa("rsa"))
    )


def forms() -> Iterator[Forgery]:
    """Yield texts that are no compact JWS of JSON objects."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def stray_bits(text: str) -> str:
        position = alphabet.index(text[-1])
        return text[:-1] + alphabet[position + 1]

    whole: dict[str, Callable[[str], str]] = {
        "nothing": lambda _nonce: "",
        "dots": lambda _nonce: "..",
        "one part": lambda nonce: token(nonce).partition(".")[0],
        "two parts": lambda nonce: token(nonce).rpartition(".")[0],
        "four parts": lambda nonce: token(nonce) + ".AA",
        "five parts, as of an encrypted token": lambda nonce: token(nonce) + ".AA.AA",
        "a BrowserID bundle": lambda nonce: f"{token(nonce)}~{token(nonce)}",
        "space before": lambda nonce: " " + token(nonce),
        "a line feed after": lambda nonce: token(nonce) + "\n",
        "padding": changed(1, lambda text: text + "="),
        "the other alphabet": changed(2, lambda text: text[:-4] + "+/+/"),
        "stray bits": changed(2, stray_bits),
        "a character beyond ASCII": changed(1, lambda text: text + "é"),
        "a detached payload": changed(1, lambda _text: ""),
        "no header": changed(0, lambda _text: ""),
        "JSON serialization": lambda nonce: json.dumps({"payload": token(nonce).split(".")[1]}),
        "a header that is no JSON": raw(header=b"alg=RS256"),
        "a header that is a list": raw(header=b'["RS256"]'),
        "a header with alg twice": raw(header=b'{"alg":"RS256","alg":"none"}'),
        "a payload that is a string": raw(payload=b'"payload"'),
        "a payload that is a list": raw(payload=b"[]"),
        "a payload that is a token": lambda nonce: raw(payload=token(nonce).encode())(nonce),
        "a payload with a byte-order mark": raw(payload=b"\xef\xbb\xbf{}"),
        "a payload that is not UTF-8": raw(payload=b'{"iss":"\xff"}'),
        "a payload with half a surrogate": raw(payload=b'{"email":"\\ud800@mail.test"}'),
        "a payload with iss twice": raw(payload=b'{"iss":"a","iss":"b"}'),
        "a payload with NaN": raw(payload=b'{"exp":NaN}'),
        "a payload of many levels": raw(payload=_DEEP),
    }
    for name, mint in whole.items():
        yield Forgery(name, "malformed_jws", mint)
    yield Forgery("a token too large", "proof_too_large", lambda nonce: token(nonce, pad="x" * 16_384))
    yield Forgery("a header too large", "proof_too_large", with_header(kid="x" * 16_384))


def with_header(**members: Any) -> Callable[[str], str]:
    """Return what makes a token with these members in its header, well signed."""
    return lambda nonce: token(nonce, header=members)


def headers() -> Iterator[Forgery]:
    """Yield headers that ask for anything else than a key of the issuer's key set."""
    jwk = public(rsa("attacker"), "attacker")
    for name, value in {
        "jku": "https://attacker.example/jwks",
        "jwk": jwk,
        "x5u": "https://attacker.example/chain.pem",
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "b64": False,
        "cty": "JWT",
        "zip": "DEF",
        "enc": "A128GCM",
        "url": "https://attacker.example",
        "iss": ACCOUNTS,
    }.items():
        yield Forgery(f"header {name}", "header_not_allowed", with_header(**{name: value}))
    for name, kind in {
        "an access token": "at+jwt",
        "a logout token": "logout+jwt",
        "a security event": "secevent+jwt",
        "an assertion's": "JOSE",
        "a number": 1,
        "null": None,
    }.items():
        yield Forgery(f"typ of {name}", "header_not_allowed", with_header(typ=kind))
    for name, kid in {
        "a number": 1,
        "empty": "",
        "null": None,
        "long": "k" * 257,
        "a list": ["rsa"],
    }.items():
        yield Forgery(f"kid is {name}", "header_not_allowed", with_header(kid=kid))
    for name, kid in {
        "unknown": "rsa2",
        "in another case": "RSA",
        "a path": "../../../../dev/null",
        "a query": "' OR 1=1 --",
        "with a zero byte": "rsa\0",
    }.items():
        yield Forgery(f"kid {name}", "key_unknown", with_header(kid=kid))
    yield Forgery("no kid, and several keys", "key_ambiguous", with_header(kid=GONE))


def _mac(nonce: str, secret: bytes, **header: Any) -> str:
    full = {"alg": "HS256", "kid": "rsa"} | header
    return compact(
        json_encode(full),
        json_encode(claims(nonce)),
        lambda signed: hmac.digest(secret, signed, "sha256"),
    )


def _spki(encoding: Encoding) -> bytes:
    return rsa("rsa").public_key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


_PUBLIC_SECRETS: dict[str, Callable[[], bytes]] = {
    "PEM": lambda: _spki(Encoding.PEM),
    "DER": lambda: _spki(Encoding.DER),
    "JWK": lambda: json_encode(public(rsa("rsa"), "rsa")),
    "client id": CLIENT.encode,
}


def algorithms() -> Iterator[Forgery]:
    """Yield tokens with forbidden algorithms, among them the public key as a shared secret."""
    not_allowed = "algorithm_not_allowed"
    for name in ("none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS384", "RS512", "PS512"):
        yield Forgery(f"alg {name!r}", not_allowed, with_header(alg=name))
    for name in ("PS384", "ES512", "ES256K", "Ed448", "HS512", "dir", "DS128", "RS1"):
        yield Forgery(f"alg {name}", not_allowed, with_header(alg=name, kid="odd"))
    for name, value in {"missing": GONE, "null": None, "a number": 256, "a list": ["RS256"]}.items():
        yield Forgery(f"alg is {name}", not_allowed, with_header(alg=value))
    yield Forgery(
        "alg none without a signature",
        not_allowed,
        lambda nonce: compact(b'{"alg":"none"}', json_encode(claims(nonce)), lambda _signed: b""),
    )
    for name, secret in _PUBLIC_SECRETS.items():
        yield Forgery(f"HS256 with the {name}", not_allowed, lambda nonce, s=secret: _mac(nonce, s()))
    yield Forgery(
        "HS256 with a key of the set", not_allowed, lambda nonce: _mac(nonce, b"s" * 32, kid="shared")
    )
    for name in ("EdDSA", "Ed25519", "ES384", "PS256"):
        yield Forgery(
            f"{name}, which this issuer may not use",
            not_allowed,
            lambda nonce, a=name: token(nonce, key=_SIGNERS[a](), header={"alg": a}, iss=STRICT),
        )
    for (kid, own), alg in itertools.product(_OWN.items(), _SIGNERS):
        if alg not in own:
            yield Forgery(
                f"alg {alg} with the key of {own[0]}",
                "algorithm_mismatch",
                lambda nonce, a=alg, i=kid: token(
                    nonce, key=_SIGNERS[a](), header={"alg": a, "kid": i}
                ),
            )


_OWN = {"rsa": ("RS256",), "ec": ("ES256",), "ed": ("EdDSA", "Ed25519")}
_SIGNERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: rsa("rsa"),
    "ES256": lambda: elliptic("ec"),
    "EdDSA": lambda: edwards("ed"),
    "Ed25519": lambda: edwards("ed"),
    "ES384": lambda: elliptic("p384", "P-384"),
    "PS256": lambda: rsa("rsa"),
}


def _odd_rsa(**members: Any) -> Callable[[str], tuple[dict[str, Any], Any, str]]:
    return lambda kid: (public(rsa("odd"), kid, **members), rsa("odd"), "RS256")


def _odd_elliptic(**members: Any) -> Callable[[str], tuple[dict[str, Any], Any, str]]:
    return lambda kid: (public(elliptic("odd"), kid, **members), elliptic("odd"), "ES256")


ODD_KEYS: dict[str, Callable[[str], tuple[dict[str, Any], Any, str]]] = {
    "encrypting": _odd_rsa(use="enc"),
    "other-use": _odd_rsa(use="tls"),
    "wrapping": _odd_rsa(key_ops=["wrapKey"]),
    "signing-only": _odd_rsa(key_ops=["sign"]),
    "no-ops": _odd_rsa(key_ops="verify"),
    "of-rs512": _odd_rsa(alg="RS512"),
    "of-oaep": _odd_rsa(alg="RSA-OAEP"),
    "exponent": _odd_rsa(e="Aw"),
    "exponent-1": _odd_rsa(e="AQ"),
    "even": _odd_rsa(n=base64url_encode(b"\xff" * 255 + b"\xfe")),
    "huge": _odd_rsa(n=base64url_encode(b"\xff" * 1025)),
    "padded": _odd_rsa(e="AQAB="),
    "of-a-curve": _odd_rsa(crv="P-256"),
    "short": lambda kid: (public(rsa("short", 1024), kid), rsa("short", 1024), "RS256"),
    "private": lambda kid: (rsa("odd").as_dict(private=True) | {"kid": kid}, rsa("odd"), "RS256"),
    "p521": lambda kid: (public(elliptic("p521", "P-521"), kid), elliptic("odd"), "ES256"),
    "koblitz": lambda kid: (public(elliptic("k", "secp256k1"), kid), elliptic("odd"), "ES256"),
    "off-curve": _odd_elliptic(y="A" * 43),
    "of-eddsa": _odd_elliptic(alg="EdDSA"),
    "agreeing": lambda kid: (public(edwards("x", "X25519"), kid), edwards("odd"), "EdDSA"),
    "ed448": lambda kid: (public(edwards("e448", "Ed448"), kid), edwards("odd"), "EdDSA"),
    "short-ed": lambda kid: (public(edwards("odd"), kid, x="AAAA"), edwards("odd"), "EdDSA"),
    "shared": lambda kid: (
        {"kty": "oct", "kid": kid, "k": base64url_encode(b"s" * 32)},
        rsa("odd"),
        "RS256",
    ),
}
"""Keys of the set that must verify nothing, by `kid`: as published, what signs instead, alg."""


def key_set() -> list[dict[str, Any]]:
    """Return the key set of ACCOUNTS: a good key of each kind, two of one name, and odd ones."""
    return [
        public(rsa("rsa"), "rsa", use="sig", alg="RS256"),
        public(elliptic("ec"), "ec", use="sig"),
        public(edwards("ed"), "ed", key_ops=["verify"]),
        public(rsa("twin"), "twin"),
        public(rsa("other twin"), "twin"),
        {"kid": "nothing"},
        *(odd(kid)[0] for kid, odd in ODD_KEYS.items()),
    ]


def keys() -> Iterator[Forgery]:
    """Yield tokens of keys that must not sign them."""

    def of_odd_key(kid: str, nonce: str) -> str:
        _, key, alg = ODD_KEYS[kid](kid)
        return token(nonce, key=key, header={"alg": alg, "kid": kid})

    for kid in ODD_KEYS:
        yield Forgery(f"key {kid}", "key_unknown", partial(of_odd_key, kid))
    for name in ("twin", "other twin"):
        yield Forgery(
            f"one of two keys of the same kid: {name}",
            "key_ambiguous",
            lambda nonce, n=name: token(nonce, key=rsa(n), header={"kid": "twin"}),
        )
    yield Forgery(
        "a key of another issuer",
        "key_unknown",
        lambda nonce: token(
            nonce, key=elliptic("ec"), header={"alg": "ES256", "kid": "ec"}, iss=STRICT
        ),
    )
    yield Forgery(
        "a key of the provider, as the broker",
        "token_signature_invalid",
        lambda nonce: token(nonce, key=rsa("rsa"), **broker_claims()),
    )
    yield Forgery(
        "a broker's token without kid",
        "header_not_allowed",
        lambda nonce: token(nonce, key=rsa("broker"), header={"kid": GONE}, **broker_claims()),
    )


def _resigned(algorithm: str, kid: str, change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    def sign(signed: bytes) -> bytes:
        return change(JWSRegistry.algorithms[algorithm].sign(signed, _SIGNERS[algorithm]()))

    header = json_encode({"alg": algorithm, "kid": kid})
    return lambda nonce: compact(header, json_encode(claims(nonce)), sign)


def signatures() -> Iterator[Forgery]:
    """Yield tokens whose signature is none of their key."""

    def der(signature: bytes) -> bytes:
        return encode_dss_signature(*(int.from_bytes(signature[i : i + 32]) for i in (0, 32)))

    def with_payload(nonce: str) -> str:
        parts = token(nonce).split(".")
        parts[1] = base64url_encode(json_encode(claims(nonce, email="bob@mail.test")))
        return ".".join(parts)

    def with_other_header(nonce: str) -> str:
        parts = token(nonce).split(".")
        parts[0] = base64url_encode(json_encode({"alg": "RS256", "kid": "rsa"}))
        return ".".join(parts)

    changes: dict[str, Callable[[bytes], bytes]] = {
        "no signature": lambda _signature: b"",
        "zeros": lambda signature: bytes(len(signature)),
        "a bit changed": lambda signature: bytes([signature[0] ^ 1]) + signature[1:],
        "cut off": lambda signature: signature[:-1],
        "a byte more": lambda signature: signature + b"\0",
        "a zero before": lambda signature: b"\0" + signature,
        "twice": lambda signature: signature * 2,
    }
    own = [(kid, alg) for kid, algorithms in _OWN.items() for alg in algorithms]
    for (kid, alg), (name, change) in itertools.product(own, changes.items()):
        yield Forgery(f"{alg}: {name}", "token_signature_invalid", _resigned(alg, kid, change))
    for name, mint in {
        "ES256: in DER": _resigned("ES256", "ec", der),
        "another payload": with_payload,
        "another header": with_other_header,
        "of another RSA key": lambda nonce: token(nonce, key=rsa("attacker")),
        "of another elliptic key": lambda nonce: token(
            nonce, key=elliptic("attacker"), header={"alg": "ES256", "kid": "ec"}
        ),
        "of the sum of another token": lambda nonce: ".".join(
            [*token(nonce).split(".")[:2], token(nonce, email="bob@mail.test").split(".")[2]]
        ),
    }.items():
        yield Forgery(name, "token_signature_invalid", mint)


def publish(provider: Provider) -> None:
    """Publish the keys under attack."""
    provider.publish(ACCOUNTS, key_set())
    provider.publish(BROKER, [public(rsa("broker"), "rsa", use="sig", alg="RS256")])


ROWS = (*forms(), *headers(), *algorithms(), *keys(), *signatures())
