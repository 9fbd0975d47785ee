"""The OpenID provider for development as a WSGI application, for an origin of its own."""

from __future__ import annotations

import html
from typing import Final
from urllib.parse import urlsplit

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.development import openid_people
from persona_profile.development.answers import (
    Handler,
    RoutedApplication,
    form_parameters,
    json_answer,
    page,
    paragraph,
    published,
    redirect,
    text,
)
from persona_profile.development.identity_provider import EXAMPLE_EMAILS
from persona_profile.development.openid_provider import (
    PICTURE_PATH,
    DevelopmentOpenIDProvider,
    TokenError,
)
from persona_profile.development.openid_requests import (
    AuthorizationError,
    AuthorizationRequest,
    UnusableRequest,
)

_BRAND: Final = "OpenID provider"


class ProviderApplication(RoutedApplication):
    """The WSGI application around a provider."""

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        self._provider = provider
        routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._describe},
            "/.well-known/openid-configuration": {"GET": lambda _: published(provider.metadata())},
            "/jwks.json": {"GET": lambda _: published(provider.key_set())},
            "/authorize": {"GET": self._authorize, "POST": self._authorize},
            "/decision": {"POST": self._decide},
            PICTURE_PATH: {"GET": _picture},
            "/token": {"POST": self._exchange},
            "/development/rotate": {"POST": self._rotate},
        }
        super().__init__(provider.issuer, "This provider", routes)

    def handle(self, handler: Handler, request: Request) -> Response:
        """Return the answer of a handler, or that of its error."""
        try:
            return handler(request)
        except UnusableRequest as error:
            return page(_BRAND, "This does not work", paragraph(str(error)), status=400)
        except AuthorizationError as error:
            return redirect(error.url)

    def _describe(self, _request: Request) -> Response:
        where = ", ".join(self._provider.redirect_uris)
        return page(
            _BRAND,
            "It runs",
            paragraph(f"It vouches for anybody at the example domains, to pages at {where}"),
        )

    def _authorize(self, request: Request) -> Response:
        asked = self._provider.read(form_parameters(request))
        if asked.is_silent:
            return redirect(self._provider.decide_alone(asked))
        return _choose(asked)

    def _decide(self, request: Request) -> Response:
        if not self.is_own_page(request):
            return text(403, "A page of another origin sent this.")
        sent = form_parameters(request)
        asked = self._provider.read(sent)
        form = dict(sent)
        if form.get("decision") == "deny":
            return redirect(self._provider.deny(asked))
        email = form.get("email", "").strip()
        try:
            return redirect(self._provider.allow(asked, email))
        except ValueError as error:
            return _choose(asked, email, str(error))

    def _exchange(self, request: Request) -> Response:
        try:
            response = json_answer(self._provider.exchange(form_parameters(request)))
        except TokenError as error:
            response = json_answer(
                {"error": error.code}, status=401 if error.code == "invalid_client" else 400
            )
        origins = {_origin(each) for each in self._provider.redirect_uris}
        if request.headers.get("Origin") in origins:
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.vary = ("Origin",)
        return response

    def _rotate(self, request: Request) -> Response:
        if not self.is_own_page(request):
            return text(403, "A page of another origin sent this.")
        return json_answer({"kid": self._provider.rotate()})


def _picture(request: Request) -> Response:
    """Return the picture of a person."""
    subject = request.GET.get("of", "")
    if not openid_people.SUBJECT.fullmatch(subject):
        return text(404, "Nobody is here.")
    return Response(openid_people.portrait(subject), content_type="image/jpeg")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _choose(asked: AuthorizationRequest, email: str | None = None, problem: str = "") -> Response:
    """Return the page on which a person chooses an email, with the error of a typed one."""
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in asked.parameters.items()
    )
    site = _origin(asked.redirect_uri)
    choices = "".join(
        f'<button name="email" value="{each}" class="choice">{each}</button>' for each in EXAMPLE_EMAILS
    )
    typed = html.escape(asked.login_hint if email is None else email)
    mark = ' aria-invalid="true" aria-describedby="problem" autofocus' if problem else ""
    message = f'<p class="field-error" id="problem">{html.escape(problem)}</p>' if problem else ""
    content = f"""<p><strong>{html.escape(site)}</strong> asks who you are. No password: this
provider of the development server vouches for everybody at the example domains.</p>
<form method="post" action="/decision">{hidden}
<div class="choices" role="group" aria-label="Sign in as">{choices}</div>
</form>
<form method="post" action="/decision" novalidate>{hidden}
<div class="field"><label>Another address
<input name="email" type="email" dir="auto" autocomplete="off" autocapitalize="none" spellcheck="false"
 placeholder="you@your-team.example" value="{typed}"{mark}></label>{message}</div>
<button class="primary">Continue</button>
</form>
<form method="post" action="/decision">{hidden}
<button name="decision" value="deny" class="quiet">Don&rsquo;t sign in</button>
</form>"""
    return page(_BRAND, "Sign in as…", content, targets=f"'self' {site}")
