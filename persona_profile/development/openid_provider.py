"""An OpenID provider for development: it signs ID tokens for every email at the example domains.

OpenID Connect Core 1.0 with one public client, the dialogs of this server. The flows are `id_token` in
a fragment, for pages without a server, and `code` with PKCE, the default of current libraries.
`openid_application` is its HTTP interface. The settings reject it outside development.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from persona_profile.auth.browserid_keys import RS256, sign_jws
from persona_profile.auth.fetch import (
    MAX_RESPONSE_BYTES,
    Fetched,
    FetchError,
    Url,
    exchange,
)
from persona_profile.auth.openid_issuers import OpenIDIssuer
from persona_profile.bounded_http import MeteredSocket
from persona_profile.development import openid_people
from persona_profile.development.identity_provider import (
    PINNED_PATTERNS,
    read_example_email,
    read_or_write_key,
)
from persona_profile.development.openid_requests import (
    CODE,
    FRAGMENT,
    ID_TOKEN,
    QUERY,
    AuthorizationRequest,
    Parameters,
    read_request,
)
from persona_profile.encoding import Json, base64url_encode, json_encode

CLIENT_ID: Final = "development-dialog"
TOKEN_LIFE_SECONDS: Final = 300
CODE_LIFE_SECONDS: Final = 60
PUBLISHED_KEYS: Final = 2
"""The signing key, and its predecessor, whose tokens may still be in use."""

CLAIMS: Final = (
    *("iss", "sub", "aud", "iat", "exp", "auth_time"),
    *("email", "email_verified", "nonce"),
    *openid_people.CLAIMS,
)
"""The claims of ID tokens; a request for the scope `profile` gets the last ones."""

PICTURE_PATH: Final = "/picture"

_SCOPES: Final = ("openid", "email", "profile")
_FETCH_SECONDS: Final = 5
_MAX_CODES: Final = 1000
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_KEY_FILE: Final = re.compile(r"development-openid-([1-9][0-9]{0,8})\.pem")


class TokenError(Exception):
    """A rejected token request; `code` is its error code (RFC 6749, 5.2)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Grant:
    request: AuthorizationRequest
    email: str
    expires_at: float


