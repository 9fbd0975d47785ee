"""Tokens of the Email Verification Protocol: good ones, and a table of forgeries."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from persona_profile.encoding import base64url_decode, base64url_encode
from support.forgeries.documents import json_encode
from support.servers.openid import (
    GONE,
    Provider,
    compact,
    edwards,
    elliptic,
    public,
    rsa,
    signer,
    without_gone,
)

DOMAIN = "mail.test"
EMAIL = f"alice@{DOMAIN}"
HOST = "issuer.mail.test"
ISSUER = f"https://{HOST}"
METADATA = f"{ISSUER}/.well-known/email-verification"
JWKS = f"{ISSUER}/jwks"
PAGE = "https://dialog.example"
DENIED = "denied.test"

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ALGORITHMS = {"EdDSA": "Ed25519", "Ed25519": "Ed25519", "ES256": "ES256", "RS256": "RS256"}

Records = dict[str, list[bytes]]


def part(header: Mapping[str, Any], payload: Mapping[str, Any] | bytes, key: Any) -> str:
    """Return a JWS, signed as its header says; Ed25519 signs headers that name no algorithm."""
    full, algorithm = without_gone(header), str(header.get("alg"))
    sign = signer(key, _ALGORITHMS.get(algorithm, "Ed25519"))
    body = payload if isinstance(payload, bytes) else json_encode(without_gone(payload))
    return compact(json_encode(full), body, sign)


def evt(
    key: Any = None,
    header: Mapping[str, Any] | None = None,
    holder: Any = None,
    **changes: Any,
) -> str:
    """Return the EVT of EMAIL, valid except for the changes; GONE removes a member."""
    good = {
        "iss": ISSUER,
        "iat": int(time.time()),
        "cnf": {"jwk": public(edwards("holder"), None) if holder is None else holder},
        "email": EMAIL,
        "email_verified": True,
    }
    full = {"alg": "EdDSA", "kid": "ed", "typ": "evt+jwt"} | dict(header or {})
    return part(full, good | changes, key or edwards("ed"))


def sd_hash(token: str) -> str:
    """Return the hash that binds a KB to an EVT."""
    return base64url_encode(hashlib.sha256(f"{token}~".encode()).digest())


def kb(
    token: str,
    nonce: str,
    /,
    key: Any = None,
    header: Mapping[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Return the KB of an EVT, valid except for the changes."""
    good = {"aud": PAGE, "nonce": nonce, "iat": int(time.time()), "sd_hash": sd_hash(token)}
    full = {"alg": "Ed25519", "typ": "kb+jwt"} | dict(header or {})
    return part(full, good | changes, key or edwards("holder"))


def proof(nonce: str, /, **changes: Any) -> str:
    """Return a proof; changes of the KB have the prefix `kb_`, all others are of the EVT."""
    of_kb = {name.removeprefix("kb_"): each for name, each in changes.items() if name.startswith("kb_")}
    token = evt(**{name: each for name, each in changes.items() if not name.startswith("kb_")})
    return f"{token}~{kb(token, nonce, **of_kb)}"


def now(seconds: int) -> int:
    """Return an instant relative to now."""
    return int(time.time()) + seconds


class Forgery(NamedTuple):
    """A proof that must be rejected.

    Attributes:
        name: the reason in words.
        code: the reason as the verifier says it.
        mint: makes the proof around a good nonce.
        lookups: the largest number of DNS queries and fetches that it may cause.
    """

    name: str
    code: str
    mint: Callable[[str], str]
    lookups: int = 0


def of(name: str, code: str, lookups: int = 0, /, **changes: Any) -> Forgery:
    """Return a forgery that is a good proof with changes."""
    return Forgery(name, code, lambda nonce: proof(nonce, **changes), lookups)


