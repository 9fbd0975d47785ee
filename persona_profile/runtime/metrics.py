"""Prometheus metrics of the service; `docs/reference/metrics.md` lists them.

No label has a value that a client chose: routes are patterns, methods and codes are ours. So the number
of series is bounded, and no series has an email, a token or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backends import BackendStats
from persona_profile.runtime.stats import EventCounter, Labels, PictureStats, ReplicaStats
from persona_profile.runtime.waiting import WaitingBudget

_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STORAGE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
_EMAILS: Final = tuple(range(1, 21))
METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

_RETRY_REASONS: Final = ("transient", "connection_lost")

_EVENTS: Final[Mapping[str, tuple[str, Labels]]] = {
    "proofs": ("Verified proofs.", ("kind", "outcome", "algorithm")),
    "provider_lookups": ("Lookups of identity providers.", ("kind", "outcome")),
    "waiting_rejections": (
        "Requests rejected as too many threads wait.",
        ("kind", "reason"),
    ),
    "picture_uploads": ("Uploaded pictures.", ("format", "outcome")),
    "picture_pixels": ("Decoded pixels, width x height.", ("format",)),
    "picture_cpu_seconds": ("Processor time of the picture workers.", ()),
    "replica_reads": ("Reads of replicas.", ("outcome",)),
    "stale_key_reads": ("Opened data keys that wait for a rewrap.", ()),
}
"""Meaning and labels of the counters that parts keep, by the fields of `Parts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Parts of the service whose counters and state are read at each scrape.

    Attributes:
        backend: returns the state of the storage.
        is_ledger_failing: returns whether the last write to the ledger failed.
        waiting: the budget of threads that wait.
        replicas: returns the state of the replicas.
        pictures: returns the state of the picture workers.
        is_uncoordinated: returns whether this process counts rate limits for itself.

    The other members are the counters of `_EVENTS`.
    """

    backend: Callable[[], BackendStats]
    is_ledger_failing: Callable[[], bool]
    waiting: WaitingBudget
    replicas: Callable[[], ReplicaStats]
    pictures: Callable[[], PictureStats]
    is_uncoordinated: Callable[[], bool]
    proofs: EventCounter
    provider_lookups: EventCounter
    waiting_rejections: EventCounter
    picture_uploads: EventCounter
    picture_pixels: EventCounter
    picture_cpu_seconds: EventCounter
    replica_reads: EventCounter
    stale_key_reads: EventCounter


class Metrics:
    """The metrics of one application; two applications of one process share nothing.

    Args:
        version: of the software.
        commit: of the build; empty if unknown.
    """

    def __init__(self, version: str, commit: str = "") -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = self._gauge(
            "build_info", "Version of the software; the value is 1.", "version", "commit"
        )
        info.labels(version, commit).set(1)
        self._requests = self._counter(
            "http_requests_total", "Answered requests.", "route", "method", "status"
        )
        self._request_seconds = Histogram(
            "persona_http_request_duration_seconds",
            "Time from a thread taking the request to its answer.",
            ("route", "method"),
            registry=self._registry,
            buckets=_REQUEST_SECONDS,
        )
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._problems = self._counter("http_problems_total", "Answered problems.", "code", "status")
        self._problems.labels("internal_error", "500")  # the first is an increase, too
        self._queued = self._gauge("http_queued_requests", "Requests that wait for a thread.")
        self._session_emails = Histogram(
            "persona_session_emails",
            "Emails of opened sessions.",
            registry=self._registry,
            buckets=_EMAILS,
        )
        self._storage_seconds = Histogram(
            "persona_storage_operation_duration_seconds",
            "Operations of the storage.",
            ("operation", "outcome"),
            registry=self._registry,
            buckets=_STORAGE_SECONDS,
        )
        self._of_storage: dict[tuple[str, str], Histogram] = {}
        self._reloads = self._counter("reloads_total", "Reloads of files.", "file", "outcome")

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is a pattern, never a path."""
        key = (route, method if method in METHODS else "other", status)
        found = self._of_request.get(key)
        if found is None:
            route, method, _ = key
            counter = self._requests.labels(route, method, str(status))
            found = self._of_request[key] = counter, self._request_seconds.labels(route, method)
        found[0].inc()
        found[1].observe(seconds)

    def count_problem(self, code: str, status: int) -> None:
        """Count an answered problem; a 429 or 503 was shed."""
        self._problems.labels(code, str(status)).inc()

    def count_session(self, emails: int) -> None:
        """Count an opened session."""
        self._session_emails.observe(emails)

    def count_storage(self, operation: str, outcome: str, seconds: float) -> None:
        """Count an operation of the storage."""
        key = operation, outcome
        histogram = self._of_storage.get(key)
        if histogram is None:
            histogram = self._of_storage[key] = self._storage_seconds.labels(operation, outcome)
        histogram.observe(seconds)

    def reload_counter(self, file: str) -> Callable[[str], None]:
        """Return a counter of a file's reloads by outcome; both outcomes begin at 0."""
        for outcome in ("accepted", "rejected"):
            self._reloads.labels(file, outcome)
        return lambda outcome: self._reloads.labels(file, outcome).inc()

    def watch_queue(self, queue: Sized) -> None:
        """Read the number of requests that wait for a thread, at each scrape."""
        self._queued.set_function(lambda: len(queue))

    def watch(self, parts: Parts) -> None:
        """Read the counters and the state of parts at each scrape."""
        self._registry.register(_PartsCollector(parts))

    def exposition(self) -> str:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(_WithoutCreated(self._registry)).decode("utf-8")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"persona_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"persona_{name}", meaning, labels, registry=self._registry)


class _WithoutCreated(CollectorRegistry):
    """A view of a registry without the creation times of series, which double their number.

    The library's own switch is global to the process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._whole = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the registry."""
        for metric in self._whole.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


class _PartsCollector(Collector):
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        parts, backend = self._parts, self._parts.backend()
        for name, (meaning, labels) in _EVENTS.items():
            events: EventCounter = getattr(parts, name)
            yield _counter_family(name, meaning, labels, events.counts())
        retries: dict[Labels, float] = {
            (reason,): backend.retries.get(reason, 0) for reason in _RETRY_REASONS
        }
        yield _counter_family("storage_retries", "Repeated attempts.", ("reason",), retries)
        for name, (meaning, value) in self._gauges(backend).items():
            yield GaugeMetricFamily(f"persona_{name}", meaning, value)
        threads = GaugeMetricFamily("persona_waiting_threads", "Threads that wait.", labels=("kind",))
        for kind, number in parts.waiting.in_use().items():
            threads.add_metric((kind,), number)
        yield threads

    def _gauges(self, backend: BackendStats) -> dict[str, tuple[str, float]]:
        parts = self._parts
        pictures, replicas = parts.pictures(), parts.replicas()
        return {
            "picture_workers": ("Processes that fork picture workers.", pictures.workers),
            "picture_uploads_in_progress": ("Uploads that have a worker.", pictures.under_way),
            "picture_uploads_queued": ("Uploads that wait for a worker.", pictures.waiting),
            "picture_admitted_bytes": ("Memory of pictures being decoded.", pictures.admitted_bytes),
            "storage_connections_in_use": ("Connections in use.", backend.connections_in_use),
            "storage_connections_max": ("Size of the connection pools.", backend.max_connections),
            "storage_unreachable": ("Processes without storage.", backend.is_unreachable),
            "storage_unwritable": (
                "Processes whose last write the storage rejected.",
                backend.takes_no_writes,
            ),
            "ledger_unwritable": (
                "Processes whose last write to the ledger failed.",
                parts.is_ledger_failing(),
            ),
            "replicas": ("Configured replicas, of each process.", replicas.replicas),
            "replicas_unreachable": ("Skipped replicas, of each process.", replicas.unreachable),
            "ratelimit_uncoordinated_processes": (
                "Processes that count alone, as Redis does not answer.",
                parts.is_uncoordinated(),
            ),
            "waiting_threads_limit": ("Threads that may wait.", parts.waiting.places),
        }


def _counter_family(
    name: str, meaning: str, labels: Labels, counts: Mapping[Labels, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"persona_{name}", meaning, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
