"""What OpenTelemetry was told, read back from its in-memory exporters."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import resilient_llm as rl
from resilient_llm.testing import FakeClock


class Recorder:
    """A `Telemetry` of its own, and what it told."""

    def __init__(self, clock: rl.Clock | None = None, **options: Any) -> None:
        self.clock = clock or FakeClock()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.stage = rl.Telemetry(
            tracer_provider=self.tracers,
            meter_provider=MeterProvider([self.reader]),
            clock=self.clock,
            **options,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All that ended, in the order of their beginning."""
        spans = self.exporter.get_finished_spans()
        return tuple(sorted(spans, key=lambda span: (span.start_time, span.name == "attempt")))

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name != "attempt"]

    @property
    def call(self) -> ReadableSpan:
        (call,) = self.calls
        return call

    def attempts(self, call: ReadableSpan | None = None) -> list[ReadableSpan]:
        parent = (call or self.call).context.span_id
        return [span for span in self.spans if span.parent and span.parent.span_id == parent]

    @property
    def events(self) -> list[str]:
        return [event.name for event in self.call.events]

    def metrics(self) -> dict[str, list[Any]]:
        """The data points by the metric's name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def everything(self) -> str:
        """All that was told, for a look whether something is in it."""
        told = [(span.name, span.status.description, dict(span.attributes or {})) for span in self.spans]
        events = [(event.name, dict(event.attributes or {})) for span in self.spans for event in span.events]
        points = [(name, [dict(point.attributes) for point in all_]) for name, all_ in self.metrics().items()]
        return repr((told, events, points))


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """When a span began and ended, in seconds of a `FakeClock`."""
    return tuple(round((time or 0) / 1e9 - 1_800_000_000, 3) for time in (span.start_time, span.end_time))