# What the zone of a domain has, for the domain `<name>.test` and its code.
BAD_RECORDS: dict[str, tuple[str, list[bytes]]] = {
    "none": ("issuer_record_missing", []),
    "others": ("issuer_record_missing", [b"v=spf1 -all", b"ISS=issuer.mail.test", b" iss=x.test"]),
    "two": ("issuer_record_ambiguous", [b"iss=issuer.mail.test", b"iss=https://issuer.mail.test"]),
    "second": ("issuer_record_ambiguous", [b"iss=issuer.mail.test", b"iss="]),
    "empty": ("issuer_record_invalid", [b"iss="]),
    "port": ("issuer_record_invalid", [b"iss=issuer.mail.test:443"]),
    "path": ("issuer_record_invalid", [b"iss=https://issuer.mail.test/"]),
    "user": ("issuer_record_invalid", [b"iss=https://me@issuer.mail.test"]),
    "ipv4": ("issuer_record_invalid", [b"iss=192.0.2.1"]),
    "hexadecimal": ("issuer_record_invalid", [b"iss=0xc0.0x00.0x02.0x01"]),
    "ipv6": ("issuer_record_invalid", [b"iss=[2001:db8::1]"]),
    "http": ("issuer_record_invalid", [b"iss=http://issuer.mail.test"]),
    "localhost": ("issuer_record_invalid", [b"iss=localhost"]),
    "dot": ("issuer_record_invalid", [b"iss=issuer.mail.test."]),
    "space": ("issuer_record_invalid", [b"iss=issuer.mail.test "]),
    "more": ("issuer_record_invalid", [b"iss=issuer.mail.test; iss=issuer.mail.test"]),
    "latin": ("issuer_record_invalid", [b"iss=iss\xfcer.test"]),
    "zero": ("issuer_record_invalid", [b"iss=issuer.mail.test\0.evil.test"]),
    "long": ("issuer_record_invalid", [b"iss=" + b"a" * 10_000]),
    "unicode": ("issuer_record_invalid", ["iss=bücher.test".encode()]),
    "punycode": ("issuer_record_invalid", [b"iss=xn--a.test"]),
    "elsewhere": ("issuer_not_authoritative", [b"iss=other.test"]),
    "subdomain": ("issuer_not_authoritative", [b"iss=mail.test"]),
}

# Metadata, or a key set, of the issuer `<name>.test`, and its code.
BAD_METADATA: dict[str, tuple[str, Any]] = {
    "list": ("discovery_document_invalid", []),
    "nothing": ("discovery_document_invalid", {}),
    "plain": ("discovery_document_invalid", {"jwks_uri": "http://plain.test/jwks"}),
    "address": ("issuer_address_forbidden", {"jwks_uri": "https://192.0.2.7/jwks"}),
    "ported": ("discovery_document_invalid", {"jwks_uri": "https://other.test:8443/jwks"}),
    "relative": ("discovery_document_invalid", {"jwks_uri": "/jwks"}),
    "number": ("discovery_document_invalid", {"jwks_uri": 1}),
    "text": ("discovery_document_invalid", b"<html>"),
    "twice": ("discovery_document_invalid", b'{"jwks_uri": "https://a.test/", "jwks_uri": ""}'),
    "split": ("discovery_document_invalid", {"jwks_uri": "https://split.test/a\r\nX: y"}),
    "megabyte": ("discovery_document_invalid", {"jwks_uri": "https://a.test/" + "a" * 2**20}),
    "bomb": ("discovery_document_invalid", gzip.compress(bytes(10**7))),
    "nested": ("discovery_document_invalid", b"[" * 30_000 + b"]" * 30_000),
}
BAD_KEY_SETS: dict[str, Any] = {
    "nokeys": {"keys": []},
    "nolist": {"keys": {}},
    "many": {"keys": [public(edwards(f"many {number}"), None) for number in range(17)]},
    "crowd": {"keys": [{}] * 10_000},
    "odd": {
        "keys": [
            None,
            {"kty": ["OKP"], "crv": {}},
            public(edwards("ed"), None, alg=["EdDSA"]),
            public(edwards("ed"), None, key_ops={"verify": 1}),
            public(edwards("ed"), None, x=1),
            public(elliptic("ec"), None, y=""),
        ]
    },
    "secret": {"keys": [edwards("ed").as_dict(private=True)]},
    "symmetric": {"keys": [{"kty": "oct", "k": "AAAA", "kid": "ed"}]},
    "junk": b"[[[[",
}


