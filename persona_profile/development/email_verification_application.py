"""The issuer of email verification tokens for development as a WSGI application, for its own origin."""

from __future__ import annotations

import html
from typing import Final
from urllib.parse import quote, unquote

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.development.answers import (
    Handler,
    RoutedApplication,
    form_parameters,
    json_answer,
    page,
    published,
    redirect,
    text,
)
from persona_profile.development.email_verification_issuer import (
    ACCOUNTS_PATH,
    HOST,
    ISSUANCE_PATH,
    ISSUER,
    KEY_SET_PATH,
    LOGIN_PATH,
    MAX_ACCOUNTS,
    METADATA_PATH,
    WEB_IDENTITY_PATH,
    DevelopmentEmailIssuer,
    IssuanceError,
)
from persona_profile.development.identity_provider import EXAMPLE_EMAILS
from persona_profile.development.message_signatures import BadSignature, SignedRequest

MAX_BODY_BYTES: Final = 4096
COOKIE: Final = "__Host-signed-in"
"""The cookie with the signed-in emails; without it the example emails are signed in."""

_BRAND: Final = "Email provider"
_SIGN_IN: Final = "/sign-in"
_SIGN_OUT: Final = "/sign-out"
_STATUSES: Final = {"authentication_required": 401}


class IssuerApplication(RoutedApplication):
    """The WSGI application around an issuer."""

    def __init__(self, issuer: DevelopmentEmailIssuer) -> None:
        self._issuer = issuer
        routes: dict[str, dict[str, Handler]] = {
            LOGIN_PATH: {"GET": lambda request: _choose(_signed_in(request))},
            _SIGN_IN: {"POST": self._sign_in},
            _SIGN_OUT: {"POST": self._sign_out},
            METADATA_PATH: {"GET": lambda _: published(issuer.metadata())},
            WEB_IDENTITY_PATH: {"GET": lambda _: published(issuer.web_identity())},
            KEY_SET_PATH: {"GET": lambda _: published(issuer.key_set())},
            ACCOUNTS_PATH: {"GET": lambda request: json_answer(issuer.accounts(_signed_in(request)))},
            ISSUANCE_PATH: {"POST": self._issue},
        }
        super().__init__(ISSUER, "This issuer", routes)

    def _issue(self, request: Request) -> Response:
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return json_answer({"error": "invalid_request"}, status=413)
        signed = SignedRequest(
            request.method,
            HOST,
            ISSUANCE_PATH,
            {name.lower(): value for name, value in request.headers.items()},
            request.body,
        )
        try:
            token = self._issuer.issue(signed, _signed_in(request))
        except BadSignature as error:
            return json_answer(
                {"error": "invalid_signature", "error_description": str(error)}, status=401
            )
        except IssuanceError as error:
            return json_answer({"error": error.code}, status=_STATUSES.get(error.code, 400))
        return json_answer({"issuance_token": token})

    def _sign_in(self, request: Request) -> Response:
        if not self.is_own_page(request):
            return text(403, "A page of another origin sent this.")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return text(413, "The form is too large.")
        email = dict(form_parameters(request)).get("email", "").strip()
        emails = _signed_in(request)
        try:
            return _kept(self._issuer.sign_in(emails, email))
        except ValueError as error:
            return _choose(emails, email, str(error))

    def _sign_out(self, request: Request) -> Response:
        if not self.is_own_page(request):
            return text(403, "A page of another origin sent this.")
        return _kept(())


def _signed_in(request: Request) -> tuple[str, ...]:
    kept = request.cookies.get(COOKIE)
    if kept is None:
        return EXAMPLE_EMAILS
    # The emails count as they are: this issuer vouches for anybody.
    return tuple(unquote(kept).split()[:MAX_ACCOUNTS])


def _kept(emails: tuple[str, ...]) -> Response:
    """Return to the page, with a cookie that the browser sends along with its own requests too."""
    response = redirect(LOGIN_PATH)
    response.set_cookie(
        COOKIE, quote(" ".join(emails)), secure=True, httponly=True, samesite="none", path="/"
    )
    # The browser notes for FedCM whether anybody is signed in here (Login Status API).
    response.headers["Set-Login"] = "logged-in" if emails else "logged-out"
    return response


def _choose(emails: tuple[str, ...], email: str = "", problem: str = "") -> Response:
    """Return the page on which a person signs in and out, with the error of a typed email."""
    present = "".join(f"<li><bdi>{html.escape(each)}</bdi></li>" for each in emails)
    mark = ' aria-invalid="true" aria-describedby="problem" autofocus' if problem else ""
    message = f'<p class="field-error" id="problem">{html.escape(problem)}</p>' if problem else ""
    content = f"""<p>No password: this email provider of the development server vouches for everybody at
the example domains. Your browser proves these addresses to pages that ask for one:</p>
<ul>{present or "<li>none</li>"}</ul>
<form method="post" action="{_SIGN_IN}" novalidate>
<div class="field"><label>Another address
<input name="email" type="email" dir="auto" autocomplete="off" autocapitalize="none" spellcheck="false"
 placeholder="you@your-team.example" value="{html.escape(email)}"{mark}></label>{message}</div>
<button class="primary">Sign in</button>
</form>
<form method="post" action="{_SIGN_OUT}">
<button class="quiet">Sign out of all</button>
</form>"""
    return page(_BRAND, "Signed in", content, targets="'self'")
