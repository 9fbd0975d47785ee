"""Cross-origin access (Fetch Standard, "CORS protocol") for pages of the configured origins.

Cornice's own support fixes the origins at import, and skips errors outside of its services. Pages must
be able to read every problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from persona_profile.api import Services
from persona_profile.errors import OriginRejected

PREFLIGHT_SECONDS: Final = 7200
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS: Final = "Authorization, Content-Type, If-Match, If-None-Match"
_RESPONSE_HEADERS: Final = (
    "Content-Disposition, ETag, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
    "X-Request-Id"
)
_VARY: Final = ("Vary", "Origin")


def check_page(request: Request) -> None:
    """Reject a request of a page of a foreign origin, as far as the browser reports the page.

    Requests without a page pass: those of other programs, and of typed addresses. So do requests of a
    browser's account chooser (FedCM), whose destination no page can send.
    """
    headers = request.environ
    site = headers.get("HTTP_SEC_FETCH_SITE")
    page = headers.get("HTTP_ORIGIN") or headers.get("HTTP_REFERER")
    if site in ("same-origin", "none") or is_account_chooser(request):
        return
    if page is None:
        if site is not None:
            raise OriginRejected("The page must let its browser send Origin or Referer.")
        return
    services: Services = request.services
    origin = "/".join(page.split("/")[:3]).lower()
    if origin not in services.public_origins + services.dialog_origins:
        raise OriginRejected("Pages of this origin may neither call this server nor show its pictures.")


def is_account_chooser(request: Request) -> bool:
    """Return whether a browser's account chooser (FedCM) sends a request."""
    return bool(request.environ.get("HTTP_SEC_FETCH_DEST") == "webidentity")


def cors_tween_factory(
    handler: Callable[[Request], Response], _registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that answers preflight requests and lets configured origins read responses."""

    def cors_tween(request: Request) -> Response:
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is None or origin not in request.services.dialog_origins:
            response = handler(request)
            response.headerlist.append(_VARY)
            return response
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = Response(status=204)
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        else:
            response = handler(request)
            response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headerlist.append(_VARY)
        return response

    return cors_tween


def includeme(config: Configurator) -> None:
    """Add the tween above the rendering of errors, so that pages can read problems too."""
    config.add_tween("persona_profile.api.cors.cors_tween_factory", over=EXCVIEW)
