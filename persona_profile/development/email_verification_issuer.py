"""An issuer of email verification tokens for development (draft-hardt-email-verification).

It vouches for every email at the example domains, which delegate to it as a mail domain delegates to
its provider. A browser finds it by a TXT record, reads the accounts that are signed in, and gets a
token for the key that has signed its request. `email_verification_application` is its HTTP interface.
The settings reject it outside development.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from persona_profile.auth.fetch import Fetched, FetchError
from persona_profile.development.identity_provider import (
    is_example_domain,
    read_example_email,
    read_or_write_pem,
)
from persona_profile.development.message_signatures import SignedRequest, verify
from persona_profile.emails import (
    InvalidDomain,
    InvalidEmail,
    canonical_domain,
    canonical_email,
)
from persona_profile.encoding import Json, MalformedText, base64url_encode, json_decode, json_encode

HOST: Final = "accounts.example"
ISSUER: Final = f"https://{HOST}"
METADATA_PATH: Final = "/.well-known/email-verification"
WEB_IDENTITY_PATH: Final = "/.well-known/web-identity"
KEY_SET_PATH: Final = "/email-verification/jwks.json"
ISSUANCE_PATH: Final = "/email-verification/issue"
ACCOUNTS_PATH: Final = "/accounts"
LOGIN_PATH: Final = "/"

ALGORITHM: Final = "Ed25519"
TXT_PREFIX: Final = "_email-verification."
TOKEN_TYPE: Final = "evt+jwt"  # noqa: S105 - a media type
MAX_ACCOUNTS: Final = 20


class IssuanceError(Exception):
    """A rejected request for a token; `code` is its error code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _SigningKey:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        x = base64url_encode(key.public_key().public_bytes_raw())
        required = json_encode({"crv": "Ed25519", "kty": "OKP", "x": x})
        self.id = base64url_encode(hashlib.sha256(required).digest())  # RFC 7638
        kind: dict[str, Json] = {"kty": "OKP", "crv": "Ed25519", "x": x}
        self.document: Json = kind | {"use": "sig", "alg": ALGORITHM, "kid": self.id}

    @classmethod
    def load(cls, path: Path) -> _SigningKey:
        key = load_pem_private_key(read_or_write_pem(path, Ed25519PrivateKey.generate), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path}: not an Ed25519 key")  # noqa: TRY004 - it is a file's content
        return cls(key)

    def sign(self, header: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
        signed = ".".join(base64url_encode(json_encode(part)) for part in (header, payload))
        return f"{signed}.{base64url_encode(self._key.sign(signed.encode('ascii')))}"


class DevelopmentEmailIssuer:
    """Publishes its documents, and issues tokens.

    Args:
        address: host and port of loopback where browsers find it.
        folder: the folder of the key, which is made at first use.
        clock: seconds since 1970.

    Attributes:
        issuer: its identifier.
        is_served: whether this server, or another process of it, serves the issuer.
    """

    def __init__(
        self, address: tuple[str, int], folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self.address = address
        self.issuer = ISSUER
        self.is_served = False
        self._path = folder / "development-email-verification.pem"
        self._clock = clock
        self._loaded: _SigningKey | None = None

    def txt_records(self, name: str) -> tuple[str, ...]:
        """Return the TXT records of a DNS name: each example domain delegates to this issuer."""
        name = name.lower().removesuffix(".")
        if not name.startswith(TXT_PREFIX) or not vouches_for(name.removeprefix(TXT_PREFIX)):
            return ()
        return (f"iss={HOST}",)

    def metadata(self) -> dict[str, Json]:
        """Return the metadata of the issuer."""
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}{KEY_SET_PATH}",
            "issuance_endpoint": f"{ISSUER}{ISSUANCE_PATH}",
            "signing_alg_values_supported": ["Ed25519", "ES256"],
        }

    def web_identity(self) -> dict[str, Json]:
        """Return the file in which a browser finds the accounts (FedCM's well-known file)."""
        return {
            "accounts_endpoint": f"{ISSUER}{ACCOUNTS_PATH}",
            "login_url": f"{ISSUER}{LOGIN_PATH}",
        }

    def key_set(self) -> dict[str, Json]:
        """Return the JWK set (RFC 7517)."""
        return {"keys": [self._key.document]}

    def accounts(self, emails: Collection[str]) -> dict[str, Json]:
        """Return the list of accounts for the signed-in emails."""
        found: list[Json] = [{"id": each, "email": each, "name": each} for each in emails]
        return {"accounts": found}

    def sign_in(self, emails: Collection[str], email: str) -> tuple[str, ...]:
        """Return the signed-in emails with another one, which comes first.

        Raises:
            ValueError: the email is invalid or not of an example domain.
        """
        canonical = read_example_email(email, "issuer")
        return tuple(dict.fromkeys((canonical, *emails)))[:MAX_ACCOUNTS]

    def issue(self, request: SignedRequest, emails: Collection[str]) -> str:
        """Return a token for the key that has signed the request, followed by `~`.

        Raises:
            BadSignature: the request is not signed as it must be.
            IssuanceError: the request is malformed, or its email is not signed in.
        """
        key = verify(request, self._clock())
        try:
            body = json_decode(request.body)
        except MalformedText:
            raise IssuanceError("invalid_request") from None
        email = body.get("email") if isinstance(body, dict) else None
        if not isinstance(email, str):
            raise IssuanceError("invalid_request")
        try:
            is_signed_in = canonical_email(email) in emails
        except InvalidEmail:
            is_signed_in = False
        if not is_signed_in:
            raise IssuanceError("authentication_required")
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "iat": int(self._clock()),
            "cnf": {"jwk": key},
            "email": email,
            "email_verified": True,
        }
        return self._key.sign({"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self._key.id}, payload) + "~"

    def fetch(self, url: str) -> Fetched:
        """Return a document of this issuer without a network: every process has its key.

        Raises:
            FetchError: there is no such document.
        """
        documents = {METADATA_PATH: self.metadata, KEY_SET_PATH: self.key_set}
        document = documents.get(url.removeprefix(ISSUER))
        if document is None:
            raise FetchError("issuer_unreachable")
        return Fetched(200, "application/json", json_encode(document()))

    @property
    def _key(self) -> _SigningKey:
        if self._loaded is None:
            self._loaded = _SigningKey.load(self._path)
        return self._loaded


def vouches_for(domain: str) -> bool:
    """Return whether a domain is an example domain."""
    try:
        return is_example_domain(canonical_domain(domain))
    except InvalidDomain:
        return False
