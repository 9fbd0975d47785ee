"""Authorization requests of OpenID Connect Core 1.0, read by the provider for development."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

PARAMETERS: Final = (
    *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce"),
    *("prompt", "login_hint", "code_challenge", "code_challenge_method"),
    *("request", "request_uri", "registration"),
)
"""The known parameters; unknown parameters are ignored (RFC 6749, 3.1)."""

ID_TOKEN, CODE = "id_token", "code"
FRAGMENT, QUERY = "fragment", "query"

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_UNSUPPORTED: Final = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


Parameters = Sequence[tuple[str, str]]
"""Decoded names and values of a query or a form, in order."""


class UnusableRequest(Exception):
    """A request without a valid client or redirect URI: the person sees a page, without a redirect."""


class AuthorizationError(Exception):
    """A rejected request; `url` is the redirect with the error (RFC 6749, 4.1.2.1 and 4.2.2.1)."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid authorization request; see `read_request`.

    Attributes:
        parameters: the known parameters, which the form repeats.
        response_type: ID_TOKEN or CODE.
        response_mode: FRAGMENT or QUERY.
    """

    parameters: Mapping[str, str]
    redirect_uri: str
    response_type: str
    response_mode: str
    issuer: str

    @property
    def prompts(self) -> frozenset[str]:
        """The values of `prompt`."""
        return frozenset(self.parameters.get("prompt", "").split())

    @property
    def scopes(self) -> frozenset[str]:
        """The values of `scope`."""
        return frozenset(self.parameters.get("scope", "").split())

    @property
    def is_silent(self) -> bool:
        """Whether no page may be shown."""
        return "none" in self.prompts

    @property
    def login_hint(self) -> str:
        """The expected email; any text that a client sends."""
        return self.parameters.get("login_hint", "")

    def answer(self, **members: str) -> str:
        """Return the redirect URL with an answer (RFC 6749, 4.1.2 and 4.2.2; RFC 9207)."""
        if "state" in self.parameters:
            members["state"] = self.parameters["state"]
        mark = "#" if self.response_mode == FRAGMENT else "?"
        return f"{self.redirect_uri}{mark}{urlencode({**members, 'iss': self.issuer})}"


def read_request(
    parameters: Parameters, client_id: str, redirect_uris: Collection[str], issuer: str
) -> AuthorizationRequest:
    """Return the authorization request of parameters. Redirect URIs are compared letter by letter.

    Raises:
        UnusableRequest: it has no valid client to redirect to.
        AuthorizationError: it is rejected.
    """
    names = [name for name, _ in parameters]
    repeated = {name for name in PARAMETERS if names.count(name) > 1}
    sent = {name: value for name, value in parameters if name in PARAMETERS and value}
    if sent.get("client_id") != client_id or "client_id" in repeated:
        raise UnusableRequest(f"The client_id must be {client_id}.")
    if sent.get("redirect_uri") not in redirect_uris or "redirect_uri" in repeated:
        raise UnusableRequest(f"The redirect_uri must be {' or '.join(redirect_uris)}")
    if "state" in repeated:
        del sent["state"]
    response_type = sent.get("response_type", "")
    default = QUERY if response_type in (CODE, "") else FRAGMENT
    mode = FRAGMENT if sent.get("response_mode") == FRAGMENT else default
    request = AuthorizationRequest(sent, sent["redirect_uri"], response_type, mode, issuer)
    for is_broken, error, description in _rules(request, repeated):
        if is_broken:
            raise AuthorizationError(request.answer(error=error, error_description=description))
    return request


def _rules(request: AuthorizationRequest, repeated: set[str]) -> list[tuple[bool, str, str]]:
    """Return the rules: whether each is broken, error and description. The first broken rule counts."""
    sent, kind = request.parameters, request.response_type
    unsupported = next((error for name, error in _UNSUPPORTED.items() if name in sent), "")
    has_challenge = sent.get("code_challenge_method") == "S256" and bool(
        _CHALLENGE.fullmatch(sent.get("code_challenge", ""))
    )
    mode = sent.get("response_mode", request.response_mode)
    return [
        (bool(repeated), "invalid_request", f"{min(repeated, default='')} must be there once."),
        (bool(unsupported), unsupported, "This provider accepts plain parameters only."),
        (not kind, "invalid_request", "response_type is needed."),
        (kind not in (CODE, ID_TOKEN), "unsupported_response_type", "Ask for id_token or code."),
        (mode != request.response_mode, "invalid_request", "response_mode does not fit."),
        ("openid" not in request.scopes, "invalid_scope", "Ask for openid."),
        (kind == ID_TOKEN and "nonce" not in sent, "invalid_request", "nonce is needed."),
        (kind == CODE and not has_challenge, "invalid_request", "PKCE with S256 is needed."),
        (
            request.is_silent and len(request.prompts) > 1,
            "invalid_request",
            "prompt=none stands alone.",
        ),
    ]
