"""The pictures that issuers suggest, fetched by the rules of `fetch` when a person takes one.

A stranger chooses the URL and its host. So the host is never logged, and a slow one counts against the
client's network and the host's own domain, not against the issuer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from persona_profile.auth.access import Access, Route
from persona_profile.auth.authenticators import Authenticators
from persona_profile.auth.documents import DocumentFetcher
from persona_profile.auth.fetch import (
    MAX_RESPONSE_BYTES,
    Fetched,
    FetchError,
    Limits,
    Url,
    is_permitted,
)
from persona_profile.auth.lookups import FOUND, Lookups, caused_by
from persona_profile.errors import SuggestionRejected, UnsupportedMediaType

KIND: Final = "picture"
"""The kind of these lookups in metrics."""

THREADS: Final = 4
"""Threads of the fetcher. Requests use two of them: two large pictures in memory at once."""

_IMAGE: Final = "image/"
_UNNAMED: Final = ("", "application/octet-stream", "binary/octet-stream")
"""Media types of files of any kind."""


def picture_limits(max_bytes: int) -> Limits:
    """Return the limits of a picture; its framing may take an eighth more."""
    return Limits(max_bytes, max_bytes + max_bytes // 8 + MAX_RESPONSE_BYTES, "image/*")


class SuggestedPictures:
    """Fetches suggested pictures; thread-safe.

    Args:
        fetcher: fetches by `picture_limits(max_bytes)`.
        own_origins: the origins that this server itself serves, in development.
    """

    def __init__(
        self,
        authenticators: Authenticators,
        fetcher: DocumentFetcher,
        lookups: Lookups,
        max_bytes: int,
        own_origins: Collection[str] = (),
    ) -> None:
        self._authenticators = authenticators
        self._fetcher = fetcher
        self._lookups = lookups
        self._max_bytes = max_bytes
        self._own_origins = own_origins

    def may_fetch(self, member: str, issuer: str, url: str) -> bool:
        """Return whether a URL that an issuer names may be fetched, as far as it shows itself."""
        return self._route(member, issuer, url) is not None

    def fetch(self, member: str, issuer: str, url: str, client: str) -> bytes:
        """Return the file at a URL that an issuer of a kind of proof has named.

        It counts as a lookup of `client`, the network of the waiting client.

        Raises:
            SuggestionRejected: the issuer is not trusted any more, or the file can't be fetched.
            UnsupportedMediaType: its media type is that of no picture.
            Overloaded: too many lookups are under way.
        """
        route = self._route(member, issuer, url)
        if route is None:
            raise SuggestionRejected("suggestion_invalid", "The provider is not trusted any more.")
        try:
            with caused_by(client=client):
                found = _found(self._fetcher.fetch(url, Access(route=route)))
        except FetchError as error:
            rejection = self._rejection(error.code)
            self._lookups.report(KIND, None, rejection.code)
            raise rejection from None
        self._lookups.report(KIND, None, FOUND)
        if not (found.media_type.startswith(_IMAGE) or found.media_type in _UNNAMED):
            raise UnsupportedMediaType("The file of the provider is no picture.")
        return found.body

    def close(self) -> None:
        """Begin no more fetches."""
        self._fetcher.close()

    def _rejection(self, code: str) -> SuggestionRejected:
        """Return the error for the code of a failed fetch."""
        if code != "support_document_too_large":
            detail = "The picture of the provider can't be fetched from its address."
            return SuggestionRejected("picture_unreachable", detail)
        detail = f"The picture of the provider has more than {self._max_bytes} bytes."
        return SuggestionRejected("picture_too_large", detail, limit=self._max_bytes)

    def _route(self, member: str, issuer: str, url: str) -> Route | None:
        """Return the way to a URL of a trusted issuer, if it may be fetched."""
        route = self._authenticators.route(member, issuer)
        try:
            parsed = Url.parse(url)
        except ValueError:
            return None
        if route is None or not (
            parsed.origin in self._own_origins or is_permitted(parsed, route.to(parsed.host))
        ):
            return None
        return route


def _found(fetched: Fetched) -> Fetched:
    """Return a response that has the file. Redirects are not followed."""
    if fetched.status != 200:
        raise FetchError("issuer_unreachable")
    return fetched
