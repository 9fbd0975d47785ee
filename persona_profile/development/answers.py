"""Answers and pages of the providers of a development server."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.encoding import json_encode

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
<header class="top"><p class="brand">{brand} <span class="chip">development</span></p></header>
<main>
<section class="panel">
<h1>{title}</h1>
{content}
</section>
</main>
</body>
</html>
"""


Handler = Callable[[Request], Response]


class RoutedApplication:
    """A WSGI application of one origin, with a handler for each path and method.

    Args:
        origin: its only origin.
        name: the name of the provider in messages.
        routes: handlers by path and method.
    """

    def __init__(self, origin: str, name: str, routes: Mapping[str, Mapping[str, Handler]]) -> None:
        self._origin = origin
        self._name = name
        self._routes = {**routes, "/provider.css": {"GET": _style}}

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

    def handle(self, handler: Handler, request: Request) -> Response:
        """Return the answer of a handler; a subclass adds the answers for its errors."""
        return handler(request)

    def is_own_page(self, request: Request) -> bool:
        """Return whether a request comes from a page of this origin, or from no page."""
        return request.headers.get("Origin") in (None, self._origin)

    def _answer(self, request: Request) -> Response:
        if f"{request.scheme}://{request.host}" != self._origin:
            # Another name of this address: it may be an attacker's (DNS rebinding).
            return text(421, f"{self._name} is at {self._origin}")
        try:
            methods = self._routes.get(request.path_info)
            return self._dispatch(request, methods) if methods else text(404, "Nothing is here.")
        except UnicodeDecodeError:
            return text(400, "The request is not UTF-8.")

    def _dispatch(self, request: Request, methods: Mapping[str, Handler]) -> Response:
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is not None:
            return self.handle(handler, request)
        allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
        response = text(405, f"Use {' or '.join(allowed)}.")
        response.allow = allowed
        return response


def form_parameters(request: Request) -> Sequence[tuple[str, str]]:
    """Return the decoded names and values of a form, or else of the query."""
    sent = request.POST if request.method == "POST" and request.content_type == _FORM else request.GET
    return [(name, value) for name, value in sent.items() if isinstance(value, str)]


def _style(_request: Request) -> Response:
    response = Response(b"".join(path.read_bytes() for path in _STYLES), content_type="text/css")
    response.headers["Cache-Control"] = "no-cache"
    return response


def paragraph(sentence: str) -> str:
    """Return a text as a paragraph of HTML."""
    return f"<p>{html.escape(sentence)}</p>"


def page(
    brand: str, title: str, content: str, *, status: int = 200, targets: str = "'none'"
) -> Response:
    """Return a page; `targets` are the origins to which its forms may lead."""
    body = _PAGE.format(brand=html.escape(brand), title=html.escape(title), content=content)
    response = Response(body, status=status, content_type="text/html", charset="utf-8")
    # Browsers hold redirects of a form to it too.
    response.headers["Content-Security-Policy"] = _POLICY.format(targets=targets)
    return response


def redirect(url: str) -> Response:
    """Return a redirect that is read by GET."""
    response = text(303, "")
    response.headers["Location"] = url
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def published(document: Mapping[str, Any]) -> Response:
    """Return a document that anybody may read and keep for a minute."""
    response = json_answer(document)
    response.headers["Cache-Control"] = "public, max-age=60"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def json_answer(document: Mapping[str, Any], status: int = 200) -> Response:
    """Return a document as JSON."""
    return Response(json_encode(document), status=status, content_type="application/json", charset=None)


def text(status: int, sentence: str) -> Response:
    """Return a sentence as plain text."""
    return Response(
        f"{sentence}\n" if sentence else "", status=status, content_type="text/plain", charset="utf-8"
    )
