"""The authenticators that are configured: what they are made of, and all of them as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.auth.browserid_discovery import PinnedIssuers
from persona_profile.auth.documents import DocumentFetcher
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


def _fetch_nothing(_url: str) -> Fetched:
    raise FetchError("issuer_unreachable")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatorContext:
    """What an authenticator may be made of.

    Attributes:
        settings: all of them; see `option` for those of an authenticator's own.
        nonces: issued by `POST /v1/nonces`; what an authenticator does with them is its own affair.
        clock: seconds since 1970.
        reload_counter: returns what counts, as `accepted` or `rejected`, that a file of that name was
            read anew.
        fetch: fetches the document at an https URL under the rules of `fetch`, raising FetchError or
            Overloaded. Threads that fetch the same URL share a fetch. While a proof is verified it
            counts for the client's network; `lookups.caused_by` makes it count for a domain as well.
        lookups: places for threads that wait for a lookup otherwise, and refreshes beside requests.
        new_fetcher: makes the fetcher of https documents that `fetch` uses.
        own_origins: the fetch of the origins that this server itself serves, in development.
        pinned_issuers: what BrowserID trusts besides the configured file, in development.
        openid_issuers: what OpenID Connect trusts besides the configured file, in development.
    """

    settings: Settings
    nonces: Nonces
    clock: Callable[[], float]
    reload_counter: Callable[[str], Callable[[str], None]]
    fetch: Callable[[str], Fetched] = _fetch_nothing
    lookups: Lookups = field(default_factory=Lookups)
    new_fetcher: Callable[[], HttpsFetcher] = HttpsFetcher
    own_origins: Mapping[str, Callable[[str], Fetched]] = field(default_factory=dict)
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
        authenticators: by their members.
        closing: what is closed with them.

    Attributes:
        outcomes: counts the verified proofs by kind, outcome and algorithm. The outcome is `proved`,
            the code of the rejection, or `failed` by a mistake.
    """

    def __init__(self, authenticators: Mapping[str, Authenticator], closing: ExitStack) -> None:
        self.outcomes = EventCounter()
        self._authenticators = dict(authenticators)
        self._closing = closing

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

    def verify(self, member: str, proof: str, client: str | None = None) -> ProvedEmail:
        """Return what a proof proves.

        Args:
            member: the member that the proof came as.
            proof: the proof.
            client: the network of the client that waits; lookups are counted for it.

        Raises:
            InvalidProof: it does not hold; its code says why.
            Overloaded: it can't be found out now.
        """
        outcome, algorithm = "failed", "unknown"
        try:
            with caused_by(client=client):
                proved = replace(self._authenticators[member].verify(proof), kind=member)
            # Profiles hang on both: a mistake of somebody's own authenticator must not get further.
            if canonical_email(proved.email) != proved.email or len(proved.proof_id) != PROOF_ID_BYTES:
                raise ValueError(f"the authenticator of {member} breaks the rules of ProvedEmail")
            outcome, algorithm = "proved", proved.algorithm
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self.outcomes.count(member, outcome, algorithm)
        return proved

    def prepare(self) -> None:
        """Begin lookups for the first proofs, beside requests."""
        for authenticator in self._authenticators.values():
            # Authenticators of others may be older than this method.
            getattr(authenticator, "prepare", lambda: None)()

    def reload(self) -> None:
        """Reload files of the configuration."""
        for authenticator in self._authenticators.values():
            authenticator.reload()

    def close(self) -> None:
        """Give back what they hold."""
        for authenticator in self._authenticators.values():
            authenticator.close()
        self._closing.close()


def load_authenticators(context: AuthenticatorContext) -> Authenticators:
    """Return the authenticators that the settings name.

    Args:
        context: what they are made of; `fetch` is given to each here.

    Raises:
        InvalidSettings: there is none of a name, two take the same proofs, or one can't be made.
    """
    found: dict[str, Authenticator] = {}
    closing = ExitStack()
    closing.callback(context.lookups.close)
    for name in context.settings.authenticators:
        fetcher = DocumentFetcher(context.new_fetcher(), context.own_origins, context.lookups)
        closing.callback(fetcher.close)
        authenticator = _load(name, replace(context, fetch=fetcher.fetch))
        if authenticator.member in found:
            raise InvalidSettings(f"authenticators: {name}: another takes `{authenticator.member}` too")
        found[authenticator.member] = authenticator
    return Authenticators(found, closing)


def _load(name: str, context: AuthenticatorContext) -> Authenticator:
    """Make the authenticator of an entry point, or of the dotted name of a factory."""
    try:
        authenticator: Authenticator = load_plugin(GROUP, name)(context)
    except PluginNotFound as error:
        raise InvalidSettings(f"authenticators: {name}: {error}") from None
    except OSError as error:
        raise InvalidSettings(f"authenticators: {name}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidSettings(f"authenticators: {name}: {error}") from None
    return authenticator
