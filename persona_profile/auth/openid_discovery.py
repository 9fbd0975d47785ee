"""The keys of OpenID providers, from their discovery documents and JSON Web Key Sets (RFC 7517).

The cache is for speed alone: every process finds the same keys by a new lookup.

A misfit is a token that fits no known key. The provider may have new keys, so a misfit causes a lookup.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final

from persona_profile.auth.access import PUBLIC, Access, Route
from persona_profile.auth.documents import Fetch
from persona_profile.auth.fetch import HTTPS_PORT, Fetched, FetchError, Url
from persona_profile.auth.jose_keys import MAX_KEYS, VerificationKey, check_signature, parse_key_set
from persona_profile.auth.jws import Jws
from persona_profile.auth.lookups import FOUND, LookupFailed, Lookups
from persona_profile.auth.openid_userinfo import read_userinfo
from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.encoding import Json, MalformedText, json_decode
from persona_profile.errors import InvalidProof, Overloaded

WELL_KNOWN_PATH: Final = "/.well-known/openid-configuration"

AHEAD_SECONDS: Final = 2700
"""Keys older than this are refreshed beside the next sign-in."""

FRESH_SECONDS: Final = 3600
"""Keys older than this are fetched again before their use, so withdrawn keys are rejected."""

LASTING_SECONDS: Final = 24 * 3600
"""The maximum age of keys while the provider can't be reached."""

RETRY_SECONDS: Final = 30
"""The pause after a failed lookup. A misfit does not wait for it."""

MISFIT_LOOKUPS: Final = 4
"""Lookups of a provider that misfits may cause without a pause."""

MISFIT_SECONDS: Final = 10
"""The pause between further lookups for misfits."""

PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _State:
    """The keys of a provider, and the instants of lookups.

    Attributes:
        fetched_at: the lookup that found the keys.
        tried_at: the last lookup.
        failure: the reason of its failure, or empty.
        misfits_until: the end of the pauses of MISFIT_SECONDS for all lookups for misfits.
    """

    keys: tuple[VerificationKey, ...] = ()
    fetched_at: float = -math.inf
    tried_at: float = -math.inf
    failure: str = ""
    misfits_until: float = -math.inf


