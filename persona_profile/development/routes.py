"""Routes of a development server: the demo dialog, its identity provider, and the states of a card."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import FileResponse, Response

import persona_profile
from persona_profile.api import origin_of
from persona_profile.api.bodies import json_body
from persona_profile.api.representations import json_response
from persona_profile.api.schemas import ASSERTION_BODY
from persona_profile.development.chromium import RESOLVER_PATH
from persona_profile.development.configured import Development
from persona_profile.development.openid_provider import CLIENT_ID
from persona_profile.errors import FieldError, NotFound, ValidationFailed

MAX_BODY_BYTES: Final = 4096

TXT: Final = 16
"""The number of this type of DNS records (RFC 1035)."""

NXDOMAIN: Final = 3
TTL_SECONDS: Final = 60

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_PAGE: Final = {
    path.name: path
    for path in Path(persona_profile.__file__).with_name("static").glob("*/*")
    if path.suffix in _TYPES
}
_START_PAGES: Final = {"demo": "index.html", "demo-cards": "cards.html"}
"""The file of each page, by route."""

_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

assertions = Service(
    name="assertions", path="/development/assertions", description="Assertions for the demo."
)


@assertions.post()  # type: ignore[untyped-decorator]
def mint(request: Request) -> Response:
    """Return an assertion for an email of an example domain."""
    development: Development = request.registry["development"]
    email = json_body(request, ASSERTION_BODY, MAX_BODY_BYTES)["email"]
    try:
        bundle = development.identity_provider.bundle(email, origin_of(request))
    except ValueError as error:
        wrong = FieldError("body", "email", str(error))
        raise ValidationFailed("No assertion for this email.", errors=(wrong,)) from None
    return json_response({"assertion": bundle}, status=201)


openid = Service(
    name="openid", path="/development/openid", description="Where the demo finds its OpenID provider."
)


@openid.get()  # type: ignore[untyped-decorator]
def describe_provider(request: Request) -> Response:
    """Return the configuration for a client of the local OpenID provider; 204 if it is not served."""
    development: Development = request.registry["development"]
    provider = development.openid_provider
    if provider is None or not provider.is_served:
        return Response(status=204)  # no error: browsers would report it
    return json_response(
        {
            "issuer": provider.issuer,
            "authorization_endpoint": provider.authorization_endpoint,
            "client_id": CLIENT_ID,
        }
    )


dns = Service(
    name="dns",
    path=RESOLVER_PATH,
    description="TXT records for Chromium, as its resolver of email verification answers.",
)


@dns.get()  # type: ignore[untyped-decorator]
def resolve(request: Request) -> Response:
    """Return the TXT records of a name, in the JSON form of public resolvers (DNS over HTTPS)."""
    development: Development = request.registry["development"]
    issuer = development.email_issuer
    if issuer is None or not issuer.is_served:
        raise NotFound
    try:
        name = request.GET.get("name", "")
    except UnicodeDecodeError:
        name = ""
    records = issuer.txt_records(name)
    answers = [{"name": name, "type": TXT, "TTL": TTL_SECONDS, "data": data} for data in records]
    document = {"Status": 0 if records else NXDOMAIN, "AD": True, "Answer": answers}
    return json_response(document)


def page(request: Request) -> Response:
    """Return a file of the demo dialog, or of the page of all states of a card."""
    name = _START_PAGES.get(request.matched_route.name) or request.matchdict["name"]
    if name not in _PAGE:
        raise NotFound
    path = _PAGE[name]
    response = FileResponse(str(path), request=request, content_type=_TYPES[path.suffix])
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-cache"
    return response


def includeme(config: Configurator) -> None:
    """Register the demo and the calls of its identity providers."""
    config.add_cornice_service(assertions)
    config.add_cornice_service(openid)
    config.add_cornice_service(dns)
    config.add_route("demo", "/")
    config.add_route("demo-cards", "/development/cards")
    config.add_route("demo-file", "/static/{name}")
    for route in (*_START_PAGES, "demo-file"):
        config.add_view(page, route_name=route, request_method="GET")
