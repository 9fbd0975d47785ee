"""The composition root: settings in, WSGI application out; wiring and nothing else."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, cast

from pyramid.config import Configurator
from pyramid.path import DottedNameResolver
from pyramid.router import Router

from backends import Backend, BackendError
from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.development import DevelopmentIdentityProvider
from persona_profile.auth.discovery import Discovery, PinnedIssuers
from persona_profile.auth.fetch import HttpsFetcher
from persona_profile.auth.policy import BearerPolicy
from persona_profile.auth.replay import UsedProofs
from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.admission import Admission
from persona_profile.images.pool import WorkerRenderer
from persona_profile.keywrap import Keyring, KeyringError, KeyWrapper
from persona_profile.pictures import PictureService
from persona_profile.profiles import ProfileService
from persona_profile.settings import InvalidSettings, Settings, parse_settings
from persona_profile.tokens import SessionTokens
from persona_profile.views import Services
from persona_profile.views.bodies import FORM_OVERHEAD_BYTES

BACKENDS_GROUP: Final = "persona_profile.backends"
_MIB: Final = 1024 * 1024

logger = logging.getLogger(__name__)


def main(_global_config: Mapping[str, str] | None = None, **settings: str) -> Router:
    """Return the application that the settings describe (a PasteDeploy application factory).

    Raises:
        InvalidSettings: they can't be used; the message says which and why.
    """
    return make_app(parse_settings(settings, os.environ))


def make_app(settings: Settings, clock: Callable[[], float] = time.time) -> Router:
    """Return the application; `clock` gives seconds since 1970.

    Raises:
        InvalidSettings: a file that they name can't be used.
    """
    services = _services(settings, clock)
    config = Configurator(settings={"handle_exceptions": False})
    config.set_security_policy(BearerPolicy(services.tokens, clock))
    config.add_request_method(lambda _request: services, "services", property=True)
    config.registry["services"] = services
    config.include("persona_profile.errors")
    config.include("cornice")
    config.include("persona_profile.views")
    if settings.development:
        config.include("persona_profile.views.development")
    return config.make_wsgi_app()


def services_of(app: Router) -> Services:
    """Return the services of an application that `make_app` made."""
    return cast(Services, app.registry["services"])


def max_body_bytes(app: Router) -> int:
    """Return the size in bytes of the largest body that any call of the application takes."""
    return services_of(app).max_picture_bytes + FORM_OVERHEAD_BYTES


def _services(settings: Settings, clock: Callable[[], float]) -> Services:
    keys = KeyWrapper(load_keyring(settings))
    backend = open_backend(settings)
    try:
        if settings.development:
            backend.initialize()
        backend.check_schema()
    except BackendError as error:
        raise InvalidSettings(f"backend: {error}") from None
    identity_provider = None
    pinned = _pinned_issuers(settings)
    if settings.development:
        identity_provider = DevelopmentIdentityProvider.load(settings.development_folder)
        pinned = pinned.merged_with(identity_provider.pinned_issuers())
    fetcher = HttpsFetcher()
    authenticator = BrowserIDVerifier(
        settings.public_origins,
        Discovery(pinned, fetcher.fetch),
        algorithms=settings.browserid_algorithms,
        fallback_issuers=settings.browserid_fallback_issuers,
        skew_seconds=settings.browserid_clock_skew,
        clock=clock,
    )
    renderer = _renderer(settings)
    return Services(
        backend=backend,
        profiles=ProfileService(
            backend, keys, session_lifetime=settings.sessions_lifetime, clock=clock
        ),
        pictures=PictureService(backend, keys, url_window=settings.pictures_url_window, clock=clock),
        authenticator=authenticator,
        used_proofs=UsedProofs(backend),
        tokens=SessionTokens(keys),
        renderer=renderer,
        public_origins=settings.public_origins,
        dialog_origins=settings.dialog_origins,
        picture_formats=settings.pictures_formats,
        max_picture_bytes=settings.pictures_max_bytes,
        identity_provider=identity_provider,
        closers=(renderer.close, fetcher.close, backend.close),
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


def _renderer(settings: Settings) -> WorkerRenderer:
    admission = Admission(
        settings.pictures_workers,
        settings.pictures_queue,
        settings.pictures_patience,
        settings.pictures_memory * _MIB,
    )
    return WorkerRenderer(
        picture_options(settings),
        admission,
        processor_seconds=settings.pictures_processor_time,
        deadline_seconds=settings.pictures_deadline,
    )


def open_backend(settings: Settings) -> Backend:
    """Open the backend of a short name (entry-point group) or a dotted name; its store may be empty.

    Raises:
        InvalidSettings: there is none of that name, or it does not take the URL.
    """
    found = entry_points(group=BACKENDS_GROUP, name=settings.backend)
    url = settings.backend_url
    try:
        if settings.backend_url_file is not None:
            url = settings.backend_url_file.read_text(encoding="utf-8").strip()
        opener = next(iter(found)).load() if found else DottedNameResolver().resolve(settings.backend)
        backend = opener(url)
    except OSError as error:
        raise InvalidSettings(f"backend.url_file: {error.strerror}") from None
    except ImportError:
        known = ", ".join(sorted(entry_points(group=BACKENDS_GROUP).names))
        message = f"backend: neither one of {known} nor a dotted name that can be imported"
        raise InvalidSettings(message) from None
    except ValueError as error:
        raise InvalidSettings(f"backend.url: {error}") from None
    return cast(Backend, backend)


def load_keyring(settings: Settings) -> Keyring:
    """Return the configured keyring; in development one that lives as long as what is stored.

    Raises:
        InvalidSettings: it can't be used.
    """
    path = settings.keyring_path
    if path is None and settings.backend == "memory":
        logger.warning("keyring: made in memory; what is stored can't be read after a restart")
        return Keyring.generate()
    try:
        if path is None:
            path = settings.development_folder / "keyring.json"
            _make_keyring(path)
        return Keyring.load(path)
    except (KeyringError, OSError) as error:
        raise InvalidSettings(f"keyring.path: {error}") from None


def _make_keyring(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        Keyring.generate().save_new(path)
    except FileExistsError:
        return
    logger.warning("keyring: made for development, %s", path)


def _pinned_issuers(settings: Settings) -> PinnedIssuers:
    if settings.browserid_pinned_issuers is None:
        return PinnedIssuers({})
    try:
        return PinnedIssuers.load(settings.browserid_pinned_issuers)
    except ValueError as error:
        raise InvalidSettings(f"browserid.pinned_issuers: {error}") from None
