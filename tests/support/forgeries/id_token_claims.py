"""ID tokens that must be rejected for their claims, or for the documents of their issuers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from support.forgeries.id_tokens import Forgery
from support.servers.openid import (
    ACCOUNTS,
    BROKER,
    CLIENT,
    GONE,
    ORIGIN,
    SECOND_CLIENT,
    Provider,
    broker_claims,
    edwards,
    elliptic,
    public,
    rsa,
    token,
)

# What a claim that must be a whole number or a string may not be.
_NO_NUMBERS = {
    "missing": GONE,
    "null": None,
    "a string": "9999999999",
    "a float": 9_999_999_999.5,
    "a whole float": 9e9,
    "true": True,
    "a list": [9_999_999_999],
    "an object": {},
}
_NO_STRINGS = {
    "missing": GONE,
    "null": None,
    "a number": 5,
    "true": True,
    "a list": ["a"],
    "an object": {},
}


def with_claims(**changes: Any) -> Callable[[str], str]:
    """Return what makes a token with these claims changed, well signed."""
    return lambda nonce: token(nonce, **changes)


def with_times(**offsets: float) -> Callable[[str], str]:
    """Return what makes a token with these times, in seconds from now."""
    return lambda nonce: token(
        nonce, **{name: int(time.time()) + offset for name, offset in offsets.items()}
    )


def issuers() -> Iterator[Forgery]:
    """Yield issuers that are not trusted, or not spelled as they are."""
    for name, value in (
        _NO_STRINGS
        | {
            "empty": "",
            "another": "https://attacker.example",
            "with a slash": ACCOUNTS + "/",
            "with a path": ACCOUNTS + "/other",
            "with a port": ACCOUNTS + ":443",
            "without TLS": "http://accounts.test",
            "in capitals": "https://ACCOUNTS.test",
            "without a scheme": "accounts.test",
            "with user information": "https://a@accounts.test",
            "with a zero byte": ACCOUNTS + "\0",
            "with space": ACCOUNTS + " ",
            "a list of it": [ACCOUNTS],
        }
    ).items():
        yield Forgery(f"iss is {name}", "issuer_unknown", with_claims(iss=value))


def audiences() -> Iterator[Forgery]:
    """Yield tokens with other audiences, or with other audiences too."""
    for name, value in (
        _NO_STRINGS
        | {
            "another": "other-client",
            "empty": "",
            "in another case": CLIENT.upper(),
            "longer": CLIENT + "x",
            "two in one": f"{CLIENT} {SECOND_CLIENT}",
            "our origin": ORIGIN,
            "an empty list": [],
            "a list of others": ["other-client", "third-client"],
            "a list with a number": [CLIENT, 5],
            "a list with null": [CLIENT, None],
            "a list in a list": [[CLIENT]],
            "a long list": [CLIENT, *map(str, range(16))],
        }
    ).items():
        mint = with_claims(aud=value, azp=CLIENT)
        yield Forgery(f"aud is {name}", "audience_mismatch", mint)
    for name, changes in {
        "several, and no azp": {"aud": [CLIENT, "other-client"]},
        "two of ours, and no azp": {"aud": [CLIENT, SECOND_CLIENT]},
        "several, for another": {"aud": [CLIENT, "other-client"], "azp": "other-client"},
        "one, for another": {"azp": "other-client"},
        "azp is null": {"azp": None},
        "azp is empty": {"azp": ""},
        "azp is a list": {"azp": [CLIENT]},
        "azp is true": {"azp": True},
    }.items():
        yield Forgery(f"azp: {name}", "authorized_party_mismatch", with_claims(**changes))


def times() -> Iterator[Forgery]:
    """Yield tokens that are too old, too young, or live too long; clocks may be 60 seconds apart."""
    for name, value in _NO_NUMBERS.items():
        yield Forgery(f"exp is {name}", "token_times_invalid", with_claims(exp=value))
        yield Forgery(f"iat is {name}", "token_times_invalid", with_claims(iat=value))
    for name, value in {"a string": "0", "null": None, "a float": 0.5}.items():
        yield Forgery(f"nbf is {name}", "token_times_invalid", with_claims(nbf=value))
    for name, code, offsets in (
        ("expired", "token_expired", {"iat": -600, "exp": -61}),
        ("expires now, but for the skew", "token_expired", {"iat": -600, "exp": -60}),
        ("in the future", "token_not_yet_valid", {"iat": 120, "exp": 600}),
        ("not before the future", "token_not_yet_valid", {"nbf": 120}),
        ("for more than a day", "token_life_invalid", {"exp": 24 * 3600 + 60}),
        ("ends when it begins", "token_life_invalid", {"iat": 30, "exp": 30}),
        ("ends before it begins", "token_life_invalid", {"iat": 30, "exp": -30}),
    ):
        yield Forgery(name, code, with_times(**offsets))
    for name, code, changes in (
        ("exp 0", "token_expired", {"exp": 0}),
        ("exp before 1970", "token_expired", {"exp": -(10**12)}),
        ("exp in milliseconds", "token_life_invalid", {"exp": int(time.time() * 1000)}),
        ("exp of thousands of digits", "token_life_invalid", {"exp": 10**4000}),
        ("iat 0", "token_life_invalid", {"iat": 0}),
        ("iat of thousands of digits", "token_not_yet_valid", {"iat": 10**4000}),
    ):
        yield Forgery(name, code, with_claims(**changes))


def people() -> Iterator[Forgery]:
    """Yield tokens without a verified email, or of issuers that may not vouch for it."""
    for name, value in (_NO_STRINGS | {"empty": "", "long": "s" * 256}).items():
        yield Forgery(f"sub is {name}", "subject_missing", with_claims(sub=value))
    for name, value in (_NO_STRINGS | {"empty": ""}).items():
        yield Forgery(f"email is {name}", "email_missing", with_claims(email=value))
    neither = with_claims(email=GONE, email_verified=GONE)
    yield Forgery("neither email nor email_verified", "email_missing", neither)
    for value in (
        "alice",
        "@mail.test",
        "alice@",
        "alice@mail",
        "alice@127.0.0.1",
        "alice@[127.0.0.1]",
        "alice@mail.test\r\nBcc: bob@mail.test",
        "alice@mail.test, bob@mail.test",
        "Alice <alice@mail.test>",
        "alice@mail.test\0",
        "al\u200bice@mail.test",
        '"alice"@mail.test',
        "a" * 300 + "@mail.test",
    ):
        yield Forgery(f"email {value[:20]!r}", "email_invalid", with_claims(email=value))
    for name, value in {
        "missing": GONE,
        "false": False,
        "null": None,
        "1": 1,
        "a string": "true",
        "a string in capitals": "True",
        "a list": [True],
        "an object": {"value": True},
    }.items():
        yield Forgery(
            f"email_verified is {name}", "email_not_verified", with_claims(email_verified=value)
        )
    for email in (
        "alice@other.test",
        "alice@sub.mail.test",
        "alice@mail.test.attacker.example",
        "alice@xmail.test",
        "alice@corp.test",
        "alice@xcorp.test",
        "alice@mail.test@other.test",
    ):
        code = "email_invalid" if email.count("@") > 1 else "issuer_not_authoritative"
        yield Forgery(f"email {email}", code, with_claims(email=email))


def nonces() -> Iterator[Forgery]:
    """Yield tokens without a nonce that this server has issued."""
    for name, value in (
        _NO_STRINGS | {"empty": "", "chosen": "n-0S6_WzA2Mj", "long": "A" * 13_000}
    ).items():
        code = "proof_too_large" if name == "long" else "nonce_invalid"
        yield Forgery(f"nonce is {name}", code, with_claims(nonce=value))
    for position in (0, 5, 20, -1):

        def altered(nonce: str, position: int = position) -> str:
            letters = list(nonce)
            letters[position] = "A" if letters[position] != "A" else "B"
            return token("".join(letters))

        yield Forgery(f"nonce altered at {position}", "nonce_invalid", altered)
    yield Forgery("nonce cut off", "nonce_invalid", lambda nonce: token(nonce[:-4]))
    yield Forgery("nonce twice", "nonce_invalid", lambda nonce: token(nonce * 2))


def of_broker(kind: Any = rsa, header: Any = None, **changes: Any) -> Callable[[str], str]:
    """Return what makes a token of the broker with these claims changed, by a key of some kind."""
    return lambda nonce: token(nonce, key=kind("broker"), header=header, **broker_claims(**changes))


def brokers() -> Iterator[Forgery]:
    """Yield tokens that a Portier broker would not make for this server."""
    for name, value in (_NO_STRINGS | {"a client id": CLIENT, "a list of it": [ORIGIN]}).items():
        yield Forgery(f"broker: aud is {name}", "audience_mismatch", of_broker(aud=value))
    for name, value in {
        "another origin": "https://attacker.example",
        "with a slash": ORIGIN + "/",
        "with a port": ORIGIN + ":443",
        "without TLS": ORIGIN.replace("https", "http"),
        "its redirect_uri": ORIGIN + "/verify",
    }.items():
        yield Forgery(f"broker: aud is {name}", "audience_mismatch", of_broker(aud=value))
    for name, code, changes in (
        ("azp is another", "authorized_party_mismatch", {"azp": "https://attacker.example"}),
        ("email is not verified", "email_not_verified", {"email_verified": False}),
        ("email_verified is a string", "email_not_verified", {"email_verified": "true"}),
        ("email is not normalized", "email_invalid", {"email": "Alice@mail.test"}),
        ("domain is not normalized", "email_invalid", {"email": "alice@MAIL.test"}),
        ("email_original is a number", "email_invalid", {"email_original": 5}),
        ("email_original is no email", "email_invalid", {"email_original": "alice"}),
        ("issuer with a slash", "issuer_unknown", {"iss": BROKER + "/"}),
        ("no email", "email_missing", {"email": GONE}),
        ("no nonce", "nonce_invalid", {"nonce": GONE}),
    ):
        yield Forgery(f"broker: {name}", code, of_broker(**changes))
    for algorithm, key in (("ES256", elliptic), ("EdDSA", edwards)):
        mint = of_broker(key, {"alg": algorithm})
        yield Forgery(f"broker: {algorithm}", "algorithm_not_allowed", mint)


def publishers() -> dict[str, tuple[str, Callable[[Provider, str], None]]]:
    """Return providers that publish what can't be used: the code, and what publishes it."""

    def keys() -> list[dict[str, Any]]:
        return [public(rsa("rsa"), "rsa")]

    def discovery(**changes: Any) -> Callable[[Provider, str], None]:
        return lambda provider, url: provider.publish(url, keys(), **changes)

    def key_set(document: Any, status: int = 200, kind: str = "application/json") -> Any:
        def publish(provider: Provider, url: str) -> None:
            provider.publish(url, keys())
            found = document() if callable(document) else document
            provider.put(f"{url}/jwks", found, status, kind)

        return publish

    def well_known(document: Any, status: int = 200, kind: str = "application/json") -> Any:
        return lambda provider, url: provider.put(
            f"{url}/.well-known/openid-configuration", document, status, kind
        )

    bad, bad_keys = "discovery_document_invalid", "key_set_invalid"
    forbidden, away = "issuer_address_forbidden", "issuer_unreachable"
    return {
        "names-another": (bad, discovery(issuer=ACCOUNTS)),
        "names-itself-with-a-slash": (bad, discovery(issuer=f"{ACCOUNTS}/odd/")),
        "names-nobody": (bad, discovery(issuer=GONE)),
        "names-no-keys": (bad, discovery(jwks_uri=GONE)),
        "keys-without-tls": (bad, discovery(jwks_uri="http://accounts.test/jwks")),
        "keys-in-a-file": (bad, discovery(jwks_uri="file:///etc/passwd")),
        "keys-at-another-port": (bad, discovery(jwks_uri="https://accounts.test:8443/jwks")),
        "keys-with-a-password": (bad, discovery(jwks_uri="https://a:b@accounts.test/jwks")),
        "keys-at-a-fragment": (bad, discovery(jwks_uri="https://accounts.test/jwks#a")),
        "keys-at-an-address": (forbidden, discovery(jwks_uri="https://127.0.0.1/jwks")),
        "keys-at-a-single-label": (forbidden, discovery(jwks_uri="https://localhost/jwks")),
        "is-not-there": (away, lambda _provider, _url: None),
        "is-broken": (away, well_known({}, 500)),
        "moved": (away, well_known(b"", 302)),
        "is-a-page": (bad, well_known(b"<html>", 200, "text/html")),
        "is-no-json": (bad, well_known(b"{")),
        "is-a-list": (bad, well_known([])),
        "is-large": (bad, well_known({"pad": "x" * 70_000})),
        "keys-are-not-there": (away, key_set({}, 404)),
        "keys-moved": (away, key_set(b"", 301)),
        "keys-are-a-page": (bad_keys, key_set(b"<html>", 200, "text/html")),
        "keys-are-no-json": (bad_keys, key_set(b"keys")),
        "keys-are-a-list": (bad_keys, key_set(keys)),
        "keys-are-an-object": (bad_keys, key_set(lambda: {"keys": {"rsa": keys()[0]}})),
        "keys-are-none": (bad_keys, key_set({"keys": []})),
        "keys-are-many": (bad_keys, key_set(lambda: {"keys": keys() * 65})),
        "keys-are-large": (bad_keys, key_set(lambda: {"keys": keys(), "pad": "x" * 70_000})),
        "keys-are-odd": (
            bad_keys,
            key_set(lambda: {"keys": [public(rsa("rsa"), "rsa", use="enc"), 5, None]}),
        ),
    }


def odd_url(name: str) -> str:
    """Return the identifier of a provider that publishes what can't be used."""
    return f"{ACCOUNTS}/{name}"


def odd_publishers() -> Iterator[Forgery]:
    """Yield good tokens of providers that publish what can't be used."""
    for name, (code, _publish) in publishers().items():
        needs_network = code == "issuer_address_forbidden" or name == "keys-are-large"
        yield Forgery(f"provider: {name}", code, with_claims(iss=odd_url(name)), needs_network)


def odd_issuers() -> list[dict[str, Any]]:
    """Return the configuration by which these providers are trusted."""
    return [
        {"issuer": odd_url(name), "client_ids": [CLIENT], "domains": ["*"]} for name in publishers()
    ]


def publish(provider: Provider) -> None:
    """Publish what can't be used."""
    for name, (_code, publish_odd) in publishers().items():
        publish_odd(provider, odd_url(name))


ROWS = (
    *issuers(),
    *audiences(),
    *times(),
    *people(),
    *nonces(),
    *brokers(),
    *odd_publishers(),
)
