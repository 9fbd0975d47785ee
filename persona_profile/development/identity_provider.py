"""An identity provider for development: it vouches for every email at the example domains.

Its key is made at first use, in a folder that the server and the `assertion` command share. The
settings reject it outside development.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from persona_profile import files
from persona_profile.auth.browserid_discovery import PinnedIssuers
from persona_profile.auth.browserid_keys import public_key_document, sign_jws
from persona_profile.emails import InvalidEmail, canonical_email, patterns_of
from persona_profile.encoding import Json

DOMAINS: Final = ("example.com", "example.net", "example.org")
PINNED_PATTERNS: Final = ("*.example", *(p + name for name in DOMAINS for p in ("", "*.")))
EXAMPLE_EMAILS: Final = ("alice@example.com", "bob@example.org")
"""The emails that the providers offer."""

CERTIFICATE_LIFE_MS: Final = 3600 * 1000
ASSERTION_LIFE_MS: Final = 2 * 60 * 1000

PrivateKey = rsa.RSAPrivateKey | dsa.DSAPrivateKey


def mint_bundle(
    email: str, audience: str, *, issuer: str, issuer_key: PrivateKey, user_key: PrivateKey
) -> str:
    """Return a certificate of `issuer` for the email's key, and an assertion for the audience."""
    now = int(time.time() * 1000)
    certificate = {
        "iss": issuer,
        "iat": now,
        "exp": now + CERTIFICATE_LIFE_MS,
        "public-key": public_key_document(user_key.public_key()),
        "principal": {"email": email},
    }
    assertion = {"aud": audience, "exp": now + ASSERTION_LIFE_MS}
    return f"{sign_jws(certificate, issuer_key)}~{sign_jws(assertion, user_key)}"


def is_example_domain(domain: str) -> bool:
    """Return whether a canonical domain is an example domain."""
    return any(each in PINNED_PATTERNS for each in patterns_of(domain))


def read_example_email(email: str, provider: str) -> str:
    """Return the canonical spelling of an email that a person typed at a provider.

    Raises:
        ValueError: the email is invalid or not of an example domain.
    """
    try:
        canonical = canonical_email(email)
    except InvalidEmail:
        raise ValueError("This is no email address.") from None
    if not is_example_domain(canonical.rpartition("@")[2]):
        raise ValueError(
            f"This {provider} vouches for example.com, example.net and example.org, their "
            "subdomains, and names that end in .example."
        )
    return canonical


class DevelopmentIdentityProvider:
    """Mints bundles for the example domains."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, folder: Path) -> DevelopmentIdentityProvider:
        """Return the provider with the key of a folder. See `read_or_write_key`.

        Raises:
            ValueError: the key file has no RSA key.
            OSError: the folder can't be used.
        """
        return cls(read_or_write_key(folder / "development-idp.pem"))

    def support_documents(self) -> dict[str, Json]:
        """Return the support documents of this provider by domain, for a server that trusts it."""
        support: Json = {"public-key": public_key_document(self._key.public_key())}
        return dict.fromkeys(PINNED_PATTERNS, support)

    def pinned_issuers(self) -> PinnedIssuers:
        """Return the support documents as parsed pinned issuers."""
        return PinnedIssuers.parse(self.support_documents())

    def bundle(self, email: str, audience: str) -> str:
        """Return a new bundle that proves an email to an audience.

        Raises:
            ValueError: the email is invalid or not of an example domain.
        """
        try:
            canonical = canonical_email(email)
        except InvalidEmail:
            raise ValueError("this is no email address") from None
        domain = canonical.rpartition("@")[2]
        if self.pinned_issuers().get(domain) is None:
            raise ValueError(
                "the development identity provider vouches for domains under .example and for "
                f"{', '.join(DOMAINS)} only"
            )
        return mint_bundle(
            canonical, audience, issuer=domain, issuer_key=self._key, user_key=_new_key()
        )


def read_or_write_key(path: Path) -> rsa.RSAPrivateKey:
    """Return the key of a file, which is made if it is missing. Two processes may do so at once.

    Raises:
        ValueError: the file has no RSA key.
        OSError: the folder can't be used.
    """
    pem = read_or_write_pem(path, _new_key)
    # The check of its numbers would take as long as the start of an application.
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path}: not an RSA key")  # noqa: TRY004 - it is a file's content
    return key


def read_or_write_pem(
    path: Path, new_key: Callable[[], rsa.RSAPrivateKey | Ed25519PrivateKey]
) -> bytes:
    """Return the content of a key file. If it is missing, a new key is written to it.

    Raises:
        OSError: the folder can't be used.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pem = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with contextlib.suppress(FileExistsError):  # the file of a faster process stays
            files.create(path, pem)
    return path.read_bytes()


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
