"""Profiles in the shape of the accounts endpoint of FedCM, for the servers of identity providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services, origin_of
from persona_profile.api.cors import is_account_chooser
from persona_profile.api.policy import SESSION
from persona_profile.api.rate_limiting import charge_bytes
from persona_profile.api.representations import digest_tag, validated
from persona_profile.encoding import json_encode
from persona_profile.errors import DirectCall
from persona_profile.store.profile import StoredProfile

PICTURE_SIZE: Final = 128
"""Pixels of an account's picture. Browsers draw it at some 40 pixels, so it is sharp on any screen."""


class _Context:
    """Rejects the direct call of a browser, which can have no session, before that is checked."""

    def __init__(self, request: Request) -> None:
        if is_account_chooser(request):
            raise DirectCall(
                "Browsers must ask the identity provider for accounts, with its cookies. The "
                "provider's server calls this address with a session, and passes on the accounts."
            )


accounts = Service(
    name="fedcm-accounts",
    path="/v1/fedcm/accounts",
    description="The session's emails as accounts.",
    factory=_Context,
)


@accounts.get(permission=SESSION)  # type: ignore[untyped-decorator]
def list_accounts(request: Request) -> Response:
    """Return an account for each of the session's emails, in the order proved."""
    services: Services = request.services
    charge_bytes(request, request.identity.emails[0])
    found = [_account(request, each) for each in services.profiles.profiles(request.identity)]
    body = json_encode({"accounts": found})
    return validated(request, body, digest_tag(body))


def _account(request: Request, profile: StoredProfile) -> dict[str, Any]:
    services: Services = request.services
    claims = profile.document.claims
    local_part, _, domain = profile.email.rpartition("@")
    account = {
        "id": services.account_id(profile.email),
        "name": _name(claims) or local_part,
        "email": profile.email,
        "login_hints": [profile.email],
        "domain_hints": [domain],
    }
    given_name = claims.get("given_name") or claims.get("nickname")
    if given_name is not None:
        account["given_name"] = given_name
    capabilities = services.pictures.capabilities(profile, request.identity)
    if capabilities:
        account["picture"] = f"{origin_of(request)}/v1/pictures/{capabilities[PICTURE_SIZE]}"
    return account


def _name(claims: Mapping[str, str]) -> str | None:
    parts = (claims.get("given_name"), claims.get("family_name"))
    return claims.get("name") or " ".join(filter(None, parts)) or claims.get("nickname")


def includeme(config: Configurator) -> None:
    """Register the service."""
    config.add_cornice_service(accounts)