def records() -> Records:
    """Return the TXT records of all domains, by domain."""
    fetched = (*BAD_METADATA, *BAD_KEY_SETS)
    return {
        DOMAIN: [b"v=spf1 -all", f"iss={HOST}".encode()],
        "origin.test": [f"iss={ISSUER.upper().replace('HTTPS', 'https')}".encode()],
        "gone.test": [b"iss=gone.test"],
        "moved.test": [b"iss=moved.test"],
        "xn--bcher-kva.test": [f"iss={HOST}".encode()],
        **{f"{name}.test": found for name, (_, found) in BAD_RECORDS.items()},
        **{f"{name}.test": [f"iss={name}.test".encode()] for name in fetched},
    }


def publish(web: Provider) -> None:
    """Publish metadata and keys of all issuers."""
    web.put(METADATA, {"issuance_endpoint": f"{ISSUER}/issue", "jwks_uri": JWKS})
    keys = [
        public(edwards("ed"), "ed", alg="EdDSA"),
        public(elliptic("ec"), "ec", alg="ES256"),
        public(rsa("rsa"), "rsa"),
        public(edwards("nameless"), None),
        public(edwards("twin"), "twin"),
        public(edwards("other twin"), "twin"),
        public(elliptic("p384", "P-384"), "p384"),
        public(edwards("encrypting"), "encrypting", use="enc"),
        public(rsa("short", 1024), "short"),
    ]
    web.put(JWKS, {"keys": keys})
    for name, (_, document) in BAD_METADATA.items():
        web.put(f"https://{name}.test/.well-known/email-verification", document)
    web.put("https://moved.test/.well-known/email-verification", {"jwks_uri": JWKS}, status=302)
    for name, document in BAD_KEY_SETS.items():
        metadata = {"jwks_uri": f"https://{name}.test/jwks"}
        web.put(f"https://{name}.test/.well-known/email-verification", metadata)
        web.put(f"https://{name}.test/jwks", document)


def hosts() -> tuple[str, ...]:
    """Return the names of all hosts that publish documents."""
    return (
        HOST,
        "gone.test",
        "moved.test",
        *(f"{name}.test" for name in (*BAD_METADATA, *BAD_KEY_SETS)),
    )


def forms() -> Iterator[Forgery]:
    """Yield texts that are no EVT with a KB."""

    def cut(change: Callable[[str, str], str]) -> Callable[[str], str]:
        return lambda nonce: change(*proof(nonce).split("~"))

    missing, malformed = "key_binding_missing", "malformed_jws"
    yield Forgery("nothing", missing, lambda _nonce: "")
    yield Forgery("an EVT alone", missing, lambda _nonce: evt())
    yield Forgery("an EVT with its tilde", missing, lambda _nonce: f"{evt()}~")
    yield Forgery("an EVT with two tildes", missing, lambda _nonce: f"{evt()}~~")
    yield Forgery("a KB alone", malformed, cut(lambda _evt, binding: f"~{binding}"))
    yield Forgery("parts in the other order", "header_not_allowed", cut(lambda a, b: f"{b}~{a}"))
    yield Forgery("an EVT twice", "header_not_allowed", cut(lambda a, _binding: f"{a}~{a}"))
    yield Forgery(
        "a disclosure", "disclosures_not_allowed", cut(lambda a, b: f"{a}~WyJhIiwiZW1haWwiLCJiIl0~{b}")
    )
    yield Forgery("an empty disclosure", "disclosures_not_allowed", cut(lambda a, b: f"{a}~~{b}"))
    yield Forgery("a tilde at the end", missing, cut(lambda a, b: f"{a}~{b}~"))
    yield Forgery("too long", "proof_too_large", lambda nonce: proof(nonce, more="a" * 13_000))
    yield Forgery("a fourth part", malformed, cut(lambda a, b: f"{a}.AA~{b}"))
    yield Forgery("two parts", malformed, cut(lambda a, b: f"{a}~{b.rpartition('.')[0]}"))
    yield Forgery("padding", malformed, cut(lambda a, b: f"{a}=~{b}"))
    yield Forgery("a line break", malformed, cut(lambda a, b: f"{a}\n~{b}"))
    yield Forgery("not ASCII", malformed, cut(lambda a, b: f"{a}~{b}é"))
    yield Forgery("no signature of the EVT", malformed, cut(lambda a, b: f"{a.rpartition('.')[0]}~{b}"))
    yield Forgery("claims that are a list", malformed, listed)


