"""Metrics, a log line (`request.summary`) and an identifier of every request that is answered.

Requests are also noted as demand, which picture workers make room for.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Final

from pyramid.config import Configurator
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import INGRESS

from persona_profile.api import Services
from persona_profile.api.problems import new_request_id
from persona_profile.runtime.logs import REQUEST_ID
from persona_profile.runtime.metrics import METHODS

SUMMARY = "request.summary"
UNMATCHED = "unmatched"
"""The route of requests that match no pattern."""

logger = logging.getLogger("persona_profile.requests")

_NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")
"""The browser shows each answer as the type that it has."""

_WITHOUT_DEMAND: Final = frozenset(
    (
        "/v1/profiles/{email}/picture",
        "/v1/profiles/{email}/picture/preview",
        "/__heartbeat__",
        "/__lbheartbeat__",
    )
)
"""Routes of uploads, which are the work of picture workers, and of probes."""

_CONDITION = re.compile(r":[^}]+\}")


def route_pattern(request: Request) -> str | None:
    """Return the pattern of a request's path, without conditions, or None if it matched no route."""
    route = request.__dict__.get("matched_route")
    return None if route is None else _without_conditions(route.pattern)


@cache
def _without_conditions(pattern: str) -> str:
    return _CONDITION.sub("}", pattern)


def observation_tween_factory(
    handler: Callable[[Request], Response], registry: Registry
) -> Callable[[Request], Response]:
    """Return a tween that counts and logs each request."""
    services: Services = registry["services"]
    metrics = services.metrics
    demand = services.renderer.demand

    def observation_tween(request: Request) -> Response:
        began = time.perf_counter()
        request_id = new_request_id()
        token = REQUEST_ID.set(request_id)
        status = 500
        try:
            response = handler(request)
            response.headerlist += [("X-Request-Id", request_id), _NO_SNIFFING]
            status = response.status_code
        finally:
            seconds = time.perf_counter() - began
            route = route_pattern(request) or UNMATCHED
            metrics.count_request(route, request.method, status, seconds)
            if route not in _WITHOUT_DEMAND:
                demand.note()
            if status >= 400:
                metrics.count_problem(getattr(request, "problem_code", "none"), status)
            if logger.isEnabledFor(logging.INFO):
                _log(route, request.method, status, seconds)
            REQUEST_ID.reset(token)
        return response

    return observation_tween


def _log(route: str, method: str, status: int, seconds: float) -> None:
    """Log a request without its path and its client, which are personal data."""
    fields = {
        "method": method if method in METHODS else "other",
        "route": route,
        "code": status,
        "t": round(seconds * 1000, 1),
    }
    # Not `logger.info`, whose search for the caller costs more than the rest.
    extra = {"fields": fields}
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, SUMMARY, (), None, extra=extra)
    logger.handle(record)


def includeme(config: Configurator) -> None:
    """Add the tween outside of all other tweens."""
    config.add_tween("persona_profile.api.observation.observation_tween_factory", under=INGRESS)
