"""A span of every request that the application answers; this module is included if traces are on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from persona_profile.api.observation import route_pattern
from persona_profile.api.reception import QUEUED_SECONDS
from persona_profile.runtime.metrics import METHODS
from persona_profile.runtime.traces import Traces

_TWEEN: Final = "persona_profile.api.tracing.tracing_tween_factory"
_OBSERVATION: Final = "persona_profile.api.observation.observation_tween_factory"


def tracing_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that records each request."""
    traces: Traces = registry["traces"]

    def tracing_tween(request: Request) -> Response:
        environ = request.environ
        # The server has removed the header of a peer that is no trusted proxy.
        parent = environ.get("HTTP_TRACEPARENT")
        with traces.request(parent, environ.get(QUEUED_SECONDS, 0.0)) as span:
            status, request_id = 500, ""
            try:
                response = handler(request)
                status = response.status_code
                request_id = response.headers.get("X-Request-Id", "")
            finally:
                method = request.method if request.method in METHODS else "_OTHER"
                span.answer(method, route_pattern(request), status, request_id)
        return response

    return tracing_tween


def includeme(config: Configurator) -> None:
    """Add the tween outside of all other tweens."""
    config.add_tween(_TWEEN, under=INGRESS, over=_OBSERVATION)
