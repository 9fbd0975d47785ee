"""Traces of requests by OpenTelemetry, sent to a collector by OTLP over HTTP.

This module alone imports OpenTelemetry, and is imported only if `traces.endpoint` is set. Spans wait
in a bounded queue; a thread of its own sends them, so a collector never delays or fails a request.

No span has an exception's text, which may hold personal data: an error is recorded by its code.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from persona_profile.runtime.spans import Span as AnySpan
from persona_profile.runtime.spans import Value, recorded_by

MAX_QUEUED_SPANS: Final = 4096
"""Of a process; the oldest are dropped beyond."""

BATCH_SPANS: Final = 512
BATCH_SECONDS: Final = 2.0
EXPORT_SECONDS: Final = 5.0
"""The time for one batch, attempts that fail included."""

_CODE = re.compile("[a-z_]{1,64}", re.ASCII)

logger = logging.getLogger(__name__)


class Traces:
    """Records spans, and sends them to a collector.

    Args:
        endpoint: the URL of the collector, with the path: `http://127.0.0.1:4318/v1/traces`.
        service_name: the name of the service (`service.name`).
        ratio: the share of traces that are recorded, of those that begin here.
        version: of the service.
    """

    def __init__(self, endpoint: str, service_name: str, ratio: float, version: str) -> None:
        self._silence_library()
        resource = Resource.create(
            {
                "service.name": service_name,
                "service.version": version,
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=resource,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _ReportingExporter(OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS)),
                max_queue_size=MAX_QUEUED_SPANS,
                schedule_delay_millis=BATCH_SECONDS * 1000,
                max_export_batch_size=BATCH_SPANS,
            )
        )
        self._tracer = self._provider.get_tracer("persona_profile", version)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, traceparent: str | None, queued_seconds: float) -> Iterator[RequestSpan]:
        """Record a request in this thread, and its wait for the thread.

        Args:
            traceparent: the trusted header of this name (W3C Trace Context); ignored if malformed.
            queued_seconds: the time since the request was complete.
        """
        began = time.time_ns()
        arrived = began - int(queued_seconds * 1e9)
        headers = {} if traceparent is None else {"traceparent": traceparent}
        # An empty context: nothing of an earlier request of this thread.
        parent = self._propagator.extract(headers, trace.set_span_in_context(trace.INVALID_SPAN))
        span = self._tracer.start_span("request", parent, SpanKind.SERVER, start_time=arrived)
        if not span.is_recording():
            yield RequestSpan(span)
            return
        within = trace.set_span_in_context(span)
        self._tracer.start_span("queue", within, start_time=arrived).end(began)
        try:
            with (
                trace.use_span(span, record_exception=False, set_status_on_exception=False),
                recorded_by(self),
            ):
                yield RequestSpan(span)
        finally:
            span.end()

    @contextmanager
    def span(self, name: str) -> Iterator[AnySpan]:
        """Return a span below the present span of the thread; `with` begins and ends it."""
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as found:
            try:
                yield _Part(found)
            except BaseException as error:
                found.set_attribute("error.type", _error_type(error))
                found.set_status(StatusCode.ERROR)
                raise

    def close(self, seconds: float) -> None:
        """Send the queued spans, but return after some seconds in any case."""
        # The library's own time limit does not hold for a collector that answers slowly.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces-close")
        closing.start()
        closing.join(seconds)

    @staticmethod
    def _silence_library() -> None:
        """Log nothing of the library: its lines repeat with each batch, and hold exceptions' texts."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)


class RequestSpan:
    """The span of a request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answer(self, method: str, route: str | None, status: int, request_id: str) -> None:
        """Describe the request and its answer.

        Args:
            method: the method, if it is a known one.
            route: the pattern of the path, if it matched one.
            status: of the answer.
            request_id: as in the log.
        """
        self._span.update_name(method if route is None else f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        if route is not None:
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("persona.request_id", request_id)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)


class _Part:
    """The span of a part of a request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)


class _ReportingExporter(SpanExporter):
    """Logs once that a collector takes no spans, and once that it does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; their loss is no error of the service."""
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            logger.warning("traces: the collector takes no spans; they are lost")
        elif self._fails and not fails:
            logger.info("traces: the collector takes spans again")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """End attempts under way."""
        self._exporter.shutdown()


def _error_type(error: BaseException) -> str:
    """Return the code of an error of this service, or the name of the exception's class."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and _CODE.fullmatch(code) else type(error).__name__
