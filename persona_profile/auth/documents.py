"""Documents by URL: threads that request the same document with the same access share one fetch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

from persona_profile.auth.access import ANONYMOUS, Access
from persona_profile.auth.fetch import (
    DOCUMENTS,
    Fetched,
    FetchError,
    HttpsFetcher,
    Limits,
    Url,
)
from persona_profile.auth.lookups import Lookups
from persona_profile.runtime.waiting import Claim, FairPlaces

FETCH_THREADS: Final = 16
"""Threads of one fetcher. A silent name server may hold a thread for long."""

_GRACE_SECONDS: Final = 0.5
"""A fetch keeps its own deadline, except that name resolution can't be interrupted."""


class Fetch(Protocol):
    """Returns the document of a URL.

    Raises:
        FetchError: there is no response.
        Overloaded: too many lookups are under way.
    """

    def __call__(self, url: str, access: Access = ..., /) -> Fetched:
        """Return the response."""


class DocumentFetcher:
    """Fetches documents by URL, in threads of its own; thread-safe.

    Args:
        https: fetches documents of all other origins.
        own: the fetch of each origin that this server itself serves, in development.
        limits: of each document.
        threads: the number of threads; refreshes may use REFRESH_THREADS of them alone.
    """

    def __init__(
        self,
        https: HttpsFetcher,
        own: Mapping[str, Callable[[str], Fetched]] | None = None,
        lookups: Lookups | None = None,
        *,
        limits: Limits = DOCUMENTS,
        threads: int = FETCH_THREADS,
    ) -> None:
        self._https = https
        self._own = dict(own or {})
        self._lookups = lookups or Lookups()
        self._lock = threading.Lock()
        self._places = FairPlaces()
        self._under_way: dict[tuple[str, Access], tuple[Future[Fetched], float]] = {}
        self._limits = limits
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    def fetch(self, url: str, access: Access = ANONYMOUS, /) -> Fetched:
        """Return the document of a URL, from the fetch under way if there is one.

        A fetch that exceeds its deadline goes on, but no thread waits for it.

        Raises:
            FetchError: as `HttpsFetcher.fetch`.
            Overloaded: too many lookups are under way.
        """
        try:
            parsed = Url.parse(url)
        except ValueError:
            raise FetchError("issuer_address_forbidden") from None
        with self._lookups.place(parsed.host):
            with self._lock:
                known = self._under_way.get((url, access))
                future, deadline = known or self._begin(url, parsed, access)
            try:
                return future.result(max(0.0, deadline - time.monotonic()))
            except FetchError as error:  # each thread needs its own exception
                raise FetchError(error.code, error.reason) from None
            except TimeoutError:
                raise FetchError("issuer_unreachable", "no answer in time") from None

    def close(self) -> None:
        """Begin no more fetches."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self, url: str, parsed: Url, access: Access) -> tuple[Future[Fetched], float]:
        claims, threads = self._lookups.thread_claims(parsed.host, self._threads)
        if self._places.obstacle(claims, threads - self._places.held) is not None:
            raise self._lookups.rejection("threads")
        own = self._own.get(parsed.origin)
        work = partial(own, url) if own else partial(self._https.fetch, parsed, access, self._limits)
        try:
            future = self._executor.submit(self._carry_out, (url, access), claims, work)
        except RuntimeError:  # closed, or the system gives no more threads
            raise self._lookups.rejection("threads") from None
        self._places.acquire(claims)
        deadline = time.monotonic() + self._https.deadline_seconds + _GRACE_SECONDS
        self._under_way[url, access] = future, deadline
        return future, deadline

    def _carry_out(
        self, key: tuple[str, Access], claims: list[Claim], work: Callable[[], Fetched]
    ) -> Fetched:
        try:
            return work()
        finally:
            with self._lock:
                del self._under_way[key]
                self._places.release(claims)
