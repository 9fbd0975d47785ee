"""Pictures: upload and delete with a session, read with a capability URL."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import BinaryIO, Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.bodies import crop_parameter, picture_body
from persona_profile.api.cors import is_account_chooser
from persona_profile.api.policy import OWN_EMAIL, email_in_path
from persona_profile.api.profiles import EMAIL_PATH
from persona_profile.api.rate_limiting import charge, charge_bytes, charge_write, client_of
from persona_profile.api.representations import precondition, profile_response, validated
from persona_profile.encoding import base64url_encode
from persona_profile.errors import NotAcceptable
from persona_profile.images import Crop, Rendition
from persona_profile.images.formats import MEDIA_TYPES
from persona_profile.rate_limits import Policy
from persona_profile.runtime.waiting import Wait

MAX_ACCEPT_CHARACTERS: Final = 1024

_SAFE_TO_OPEN: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Dialogs are on other sites; `check_page` accepts only configured origins.
    "Cross-Origin-Resource-Policy": "cross-origin",
}

own_picture = Service(
    name="own-picture", path=f"{EMAIL_PATH}/picture", description="A profile's picture."
)
rendition = Service(
    name="picture", path="/v1/pictures/{capability}", description="One size of a picture."
)


@own_picture.put(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def upload(request: Request) -> Response:
    """Replace the picture."""
    charge_write(request)
    services: Services = request.services
    email = email_in_path(request)
    for policy, payer in _payers_of_time(request, email).items():
        services.rate_limits.check(policy, [payer])
    expected = precondition(request)
    crop = crop_parameter(request)
    source = picture_body(request, services.max_picture_bytes)
    services.profiles.check_write(request.identity, email, expected)  # before the costly part
    # One upload more than may wait: it displaces another, or is rejected, at once.
    with services.waiting.place(Wait.UPLOAD, retry_after=2, spare=1):
        renditions = _render(request, email, source, crop)
    written = services.profiles.write_picture(request.identity, email, renditions, expected)
    return profile_response(request, written)


@own_picture.delete(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def remove(request: Request) -> Response:
    """Remove the picture."""
    charge_write(request)
    services: Services = request.services
    services.profiles.delete_picture(request.identity, email_in_path(request), precondition(request))
    return Response(status=204)


@rendition.get()  # type: ignore[untyped-decorator]
def read(request: Request) -> Response:
    """Return one size of a picture in the smallest format that the client accepts."""
    services: Services = request.services
    capability, seconds = services.pictures.open_capability(request.matchdict["capability"])
    charge(request, Policy.READS_PER_PICTURE, {request.matchdict["capability"]: 1})
    charge_bytes(request)
    # Chromium requests an account's picture with an Accept header for JSON.
    name = "jpeg" if is_account_chooser(request) else _negotiate(request, capability.formats)
    data = services.pictures.read(capability, name)
    etag = f'"{base64url_encode(capability.picture_id)}.{capability.size}.{name}"'
    # A sign-out ends the URL of a protected picture before it expires: the browser asks each time.
    caching = f"max-age={seconds}, immutable" if capability.protection is None else "no-cache"
    response = validated(request, data, etag, f"private, {caching}", MEDIA_TYPES[name])
    response.headers.update(_SAFE_TO_OPEN)
    response.vary = ("Accept", "Sec-Fetch-Dest")
    return response


def _render(request: Request, email: str, source: BinaryIO, crop: Crop | None) -> tuple[Rendition, ...]:
    """Return the renditions of an upload. Charge its pixels before, and its processor time after."""
    services: Services = request.services
    payers = _payers_of_time(request, email)
    claimants = (
        ("issuer", payers[Policy.PICTURE_MS_PER_ISSUER]),
        ("network", payers[Policy.PICTURE_MS_PER_ADDRESS]),
    )
    rendering = services.renderer.upload(source, crop, claimants)
    try:
        with rendering:
            charge(request, Policy.PIXELS_PER_EMAIL, {email: rendering.open()})
            return rendering.render()
    finally:
        milliseconds = ceil(1000 * rendering.processor_seconds)
        if milliseconds > 0:
            for policy, payer in payers.items():
                services.rate_limits.add(policy, {payer: milliseconds})


def _payers_of_time(request: Request, email: str) -> dict[Policy, str]:
    """Return the parties that pay for the processor time of an upload."""
    return {
        Policy.PICTURE_MS_PER_EMAIL: email,
        Policy.PICTURE_MS_PER_ISSUER: request.identity.issuer_of(email),
        Policy.PICTURE_MS_PER_ADDRESS: client_of(request),
    }


def _negotiate(request: Request, stored: Sequence[str]) -> str:
    """Return the best format that the client accepts.

    Accept must name a format other than JPEG: programs that send `image/*` know none of them. A client
    that accepts only a format that is not stored, because it would be larger, gets JPEG (RFC 9110,
    12.5.1). A header of more than MAX_ACCEPT_CHARACTERS is ignored, as that section allows.
    """
    header = (request.headers.get("Accept") or "").lower()
    if len(header) > MAX_ACCEPT_CHARACTERS:
        return "jpeg"
    acceptable = dict(request.accept.acceptable_offers(list(MEDIA_TYPES.values())))
    if not acceptable:
        raise NotAcceptable(f"Pictures have the media types {', '.join(MEDIA_TYPES.values())}.")
    usable = (
        name for name in stored if MEDIA_TYPES[name] in acceptable and MEDIA_TYPES[name] in header
    )
    return next(usable, "jpeg")


def includeme(config: Configurator) -> None:
    """Register the services."""
    config.add_cornice_service(own_picture)
    config.add_cornice_service(rendition)