class Provider:
    """The keys of a provider; at most one lookup is under way, and each replaces `state`.

    Attributes:
        kind: the kind of its proofs, for metrics.
        is_configured: whether the operator chose its host, which is then logged.
        tries_several: whether a token without `kid` is tried with several keys.
        max_keys: the number of keys that its set may have.
        userinfo_url: the UserInfo endpoint of the newest discovery document, if it has a valid one.
        patience_seconds: after a discovery document as slow as this, the lookup ends without its keys.
    """

    kind = "id_token"
    is_configured = True
    tries_several = False
    max_keys = MAX_KEYS
    patience_seconds = PATIENCE_SECONDS

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], Fetched],
        clock: Callable[[], float],
        lookups: Lookups,
    ) -> None:
        self._url = url
        self._host = Url.parse(url).host
        self._fetch = fetch
        self._clock = clock
        self._lookups = lookups
        self._refreshing = threading.Lock()
        self.state = _State()
        self.userinfo_url: str | None = None

    def check(self, token: Jws, key_id: str | None) -> None:
        """Verify the signature of a token; see `ProviderKeys.check`."""
        seen = self.state
        keys = self.keys()
        try:
            check_signature(keys, token, key_id, tries_several=self.tries_several)
        except InvalidProof:
            newest = self.keys_for_misfit(seen)
            if newest is keys:
                raise
            check_signature(newest, token, key_id, tries_several=self.tries_several)

    def keys(self) -> tuple[VerificationKey, ...]:
        """Return the keys, after a lookup if they are too old."""
        state, now = self.state, self._clock()
        age = now - state.fetched_at
        may_try = not state.failure or now - state.tried_at >= RETRY_SECONDS
        if age >= FRESH_SECONDS and may_try:
            self._refresh(state, is_optional=age < LASTING_SECONDS)
            state = self.state
        elif age >= AHEAD_SECONDS and may_try:
            self._lookups.refresh(self._host, lambda: self._refresh(state, is_optional=True))
        if now - state.fetched_at >= LASTING_SECONDS:
            raise InvalidProof(state.failure or "issuer_unreachable")
        return state.keys

    def keys_for_misfit(self, seen: _State) -> tuple[VerificationKey, ...]:
        """Return the keys, after a lookup since `seen` unless misfits have caused too many."""
        state = self.state
        pauses = state.misfits_until - self._clock()
        if state is seen and pauses <= (MISFIT_LOOKUPS - 1) * MISFIT_SECONDS:
            self._refresh(state, is_for_misfit=True)
            state = self.state
        if state.failure:
            raise InvalidProof(state.failure)
        return state.keys

    def published_keys(self) -> tuple[VerificationKey, ...]:
        """Fetch and return the keys as they are published now; remember and count nothing.

        Raises:
            LookupFailed: there are none; with the reason.
        """
        return self._find_keys(self._clock())

    def prepare(self) -> None:
        """Look the keys up if none are known. A failure is not remembered."""
        with self._refreshing:
            if not self.state.keys:
                found = self._look_up(self.state, is_for_misfit=False)
                if not found.failure:
                    self.state = found

    def _refresh(self, seen: _State, *, is_for_misfit: bool = False, is_optional: bool = False) -> None:
        """Look the keys up unless another thread has done so since the state `seen`.

        An optional lookup waits for no other thread, and for no place.
        """
        try:
            with self._lookups.place(self._host):
                if not self._refreshing.acquire(blocking=not is_optional):
                    return
                try:
                    if self.state is seen:
                        self.state = self._look_up(seen, is_for_misfit=is_for_misfit)
                finally:
                    self._refreshing.release()
        except Overloaded:
            if not is_optional:
                raise

    def _look_up(self, state: _State, *, is_for_misfit: bool) -> _State:
        began = self._clock()
        state = replace(state, tried_at=began, failure="")
        if is_for_misfit:
            state = replace(state, misfits_until=max(state.misfits_until, began) + MISFIT_SECONDS)
        try:
            keys = self._find_keys(began)
        except InvalidProof as error:
            reason = error.reason if isinstance(error, LookupFailed) else "unusable"
            self._report(error.code, reason)
            return replace(state, failure=error.code)
        self._report(FOUND)
        return replace(state, keys=keys, fetched_at=began)

    def _find_keys(self, began: float) -> tuple[VerificationKey, ...]:
        url = self._discover()
        # Each fetch has its own deadline; two slow fetches must not add up.
        if self._clock() > began + self.patience_seconds:
            raise LookupFailed("issuer_unreachable", "discovery document: too slow")
        document = self._document(url, "key_set_invalid")
        try:
            return parse_key_set(document, self.max_keys)
        except InvalidProof as error:
            raise LookupFailed(error.code, "key set: no usable key, or too many") from None

    def _report(self, outcome: str, reason: str = "") -> None:
        host = self._host if self.is_configured else None
        self._lookups.report(self.kind, host, outcome, reason)

    def _discover(self) -> str:
        """Return the URL of the key set, from the provider's discovery document."""
        url = self._url.removesuffix("/") + WELL_KNOWN_PATH
        document = self._document(url, "discovery_document_invalid")
        if not isinstance(document, dict) or document.get("issuer") != self._url:
            reason = "discovery document: `issuer` is another"
            raise LookupFailed("discovery_document_invalid", reason)
        self.userinfo_url = self._endpoint(document, "userinfo_endpoint")
        return self._key_set_url(document)

    def _key_set_url(self, document: Mapping[str, Json]) -> str:
        url = self._endpoint(document, "jwks_uri")
        if url is None:
            reason = "discovery document: no valid `jwks_uri`"
            raise LookupFailed("discovery_document_invalid", reason)
        return url

    def _endpoint(self, document: Mapping[str, Json], name: str) -> str | None:
        """Return the URL of an endpoint: at the provider's own origin, or at the port of https."""
        found = document.get(name)
        try:
            endpoint = Url.parse(found if isinstance(found, str) else "")
        except ValueError:
            return None
        is_own = endpoint.origin == Url.parse(self._url).origin
        if not is_own and (endpoint.scheme != "https" or endpoint.port != HTTPS_PORT):
            return None
        return str(found)

    def _document(self, url: str, code: str) -> Json:
        """Return the JSON document of a URL; `code` is the reason if it is invalid.

        The media type does not matter, as many providers serve files.
        """
        name = code.removesuffix("_invalid").replace("_", " ")
        try:
            fetched = self._fetch(url)
            if fetched.status != 200:
                raise LookupFailed("issuer_unreachable", f"{name}: status {fetched.status}")
            return json_decode(fetched.body)
        except MalformedText:
            raise LookupFailed(code, f"{name}: not JSON") from None
        except FetchError as error:
            is_too_large = error.code == "support_document_too_large"
            reason = f"{name}: {error.reason}"
            raise LookupFailed(code if is_too_large else error.code, reason) from None


