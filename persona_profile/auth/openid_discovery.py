"""The keys of OpenID providers: discovery documents and JSON Web Key Sets (RFC 7517), kept for a while.

What is kept is for speed alone: any process finds the same keys by asking anew.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from persona_profile.auth.fetch import HTTPS_PORT, Fetched, FetchError, Location
from persona_profile.auth.jws import Jws
from persona_profile.auth.lookups import Lookups
from persona_profile.auth.openid_keys import VerificationKey, check_signature, parse_key_set
from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.encoding import (
    Json,
    MalformedText,
    json_decode,
)
from persona_profile.errors import InvalidProof, Overloaded

WELL_KNOWN_PATH: Final = "/.well-known/openid-configuration"
FRESH_SECONDS: Final = 3600
"""After that long keys are asked for anew, and one that was withdrawn is no longer taken."""

LASTING_SECONDS: Final = 24 * 3600
"""For that long they go on if the provider can't be reached."""

RETRY_SECONDS: Final = 30
"""After a failure the provider is not asked again sooner, unless for a token that no key fits."""

MISFIT_LOOKUPS: Final = 4
"""For tokens that no known key fits the provider is asked so often at once, whatever it answers;"""

MISFIT_SECONDS: Final = 10
"""then once in that time, however many such tokens come."""

PATIENCE_SECONDS: Final = 5.0
"""After that long for the discovery document, the keys are not begun with."""

AHEAD_SECONDS: Final = 2700
"""After that long keys are asked for beside the next sign-in, so that none waits for them."""


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a provider's keys; instants by the clock of `ProviderKeys`."""

    keys: tuple[VerificationKey, ...] = ()
    taken_at: float = -math.inf
    tried_at: float = -math.inf
    failure: str = ""
    misfits_until: float = -math.inf
    """When all lookups for tokens that no key fitted are made up for, MISFIT_SECONDS each."""


class _Provider:
    """The keys of one provider, and the one request for them that may be under way.

    Attributes:
        state: what is known, replaced by another object whenever the provider was asked.
    """

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], Fetched],
        clock: Callable[[], float],
        lookups: Lookups,
    ) -> None:
        self._url = url
        self._host = Location.parse(url).host
        self._fetch = fetch
        self._clock = clock
        self._lookups = lookups
        self._refreshing = threading.Lock()
        self.state = _State()

    def keys(self) -> tuple[VerificationKey, ...]:
        """Return the keys, of which none is older than it may be.

        Raises:
            InvalidProof: they can't be had.
            Overloaded: too many others wait for them.
        """
        state, now = self.state, self._clock()
        age = now - state.taken_at
        may_ask = not state.failure or now - state.tried_at >= RETRY_SECONDS
        if age >= FRESH_SECONDS and may_ask:
            self._refresh(state, may_do_without=age < LASTING_SECONDS)
            state = self.state
        elif age >= AHEAD_SECONDS and may_ask:
            self._lookups.refresh(self._host, lambda: self._refresh(state, may_do_without=True))
        if now - state.taken_at >= LASTING_SECONDS:
            raise InvalidProof(state.failure or "issuer_unreachable")
        return state.keys

    def prepare(self) -> None:
        """Ask for the keys, if none are known. That this fails is not remembered."""
        with self._refreshing:
            if not self.state.keys:
                asked = self._asked(self.state, is_for_misfit=False)
                if not asked.failure:
                    self.state = asked

    def newest_keys(self, seen: _State) -> tuple[VerificationKey, ...]:
        """Return the keys, asked for anew unless they were since `state` was `seen`, or too often.

        Raises:
            InvalidProof: they can't be had.
            Overloaded: too many others wait for them.
        """
        state = self.state
        debt = state.misfits_until - self._clock()
        if state is seen and debt <= (MISFIT_LOOKUPS - 1) * MISFIT_SECONDS:
            self._refresh(state, is_for_misfit=True)
            state = self.state
        if state.failure:
            raise InvalidProof(state.failure)
        return state.keys

    def _refresh(
        self, seen: _State, *, is_for_misfit: bool = False, may_do_without: bool = False
    ) -> None:
        """Ask for the keys, unless somebody did since `seen` was so, or does and one may do without."""
        try:
            with self._lookups.place(self._host):
                if not self._refreshing.acquire(blocking=not may_do_without):
                    return
                try:
                    if self.state is seen:
                        self.state = self._asked(seen, is_for_misfit=is_for_misfit)
                finally:
                    self._refreshing.release()
        except Overloaded:
            if not may_do_without:
                raise

    def _asked(self, state: _State, *, is_for_misfit: bool) -> _State:
        """Return what is known after the provider was asked."""
        begun = self._clock()
        state = replace(state, tried_at=begun, failure="")
        if is_for_misfit:
            state = replace(state, misfits_until=max(state.misfits_until, begun) + MISFIT_SECONDS)
        try:
            url = self._discover()
            self._check_patience(begun)
            # Of any media type: providers point to wherever they keep files, and few care for that.
            keys = parse_key_set(self._document(url, "key_set_invalid"))
        except InvalidProof as error:
            return replace(state, failure=error.code)
        return replace(state, keys=keys, taken_at=begun)

    def _check_patience(self, begun: float) -> None:
        # Each request has a deadline of its own; two slow ones must not add up.
        if self._clock() > begun + PATIENCE_SECONDS:
            raise InvalidProof("issuer_unreachable")

    def _discover(self) -> str:
        """Return where the provider's discovery document says that its keys are."""
        url = self._url.removesuffix("/") + WELL_KNOWN_PATH
        document = self._document(url, "discovery_document_invalid", media_type="application/json")
        if not isinstance(document, dict) or document.get("issuer") != self._url:
            raise InvalidProof("discovery_document_invalid")
        found = document.get("jwks_uri")
        try:
            location = Location.parse(found if isinstance(found, str) else "")
        except ValueError:
            raise InvalidProof("discovery_document_invalid") from None
        own = location.origin == Location.parse(self._url).origin
        if not own and (location.scheme != "https" or location.port != HTTPS_PORT):
            raise InvalidProof("discovery_document_invalid")
        return str(found)

    def _document(self, url: str, code: str, media_type: str | None = None) -> Json:
        try:
            fetched = self._fetch(url)
            if fetched.status != 200:
                raise InvalidProof("issuer_unreachable")
            if media_type not in (None, fetched.media_type):
                raise InvalidProof(code)
            return json_decode(fetched.body)
        except MalformedText:
            raise InvalidProof(code) from None
        except FetchError as error:
            is_too_large = error.code == "support_document_too_large"
            raise InvalidProof(code if is_too_large else error.code) from None


