"""The service about itself: its description for clients, health checks and version (Dockerflow)."""

from __future__ import annotations

from typing import Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.representations import json_response
from persona_profile.api.sessions import MAX_EMAILS
from persona_profile.encoding import json_encode
from persona_profile.images.formats import ACCEPTED_MEDIA_TYPES, MEDIA_TYPES, SIZES, THUMBNAIL_SIZES
from persona_profile.keys.content_key_wraps import MAX_WRAPS
from persona_profile.profiles.claims import CLAIMS, LONG_TEXT_CHARACTERS, TEXT_CHARACTERS

NAME: Final = "Persona Profile Server"
_STOPPING: Final = {"status": "stopping"}

root = Service(name="root", path="/v1/", description="Limits, claims, sizes and formats.")
# An address that people type.
bare_root = Service(name="root-without-slash", path="/v1", description="The same as /v1/.")
load_balancer = Service(name="lbheartbeat", path="/__lbheartbeat__", description="Is it up?")
heartbeat = Service(name="heartbeat", path="/__heartbeat__", description="Can it do its work?")
about = Service(name="version", path="/__version__", description="Which build is this?")


@root.get()  # type: ignore[untyped-decorator]
@bare_root.get()  # type: ignore[untyped-decorator]
def describe(request: Request) -> Response:
    """Return limits, claims, sizes and formats, which a client needs before its first call."""
    services: Services = request.services
    document = {
        "name": NAME,
        "version": services.build["version"],
        "proofs": list(services.authenticators.descriptions),
        "claims": list(CLAIMS),
        "limits": {
            "emails_per_session": MAX_EMAILS,
            "text_characters": TEXT_CHARACTERS,
            "long_text_characters": LONG_TEXT_CHARACTERS,
            "picture_bytes": services.max_picture_bytes,
            "profile_keys": MAX_WRAPS,
        },
        "pictures": {
            "sizes": SIZES,
            "thumbnails": THUMBNAIL_SIZES,
            "formats": [MEDIA_TYPES[name] for name in services.picture_formats],
            "accepted": ACCEPTED_MEDIA_TYPES,
        },
    }
    response = Response(json_encode(document), content_type="application/json")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


@load_balancer.get()  # type: ignore[untyped-decorator]
def is_up(request: Request) -> Response:
    """Return 200, or 503 once the process is stopping. Check nothing else."""
    if request.services.lifecycle.is_announced:
        return json_response(_STOPPING, 503)
    return json_response({"status": "ok"})


@heartbeat.get()  # type: ignore[untyped-decorator]
def is_working(request: Request) -> Response:
    """Check the parts that the service depends on; write only where the last write has failed."""
    services: Services = request.services
    if services.lifecycle.is_announced:
        return json_response(_STOPPING, 503)
    checks = services.heartbeat.statuses()
    is_healthy = services.heartbeat.is_healthy(checks)
    document = {
        "status": "ok" if is_healthy else "error",
        "checks": checks,
        "details": {"pictures": services.renderer.workers.confinement},
    }
    return json_response(document, 200 if is_healthy else 503)


@about.get()  # type: ignore[untyped-decorator]
def describe_build(request: Request) -> Response:
    """Return the name, the version and the other facts of the build."""
    return json_response({"name": NAME, **request.services.build})


def includeme(config: Configurator) -> None:
    """Register the services."""
    for service in (root, bare_root, load_balancer, heartbeat, about):
        config.add_cornice_service(service)