def listed(nonce: str) -> str:
    """Return a proof whose EVT has a list as claims."""
    token = part({"alg": "EdDSA", "typ": "evt+jwt"}, b"[]", edwards("ed"))
    return f"{token}~{kb(token, nonce)}"


def headers() -> Iterator[Forgery]:
    """Yield proofs with other headers."""
    algorithm, other = "algorithm_not_allowed", "header_not_allowed"
    for alg in ("none", "HS256", "ES384", "PS256", "RS512", "eddsa", "Ed448", "", 1, GONE):
        text = "GONE" if alg is GONE else repr(alg)
        yield of(f"EVT of alg {text}", algorithm, header={"alg": alg})
        yield of(f"KB of alg {text}", algorithm, kb_header={"alg": alg})
    yield of("KB of alg EdDSA", algorithm, kb_header={"alg": "EdDSA"})
    for kind in ("JWT", "kb+jwt", "EVT+JWT", "application/evt+jwt", "", None, GONE):
        yield of(f"EVT of typ {'GONE' if kind is GONE else kind!r}", other, header={"typ": kind})
    for kind in ("JWT", "evt+jwt", "", GONE):
        yield of(f"KB of typ {'GONE' if kind is GONE else kind!r}", other, kb_header={"typ": kind})
    for name in ("jwk", "jku", "x5u", "x5c", "crit", "b64", "enc"):
        yield of(f"EVT with {name}", other, header={name: "x"})
    for name in ("jwk", "kid", "crit"):
        yield of(f"KB with {name}", other, kb_header={name: "x"})
    for kid in (None, 1, ["ed"], "k" * 257):
        yield of(f"kid {str(kid)[:9]}", other, header={"kid": kid})
    for kid in ("Ed", "ed ", "../ed", "gone", "ed\0", "https://evil.test/key", "encrypting", "short"):
        yield of(f"kid {kid!r}", "key_unknown", 5, header={"kid": kid})
    yield of("kid of two keys", "key_ambiguous", 5, key=edwards("twin"), header={"kid": "twin"})
    yield of("kid of a key of another type", "algorithm_mismatch", 5, header={"kid": "ec"})
    yield of(
        "RS256 by a key of P-256",
        "algorithm_mismatch",
        5,
        key=rsa("rsa"),
        header={"alg": "RS256", "kid": "ec"},
    )
    yield of("_sd_alg of another hash", algorithm, _sd_alg="sha-512")


def claims() -> Iterator[Forgery]:
    """Yield proofs with other claims of the EVT."""
    for issuer in (
        "http://issuer.mail.test",
        "https://issuer.mail.test/",
        "https://issuer.mail.test:443",
        "https://me@issuer.mail.test",
        "https://https://issuer.mail.test",
        "//issuer.mail.test",
        "https://192.0.2.1",
        "https://[::1]",
        "localhost",
        "issuer.mail.test.",
        "https://ıssuer.mail.test",
        "https://bücher.test",
        "xn--a.test",
        "",
        None,
        1,
        [ISSUER],
    ):
        yield of(f"iss {issuer!r}", "issuer_invalid", iss=issuer)
    yield of("no iss", "issuer_invalid", iss=GONE)
    yield of("the domain as issuer", "issuer_not_authoritative", 1, iss="https://mail.test")
    yield of("another issuer", "issuer_not_authoritative", 1, iss="https://other.test")
    yield of("below the issuer", "issuer_not_authoritative", 1, iss="https://a.issuer.mail.test")
    yield of("of another domain", "issuer_record_missing", 1, email="alice@other.test")
    yield of("of a subdomain", "issuer_record_missing", 1, email="alice@a.mail.test")
    yield of("of a denied domain", "domain_not_accepted", email=f"alice@{DENIED}")
    yield of("of a domain below a denied one", "domain_not_accepted", email=f"alice@a.{DENIED}")
    yield of("of a domain of 250 characters", "issuer_record_missing", 1, email=f"a@{'a.' * 124}test")
    for email in (GONE, "", None, 1, [EMAIL], {"a": EMAIL}):
        yield of(f"email {'GONE' if email is GONE else email!r}", "email_missing", email=email)
    for email in ("alice", "alice@", "@mail.test", f"{EMAIL} ", "alice@192.0.2.1", "a@b@ mail.test"):
        yield of(f"email {email!r}", "email_invalid", email=email)
    for name, domain in (
        ("300 characters", "a." * 148 + "test"),
        ("a label of 64", "a" * 64 + ".test"),
        ("no punycode", "xn--a.test"),
        ("a zero", "mail\0.test"),
    ):
        yield of(f"email at {name}", "email_invalid", email=f"alice@{domain}")
    for verified in (GONE, False, None, "true", 1):
        text = "GONE" if verified is GONE else repr(verified)
        yield of(f"email_verified {text}", "email_not_verified", email_verified=verified)
    yield from times("EVT", "")
    yield from times("KB", "kb_")
    yield of("expired", "token_expired", exp=now(-70))
    yield of("exp as text", "token_times_invalid", exp="tomorrow")
    yield of("not before", "token_not_yet_valid", nbf=now(3600))


