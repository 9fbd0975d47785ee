"""Documents by their URLs: who fetches them, and who shares a fetch that is under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from persona_profile.auth.fetch import HTTPS_PORT, Fetched, FetchError, HttpsFetcher, Location
from persona_profile.auth.lookups import Flights, Lookups

_GRACE_SECONDS: Final = 0.5
"""A fetch ends by its own deadline, unless its name is being resolved, which can't be interrupted."""


class DocumentFetcher:
    """Fetches documents by their URLs, several threads at once; requests for the same one share it.

    Args:
        https: fetches them, unless
        own: has a fetch for their origin.
        lookups: the places for threads that wait.
    """

    def __init__(
        self,
        https: HttpsFetcher,
        own: Mapping[str, Callable[[str], Fetched]] | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self._https = https
        self._own = dict(own or {})
        self._lookups = lookups or Lookups()
        self._flights: Flights[Fetched] = Flights(self._lookups)

    def fetch(self, url: str) -> Fetched:
        """Fetch the document at a URL.

        Raises:
            FetchError: as `HttpsFetcher.fetch`.
            Overloaded: too many lookups are under way.
        """
        try:
            location = Location.parse(url)
        except ValueError:
            raise FetchError("issuer_address_forbidden") from None
        own = self._own.get(location.origin)
        if own is None and location.scheme != "https":
            raise FetchError("issuer_address_forbidden")
        port = None if location.port == HTTPS_PORT else location.port
        host, seconds = location.host, self._https.deadline_seconds + _GRACE_SECONDS

        def fetch() -> Fetched:
            return own(url) if own else self._https.fetch(host, location.target, port)

        with self._lookups.place(host):
            try:
                return self._flights.join(url, host, fetch, seconds)
            except FetchError as error:
                raise FetchError(error.code) from None  # each thread has one of its own
            except TimeoutError:
                raise FetchError("issuer_unreachable") from None

    def close(self) -> None:
        """Begin no more fetches."""
        self._flights.close()
