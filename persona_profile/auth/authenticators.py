"""The configured authenticators. An entry point or a dotted name adds a kind of proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.access import ANONYMOUS, Access, Route
from persona_profile.auth.browserid_discovery import PinnedIssuers
from persona_profile.auth.documents import DocumentFetcher, Fetch
from persona_profile.auth.fetch import Fetched, FetchError, HttpsFetcher
from persona_profile.auth.lookups import Lookups, caused_by
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.emails import canonical_email
from persona_profile.errors import ServiceError
from persona_profile.keys.tokens import Nonces
from persona_profile.plugins import PluginNotFound, load_plugin
from persona_profile.runtime.stats import EventCounter
from persona_profile.settings import InvalidSettings, Settings

GROUP: Final = "persona_profile.authenticators"
PROOF_ID_BYTES: Final = 32


def _fetch_nothing(_url: str, _access: Access = ANONYMOUS, /) -> Fetched:
    raise FetchError("issuer_unreachable")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorContext:
    """The parts of the service that authenticators use.

    Attributes:
        settings: all settings; `option` returns those of an authenticator.
        nonces: the nonces of `POST /v1/nonces`.
        clock: seconds since 1970.
        reload_counter: returns, for the name of a file, a function that counts reloads by outcome:
            `accepted` or `rejected`.
        fetch: returns the document of an https URL under the rules of the module `fetch`; raises
            FetchError or Overloaded. Threads share the fetch of a URL. A fetch counts for the client's
            network, and with `lookups.caused_by` for a domain too.
        lookups: places for threads that wait for other lookups, and refreshes beside requests.
        new_fetcher: makes the HTTPS fetcher that `fetch` uses.
        own_origins: the fetch of each origin that this server itself serves, in development.
        pinned_issuers: trusted by BrowserID besides the configured file, in development.
        openid_issuers: trusted by OpenID Connect besides the configured file, in development.
        email_issuers: the issuer of email verification tokens for each pattern of domains that need no
            DNS, in development.
    """

    settings: Settings
    nonces: Nonces
    clock: Callable[[], float]
    reload_counter: Callable[[str], Callable[[str], None]]
    fetch: Fetch = _fetch_nothing
    lookups: Lookups = field(default_factory=Lookups)
    new_fetcher: Callable[[], HttpsFetcher] = HttpsFetcher
    own_origins: Mapping[str, Callable[[str], Fetched]] = field(default_factory=dict)
    pinned_issuers: PinnedIssuers = field(default_factory=lambda: PinnedIssuers({}))
    openid_issuers: OpenIDIssuers = field(default_factory=OpenIDIssuers)
    email_issuers: Mapping[str, str] = field(default_factory=dict)

    def option(self, name: str) -> str:
        """Return the setting `authenticator.<name>`.

        Raises:
            InvalidSettings: the setting is missing.
        """
        value = self.settings.authenticator_options.get(f"authenticator.{name}", "").strip()
        if not value:
            raise InvalidSettings(f"authenticator.{name}: needed")
        return value


class Authenticators:
    """The authenticators of all accepted kinds of proofs, by member; `closing` is closed with them.

    Attributes:
        outcomes: counts the verified proofs by kind, outcome and algorithm. The outcome is `proved`,
            the code of the rejection, or `failed` by a mistake.
        lookups: counts the lookups of providers by kind of proof and outcome.
    """

    def __init__(
        self,
        authenticators: Mapping[str, Authenticator],
        closing: ExitStack,
        lookups: EventCounter | None = None,
    ) -> None:
        self.outcomes = EventCounter()
        self.lookups = lookups or EventCounter()
        self._authenticators = dict(authenticators)
        self._closing = closing

    @property
    def descriptions(self) -> dict[str, str]:
        """The description of each member."""
        return {member: each.description for member, each in self._authenticators.items()}

    @property
    def codes(self) -> dict[str, str]:
        """The authenticators' own codes with their meanings."""
        return {
            code: meaning
            for each in self._authenticators.values()
            for code, meaning in each.codes.items()
        }

    @property
    def companions(self) -> dict[str, Mapping[str, str]]:
        """The companions of each member, with descriptions."""
        # Third parties' authenticators may be older than this member.
        return {
            member: getattr(each, "companions", {}) for member, each in self._authenticators.items()
        }

    def verify(
        self,
        member: str,
        proof: str,
        client: str | None = None,
        companions: Mapping[str, str] = MappingProxyType({}),
    ) -> ProvedEmail:
        """Verify a proof with the members beside it.

        Lookups count for `client`, the network of the waiting client.

        Raises:
            InvalidProof: the proof is invalid; the code is the reason.
            Overloaded: too many lookups are under way.
        """
        outcome, algorithm = "failed", "unknown"
        verify: Callable[..., ProvedEmail] = self._authenticators[member].verify
        try:
            with caused_by(client=client):
                proved = replace(verify(proof, **companions), kind=member)
            # Profiles depend on both: mistakes of third parties' authenticators must stop here.
            if canonical_email(proved.email) != proved.email or len(proved.proof_id) != PROOF_ID_BYTES:
                raise ValueError(f"the authenticator of {member} breaks the rules of ProvedEmail")
            outcome, algorithm = "proved", proved.algorithm
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self.outcomes.count(member, outcome, algorithm)
        return proved

    def route(self, member: str, issuer: str) -> Route | None:
        """Return the way to the pictures that an issuer suggests; None for no such pictures."""
        authenticator = self._authenticators.get(member)
        # Third parties' authenticators may be older than this method.
        find: Callable[[str], Route | None] = getattr(authenticator, "route", lambda _issuer: None)
        return find(issuer)

    def prepare(self) -> None:
        """Begin lookups for the first proofs, beside requests."""
        for authenticator in self._authenticators.values():
            # Third parties' authenticators may be older than this method.
            getattr(authenticator, "prepare", lambda: None)()

    def reload(self) -> None:
        """Reload files of the configuration."""
        for authenticator in self._authenticators.values():
            authenticator.reload()

    def close(self) -> None:
        """Release resources."""
        for authenticator in self._authenticators.values():
            authenticator.close()
        self._closing.close()


