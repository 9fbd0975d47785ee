"""The servers of the providers for development, in threads of the server's process."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from waitress import create_server

from persona_profile.development.configured import Development
from persona_profile.development.openid_application import ProviderApplication
from persona_profile.development.openid_provider import DevelopmentOpenIDProvider
from persona_profile.runtime.exposition import listen
from persona_profile.serving.channels import PatientChannel
from persona_profile.serving.development_issuer import IssuerServer

MAX_BODY_BYTES: Final = 32 * 1024
RETRY_SECONDS: Final = 1.0

_THREADS: Final = 4

logger = logging.getLogger(__name__)


class ProviderServer:
    """Serves a provider at the address of its issuer.

    Raises:
        OSError: it can't listen there.
    """

    def __init__(self, provider: DevelopmentOpenIDProvider) -> None:
        address = urlsplit(provider.issuer)
        listener = listen((address.hostname or "", address.port or 80))
        self._provider = provider
        self._server = create_server(
            ProviderApplication(provider),
            sockets=[listener],
            threads=_THREADS,
            ident=None,
            max_request_body_size=MAX_BODY_BYTES,
            max_request_header_size=MAX_BODY_BYTES,
            expose_tracebacks=False,
            asyncore_use_poll=True,
        )
        self._server.channel_class = PatientChannel
        self._thread = threading.Thread(target=self._server.run, name="openid-provider", daemon=True)
        self._thread.start()
        provider.is_served = True

    def close(self) -> None:
        """Stop serving."""
        self._provider.is_served = False
        self._server.trigger.pull_trigger(self._stop)
        self._thread.join(5)
        self._server.task_dispatcher.shutdown()

    def _stop(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.close()


class _Server(Protocol):
    def close(self) -> None: ...


class _Provider(Protocol):
    issuer: str
    is_served: bool


Provider = TypeVar("Provider", bound=_Provider)


class SharedProvider(Generic[Provider]):
    """Serves a provider from one of several processes: the first that gets the port, until it ends.

    Args:
        provider: the provider, which counts as served from now on.
        serve: starts its server, or raises OSError.
    """

    def __init__(self, provider: Provider, serve: Callable[[Provider], _Server]) -> None:
        self._provider = provider
        self._provider.is_served = True
        self._start = serve
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="provider-port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, and leave the port to another process."""
        self._stopped.set()
        self._thread.join(10)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                server = self._start(self._provider)
            except OSError:
                self._stopped.wait(RETRY_SECONDS)
            else:
                logger.info("provider for development, at %s", self._provider.issuer)
                self._stopped.wait()
                server.close()


def start_providers(development: Development | None, *, is_one_of_several: bool) -> Callable[[], None]:
    """Serve the providers whose ports are free; return the function that stops them."""
    stack = contextlib.ExitStack()
    if development is not None and (provider := development.openid_provider) is not None:
        place = (provider.issuer, "development.provider_listen")
        stack.callback(_start(provider, ProviderServer, place, is_one_of_several=is_one_of_several))
    if development is not None and (issuer := development.email_issuer) is not None:
        place = ("{}:{}".format(*issuer.address), "development.issuer_listen")
        stack.callback(_start(issuer, IssuerServer, place, is_one_of_several=is_one_of_several))
    return stack.close


def _start(
    provider: Provider,
    serve: Callable[[Provider], _Server],
    place: tuple[str, str],
    *,
    is_one_of_several: bool,
) -> Callable[[], None]:
    if is_one_of_several:
        return SharedProvider(provider, serve).close
    try:
        return serve(provider).close
    except OSError as error:
        address, setting = place
        reason = os.strerror(error.errno or 0)
        logger.warning(
            "no provider for development at %s: %s; %s sets another port", address, reason, setting
        )
        return lambda: None