class ProviderKeys:
    """Verifies the signatures of tokens with the keys of their providers.

    Args:
        fetch: returns the document of a URL; raises FetchError.
        clock: seconds, for the age of keys.
        routes: the ways to providers that are not on the public Internet, by URL.
    """

    def __init__(
        self,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        lookups: Lookups | None = None,
        routes: Mapping[str, Route] = MappingProxyType({}),
    ) -> None:
        self._fetch = fetch
        self._routes = routes
        self._clock = clock
        self._lookups = lookups or Lookups()
        self._lock = threading.Lock()
        self._providers: dict[str, Provider] = {}

    def check(self, url: str, token: Jws, key_id: str | None) -> None:
        """Verify the signature of a token; without `kid`, with the provider's only key.

        Raises:
            InvalidProof: the signature is invalid, or a lookup failed.
            Overloaded: too many lookups are under way.
        """
        self._provider(url).check(token, key_id)

    def read_userinfo(self, url: str, access_token: str, subject: Json) -> Mapping[str, Json]:
        """Return the claims of UserInfo about a subject, of a provider whose keys are known.

        Raises:
            InvalidProof: the access token is rejected, or the lookup failed.
            Overloaded: too many lookups are under way.
        """
        host, lookups = Url.parse(url).host, self._lookups
        try:
            endpoint = self._provider(url).userinfo_url
            claims = read_userinfo(
                self._fetch, endpoint, Access(access_token, self._route(url)), subject
            )
        except LookupFailed as error:
            lookups.report(Provider.kind, host, error.code, error.reason)
            raise
        lookups.report(Provider.kind, host, FOUND)
        return claims

    def prepare(self, urls: Collection[str]) -> None:
        """Begin to look up the keys of providers, beside requests."""
        together: dict[str, list[Provider]] = {}
        for url in urls:
            domain = registrable_domain(Url.parse(url).host)
            together.setdefault(domain, []).append(self._provider(url))
        for domain, providers in together.items():
            self._lookups.refresh(domain, partial(_prepare_all, providers))

    def keep(self, routes: Mapping[str, Route]) -> None:
        """Drop the keys of all other providers, and of providers with another route than before."""
        with self._lock:
            before, self._routes = self._routes, routes
            self._providers = {
                url: each
                for url, each in self._providers.items()
                if url in routes and routes[url] == before.get(url, PUBLIC)
            }

    def _route(self, url: str) -> Route:
        return self._routes.get(url, PUBLIC)

    def _provider(self, url: str) -> Provider:
        with self._lock:
            if url not in self._providers:
                access = Access(route=self._route(url))
                fetch = partial(_fetch_by, self._fetch, access)
                self._providers[url] = Provider(url, fetch, self._clock, self._lookups)
            return self._providers[url]


def _fetch_by(fetch: Fetch, access: Access, url: str) -> Fetched:
    return fetch(url, access)


def _prepare_all(providers: list[Provider]) -> None:
    for each in providers:
        each.prepare()
