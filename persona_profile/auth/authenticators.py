"""The authenticators that are configured: what they are made of, and all of them as one."""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Final, TypeVar

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.discovery import PinnedIssuers
from persona_profile.auth.fetch import DocumentFetcher, Fetched, FetchError, HttpsFetcher
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.emails import canonical_email
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.tokens import Nonces

GROUP: Final = "persona_profile.authenticators"
PROOF_ID_BYTES: Final = 32

Configured = TypeVar("Configured")

logger = logging.getLogger(__name__)


def _fetch_nothing(_url: str) -> Fetched:
    raise FetchError("issuer_unreachable")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorContext:
    """What an authenticator may be made of.

    Attributes:
        settings: all of them; see `option` for those of an authenticator's own.
        nonces: issued by `POST /v1/nonces`; what an authenticator does with them is its own affair.
        clock: seconds since 1970.
        observe: counts a proof: `proved` or the code of its refusal, and its algorithm.
        reload_counter: returns what counts, as `taken` or `refused`, that a file of that name was
            read anew.
        fetch: fetches the document at an https URL under the rules of `fetch`, raising FetchError or
            Overloaded; each authenticator has its own, so that none waits for another's.
        pinned_issuers: what BrowserID trusts besides the configured file, in development.
        openid_issuers: what OpenID Connect trusts besides the configured file, in development.
    """

    settings: Settings
    nonces: Nonces
    clock: Callable[[], float]
    observe: Callable[[str, str], None]
    reload_counter: Callable[[str], Callable[[str], None]]
    fetch: Callable[[str], Fetched] = _fetch_nothing
    pinned_issuers: PinnedIssuers = field(default_factory=lambda: PinnedIssuers({}))
    openid_issuers: OpenIDIssuers = field(default_factory=OpenIDIssuers)

    def option(self, name: str) -> str:
        """Return the setting `authenticator.<name>`, which is nobody's but an authenticator's.

        Raises:
            InvalidSettings: it is missing.
        """
        value = self.settings.authenticator_options.get(f"authenticator.{name}", "").strip()
        if not value:
            raise InvalidSettings(f"authenticator.{name}: needed")
        return value


class Authenticators:
    """All kinds of proofs that are taken, by the members that they are called in requests.

    Args:
        authenticators: each with another member.
        closing: what is closed with them.
    """

    def __init__(
        self, authenticators: Mapping[str, Authenticator], closing: ExitStack | None = None
    ) -> None:
        self._authenticators = dict(authenticators)
        self._closing = closing or ExitStack()

    @property
    def descriptions(self) -> dict[str, str]:
        """What stands in each member, for people."""
        return {member: each.description for member, each in self._authenticators.items()}

    @property
    def codes(self) -> dict[str, str]:
        """The meanings of those codes of refusals that the service does not have itself."""
        return {
            code: meaning
            for each in self._authenticators.values()
            for code, meaning in each.codes.items()
        }

    def verify(self, member: str, proof: str) -> ProvedEmail:
        """Return what a proof proves.

        Raises:
            InvalidProof: it does not hold; its code says why.
            Overloaded: it can't be found out now.
        """
        proved = self._authenticators[member].verify(proof)
        # Profiles hang on both: a mistake of somebody's own authenticator must not get further.
        if canonical_email(proved.email) != proved.email or len(proved.proof_id) != PROOF_ID_BYTES:
            raise ValueError(f"the authenticator of {member} breaks the rules of ProvedEmail")
        return proved

    def reload(self) -> None:
        """Take files of the configuration anew."""
        for authenticator in self._authenticators.values():
            authenticator.reload()

    def close(self) -> None:
        """Give back what they hold."""
        for authenticator in self._authenticators.values():
            authenticator.close()
        self._closing.close()


class Reloading(Authenticator):
    """An authenticator whose trust stands in a file, which is taken anew when it is told to.

    Args:
        authenticator: verifies proofs.
        reload: takes the file anew.
    """

    def __init__(self, authenticator: Authenticator, reload: Callable[[], None]) -> None:
        self._authenticator = authenticator
        self._reload = reload
        self.member = authenticator.member
        self.description = authenticator.description
        self.codes = authenticator.codes

    def verify(self, proof: str) -> ProvedEmail:
        """Return what the proof proves. See `auth.Authenticator`."""
        return self._authenticator.verify(proof)

    def reload(self) -> None:
        """Take the file anew. See `auth.Authenticator`."""
        self._reload()

    def close(self) -> None:
        """Give back what is held."""
        self._authenticator.close()


def file_reloader(
    what: str,
    load: Callable[[], Configured],
    use: Callable[[Configured], None],
    observe: Callable[[str], None],
) -> Callable[[], None]:
    """Return what takes a file anew, and says so; one that can't be used leaves the old one in force.

    Args:
        what: is in the file, for the log.
        load: reads it, raising InvalidSettings.
        use: puts it into force.
        observe: is told `taken` or `refused`.
    """

    def reload() -> None:
        try:
            loaded = load()
        except InvalidSettings as error:
            observe("refused")
            logger.error("not taken anew: %s", error)  # noqa: TRY400 - no trace: no values
            return
        use(loaded)
        observe("taken")
        logger.warning("%s: taken anew", what)

    return reload


def load_authenticators(
    context: AuthenticatorContext,
    new_fetcher: Callable[[], HttpsFetcher] = HttpsFetcher,
    own_origins: Mapping[str, Callable[[str], Fetched]] | None = None,
) -> Authenticators:
    """Return the authenticators that the settings name.

    Args:
        context: what they are made of; `fetch` is given to each here.
        new_fetcher: makes what fetches documents.
        own_origins: the fetch of those origins that the application answers for itself, in development.

    Raises:
        InvalidSettings: there is none of a name, two take the same proofs, or one can't be made.
    """
    found: dict[str, Authenticator] = {}
    closing = ExitStack()
    for name in context.settings.authenticators:
        fetcher = DocumentFetcher(new_fetcher(), own_origins)
        closing.callback(fetcher.close)
        authenticator = _load(name, replace(context, fetch=fetcher.fetch))
        if authenticator.member in found:
            raise InvalidSettings(f"authenticators: {name}: another takes `{authenticator.member}` too")
        found[authenticator.member] = authenticator
    return Authenticators(found, closing)


def _load(name: str, context: AuthenticatorContext) -> Authenticator:
    """Make the authenticator of an entry point, or of the dotted name of a factory."""
    points = entry_points(group=GROUP, name=name)
    try:
        factory = next(iter(points)).load() if points else pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        known = ", ".join(sorted(entry_points(group=GROUP).names))
        message = f"authenticators: {name}: neither one of {known} nor a dotted name to import"
        raise InvalidSettings(message) from None
    try:
        authenticator: Authenticator = factory(context)
    except OSError as error:
        raise InvalidSettings(f"authenticators: {name}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidSettings(f"authenticators: {name}: {error}") from None
    return authenticator
