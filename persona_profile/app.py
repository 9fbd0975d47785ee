"""The composition root: settings in, application out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyramid.config import Configurator
from pyramid.router import Router

from backends import Backend, BackendError, Unavailable
from persona_profile.api import Services
from persona_profile.api.bodies import FORM_OVERHEAD_BYTES
from persona_profile.api.policy import BearerPolicy
from persona_profile.auth.authenticators import (
    AuthenticatorContext,
    Authenticators,
    load_authenticators,
)
from persona_profile.auth.documents import DocumentFetcher
from persona_profile.auth.fetch import HttpsFetcher
from persona_profile.auth.lookups import Lookups
from persona_profile.auth.suggested_pictures import THREADS, SuggestedPictures, picture_limits
from persona_profile.auth.used_proofs import UsedProofs
from persona_profile.development.configured import Development, open_development
from persona_profile.images.admission import Admission
from persona_profile.images.renderer import Renderer
from persona_profile.images.workers.pool import WorkerPool
from persona_profile.keys.configured import follow_keyring, make_key_wrapper, open_keyring
from persona_profile.keys.keyring_file import KeyringWatch
from persona_profile.keys.tokens import Nonces, SessionTokens, SuggestedPictureTokens
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.rate_limits.configured import make_rate_limits
from persona_profile.runtime import logs
from persona_profile.runtime.build import describe_build
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.lifecycle import Lifecycle
from persona_profile.runtime.metrics import Metrics, Parts
from persona_profile.runtime.observed_backend import ObservedBackend
from persona_profile.runtime.waiting import WaitingBudget
from persona_profile.settings import (
    InvalidSettings,
    Settings,
    changed_limits,
    parse_settings,
    service_variables,
)
from persona_profile.store.configured import open_backend, open_ledger, open_replicas
from persona_profile.store.homes import Homes
from persona_profile.store.ledger import Ledger
from persona_profile.store.operator_acts import OperatorActs
from persona_profile.store.replicas import Replicas

if TYPE_CHECKING:
    from persona_profile.runtime.traces import Traces

_Clock = Callable[[], float]

FLUSH_SECONDS: Final = 5.0
"""The most time that a stopping process takes to send its last spans."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The WSGI application, and the parts that the server around it needs.

    Attributes:
        router: answers requests.
        services: the parts that the views work with.
        backend: the storage.
        ledger: of erasures, in a store of its own.
        keyring_watch: reloads the keyring when its file has changed; none if it is in memory only.
        metrics_listen: host and port of the metrics, if they are served.
        development: the providers of a development server.
        closers: release what the parts hold, in this order.
    """

    router: Router
    services: Services
    backend: Backend
    ledger: Ledger
    keyring_watch: KeyringWatch | None
    metrics_listen: tuple[str, int] | None
    development: Development | None
    closers: tuple[Callable[[], None], ...]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        answer: Iterable[bytes] = self.router(environ, start_response)
        return answer

    @property
    def max_body_bytes(self) -> int:
        """The size of the largest body that any call accepts."""
        return self.services.max_picture_bytes + FORM_OVERHEAD_BYTES

    def close(self) -> None:
        """Release connections, files, threads and processes."""
        for closer in self.closers:
            closer()


def main(_global_config: Mapping[str, str] | None = None, **settings: str) -> Application:
    """Return the application that the settings describe (a PasteDeploy application factory).

    Raises:
        InvalidSettings: they can't be used; the message says which and why.
    """
    forbid_dumps()
    parsed = parse_settings(settings, os.environ)
    logs.configure(parsed.logging_format, parsed.logging_level)
    ignored = service_variables(os.environ)
    if ignored:
        logger.info("settings: ignored, as Kubernetes sets them: %s", ", ".join(sorted(ignored)))
    app = make_app(parsed)
    build = app.services.build
    limits = ", ".join(changed_limits(parsed)) or "none"
    logger.info(
        "version %s, commit %s, backend %s; limits that are not the defaults: %s",
        build["version"],
        build["commit"] or "unknown",
        parsed.backend,
        limits,
    )
    return app


def make_app(
    settings: Settings,
    clock: _Clock = time.time,
    new_fetcher: Callable[[], HttpsFetcher] = HttpsFetcher,
) -> Application:
    """Return the application.

    Args:
        settings: the settings.
        clock: seconds since 1970.
        new_fetcher: makes the fetchers of identity providers' documents.

    Raises:
        InvalidSettings: a file that they name can't be used.
        Unavailable: the storage does not answer.
    """
    base = _base(settings, clock)
    development = open_development(settings, clock) if settings.development else None
    services = _services(settings, base, development, clock, new_fetcher)
    base.metrics.watch(_measured(services, base))
    traces = _open_traces(settings, services)
    # In the order in which they close: parts that other parts use come last.
    closed = (
        services.heartbeat,
        services.renderer.workers,
        services.rate_limits,
        services.suggested_pictures,
        services.authenticators,
        base.keys,
        base.replicas,
        base.ledger,
        base.backend,
    )
    return Application(
        router=_router(services, development, traces, clock),
        services=services,
        backend=base.backend,
        ledger=base.ledger,
        keyring_watch=base.keyring_watch,
        metrics_listen=settings.metrics_listen,
        development=development,
        closers=(*_flush(traces, services.lifecycle), *(each.close for each in closed)),
    )


class _Base(NamedTuple):
    """The parts below the services: metrics, keys and storage."""

    build: Mapping[str, str]
    metrics: Metrics
    waiting: WaitingBudget
    keys: KeyWrapper
    keyring_watch: KeyringWatch | None
    backend: Backend
    ledger: Ledger
    replicas: Replicas


def _base(settings: Settings, clock: _Clock) -> _Base:
    build = configured_build(settings)
    metrics = Metrics(build["version"], build["commit"])
    waiting = WaitingBudget()
    file, keyring = open_keyring(settings)
    keys = make_key_wrapper(settings, keyring, waiting)
    watch = follow_keyring(keys, keyring, file, metrics.reload_counter("keyring")) if file else None
    backend = _open_backend(settings, metrics)
    ledger = _open_ledger(settings, keys, clock)
    replicas = Replicas(open_replicas(settings))
    return _Base(build, metrics, waiting, keys, watch, backend, ledger, replicas)


def _services(
    settings: Settings,
    base: _Base,
    development: Development | None,
    clock: _Clock,
    new_fetcher: Callable[[], HttpsFetcher],
) -> Services:
    keys, backend, replicas = base.keys, base.backend, base.replicas
    context = AuthenticatorContext(
        settings=settings,
        nonces=Nonces(keys, settings.openid_nonce_lifetime_seconds, clock),
        clock=clock,
        reload_counter=base.metrics.reload_counter,
        new_fetcher=new_fetcher,
        lookups=Lookups(base.waiting),
    )
    if development is not None:
        context = development.trusted_by(context)
    authenticators = load_authenticators(context)
    homes = Homes(backend, keys, settings.forward_seconds)
    lifetime, window = settings.sessions_lifetime, settings.pictures_url_window_seconds
    renderer = _renderer(settings)
    return Services(
        profiles=ProfileService(
            backend, homes, keys, ledger=base.ledger, session_lifetime=lifetime, clock=clock
        ),
        pictures=PictureService(
            backend, homes, keys, url_window=window, replicas=replicas, clock=clock
        ),
        acts=OperatorActs(base.ledger, settings.ledger_keep_acts_seconds, clock),
        authenticators=authenticators,
        nonces=context.nonces,
        used_proofs=UsedProofs(backend, authenticators.outcomes),
        account_id=keys.account_id,
        tokens=SessionTokens(keys),
        suggested_pictures=_suggested_pictures(context, authenticators),
        suggested_picture_tokens=SuggestedPictureTokens(keys, clock),
        renderer=renderer,
        rate_limits=make_rate_limits(settings, keys.pseudonym, clock),
        public_origins=settings.public_origins,
        dialog_origins=settings.dialog_origins,
        picture_formats=settings.pictures_formats,
        max_picture_bytes=settings.pictures_max_bytes,
        waiting=base.waiting,
        metrics=base.metrics,
        lifecycle=Lifecycle(settings.shutdown_drain_seconds, settings.shutdown_grace_seconds),
        heartbeat=_heartbeat(base, renderer.workers),
        build=base.build,
    )


def _suggested_pictures(
    context: AuthenticatorContext, authenticators: Authenticators
) -> SuggestedPictures:
    own, max_bytes = context.own_origins, context.settings.pictures_max_bytes
    limits, lookups = picture_limits(max_bytes), context.lookups
    fetcher = DocumentFetcher(context.new_fetcher(), own, lookups, limits=limits, threads=THREADS)
    return SuggestedPictures(authenticators, fetcher, lookups, max_bytes, own)


def _measured(services: Services, base: _Base) -> Parts:
    renderer, rate_limits = services.renderer, services.rate_limits
    return Parts(
        backend=base.backend.stats,
        is_ledger_failing=lambda: base.ledger.is_failing,
        waiting=base.waiting,
        replicas=base.replicas.stats,
        pictures=renderer.stats,
        is_uncoordinated=lambda: rate_limits.is_uncoordinated,
        proofs=services.authenticators.outcomes,
        provider_lookups=services.authenticators.lookups,
        waiting_rejections=base.waiting.rejections,
        picture_uploads=renderer.uploads,
        picture_pixels=renderer.pixels,
        picture_cpu_seconds=renderer.processor_time,
        replica_reads=base.replicas.reads,
        stale_key_reads=base.keys.stale_reads,
    )


def _open_traces(settings: Settings, services: Services) -> Traces | None:
    """Return the traces, if they are on; OpenTelemetry is imported only then."""
    if settings.traces_endpoint is None:
        return None
    try:
        from persona_profile.runtime.traces import Traces  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise InvalidSettings('traces.endpoint: needs the extra "traces"') from None
    endpoint, name = settings.traces_endpoint, settings.traces_service_name
    try:
        return Traces(endpoint, name, settings.traces_sampling_ratio, services.build["version"])
    except ValueError:  # of a variable that the library reads itself
        raise InvalidSettings("traces: a variable OTEL_... has an invalid value") from None


def _flush(traces: Traces | None, lifecycle: Lifecycle) -> list[Callable[[], None]]:
    """Return what sends the last spans, within the time for open requests."""
    if traces is None:
        return []
    return [lambda: traces.close(min(FLUSH_SECONDS, lifecycle.remaining_seconds))]


def _router(
    services: Services, development: Development | None, traces: Traces | None, clock: _Clock
) -> Router:
    config = Configurator(settings={"handle_exceptions": False})
    config.set_security_policy(BearerPolicy(services.tokens, clock))
    config.registry["services"] = services
    config.include("persona_profile.api.problems")
    config.include("persona_profile.api.requests")
    config.include("persona_profile.api")
    if traces is not None:
        config.registry["traces"] = traces
        config.include("persona_profile.api.tracing")
    if development is not None:
        config.registry["development"] = development
        config.include("persona_profile.development.routes")
    return config.make_wsgi_app()


def _open_backend(settings: Settings, metrics: Metrics) -> ObservedBackend:
    """Return the storage; in development its tables are made."""
    backend = ObservedBackend(open_backend(settings), metrics)
    try:
        if settings.development:
            backend.initialize()
        backend.check_schema()
    except Unavailable:
        raise  # it may pass: the command fails, and can be repeated
    except BackendError as error:
        raise InvalidSettings(f"backend: {error}") from None
    return backend


def _open_ledger(settings: Settings, keys: KeyWrapper, clock: _Clock) -> Ledger:
    """Return the ledger; sign-in and edits need none."""
    ledger = open_ledger(settings, keys, clock)
    try:
        ledger.begin()
    except Unavailable as error:
        logger.warning("ledger: %s; nothing can be erased until it answers", error)
    except BackendError as error:
        raise InvalidSettings(f"ledger: {error}") from None
    return ledger


def _renderer(settings: Settings) -> Renderer:
    options = settings.picture_options
    admission = Admission(
        settings.pictures_workers,
        settings.pictures_max_queued,
        settings.pictures_max_wait_seconds,
        options.limits.memory,
    )
    return Renderer(
        options,
        admission,
        WorkerPool(settings.pictures_workers),
        settings.pictures_max_cpu_seconds,
        settings.pictures_deadline_seconds,
    )


def _heartbeat(base: _Base, workers: WorkerPool) -> Heartbeat:
    """Return the checks of the service's health, to which replicas and ledger do not count."""
    checks = {
        "storage": base.backend.ping,
        "ledger": base.ledger.ping,
        "keyring": base.keys.check_keyring,
        "pictures": workers.check,
    }
    if base.replicas.stats().replicas:
        checks["replicas"] = base.replicas.check
    return Heartbeat(checks, advisory={"ledger", "replicas"})


def configured_build(settings: Settings) -> Mapping[str, str]:
    """Return the members of Dockerflow's version object, of the configured file if there is one.

    Raises:
        InvalidSettings: the file can't be used.
    """
    try:
        return describe_build(settings.version_path)
    except ValueError as error:
        raise InvalidSettings(f"version.path: {error}") from None
