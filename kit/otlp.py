"""Spans for an OpenTelemetry collector; imported only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from kit.trace import Kind

_DELAY_MS = 1000
_TIMEOUT_S = 5.0
_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL}


class OtlpRecorder:
    """Sends spans in batches, from a thread of its own, by HTTP to `<endpoint>/v1/traces`.

    A collector that is away costs the spans of that time and nothing else: they are dropped when
    the queue of 2048 is full. A trace whose caller did not want it recorded is not.
    """

    def __init__(self, service: str, endpoint: str) -> None:
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
        names = {"service.name": f"elodrome-{service}", "service.namespace": "elodrome"}
        self._provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS)
        )
        self._tracer = self._provider.get_tracer("elodrome")

    def start(self, name: str, kind: Kind, parent: str) -> RecordedSpan:
        """Begin a span below a `traceparent`, or a trace where that is empty."""
        context = _context(parent) if parent else Context()
        return RecordedSpan(self._tracer.start_span(name, context, _KINDS[kind]))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class RecordedSpan:
    """One span of the library, and the `traceparent` within it."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        at = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"

    def end(self, failure: str) -> None:
        """End the span; `failure` is empty where the work succeeded."""
        if failure:
            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end()


def _context(parent: str) -> Context:
    _, trace_id, span_id, flags = parent.split("-")
    at = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return set_span_in_context(NonRecordingSpan(at), Context())