def load_authenticators(context: AuthenticatorContext) -> Authenticators:
    """Return the configured authenticators. Each gets a context with a fetcher of its own.

    Raises:
        InvalidSettings: a name is unknown, two authenticators have the same member, the creation of an
            authenticator fails, or all are off.
    """
    with ExitStack() as closing:
        closing.callback(context.lookups.close)
        found = _by_member(context, closing)
        for member, each in found.items():
            # Third parties' authenticators may be older than this member.
            if taken := sorted(getattr(each, "companions", {}).keys() & found.keys()):
                raise InvalidSettings(
                    f"authenticators: `{taken[0]}` beside `{member}` is a kind of proof"
                )
        return Authenticators(found, closing.pop_all(), context.lookups.outcomes)


def _by_member(context: AuthenticatorContext, closing: ExitStack) -> dict[str, Authenticator]:
    """Return the authenticators that the settings leave on."""
    found: dict[str, Authenticator] = {}
    faults = []
    for name in context.settings.authenticators:
        fetcher = DocumentFetcher(context.new_fetcher(), context.own_origins, context.lookups)
        closing.callback(fetcher.close)
        try:
            authenticator = _load(name, replace(context, fetch=fetcher.fetch))
        except InvalidSettings as error:
            faults.append(str(error))
            continue
        if authenticator is None:
            continue
        if authenticator.member in found:
            faults.append(f"authenticators: {name}: another takes `{authenticator.member}` too")
        found[authenticator.member] = authenticator
    if not (faults or found):
        faults.append("authenticators: the settings leave all of them off")
    if faults:
        raise InvalidSettings("\n".join(faults))
    return found


def _load(name: str, context: AuthenticatorContext) -> Authenticator | None:
    """Make the authenticator of an entry point, or of the dotted name of a factory.

    None stands for an authenticator that its settings leave off.
    """
    try:
        authenticator: Authenticator | None = load_plugin(GROUP, name)(context)
    except OSError as error:
        raise InvalidSettings(f"authenticators: {name}: {error.strerror}") from None
    except (PluginNotFound, ValueError) as error:
        raise InvalidSettings(f"authenticators: {name}: {error}") from None
    return authenticator
