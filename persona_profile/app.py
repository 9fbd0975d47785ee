"""The composition root: settings in, WSGI application out; wiring and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, cast

from pyramid.config import Configurator
from pyramid.path import DottedNameResolver
from pyramid.router import Router

from backends import Backend, BackendError
from persona_profile.api import Services
from persona_profile.api.bodies import FORM_OVERHEAD_BYTES
from persona_profile.api.policy import BearerPolicy
from persona_profile.auth.authenticators import (
    AuthenticatorContext,
    Authenticators,
    load_authenticators,
)
from persona_profile.auth.fetch import HttpsFetcher
from persona_profile.auth.lookups import Lookups
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.auth.used_proofs import UsedProofs
from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.development.openid_provider import DevelopmentOpenIDProvider
from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.admission import Admission
from persona_profile.images.pool import WorkerPool
from persona_profile.images.renderer import Renderer
from persona_profile.keys.configured import make_key_wrapper, open_keyring
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile, KeyringWatch
from persona_profile.keys.tokens import Nonces, SessionTokens
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import MIN_FORWARD_SECONDS
from persona_profile.plugins import find_plugin, plugin_names
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.rate_limits import Policy, RateLimits
from persona_profile.rate_limits.counters import Counters, MemoryCounters, RedisCounters
from persona_profile.runtime import logs
from persona_profile.runtime.build import describe_build
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.lifecycle import Lifecycle
from persona_profile.runtime.metrics import Metrics
from persona_profile.runtime.observed_backend import ObservedBackend
from persona_profile.runtime.waiting import Wait, WaitingBudget
from persona_profile.settings import InvalidSettings, Settings, parse_settings
from persona_profile.store.homes import Homes
from persona_profile.store.replicas import Replicas

BACKENDS_GROUP: Final = "persona_profile.backends"
_MIB: Final = 1024 * 1024

_Clock = Callable[[], float]


def main(_global_config: Mapping[str, str] | None = None, **settings: str) -> Router:
    """Return the application that the settings describe (a PasteDeploy application factory).

    Raises:
        InvalidSettings: they can't be used; the message says which and why.
    """
    forbid_dumps()
    parsed = parse_settings(settings, os.environ)
    logs.configure(parsed.logging_format, parsed.logging_level)
    return make_app(parsed)


def make_app(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    new_fetcher: Callable[[], HttpsFetcher] = HttpsFetcher,
) -> Router:
    """Return the application.

    Args:
        settings: what it is to be like.
        clock: seconds since 1970.
        new_fetcher: makes what looks identity providers up.

    Raises:
        InvalidSettings: a file that they name can't be used.
    """
    services = _services(settings, clock, new_fetcher)
    config = Configurator(settings={"handle_exceptions": False})
    config.set_security_policy(BearerPolicy(services.tokens, clock))
    config.add_request_method(lambda _request: services, "services", property=True)
    config.registry["services"] = services
    config.include("persona_profile.api.problems")
    config.include("cornice")
    config.include("persona_profile.api")
    if settings.development:
        config.include("persona_profile.development.routes")
    return config.make_wsgi_app()


def services_of(app: Router) -> Services:
    """Return the services of an application that `make_app` made."""
    return cast(Services, app.registry["services"])


def max_body_bytes(app: Router) -> int:
    """Return the size in bytes of the largest body that any call of the application takes."""
    return services_of(app).max_picture_bytes + FORM_OVERHEAD_BYTES


def _services(settings: Settings, clock: _Clock, new_fetcher: Callable[[], HttpsFetcher]) -> Services:
    build = _build(settings)
    metrics = Metrics(build["version"], build["commit"])
    file, keyring = open_keyring(settings)
    waiting = _waiting_budget(metrics)
    keys = _key_wrapper(settings, keyring, metrics, waiting)
    backend = _checked_backend(settings, metrics)
    identity_provider = _identity_provider(settings)
    openid_provider = _openid_provider(settings, clock)
    nonces = Nonces(keys, settings.openid_nonce_lifetime, clock)
    context = _authenticator_context(settings, nonces, clock, metrics, Lookups(waiting))
    authenticators = _authenticators(context, metrics, identity_provider, openid_provider, new_fetcher)
    homes = Homes(backend, keys, forward_seconds(settings))
    lifetime, window = settings.sessions_lifetime, settings.pictures_url_window
    renderer = _renderer(settings, metrics)
    rate_limits = _rate_limits(settings, keys, clock, metrics)
    replicas = _replicas(settings, metrics)
    heartbeat = _heartbeat(backend, keys, renderer.workers, replicas)
    # In the order in which they end: what others use comes last.
    held = (heartbeat, renderer.workers, rate_limits, authenticators, keys, replicas, backend)
    return Services(
        backend=backend,
        profiles=ProfileService(backend, homes, keys, session_lifetime=lifetime, clock=clock),
        pictures=PictureService(
            backend, homes, keys, url_window=window, replicas=replicas, clock=clock
        ),
        authenticators=authenticators,
        nonces=nonces,
        used_proofs=UsedProofs(backend, metrics.count_proof),
        account_id=keys.account_id,
        tokens=SessionTokens(keys),
        renderer=renderer,
        rate_limits=rate_limits,
        public_origins=settings.public_origins,
        dialog_origins=settings.dialog_origins,
        picture_formats=settings.pictures_formats,
        max_picture_bytes=settings.pictures_max_bytes,
        identity_provider=identity_provider,
        openid_provider=openid_provider,
        keyring_watch=_watch(file, keyring, keys, metrics) if file else None,
        waiting=waiting,
        metrics=metrics,
        metrics_listen=settings.metrics_listen,
        lifecycle=Lifecycle(settings.shutdown_drain, settings.shutdown_grace),
        heartbeat=heartbeat,
        build=build,
        closers=tuple(each.close for each in held),
    )


def _waiting_budget(metrics: Metrics) -> WaitingBudget:
    waiting = WaitingBudget(count_rejection=metrics.count_rejected_wait)
    metrics.watch_budget(lambda: waiting.places, waiting.in_use)
    return waiting


def _key_wrapper(
    settings: Settings, keyring: Keyring, metrics: Metrics, waiting: WaitingBudget
) -> KeyWrapper:
    wait = partial(waiting.place, Wait.KEY_SERVICE)
    return make_key_wrapper(settings, keyring, metrics.count_stale_key, wait)


def _replicas(settings: Settings, metrics: Metrics) -> Replicas:
    replicas = Replicas(open_replicas(settings), metrics.count_replica_read)
    metrics.watch_replicas(replicas.figures)
    return replicas


def _checked_backend(settings: Settings, metrics: Metrics) -> ObservedBackend:
    """Return the storage, ready for use; in development it is made so."""
    backend = ObservedBackend(open_backend(settings), metrics.count_storage)
    metrics.watch_backend(backend.stats)
    try:
        if settings.development:
            backend.initialize()
        backend.check_schema()
    except BackendError as error:
        raise InvalidSettings(f"backend: {error}") from None
    return backend


def _authenticator_context(
    settings: Settings, nonces: Nonces, clock: _Clock, metrics: Metrics, lookups: Lookups
) -> AuthenticatorContext:
    return AuthenticatorContext(
        settings=settings,
        nonces=nonces,
        clock=clock,
        reload_counter=metrics.reload_counter,
        lookups=lookups,
    )


def _authenticators(
    context: AuthenticatorContext,
    metrics: Metrics,
    identity_provider: DevelopmentIdentityProvider | None,
    openid_provider: DevelopmentOpenIDProvider | None,
    new_fetcher: Callable[[], HttpsFetcher],
) -> Authenticators:
    """Return what verifies proofs; in development that trusts the providers for it too."""
    own_origins = {}
    if identity_provider is not None:
        context = replace(context, pinned_issuers=identity_provider.pinned_issuers())
    if openid_provider is not None:
        context = replace(context, openid_issuers=OpenIDIssuers([openid_provider.trust]))
        own_origins[openid_provider.issuer] = openid_provider.fetch
    return load_authenticators(context, metrics.count_proof, new_fetcher, own_origins)


def _heartbeat(
    backend: Backend, keys: KeyWrapper, workers: WorkerPool, replicas: Replicas
) -> Heartbeat:
    """Return the checks of whether the service can do its work, for which replicas are not needed."""
    checks = {"storage": backend.ping, "keyring": keys.check_keyring, "pictures": workers.check}
    if replicas.figures().replicas:
        checks["replicas"] = replicas.check
    return Heartbeat(checks, advisory={"replicas"})


def _identity_provider(settings: Settings) -> DevelopmentIdentityProvider | None:
    if not settings.development:
        return None
    return DevelopmentIdentityProvider.load(settings.development_folder)


def _openid_provider(settings: Settings, clock: _Clock) -> DevelopmentOpenIDProvider | None:
    """Return the provider for development, whose clients are front pages of this server."""
    if settings.development_provider_listen is None:
        return None
    host, port = settings.development_provider_listen
    origins = dict.fromkeys((*settings.public_origins, *settings.dialog_origins))
    return DevelopmentOpenIDProvider(
        f"http://{host}:{port}",
        [f"{origin}/" for origin in origins],
        settings.development_folder,
        clock,
    )


def picture_options(settings: Settings) -> PictureOptions:
    """Return what the settings say about decoding and encoding pictures."""
    return PictureOptions(
        Limits(
            settings.pictures_max_pixels_jpeg,
            settings.pictures_max_pixels_other,
            settings.pictures_memory * _MIB,
        ),
        Encoding(
            settings.pictures_formats,
            {
                "avif": settings.pictures_quality_avif,
                "webp": settings.pictures_quality_webp,
                "jpeg": settings.pictures_quality_jpeg,
            },
            settings.pictures_effort,
        ),
    )


def _watch(file: KeyringFile, keyring: Keyring, keys: KeyWrapper, metrics: Metrics) -> KeyringWatch:
    watch = KeyringWatch(file, keyring, keys.use, metrics.reload_counter("keyring"))
    keys.follow(watch.check)
    return watch


def _renderer(settings: Settings, metrics: Metrics) -> Renderer:
    admission = Admission(
        settings.pictures_workers,
        settings.pictures_queue,
        settings.pictures_patience,
        settings.pictures_memory * _MIB,
    )
    renderer = Renderer(
        picture_options(settings),
        admission,
        WorkerPool(settings.pictures_workers),
        settings.pictures_processor_time,
        settings.pictures_deadline,
    )
    metrics.watch_pictures(renderer.stats)
    return renderer


def _rate_limits(settings: Settings, keys: KeyWrapper, clock: _Clock, metrics: Metrics) -> RateLimits:
    url = settings.ratelimit_url or ("off" if settings.development else "memory://")
    own_counters = MemoryCounters(clock=clock)
    if url == "off":
        return RateLimits({}, own_counters, own_counters, keys.pseudonym)
    counters: Counters = own_counters
    if url != "memory://":
        try:
            redis = RedisCounters(url, settings.ratelimit_timeout / 1000, counters)
        except ValueError as error:
            raise InvalidSettings(f"ratelimit.url: {error}") from None
        metrics.watch_redis(lambda: redis.is_out)
        counters = redis
    limits = {
        Policy.SESSIONS_PER_ADDRESS: settings.ratelimit_sessions_per_address,
        Policy.FAILURES_PER_ADDRESS: settings.ratelimit_failures_per_address,
        Policy.PROOFS_PER_ISSUER: settings.ratelimit_proofs_per_issuer,
        Policy.BYTES_PER_ADDRESS: settings.ratelimit_bytes_per_address,
        Policy.BYTES_PER_EMAIL: settings.ratelimit_bytes_per_email,
        Policy.WRITES_PER_EMAIL: settings.ratelimit_writes_per_email,
        Policy.PIXELS_PER_EMAIL: settings.ratelimit_pixels_per_email,
        Policy.PICTURE_MS_PER_EMAIL: settings.ratelimit_picture_ms_per_email,
        Policy.PICTURE_MS_PER_ISSUER: settings.ratelimit_picture_ms_per_issuer,
        Policy.PICTURE_MS_PER_ADDRESS: settings.ratelimit_picture_ms_per_address,
        Policy.READS_PER_PICTURE: settings.ratelimit_reads_per_picture,
    }
    configured = {policy: limit for policy, limit in limits.items() if limit is not None}
    return RateLimits(configured, counters, own_counters, keys.pseudonym)


def open_backend(settings: Settings) -> Backend:
    """Open the backend of a short name (entry-point group) or a dotted name; its store may be empty.

    Raises:
        InvalidSettings: there is none of that name, or it does not take the URL.
    """
    url = _url(settings.backend_url, settings.backend_url_file, "backend.url_file")
    return _open(settings, "backend.url", url)


def open_replicas(settings: Settings) -> list[Backend]:
    """Open the replicas that may be read from; none needs to be reachable.

    Raises:
        InvalidSettings: the backend does not take the URL of one.
    """
    urls = _url(settings.backend_read_url, settings.backend_read_url_file, "backend.read_url_file")
    return [_open(settings, "backend.read_url", url) for url in (urls or "").split()]


def _url(url: str | None, file: Path | None, name: str) -> str | None:
    if file is None:
        return url
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise InvalidSettings(f"{name}: {reason}") from None


def _open(settings: Settings, name: str, url: str | None) -> Backend:
    found = find_plugin(BACKENDS_GROUP, settings.backend)
    try:
        opener = found.load() if found else DottedNameResolver().resolve(settings.backend)
        return cast(Backend, opener(url))
    except ImportError:
        known = plugin_names(BACKENDS_GROUP)
        message = f"backend: neither one of {known} nor a dotted name that can be imported"
        raise InvalidSettings(message) from None
    except ValueError as error:
        raise InvalidSettings(f"{name}: {error}") from None


def picture_url_seconds(settings: Settings) -> int:
    """Return for how many seconds the URL of a picture works at the most."""
    return 2 * settings.pictures_url_window


def forward_seconds(settings: Settings) -> int:
    """Return for how many seconds the forward of a moved profile is kept."""
    return max(MIN_FORWARD_SECONDS, picture_url_seconds(settings))


def _build(settings: Settings) -> Mapping[str, str]:
    try:
        return describe_build(settings.version_path)
    except ValueError as error:
        raise InvalidSettings(f"version.path: {error}") from None
