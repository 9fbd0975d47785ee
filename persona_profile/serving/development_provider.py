"""The OpenID provider for development on an origin of its own, in a thread of the server's process."""

from __future__ import annotations

import html
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pyramid.request import Request
from pyramid.response import Response
from waitress import create_server

from persona_profile.development.openid_provider import DevelopmentOpenIDProvider, TokenError
from persona_profile.development.openid_requests import (
    AuthorizationError,
    AuthorizationRequest,
    Parameters,
    UnusableRequest,
)
from persona_profile.encoding import json_encode
from persona_profile.runtime.exposition import listen
from persona_profile.serving.channels import PatientChannel

CHOICES: Final = ("alice@example.com", "bob@example.org")
MAX_BODY_BYTES: Final = 32 * 1024
RETRY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)

_THREADS: Final = 4
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
    """The provider as a WSGI application."""

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        self._provider = provider
        self._routes: dict[str, dict[str, Callable[[Request], Response]]] = {
            "/": {"GET": self._describe},
            "/.well-known/openid-configuration": {"GET": self._metadata},
            "/jwks.json": {"GET": self._key_set},
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
            # A name that was bound to this address, or another of its own.
            return _text(421, f"This provider is at {self._provider.issuer}")
        try:
            methods = self._routes.get(request.path_info)
            return self._dispatch(request, methods) if methods else _text(404, "Nothing is here.")
        except UnicodeDecodeError:
            return _text(400, "What was sent is not UTF-8.")
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

    def _metadata(self, _request: Request) -> Response:
        return _published(self._provider.metadata())

    def _key_set(self, _request: Request) -> Response:
        return _published(self._provider.key_set())

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


class ProviderServer:
    """Serves the provider from threads of its own.

    Args:
        provider: what it is, and where.

    Raises:
        OSError: it can't listen there.
    """

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        place = urlsplit(provider.issuer)
        listener = listen((place.hostname or "", place.port or 80))
        self._provider = provider
        self._server = create_server(
            ProviderApplication(provider),
            sockets=[listener],
            threads=_THREADS,
            ident=None,
            max_request_body_size=MAX_BODY_BYTES,
            max_request_header_size=MAX_BODY_BYTES,
            expose_tracebacks=False,
            asyncore_use_poll=True,
        )
        self._server.channel_class = PatientChannel
        self._thread = threading.Thread(target=self._server.run, name="openid-provider", daemon=True)
        self._thread.start()
        provider.is_served = True

    def close(self) -> None:
        """Answer no more."""
        self._provider.is_served = False
        self._server.trigger.pull_trigger(self._stop)
        self._thread.join(5)
        self._server.task_dispatcher.shutdown()

    def _stop(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.close()


class PatientProvider:
    """Serves the provider from one of several processes: whichever gets the port, until it ends."""

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        self._provider = provider
        self._provider.is_served = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="openid-provider-port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and leave the port to another process."""
        self._stopped.set()
        self._thread.join(10)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                server = ProviderServer(self._provider)
            except OSError:
                self._stopped.wait(RETRY_SECONDS)
            else:
                logger.info("OpenID provider for development, at %s", self._provider.issuer)
                self._stopped.wait()
                server.close()


def take_up(
    provider: DevelopmentOpenIDProvider | None, *, is_one_of_several: bool
) -> Callable[[], None]:
    """Serve a provider, if there is one and its port is free; return what ends that."""
    if provider is None:
        return lambda: None
    if is_one_of_several:
        return PatientProvider(provider).close
    try:
        return ProviderServer(provider).close
    except OSError as error:
        logger.warning(
            "no OpenID provider for development: %s: %s; another port is set by "
            "development.provider_listen",
            provider.issuer,
            os.strerror(error.errno or 0),
        )
        return lambda: None


def _parameters(request: Request) -> Parameters:
    sent = request.POST if request.method == "POST" and request.content_type == _FORM else request.GET
    return [(name, value) for name, value in sent.items() if isinstance(value, str)]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _choose(asked: AuthorizationRequest, email: str | None = None, problem: str = "") -> Response:
    """Return the page that asks who signs in; with what is wrong about the address that was typed."""
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
    told = f'<p class="field-error" id="problem">{html.escape(problem)}</p>' if problem else ""
    content = f"""<p><strong>{html.escape(site)}</strong> asks who you are. No password: this
provider of the development server vouches for everybody at the example domains.</p>
<form method="post" action="/decision">{hidden}
<div class="choices" role="group" aria-label="Sign in as">{choices}</div>
</form>
<form method="post" action="/decision" novalidate>{hidden}
<div class="field"><label>Another address
<input name="email" type="email" dir="auto" autocomplete="off" autocapitalize="none" spellcheck="false"
 placeholder="you@your-team.example" value="{typed}"{mark}></label>{told}</div>
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