def times(name: str, prefix: str) -> Iterator[Forgery]:
    """Yield proofs with another `iat` of a part."""
    for value in (GONE, None, "1", 1.5, True, [now(0)]):
        text = "GONE" if value is GONE else repr(value)[:4]
        yield of(f"iat {text} of the {name}", "token_times_invalid", **{f"{prefix}iat": value})
    for seconds, code in (
        (-310, "token_expired"),
        (-(10**9), "token_expired"),
        (120, "token_not_yet_valid"),
        (10**30, "token_not_yet_valid"),
    ):
        name_of_row = f"{name} {seconds} seconds from now"
        yield Forgery(
            name_of_row, code, lambda nonce, s=seconds: proof(nonce, **{f"{prefix}iat": now(s)})
        )


def bindings() -> Iterator[Forgery]:
    """Yield proofs with other claims of the KB, or another key of the browser."""
    for audience in (
        f"{PAGE}/",
        f"{PAGE}/path",
        f"{PAGE}:443",
        PAGE.upper(),
        "http://dialog.example",
        "https://evil.example",
        "dialog.example",
        "null",
        "",
        None,
        GONE,
        [PAGE],
        {"a": PAGE},
    ):
        text = "GONE" if audience is GONE else repr(audience)
        yield of(f"aud {text}", "audience_mismatch", kb_aud=audience)
    for nonce in ("", "x", None, GONE, 1, ["x"], "A" * 2000):
        text = "GONE" if nonce is GONE else repr(nonce)[:9]
        yield of(f"nonce {text}", "nonce_invalid", kb_nonce=nonce)
    for digest in ("", "x", None, GONE, 1, sd_hash("another")):
        text = "GONE" if digest is GONE else repr(digest)[:9]
        yield of(f"sd_hash {text}", "sd_hash_mismatch", kb_sd_hash=digest)
    yield Forgery("sd_hash without ~", "sd_hash_mismatch", hashed(lambda token: token.encode()))
    yield Forgery("sd_hash of two ~", "sd_hash_mismatch", hashed(lambda token: f"{token}~~".encode()))
    yield Forgery("sd_hash with padding", "sd_hash_mismatch", padded)
    yield Forgery("KB of another EVT", "sd_hash_mismatch", of_another)
    yield of("KB of another key", "key_binding_signature_invalid", kb_key=edwards("thief"))
    yield of("KB of the issuer's key", "key_binding_signature_invalid", kb_key=edwards("ed"))
    yield of(
        "KB of another type", "algorithm_mismatch", kb_key=elliptic("ec"), kb_header={"alg": "ES256"}
    )
    for name, holder in holders().items():
        yield of(f"cnf: {name}", "key_not_allowed", holder=holder)
    yield of("no cnf", "key_not_allowed", cnf=GONE)
    yield of("cnf of a kid", "key_not_allowed", cnf={"kid": "ed"})
    yield of("cnf of a list", "key_not_allowed", cnf=[{"jwk": public(edwards("holder"), None)}])


def holders() -> dict[str, Any]:
    """Return documents that are no key of a browser."""
    good = public(edwards("holder"), None)
    return {
        "nothing": {},
        "text": "x",
        "private": edwards("holder").as_dict(private=True),
        "symmetric": {"kty": "oct", "k": "AAAA"},
        "X25519": good | {"crv": "X25519"},
        "alg of another type": good | {"alg": "ES256"},
        "for encryption": good | {"use": "enc"},
        "too short": good | {"x": "AAAA"},
        "not on the curve": public(elliptic("ec"), None) | {"y": good["x"]},
        "P-521": public(elliptic("p521", "P-521"), None),
        "RSA of 1024 bits": public(rsa("short", 1024), None),
    }


