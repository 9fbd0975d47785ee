"""What the service counts of itself, in the terms of Prometheus; `docs/monitoring.md` lists it all.

No label holds anything that a stranger chose: routes are patterns, methods and codes are ours. So the
number of series is bounded, and no email, token or address can be in any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from persona_profile.runtime.stats import REPLICA_OUTCOMES, PictureStats, ReplicaStats, UploadStats

_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STORAGE_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
_EMAILS: Final = tuple(range(1, 21))
METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

Observer = Callable[[str], None]


class Metrics:
    """The figures of one application: nothing is shared with another in the same process.

    Args:
        version: of the software.
        commit: from which it was built; empty if that is not known.
    """

    def __init__(self, version: str, commit: str = "") -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = self._gauge("build_info", "What runs; the value is 1.", "version", "commit")
        info.labels(version, commit).set(1)
        self._requests = self._counter(
            "http_requests_total", "Requests answered.", "route", "method", "status"
        )
        self._request_seconds = Histogram(
            "persona_http_request_seconds",
            "Time from a thread that takes the request up to the whole answer.",
            ("route", "method"),
            registry=self._registry,
            buckets=_REQUEST_SECONDS,
        )
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._problems = self._counter("http_problems_total", "Problems answered.", "code", "status")
        self._problems.labels("internal_error", "500")  # else the first would be no increase
        self._waiting = self._gauge("http_waiting", "Requests that wait for a thread.")
        self._rejected_waits = self._counter(
            "waiting_rejections_total",
            "Requests rejected as too many threads wait for others.",
            "kind",
            "reason",
        )
        self._counts_alone = self._gauge(
            "ratelimit_alone", "Processes that count limits for themselves, as Redis does not answer."
        )
        self._proofs = self._counter(
            "proofs_total", "Proofs looked at.", "kind", "outcome", "algorithm"
        )
        self._session_emails = Histogram(
            "persona_session_emails",
            "Emails of the sessions that were opened.",
            registry=self._registry,
            buckets=_EMAILS,
        )
        self._set_up_pictures()
        self._set_up_storage()
        self._reloads = self._counter("reloads_total", "Files taken anew.", "file", "outcome")
        self._stale = self._counter("stale_key_reads_total", "Data keys opened that wait for a rewrap.")

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered; `route` is a pattern, never a path."""
        key = (route, method if method in METHODS else "other", status)
        found = self._of_request.get(key)
        if found is None:
            route, method, _ = key
            counter = self._requests.labels(route, method, str(status))
            found = self._of_request[key] = counter, self._request_seconds.labels(route, method)
        found[0].inc()
        found[1].observe(seconds)

    def count_problem(self, code: str, status: int) -> None:
        """Count an answer that was a problem; one of 429 or 503 was shed."""
        self._problems.labels(code, str(status)).inc()

    def count_proof(self, kind: str, outcome: str, algorithm: str) -> None:
        """Count a proof: `proved`, the code of its refusal, or `failed` by a mistake."""
        self._proofs.labels(kind, outcome, algorithm).inc()

    def count_session(self, emails: int) -> None:
        """Count a session that was opened."""
        self._session_emails.observe(emails)

    def count_upload(self, upload: UploadStats) -> None:
        """Count a picture that was sent."""
        self._uploads.labels(upload.format, upload.outcome).inc()
        self._pixels.labels(upload.format).inc(upload.pixels)
        self._processor_seconds.inc(upload.processor_seconds)

    def count_storage(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a call of the storage."""
        key = operation, outcome
        histogram = self._of_storage.get(key)
        if histogram is None:
            histogram = self._of_storage[key] = self._storage_seconds.labels(operation, outcome)
        histogram.observe(seconds)

    def count_replica_read(self, outcome: str) -> None:
        """Count a read of a replica."""
        self._replica_reads.labels(outcome).inc()

    def reload_counter(self, file: str) -> Observer:
        """Return what counts that a file was taken anew, by outcome; both are there at once."""
        for outcome in ("taken", "refused"):
            self._reloads.labels(file, outcome)
        return lambda outcome: self._reloads.labels(file, outcome).inc()

    def count_stale_key(self) -> None:
        """Count a data key that was opened and is under another key than the primary one."""
        self._stale.inc()

    def watch_waiting(self, requests: Callable[[], int]) -> None:
        """Ask how many requests wait for a thread whenever that is wanted."""
        self._waiting.set_function(requests)

    def count_rejected_wait(self, kind: str, reason: str) -> None:
        """Count a request that was rejected as too many threads wait for others."""
        self._rejected_waits.labels(kind, reason).inc()

    def watch_budget(self, places: Callable[[], int], in_use: Callable[[], Mapping[str, int]]) -> None:
        """Ask for the threads that may wait for others, and those that do by kind, when wanted."""
        self._registry.register(_BudgetCollector(places, in_use))

    def watch_redis(self, is_out: Callable[[], bool]) -> None:
        """Ask whether Redis does not answer whenever that is wanted."""
        self._counts_alone.set_function(is_out)

    def watch_backend(self, figures: Callable[[], BackendStats]) -> None:
        """Ask a backend for its figures whenever they are wanted."""
        self._registry.register(_BackendCollector(figures))

    def watch_replicas(self, figures: Callable[[], ReplicaStats]) -> None:
        """Ask replicas for their figures whenever they are wanted."""
        self._registry.register(_ReplicaCollector(figures))

    def watch_pictures(self, figures: Callable[[], PictureStats]) -> None:
        """Ask the picture workers for their figures whenever they are wanted."""
        self._registry.register(_PictureCollector(figures))

    def exposition(self) -> str:
        """Return all figures in the text format of Prometheus."""
        return generate_latest(_WithoutCreated(self._registry)).decode("utf-8")

    def _set_up_storage(self) -> None:
        self._storage_seconds = Histogram(
            "persona_storage_seconds",
            "Calls of the storage.",
            ("operation", "outcome"),
            registry=self._registry,
            buckets=_STORAGE_SECONDS,
        )
        self._of_storage: dict[tuple[str, str], Histogram] = {}
        self._replica_reads = self._counter("replica_reads_total", "Reads of replicas.", "outcome")
        for outcome in REPLICA_OUTCOMES:
            self._replica_reads.labels(outcome)

    def _set_up_pictures(self) -> None:
        self._uploads = self._counter(
            "picture_uploads_total", "Pictures that were sent.", "format", "outcome"
        )
        self._pixels = self._counter(
            "picture_pixels_total", "Width x height of the pictures that were decoded.", "format"
        )
        self._processor_seconds = self._counter(
            "picture_processor_seconds_total", "Processor time of the picture workers."
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"persona_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"persona_{name}", meaning, labels, registry=self._registry)


class _WithoutCreated(CollectorRegistry):
    """A view of a registry without the instants at which series began, which double their number.

    The library's own switch is one for the whole process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._whole = registry

    def collect(self) -> Iterator[Metric]:
        """Yield what the registry has."""
        for metric in self._whole.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


class _BackendCollector(Collector):
    def __init__(self, figures: Callable[[], BackendStats]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        retries = CounterMetricFamily(
            "persona_storage_retries", "Attempts that were repeated.", labels=("reason",)
        )
        for reason in ("transient", "connection_lost"):
            retries.add_metric((reason,), figures.retries.get(reason, 0))
        yield retries
        for name, meaning, value in (
            ("connections_in_use", "Connections lent to an operation.", figures.connections_in_use),
            ("connections_most", "Connections that there can be.", figures.max_connections),
            ("silent", "Processes that hold the storage to be silent.", figures.is_unreachable),
        ):
            yield GaugeMetricFamily(f"persona_storage_{name}", meaning, value)


class _BudgetCollector(Collector):
    def __init__(self, places: Callable[[], int], in_use: Callable[[], Mapping[str, int]]) -> None:
        self._places = places
        self._in_use = in_use

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "persona_waiting_threads_limit", "Threads that may wait for others.", self._places()
        )
        waiting = GaugeMetricFamily(
            "persona_waiting_threads", "Threads that wait for others.", labels=("kind",)
        )
        for kind, threads in self._in_use().items():
            waiting.add_metric((kind,), threads)
        yield waiting


class _ReplicaCollector(Collector):
    def __init__(self, figures: Callable[[], ReplicaStats]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        for name, meaning, value in (
            ("replicas", "Replicas that are read from, of each process.", figures.replicas),
            ("replicas_silent", "Replicas that are not asked now, of each process.", figures.silent),
        ):
            yield GaugeMetricFamily(f"persona_{name}", meaning, value)


class _PictureCollector(Collector):
    def __init__(self, figures: Callable[[], PictureStats]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        for name, meaning, value in (
            ("workers", "Processes that fork picture workers.", figures.workers),
            ("under_way", "Uploads that have a worker.", figures.under_way),
            ("waiting", "Uploads that wait for a worker.", figures.waiting),
            ("admitted_bytes", "Memory granted to pictures being decoded.", figures.admitted_bytes),
        ):
            yield GaugeMetricFamily(f"persona_picture_{name}", meaning, value)
