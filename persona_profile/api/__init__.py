"""The HTTP API: thin Cornice services over the service objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyramid.config import Configurator
from pyramid.request import Request

from backends import Backend
from persona_profile.auth.authenticators import Authenticators
from persona_profile.auth.used_proofs import UsedProofs
from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.development.openid_provider import DevelopmentOpenIDProvider
from persona_profile.images.renderer import Renderer
from persona_profile.keys.keyring_file import KeyringWatch
from persona_profile.keys.tokens import Nonces, SessionTokens
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.rate_limits import RateLimits
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.lifecycle import Lifecycle
from persona_profile.runtime.metrics import Metrics
from persona_profile.runtime.waiting import WaitingBudget


@dataclass(frozen=True, slots=True)
class Services:
    """What the views work with; `request.services`.

    Attributes:
        public_origins: the origins of this server; the first is in URLs unless the request came by
            another.
        dialog_origins: the origins of pages that may call this server from a browser.
        picture_formats: the formats that are made, the better compressed first.
        max_picture_bytes: largest upload in bytes.
        account_id: names an email to identity providers.
        identity_provider: mints assertions, in development only.
        openid_provider: signs ID tokens, likewise; the server serves it.
        keyring_watch: takes the keyring anew when its file changes; none if it is in memory.
        waiting: the budget of threads that wait for others.
        metrics: what is counted.
        metrics_listen: host and port where that is told, if it is.
        lifecycle: whether the process is on its way out.
        heartbeat: whether the service can do its work.
        build: what `/__version__` tells.
        closers: what `close` calls.
    """

    backend: Backend
    profiles: ProfileService
    pictures: PictureService
    authenticators: Authenticators
    nonces: Nonces
    used_proofs: UsedProofs
    account_id: Callable[[str], str]
    tokens: SessionTokens
    renderer: Renderer
    rate_limits: RateLimits
    public_origins: tuple[str, ...]
    dialog_origins: tuple[str, ...]
    picture_formats: tuple[str, ...]
    max_picture_bytes: int
    identity_provider: DevelopmentIdentityProvider | None
    openid_provider: DevelopmentOpenIDProvider | None
    keyring_watch: KeyringWatch | None
    waiting: WaitingBudget
    metrics: Metrics
    metrics_listen: tuple[str, int] | None
    lifecycle: Lifecycle
    heartbeat: Heartbeat
    build: Mapping[str, str]
    closers: tuple[Callable[[], None], ...]

    def close(self) -> None:
        """Give back what the services hold: connections, files, threads."""
        for closer in self.closers:
            closer()


def origin_of(request: Request) -> str:
    """Return the public origin by which a request came, or the first; never what a stranger sent."""
    services: Services = request.services
    came_by: str = request.host_url
    return came_by if came_by in services.public_origins else services.public_origins[0]


def includeme(config: Configurator) -> None:
    """Register the API; the demo page only in development."""
    for module in (
        "observation",
        "cors",
        "operations",
        "sessions",
        "profiles",
        "pictures",
        "fedcm",
        "openapi",
        "reception",
    ):
        config.include(f"persona_profile.api.{module}")
