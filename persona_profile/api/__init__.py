"""The HTTP API: thin Cornice services over the service objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyramid.config import Configurator
from pyramid.request import Request

from persona_profile.auth.authenticators import Authenticators
from persona_profile.auth.suggested_pictures import SuggestedPictures
from persona_profile.auth.used_proofs import UsedProofs
from persona_profile.images.renderer import Renderer
from persona_profile.keys.tokens import Nonces, SessionTokens, SuggestedPictureTokens
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.rate_limits import RateLimits
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.lifecycle import Lifecycle
from persona_profile.runtime.metrics import Metrics
from persona_profile.runtime.waiting import WaitingBudget
from persona_profile.store.operator_acts import OperatorActs


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that views work with, as `request.services`.

    Attributes:
        acts: the record of operators' acts.
        account_id: returns the name of an email for identity providers.
        public_origins: the origins of this server.
        dialog_origins: the origins of pages that may call this server from a browser.
        picture_formats: the formats that are made, the better compressed first.
        build: the answer of `/__version__`.
    """

    profiles: ProfileService
    pictures: PictureService
    acts: OperatorActs
    authenticators: Authenticators
    nonces: Nonces
    used_proofs: UsedProofs
    account_id: Callable[[str], str]
    tokens: SessionTokens
    suggested_pictures: SuggestedPictures
    suggested_picture_tokens: SuggestedPictureTokens
    renderer: Renderer
    rate_limits: RateLimits
    public_origins: tuple[str, ...]
    dialog_origins: tuple[str, ...]
    picture_formats: tuple[str, ...]
    max_picture_bytes: int
    waiting: WaitingBudget
    metrics: Metrics
    lifecycle: Lifecycle
    heartbeat: Heartbeat
    build: Mapping[str, str]


def origin_of(request: Request) -> str:
    """Return the public origin of a request, or the first; never an unknown Host."""
    services: Services = request.services
    origin: str = request.host_url
    return origin if origin in services.public_origins else services.public_origins[0]


def includeme(config: Configurator) -> None:
    """Register the API."""
    # Routes are tried in this order: the most frequent first.
    services = (
        "sessions",
        "profiles",
        "pictures",
        "profile_keys",
        "operations",
        "fedcm",
        "openapi",
    )
    for module in ("observation", "cors", *services, "reception"):
        config.include(f"persona_profile.api.{module}")