class ProviderKeys:
    """Knows the keys by which providers sign, and holds tokens to them.

    Args:
        fetch: fetches what is at a URL, raising FetchError.
        clock: seconds, for the age of what is kept.
        lookups: places for threads that wait for a request of another, and refreshes beside requests.
    """

    def __init__(
        self,
        fetch: Callable[[str], Fetched],
        clock: Callable[[], float] = time.monotonic,
        lookups: Lookups | None = None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lookups = lookups or Lookups()
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}

    def check(self, url: str, token: Jws, key_id: str | None) -> None:
        """Hold a token to the key by which a provider signs; without `kid`, it must be its only one.

        If none fits, the provider may have changed its keys, and is asked for them anew.

        Raises:
            InvalidProof: the provider has not signed it, or that can't be found out.
            Overloaded: too many lookups are under way.
        """
        provider = self._provider(url)
        seen = provider.state
        keys = provider.keys()
        try:
            check_signature(keys, token, key_id)
        except InvalidProof:
            newest = provider.newest_keys(seen)
            if newest is keys:
                raise
            check_signature(newest, token, key_id)

    def prepare(self, urls: Collection[str]) -> None:
        """Begin to ask providers for their keys, beside requests."""
        together: dict[str, list[_Provider]] = {}
        for url in urls:
            domain = registrable_domain(Location.parse(url).host)
            together.setdefault(domain, []).append(self._provider(url))
        for domain, providers in together.items():
            self._lookups.refresh(domain, partial(_prepare_all, providers))

    def keep(self, urls: Collection[str]) -> None:
        """Forget the keys of all other providers."""
        with self._lock:
            self._providers = {url: each for url, each in self._providers.items() if url in urls}

    def _provider(self, url: str) -> _Provider:
        with self._lock:
            if url not in self._providers:
                self._providers[url] = _Provider(url, self._fetch, self._clock, self._lookups)
            return self._providers[url]


def _prepare_all(providers: list[_Provider]) -> None:
    for each in providers:
        each.prepare()
