"""Counts every request that the application answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from persona_profile.views import Services

UNMATCHED = "unmatched"
"""The route of requests that no pattern takes."""

_CONDITION = re.compile(r":[^}]+\}")


def observation_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that tells the metrics of each request."""
    services: Services = registry["services"]
    metrics = services.metrics
    patterns: dict[str, str] = {}

    def route_of(request: Request) -> str:
        route = request.__dict__.get("matched_route")
        if route is None:
            return UNMATCHED
        found = patterns.get(route.name)
        if found is None:
            found = patterns[route.name] = _CONDITION.sub("}", route.pattern)
        return found

    def observation_tween(request: Request) -> Response:
        began = time.perf_counter()
        status = 500
        try:
            response = handler(request)
            status = response.status_code
        finally:
            seconds = time.perf_counter() - began
            metrics.count_request(route_of(request), request.method, status, seconds)
            if status >= 400:
                metrics.count_problem(getattr(request, "problem_code", "none"), status)
        return response

    return observation_tween


def includeme(config: Configurator) -> None:
    """Add the tween outside of all others."""
    config.add_tween("persona_profile.views.observation.observation_tween_factory", under=INGRESS)
