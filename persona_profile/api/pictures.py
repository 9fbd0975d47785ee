"""Pictures: preview, upload and delete with a session, read with a capability URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import BinaryIO, Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.bodies import crop_parameter, is_json, picture_body
from persona_profile.api.cors import is_account_chooser
from persona_profile.api.policy import OWN_EMAIL, email_in_path
from persona_profile.api.profiles import EMAIL_PATH
from persona_profile.api.rate_limiting import charge, charge_bytes, charge_write, client_of
from persona_profile.api.representations import precondition, profile_response, validated
from persona_profile.api.suggestions import fetch_suggestion, read_suggestion
from persona_profile.encoding import base64url_encode
from persona_profile.errors import NotAcceptable
from persona_profile.images.formats import MEDIA_TYPES
from persona_profile.images.renderer import PreviewUpload, Upload
from persona_profile.profiles.preconditions import Precondition
from persona_profile.rate_limits import Policy
from persona_profile.runtime.waiting import Claim, Wait

MAX_ACCEPT_CHARACTERS: Final = 1024

_SAFE_TO_OPEN: Final = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Dialogs are on other sites; `check_page` accepts only configured origins.
    "Cross-Origin-Resource-Policy": "cross-origin",
}

own_picture = Service(
    name="own-picture", path=f"{EMAIL_PATH}/picture", description="A profile's picture."
)
own_preview = Service(
    name="own-picture-preview",
    path=f"{EMAIL_PATH}/picture/preview",
    description="A preview of a file, before its square is chosen.",
)
rendition = Service(
    name="picture", path="/v1/pictures/{capability}", description="One size of a picture."
)


@own_picture.put(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def upload(request: Request) -> Response:
    """Replace the picture."""
    services: Services = request.services
    email = email_in_path(request)
    _charge_upload(request, email)
    expected = precondition(request)
    crop = crop_parameter(request)
    source = _source(request, email, expected)
    upload = services.renderer.upload(source, crop, _claimants(request, email))
    with _opened(request, email, upload):
        renditions = upload.render()
    written = services.profiles.write_picture(request.identity, email, renditions, expected)
    return profile_response(request, written)


@own_picture.delete(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def remove(request: Request) -> Response:
    """Remove the picture."""
    charge_write(request)
    services: Services = request.services
    services.profiles.delete_picture(request.identity, email_in_path(request), precondition(request))
    return Response(status=204)


@own_preview.post(permission=OWN_EMAIL)  # type: ignore[untyped-decorator]
def preview(request: Request) -> Response:
    """Return the whole picture of a file, small and upright; store nothing.

    It is charged as an upload, and its bytes as those of a read.
    """
    services: Services = request.services
    email = email_in_path(request)
    _charge_upload(request, email)
    charge_bytes(request, email)
    source = picture_body(request, services.max_picture_bytes)
    services.profiles.check_upload(request.identity, email)  # before the costly part
    upload = services.renderer.preview(source, _claimants(request, email))
    with _opened(request, email, upload):
        made = upload.render()
    response = Response(made.data, content_type=MEDIA_TYPES[made.format])
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(_SAFE_TO_OPEN)
    return response


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


def _source(request: Request, email: str, expected: Precondition) -> BinaryIO:
    """Return the picture in the body, or the suggested one that the body names.

    The profile is checked before the costly part.
    """
    services: Services = request.services
    if is_json(request):
        suggestion = read_suggestion(request, email)
        services.profiles.check_upload(request.identity, email, expected)
        return fetch_suggestion(request, suggestion)
    source = picture_body(request, services.max_picture_bytes)
    services.profiles.check_upload(request.identity, email, expected)
    return source


def _charge_upload(request: Request, email: str) -> None:
    """Charge an upload as a write; reject it if a budget of processor time is used up."""
    charge_write(request)
    services: Services = request.services
    for policy, payer in _payers_of_time(request, email).items():
        services.rate_limits.account(policy, payer).check()


@contextmanager
def _opened(request: Request, email: str, upload: Upload | PreviewUpload) -> Iterator[None]:
    """Hold the places of an upload until it is rendered. Charge its pixels first, its time last."""
    services: Services = request.services
    waiting = services.waiting
    network = Claim("network", client_of(request), waiting.limit(Wait.UPLOAD))
    try:
        # One upload more than may wait: it displaces another, or is rejected, at once. A network that
        # holds a place can't take this one, so a flood from it keeps nobody else out.
        with waiting.place(Wait.UPLOAD, [network], retry_after=2, spare=1), upload:
            charge(request, Policy.PIXELS_PER_EMAIL, {email: upload.open()})
            yield
    finally:
        milliseconds = ceil(1000 * upload.processor_seconds)
        if milliseconds > 0:
            for policy, payer in _payers_of_time(request, email).items():
                services.rate_limits.account(policy, payer).add(milliseconds)


def _claimants(request: Request, email: str) -> tuple[tuple[str, str], ...]:
    """Return the parties between which places are shared fairly."""
    payers = _payers_of_time(request, email)
    return (
        ("issuer", payers[Policy.PICTURE_MS_PER_ISSUER]),
        ("network", payers[Policy.PICTURE_MS_PER_ADDRESS]),
    )


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
    config.add_cornice_service(own_preview)
    config.add_cornice_service(rendition)
