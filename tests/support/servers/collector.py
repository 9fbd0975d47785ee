"""A collector of traces (OTLP over HTTP) that reads them by OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.servers.answering import AnsweringServer, Reply, answering


class Exported(NamedTuple):
    """A span that a collector has received; ids in hexadecimal digits, times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """The spans that a server on loopback has received."""

    def __init__(self, server: AnsweringServer) -> None:
        self.server = server

    @property
    def endpoint(self) -> str:
        """The URL for `traces.endpoint`."""
        return f"{self.server.origin}/v1/traces"

    @property
    def bodies(self) -> list[bytes]:
        """The bodies as they were received."""
        return [each.body for each in self.server.asked if each.path == "/v1/traces"]

    @property
    def spans(self) -> list[Exported]:
        """All spans, in the order in which they ended."""
        found = [span for body in self.bodies for span in _spans(body)]
        return sorted(found, key=lambda each: each.ended)

    def wait_for(self, name: str, count: int = 1, seconds: float = 30) -> list[Exported]:
        """Return the spans with a name once there are so many, or raise `TimeoutError`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = [each for each in self.spans if each.name == name]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{name}: {[each.name for each in self.spans]}")

    def trace(self, root: Exported) -> dict[str, list[Exported]]:
        """Return the spans of a trace by name."""
        found: dict[str, list[Exported]] = {}
        for each in self.spans:
            if each.trace_id == root.trace_id:
                found.setdefault(each.name, []).append(each)
        return found


@contextlib.contextmanager
def collecting(*plan: Reply) -> Iterator[Collector]:
    """Run a collector; by default it accepts everything."""
    with answering() as server:
        server.plan = list(plan or (Reply(200),))
        yield Collector(server)


def _spans(body: bytes) -> Iterator[Exported]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for span in (span for scope in of_resource.scope_spans for span in scope.spans):
            assert not span.events, "an event may have an exception's text"
            assert not span.status.message
            yield Exported(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                span.status.code == 2,
                _attributes(span.attributes),
                resource,
            )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in pairs}