class _SigningKey:
    def __init__(self, number: int, key: RSAPrivateKey) -> None:
        self.number = number
        self.key = key
        numbers = key.public_key().public_numbers()
        public = {
            name: base64url_encode(value.to_bytes((value.bit_length() + 7) // 8))
            for name, value in (("e", numbers.e), ("n", numbers.n))
        }
        required = json_encode({"e": public["e"], "kty": "RSA", "n": public["n"]})
        self.id = base64url_encode(hashlib.sha256(required).digest())  # RFC 7638
        self.document: Json = {"kty": "RSA", "use": "sig", "alg": RS256, "kid": self.id, **public}


class DevelopmentOpenIDProvider:
    """Decides on authorization requests, and signs tokens.

    Args:
        issuer: the identifier, which is the origin of the provider.
        redirect_uris: the redirect URIs of the one client.
        folder: the folder of the keys, which are made at first use.
        clock: seconds since 1970.

    Attributes:
        is_served: whether this server, or another process of it, serves the provider.
    """

    def __init__(
        self,
        issuer: str,
        redirect_uris: Iterable[str],
        folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.redirect_uris = tuple(redirect_uris)
        self.is_served = False
        self.trust = OpenIDIssuer(
            issuer, frozenset({CLIENT_ID}), frozenset(PINNED_PATTERNS), frozenset({RS256})
        )
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._codes: OrderedDict[str, _Grant] = OrderedDict()
        self._loaded: tuple[_SigningKey, ...] = ()

    @property
    def authorization_endpoint(self) -> str:
        """The URL of the authorization endpoint."""
        return f"{self.issuer}/authorize"

    def metadata(self) -> dict[str, Json]:
        """Return the discovery document (OpenID Connect Discovery 1.0, 3; RFC 8414; RFC 9207)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": self.authorization_endpoint,
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks.json",
            "scopes_supported": list(_SCOPES),
            "response_types_supported": [CODE, ID_TOKEN],
            "response_modes_supported": [QUERY, FRAGMENT],
            "grant_types_supported": ["authorization_code", "implicit"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [RS256],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": list(CLAIMS),
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "claims_parameter_supported": False,
            "authorization_response_iss_parameter_supported": True,
        }

    def fetch(self, url: str) -> Fetched:
        """Fetch a document of this provider, over plain HTTP.

        Raises:
            FetchError: the provider is not served, or does not answer.
        """
        parsed = Url.parse(url)
        if not self.is_served or parsed.origin != self.issuer:
            # Another program may listen there.
            raise FetchError("issuer_unreachable", "this server does not serve it")
        deadline = time.monotonic() + _FETCH_SECONDS
        try:
            with socket.create_connection((parsed.host, parsed.port), _FETCH_SECONDS) as plain:
                metered = MeteredSocket(plain, MAX_RESPONSE_BYTES, deadline)
                return exchange(metered, parsed)
        except (OSError, http.client.HTTPException) as error:
            raise FetchError("issuer_unreachable", type(error).__name__) from None

    def key_set(self) -> dict[str, Json]:
        """Return the JWK set of the published keys (RFC 7517)."""
        return {"keys": [key.document for key in reversed(self._keys)]}

    def rotate(self) -> str:
        """Replace the signing key; return the new `kid`. The previous key stays published."""
        keys = self._keys
        with self._lock:
            number = keys[-1].number + 1
            added = _SigningKey(number, read_or_write_key(self._path(number)))
            for old in (*keys, added)[:-PUBLISHED_KEYS]:
                self._path(old.number).unlink(missing_ok=True)
            self._loaded = (*keys, added)[-PUBLISHED_KEYS:]
            return added.id

    def read(self, parameters: Parameters) -> AuthorizationRequest:
        """Return the authorization request of parameters.

        Raises:
            UnusableRequest: it has no valid client to redirect to.
            AuthorizationError: it is rejected.
        """
        return read_request(parameters, CLIENT_ID, self.redirect_uris, self.issuer)

    def decide_alone(self, request: AuthorizationRequest) -> str:
        """Return the redirect URL for a silent request.

        The provider has no sign-in, so the person of `login_hint` counts as signed in.
        """
        try:
            return self.allow(request, request.login_hint)
        except ValueError:
            description = "Name an address of an example domain as login_hint."
            return request.answer(error="login_required", error_description=description)

    def deny(self, request: AuthorizationRequest) -> str:
        """Return the redirect URL after the person has denied the request."""
        return request.answer(error="access_denied", error_description="The person denied the request.")

    def allow(self, request: AuthorizationRequest, email: str) -> str:
        """Return the redirect URL after the person has chosen an email.

        Raises:
            ValueError: the email is invalid or not of an example domain.
        """
        canonical = read_example_email(email, "provider")
        if request.response_type == ID_TOKEN:
            return request.answer(id_token=self._id_token(request, canonical))
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._codes[code] = _Grant(request, canonical, self._clock() + CODE_LIFE_SECONDS)
            while len(self._codes) > _MAX_CODES:
                self._codes.popitem(last=False)
        return request.answer(code=code)

    def exchange(self, parameters: Parameters) -> dict[str, Json]:
        """Return the tokens for a code; the access token gives no access.

        Raises:
            TokenError: the request is rejected.
        """
        sent = dict(parameters)
        if len(sent) != len(parameters):
            raise TokenError("invalid_request")
        if sent.get("client_id") != CLIENT_ID:
            raise TokenError("invalid_client")
        if sent.get("grant_type") != "authorization_code":
            raise TokenError("unsupported_grant_type" if "grant_type" in sent else "invalid_request")
        verifier = sent.get("code_verifier", "")
        if "code" not in sent or not _VERIFIER.fullmatch(verifier):
            raise TokenError("invalid_request")
        with self._lock:
            grant = self._codes.pop(sent["code"], None)  # a code works once
        challenge = base64url_encode(hashlib.sha256(verifier.encode("ascii")).digest())
        if (
            grant is None
            or grant.expires_at <= self._clock()
            or grant.request.redirect_uri != sent.get("redirect_uri")
            or not hmac.compare_digest(grant.request.parameters["code_challenge"], challenge)
        ):
            raise TokenError("invalid_grant")
        return {
            "access_token": secrets.token_urlsafe(32),
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE_SECONDS,
            "scope": " ".join(each for each in _SCOPES if each in grant.request.scopes | {"email"}),
            "id_token": self._id_token(grant.request, grant.email),
        }

    def _id_token(self, request: AuthorizationRequest, email: str) -> str:
        now, subject = int(self._clock()), openid_people.subject_of(email)
        payload: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + TOKEN_LIFE_SECONDS,
            "auth_time": now,
            "email": email,
            "email_verified": True,
        }
        if "nonce" in request.parameters:
            payload["nonce"] = request.parameters["nonce"]
        if "profile" in request.scopes:
            picture = f"{self.issuer}{PICTURE_PATH}?of={subject}"
            payload |= openid_people.profile_of(email, picture)
        signing = self._keys[-1]
        return sign_jws(payload, signing.key, {"kid": signing.id, "typ": "JWT"})

    def _path(self, number: int) -> Path:
        return self._folder / f"development-openid-{number}.pem"

    @property
    def _keys(self) -> tuple[_SigningKey, ...]:
        """The published keys; the last one signs."""
        with self._lock:
            if not self._loaded:
                matches = (_KEY_FILE.fullmatch(path.name) for path in self._folder.glob("*.pem"))
                numbers = sorted(int(match[1]) for match in matches if match)[-PUBLISHED_KEYS:] or [1]
                self._loaded = tuple(
                    _SigningKey(each, read_or_write_key(self._path(each))) for each in numbers
                )
            return self._loaded
