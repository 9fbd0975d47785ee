"""Charges of requests against the rate limits, and the headers that report quotas.

Each charge raises `RateLimited` if a quota is used up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Final

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.addresses import client_network
from persona_profile.api.cors import check_page
from persona_profile.api.policy import email_in_path
from persona_profile.rate_limits import Policy, Quota

MIN_ANSWER_BYTES: Final = 4096
"""The minimum charge of a read: making a small answer costs as much as sending this many bytes."""


def charge(request: Request, policy: Policy, costs: Mapping[str, int]) -> None:
    """Charge the units of a request to clients by their identifiers; report the quota in the response.

    A page of a foreign origin is rejected first: it would use up the quota of its visitor's network.
    """
    check_page(request)
    services: Services = request.services
    quota = services.rate_limits.hit(policy, costs)
    if quota is not None:
        request.add_response_callback(lambda _request, response: _report(response, quota))


def charge_write(request: Request) -> None:
    """Charge the email in the path with one write."""
    charge(request, Policy.WRITES_PER_EMAIL, {email_in_path(request): 1})


def charge_bytes(request: Request, email: str | None = None) -> None:
    """Charge a client's network, and an email of the session, with the bytes of a read's response."""
    check_page(request)
    services: Services = request.services
    accounts = [services.rate_limits.account(Policy.BYTES_PER_ADDRESS, client_of(request))]
    if email is not None:
        accounts.append(services.rate_limits.account(Policy.BYTES_PER_EMAIL, email))
    for account in accounts:
        account.check()

    def count(_request: Request, response: Response) -> None:
        size = max(MIN_ANSWER_BYTES, response.content_length or 0)
        for account in accounts:
            account.add(size)

    request.add_response_callback(count)


@contextlib.contextmanager
def failure_charged(
    request: Request, processor_seconds: Callable[[], float] = time.thread_time
) -> Iterator[None]:
    """Charge the client's network with the processor time of a request that fails."""
    services: Services = request.services
    account = services.rate_limits.account(Policy.FAILURES_PER_ADDRESS, client_of(request))
    account.check()
    began = processor_seconds()
    try:
        yield
    except Exception:
        milliseconds = ceil(1000 * (processor_seconds() - began))
        account.add(max(1, milliseconds))
        raise


def client_of(request: Request) -> str:
    """Return the network of the client (`client_network`), by which strangers are limited.

    The address is that of the connection, or the address that a trusted proxy has reported
    (`TrustedProxies`).
    """
    return client_network(request.environ.get("REMOTE_ADDR", ""))


def _report(response: Response, quota: Quota) -> None:
    response.headerlist += quota.headers().items()
