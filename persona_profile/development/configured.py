"""The providers of a development server, and the trust in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from persona_profile.auth.authenticators import AuthenticatorContext
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.development.email_verification_issuer import HOST, DevelopmentEmailIssuer
from persona_profile.development.identity_provider import PINNED_PATTERNS, DevelopmentIdentityProvider
from persona_profile.development.openid_provider import DevelopmentOpenIDProvider
from persona_profile.settings import InvalidSettings, Settings


@dataclass(frozen=True, slots=True)
class Development:
    """The providers of a development server.

    Attributes:
        identity_provider: mints BrowserID assertions.
        openid_provider: signs ID tokens; none if `development.provider_listen` is off.
        email_issuer: issues email verification tokens; none if `development.issuer_listen` is off.
    """

    identity_provider: DevelopmentIdentityProvider
    openid_provider: DevelopmentOpenIDProvider | None
    email_issuer: DevelopmentEmailIssuer | None

    def trusted_by(self, context: AuthenticatorContext) -> AuthenticatorContext:
        """Return the context for authenticators that trust these providers too."""
        context = replace(context, pinned_issuers=self.identity_provider.pinned_issuers())
        if (provider := self.openid_provider) is not None:
            context = replace(
                context,
                openid_issuers=OpenIDIssuers([provider.trust]),
                own_origins={provider.issuer: provider.fetch},
            )
        if (issuer := self.email_issuer) is not None:
            context = replace(
                context,
                email_issuers=dict.fromkeys(PINNED_PATTERNS, HOST),
                own_origins={**context.own_origins, issuer.issuer: issuer.fetch},
            )
        return context


def open_development(settings: Settings, clock: Callable[[], float]) -> Development:
    """Return the providers, whose keys are kept in `development.folder`.

    Raises:
        InvalidSettings: a key file holds something else.
        OSError: the folder can't be used.
    """
    try:
        return _open(settings, clock)
    except ValueError as error:
        raise InvalidSettings(f"development.folder: {error}") from None


def _open(settings: Settings, clock: Callable[[], float]) -> Development:
    identity_provider = DevelopmentIdentityProvider.load(settings.development_folder)
    folder = settings.development_folder
    openid_provider = email_issuer = None
    if settings.development_provider_listen is not None:
        host, port = settings.development_provider_listen
        origins = dict.fromkeys((*settings.public_origins, *settings.dialog_origins))
        redirect_uris = [f"{origin}/" for origin in origins]
        issuer = f"http://{host}:{port}"
        openid_provider = DevelopmentOpenIDProvider(issuer, redirect_uris, folder, clock)
    if settings.development_issuer_listen is not None:
        email_issuer = DevelopmentEmailIssuer(settings.development_issuer_listen, folder, clock)
    return Development(identity_provider, openid_provider, email_issuer)
