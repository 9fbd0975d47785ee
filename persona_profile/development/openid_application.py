"""The OpenID provider for development as a WSGI application, for an origin of its own."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.development.openid_provider import DevelopmentOpenIDProvider, TokenError
from persona_profile.development.openid_requests import (
    AuthorizationError,
    AuthorizationRequest,
    Parameters,
    UnusableRequest,
)
from persona_profile.encoding import json_encode

CHOICES: Final = ("alice@example.com", "bob@example.org")

_FORM: Final = "application/x-www-form-urlencoded"
_DEMO: Final = Path(__file__).parents[1] / "static" / "demo"
_STYLES: Final = tuple(_DEMO / name for name in ("demo.css", "provider.css"))
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action {targets}; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} · Development provider</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/provider.css">
</head>
<body>
<header class="top"><p class="brand">OpenID provider <span class="chip">development</span></p></header>
<main>
<section class="panel">
<h1>{title}</h1>
{content}
</section>
</main>
</body>
</html>
"""


class ProviderApplication:
    """The WSGI application around a provider."""

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        self._provider = provider
        self._routes: dict[str, dict[str, Callable[[Request], Response]]] = {
            "/": {"GET": self._describe},
            "/.well-known/openid-configuration": {"GET": lambda _: _published(provider.metadata())},
            "/jwks.json": {"GET": lambda _: _published(provider.key_set())},
            "/authorize": {"GET": self._authorize, "POST": self._authorize},
            "/decision": {"POST": self._decide},
            "/token": {"POST": self._exchange},
            "/development/rotate": {"POST": self._rotate},
            "/provider.css": {"GET": self._style},
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        response = self._answer(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        # Forms send their Origin, which `no-referrer` would hide.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Content-Security-Policy", _POLICY.format(targets="'none'"))
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _answer(self, request: Request) -> Response:
        if f"{request.scheme}://{request.host}" != self._provider.issuer:
            # Another name of this address: it may be an attacker's (DNS rebinding).
            return _text(421, f"This provider is at {self._provider.issuer}")
        try:
            methods = self._routes.get(request.path_info)
            return self._dispatch(request, methods) if methods else _text(404, "Nothing is here.")
        except UnicodeDecodeError:
            return _text(400, "The request is not UTF-8.")
        except UnusableRequest as error:
            return _page("This does not work", _paragraph(str(error)), status=400)
        except AuthorizationError as error:
            return _redirect(error.url)

    def _dispatch(
        self, request: Request, methods: Mapping[str, Callable[[Request], Response]]
    ) -> Response:
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is not None:
            return handler(request)
        allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
        response = _text(405, f"Use {' or '.join(allowed)}.")
        response.allow = allowed
        return response

    def _describe(self, _request: Request) -> Response:
        where = ", ".join(self._provider.redirect_uris)
        return _page(
            "It runs",
            _paragraph(f"It vouches for anybody at the example domains, to pages at {where}"),
        )

    def _style(self, _request: Request) -> Response:
        response = Response(b"".join(path.read_bytes() for path in _STYLES), content_type="text/css")
        response.headers["Cache-Control"] = "no-cache"
        return response

    def _authorize(self, request: Request) -> Response:
        asked = self._provider.read(_parameters(request))
        if asked.is_silent:
            return _redirect(self._provider.decide_alone(asked))
        return _choose(asked)

    def _decide(self, request: Request) -> Response:
        if not self._is_own_page(request):
            return _text(403, "A page of another origin sent this.")
        sent = _parameters(request)
        asked = self._provider.read(sent)
        form = dict(sent)
        if form.get("decision") == "deny":
            return _redirect(self._provider.deny(asked))
        email = form.get("email", "").strip()
        try:
            return _redirect(self._provider.allow(asked, email))
        except ValueError as error:
            return _choose(asked, email, str(error))

    def _exchange(self, request: Request) -> Response:
        try:
            response = _json(self._provider.exchange(_parameters(request)))
        except TokenError as error:
            response = _json(
                {"error": error.code}, status=401 if error.code == "invalid_client" else 400
            )
        origins = {_origin(each) for each in self._provider.redirect_uris}
        if request.headers.get("Origin") in origins:
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.vary = ("Origin",)
        return response

    def _rotate(self, request: Request) -> Response:
        if not self._is_own_page(request):
            return _text(403, "A page of another origin sent this.")
        return _json({"kid": self._provider.rotate()})

    def _is_own_page(self, request: Request) -> bool:
        return request.headers.get("Origin") in (None, self._provider.issuer)


def _parameters(request: Request) -> Parameters:
    sent = request.POST if request.method == "POST" and request.content_type == _FORM else request.GET
    return [(name, value) for name, value in sent.items() if isinstance(value, str)]


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
        f'<button name="email" value="{each}" class="choice">{each}</button>' for each in CHOICES
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
    return _page("Sign in as…", content, targets=f"'self' {site}")


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _page(title: str, content: str, *, status: int = 200, targets: str = "'none'") -> Response:
    body = _PAGE.format(title=html.escape(title), content=content)
    response = Response(body, status=status, content_type="text/html", charset="utf-8")
    # Browsers hold redirects of a form to it too.
    response.headers["Content-Security-Policy"] = _POLICY.format(targets=targets)
    return response


def _redirect(url: str) -> Response:
    response = _text(303, "")
    response.headers["Location"] = url
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _published(document: Mapping[str, Any]) -> Response:
    response = _json(document)
    response.headers["Cache-Control"] = "public, max-age=60"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def _json(document: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json_encode(document), status=status, content_type="application/json", charset=None)


def _text(status: int, text: str) -> Response:
    return Response(
        f"{text}\n" if text else "", status=status, content_type="text/plain", charset="utf-8"
    )