def hashed(change: Callable[[str], bytes]) -> Callable[[str], str]:
    """Return what makes a proof with the hash of other bytes."""

    def mint(nonce: str) -> str:
        token = evt()
        digest = base64url_encode(hashlib.sha256(change(token)).digest())
        return f"{token}~{kb(token, nonce, sd_hash=digest)}"

    return mint


def padded(nonce: str) -> str:
    """Return a proof whose `sd_hash` has padding."""
    token = evt()
    return f"{token}~{kb(token, nonce, sd_hash=sd_hash(token) + '=')}"


def of_another(nonce: str) -> str:
    """Return an EVT with the KB of another EVT for the same key."""
    return f"{evt()}~{kb(evt(iat=now(-1)), nonce)}"


def signatures() -> Iterator[Forgery]:
    """Yield proofs whose signatures do not hold."""
    bad, bound = "token_signature_invalid", "key_binding_signature_invalid"
    yield of("EVT of a stranger's key", bad, 5, key=edwards("stranger"))
    yield of("EVT of a stranger's key without kid", bad, 5, key=edwards("thief"), header={"kid": GONE})
    yield of("EVT of the browser's key", bad, 5, key=edwards("holder"), header={"kid": ""})
    yield Forgery("EVT with an empty signature", bad, partial(signed, b""), 5)
    yield Forgery("EVT with a signature of zeros", bad, partial(signed, bytes(64)), 5)
    yield Forgery("KB with an empty signature", bound, partial(bound_by, lambda _bytes: b""))
    yield Forgery("KB with a signature of zeros", bound, partial(bound_by, lambda _bytes: bytes(64)))
    yield Forgery("KB in DER", bound, partial(bound_by, in_der))
    yield Forgery("changed email", bad, changed_claim, 5)


def signed(signature: bytes, nonce: str) -> str:
    """Return a proof whose EVT has another signature."""
    token = f"{evt().rpartition('.')[0]}.{base64url_encode(signature)}"
    return f"{token}~{kb(token, nonce)}"


def bound_by(change: Callable[[bytes], bytes], nonce: str) -> str:
    """Return a proof with a KB of ES256 whose signature is changed."""
    good = proof(
        nonce,
        holder=public(elliptic("holder"), None),
        kb_key=elliptic("holder"),
        kb_header={"alg": "ES256"},
    )
    front, _, signature = good.rpartition(".")
    return f"{front}.{base64url_encode(change(base64url_decode(signature)))}"


def in_der(signature: bytes) -> bytes:
    """Return an ECDSA signature as X.509 has it."""
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def mirrored(signature: bytes) -> bytes:
    """Return the other valid signature of the same bytes: `r, -s`."""
    return signature[:32] + (_P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


def changed_claim(nonce: str) -> str:
    """Return a proof for another email, with the signature of the real one."""
    head, body, signature = evt().split(".")
    claims = base64url_decode(body).replace(b"alice", b"mally")
    token = f"{head}.{base64url_encode(claims)}.{signature}"
    return f"{token}~{kb(token, nonce)}"


def discoveries() -> Iterator[Forgery]:
    """Yield proofs whose domain or issuer publishes something else."""
    for name, (code, _) in BAD_RECORDS.items():
        yield of(f"record: {name}", code, 1, email=f"alice@{name}.test")
    for name, (code, _) in BAD_METADATA.items():
        yield of(f"metadata: {name}", code, 5, iss=f"{name}.test", email=f"alice@{name}.test")
    for name in BAD_KEY_SETS:
        yield of(f"keys: {name}", "key_set_invalid", 5, iss=f"{name}.test", email=f"alice@{name}.test")
    yield of("metadata: moved", "issuer_unreachable", 5, iss="moved.test", email="alice@moved.test")
    yield of("no metadata", "issuer_unreachable", 5, iss="gone.test", email="alice@gone.test")


ROWS = (*forms(), *headers(), *claims(), *bindings(), *signatures(), *discoveries())
