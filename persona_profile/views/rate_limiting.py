"""Holding requests to the rate limits, and telling clients how they stand."""

from __future__ import annotations

from collections.abc import Mapping

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.addresses import client_network
from persona_profile.auth.policy import email_in_path
from persona_profile.rate_limits import Policy, Quota
from persona_profile.views import Services


def charge(request: Request, policy: Policy, costs: Mapping[str, int]) -> None:
    """Count what a request is about to do, by what identifies the client; its answer will tell.

    Raises:
        RateLimited: it is too much.
    """
    services: Services = request.services
    quota = services.rate_limits.hit(policy, costs)
    if quota is not None:
        request.add_response_callback(lambda _request, response: _tell(response, quota))


def charge_write(request: Request) -> None:
    """Count a change of the email in the path, or what costs as much.

    Raises:
        RateLimited: there were too many.
    """
    charge(request, Policy.WRITES_PER_EMAIL, {email_in_path(request): 1})


def client_of(request: Request) -> str:
    """Return the network of the client, by which strangers are limited (see `client_network`).

    The address is that of the connection, or the one that a trusted proxy has reported
    (`TrustedProxies`).
    """
    return client_network(request.environ.get("REMOTE_ADDR", ""))


def _tell(response: Response, quota: Quota) -> None:
    for name, value in quota.headers().items():
        response.headers.add(name, value)
