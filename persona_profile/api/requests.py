"""The class of requests, and Cornice's services on it.

`Configurator.add_request_method` makes a new class for each request, in which Python caches nothing.
So properties of requests are in one class, and of Cornice only the registration of services is
included: its own `includeme` adds such a property, and calls that nothing here needs.
"""

from __future__ import annotations

from typing import Any

from cornice.pyramidhook import register_service_views
from cornice.util import ContentTypePredicate
from pyramid.config import Configurator
from pyramid.decorator import reify
from pyramid.request import Request

from persona_profile.api import Services
from persona_profile.api.problems import new_request_id
from persona_profile.keys.tokens import Session
from persona_profile.runtime.logs import REQUEST_ID


class ServiceRequest(Request):  # type: ignore[misc]
    """A request to this service.

    Attributes:
        errors: the errors of Cornice's validators, of which there are none.
    """

    errors: tuple[()] = ()

    @property
    def services(self) -> Services:
        """The parts of the service that views work with."""
        services: Services = self.registry["services"]
        return services

    @reify  # type: ignore[untyped-decorator]
    def identity(self) -> Session | None:
        """The session of the request's token, opened once; see `BearerPolicy`."""
        session: Session | None = super().identity
        return session

    @reify  # type: ignore[untyped-decorator]
    def request_id(self) -> str:
        """The identifier of this request in its response and its log lines."""
        return REQUEST_ID.get() or new_request_id()

    @reify  # type: ignore[untyped-decorator]
    def info(self) -> dict[str, Any]:
        """Notes of Cornice's views."""
        return {}


def includeme(config: Configurator) -> None:
    """Set the class of requests, and let modules register services of Cornice."""
    config.set_request_factory(ServiceRequest)
    config.registry.cornice_services = {}
    config.add_directive("add_cornice_service", register_service_views)
    config.add_view_predicate("content_type", ContentTypePredicate)
